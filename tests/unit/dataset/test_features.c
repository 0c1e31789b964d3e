/* Arrays of features: shapes, rows of a stack, tensors by name, values that are not finite. */
#include "common/npy.h"
#include "common/safetensors.h"
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/features.h"

#include <fcntl.h>
#include <math.h>

static char *folder;
static struct wk_features *features;
static struct wk_vocab *vocab;

static void write_array(const char *name, int rank, const int64_t *shape, float bad)
{
    static float values[1000];
    for (int i = 0; i < 1000; i++)
        values[i] = (float)i;
    values[7] = bad;
    char *path = fixture_path(folder, name);
    assert_ok(sl_npy_write(path, values, rank, shape, &fixture_error));
    sl_free(path);
}

/* What NumPy would write of a dictionary and some bytes. */
static void write_npy(const char *name, const char *dict, const void *data, size_t size)
{
    char *path = fixture_path(folder, name), bytes[512] = "\x93NUMPY\x01";
    size_t used = 10 + (size_t)snprintf(bytes + 10, sizeof(bytes) - 10, "%-117s\n", dict);
    bytes[8] = (char)(used - 10);
    memcpy(bytes + used, data, size);
    assert_ok(sl_file_write_atomic(path, bytes, used + size, &fixture_error));
    sl_free(path);
}

static int set_up(void **state)
{
    (void)state;
    folder = fixture_folder("features");
    char *words = fixture_path(folder, "vocab.txt");
    static const char tokens[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\n";
    assert_ok(sl_file_write_atomic(words, tokens, sizeof(tokens) - 1, &fixture_error));
    assert_ok(wk_vocab_load(&vocab, words, &fixture_error));
    sl_free(words);
    write_npy("big.npy", "{'descr': '>f4', 'fortran_order': False, 'shape': (3,), }", "123456789012", 12);
    write_npy(
            "fortran.npy", "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3), }", "123456789012", 12);
    static const uint16_t ids[4][6] = {
            {2, 4, 5, 3, 0, 0}, {2, 4, 5, 6, 4, 3}, {4, 5, 6, 4, 5, 6}, {2, 4, 7, 3, 0, 0}};
    write_npy("ids.npy", "{'descr': '<u2', 'fortran_order': False, 'shape': (4, 6), }", ids, sizeof(ids));
    static const uint64_t wide[1] = {UINT64_MAX};
    write_npy("wide.npy", "{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }", wide, sizeof(wide));
    static const int64_t long_ids[2][3] = {{5, 6, 0}, {-1, 4, 3}};
    assert_ok(wk_features_create(&features, &fixture_error));
    write_array("one.npy", 1, (const int64_t[]){3}, 7);
    write_array("rows.npy", 2, (const int64_t[]){10, 3}, 7);
    write_array("stack.npy", 3, (const int64_t[]){5, 2, 3}, 7);
    write_array("flat.npy", 2, (const int64_t[]){5, 3}, 7);
    write_array("none.npy", 2, (const int64_t[]){0, 3}, 7);
    write_array("nan.npy", 2, (const int64_t[]){10, 3}, NAN);
    const float values[6] = {1, 2, 3, 4, 5, 6};
    struct sl_tensor_view tensors[2] = {
            {.name = "a", .dtype = SL_DTYPE_F32, .rank = 2, .shape = {2, 3}, .data = values},
            {.name = "b", .dtype = SL_DTYPE_F32, .rank = 1, .shape = {3}, .data = values + 3},
    };
    char *path = fixture_path(folder, "two.safetensors");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct sl_sink sink = {sl_sink_fd, &fd};
    assert_ok(sl_safetensors_write(&sink, tensors, 2, NULL, 0, &fixture_error));
    (void)close(fd);
    sl_free(path);
    const uint8_t pixels[2][2][3] = {{{0, 1, 2}, {3, 4, 5}}, {{250, 251, 252}, {253, 254, 255}}};
    const struct sl_tensor_view stacks[2] = {
            {.name = "ids", .dtype = SL_DTYPE_I64, .rank = 2, .shape = {2, 3}, .data = long_ids},
            {.name = "pixels", .dtype = SL_DTYPE_U8, .rank = 3, .shape = {2, 2, 3}, .data = pixels}};
    path = fixture_path(folder, "stacks.safetensors");
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_ok(sl_safetensors_write(&sink, stacks, 2, NULL, 0, &fixture_error));
    (void)close(fd);
    sl_free(path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wk_features_destroy(features);
    wk_vocab_destroy(vocab);
    fixture_remove(folder);
    return 0;
}

static void expect(
        const char *file, const char *name, int64_t row, int max_items, int items, float first, float last)
{
    struct wk_manifest_array array = {
            .path = (char *)(uintptr_t)file, .name = (char *)(uintptr_t)name, .row = row};
    float *values = NULL;
    int got = 0;
    assert_ok(wk_features_read(features, folder, &array, 3, max_items, &values, &got, &fixture_error));
    assert_int_equal(got, items);
    assert_true(values[0] == first && values[items * 3 - 1] == last);
    sl_free(values);
}

static void reject(const char *file, const char *name, int64_t row, const char *piece)
{
    struct wk_manifest_array array = {
            .path = (char *)(uintptr_t)file, .name = (char *)(uintptr_t)name, .row = row};
    float *values = NULL;
    int got = 0;
    assert_error(wk_features_read(features, folder, &array, 3, 4, &values, &got, &fixture_error), SL_BAD_DATA,
            piece);
    assert_null(values);
}

static void test_arrays(void **state)
{
    (void)state;
    expect("one.npy", NULL, -1, 4, 1, 0, 2);
    expect("rows.npy", NULL, -1, 10, 10, 0, 29);
    expect("rows.npy", NULL, -1, 2, 2, 6, 23); /* rows 2 and 7 of ten */
    expect("stack.npy", NULL, 4, 4, 2, 24, 29);
    expect("flat.npy", NULL, 4, 4, 1, 12, 14);
    expect("stack.npy", NULL, -1, 10, 10, 0, 29); /* (5, 2, 3): ten rows of three */
    expect("two.safetensors", "a", -1, 4, 2, 1, 6);
    expect("two.safetensors", "b", -1, 4, 1, 4, 6);
    expect("two.safetensors", "a", 1, 4, 1, 4, 6);
    expect("stacks.safetensors", "pixels", 0, 4, 2, 0, 5);
    expect("stacks.safetensors", "pixels", 1, 4, 2, 250, 255);
}

static void test_bad_arrays(void **state)
{
    (void)state;
    reject("absent.npy", NULL, -1, "cannot open");
    reject("rows.npy", "a", -1, "has no \"name\"");
    reject("flat.npy", NULL, 5, "row 5 is asked for, it has 5");
    reject("stack.npy", NULL, 5, "row 5 is asked for, it has 5");
    reject("one.npy", NULL, 0, "is (), no dimensions");
    reject("none.npy", NULL, -1, "no rows");
    reject("nan.npy", NULL, -1, "row 2, number 1 of the array is not finite");
    reject("two.safetensors", NULL, -1, "holds 2 tensors");
    reject("two.safetensors", "c", -1, "no tensor \"c\"");
    reject("two.safetensors", "a", 2, "row 2 is asked for, it has 2");
    reject("two.safetensors", "b", 1, "is (), no dimensions");
    reject("big.npy", NULL, -1, "not little-endian");
    reject("fortran.npy", NULL, 0, "Fortran order");
    struct wk_manifest_array array = {.path = (char *)(uintptr_t) "rows.npy", .row = -1};
    float *values = NULL;
    int got = 0;
    assert_error(wk_features_read(features, folder, &array, 4, 4, &values, &got, &fixture_error), SL_BAD_DATA,
            "is (10, 3), no dimensions at its end make up the config's `in` of 4");
}

static enum sl_status read_tokens(
        const char *file, const char *name, int64_t row, int max_tokens, int32_t **tokens, int *count)
{
    struct wk_manifest_array array = {
            .path = (char *)(uintptr_t)file, .name = (char *)(uintptr_t)name, .row = row};
    return wk_features_read_tokens(
            features, folder, &array, vocab, max_tokens, tokens, count, &fixture_error);
}

static void expect_tokens(const char *file, const char *name, int64_t row, int max_tokens, const char *wanted)
{
    int32_t *tokens = NULL;
    int count = 0;
    char text[64] = "";
    assert_ok(read_tokens(file, name, row, max_tokens, &tokens, &count));
    for (int i = 0; i < count; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d ", (int)tokens[i]);
    assert_string_equal(text, wanted);
    sl_free(tokens);
}

static void test_tokens(void **state)
{
    (void)state;
    expect_tokens("ids.npy", NULL, 0, 8, "2 4 5 3 "); /* padding is dropped */
    expect_tokens("ids.npy", NULL, 1, 8, "2 4 5 6 4 3 ");
    expect_tokens("ids.npy", NULL, 1, 4, "2 4 5 3 ");         /* cut before the last [SEP] */
    expect_tokens("ids.npy", NULL, 2, 8, "2 4 5 6 4 5 6 3 "); /* [CLS] and [SEP] are put around */
    expect_tokens("stacks.safetensors", "ids", 0, 8, "2 5 6 3 ");
    int32_t *tokens = NULL;
    int count = 0;
    assert_error(read_tokens("ids.npy", NULL, 3, 8, &tokens, &count), SL_BAD_DATA,
            "token 2 is id 7, the vocabulary has 7");
    assert_error(
            read_tokens("stacks.safetensors", "ids", 1, 8, &tokens, &count), SL_BAD_DATA, "token 0 is id -1");
    assert_error(read_tokens("ids.npy", NULL, -1, 8, &tokens, &count), SL_BAD_DATA, "give its \"row\"");
    assert_error(read_tokens("ids.npy", NULL, 4, 8, &tokens, &count), SL_BAD_DATA, "row 4 is asked for");
    assert_error(read_tokens("wide.npy", NULL, -1, 8, &tokens, &count), SL_BAD_DATA, "the vocabulary has 7");
    assert_error(read_tokens("flat.npy", NULL, 0, 8, &tokens, &count), SL_BAD_DATA, "are float32");
    assert_error(read_tokens("two.safetensors", "a", 0, 8, &tokens, &count), SL_BAD_DATA, "integer");
    assert_null(tokens);
}

static void test_even_choice(void **state)
{
    (void)state;
    for (int count = 1; count < 40; count++) {
        for (int chosen = 1; chosen <= count; chosen++) {
            int before = -1;
            for (int k = 0; k < chosen; k++) {
                int at = wk_choose_evenly(k, chosen, count);
                assert_true(at > before && at < count);
                before = at;
            }
        }
    }
    assert_int_equal(wk_choose_evenly(0, 1, 3), 1);
    assert_int_equal(wk_choose_evenly(2, 8, 3), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_arrays),
            cmocka_unit_test(test_bad_arrays),
            cmocka_unit_test(test_tokens),
            cmocka_unit_test(test_even_choice),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
