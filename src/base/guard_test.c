#include "base/guard.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/thread.h"
#include "support/test.h"

enum { N_PAGES = 4 };

struct mapped {
    int fd;
    size_t page;
    const volatile char *p;
};

static struct mapped map_ones(void) {
    char path[] = "/tmp/culmen-guard-test-XXXXXX", one = 1;
    struct mapped m = {.fd = mkstemp(path), .page = (size_t)sysconf(_SC_PAGESIZE)};
    CHECK(m.fd >= 0);
    unlink(path);
    for (size_t i = 0; i < N_PAGES; i++)
        CHECK_EQ(pwrite(m.fd, &one, 1, (off_t)(i * m.page)), 1);
    CHECK_EQ(ftruncate(m.fd, (off_t)(N_PAGES * m.page)), 0);
    void *p = mmap(NULL, N_PAGES * m.page, PROT_READ, MAP_PRIVATE, m.fd, 0);
    CHECK(p != MAP_FAILED);
    m.p = p;
    return m;
}

static void unmap(struct mapped *m) {
    munmap((void *)(uintptr_t)m->p, N_PAGES * m->page);
    close(m->fd);
}

TEST(guard_gives_zeroes_where_the_file_was_cut) {
    guard_install();
    struct mapped m = map_ones(), other = map_ones();
    struct guard *g = guard_add((const char *)(uintptr_t)m.p, N_PAGES * m.page);
    struct guard *of_other = guard_add((const char *)(uintptr_t)other.p, N_PAGES * m.page);
    CHECK(g && of_other && m.p[2 * m.page] == 1 && !guard_is_cut(g));
    CHECK_EQ(ftruncate(m.fd, (off_t)m.page), 0);
    CHECK_EQ(m.p[0], 1);
    CHECK_EQ(m.p[2 * m.page], 0);
    CHECK_EQ(m.p[3 * m.page], 0);
    CHECK(guard_is_cut(g) && !guard_is_cut(of_other));
    CHECK_EQ(m.p[m.page], 0); /* below the first page that was missed */
    guard_remove(g);
    guard_remove(of_other);
    unmap(&m);
    unmap(&other);
    CHECK(!guard_is_cut(NULL));
    guard_remove(NULL);
}

static void read_last(void *arg) {
    const struct mapped *m = arg;
    CHECK_EQ(m->p[(N_PAGES - 1) * m->page], 0);
}

TEST(guard_works_in_threads_that_block_signals) {
    guard_install();
    struct mapped m = map_ones();
    struct guard *g = guard_add((const char *)(uintptr_t)m.p, N_PAGES * m.page);
    CHECK_EQ(ftruncate(m.fd, 0), 0);
    struct error err;
    pthread_t t;
    CHECK_EQ(thread_start(&t, "reader", read_last, &m, &err), STATUS_OK);
    thread_join(t);
    CHECK(guard_is_cut(g));
    guard_remove(g);
    unmap(&m);
}
