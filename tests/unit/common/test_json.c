/* The JSON writer, and the UTF-8 walking and number formatting below it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/utf8.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void expect_text(struct sl_json *json, const char *expected)
{
    const char *text = NULL;
    size_t size = 0;
    assert_int_equal(sl_json_finish(json, &text, &size, NULL), SL_OK);
    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
}

static void write_sample(struct sl_json *json)
{
    sl_json_object(json, NULL);
    sl_json_int(json, "step", -12);
    sl_json_uint(json, "seed", UINT64_MAX);
    sl_json_array(json, "scores");
    sl_json_float(json, NULL, 0.1F);
    sl_json_double(json, NULL, NAN);
    sl_json_array(json, NULL);
    sl_json_end(json);
    sl_json_end(json);
    sl_json_bool(json, "done", true);
    sl_json_null(json, "best");
    sl_json_string(json, "title", NULL);
    sl_json_raw(json, "state", "{\"a\":1}");
    sl_json_object(json, "empty");
    sl_json_end(json);
    sl_json_end(json);
}

static void test_values(void **state)
{
    (void)state;
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 4096);
    write_sample(&json);
    expect_text(&json, "{\"step\":-12,\"seed\":18446744073709551615,\"scores\":[0.1,null,[]],\"done\":true,"
                       "\"best\":null,"
                       "\"title\":null,\"state\":{\"a\":1},\"empty\":{}}");
}

static void test_pretty_and_lines(void **state)
{
    (void)state;
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 4096);
    json.pretty = true;
    sl_json_object(&json, NULL);
    sl_json_int(&json, "a", 1);
    sl_json_array(&json, "b");
    sl_json_int(&json, NULL, 2);
    sl_json_end(&json);
    sl_json_end(&json);
    expect_text(&json, "{\n  \"a\": 1,\n  \"b\": [\n    2\n  ]\n}");
    json.pretty = false;
    sl_json_reset(&json);
    sl_json_int(&json, NULL, 1);
    sl_json_object(&json, NULL);
    sl_json_end(&json);
    expect_text(&json, "1\n{}");
}

static void test_escapes(void **state)
{
    (void)state;
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 4096);
    sl_json_string(&json, NULL, "a\"b\\c\n\t\x01\x7f /");
    expect_text(&json, "\"a\\\"b\\\\c\\n\\t\\u0001\\u007f /\"");
    sl_json_reset(&json);
    sl_json_string(&json, NULL, "你好 \xf0\x9f\x98\x80");
    expect_text(&json, "\"你好 \xf0\x9f\x98\x80\"");
    sl_json_reset(&json);
    /* lone continuation, overlong slash, surrogate, beyond U+10FFFF, cut off: each byte a replacement character */
    sl_json_string(&json, NULL, "\x80|\xc0\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xe4\xbd");
    expect_text(&json, "\"\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
                       "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\"");
    sl_json_reset(&json);
    sl_json_string_n(&json, NULL, "a\0b", 3);
    expect_text(&json, "\"a\\u0000b\"");
}

static void test_any_bytes_are_json(void **state)
{
    (void)state;
    struct sl_random random = sl_random_make(1, SL_RANDOM_TEST, 0, 0);
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    for (uint64_t round = 0; round < 2000; round++) {
        char bytes[24];
        size_t size = sl_random_below(&random, round * 32, sizeof(bytes));
        for (size_t i = 0; i < size; i++)
            bytes[i] = (char)sl_random_u32(&random, round * 32 + i + 1);
        sl_json_reset(&json);
        sl_json_string_n(&json, NULL, bytes, size);
        const char *text = NULL;
        size_t length = 0;
        assert_int_equal(sl_json_finish(&json, &text, &length, NULL), SL_OK);
        json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (value == NULL)
            fail_msg("round %lu: %s", (unsigned long)round, text);
        json_decref(value);
    }
}

static void test_numbers_come_back(void **state)
{
    (void)state;
    char text[SL_JSON_NUMBER_MAX];
    assert_string_equal(sl_format_float(text, 0.1F), "0.1");
    assert_string_equal(sl_format_float(text, 1.0F), "1");
    assert_string_equal(sl_format_float(text, 5e-4F), "0.0005");
    assert_string_equal(sl_format_float(text, 16777217.0F), "16777216");
    assert_string_equal(sl_format_double(text, 0.30000000000000004), "0.30000000000000004");
    assert_string_equal(sl_format_double(text, 0.3), "0.3");
    assert_string_equal(sl_format_float(text, NAN), "nan");
    struct sl_random random = sl_random_make(2, SL_RANDOM_TEST, 0, 0);
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t words[4];
        sl_random_u32x4(&random, i, words);
        float f = 0.0F;
        double d = 0.0;
        memcpy(&f, words, sizeof(f));
        memcpy(&d, words + 2, sizeof(d));
        if (isfinite(f) && strtof(sl_format_float(text, f), NULL) != f)
            fail_msg("%a became %s", (double)f, text);
        if (isfinite(d) && strtod(sl_format_double(text, d), NULL) != d)
            fail_msg("%a became %s", d, text);
    }
}

static void test_limits(void **state)
{
    (void)state;
    const char *text = NULL;
    struct sl_error err = {0};
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 10);
    sl_json_string(&json, NULL, "12345678");
    assert_int_equal(sl_json_finish(&json, &text, NULL, &err), SL_OK);
    sl_json_reset(&json);
    sl_json_string(&json, NULL, "123456789");
    sl_json_object(&json, NULL); /* ignored, and need not be closed */
    assert_int_equal(sl_json_finish(&json, &text, NULL, &err), SL_FAILED);
    assert_non_null(strstr(err.text, "limit of 10 bytes"));
    SL_AUTO(sl_json_fini) struct sl_json deep;
    sl_json_init(&deep, 4096);
    for (int i = 0; i < SL_JSON_DEPTH_MAX; i++)
        sl_json_array(&deep, NULL);
    for (int i = 0; i < SL_JSON_DEPTH_MAX; i++)
        sl_json_end(&deep);
    assert_int_equal(sl_json_finish(&deep, &text, NULL, &err), SL_OK);
    sl_json_reset(&deep);
    for (int i = 0; i <= SL_JSON_DEPTH_MAX; i++)
        sl_json_array(&deep, NULL);
    assert_int_equal(sl_json_finish(&deep, &text, NULL, &err), SL_FAILED);
}

static void test_no_memory(void **state)
{
    (void)state;
    const char *text = NULL;
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    sl_memory_fail_after(2);
    for (int i = 0; i < 200; i++)
        sl_json_int(&json, NULL, i);
    sl_memory_fail_after(0);
    assert_int_equal(sl_json_finish(&json, &text, NULL, NULL), SL_NO_MEMORY);
}

static void test_utf8(void **state)
{
    (void)state;
    uint32_t point = 0;
    assert_int_equal(sl_utf8_next("\xe4\xbd\xa0", 3, &point), 3);
    assert_int_equal(point, 0x4f60);
    assert_int_equal(sl_utf8_next("\xe4\xbd", 2, &point), 0);
    assert_int_equal(sl_utf8_columns("a你é"), 4);
    assert_int_equal(sl_utf8_cut("a你b", 2), 1);
    assert_int_equal(sl_utf8_cut("a你b", 3), 4);
    assert_true(sl_utf8_is_text("你 a", 5));
    assert_false(sl_utf8_is_text("a\nb", 3));
    assert_false(sl_utf8_is_text("\xe2\x80\xa8", 3)); /* line separator */
    assert_false(sl_utf8_is_text("\xc2\x85", 2));     /* next line */
    assert_false(sl_utf8_is_text("\xff", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_values),
            cmocka_unit_test(test_pretty_and_lines),
            cmocka_unit_test(test_escapes),
            cmocka_unit_test(test_any_bytes_are_json),
            cmocka_unit_test(test_numbers_come_back),
            cmocka_unit_test(test_limits),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
