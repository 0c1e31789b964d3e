/* Records: what goes in comes out, in the shapes of the config that reads it; every changed bit is noticed; JPEG within its error. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/record.h"

#include <math.h>

#define FRAME (FIXTURE_IMAGE * FIXTURE_IMAGE * 3)

static char *folder;
static struct sl_config *config;

static int set_up(void **state)
{
    (void)state;
    folder = fixture_folder("record");
    config = fixture_config(folder);
    struct sl_modality_config *audio = &config->modalities[config->modality_count++];
    (void)snprintf(audio->name, SL_NAME_MAX, "audio");
    audio->kind = SL_KIND_FEATURES;
    audio->input = 3;
    audio->max_items = 6;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(config);
    fixture_remove(folder);
    return 0;
}

static struct wk_sample make_sample(void)
{
    struct wk_sample sample = {.id = sl_strdup("clip-1"),
            .title = sl_strdup("今天 news"),
            .label = 2,
            .published_s = -5,
            .index = 0};
    sample.inputs[0].items = 4;
    sample.inputs[0].frames = sl_alloc(4, FRAME);
    for (size_t i = 0; i < (size_t)4 * FRAME; i++)
        sample.inputs[0].frames[i] = (uint8_t)(i / FRAME * 60 + i % FRAME / 48);
    sample.inputs[1].items = 5;
    sample.inputs[1].tokens = sl_alloc(5, sizeof(int32_t));
    const int32_t tokens[] = {2, 14, 12, 5, 3};
    memcpy(sample.inputs[1].tokens, tokens, sizeof(tokens));
    sample.inputs[2].items = 6;
    sample.inputs[2].features = sl_alloc(18, sizeof(float));
    for (int i = 0; i < 18; i++)
        sample.inputs[2].features[i] = (float)i * 0.5F - 3.0F;
    return sample;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct wk_sample sample = make_sample(), back = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(wk_record_pack(&bytes, &size, &sample, config, 42, &fixture_error));
    assert_ok(wk_record_unpack(&back, bytes, size, config, 42, &fixture_error));
    assert_string_equal(back.id, "clip-1");
    assert_string_equal(back.title, "今天 news");
    assert_int_equal(back.label, 2);
    assert_int_equal(back.published_s, -5);
    assert_int_equal(back.inputs[0].items, 4);
    assert_memory_equal(back.inputs[0].frames, sample.inputs[0].frames, (size_t)4 * FRAME);
    assert_memory_equal(back.inputs[1].tokens, sample.inputs[1].tokens, 5 * sizeof(int32_t));
    assert_memory_equal(back.inputs[2].features, sample.inputs[2].features, 18 * sizeof(float));
    char id[64], label[64], tiny[3];
    assert_ok(wk_record_id(id, sizeof(id), label, sizeof(label), bytes, size, &fixture_error));
    assert_string_equal(id, "clip-1");
    assert_string_equal(label, "evergreen");
    assert_error(wk_record_id(tiny, sizeof(tiny), NULL, 0, bytes, size, &fixture_error), SL_BAD_DATA,
            "cannot be read");
    assert_error(wk_record_verify(NULL, bytes, size, 43, &fixture_error), SL_BAD_DATA, "checksum");
    wk_sample_fini(&sample);
    wk_sample_fini(&back);
    sl_free(bytes);
}

static void test_smaller_config_takes_fewer_items(void **state)
{
    (void)state;
    struct wk_sample sample = make_sample(), back = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(wk_record_pack(&bytes, &size, &sample, config, 1, &fixture_error));
    struct sl_config *small = sl_alloc(1, sizeof(*small));
    memcpy(small, config, sizeof(*small));
    small->modalities[0].frames = 2;
    small->modalities[1].max_tokens = 3;
    small->modalities[2].max_items = 2;
    assert_ok(wk_record_unpack(&back, bytes, size, small, 1, &fixture_error));
    assert_int_equal(back.inputs[0].items, 2); /* frames 1 and 3 of 0 … 3 */
    assert_memory_equal(back.inputs[0].frames, sample.inputs[0].frames + FRAME, FRAME);
    assert_memory_equal(back.inputs[0].frames + FRAME, sample.inputs[0].frames + (size_t)3 * FRAME, FRAME);
    const int32_t tokens[] = {2, 14, 3};
    assert_int_equal(back.inputs[1].items, 3);
    assert_memory_equal(back.inputs[1].tokens, tokens, sizeof(tokens));
    assert_int_equal(back.inputs[2].items, 2);
    assert_true(back.inputs[2].features[0] == sample.inputs[2].features[3]);
    wk_sample_fini(&back);
    small->modalities[0].image = 24;
    assert_error(wk_record_unpack(&back, bytes, size, small, 1, &fixture_error), SL_BAD_DATA,
            "frames of size 16, expected 24");
    memcpy(small, config, sizeof(*small));
    small->modalities[1].vocab_size = 10;
    assert_error(wk_record_unpack(&back, bytes, size, small, 1, &fixture_error), SL_BAD_DATA,
            "token id 14 is outside");
    memcpy(small, config, sizeof(*small));
    small->modalities[2].input = 4;
    assert_error(wk_record_unpack(&back, bytes, size, small, 1, &fixture_error), SL_BAD_DATA,
            "feature rows of 3, expected 4");
    memcpy(small, config, sizeof(*small));
    (void)snprintf(small->labels[2].name, SL_NAME_MAX, "never");
    assert_error(wk_record_unpack(&back, bytes, size, small, 1, &fixture_error), SL_BAD_DATA,
            "label \"evergreen\"");
    memcpy(small, config, sizeof(*small));
    (void)snprintf(small->modalities[2].name, SL_NAME_MAX, "sound");
    assert_error(
            wk_record_unpack(&back, bytes, size, small, 1, &fixture_error), SL_BAD_DATA, "no modality sound");
    small->modalities[2].kind = SL_KIND_BERT;
    (void)snprintf(small->modalities[2].name, SL_NAME_MAX, "audio");
    assert_error(wk_record_unpack(&back, bytes, size, small, 1, &fixture_error), SL_BAD_DATA, "kind");
    sl_free(small);
    wk_sample_fini(&sample);
    sl_free(bytes);
}

static void test_jpeg_frames(void **state)
{
    (void)state;
    struct wk_sample sample = make_sample(), back = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    config->modalities[0].storage = SL_STORAGE_JPEG;
    assert_ok(wk_record_pack(&bytes, &size, &sample, config, 1, &fixture_error));
    assert_true(size < (size_t)4 * FRAME);
    assert_ok(wk_record_unpack(&back, bytes, size, config, 1, &fixture_error));
    for (size_t i = 0; i < (size_t)4 * FRAME; i++)
        assert_true(abs(back.inputs[0].frames[i] - sample.inputs[0].frames[i]) <= 8);
    config->modalities[0].storage = SL_STORAGE_RAW;
    wk_sample_fini(&sample);
    wk_sample_fini(&back);
    sl_free(bytes);
}

static void test_every_changed_bit_is_noticed(void **state)
{
    (void)state;
    struct wk_sample sample = make_sample(), back = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(wk_record_pack(&bytes, &size, &sample, config, 9, &fixture_error));
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (uint8_t)(1U << (i % 8));
        assert_int_equal(wk_record_unpack(&back, bytes, size, config, 9, &fixture_error), SL_BAD_DATA);
        bytes[i] ^= (uint8_t)(1U << (i % 8));
    }
    for (size_t cut = 0; cut < size; cut += 37)
        assert_int_equal(wk_record_unpack(&back, bytes, cut, config, 9, &fixture_error), SL_BAD_DATA);
    wk_sample_fini(&sample);
    sl_free(bytes);
}

static void test_values_that_are_not_finite(void **state)
{
    (void)state;
    struct wk_sample sample = make_sample(), back = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    sample.inputs[2].features[4] = NAN;
    assert_ok(wk_record_pack(&bytes, &size, &sample, config, 9, &fixture_error));
    assert_error(wk_record_unpack(&back, bytes, size, config, 9, &fixture_error), SL_BAD_DATA,
            "audio: a value is not finite");
    wk_sample_fini(&sample);
    sl_free(bytes);
}

static void test_rejects(void **state)
{
    (void)state;
    struct wk_reject reject = {.line = 12,
                             .id = sl_strdup("x"),
                             .reason = sl_strdup("video x.mp4: is empty")},
                     back = {0};
    struct wk_sample sample = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(wk_reject_pack(&bytes, &size, &reject, 3, &fixture_error));
    assert_ok(wk_reject_unpack(&back, bytes, size, 3, &fixture_error));
    assert_int_equal(back.line, 12);
    assert_string_equal(back.id, "x");
    assert_string_equal(back.reason, reject.reason);
    assert_error(
            wk_record_unpack(&sample, bytes, size, config, 3, &fixture_error), SL_BAD_DATA, "another kind");
    wk_reject_fini(&reject);
    wk_reject_fini(&back);
    sl_free(bytes);
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    struct wk_sample sample = make_sample(), back = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    assert_ok(wk_record_pack(&bytes, &size, &sample, config, 9, &fixture_error));
    enum sl_status status = SL_NO_MEMORY;
    for (uint64_t n = 1; status != SL_OK; n++) {
        sl_memory_fail_after(n);
        status = wk_record_unpack(&back, bytes, size, config, 9, &fixture_error);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || status == SL_NO_MEMORY);
        assert_in_range(n, 1, 100);
    }
    wk_sample_fini(&sample);
    wk_sample_fini(&back);
    sl_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_round_trip),
            cmocka_unit_test(test_smaller_config_takes_fewer_items),
            cmocka_unit_test(test_jpeg_frames),
            cmocka_unit_test(test_every_changed_bit_is_noticed),
            cmocka_unit_test(test_values_that_are_not_finite),
            cmocka_unit_test(test_rejects),
            cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
