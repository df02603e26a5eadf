#include "base/guard.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
    _Atomic uintptr_t begin, end; /* end 0: free */
    atomic_bool is_taken, is_cut;
};

static struct guard guards[GUARDS_MAX];
static _Atomic size_t n_guards; /* the first so many have been in use */
static uintptr_t page_size = 4096;

/* Runs in the thread that read; what it calls is a system call or an atomic. */
static void on_bus(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t at = (uintptr_t)info->si_addr & ~(page_size - 1);
    for (size_t i = 0; i < atomic_load(&n_guards); i++) {
        struct guard *g = &guards[i];
        uintptr_t end = atomic_load(&g->end);
        if (at < atomic_load(&g->begin) || at >= end)
            continue;
        atomic_store(&g->is_cut, true);
        if (mmap((void *)at, end - at, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
            MAP_FAILED)
            return;
    }
    signal(signal_number, SIG_DFL); /* not ours: the read is repeated and ends the process */
}

void guard_install(void) {
    page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

struct guard *guard_add(const void *p, size_t size) {
    for (size_t i = 0; i < GUARDS_MAX; i++) {
        struct guard *g = &guards[i];
        if (atomic_exchange(&g->is_taken, true))
            continue;
        atomic_store(&g->is_cut, false);
        atomic_store(&g->begin, (uintptr_t)p);
        atomic_store(&g->end, (uintptr_t)p + size);
        for (size_t n = atomic_load(&n_guards); n <= i;)
            if (atomic_compare_exchange_weak(&n_guards, &n, i + 1))
                break;
        return g;
    }
    return NULL;
}

void guard_remove(struct guard *g) {
    if (!g)
        return;
    atomic_store(&g->end, 0);
    atomic_store(&g->is_taken, false);
}

bool guard_is_cut(const struct guard *g) {
    return g && atomic_load_explicit(&g->is_cut, memory_order_relaxed);
}
