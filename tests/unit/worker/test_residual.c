/* What rounding takes away comes with a later gradient of the same place. */
#include "worker/residual.h"

#include "tests/unit/worker/fixture.h"

#include <math.h>

static struct sl_error err;

struct world {
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_residual *residual;
};

static struct world new_world(void)
{
    struct world w = {.config = fixture_config()};
    w.layout = fixture_layout(w.config);
    assert_int_equal(wk_residual_create(&w.residual, w.layout, &err), SL_OK);
    return w;
}

static void close_world(struct world *w)
{
    wk_residual_destroy(w->residual);
    sl_layout_destroy(w->layout);
    sl_free(w->config);
}

/* What the server would read. Owns: release it. */
static struct sl_buffer *sent(
        struct world *w, int b, int tag, const float *values, bool skipped, enum sl_encoding encoding)
{
    struct sl_frame frame = {0};
    enum sl_encoding got = SL_ENCODING_COUNT;
    assert_int_equal(
            wk_residual_encode(w->residual, b, tag, values, skipped, &frame.buffer, &got, &err), SL_OK);
    assert_int_equal(got, encoding);
    frame.data = frame.buffer->data;
    frame.size = frame.buffer->size;
    assert_true(frame.size <= w->layout->blocks[b].count * 2 + 8 * (w->layout->blocks[b].count / 1024 + 1));
    assert_int_equal(sl_encoding_open(&frame, got, w->layout->blocks[b].count, &err), SL_OK);
    return frame.buffer;
}

/* Over many pushes of a block the server's sum and what is kept last are the worker's sum. */
static void test_nothing_is_lost_over_many_pushes(void **state)
{
    (void)state;
    enum { PUSHES = 300 };
    struct world w = new_world();
    int b = w.layout->block_count - 1;
    size_t count = w.layout->blocks[b].count;
    float *values = calloc(count, sizeof(float)), *zeros = calloc(count, sizeof(float));
    double *given = calloc(count, sizeof(double)), *got = calloc(count, sizeof(double));
    assert_true(values != NULL && zeros != NULL && given != NULL && got != NULL);
    srand(11);
    for (int push = 0; push <= PUSHES; push++) {
        for (size_t i = 0; i < count && push < PUSHES; i++) {
            values[i] = 1.0F + 0.01F * (float)rand() / (float)RAND_MAX;
            given[i] += (double)values[i];
        }
        /* the last push is of zeros: it brings what is kept */
        struct sl_buffer *back =
                sent(&w, b, SL_TAG_FUSED, push < PUSHES ? values : zeros, false, SL_ENCODING_BF16);
        for (size_t i = 0; i < count; i++)
            got[i] += (double)((const float *)back->data)[i];
        sl_buffer_release(back);
    }
    for (size_t i = 0; i < count; i++)
        assert_true(fabs(got[i] - given[i]) <= PUSHES * 0x1p-17); /* each push rounds what is kept once */
    free(values);
    free(zeros);
    free(given);
    free(got);
    close_world(&w);
}

/* Tags and blocks do not take each other's. */
static void test_each_place_keeps_its_own(void **state)
{
    (void)state;
    struct world w = new_world();
    int b = 0;
    while (!w.layout->blocks[b].tagged[0] || !w.layout->blocks[b].tagged[1])
        b++;
    size_t count = w.layout->blocks[b].count;
    float *values = calloc(w.layout->count, sizeof(float));
    assert_non_null(values);
    values[0] = 1.00390625F; /* 1 + 2^-8: 1 goes, 2^-8 is kept */
    struct sl_buffer *back = sent(&w, b, SL_TAG_UNIMODAL, values, false, SL_ENCODING_BF16);
    assert_true(((const float *)back->data)[0] == 1.0F && ((const float *)back->data)[count - 1] == 0.0F);
    sl_buffer_release(back);
    values[0] = 0.0F;
    for (int other = 0; other < w.layout->block_count; other++)
        for (int tag = 0; tag < SL_TAGS; tag++) {
            if (other == b && tag == SL_TAG_UNIMODAL)
                continue;
            back = sent(&w, other, tag, values, false, SL_ENCODING_BF16);
            for (size_t i = 0; i < w.layout->blocks[other].count; i++)
                assert_true(((const float *)back->data)[i] == 0.0F);
            sl_buffer_release(back);
        }
    back = sent(&w, b, SL_TAG_UNIMODAL, values, false, SL_ENCODING_BF16);
    assert_true(((const float *)back->data)[0] == 0.00390625F);
    sl_buffer_release(back);
    free(values);
    close_world(&w);
}

/* Of a table's block, and of slots that were skipped, what does not come keeps what it has. */
static void test_lines_that_do_not_come(void **state)
{
    (void)state;
    struct world w = new_world();
    int b = w.layout->block_count - 1;
    w.layout->blocks[b].sparse = true;
    float *values = calloc(w.layout->blocks[b].count, sizeof(float));
    assert_non_null(values);
    values[1] = values[20] = 1.00390625F;
    sl_buffer_release(sent(&w, b, SL_TAG_FUSED, values, false, SL_ENCODING_BF16_LINES));
    values[1] = 0.0F; /* row 0 is named no more */
    struct sl_buffer *back = sent(&w, b, SL_TAG_FUSED, values, false, SL_ENCODING_BF16_LINES);
    assert_true(((const float *)back->data)[1] == 0.0F && ((const float *)back->data)[20] == 1.0078125F);
    sl_buffer_release(back);
    values[20] = 0.0F;
    w.layout->blocks[b].sparse = false;
    back = sent(&w, b, SL_TAG_FUSED, values, true, SL_ENCODING_BF16_LINES); /* skipped */
    assert_true(((const float *)back->data)[1] == 0.0F);
    sl_buffer_release(back);
    values[2] = 1.0F;
    w.layout->blocks[b].sparse = true;
    back = sent(&w, b, SL_TAG_FUSED, values, false, SL_ENCODING_BF16_LINES); /* the row comes again */
    assert_true(((const float *)back->data)[1] == 0.00390625F && ((const float *)back->data)[2] == 1.0F);
    sl_buffer_release(back);
    free(values);
    close_world(&w);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct world w = new_world();
    struct wk_residual *residual = NULL;
    struct sl_buffer *buffer = NULL;
    enum sl_encoding encoding;
    float values[FIXTURE_BLOCK] = {0};
    for (uint64_t n = 1; n <= 2; n++) {
        sl_memory_fail_after(n);
        assert_int_equal(wk_residual_create(&residual, w.layout, &err), SL_NO_MEMORY);
        assert_null(residual);
    }
    sl_memory_fail_after(1);
    assert_int_equal(
            wk_residual_encode(w.residual, 0, 0, values, false, &buffer, &encoding, &err), SL_NO_MEMORY);
    sl_memory_fail_after(0);
    assert_null(buffer);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_nothing_is_lost_over_many_pushes),
            cmocka_unit_test(test_each_place_keeps_its_own),
            cmocka_unit_test(test_lines_that_do_not_come),
            cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
