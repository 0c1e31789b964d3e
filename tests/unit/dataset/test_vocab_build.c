/* Building vocabularies: joins worked out by hand, the same bytes in any order, bounded memory, and texts that stay readable. */
#include "cases.h"
#include "worker/dataset/tokenizer.h"
#include "worker/dataset/vocab.h"
#include "worker/dataset/vocab_build.h"
#include "worker/dataset/vocab_join.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct sl_error err;

static struct wk_vocab_builder *create(struct wk_vocab_options options)
{
    struct wk_vocab_builder *builder = NULL;
    if (wk_vocab_builder_create(&builder, &options, &err) != SL_OK)
        fail_msg("%s", err.text);
    return builder;
}

static void add(struct wk_vocab_builder *builder, const char *text)
{
    assert_int_equal(wk_vocab_builder_add(builder, text, strlen(text), &err), SL_OK);
}

/* finish gives the text, checks that it loads, and destroys the builder. */
static char *finish(struct wk_vocab_builder *builder, struct wk_vocab_stats *stats)
{
    char *text = NULL;
    size_t size = 0;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    if (wk_vocab_builder_finish(builder, &text, &size, stats, &err) != SL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(strlen(text), size);
    if (wk_vocab_parse(&vocab, text, size, "built", &err) != SL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(wk_vocab_size(vocab), stats->tokens);
    wk_vocab_builder_destroy(builder);
    return text;
}

static int32_t intern(struct wk_strings *strings, const char *text)
{
    return wk_strings_intern(strings, text, strlen(text));
}

/* "aaab" twice and "xab" three times: a ##a 2, ##a ##a 2, ##a ##b 2 + 3, x ##a 3. */
static void test_joins_by_hand(void **state)
{
    (void)state;
    SL_AUTO(wk_strings_fini) struct wk_strings strings = {0};
    SL_AUTO(wk_join_destroy_auto) struct wk_join *join = wk_join_create();
    assert_non_null(join);
    int32_t a = intern(&strings, "a");
    int32_t x = intern(&strings, "x");
    int32_t ca = intern(&strings, "##a");
    int32_t cb = intern(&strings, "##b");
    assert_int_equal(wk_join_add_word(join, (int32_t[]){a, ca, ca, cb}, 4, 2), SL_OK);
    assert_int_equal(wk_join_add_word(join, (int32_t[]){x, ca, cb}, 3, 3), SL_OK);
    assert_int_equal(wk_join_run(join, &strings, 100, 2), SL_OK);
    /* ##a ##b (5) → ##ab; then x ##ab (3) → xab; then a ##a (2) before ##a ##ab (2): the smaller number first → aa; aa ##ab → aaab */
    static const char *const expected[] = {"a", "x", "##a", "##b", "##ab", "xab", "aa", "aaab"};
    assert_int_equal(strings.count, 8);
    for (int32_t i = 0; i < 8; i++) {
        size_t size;
        assert_string_equal(wk_strings_get(&strings, i, &size), expected[i]);
    }
}

/* A pair that overlaps itself: x ##a ##a ##a ##a ##a becomes x ##aa ##aa ##a. */
static void test_joins_runs(void **state)
{
    (void)state;
    SL_AUTO(wk_strings_fini) struct wk_strings strings = {0};
    SL_AUTO(wk_join_destroy_auto) struct wk_join *join = wk_join_create();
    assert_non_null(join);
    int32_t x = intern(&strings, "x");
    int32_t ca = intern(&strings, "##a");
    assert_int_equal(wk_join_add_word(join, (int32_t[]){x, ca, ca, ca, ca, ca}, 6, 1), SL_OK);
    assert_int_equal(wk_join_run(join, &strings, 100, 1), SL_OK);
    /* x ##aa ##aa ##a: of three pairs that occur once x ##aa has the smallest numbers, then ##aa ##a */
    static const char *const expected[] = {"x", "##a", "##aa", "xaa", "##aaa", "xaaaaa"};
    assert_int_equal(strings.count, 6);
    for (int32_t i = 0; i < 6; i++) {
        size_t size;
        assert_string_equal(wk_strings_get(&strings, i, &size), expected[i]);
    }
}

static const char *const texts[] = {"Breaking news: fire at the harbour", "明天天气：北方有雨",
        "the harbour fire, day two", "fire fire fire!", "今天天气很好", "Café crème at the harbour café",
        "ニュース ニュース", "news of the day"};
#define TEXTS ((int)(sizeof texts / sizeof *texts))

static bool has_line(const char *text, const char *line)
{
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "\n%s\n", line);
    return strstr(text, wanted) != NULL;
}

static void test_builds(void **state)
{
    (void)state;
    struct wk_vocab_stats stats;
    struct wk_vocab_builder *builder =
            create((struct wk_vocab_options){.size = 300, .min_count = 2, .lower_case = true});
    for (int i = 0; i < TEXTS; i++)
        add(builder, texts[i]);
    SL_AUTO_FREE char *text = finish(builder, &stats);
    assert_int_equal(strncmp(text, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n!\n", 33), 0);
    assert_true(has_line(text, "fire") && has_line(text, "harbour") && has_line(text, "news"));
    assert_true(has_line(text, "天") && !has_line(text, "##天") && !has_line(text, "雨"));
    assert_true(
            has_line(text, "z") && has_line(text, "##z") && has_line(text, "##9") && !has_line(text, "Z"));
    assert_true(has_line(text, "ニ") && has_line(text, "##ニ"));
    assert_true(has_line(text, "cafe") && !has_line(text, "é"));
    assert_int_equal(stats.texts, TEXTS);
    assert_int_equal(stats.tokens, WK_SPECIALS + stats.character_tokens + stats.joined_tokens);
    assert_true(stats.tokens <= 300);
    assert_true(stats.covered < stats.characters);
    assert_int_equal(stats.forgotten_words, 0);
}

static void test_keeps_case(void **state)
{
    (void)state;
    struct wk_vocab_stats stats;
    struct wk_vocab_builder *builder = create((struct wk_vocab_options){.size = 400, .min_count = 1});
    for (int i = 0; i < TEXTS; i++)
        add(builder, texts[i]);
    SL_AUTO_FREE char *text = finish(builder, &stats);
    assert_true(has_line(text, "Z") && has_line(text, "é") && has_line(text, "Café") && has_line(text, "雨"));
    assert_int_equal(stats.covered, stats.characters);
}

static void test_any_order(void **state)
{
    (void)state;
    struct wk_vocab_stats stats;
    struct wk_vocab_options options = {.size = 400, .min_count = 1, .lower_case = true};
    struct wk_vocab_builder *forward = create(options);
    struct wk_vocab_builder *backward = create(options);
    for (int i = 0; i < TEXTS; i++) {
        add(forward, texts[i]);
        add(backward, texts[TEXTS - 1 - i]);
    }
    SL_AUTO_FREE char *one = finish(forward, &stats);
    SL_AUTO_FREE char *two = finish(backward, &stats);
    assert_string_equal(one, two);
}

/* When room runs out the rarest words go; frequent ones stay and are joined. */
static void test_forgets(void **state)
{
    (void)state;
    struct wk_vocab_stats stats;
    struct wk_vocab_builder *builder = create(
            (struct wk_vocab_options){.size = 400, .min_count = 2, .lower_case = true, .words_max = 100});
    for (int i = 0; i < 2000; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "frequent word%d other%d", i, i * 7);
        add(builder, text);
    }
    SL_AUTO_FREE char *text = finish(builder, &stats);
    assert_true(has_line(text, "frequent"));
    assert_true(stats.distinct_words <= 100);
    assert_true(stats.forgotten_words >= 3800);
    assert_int_equal(stats.words, 6000);
}

static void test_refuses(void **state)
{
    (void)state;
    struct wk_vocab_builder *builder = NULL;
    assert_int_equal(
            wk_vocab_builder_create(&builder, &(struct wk_vocab_options){.size = 255, .min_count = 1}, &err),
            SL_USAGE);
    assert_non_null(strstr(err.text, "256"));
    assert_int_equal(
            wk_vocab_builder_create(&builder,
                    &(struct wk_vocab_options){.size = WK_VOCAB_TOKENS_MAX + 1, .min_count = 1}, &err),
            SL_USAGE);
    assert_int_equal(
            wk_vocab_builder_create(&builder, &(struct wk_vocab_options){.size = 300, .min_count = 0}, &err),
            SL_USAGE);
    assert_null(builder);
    builder = create((struct wk_vocab_options){.size = 300, .min_count = 1});
    add(builder, " \x01\xFF ");
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(wk_vocab_builder_finish(builder, &text, &size, NULL, &err), SL_BAD_DATA);
    assert_null(text);
    wk_vocab_builder_destroy(builder);
    wk_vocab_builder_destroy(NULL);
}

static enum sl_status build_once(char **ret_text)
{
    SL_AUTO(wk_vocab_builder_destroy_auto) struct wk_vocab_builder *builder = NULL;
    struct wk_vocab_options options = {.size = 400, .min_count = 1, .words_max = 64};
    enum sl_status status = wk_vocab_builder_create(&builder, &options, &err);
    for (int i = 0; i < TEXTS && status == SL_OK; i++)
        status = wk_vocab_builder_add(builder, texts[i], strlen(texts[i]), &err);
    size_t size = 0;
    return status == SL_OK ? wk_vocab_builder_finish(builder, ret_text, &size, NULL, &err) : status;
}

static void test_no_memory(void **state)
{
    (void)state;
    char *text = NULL;
    enum sl_status status = SL_NO_MEMORY;
    uint64_t n = 1;
    for (; status != SL_OK; n++) {
        assert_true(n < 10000);
        sl_memory_fail_after(n);
        status = build_once(&text);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || status == SL_NO_MEMORY);
        assert_true((status == SL_OK) == (text != NULL));
    }
    sl_free(text);
    print_message("%d allocations failed one by one\n", (int)n - 2);
}

/* A vocabulary of the questions of one split must read those of another: few unknown tokens. */
static void test_shared_questions(void **state)
{
    (void)state;
    static const char *const fields[] = {"english", "chinese"};
    char path[CASES_PATH_MAX];
    if (!shared_path(path, "evergreen_qa/evergreen_qa.jsonl")) {
        print_message("skipped: no ../shared/data/evergreen_qa\n");
        skip();
    }
    struct wk_vocab_builder *builder =
            create((struct wk_vocab_options){.size = 6000, .min_count = 2, .lower_case = true});
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (json_t *row; (row = next_row(file)) != NULL; json_decref(row))
        for (int i = 0; i < 2 && strncmp(json_string_value(json_object_get(row, "split")), "train", 5) == 0;
                i++)
            add(builder, json_string_value(json_object_get(row, fields[i])));
    struct wk_vocab_stats stats;
    SL_AUTO_FREE char *text = finish(builder, &stats);
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    assert_int_equal(wk_vocab_parse(&vocab, text, strlen(text), "built", &err), SL_OK);
    rewind(file);
    int64_t tokens[2] = {0};
    int64_t unknown[2] = {0};
    for (json_t *row; (row = next_row(file)) != NULL; json_decref(row)) {
        if (strcmp(json_string_value(json_object_get(row, "split")), "test") != 0)
            continue;
        for (int i = 0; i < 2; i++) {
            int32_t ids[256];
            const json_t *value = json_object_get(row, fields[i]);
            struct wk_text piece = {json_string_value(value), json_string_length(value)};
            int count = wk_tokenizer_encode(vocab, true, &piece, 1, 256, ids);
            tokens[i] += count - 2;
            for (int t = 0; t < count; t++)
                unknown[i] += ids[t] == wk_vocab_special(vocab, WK_SPECIAL_UNK);
        }
    }
    (void)fclose(file);
    for (int i = 0; i < 2; i++) {
        print_message(
                "%s: %lld tokens, %lld unknown\n", fields[i], (long long)tokens[i], (long long)unknown[i]);
        assert_true(unknown[i] * 33 < tokens[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_joins_by_hand),
            cmocka_unit_test(test_joins_runs),
            cmocka_unit_test(test_builds),
            cmocka_unit_test(test_keeps_case),
            cmocka_unit_test(test_any_order),
            cmocka_unit_test(test_forgets),
            cmocka_unit_test(test_refuses),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_shared_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
