/* Versions of blocks in a worker's memory: what is taken, what is let pass, what is claimed to be held. */
#include "worker/holding.h"

#include "tests/unit/worker/fixture.h"

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static float *params;
static int *owners; /* (block_count,): two servers by turns */
static struct wk_holding holding;

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    layout = fixture_layout(config);
    params = sl_alloc_aligned(layout->count, sizeof(float));
    owners = sl_alloc((size_t)layout->block_count, sizeof(*owners));
    assert_true(params != NULL && owners != NULL);
    for (int b = 0; b < layout->block_count; b++)
        owners[b] = b % 2;
    assert_int_equal(wk_holding_init(&holding, layout, params, &err), SL_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wk_holding_fini(&holding);
    sl_free(params);
    sl_free(owners);
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

static bool take(
        int block, int64_t version, enum sl_encoding encoding, int64_t held, const void *bytes, size_t size)
{
    struct sl_message m = {.kind = SL_MESSAGE_PARAMS,
            .version = version,
            .held = held,
            .block = (uint32_t)block,
            .frame_count = 1};
    m.frames[0] = (struct sl_frame){NULL, bytes, size};
    m.encoding[0] = encoding;
    return wk_holding_take(&holding, &m);
}

static bool take_all_of(int block, int64_t version, float value)
{
    size_t count = layout->blocks[block].count;
    float *values = sl_alloc(count, sizeof(float));
    for (size_t i = 0; i < count; i++)
        values[i] = value;
    bool taken = take(block, version, SL_ENCODING_DENSE, -1, values, count * sizeof(float));
    sl_free(values);
    return taken;
}

/* The first line is `value`. */
static bool take_a_line(int block, int64_t version, int64_t held, float value)
{
    size_t bitmap = sl_encoding_bitmap_size(layout->blocks[block].count);
    unsigned char bytes[256] = {1};
    assert_true(bitmap + 64 <= sizeof(bytes));
    for (int i = 0; i < SL_LINE_FLOATS; i++)
        memcpy(bytes + bitmap + 4 * i, &value, sizeof(value));
    return take(block, version, SL_ENCODING_CHANGED, held, bytes, bitmap + 64);
}

static bool take_nothing(int block, int64_t version, int64_t held)
{
    return take(block, version, SL_ENCODING_CHANGED, held, "", 0);
}

static float number(int block, size_t i)
{
    return params[layout->blocks[block].offset + i];
}

static void pull_all(int64_t version, float value)
{
    wk_holding_begin(&holding, version);
    wk_holding_overwrite(&holding);
    for (int b = 0; b < layout->block_count; b++)
        assert_true(take_all_of(b, version, value));
    assert_int_equal(holding.version, version);
    assert_int_equal(holding.wanted, -1);
}

static void test_what_changed_goes_onto_what_is_held(void **state)
{
    (void)state;
    pull_all(5, 1.0F);
    uint64_t pulls = holding.pulls;
    assert_int_equal(wk_holding_held(&holding, owners, 0), 5);
    wk_holding_begin(&holding, 6);
    assert_int_equal(holding.version, 5); /* nothing is written yet */
    assert_true(take_a_line(0, 6, 5, 2.0F));
    assert_int_equal(holding.version, -1);
    assert_true(holding.pulls > pulls);
    assert_true(number(0, 15) == 2.0F && number(0, 16) == 1.0F);
    assert_false(take_a_line(0, 6, 5, 3.0F)); /* it is here */
    assert_true(take_nothing(1, 7, 5));
    assert_true(number(1, 0) == 1.0F);
    for (int b = 2; b < layout->block_count; b++)
        assert_true(take_all_of(b, 7, 4.0F));
    assert_int_equal(holding.version, 6); /* the oldest */
    assert_int_equal(wk_holding_held(&holding, owners, 0), 6);
    assert_int_equal(wk_holding_held(&holding, owners, 1), 7);
    assert_int_equal(wk_holding_held(&holding, owners, 2), -1); /* it owns nothing */
    /* relative to less than what is held is fine: those lines are among those that changed */
    wk_holding_begin(&holding, 8);
    assert_true(take_a_line(2, 8, 5, 5.0F));
    assert_true(number(2, 0) == 5.0F && number(2, 16) == 4.0F);
}

static void test_changes_of_what_is_not_held(void **state)
{
    (void)state;
    for (int64_t held = -1; held <= 5; held++) { /* a new one holds nothing */
        wk_holding_begin(&holding, 5);
        assert_false(take_nothing(0, 5, held));
        assert_false(take_a_line(0, 5, held, 2.0F));
    }
    assert_true(number(0, 0) == 0.0F);
    pull_all(5, 1.0F);
    wk_holding_begin(&holding, 6);
    assert_false(take_a_line(0, 7, 6, 2.0F)); /* relative to a version that was let pass */
    assert_false(take_a_line(0, 7, -1, 2.0F));
    assert_false(take_nothing(0, 7, 7));
    assert_int_equal(wk_holding_held(&holding, owners, 0), 5);
    assert_int_equal(holding.version, 5); /* and nothing was written */
    assert_true(take_all_of(0, 9, 3.0F));
    wk_holding_begin(&holding, 6);
    assert_false(take_a_line(0, 6, 5, 2.0F)); /* older than what is held */
    assert_true(number(0, 0) == 3.0F);
}

static void test_what_is_let_pass_is_not_held(void **state)
{
    (void)state;
    pull_all(5, 1.0F);
    wk_holding_begin(&holding, 6);
    assert_true(take_all_of(0, 6, 2.0F));
    wk_holding_stop(&holding);
    assert_false(take_all_of(2, 6, 2.0F));
    assert_false(take_nothing(2, 6, 5));
    assert_int_equal(holding.held[0], 6);
    assert_int_equal(holding.held[2], 5);
    assert_int_equal(wk_holding_held(&holding, owners, 0), 5);
    wk_holding_begin(&holding, 7);
    assert_false(take_all_of(2, 6, 2.0F)); /* older than what is wanted now */
    assert_int_equal(holding.held[2], 5);
}

static void test_frames_that_make_no_sense(void **state)
{
    (void)state;
    static const unsigned char bytes[8 + 64] = {2};
    size_t size = layout->blocks[0].count * sizeof(float);
    float *values = sl_alloc(size, 2);
    pull_all(5, 1.0F);
    wk_holding_begin(&holding, 6);
    assert_false(take(layout->block_count, 6, SL_ENCODING_DENSE, -1, values, size));
    assert_false(take(0, 6, SL_ENCODING_DENSE, -1, values, size - 4));
    assert_false(take(0, 6, SL_ENCODING_DENSE, -1, values, size + 4));
    assert_false(take(0, 6, SL_ENCODING_DENSE, -1, values, 0));
    assert_false(take(0, 6, SL_ENCODING_LINES, 5, values, size));
    assert_false(take(0, 6, SL_ENCODING_BF16, 5, values, size / 2));
    assert_false(take(0, 6, SL_ENCODING_CHANGED, 5, bytes, 7));
    assert_false(take(0, 6, SL_ENCODING_CHANGED, 5, bytes, 8 + 63));
    assert_int_equal(holding.version, 5);
    assert_int_equal(holding.missing, layout->block_count);
    for (size_t i = 0; i < layout->blocks[0].count; i++)
        assert_true(number(0, i) == 1.0F);
    sl_free(values);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct wk_holding other;
        sl_memory_fail_after(n);
        assert_int_equal(wk_holding_init(&other, layout, params, &err), SL_NO_MEMORY);
        sl_memory_fail_after(0);
        wk_holding_fini(&other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_what_changed_goes_onto_what_is_held, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_changes_of_what_is_not_held, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_what_is_let_pass_is_not_held, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_frames_that_make_no_sense, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
