/* The tokenizer: the ids of Hugging Face's tokenizer for a few hundred texts, the joining and cutting of pieces, and, where the real data
 * lies beside the project, the ids of whole data sets. */
#include "cases.h"
#include "common/npy.h"
#include "common/random.h"
#include "worker/dataset/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define IDS_MAX 512

static struct sl_error err;

static struct wk_vocab *parse(const char *text)
{
    struct wk_vocab *vocab = NULL;
    if (wk_vocab_parse(&vocab, text, strlen(text), "test", &err) != SL_OK)
        fail_msg("%s", err.text);
    return vocab;
}

static const char small[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"                     /* 0 … 4 */
                            "the\nvideo\nst\n##ay\n##s\n##ays\n新\n!\nu\n##n\n##un\n"; /* 5 … 15 */

/* encode gives the ids as text. */
static const char *encode(
        const struct wk_vocab *vocab, const struct wk_text *pieces, int piece_count, int max_tokens)
{
    static char result[8 * IDS_MAX];
    int32_t *ids = malloc((size_t)max_tokens * sizeof *ids); /* just the right size, for the sanitizer */
    assert_non_null(ids);
    int count = wk_tokenizer_encode(vocab, true, pieces, piece_count, max_tokens, ids);
    assert_in_range(count, 2, max_tokens);
    size_t used = 0;
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(result + used, sizeof result - used, "%s%d", i > 0 ? " " : "", ids[i]);
    free(ids);
    return result;
}

static const char *encode_one(const struct wk_vocab *vocab, const char *text, int max_tokens)
{
    return encode(vocab, &(struct wk_text){text, strlen(text)}, 1, max_tokens);
}

static void test_pieces_of_words(void **state)
{
    (void)state;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(small);
    assert_string_equal(encode_one(vocab, "The video stays!", 32), "2 5 6 7 10 12 3");
    assert_string_equal(encode_one(vocab, "stay stayays", 32), "2 7 8 7 8 10 3");
    assert_string_equal(encode_one(vocab, "", 32), "2 3");
    assert_string_equal(encode_one(vocab, "xyz 新新 stx", 32),
            "2 1 11 11 1 3"); /* one unknown rest: the word is unknown */
    assert_string_equal(encode_one(vocab, "unun", 32), "2 13 14 15 3");
    assert_string_equal(encode(vocab, &(struct wk_text){NULL, 0}, 1, 32), "2 3");
    assert_string_equal(encode(vocab, NULL, 0, 32), "2 3");
}

static void test_special_tokens(void **state)
{
    (void)state;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(small);
    assert_string_equal(encode_one(vocab, "the [MASK] video", 32), "2 5 4 6 3");
    assert_string_equal(encode_one(vocab, "the[MASK]video[SEP]", 32), "2 5 4 6 3 3");
    assert_string_equal(encode_one(vocab, "[PAD][UNK][CLS]", 32), "2 0 1 2 3");
    assert_string_equal(encode_one(vocab, "[mask]", 32), "2 1 1 1 3");
    assert_string_equal(encode_one(vocab, "[the[MASK", 32), "2 1 5 1 1 3");

    SL_AUTO(wk_vocab_destroy_auto)
    struct wk_vocab *without = parse("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[\n]\nmask\n");
    assert_int_equal(wk_vocab_special(without, WK_SPECIAL_MASK), -1);
    assert_string_equal(encode_one(without, "[MASK]", 32), "2 4 6 5 3");
}

static void test_fields(void **state)
{
    (void)state;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(small);
    struct wk_text three[] = {{"the video", 9}, {"新", 3}, {"!", 1}};
    assert_string_equal(encode(vocab, three, 3, 32), "2 5 6 3 11 3 12 3");
    /* cut at the end; a [SEP] without a token after it is not written */
    assert_string_equal(encode(vocab, three, 3, 8), "2 5 6 3 11 3 12 3");
    assert_string_equal(encode(vocab, three, 3, 7), "2 5 6 3 11 3");
    assert_string_equal(encode(vocab, three, 3, 6), "2 5 6 3 11 3");
    assert_string_equal(encode(vocab, three, 3, 5), "2 5 6 3");
    assert_string_equal(encode(vocab, three, 3, 3), "2 5 3");
    assert_string_equal(encode(vocab, three, 3, 2), "2 3");
    /* fields with nothing in them leave no trace */
    struct wk_text gaps[] = {{" ", 1}, {"the", 3}, {NULL, 0}, {"\xFF", 1}, {"video", 5}, {"", 0}};
    assert_string_equal(encode(vocab, gaps, 6, 32), "2 5 3 6 3");
}

static void test_limits(void **state)
{
    (void)state;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(small);
    size_t size = WK_TEXT_BYTES_MAX + 4;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    memcpy(text + WK_TEXT_BYTES_MAX, "the ", 4);
    assert_string_equal(
            encode(vocab, &(struct wk_text){text, size}, 1, 32), "2 3"); /* what is beyond is not read */
    memcpy(text + WK_TEXT_BYTES_MAX - 4, "the ", 4);
    assert_string_equal(encode(vocab, &(struct wk_text){text, size}, 1, 32), "2 5 3");
    memset(text, '[', size);
    assert_string_equal(encode(vocab, &(struct wk_text){text, size}, 1, 5), "2 1 1 1 3");
    memset(text, 'u', size);
    assert_string_equal(encode(vocab, &(struct wk_text){text, size}, 1, 5), "2 1 3");
    free(text);
}

/* Any bytes: 2 … max ids, each of the vocabulary, [CLS] first and [SEP] last, the same again. */
static void test_any_bytes(void **state)
{
    (void)state;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = parse(small);
    struct sl_random random = sl_random_make(1, SL_RANDOM_TEST, 0, 0);
    for (uint64_t round = 0; round < 2000; round++) {
        char bytes[64];
        size_t size = sl_random_below(&random, round * 128, sizeof bytes + 1);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (char)sl_random_u32(&random, round * 128 + 1 + i);
        int max = 2 + (int)sl_random_below(&random, round * 128 + 100, 20);
        int32_t ids[2][32];
        int counts[2];
        for (int i = 0; i < 2; i++)
            counts[i] = wk_tokenizer_encode(vocab, round % 2, &(struct wk_text){bytes, size}, 1, max, ids[i]);
        assert_in_range(counts[0], 2, max);
        assert_int_equal(counts[0], counts[1]);
        assert_memory_equal(ids[0], ids[1], (size_t)counts[0] * sizeof ids[0][0]);
        for (int i = 0; i < counts[0]; i++)
            assert_in_range(ids[0][i], 0, wk_vocab_size(vocab) - 1);
        assert_int_equal(ids[0][0], 2);
        assert_int_equal(ids[0][counts[0] - 1], 3);
    }
}

static struct wk_text text_of(const json_t *value)
{
    return (struct wk_text){json_string_value(value), json_string_length(value)};
}

static void check_case(const struct wk_vocab *vocab, const json_t *row, int number)
{
    struct wk_text pieces[] = {
            text_of(json_object_get(row, "text")), text_of(json_object_get(row, "second"))};
    const json_t *ids = json_object_get(row, "ids");
    int32_t found[IDS_MAX];
    int max = (int)json_integer_value(json_object_get(row, "max"));
    assert_in_range(max, 2, IDS_MAX);
    int count =
            wk_tokenizer_encode(vocab, json_is_true(json_object_get(row, "lower")), pieces, 2, max, found);
    bool same = (size_t)count == json_array_size(ids);
    for (int i = 0; same && i < count; i++)
        same = found[i] == json_integer_value(json_array_get(ids, (size_t)i));
    if (!same) {
        char *text = json_dumps(row, JSON_COMPACT);
        for (int i = 0; i < count; i++)
            print_error("%s ", wk_vocab_token(vocab, found[i]));
        print_error("\n");
        fail_msg("case %d: %s", number, text);
    }
}

static void test_hugging_face(void **state)
{
    (void)state;
    char path[CASES_PATH_MAX];
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    if (wk_vocab_load(&vocab, data_path(path, "tokenizer_vocab.txt"), &err) != SL_OK)
        fail_msg("%s", err.text);
    FILE *file = fopen(data_path(path, "tokenizer_cases.jsonl"), "r");
    assert_non_null(file);
    int checked = 0;
    for (json_t *row; (row = next_row(file)) != NULL; json_decref(row))
        if (json_object_get(row, "ids") != NULL)
            check_case(vocab, row, ++checked);
    (void)fclose(file);
    assert_true(checked > 400);
    print_message("%d texts as Hugging Face\n", checked);
}

/* A field of the rows and the array of ids, padded with 0, that it must give. */
struct column {
    const char *field, *array;
    struct sl_npy_header header;
    float *ids; /* (rows, width) */
};

static void load_column(struct column *column)
{
    char path[CASES_PATH_MAX];
    SL_AUTO(sl_npy_close_auto) struct sl_npy *array = NULL;
    assert_true(shared_path(path, column->array));
    assert_int_equal(sl_npy_open(&array, path, &err), SL_OK);
    column->header = *sl_npy_header(array);
    assert_in_range(column->header.shape[1], 2, IDS_MAX);
    column->ids = sl_alloc((size_t)column->header.count, sizeof *column->ids);
    assert_non_null(column->ids);
    assert_int_equal(sl_npy_read(array, 0, column->header.count, column->ids, &err), SL_OK);
}

static void compare_row(
        const struct wk_vocab *vocab, const struct column *column, const json_t *row, int64_t r)
{
    int width = (int)column->header.shape[1];
    const float *expected = column->ids + r * width;
    int32_t found[IDS_MAX] = {0};
    struct wk_text text = text_of(json_object_get(row, column->field));
    (void)wk_tokenizer_encode(vocab, true, &text, 1, width, found);
    for (int i = 0; i < width; i++)
        if (found[i] != (int32_t)expected[i])
            fail_msg("%s row %lld token %d: %d, expected %d: %s", column->array, (long long)r, i, found[i],
                    (int)expected[i], text.bytes);
}

/* compare_rows holds every row of JSON lines against the arrays. */
static void compare_rows(FILE *file, const char *vocab_name, struct column *columns, int column_count)
{
    char path[CASES_PATH_MAX];
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    assert_true(shared_path(path, vocab_name));
    assert_int_equal(wk_vocab_load(&vocab, path, &err), SL_OK);
    for (int i = 0; i < column_count; i++)
        load_column(&columns[i]);
    int64_t rows = columns[0].header.shape[0];
    for (int64_t r = 0; r < rows; r++) {
        json_t *row = next_row(file);
        assert_non_null(row);
        for (int i = 0; i < column_count; i++)
            compare_row(vocab, &columns[i], row, r);
        json_decref(row);
    }
    for (int i = 0; i < column_count; i++)
        sl_free(columns[i].ids);
    print_message("%lld rows of %s as stored\n", (long long)rows, columns[0].array);
}

static void test_shared_titles(void **state)
{
    (void)state;
    char path[CASES_PATH_MAX];
    if (!shared_path(path, "fashion_title_image/samples.jsonl")) {
        print_message("skipped: no ../shared/data/fashion_title_image\n");
        skip();
    }
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    struct column column = {.field = "title", .array = "fashion_title_image/text_ids.npy"};
    compare_rows(file, "vocab/bert-base-uncased-vocab.txt", &column, 1);
    (void)fclose(file);
}

static void test_shared_questions(void **state)
{
    (void)state;
    char path[CASES_PATH_MAX];
    if (!shared_path(path, "zhihu_timeliness/zhihu_timeliness.jsonl.xz") ||
            system("xz --version >/dev/null 2>&1") != 0) {
        print_message("skipped: no ../shared/data/zhihu_timeliness, or no xz\n");
        skip();
    }
    char command[CASES_PATH_MAX + 64];
    (void)snprintf(command, sizeof command, "xz -dc '%s' | tail -n 48000", path);
    FILE *file = popen(command, "r");
    assert_non_null(file);
    struct column columns[] = {{.field = "title", .array = "zhihu_timeliness/title_ids.npy"},
            {.field = "excerpt", .array = "zhihu_timeliness/excerpt_ids.npy"}};
    compare_rows(file, "vocab/bert-base-chinese-vocab.txt", columns, 2);
    assert_int_equal(pclose(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_pieces_of_words),
            cmocka_unit_test(test_special_tokens),
            cmocka_unit_test(test_fields),
            cmocka_unit_test(test_limits),
            cmocka_unit_test(test_any_bytes),
            cmocka_unit_test(test_hugging_face),
            cmocka_unit_test(test_shared_titles),
            cmocka_unit_test(test_shared_questions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
