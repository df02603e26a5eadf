#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/isa.h"
#include "base/map.h"
#include "base/option.h"
#include "base/str.h"
#include "support/test.h"

TEST(str_next_yields_each_part) {
    str s = STR("a,,b"), head;
    CHECK(str_next(&s, ',', &head) && str_eq_c(head, "a"));
    CHECK(str_next(&s, ',', &head) && str_eq_c(head, ""));
    CHECK(str_next(&s, ',', &head) && str_eq_c(head, "b"));
    CHECK(!str_next(&s, ',', &head));
}

TEST(str_to_int64_refuses_what_is_no_whole_number) {
    int64_t n = 0;
    CHECK(str_to_int64(STR("-42"), &n) && n == -42);
    CHECK(!str_to_int64(STR(""), &n));
    CHECK(!str_to_int64(STR("1x"), &n));
    CHECK(!str_to_int64(STR(" 1"), &n));
    CHECK(!str_to_int64(STR("99999999999999999999"), &n));
}

TEST(error_texts_hold_only_what_can_be_shown) {
    struct error err;
    CHECK_EQ(error_set(&err, STATUS_NOT_FOUND, "no \"%s\"",
                       "a\x1b[31m\n\xc3\xa9\xff\xc2\x9b\xed\xa0\x80"),
             STATUS_NOT_FOUND);
    CHECK_STR(err.text, "no \"a?[31m \xc3\xa9????\?\?\"");
    char name[2 * sizeof err.text];
    memset(name, 'x', sizeof name);
    CHECK_EQ(error_set(&err, STATUS_NOT_FOUND, "%.*s", (int)sizeof name, name), STATUS_NOT_FOUND);
    CHECK(!strcmp(err.text + sizeof err.text - 5, "x..."));
}

TEST(buffer_stops_at_its_limit) {
    struct buffer b = {.size_max = 10};
    struct error err;
    CHECK_EQ(buffer_append(&b, "12345678", 8, &err), STATUS_OK);
    CHECK_EQ(buffer_append(&b, "abc", 3, &err), STATUS_RESOURCE_EXHAUSTED);
    CHECK_EQ(b.n, 8);
    buffer_consume(&b, 6);
    CHECK(str_eq_c(buffer_str(&b), "78"));
    buffer_done(&b);
}

TEST(buffer_discard_keeps_what_lies_outside) {
    enum { SIZE = 1 << 16, BEGIN = 100, END = SIZE - 100 };
    unsigned char *p = buffer_alloc(SIZE);
    memset(p, 7, SIZE);
    buffer_discard(p + BEGIN, END - BEGIN);
    for (int i = 0; i < BEGIN; i++)
        CHECK(p[i] == 7 && p[SIZE - 1 - i] == 7);
    CHECK(p[SIZE / 2] == 0);
    buffer_discard(p, 3);
    CHECK_EQ(p[0], 7);
    free(p);
}

TEST(map_keeps_many_keys_through_removal) {
    struct map m = {0};
    char key[16];
    static int values[1000];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        CHECK(!map_set(&m, str_from_c(key), &values[i]));
    }
    for (int i = 0; i < 1000; i += 2) {
        snprintf(key, sizeof key, "k%d", i);
        CHECK(map_remove(&m, str_from_c(key)) == &values[i]);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "k%d", i);
        CHECK(map_get(&m, str_from_c(key)) == (i % 2 ? &values[i] : NULL));
    }
    CHECK_EQ(m.n_live, 500);
    map_done(&m);
}

TEST(hash_depends_on_every_byte_and_the_size) {
    char bytes[100] = {0};
    uint64_t first = hash_bytes(bytes, sizeof bytes, 0);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = 1;
        CHECK(hash_bytes(bytes, sizeof bytes, 0) != first);
        bytes[i] = 0;
    }
    CHECK(hash_bytes(bytes, 99, 0) != first);
    CHECK(hash_bytes(bytes, sizeof bytes, 1) != first);
}

TEST(file_write_then_read_gives_the_same_bytes) {
    char path[] = "/tmp/culmen-file-test-XXXXXX";
    close(mkstemp(path));
    struct error err;
    CHECK_EQ(file_write(path, "hello", 5, &err), STATUS_OK);
    struct buffer b = {0};
    CHECK_EQ(file_read(&b, path, &err), STATUS_OK);
    CHECK(str_eq_c(buffer_str(&b), "hello"));
    buffer_done(&b);
    struct file_map m;
    CHECK_EQ(file_map_open(&m, path, &err), STATUS_OK);
    CHECK_EQ(m.size, 5);
    file_map_close(&m);
    unlink(path);
    CHECK_EQ(file_map_open(&m, path, &err), STATUS_NOT_FOUND);
}

TEST(file_write_replaces_what_a_link_names) {
    char folder[] = "/tmp/culmen-file-test-XXXXXX", path[64], link[64];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(link, sizeof link, "%s/link", folder);
    struct error err;
    struct stat st;
    struct buffer b = {0};
    CHECK_EQ(file_write(path, "old", 3, &err), STATUS_OK);
    CHECK_EQ(symlink("file", link), 0);
    CHECK_EQ(file_write(link, "new", 3, &err), STATUS_OK);
    CHECK(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    CHECK_EQ(file_read(&b, path, &err), STATUS_OK);
    CHECK(str_eq_c(buffer_str(&b), "new"));
    buffer_done(&b);
    CHECK_EQ(file_write(folder, "x", 1, &err), STATUS_INVALID_ARGUMENT);
    unlink(link);
    unlink(path);
    CHECK_EQ(rmdir(folder), 0); /* no temporary file is left */
}

TEST(file_write_fills_a_device_and_a_pipe_instead_of_replacing_them) {
    struct error err;
    struct stat st;
    char path[64], got[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    CHECK_EQ(file_write("/dev/null", "x", 1, &err), STATUS_OK);
    CHECK(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
    const struct file_part parts[] = {{.p = "ab", .size = 2, .offset = 0},
                                      {.p = "c", .size = 1, .offset = 4}};
    CHECK_EQ(file_write_parts(path, parts, 2, &err), STATUS_OK);
    CHECK_EQ(read(ends[0], got, sizeof got), 5);
    CHECK(!memcmp(got, "ab\0\0c", 5));
    close(ends[0]);
    close(ends[1]);
    struct file_map m;
    CHECK_EQ(file_map_open(&m, "/dev/null", &err), STATUS_INVALID_ARGUMENT);
}

TEST(file_read_stops_at_the_limit) {
    struct buffer b = {.size_max = 100};
    struct error err;
    CHECK_EQ(file_read(&b, "/proc/cpuinfo", &err), STATUS_RESOURCE_EXHAUSTED);
    buffer_done(&b);
}

TEST(options_parse_values_and_leave_words) {
    bool flag = false, help;
    int64_t port = 0;
    const char *out = NULL;
    struct option_list list = {0};
    const struct option table[] = {
        {"flag", 'f', OPTION_FLAG, &flag, NULL, "", .is_required = false},
        {"port", 0, OPTION_INT, &port, "N", "", .max = 65535},
        {"output", 'o', OPTION_TEXT, &out, "FILE", "", .is_required = true},
        {"input", 0, OPTION_LIST, &list, "X", "", .is_required = false},
    };
    char words[][12] = {"a", "--flag",    "--port=80", "-ofile", "--input",
                        "x", "--input=y", "--",        "-z"};
    char *argv[ARRAY_LEN(words)];
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        argv[i] = words[i];
    int n_words;
    struct error err;
    CHECK_EQ(options_parse(table, 4, 9, argv, &n_words, &help, &err), STATUS_OK);
    CHECK(flag);
    CHECK_EQ(port, 80);
    CHECK_STR(out, "file");
    CHECK_EQ(list.n, 2);
    CHECK_EQ(n_words, 2);
    CHECK_STR(argv[1], "-z");
    char off[] = "--flag", no[] = "False", other[] = "word", *more[] = {off, no, other};
    CHECK_EQ(options_parse(table, 4, 3, more, &n_words, &help, &err), STATUS_OK);
    CHECK(!flag && n_words == 1);
    char typo[] = "--prot=1", *typos[] = {typo};
    CHECK_EQ(options_parse(table, 4, 1, typos, &n_words, &help, &err), STATUS_INVALID_ARGUMENT);
    CHECK_STR(err.text, "unknown option \"--prot\"; did you mean \"--port\"?");
}

TEST(wall_time_is_written_in_utc) {
    char text[WALL_TEXT_SIZE];
    CHECK_STR(wall_format(1500000000123456789, text), "2017-07-14T02:40:00.123456Z");
}

TEST(isa_names_parse) {
    struct error err;
    isa level;
    for (int i = 0; i < ISA_COUNT; i++) {
        CHECK_EQ(isa_parse(&level, str_from_c(isa_name((isa)i)), &err), STATUS_OK);
        CHECK_EQ(level, i);
    }
    CHECK_EQ(isa_parse(&level, STR("avx1024"), &err), STATUS_INVALID_ARGUMENT);
    CHECK(isa_host() < ISA_COUNT);
}

TEST(str_puts_texts_and_numbers) {
    char text[STR_U64_SIZE + 8];
    char *end = str_put_u64(str_put(text, STR("n=")), UINT64_MAX);
    CHECK(str_eq_c((str){.p = text, .n = (size_t)(end - text)}, "n=18446744073709551615"));
    CHECK_EQ(str_put_u64(text, 0) - text, 1);
}
