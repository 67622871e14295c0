/* Hosts, origins, keys and paths, as pure functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/guard.h"
#include "net/keys.h"
#include "net/listen.h"
#include "net/url.h"
#include "support/test.h"

static const char *const extra[] = {"box.lan", "fd00::7"};
static const struct name_list nobody = {0}, some = {extra, 2};

static void only_our_own_names_pass_as_host(void **state)
{
    static const char *const good[] = {"localhost",   "localhost:8080", "127.0.0.1", "127.0.0.1:1",
                                       "[::1]",       "[::1]:65535",    "LocalHost", "LOCALHOST:80",
                                       "box.lan:443", "[fd00::7]:9",    "BOX.lan"};
    static const char *const bad[] = {"",
                                      ":80",
                                      "localhost.",
                                      "localhost.:80",
                                      "localhost.evil",
                                      "evil.localhost",
                                      "localhost:",
                                      "localhost:x",
                                      "localhost:123456",
                                      "localhost:80:80",
                                      "localhost@evil",
                                      "127.0.0.1.evil",
                                      "127.1",
                                      "0.0.0.0",
                                      "0x7f000001",
                                      "2130706433",
                                      "127.0.0.2",
                                      "[::]",
                                      "::1",
                                      "[::1",
                                      "[::1]x",
                                      "[::ffff:7f00:1]",
                                      "[0:0:0:0:0:0:0:1]",
                                      "rebind.example",
                                      "evil:8080",
                                      "localhost evil",
                                      "localhost/evil",
                                      "localhost,evil",
                                      "user:pw@localhost",
                                      "localhost#",
                                      "[]",
                                      "[localhost]",
                                      "box.lan.",
                                      "fd00::7",
                                      "[fd00::7",
                                      "[fd00::8]",
                                      "127.0.0.1:",
                                      "127.0.0.1:-1",
                                      "127.0.0.1:+1",
                                      "localhost:80 ",
                                      " localhost",
                                      "local\thost",
                                      "xlocalhost",
                                      "localhos",
                                      "127.0.0.1:0x50",
                                      "127.0.0.1:80.",
                                      "%6cocalhost",
                                      "localhost%00",
                                      "1.0.0.127",
                                      "ip6-localhost",
                                      "localhost.localdomain"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!guard_host(good[i], &some))
            fail_msg("'%s' was refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (guard_host(bad[i], &some))
            fail_msg("'%s' passed", bad[i]);
    assert_false(guard_host("box.lan", &nobody));
    assert_false(guard_host(NULL, &nobody));
}

static void pages_of_other_origins_are_foreign(void **state)
{
    static const char *const cors[] = {"https://chat.example"};
    static const struct name_list allowed = {cors, 1};
    (void)state;
    assert_int_equal(guard_origin(NULL, NULL, "localhost:80", false, &nobody), ORIGIN_NONE);
    assert_int_equal(guard_origin(NULL, "none", "localhost:80", false, &nobody), ORIGIN_NONE);
    assert_int_equal(guard_origin("http://localhost:80", "same-origin", "localhost:80", false, &nobody), ORIGIN_SAME);
    assert_int_equal(guard_origin("https://localhost", NULL, "localhost", true, &nobody), ORIGIN_SAME);
    assert_int_equal(guard_origin("https://chat.example", "cross-site", "localhost", false, &allowed), ORIGIN_ALLOWED);
    static const char *const foreign[] = {"null",
                                          "",
                                          "http://evil",
                                          "http://localhost:81",
                                          "https://localhost:80",
                                          "http://localhost:80.evil",
                                          "https://chat.example.evil",
                                          "http://localhost"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (guard_origin(foreign[i], NULL, "localhost:80", false, &allowed) != ORIGIN_FOREIGN)
            fail_msg("origin '%s' passed", foreign[i]);
    assert_int_equal(guard_origin(NULL, "cross-site", "localhost", false, &allowed), ORIGIN_FOREIGN);
    assert_int_equal(guard_origin(NULL, "same-site", "localhost", false, &allowed), ORIGIN_FOREIGN);
}

static void a_target_is_decoded_strictly(void **state)
{
    static const char *const bad[] = {"",           "x",       "*",      "http://h/", "/%",           "/%4",
                                      "/%zz",       "/%00",    "/a%0ab", "/%7f",      "/%ff",         "/%c0%af",
                                      "/%ed%a0%80", "/%e2%82", "/\xff",  "/a\tb",     "/%f5%80%80%80"};
    char text[64], *query, *name, *value;
    bool valid = true;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text, "%s", bad[i]);
        if (url_split(text, &query))
            fail_msg("'%s' passed", bad[i]);
    }
    strcpy(text, "/v1/a%2Fb%20c+d%e2%82%ac?x=1%2b1&&y&z=a+b=c&=v");
    assert_true(url_split(text, &query));
    assert_string_equal(text, "/v1/a/b c+d\xe2\x82\xac");
    assert_true(url_next(&query, &name, &value, &valid));
    assert_string_equal(name, "x");
    assert_string_equal(value, "1+1");
    assert_true(url_next(&query, &name, &value, &valid));
    assert_string_equal(name, "y");
    assert_string_equal(value, "");
    assert_true(url_next(&query, &name, &value, &valid));
    assert_string_equal(value, "a b=c");
    assert_true(url_next(&query, &name, &value, &valid));
    assert_string_equal(name, "");
    assert_false(url_next(&query, &name, &value, &valid));
    assert_true(valid);
    strcpy(text, "/?a=%4");
    assert_true(url_split(text, &query));
    assert_true(url_next(&query, &name, &value, &valid));
    assert_false(valid);
}

static void only_numbers_are_addresses(void **state)
{
    int port = 0, fd;
    goss_error error;
    (void)state;
    assert_true(net_is_loopback("127.0.0.1") && net_is_loopback("127.9.9.9") && net_is_loopback("::1"));
    assert_true(net_is_loopback("localhost") && net_is_loopback("::ffff:127.0.0.1"));
    assert_false(net_is_loopback("0.0.0.0") || net_is_loopback("::") || net_is_loopback("10.0.0.1"));
    assert_false(net_is_loopback("::ffff:10.0.0.1") || net_is_loopback("evil"));
    assert_int_equal(net_listen("example.com", &port, &fd, &error), GOSS_E_ARGUMENT);
    assert_int_equal(net_listen("127.0.0.1", &port, &fd, &error), GOSS_OK);
    assert_true(port > 0);
    int again;
    assert_int_equal(net_listen("127.0.0.1", &port, &again, &error), GOSS_E_IO);
    assert_non_null(strstr(error.text, "127.0.0.1: cannot listen: Address already in use"));
    (void)close(fd);
}

static goss_status open_keys(const char *text, mode_t mode, struct net_keys **keys, goss_error *error)
{
    char path[] = "/tmp/keysXXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
    goss_status status = net_keys_open(keys, path, error);
    (void)unlink(path);
    return status;
}

static void keys_are_found_and_nothing_else_is(void **state)
{
    struct net_keys *keys;
    struct net_caller a, b, c;
    goss_error error;
    (void)state;
    assert_int_equal(open_keys("# ours\nalice sk-0123456789abcdefghijkl\n\nsk-zyxwvutsrqponmlkjihgfedcba # bob\n", 0600,
                               &keys, &error),
                     GOSS_OK);
    assert_true(net_keys_find(keys, "sk-0123456789abcdefghijkl", &a));
    assert_true(net_keys_find(keys, "sk-zyxwvutsrqponmlkjihgfedcba", &b));
    assert_true(net_keys_find(keys, "sk-0123456789abcdefghijkl", &c));
    assert_string_equal(a.name, "alice");
    assert_string_equal(b.name, "key2");
    assert_true(a.owner && b.owner && a.owner != b.owner && a.owner == c.owner);
    static const char *const wrong[] = {"",
                                        "alice",
                                        "sk-0123456789abcdefghijk",
                                        "sk-0123456789abcdefghijklm",
                                        "Sk-0123456789abcdefghijkl",
                                        "sk-0123456789abcdefghijkl "};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (net_keys_find(keys, wrong[i], &c))
            fail_msg("'%s' passed", wrong[i]);
    net_keys_close(keys);
}

static void weak_or_readable_keys_are_refused(void **state)
{
    struct net_keys *keys;
    goss_error error;
    (void)state;
    assert_int_equal(open_keys("sk-0123456789abcdefghijkl\n", 0640, &keys, &error), GOSS_E_ARGUMENT);
    assert_non_null(strstr(error.text, "chmod 600"));
    assert_int_equal(open_keys("sk-0123456789abcdefghijkl\n", 0604, &keys, &error), GOSS_E_ARGUMENT);
    assert_int_equal(open_keys("short\n", 0600, &keys, &error), GOSS_E_FORMAT);
    assert_int_equal(open_keys("# none\n", 0600, &keys, &error), GOSS_E_FORMAT);
    assert_int_equal(open_keys("a b sk-0123456789abcdefghijkl\n", 0600, &keys, &error), GOSS_E_FORMAT);
    assert_non_null(strstr(error.text, "line 1"));
    assert_null(strstr(error.text, "sk-"));
    assert_int_equal(net_keys_open(&keys, "/no/such/file", &error), GOSS_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_our_own_names_pass_as_host),    cmocka_unit_test(pages_of_other_origins_are_foreign),
        cmocka_unit_test(a_target_is_decoded_strictly),       cmocka_unit_test(only_numbers_are_addresses),
        cmocka_unit_test(keys_are_found_and_nothing_else_is), cmocka_unit_test(weak_or_readable_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
