#include "plan/plan.h"

#include "plan/format.h"

const char *plan_value_kind_name(plan_value_kind k) {
    static const char *const names[] = {"none", "input", "constant", "planned", "alias", "dynamic"};
    return (unsigned)k < ARRAY_LEN(names) ? names[k] : "none";
}

const char *plan_section_name(uint32_t type) {
    static const char *const names[] = {"none",  "META",   "STRINGS", "SYMBOLS",
                                        "EXPRS", "VALUES", "STEPS",   "OPERANDS",
                                        "ATTRS", "IO",     "WEIGHTS"};
    return type < ARRAY_LEN(names) ? names[type] : "unknown";
}
