/* Batches: packing, patches and normalisation, and every way in which a sample can be refused. */
#include "tests/unit/model/fixture.h"

static void test_packing(void **state)
{
    (void)state;
    struct sl_config *config = make_config(0.0F);
    struct wk_batch *batch = make_batch(config, 0, 5);
    for (int m = 0; m < 3; m++) {
        const struct wk_batch_input *input = &batch->inputs[m];
        assert_int_equal(input->offset[0], 0);
        for (int b = 0; b < 5; b++) {
            struct own_sample own;
            make_sample(&own, b);
            assert_int_equal(input->offset[b + 1] - input->offset[b], own.sample.inputs[m].items);
            for (int r = input->offset[b]; r < input->offset[b + 1]; r++)
                assert_int_equal(input->position[r], r - input->offset[b]);
            if (m == TEXT)
                assert_memory_equal(input->tokens + input->offset[b], own.tokens,
                        (size_t)own.sample.inputs[m].items * sizeof(int32_t));
            if (m == AUDIO)
                assert_memory_equal(input->values + input->offset[b] * INPUT, own.features,
                        (size_t)own.sample.inputs[m].items * INPUT * sizeof(float));
        }
        assert_int_equal(input->rows, input->offset[5]);
    }
    assert_int_equal(batch->count, 5);
    assert_int_equal(batch->labels[3], 3);
    assert_int_equal(batch->ids[2], 2000006);
    wk_batch_clear(batch);
    assert_int_equal(batch->count, 0);
    assert_int_equal(batch->inputs[VISUAL].rows, 0);
    add_sample(batch, config, 4); /* a cleared batch is as good as new */
    assert_int_equal(batch->inputs[TEXT].rows, batch->inputs[TEXT].offset[1]);
    wk_batch_destroy(batch);
    wk_batch_destroy(NULL);
    sl_free(config);
}

/* Every pixel against the definition: patch by patch over the image, in a patch channel, row, column. */
static void test_patches(void **state)
{
    (void)state;
    struct sl_config *config = make_config(0.0F);
    const struct sl_modality_config *m = &config->modalities[VISUAL];
    struct wk_batch *batch = make_batch(config, 2, 1); /* three frames */
    struct own_sample own;
    make_sample(&own, 2);
    int p = m->patch, side = m->image / p;
    assert_int_equal(batch->inputs[VISUAL].rows, 3);
    for (int f = 0; f < 3; f++)
        for (int y = 0; y < IMAGE; y++)
            for (int x = 0; x < IMAGE; x++)
                for (int c = 0; c < 3; c++) {
                    int at = ((f * side + y / p) * side + x / p) * 3 * p * p + (c * p + y % p) * p + x % p;
                    double expected = ((double)own.frames[((f * IMAGE + y) * IMAGE + x) * 3 + c] / 255.0 -
                                              (double)m->mean[c]) /
                                      (double)m->std[c];
                    double got = (double)batch->inputs[VISUAL].values[at];
                    if (!(fabs(got - expected) < 1e-6))
                        fail_msg("frame %d pixel (%d, %d) channel %d: %.9g, expected %.9g", f, x, y, c, got,
                                expected);
                }
    wk_batch_destroy(batch);
    sl_free(config);
}

static void refused(struct own_sample *own, enum sl_status status, const char *word, const char *other)
{
    struct sl_config *config = make_config(0.0F);
    struct wk_batch *batch = make_batch(config, 0, 2), *before = make_batch(config, 0, 2);
    struct sl_error err = {0};
    wk_batch_clear(batch);
    add_sample(batch, config, 0);
    assert_int_equal(wk_batch_add(batch, config, &own->sample, &err), status);
    if (strstr(err.text, word) == NULL || strstr(err.text, other) == NULL ||
            strstr(err.text, "sample-1") == NULL)
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, word, other);
    assert_int_equal(batch->count, 1);
    add_sample(batch, config, 1); /* the batch is as before */
    for (int m = 0; m < 3; m++) {
        assert_int_equal(batch->inputs[m].rows, before->inputs[m].rows);
        assert_memory_equal(batch->inputs[m].offset, before->inputs[m].offset, 3 * sizeof(int));
    }
    wk_batch_destroy(batch);
    wk_batch_destroy(before);
    sl_free(config);
}

static void test_refusals(void **state)
{
    (void)state;
    struct own_sample own;
    make_sample(&own, 1);
    own.sample.label = 4;
    refused(&own, SL_BAD_DATA, "label 4", "4 labels");
    own.sample.label = -2;
    refused(&own, SL_BAD_DATA, "label -2", "4 labels");
    make_sample(&own, 1);
    own.tokens[1] = VOCAB;
    refused(&own, SL_BAD_DATA, "text", "id 23");
    own.tokens[1] = -1;
    refused(&own, SL_BAD_DATA, "text", "id -1");
    make_sample(&own, 1);
    own.features[INPUT + 2] = NAN;
    own.sample.inputs[AUDIO].items = 2;
    refused(&own, SL_BAD_DATA, "audio", "number 2 of row 1");
    own.features[INPUT + 2] = INFINITY;
    refused(&own, SL_BAD_DATA, "audio", "not finite");
    for (int m = 0; m < 3; m++) {
        static const char *const names[] = {"visual", "text", "audio"};
        make_sample(&own, 1);
        own.sample.inputs[m].items = 0;
        refused(&own, SL_BAD_DATA, names[m], "expected 1 to");
        own.sample.inputs[m].items = 8;
        refused(&own, SL_BAD_DATA, names[m], "expected 1 to");
        make_sample(&own, 1);
        own.sample.inputs[m] = (struct wk_sample_input){.items = 1};
        refused(&own, SL_BAD_DATA, names[m], "import the dataset");
    }
}

static void test_full(void **state)
{
    (void)state;
    struct sl_config *config = make_config(0.0F);
    struct wk_batch *batch = make_batch(config, 0, 1);
    struct own_sample own;
    struct sl_error err = {0};
    make_sample(&own, 1);
    assert_int_equal(wk_batch_add(batch, config, &own.sample, &err), SL_FAILED);
    assert_non_null(strstr(err.text, "full"));
    wk_batch_clear(batch);
    own.sample.label = WK_LABEL_NONE; /* as predict has it */
    own.sample.id = NULL;
    assert_int_equal(wk_batch_add(batch, config, &own.sample, &err), SL_OK);
    wk_batch_destroy(batch);
    sl_free(config);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct sl_config *config = make_config(0.0F);
    enum sl_status status = SL_NO_MEMORY;
    uint64_t n = 1;
    for (; status != SL_OK && n < 100; n++) {
        struct wk_batch *batch = NULL;
        struct sl_error err = {0};
        sl_memory_fail_after(n);
        status = wk_batch_create(&batch, config, 3, &err);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || (status == SL_NO_MEMORY && err.text[0] != '\0' && batch == NULL));
        wk_batch_destroy(batch);
    }
    assert_true(n > 5 && n < 100);
    sl_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_packing),
            cmocka_unit_test(test_patches),
            cmocka_unit_test(test_refusals),
            cmocka_unit_test(test_full),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
