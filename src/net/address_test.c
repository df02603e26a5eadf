#include "net/address.h"

#include <unistd.h>

#include "support/test.h"

static void check_round(const char *text, const char *wanted) {
    struct net_address a;
    char back[NET_ADDRESS_TEXT_SIZE];
    struct error err = {0};
    if (net_address_parse(&a, str_from_c(text), &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    CHECK_STR(net_address_format(&a, back), wanted);
}

TEST(address_reads_what_it_prints) {
    check_round("127.0.0.1:8000", "127.0.0.1:8000");
    check_round("localhost:80", "127.0.0.1:80");
    check_round(":0", "127.0.0.1:0");
    check_round("[::1]:8000", "[::1]:8000");
    check_round("unix:/run/x.sock", "unix:/run/x.sock");
}

TEST(address_refuses_what_is_none) {
    struct net_address a;
    struct error err = {0};
    static const char *const texts[] = {
        "",      "8000", "1.2.3.4",     "1.2.3.4:65536", "x:1", "1.2.3.4:-1", "1.2.3.4:http",
        "unix:", "[::1", "1.2.3.4:80x", "256.0.0.1:80"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        CHECK_EQ(net_address_parse(&a, str_from_c(texts[i]), &err), STATUS_INVALID_ARGUMENT);
}

TEST(address_knows_loopback) {
    struct net_address a;
    CHECK_EQ(net_address_parse(&a, STR("127.8.9.1:1"), NULL), STATUS_OK);
    CHECK(net_address_is_loopback(&a));
    CHECK_EQ(net_address_parse(&a, STR("0.0.0.0:1"), NULL), STATUS_OK);
    CHECK(!net_address_is_loopback(&a));
    CHECK_EQ(net_address_parse(&a, STR("[::]:1"), NULL), STATUS_OK);
    CHECK(!net_address_is_loopback(&a));
}

TEST(address_listen_says_that_a_port_is_in_use) {
    struct net_address a;
    struct error err = {0};
    int first, second;
    CHECK_EQ(net_address_parse(&a, STR("127.0.0.1:0"), NULL), STATUS_OK);
    CHECK_EQ(net_listen(&first, &a, &err), STATUS_OK);
    CHECK_EQ(net_address_of_socket(&a, first, &err), STATUS_OK);
    CHECK(net_address_port(&a) > 0);
    CHECK_EQ(net_listen(&second, &a, &err), STATUS_ALREADY_EXISTS);
    CHECK(strstr(err.text, "Address already in use"));
    close(first);
}
