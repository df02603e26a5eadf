#include "net/segment.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/test.h"

static int n_released;

static void count_release(void *arg) {
    (void)arg;
    n_released++;
}

static struct segment owned(str s) {
    return (struct segment){.p = s.p, .n = s.n, .life = SEGMENT_OWNED, .release = count_release};
}

TEST(segment_queue_writes_in_order_and_releases_what_is_written) {
    int fds[2];
    struct segment_queue q = {0};
    char got[64] = "";
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    segment_queue_push(&q, SEGMENT_STR(STR("one ")));
    segment_queue_push(&q, owned(STR("")));
    CHECK_EQ(n_released, 1);
    segment_queue_push(&q, owned(STR("two ")));
    segment_queue_push(&q, SEGMENT_STR(STR("three")));
    CHECK_EQ(q.size, 13);
    CHECK(segment_queue_write(&q, fds[0]));
    CHECK_EQ(q.size, 0);
    CHECK_EQ(n_released, 2);
    CHECK_EQ(recv(fds[1], got, sizeof got - 1, 0), 13);
    CHECK_STR(got, "one two three");
    segment_queue_done(&q);
    close(fds[0]);
    close(fds[1]);
}

TEST(segment_queue_keeps_transient_bytes_that_the_socket_does_not_take) {
    enum { N = 200, SIZE = 10000 };
    int fds[2];
    struct segment_queue q = {0};
    char *bytes = malloc(SIZE), *got = malloc(SIZE);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    for (int i = 0; i < N; i++) {
        memset(bytes, i, SIZE);
        segment_queue_push(&q, (struct segment){.p = bytes, .n = SIZE, .life = SEGMENT_TRANSIENT});
        CHECK(segment_queue_write(&q, fds[0]));
        segment_queue_settle(&q);
    }
    CHECK(q.size > 0);
    for (int i = 0; i < N; i++) {
        for (size_t n = 0; n < SIZE; n += (size_t)recv(fds[1], got + n, SIZE - n, 0))
            CHECK(segment_queue_write(&q, fds[0]));
        memset(bytes, i, SIZE);
        CHECK(memcmp(got, bytes, SIZE) == 0);
    }
    CHECK_EQ(q.size, 0);
    close(fds[1]);
    segment_queue_push(&q, SEGMENT_STR(STR("late")));
    CHECK(!segment_queue_write(&q, fds[0]));
    segment_queue_done(&q);
    close(fds[0]);
    free(bytes);
    free(got);
}
