/* count_malloc.c - preloaded into a process, counts what it takes from the heap; SIGUSR2 makes it append the count to the
 * file $COUNT_MALLOC. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

static atomic_ulong n_calls;

void *malloc(size_t size) {
    n_calls++;
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    n_calls++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    n_calls++;
    return __libc_realloc(p, size);
}

void *aligned_alloc(size_t align, size_t size) {
    n_calls++;
    return __libc_memalign(align, size);
}

static void tell(int number) {
    char text[32];
    int n = snprintf(text, sizeof text, "%lu\n", (unsigned long)n_calls);
    int fd = open(getenv("COUNT_MALLOC"), O_WRONLY | O_CREAT | O_APPEND, 0644);
    (void)number;
    if (fd < 0 || write(fd, text, (size_t)n) < 0)
        abort();
    close(fd);
}

__attribute__((constructor)) static void begin(void) {
    if (getenv("COUNT_MALLOC"))
        signal(SIGUSR2, tell);
}
