/* dedicatedResources and automaticResources: machine types, accelerators, replica counts. */
#include "control/api/call_internal.h"

#define MACHINE_DEFAULT "n1-standard-2"
enum { ACCELERATORS_MAX = 16 };

static const struct {
    str family, sizes;
} machines[] = {
#define MACHINE(family, sizes) {{family, sizeof family - 1}, {sizes, sizeof sizes - 1}},
#include "control/api/machines.def"
#undef MACHINE
};

static bool is_machine(str type) {
    for (size_t i = 0; i < ARRAY_LEN(machines); i++) {
        if (!str_starts(type, machines[i].family))
            continue;
        str sizes = machines[i].sizes, size;
        while (str_next(&sizes, ' ', &size))
            if (str_eq(size, str_slice(type, machines[i].family.n, type.n)))
                return true;
    }
    return false;
}

static status machine_check(struct arena *a, struct json_value *dedicated, struct error *err) {
    struct json_value *machine = json_get(dedicated, "machineSpec");
    if (!machine) {
        machine = json_new_object(a);
        json_set(dedicated, STR("machineSpec"), machine);
    }
    if (!json_get(machine, "machineType"))
        record_set_string(a, machine, "machineType", STR(MACHINE_DEFAULT));
    str type = record_string(machine, "machineType");
    if (!is_machine(type))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "Machine type \"%.*s\" is not supported (n1-, n2-, n2d-, e2-, c2-, c2d-, "
                         "c3-, a2-, a3-, a4-, g2- and g4- types are, such as n1-standard-4).",
                         (int)(type.n < 60 ? type.n : 60), type.p);
    int64_t count = record_i64(machine, "acceleratorCount", 0);
    bool has_type = json_get(machine, "acceleratorType") != NULL;
    if (count < 0 || count > ACCELERATORS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "accelerator_count is %lld, wanted 0 to %d.",
                         (long long)count, ACCELERATORS_MAX);
    if (count > 0 && !has_type)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "accelerator_count is set without an accelerator_type.");
    if (has_type && count == 0)
        record_set_i64(a, machine, "acceleratorCount", 1);
    return STATUS_OK;
}

static status counts_check(struct arena *a, struct json_value *resources, unsigned *n,
                           struct error *err) {
    int64_t min = record_i64(resources, "minReplicaCount", 1);
    int64_t max = record_i64(resources, "maxReplicaCount", min);
    int64_t required = record_i64(resources, "requiredReplicaCount", min);
    if (min < 1 || max < min || max > REPLICAS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "min_replica_count is %lld and max_replica_count %lld, wanted 1 <= min <= "
                         "max <= %d.",
                         (long long)min, (long long)max, REPLICAS_MAX);
    if (required < 1 || required > min)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "required_replica_count is %lld, wanted 1 to min_replica_count, %lld.",
                         (long long)required, (long long)min);
    record_set_i64(a, resources, "minReplicaCount", min);
    record_set_i64(a, resources, "maxReplicaCount", max);
    *n = (unsigned)min;
    return STATUS_OK;
}

status resources_check(struct arena *a, struct json_value *deployed_model, unsigned *n,
                       struct error *err) {
    struct json_value *dedicated = json_get(deployed_model, "dedicatedResources"),
                      *automatic = json_get(deployed_model, "automaticResources");
    if (json_get(deployed_model, "sharedResources") ||
        json_get(deployed_model, "fullFineTunedResources"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "deployed_model: only dedicated_resources and automatic_resources are "
                         "served today.");
    if (!dedicated && !automatic)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "One of deployed_model.dedicated_resources and "
                         "deployed_model.automatic_resources must be set.");
    if (!dedicated)
        return counts_check(a, automatic, n, err);
    if (json_get(dedicated, "scaleToZeroSpec") || json_get(dedicated, "flexStart"))
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "deployed_model.dedicated_resources: scale_to_zero_spec and flex_start "
                         "are not served yet.");
    TRY(machine_check(a, dedicated, err));
    return counts_check(a, dedicated, n, err);
}
