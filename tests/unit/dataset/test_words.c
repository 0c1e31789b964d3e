/* Words: how text is cleaned, folded and cut, and that every code point is treated as Hugging Face treats it. */
#include "cases.h"
#include "worker/dataset/words.h"

#include <setjmp.h>
#include <stdarg.h>
#include <utf8proc.h>
#include <zlib.h>

#include <cmocka.h>

/* cut writes the words with a bar between them. A word that is too long is "LONG". */
static const char *cut(const char *text, size_t size, bool lower_case)
{
    static char result[1 << 16];
    size_t used = 0;
    struct wk_words words;
    struct wk_word word;
    char *copy = malloc(
            size == 0 ? 1 : size); /* of just the right size, so that the sanitizer sees a read beyond it */
    assert_non_null(copy);
    memcpy(copy, text, size);
    wk_words_begin(&words, copy, size, lower_case);
    while (wk_words_next(&words, &word))
        used += (size_t)snprintf(result + used, sizeof result - used, "%s%.*s", used > 0 ? "|" : "",
                word.too_long ? 4 : word.size, word.too_long ? "LONG" : word.bytes);
    assert_false(wk_words_next(&words, &word)); /* stays at the end */
    free(copy);
    result[used] = 0;
    return result;
}

#define CHECK(lower_case, text, expected)                                                                    \
    assert_string_equal(cut(text, sizeof(text) - 1, lower_case), expected)

static void test_cuts(void **state)
{
    (void)state;
    CHECK(true, "", "");
    CHECK(true, " \t\r\n ", "");
    CHECK(true, "The video stays fresh!", "the|video|stays|fresh|!");
    CHECK(false, "The video stays fresh!", "The|video|stays|fresh|!");
    CHECK(true, "a_b-c'd", "a|_|b|-|c|'|d");
    CHECK(true, "视频Video新", "视|频|video|新");
    CHECK(true, "$5 ~^`|<>=+", "$|5|~|^|`|||<|>|=|+");
    CHECK(true, "a\302\240b\343\200\200c", "a|b|c");
    CHECK(true, "“a…b”", "“|a|…|b|”");
}

static void test_folds(void **state)
{
    (void)state;
    CHECK(true, "CAFÉ e\xCC\x81t\xC3\xA9", "cafe|ete");
    CHECK(false, "CAFÉ", "CAFÉ");
    CHECK(true, "İstanbul ẞ ΟΔΟΣ", "istanbul|ß|οδοσ");
    CHECK(true, "Ёлка й", "елка|и");
    CHECK(true, "한", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB");
    CHECK(false, "한", "한");
    CHECK(true, "x\xE3\x80\xAE\xF0\x9D\x85\xA5y",
            "x\xF0\x9D\x85\xA5\xE3\x80\xAEy"); /* canonical order: 216 before 224 */
    CHECK(false, "x\xE3\x80\xAE\xF0\x9D\x85\xA5y", "x\xE3\x80\xAE\xF0\x9D\x85\xA5y");
    CHECK(true, "x\xE3\x80\xAE\xCD\x8F\xF0\x9D\x85\xA5y",
            "x\xE3\x80\xAE\xF0\x9D\x85\xA5y"); /* U+034F stands between */
}

static void test_drops(void **state)
{
    (void)state;
    CHECK(true, "a\0b", "ab");
    CHECK(true,
            "a\x07\x0b\x0c\x7f"
            "b",
            "ab");
    CHECK(true,
            "so\xC2\xAD"
            "ft\xE2\x80\x8B\xEF\xBB\xBF",
            "soft");
    CHECK(true,
            "a\xEF\xBF\xBD"
            "b",
            "ab");
    CHECK(true,
            "a\xEE\x80\x80"
            "b",
            "ab"); /* private use */
    CHECK(true,
            "a\xCD\xB8"
            "b",
            "a\xCD\xB8"
            "b"); /* unassigned: kept */
}

/* Bytes that are no UTF-8 are as if they were not there. */
static void test_not_utf8(void **state)
{
    (void)state;
    CHECK(true,
            "a\xFF"
            "b",
            "ab");
    CHECK(true,
            "a\x80\xBF"
            "b",
            "ab");
    CHECK(true, "a\xC3", "a");
    CHECK(true, "a\xE4\xBD", "a");
    CHECK(true, "\xF0\x9F\x98", "");
    CHECK(true, "\xC0\xAF \xE0\x80\xAF \xF0\x80\x80\xAF", ""); /* overlong */
    CHECK(true,
            "a\xED\xA0\x80"
            "b",
            "ab"); /* a surrogate */
    CHECK(true,
            "a\xF4\x90\x80\x80"
            "b",
            "ab"); /* above U+10FFFF */
    CHECK(true,
            "\xF0\x9F"
            "A",
            "a");
}

static void test_long_words(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 's', sizeof text);
    assert_int_equal(strlen(cut(text, 100, true)), 100);
    assert_string_equal(cut(text, 101, true), "LONG");
    text[150] = ' ';
    text[160] = '.';
    assert_string_equal(cut(text, 164, true), "LONG|sssssssss|.|sss");
    /* 600 accents are none; 600 combining characters that stay are one word that is too long, and the queue holds */
    size_t size = 0;
    text[size++] = 'x';
    for (; size < 1201; size += 2)
        memcpy(text + size, "\xCC\x81", 2);
    text[size++] = 'y';
    assert_string_equal(cut(text, size, true), "xy");
    size = 1;
    for (int i = 0; i < 600; i++, size += 3)
        memcpy(text + size, i % 2 ? "\xE3\x80\xAE" : "\xE3\x80\xAF", 3);
    memcpy(text + size, " z", 2);
    assert_string_equal(cut(text, size + 2, true), "LONG|z");
    assert_string_equal(cut(text, size + 2, false), "LONG|z");
}

/* The checksum of the words of "aCb\u302eC\u{1d165}" for every code point C. */
static uint32_t checksum(bool lower_case)
{
    uLong crc = crc32(0, NULL, 0);
    for (int32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000)
            continue;
        uint8_t point[4];
        int size = (int)utf8proc_encode_char(c, point);
        char text[32];
        size_t used = 0;
        text[used++] = 'a';
        memcpy(text + used, point, (size_t)size);
        used += (size_t)size;
        memcpy(text + used, "b\xE3\x80\xAE", 4);
        used += 4;
        memcpy(text + used, point, (size_t)size);
        used += (size_t)size;
        memcpy(text + used, "\xF0\x9D\x85\xA5", 4);
        struct wk_words words;
        struct wk_word word;
        wk_words_begin(&words, text, used + 4, lower_case);
        while (wk_words_next(&words, &word)) {
            crc = crc32(crc, (const Bytef *)word.bytes, (uInt)word.size);
            crc = crc32(crc, (const Bytef *)"\n", 1);
        }
    }
    return (uint32_t)crc;
}

/* The expected checksums come from Hugging Face's tokenizers (data/tokenizer_cases.mjs) and hold for utf8proc 2.8. */
static void test_every_code_point(void **state)
{
    (void)state;
    if (strncmp(utf8proc_unicode_version(), "15.0", 4) != 0) {
        printf("skipped: utf8proc with Unicode %s, the comparison was made with 15.0\n",
                utf8proc_unicode_version());
        skip();
    }
    char path[CASES_PATH_MAX];
    FILE *file = fopen(data_path(path, "tokenizer_cases.jsonl"), "r");
    assert_non_null(file);
    int checked = 0;
    for (json_t *row; (row = next_row(file)) != NULL; json_decref(row)) {
        const json_t *expected = json_object_get(row, "every_code_point");
        if (expected == NULL)
            continue;
        assert_int_equal(checksum(json_is_true(json_object_get(row, "lower"))), json_integer_value(expected));
        checked++;
    }
    (void)fclose(file);
    assert_int_equal(checked, 2);
}

static void test_classes(void **state)
{
    (void)state;
    assert_int_equal(wk_char_class('a'), WK_CHAR_OTHER);
    assert_int_equal(wk_char_class('7'), WK_CHAR_OTHER);
    assert_int_equal(wk_char_class('$'), WK_CHAR_PUNCTUATION);
    assert_int_equal(wk_char_class(' '), WK_CHAR_SPACE);
    assert_int_equal(wk_char_class(0x3000), WK_CHAR_SPACE);
    assert_int_equal(wk_char_class(0x3002), WK_CHAR_PUNCTUATION);
    assert_int_equal(wk_char_class(0x65B0), WK_CHAR_IDEOGRAPH);
    assert_int_equal(wk_char_class(0x3042), WK_CHAR_OTHER);
    assert_int_equal(wk_char_class(0x7F), WK_CHAR_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_cuts),
            cmocka_unit_test(test_folds),
            cmocka_unit_test(test_drops),
            cmocka_unit_test(test_not_utf8),
            cmocka_unit_test(test_long_words),
            cmocka_unit_test(test_every_code_point),
            cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
