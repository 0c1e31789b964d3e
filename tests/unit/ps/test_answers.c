/* What goes to a worker that holds some version of a block: put onto what it holds it gives the bits that stand, in as few bytes as are known to do. */
#include "ps/answers.h"

#include "tests/unit/ps/fixture.h"

#define BEGIN 3

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static struct ps_table *table;
static struct ps_answers answers;
static int plain, rows, frozen; /* blocks: all of it changes, some lines do, nothing does */

static const struct sl_commit commit = {.inverse_weight = 1.0,
        .clip = 1.0,
        .rate = 0.5,
        .coefficient = {1.0, 1.0},
        .fused = {1.0, 1.0},
        .update = {1.0, 1.0}};

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    config->optimiser.kind = SL_OPTIMISER_SGD;
    config->optimiser.momentum = config->optimiser.weight_decay = 0.0F;
    config->modalities[0].freeze_count = 1;
    (void)snprintf(config->modalities[0].freeze[0], sizeof(config->modalities[0].freeze[0]), "*");
    layout = fixture_layout(config, 4096);
    plain = rows = frozen = -1;
    for (int b = 0; b < layout->block_count; b++) {
        if (layout->blocks[b].frozen)
            frozen = b;
        else if (layout->blocks[b].part == SL_PART_EXTRACTOR)
            rows = b;
        else
            plain = b;
    }
    assert_true(plain >= 0 && rows >= 0 && frozen >= 0);
    layout->blocks[rows].sparse = true;
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    assert_int_equal(ps_table_create(&table, layout, &optimiser, NULL, 0, &err), SL_OK);
    float *w = fixture_vector(layout->count, 1, 1.0F);
    assert_int_equal(ps_table_load(table, w, NULL, NULL, BEGIN, &err), SL_OK);
    sl_free(w);
    assert_int_equal(ps_answers_init(&answers, table, layout, &err), SL_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_answers_fini(&answers);
    ps_table_destroy(table);
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

/* The next version of all blocks; of `rows` the gradient names `lines` lines from `first` on. */
static void update(size_t first, size_t lines)
{
    float *grads = sl_alloc_aligned(layout->count, sizeof(float));
    assert_non_null(grads);
    for (size_t i = 0; i < layout->count; i++)
        grads[i] = 1.0F;
    const struct sl_block *block = &layout->blocks[rows];
    memset(grads + block->offset, 0, block->count * sizeof(float));
    for (size_t i = first * SL_LINE_FLOATS; i < (first + lines) * SL_LINE_FLOATS && i < block->count; i++)
        grads[block->offset + i] = 1.0F;
    for (int b = 0; b < layout->block_count; b++) {
        const float *tags[SL_TAGS];
        for (int tag = 0; tag < SL_TAGS; tag++)
            tags[tag] = layout->blocks[b].tagged[tag] && !layout->blocks[b].frozen
                                ? grads + layout->blocks[b].offset
                                : NULL;
        assert_int_equal(ps_table_apply(table, b, ps_table_version(table, b), &commit, tags, &err), SL_OK);
    }
    sl_free(grads);
}

static struct sl_message *answer(int block, int64_t held)
{
    struct sl_message *m = sl_message_create(SL_MESSAGE_PARAMS);
    assert_non_null(m);
    assert_int_equal(ps_answers_put(&answers, block, held, m, &err), SL_OK);
    assert_int_equal(m->block, block);
    assert_int_equal(m->version, ps_table_version(table, block));
    assert_int_equal(m->frame_count, 1);
    return m;
}

static void expect_all(int block, int64_t held)
{
    struct sl_message *m = answer(block, held);
    struct sl_buffer *values = ps_table_share(table, block);
    assert_int_equal(m->encoding[0], SL_ENCODING_DENSE);
    assert_int_equal(m->held, -1);
    assert_ptr_equal(m->frames[0].data, values->data); /* from where it lies */
    assert_int_equal(m->frames[0].size, layout->blocks[block].count * sizeof(float));
    sl_buffer_release(values);
    sl_message_destroy(m);
}

static void expect_nothing(int block, int64_t held)
{
    struct sl_message *m = answer(block, held);
    assert_int_equal(m->encoding[0], SL_ENCODING_CHANGED);
    assert_int_equal(m->held, held);
    assert_int_equal(m->frames[0].size, 0);
    sl_message_destroy(m);
}

/* `copy` is what version `held` was. */
static void expect_lines(int64_t held, const float *copy, size_t lines)
{
    size_t count = layout->blocks[rows].count;
    float *values = sl_alloc_aligned(count, sizeof(float));
    struct sl_message *m = answer(rows, held);
    struct sl_buffer *now = ps_table_share(table, rows);
    assert_int_equal(m->encoding[0], SL_ENCODING_CHANGED);
    assert_int_equal(m->held, held);
    assert_int_equal(m->frames[0].size, sl_encoding_bitmap_size(count) + lines * 64);
    memcpy(values, copy, count * sizeof(float));
    assert_int_equal(
            sl_encoding_get_changed(m->frames[0].data, m->frames[0].size, count, values, &err), SL_OK);
    assert_memory_equal(values, now->data, count * sizeof(float));
    sl_buffer_release(now);
    sl_message_destroy(m);
    sl_free(values);
}

static void test_who_holds_nothing_gets_all(void **state)
{
    (void)state;
    for (int b = 0; b < layout->block_count; b++)
        for (int64_t held = -1; held < BEGIN; held++) /* versions of before the values were loaded, too */
            expect_all(b, held);
    expect_all(frozen, BEGIN + 1); /* a version to come: who says that holds nothing that we know */
    expect_all(rows, SL_STEP_MAX);
}

static void test_a_frozen_block_goes_once(void **state)
{
    (void)state;
    for (int64_t v = BEGIN; v < BEGIN + 20; v++) {
        for (int64_t held = BEGIN; held <= v; held++)
            expect_nothing(frozen, held);
        update(0, 1);
    }
}

static void test_what_stands_is_not_sent_again(void **state)
{
    (void)state;
    for (int b = 0; b < layout->block_count; b++)
        expect_nothing(b, BEGIN);
    update(0, 1);
    expect_all(plain, BEGIN);
    expect_nothing(plain, BEGIN + 1);
}

static void test_changed_lines(void **state)
{
    (void)state;
    size_t size = layout->blocks[rows].count * sizeof(float);
    struct sl_buffer *values = ps_table_share(table, rows);
    float *copy = sl_alloc_aligned(size, 1);
    memcpy(copy, values->data, size);
    sl_buffer_release(values);
    assert_true(layout->blocks[rows].count / SL_LINE_FLOATS > 40);
    update(3, 2);
    expect_lines(BEGIN, copy, 2);
    update(4, 2);
    expect_lines(BEGIN, copy, 3);
    expect_nothing(rows, BEGIN + 2);
    struct sl_message *one = answer(rows, BEGIN), *two = answer(rows, BEGIN);
    assert_ptr_equal(one->frames[0].data, two->frames[0].data); /* written once for both */
    struct sl_buffer *kept = sl_buffer_retain(one->frames[0].buffer);
    unsigned char first = ((unsigned char *)kept->data)[64];
    sl_message_destroy(one);
    sl_message_destroy(two);
    update(0, layout->blocks[rows].count); /* too much of it */
    expect_all(rows, BEGIN);
    assert_int_equal(((unsigned char *)kept->data)[64], first); /* what is on its way stays */
    sl_buffer_release(kept);
    for (int i = 0; i < 8; i++)
        update(5, 1);
    expect_all(rows, BEGIN + 2); /* nobody knows any more */
    values = ps_table_share(table, rows);
    memcpy(copy, values->data, size);
    sl_buffer_release(values);
    update(6, 1);
    expect_lines(BEGIN + 11, copy, 1);
    sl_free(copy);
}

static void test_no_memory(void **state)
{
    (void)state;
    update(3, 2);
    for (uint64_t n = 1;; n++) {
        struct sl_message *m = sl_message_create(SL_MESSAGE_PARAMS);
        sl_memory_fail_after(n);
        enum sl_status status = ps_answers_put(&answers, rows, BEGIN, m, &err);
        sl_memory_fail_after(0);
        sl_message_destroy(m);
        if (status == SL_OK)
            break;
        assert_int_equal(status, SL_NO_MEMORY);
    }
    for (uint64_t n = 1;; n++) {
        struct ps_answers other;
        sl_memory_fail_after(n);
        enum sl_status status = ps_answers_init(&other, table, layout, &err);
        sl_memory_fail_after(0);
        ps_answers_fini(&other);
        if (status == SL_OK)
            break;
        assert_int_equal(status, SL_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_who_holds_nothing_gets_all, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_frozen_block_goes_once, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_what_stands_is_not_sent_again, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_changed_lines, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
