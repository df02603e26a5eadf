/* denormal.h - floats below the normal range as zero: they cost a hundred times more.
 *
 * denormals_flush() changes this thread only and returns what was set before. */
#ifndef ENGINE_DENORMAL_H
#define ENGINE_DENORMAL_H

#if defined(__x86_64__)

static inline unsigned denormals_flush(void) {
    enum { FLUSH_TO_ZERO = 1 << 15, DENORMALS_ARE_ZERO = 1 << 6 };
    unsigned before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return before;
}
static inline void denormals_restore(unsigned before) {
    __builtin_ia32_ldmxcsr(before);
}
static inline void pause_briefly(void) {
    __builtin_ia32_pause();
}

#else

static inline unsigned denormals_flush(void) {
    return 0;
}
static inline void denormals_restore(unsigned before) {
    (void)before;
}
static inline void pause_briefly(void) {}

#endif
#endif
