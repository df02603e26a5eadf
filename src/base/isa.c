#include "base/isa.h"

#include <cpuid.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[ISA_COUNT] = {"generic", "avx2", "avx512", "avx512-bf16", "amx"};

/* arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): tiles need the kernel's permission. */
enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };

/* Leaf 7, EDX: <cpuid.h> of clang 14 and of gcc 12 call them differently. */
enum { EDX_AMX_BF16 = 1 << 22, EDX_AMX_TILE = 1 << 24 };

/* Bits of XCR0 that the system must save for the registers to be usable. */
enum { XCR0_YMM = 0x6, XCR0_ZMM = 0xe6, XCR0_TILES = 0x60000 };

const char *isa_name(isa level) {
    return (unsigned)level < ISA_COUNT ? names[level] : "unknown";
}

status isa_parse(isa *out, str name, struct error *err) {
    for (int i = 0; i < ISA_COUNT; i++)
        if (str_eq_c(name, names[i])) {
            *out = (isa)i;
            return STATUS_OK;
        }
    return error_set(err, STATUS_INVALID_ARGUMENT,
                     "unknown instruction set \"%.*s\", wanted generic, avx2, avx512, avx512-bf16 "
                     "or amx",
                     STR_ARG(name));
}

static uint64_t saved_registers(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static isa detect(void) {
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    const unsigned fma = bit_FMA | bit_F16C | bit_OSXSAVE | bit_AVX;
    unsigned a, b, c, d, b7, d7, a71, unused;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & fma) != fma)
        return ISA_GENERIC;
    uint64_t saved = saved_registers();
    if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d7) || !(b7 & bit_AVX2) ||
        (saved & XCR0_YMM) != XCR0_YMM)
        return ISA_GENERIC;
    if ((b7 & avx512) != avx512 || (saved & XCR0_ZMM) != XCR0_ZMM)
        return ISA_AVX2;
    if (a == 0 || !__get_cpuid_count(7, 1, &a71, &unused, &c, &d) || !(a71 & bit_AVX512BF16))
        return ISA_AVX512;
    const unsigned amx = EDX_AMX_TILE | EDX_AMX_BF16;
    if ((d7 & amx) != amx || (saved & XCR0_TILES) != XCR0_TILES ||
        syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) != 0)
        return ISA_AVX512_BF16;
    return ISA_AMX;
}

static isa host;
static struct error environment_error;

/* Before main, so that no thread sees it half done and the permission covers all threads. */
__attribute__((constructor)) static void find_host(void) {
    host = detect();
    const char *cap = getenv("CULMEN_ISA");
    isa level;
    if (!cap || !*cap)
        return;
    if (isa_parse(&level, str_from_c(cap), &environment_error) == STATUS_OK && level < host)
        host = level;
}

isa isa_host(void) {
    return host;
}

status isa_check_environment(struct error *err) {
    if (environment_error.code == STATUS_OK)
        return STATUS_OK;
    return error_set(err, environment_error.code, "CULMEN_ISA: %s", environment_error.text);
}
