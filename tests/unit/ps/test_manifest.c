/* The manifest: every double and number comes back, every flipped byte is noticed, and what is wrong behind a good checksum is named. */
#include "ps/manifest.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>

static struct sl_error err;

static struct ps_manifest make_manifest(void)
{
    struct ps_manifest manifest = {.created_s = 1700000000,
            .epoch = 3,
            .seed = UINT64_MAX,
            .config_hash = 0x0123456789ABCDEF,
            .layout_hash = 1,
            .optimiser = SL_OPTIMISER_SGD,
            .training = {.step = 1200,
                    .modulation = {.count = 1200,
                            .numerator = {1.0 / 3, 5e-324, 0.1},
                            .denominator = {1e300, 2.0, 1 / 7.0}},
                    .best_value = 0.1 + 0.2,
                    .best_step = 900,
                    .validations_without_gain = 2,
                    .validated_step = 1100,
                    .train_count = 100000,
                    .validation_count = 0,
                    .train_fingerprint = UINT64_MAX - 1,
                    .validation_fingerprint = 5},
            .state = (char *)(uintptr_t) "{\"a\":[1,2.5,\"x\"]}",
            .files = {{"model.safetensors", 1234567, {1, 2}}, {"vocab-\xe6\x96\x87.txt", 0, {UINT64_MAX, 0}}},
            .file_count = 2};
    return manifest;
}

static char *write_manifest(const struct ps_manifest *manifest, size_t *size)
{
    char *text = NULL;
    if (ps_manifest_write(&text, size, manifest, &err) != SL_OK)
        fail_msg("%s", err.text);
    return text;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct ps_manifest manifest = make_manifest(), back = {0};
    size_t size = 0;
    char *text = write_manifest(&manifest, &size);
    if (ps_manifest_read(&back, text, size, "m", &err) != SL_OK)
        fail_msg("%s\n%s", err.text, text);
    assert_memory_equal(&back.training, &manifest.training, sizeof(back.training));
    assert_string_equal(back.state, manifest.state);
    assert_true(
            back.seed == manifest.seed && back.config_hash == manifest.config_hash && back.layout_hash == 1);
    assert_int_equal(back.optimiser, SL_OPTIMISER_SGD);
    assert_int_equal(back.created_s, manifest.created_s);
    assert_int_equal(back.epoch, 3);
    assert_int_equal(back.file_count, 2);
    assert_memory_equal(back.files, manifest.files, 2 * sizeof(back.files[0]));
    ps_manifest_fini(&back);
    sl_free(text);
    manifest.training.best_value = NAN;
    manifest.state = NULL;
    text = write_manifest(&manifest, &size);
    assert_int_equal(ps_manifest_read(&back, text, size, "m", &err), SL_OK);
    assert_true(isnan(back.training.best_value));
    assert_null(back.state);
    sl_free(text);
}

static void test_every_flip_and_cut(void **state)
{
    (void)state;
    struct ps_manifest manifest = make_manifest(), back = {0};
    size_t size = 0;
    char *text = write_manifest(&manifest, &size);
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ 1 << bit);
            if (ps_manifest_read(&back, text, size, "m", &err) != SL_BAD_DATA)
                fail_msg("bit %d of byte %zu flipped unnoticed", bit, i);
            text[i] = (char)(text[i] ^ 1 << bit);
        }
    }
    for (size_t cut = 0; cut < size; cut++) {
        char *copy = sl_alloc(cut, 1);
        memcpy(copy, text, cut);
        assert_int_equal(ps_manifest_read(&back, copy, cut, "m", &err), SL_BAD_DATA);
        sl_free(copy);
    }
    sl_free(text);
}

static size_t place_of(const char *text, const char *part)
{
    size_t place = 0;
    while (strncmp(text + place, part, strlen(part)) != 0)
        assert_true(text[place++] != '\0');
    return place;
}

/* expect_wrong puts `to` in the place of the first `from`, seals again, and reads */
static void expect_wrong(const char *from, const char *to, enum sl_status wanted, const char *says)
{
    struct ps_manifest manifest = make_manifest(), back = {0};
    size_t size = 0;
    char *text = write_manifest(&manifest, &size);
    size_t before = place_of(text, from), end = place_of(text, ",\n  \"checksum\"");
    /* without the old seal: up to the end of the list of files */
    char *changed = sl_strdup_printf("%.*s%s%.*s}%*s", (int)before, text, to,
            (int)(end - before - strlen(from)), text + before + strlen(from), PS_MANIFEST_SEAL_SIZE, "");
    size_t length = strlen(changed) - PS_MANIFEST_SEAL_SIZE;
    length = ps_manifest_seal(changed, length);
    enum sl_status s = ps_manifest_read(&back, changed, length, "m", &err);
    if (s != wanted || (says != NULL && strstr(err.text, says) == NULL))
        fail_msg("%s -> %s: %s \"%s\"", from, to, sl_status_name(s), err.text);
    if (s == SL_OK)
        ps_manifest_fini(&back);
    sl_free(changed);
    sl_free(text);
}

static void test_wrong_members(void **state)
{
    (void)state;
    expect_wrong("\"format\": 1", "\"format\": 1", SL_OK, NULL);
    expect_wrong("\"format\": 1", "\"format\": 2", SL_MISMATCH, "newer");
    expect_wrong("\"format\": 1", "\"form\": 1", SL_BAD_DATA, "\"format\"");
    expect_wrong("\"step\": 1200", "\"step\": -1", SL_BAD_DATA, "\"step\"");
    expect_wrong("\"step\": 1200", "\"step\": 1.5", SL_BAD_DATA, "\"step\"");
    expect_wrong("\"step\": 1200", "\"step\": 99999999999999999999", SL_BAD_DATA, "no JSON");
    expect_wrong("\"step\": 1200", "\"step\": 1, \"step\": 2", SL_BAD_DATA, "no JSON");
    expect_wrong("\"seed\": \"ffffffffffffffff\"", "\"seed\": \"ffff\"", SL_BAD_DATA, "\"seed\"");
    expect_wrong("\"seed\": \"ffffffffffffffff\"", "\"seed\": \"fffffffffffffffg\"", SL_BAD_DATA, "\"seed\"");
    expect_wrong("\"sgd\"", "\"lion\"", SL_BAD_DATA, "\"optimiser\"");
    expect_wrong("\"modulation\": {", "\"modulation\": {}, \"other\": {", SL_BAD_DATA, "\"count\"");
    expect_wrong("\"numerator\": [", "\"numerator\": [1,", SL_BAD_DATA, "\"numerator\"");
    expect_wrong(
            "\"denominator\": [", "\"denominator\": {\"a\": 1}, \"x\": [", SL_BAD_DATA, "\"denominator\"");
    expect_wrong("\"model.safetensors\"", "\"../model.safetensors\"", SL_BAD_DATA, "\"files\"");
    expect_wrong("\"model.safetensors\"", "\".\"", SL_BAD_DATA, "\"files\"");
    expect_wrong("\"model.safetensors\"", "\"\"", SL_BAD_DATA, "\"files\"");
    expect_wrong("\"model.safetensors\"", "\"vocab-\xe6\x96\x87.txt\"", SL_BAD_DATA, "\"files\"");
    expect_wrong("\"files\": [", "\"files\": [], \"more\": [", SL_BAD_DATA, "\"files\"");
    expect_wrong("\"size\": 1234567", "\"size\": -5", SL_BAD_DATA, "\"size\"");
}

static void test_refuses_to_write(void **state)
{
    (void)state;
    struct ps_manifest manifest = make_manifest();
    char *text = NULL;
    size_t size = 0;
    manifest.state = (char *)(uintptr_t) "{no";
    assert_int_equal(ps_manifest_write(&text, &size, &manifest, &err), SL_USAGE);
    char *large = sl_alloc(PS_MANIFEST_STATE_MAX + 8, 1);
    memset(large, ' ', PS_MANIFEST_STATE_MAX + 4);
    large[0] = '1';
    manifest.state = large;
    assert_int_equal(ps_manifest_write(&text, &size, &manifest, &err), SL_USAGE);
    sl_free(large);
    manifest.state = NULL;
    for (uint64_t n = 1; n < 20; n++) {
        sl_memory_fail_after(n);
        enum sl_status s = ps_manifest_write(&text, &size, &manifest, &err);
        sl_memory_fail_after(0);
        assert_true(s == SL_OK || s == SL_NO_MEMORY);
        if (s == SL_OK) {
            sl_free(text);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_round_trip),
            cmocka_unit_test(test_every_flip_and_cut),
            cmocka_unit_test(test_wrong_members),
            cmocka_unit_test(test_refuses_to_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
