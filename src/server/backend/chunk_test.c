#include "server/backend/chunk.h"

#include "support/test.h"

struct call {
    struct infer_request request;
    status code; /* OK: not answered */
};

static void call_done(struct infer_request *r, struct infer_response *response) {
    struct call *c = r->owner;
    c->code = response->code;
}

static void note(struct chunk_policy *p, int64_t n, int64_t element_ns) {
    for (int i = 0; i < CHUNK_RUNS_MIN; i++)
        chunk_note(p, n, n * element_ns);
}

TEST(chunk_runs_the_whole_batch_until_costs_are_known) {
    struct chunk_policy p = {0};
    CHECK_EQ(chunk_choose(&p, 16), 16);
    note(&p, 1, 100);
    CHECK_EQ(chunk_choose(&p, 16), 16);
}

TEST(chunk_runs_pieces_when_elements_get_dearer_in_a_batch) {
    struct chunk_policy p = {0};
    note(&p, 1, 100);
    note(&p, 2, 95);
    note(&p, 16, 160);
    CHECK_EQ(chunk_choose(&p, 16), 2);
    CHECK_EQ(chunk_choose(&p, 20), 2);
}

TEST(chunk_runs_the_whole_batch_when_elements_get_cheaper) {
    struct chunk_policy p = {0};
    note(&p, 16, 10);
    CHECK_EQ(chunk_choose(&p, 16), 8); /* a look at half of it */
    note(&p, 8, 18);
    CHECK_EQ(chunk_choose(&p, 16), 16);
}

TEST(chunk_runs_the_smallest_pieces_that_cost_no_more) {
    struct chunk_policy p = {0};
    note(&p, 16, 100);
    note(&p, 8, 101);
    CHECK_EQ(chunk_choose(&p, 16), 4); /* a look */
    note(&p, 4, 104);
    note(&p, 2, 106);
    note(&p, 1, 150);
    CHECK_EQ(chunk_choose(&p, 16), 4);
}

TEST(chunk_leaves_each_thread_an_element) {
    struct chunk_policy p = {.size_min = 3};
    note(&p, 16, 100);
    note(&p, 8, 100);
    note(&p, 1, 50);
    CHECK_EQ(chunk_choose(&p, 16), 4);
    note(&p, 4, 100);
    CHECK_EQ(chunk_choose(&p, 16), 4);
    CHECK_EQ(chunk_choose(&p, 5), 5);
}

TEST(chunk_goes_down_by_halves_while_that_helps) {
    struct chunk_policy p = {0};
    note(&p, 16, 160);
    CHECK_EQ(chunk_choose(&p, 16), 8);
    note(&p, 8, 130);
    CHECK_EQ(chunk_choose(&p, 16), 4);
    note(&p, 4, 140);
    CHECK_EQ(chunk_choose(&p, 16), 8);
}

TEST(chunk_tries_the_whole_batch_again) {
    struct chunk_policy p = {0};
    int n_whole = 0;
    note(&p, 1, 100);
    note(&p, 16, 160);
    for (int i = 0; i < CHUNK_RETRY_EVERY; i++)
        n_whole += chunk_choose(&p, 16) == 16;
    CHECK_EQ(n_whole, 1);
}

TEST(chunk_forgets_a_disturbed_run_and_believes_a_slower_model) {
    struct chunk_policy p = {0};
    note(&p, 4, 100);
    chunk_note(&p, 4, 4 * 1000);
    CHECK(p.costs[2].element_ns < 130);
    for (int i = 0; i < 200; i++)
        chunk_note(&p, 4, 4 * 1000);
    CHECK(p.costs[2].element_ns > 950);
}

TEST(chunk_cuts_a_batch_in_order_between_requests) {
    static const int64_t sizes[] = {1, 1, 3, 1, 9, 1};
    static const size_t wanted[] = {2, 2, 1, 1}; /* requests of the pieces of at most 4 elements */
    struct infer_request requests[6], *pointers[6];
    struct infer_batch batch = {.requests = pointers, .n = 6};
    for (size_t i = 0; i < 6; i++) {
        requests[i] = (struct infer_request){.n_batch = sizes[i]};
        pointers[i] = &requests[i];
    }
    size_t from = 0, next = 0;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        struct infer_batch piece = chunk_cut(&batch, &from, 4);
        CHECK_EQ(piece.n, wanted[i]);
        int64_t n_elements = 0;
        for (size_t k = 0; k < piece.n; k++) {
            CHECK(piece.requests[k] == &requests[next]);
            n_elements += sizes[next++];
        }
        CHECK_EQ(piece.n_elements, n_elements);
    }
    CHECK_EQ(chunk_cut(&batch, &from, 4).n, 0);
}

TEST(chunk_leaves_out_requests_cancelled_while_earlier_pieces_ran) {
    struct call calls[4];
    struct infer_request *pointers[4];
    struct infer_batch batch = {.requests = pointers, .n = 4};
    for (size_t i = 0; i < 4; i++) {
        calls[i] =
            (struct call){.request = {.n_batch = 1, .respond = call_done, .owner = &calls[i]}};
        pointers[i] = &calls[i].request;
    }
    size_t from = 0;
    CHECK_EQ(chunk_cut(&batch, &from, 1).n, 1);
    infer_request_cancel(&calls[1].request);
    infer_request_cancel(&calls[3].request);
    struct infer_batch piece = chunk_cut(&batch, &from, 4);
    CHECK_EQ(piece.n, 1);
    CHECK(piece.requests[0] == &calls[2].request);
    CHECK_EQ(chunk_cut(&batch, &from, 4).n, 0);
    CHECK_EQ(calls[0].code, STATUS_OK);
    CHECK_EQ(calls[1].code, STATUS_CANCELLED);
    CHECK_EQ(calls[2].code, STATUS_OK);
    CHECK_EQ(calls[3].code, STATUS_CANCELLED);
}
