#include "engine/device.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Mappings, not malloc: untouched pages cost nothing, and free gives them back at once. */
static status cpu_alloc(const struct device *d, void **out, size_t size, struct error *err) {
    (void)d;
    enum { HUGE_PAGE = 2 << 20 };
    void *p = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "no memory for %zu bytes: %s", size,
                         strerror(errno));
    if (size >= HUGE_PAGE)
        madvise(p, size, MADV_HUGEPAGE);
    *out = p;
    return STATUS_OK;
}

static void cpu_free(const struct device *d, void *p, size_t size) {
    (void)d;
    if (p)
        munmap(p, size ? size : 1);
}

static void cpu_copy(const struct device *d, void *to, const void *from, size_t size) {
    (void)d;
    if (size)
        memcpy(to, from, size);
}

static status cpu_launch(const struct device *d, const struct kernel_call *c,
                         const struct kernel_team *t, struct error *err) {
    (void)d;
    return c->kernel->run(c, t, err);
}

static status cpu_sync(const struct device *d, struct error *err) {
    (void)d;
    (void)err;
    return STATUS_OK;
}

const struct device device_cpu = {.name = "cpu",
                                  .place = PLACE_CPU,
                                  .alloc = cpu_alloc,
                                  .free = cpu_free,
                                  .copy = cpu_copy,
                                  .launch = cpu_launch,
                                  .sync = cpu_sync};
