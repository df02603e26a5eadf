/* isa.h - instruction set levels. Each includes those before it. */
#ifndef BASE_ISA_H
#define BASE_ISA_H

#include "base/status.h"
#include "base/str.h"

typedef enum isa {
    ISA_GENERIC,     /* plain C at the compiler's baseline */
    ISA_AVX2,        /* AVX2, FMA, F16C */
    ISA_AVX512,      /* F, BW, DQ, VL */
    ISA_AVX512_BF16, /* and VDPBF16PS */
    ISA_AMX,         /* and AMX-TILE, AMX-BF16, usable by this process */
    ISA_COUNT
} isa;

const char *isa_name(isa level); /* "generic" "avx2" "avx512" "avx512-bf16" "amx" */
NODISCARD status isa_parse(isa *out, str name, struct error *err);

/* The level of this machine, capped by the environment variable CULMEN_ISA (read once; an
 * unknown value there is reported by isa_check_environment). */
isa isa_host(void);
NODISCARD status isa_check_environment(struct error *err);

#endif
