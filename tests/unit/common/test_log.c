/* Log lines: both forms, levels, quoting, repeats, threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/log.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MAX ((size_t)8 << 20) /* more than any test writes */

static char log_path[64];

static void open_log(enum sl_log_level level, enum sl_log_format format, const char *role, bool every_line)
{
    (void)snprintf(log_path, sizeof(log_path), "log-test-%d.log", (int)getpid());
    (void)unlink(log_path);
    struct sl_log_options options = {
            .level = level, .format = format, .path = log_path, .role = role, .every_line = every_line};
    assert_int_equal(sl_log_open(&options, NULL), SL_OK);
}

/* closes the log and gives what it holds. Owns: free */
static char *close_log(void)
{
    sl_log_close();
    FILE *file = fopen(log_path, "rb");
    assert_non_null(file);
    char *text = calloc(1, LOG_MAX);
    assert_non_null(text);
    size_t size = fread(text, 1, LOG_MAX - 1, file);
    assert_true(size < LOG_MAX - 1);
    (void)fclose(file);
    (void)unlink(log_path);
    return text;
}

static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

static void test_text(void **state)
{
    (void)state;
    open_log(SL_LOG_INFO, SL_LOG_TEXT, "server.0", false);
    sl_log(SL_LOG_DEBUG, "server", "hidden", NULL);
    sl_log(SL_LOG_INFO, "server", "step-applied", "step=%d loss=%.4f", 12, 0.4123);
    sl_log(SL_LOG_WARN, "server", "odd", NULL);
    sl_log(SL_LOG_ERROR, "server", "bad", "text=%s", "two\nlines");
    assert_true(sl_log_enabled(SL_LOG_INFO));
    assert_false(sl_log_enabled(SL_LOG_DEBUG));
    char *text = close_log();
    assert_int_equal(count_of(text, "\n"), 3);
    assert_non_null(strstr(text, "Z INFO  server.0 server step-applied step=12 loss=0.4123\n"));
    assert_non_null(strstr(text, "Z WARN  server.0 server odd\n"));
    assert_non_null(strstr(text, "Z ERROR server.0 server bad text=two\\nlines\n"));
    free(text);
}

static void expect_member(const json_t *line, const char *key, const char *expected)
{
    const char *value = json_string_value(json_object_get(line, key));
    if (value == NULL || strcmp(value, expected) != 0)
        fail_msg("%s is %s, expected %s", key, value == NULL ? "not a text" : value, expected);
}

static void test_json(void **state)
{
    (void)state;
    open_log(SL_LOG_DEBUG, SL_LOG_JSON, "worker.1", false);
    char quoted[64];
    sl_log(SL_LOG_DEBUG, "import", "row",
            "line=%d share=-1.5e-3 ok=true nan=nan zero=01 path=/a b/c reason=%s time=5 last=all the rest", 7,
            sl_log_quote(quoted, sizeof(quoted), "a \"b\" line=8 \\ \n\xff"));
    char *text = close_log();
    json_error_t error;
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (line == NULL)
        fail_msg("%s: %s", error.text, text);
    expect_member(line, "level", "debug");
    expect_member(line, "role", "worker.1");
    expect_member(line, "module", "import");
    expect_member(line, "event", "row");
    assert_int_equal(json_integer_value(json_object_get(line, "line")), 7);
    assert_true(json_real_value(json_object_get(line, "share")) == -0.0015);
    assert_true(json_is_true(json_object_get(line, "ok")));
    expect_member(line, "nan", "nan");
    expect_member(line, "zero", "01");
    expect_member(line, "path", "/a b/c");
    expect_member(line, "reason", "a \"b\" line=8 \\ \n\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(line, "time_")), 5);
    expect_member(line, "last", "all the rest");
    json_decref(line);
    free(text);
}

static void test_long_and_odd_lines_stay_json(void **state)
{
    (void)state;
    static const char *const odd[] = {"no pairs at all", "=", "a=", "a= b=", "a=\"open",
            "a=\"bad \\q escape\"", "\"\"=1", "a=\"x\"tail", "a=-", "a=1e", "a=1.", "k=\"\\u12\""};
    open_log(SL_LOG_INFO, SL_LOG_JSON, NULL, true);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        sl_log(SL_LOG_INFO, "m", "odd", "%s", odd[i]);
    char *longest = malloc(3 * SL_LOG_LINE_MAX);
    assert_non_null(longest);
    for (size_t n = SL_LOG_LINE_MAX - 300; n < SL_LOG_LINE_MAX + 100; n++) {
        memset(longest, '"', n);
        longest[n] = 0;
        sl_log(SL_LOG_INFO, "m", "long", "a=%s b=1 c=\"x\"", longest);
        memset(longest, 'x', n);
        sl_log(SL_LOG_INFO, "m", "long", "a=%s b=1 c=\"%s\"", longest, longest + n - 9);
    }
    free(longest);
    char *text = close_log(), *rest = NULL;
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        json_error_t error;
        json_t *value = json_loads(line, 0, &error);
        if (value == NULL || strlen(line) >= SL_LOG_LINE_MAX)
            fail_msg("%s: %s", error.text, line);
        json_decref(value);
        lines++;
    }
    assert_true(lines > 100);
    free(text);
}

static void test_text_is_cut(void **state)
{
    (void)state;
    char longest[2 * SL_LOG_LINE_MAX];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    open_log(SL_LOG_INFO, SL_LOG_TEXT, NULL, false);
    sl_log(SL_LOG_INFO, "m", "long", "a=%s", longest);
    char *text = close_log();
    size_t size = strlen(text);
    assert_true(size <= SL_LOG_LINE_MAX);
    assert_string_equal(text + size - 4, "...\n");
    free(text);
}

static void test_repeats(void **state)
{
    (void)state;
    open_log(SL_LOG_INFO, SL_LOG_TEXT, NULL, false);
    for (int i = 0; i < 100; i++)
        sl_log(SL_LOG_WARN, "net", "flood", "i=%d", i);
    for (int i = 0; i < 3; i++)
        sl_log(SL_LOG_WARN, "net", "rare", "i=%d", i);
    char *text = close_log();
    assert_int_equal(count_of(text, "flood i="), 20);
    assert_int_equal(count_of(text, "flood suppressed=80"), 1);
    assert_int_equal(count_of(text, "rare i="), 3);
    free(text);
    open_log(SL_LOG_INFO, SL_LOG_TEXT, NULL, false);
    for (int i = 0; i < 1000; i++) { /* more events than the table holds: none is lost unsaid */
        char event[16];
        (void)snprintf(event, sizeof(event), "e%d", i % 100);
        sl_log(SL_LOG_INFO, "net", event, NULL);
    }
    text = close_log();
    assert_true(count_of(text, "\n") >= 1000);
    free(text);
    open_log(SL_LOG_INFO, SL_LOG_TEXT, NULL, true);
    for (int i = 0; i < 100; i++)
        sl_log(SL_LOG_WARN, "net", "flood", "i=%d", i);
    text = close_log();
    assert_int_equal(count_of(text, "flood i="), 100);
    free(text);
}

#define THREADS 4
#define LINES 500

static void *write_lines(void *context)
{
    for (int i = 0; i < LINES; i++)
        sl_log(SL_LOG_INFO, "thread", "line", "thread=%d i=%d", *(int *)context, i);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    open_log(SL_LOG_INFO, SL_LOG_JSON, NULL, true);
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = close_log(), *rest = NULL;
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
            line = strtok_r(NULL, "\n", &rest), lines++) {
        json_t *value = json_loads(line, 0, NULL);
        assert_non_null(value);
        json_decref(value);
    }
    assert_int_equal(lines, THREADS * LINES);
    free(text);
}

static void test_open_errors_and_levels(void **state)
{
    (void)state;
    struct sl_error err = {0};
    struct sl_log_options options = {.level = SL_LOG_INFO, .path = "no/such/folder/x.log"};
    assert_int_equal(sl_log_open(&options, &err), SL_NOT_FOUND);
    assert_string_equal(err.text, "cannot open log file no/such/folder/x.log: No such file or directory");
    enum sl_log_level level = SL_LOG_DEBUG;
    assert_int_equal(sl_log_level_parse(&level, "warn", NULL), SL_OK);
    assert_int_equal(level, SL_LOG_WARN);
    assert_int_equal(sl_log_level_parse(&level, "loud", &err), SL_USAGE);
    assert_string_equal(err.text, "log level \"loud\" is not known; choose debug, info, warn or error");
}

static void test_quote_fits(void **state)
{
    (void)state;
    char buffer[8];
    assert_string_equal(sl_log_quote(buffer, sizeof(buffer), "abcdefgh"), "\"abcde\"");
    assert_string_equal(sl_log_quote(buffer, sizeof(buffer), "abcd\n"), "\"abcd\"");
    assert_string_equal(sl_log_quote(buffer, sizeof(buffer), "abc你"), "\"abc\"");
    assert_string_equal(sl_log_quote(buffer, sizeof(buffer), ""), "\"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_text),
            cmocka_unit_test(test_json),
            cmocka_unit_test(test_long_and_odd_lines_stay_json),
            cmocka_unit_test(test_text_is_cut),
            cmocka_unit_test(test_repeats),
            cmocka_unit_test(test_threads),
            cmocka_unit_test(test_open_errors_and_levels),
            cmocka_unit_test(test_quote_fits),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
