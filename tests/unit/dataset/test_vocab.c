/* Vocabularies: what is read, what is found, and every way in which a vocab.txt can be wrong. */
#include "cases.h"
#include "common/random.h"
#include "worker/dataset/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#define SPECIALS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"

static struct sl_error err;

static struct wk_vocab *parse(const char *text, size_t size)
{
    struct wk_vocab *vocab = NULL;
    char *copy = malloc(size); /* just the right size, for the sanitizer */
    assert_non_null(copy);
    memcpy(copy, text, size);
    if (wk_vocab_parse(&vocab, copy, size, "v.txt", &err) != SL_OK)
        fail_msg("%s", err.text);
    free(copy);
    return vocab;
}

static void expect_bad(const char *text, size_t size, const char *says)
{
    struct wk_vocab *vocab = NULL;
    memset(&err, 0, sizeof err);
    enum sl_status status = wk_vocab_parse(&vocab, text, size, "v.txt", &err);
    assert_null(vocab);
    if (status != SL_BAD_DATA || strstr(err.text, says) == NULL || strstr(err.text, "v.txt") == NULL)
        fail_msg("status %s, text \"%s\", expected \"%s\"", sl_status_name(status), err.text, says);
}

#define EXPECT_BAD(text, says) expect_bad(text, sizeof(text) - 1, says)

static void test_finds(void **state)
{
    (void)state;
    static const char text[] = SPECIALS "a\n##a\n新\n##\n#\n###\nabc";
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(text, sizeof text - 1);
    assert_int_equal(wk_vocab_size(vocab), 11);
    assert_int_equal(wk_vocab_find(vocab, "[PAD]", 5), 0);
    assert_int_equal(wk_vocab_find(vocab, "a", 1), 4);
    assert_int_equal(wk_vocab_find(vocab, "##a", 3), 5);
    assert_int_equal(wk_vocab_find(vocab, "##", 2), 7);
    assert_int_equal(wk_vocab_find(vocab, "#", 1), 8);
    assert_int_equal(wk_vocab_find(vocab, "###", 3), 9);
    assert_int_equal(wk_vocab_find(vocab, "abc", 3), 10);
    assert_int_equal(wk_vocab_find(vocab, "ab", 2), -1);
    assert_int_equal(wk_vocab_find(vocab, "", 0), -1);
    assert_string_equal(wk_vocab_token(vocab, 6), "新");
    assert_string_equal(wk_vocab_token(vocab, 5), "##a");
    assert_string_equal(wk_vocab_token(vocab, 10), "abc");
    assert_null(wk_vocab_token(vocab, 11));
    assert_null(wk_vocab_token(vocab, -1));
    assert_int_equal(wk_vocab_special(vocab, WK_SPECIAL_SEP), 3);
    assert_int_equal(wk_vocab_special(vocab, WK_SPECIAL_MASK), -1);
    assert_string_equal(wk_special_name(WK_SPECIAL_CLS), "[CLS]");
    size_t size = 0;
    assert_memory_equal(wk_vocab_bytes(vocab, &size), text, sizeof text - 1);
    assert_int_equal(size, sizeof text - 1);
    assert_true(wk_vocab_hash(vocab) == sl_hash64(text, sizeof text - 1, 0));
}

static void test_longest(void **state)
{
    (void)state;
    static const char text[] = SPECIALS "a\nab\n##b\n##bcd\n新\n";
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(text, sizeof text - 1);
    int size = -1;
    assert_int_equal(wk_vocab_longest(vocab, "abc", 3, false, &size), 5);
    assert_int_equal(size, 2);
    assert_int_equal(wk_vocab_longest(vocab, "bcde", 4, true, &size), 7);
    assert_int_equal(size, 3);
    assert_int_equal(wk_vocab_longest(vocab, "bc", 2, true, &size), 6);
    assert_int_equal(size, 1);
    assert_int_equal(wk_vocab_longest(vocab, "bc", 2, false, &size), -1);
    assert_int_equal(wk_vocab_longest(vocab, "新鲜", 6, false, &size), 8);
    assert_int_equal(size, 3);
    assert_int_equal(wk_vocab_longest(vocab, "", 0, false, &size), -1);
}

static void test_line_ends(void **state)
{
    (void)state;
    static const char text[] = "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\nvideo\r\n";
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(text, sizeof text - 1);
    assert_int_equal(wk_vocab_size(vocab), 5);
    assert_int_equal(wk_vocab_find(vocab, "video", 5), 4);
    assert_string_equal(wk_vocab_token(vocab, 4), "video");
}

static void test_bad_files(void **state)
{
    (void)state;
    EXPECT_BAD("", "empty");
    EXPECT_BAD("\n", "v.txt:1: the line is empty");
    EXPECT_BAD(SPECIALS "a\n\nb\n", "v.txt:6: the line is empty");
    EXPECT_BAD(SPECIALS "a\n\n", "v.txt:6: the line is empty");
    EXPECT_BAD(SPECIALS "a\nb\na\n", "v.txt:7: token \"a\" is on line 5 already");
    EXPECT_BAD(SPECIALS "##a\n##a\n", "v.txt:6: token \"##a\" is on line 5 already");
    EXPECT_BAD("[UNK]\n[CLS]\n[SEP]\n", "[PAD] is missing");
    EXPECT_BAD("[PAD]\n[CLS]\n[SEP]\n", "[UNK] is missing");
    EXPECT_BAD("[PAD]\n[UNK]\n[SEP]\n", "[CLS] is missing");
    EXPECT_BAD("[PAD]\n[UNK]\n[CLS]\n", "[SEP] is missing");
    EXPECT_BAD(SPECIALS "a\xFF\n", "v.txt:5: not UTF-8");
    EXPECT_BAD(SPECIALS "a\0b\n", "v.txt:5: not UTF-8");
    EXPECT_BAD("\xEF\xBB\xBF" SPECIALS, "byte order mark");
}

static void test_limits(void **state)
{
    (void)state;
    size_t size = sizeof SPECIALS - 1 + WK_VOCAB_TOKEN_BYTES_MAX + 1;
    char *text = malloc(size);
    assert_non_null(text);
    memcpy(text, SPECIALS, sizeof SPECIALS - 1);
    memset(text + sizeof SPECIALS - 1, 'x', WK_VOCAB_TOKEN_BYTES_MAX + 1);
    expect_bad(text, size, "v.txt:5: a token of 1025 bytes");
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(text, size - 1);
    assert_int_equal(wk_vocab_size(vocab), 5);
    free(text);

    char *lines = malloc(2 * (WK_VOCAB_TOKENS_MAX + 1));
    assert_non_null(lines);
    memset(lines, '\n', 2 * (WK_VOCAB_TOKENS_MAX + 1));
    expect_bad(lines, 2 * (WK_VOCAB_TOKENS_MAX + 1), "more than 1048576 tokens");
    free(lines);
    expect_bad("x", (size_t)WK_VOCAB_FILE_MAX + 1, "larger than"); /* refused before a byte is read */
}

static void test_load(void **state)
{
    (void)state;
    struct wk_vocab *vocab = NULL;
    assert_int_equal(wk_vocab_load(&vocab, "no/such/vocab.txt", &err), SL_NOT_FOUND);
    assert_non_null(strstr(err.text, "no/such/vocab.txt"));
    assert_int_equal(wk_vocab_load(&vocab, "no/such/vocab.txt", NULL), SL_NOT_FOUND);
    assert_int_not_equal(wk_vocab_load(&vocab, "/tmp", &err), SL_OK);
    assert_null(vocab);
    char path[] = "vocab.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, SPECIALS "a\n", sizeof SPECIALS + 1), sizeof SPECIALS + 1);
    (void)close(fd);
    assert_int_equal(wk_vocab_load(&vocab, path, &err), SL_OK);
    assert_int_equal(wk_vocab_size(vocab), 5);
    wk_vocab_destroy(vocab);
    (void)unlink(path);
    wk_vocab_destroy(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct wk_vocab *vocab = NULL;
    enum sl_status status = SL_NO_MEMORY;
    for (uint64_t n = 1; status != SL_OK; n++) {
        assert_true(n < 100);
        sl_memory_fail_after(n);
        status = wk_vocab_parse(&vocab, SPECIALS, sizeof SPECIALS - 1, "v.txt", &err);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || status == SL_NO_MEMORY);
        assert_true((status == SL_OK) == (vocab != NULL));
    }
    wk_vocab_destroy(vocab);
}

static void test_shared_vocabularies(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int size, mask;
    } files[] = {{"vocab/bert-base-chinese-vocab.txt", 21128, 103},
            {"vocab/bert-base-uncased-vocab.txt", 30522, 103}};
    char path[CASES_PATH_MAX];
    for (int i = 0; i < 2; i++) {
        if (!shared_path(path, files[i].name)) {
            print_message("skipped: no ../shared/data/%s\n", files[i].name);
            skip();
        }
        SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
        assert_int_equal(wk_vocab_load(&vocab, path, &err), SL_OK);
        assert_int_equal(wk_vocab_size(vocab), files[i].size);
        assert_int_equal(wk_vocab_special(vocab, WK_SPECIAL_MASK), files[i].mask);
        for (int32_t id = 0; id < files[i].size; id++) {
            const char *token = wk_vocab_token(vocab, id);
            assert_int_equal(wk_vocab_find(vocab, token, strlen(token)), id);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_finds),
            cmocka_unit_test(test_longest),
            cmocka_unit_test(test_line_ends),
            cmocka_unit_test(test_bad_files),
            cmocka_unit_test(test_limits),
            cmocka_unit_test(test_load),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_shared_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
