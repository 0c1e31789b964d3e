/* Manifest lines: what is accepted, and one clear reason for each thing that is not. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/sample.h"

static struct sl_config *config;

static int set_up(void **state)
{
    (void)state;
    char *folder = fixture_folder("manifest");
    config = fixture_config(folder);
    struct sl_modality_config *audio = &config->modalities[config->modality_count++];
    (void)snprintf(audio->name, SL_NAME_MAX, "audio");
    audio->kind = SL_KIND_FEATURES;
    audio->input = 3;
    audio->max_items = 4;
    fixture_remove(folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(config);
    return 0;
}

static struct wk_manifest_row parse(const char *line)
{
    struct wk_manifest_row row = {0};
    assert_ok(wk_manifest_parse(&row, NULL, line, strlen(line), config, &fixture_error));
    return row;
}

static void reject(const char *line, const char *piece)
{
    struct wk_manifest_row row = {0};
    assert_error(
            wk_manifest_parse(&row, NULL, line, strlen(line), config, &fixture_error), SL_BAD_DATA, piece);
    assert_null(row.id);
}

static void test_a_full_line(void **state)
{
    (void)state;
    struct wk_manifest_row row = parse(
            "{\"id\": \"a\", \"video\": \"v/a.mp4\", \"title\": \"今天\", \"ocr\": \"o\", \"asr\": null,"
            "\"label\": \"week\", \"published\": \"2026-11-23T08:00:00+08:00\", \"split\": \"test\","
            "\"_note\": [1, 2], \"features\": {\"audio\": {\"path\": \"x.npy\", \"row\": 7}}}");
    assert_string_equal(row.id, "a");
    assert_string_equal(row.video, "v/a.mp4");
    assert_string_equal(row.texts[WK_TEXT_TITLE], "今天");
    assert_null(row.texts[WK_TEXT_ASR]);
    assert_int_equal(row.label, 1);
    assert_int_equal(row.published_s, 1795392000);
    assert_int_equal(row.split, WK_SPLIT_TEST);
    assert_string_equal(row.arrays[2].path, "x.npy");
    assert_int_equal(row.arrays[2].row, 7);
    assert_null(row.arrays[0].path);
    assert_ok(wk_manifest_check_inputs(&row, config, &fixture_error));
    wk_manifest_row_fini(&row);
}

static void test_what_may_be_left_out(void **state)
{
    (void)state;
    struct wk_manifest_row row = parse("{\"id\": \"a\", \"features\": {\"audio\": \"x.npy\"}}");
    assert_int_equal(row.label, WK_LABEL_NONE);
    assert_true(row.published_s == INT64_MIN);
    assert_int_equal(row.split, WK_SPLIT_TRAIN);
    assert_int_equal(row.arrays[2].row, -1);
    assert_error(wk_manifest_check_inputs(&row, config, &fixture_error), SL_BAD_DATA,
            "modality visual: \"video\" is missing");
    wk_manifest_row_fini(&row);
    row = parse("{\"id\": \"a\", \"video\": \"v\", \"title\": \"  \", \"ocr\": \"\"}");
    assert_error(
            wk_manifest_check_inputs(&row, config, &fixture_error), SL_BAD_DATA, "modality text: no text");
    wk_manifest_row_fini(&row);
    row = parse("{\"id\": \"a\", \"video\": \"v\", \"title\": \"\", \"asr\": \"words\"}");
    assert_error(wk_manifest_check_inputs(&row, config, &fixture_error), SL_BAD_DATA,
            "modality audio: its array is missing");
    wk_manifest_row_fini(&row);
}

static void test_bad_lines(void **state)
{
    (void)state;
    reject("", "not JSON");
    reject("{\"id\": \"a\"", "not JSON");
    reject("{\"id\": \"a\", \"id\": \"b\"}", "duplicate object key");
    reject("{\"id\": \"\\u0000\"}", "not JSON");
    reject("{\"id\": \"\xff\"}", "not JSON");
    reject("[1]", "not a JSON object");
    reject("{}", "\"id\" is missing");
    reject("{\"id\": 7}", "\"id\" is not a text");
    reject("{\"id\": \"a\", \"tittle\": \"x\"}", "is \"title\" meant?");
    reject("{\"id\": \"a\", \"likes\": 5}", "a key of your own begins with \"_\"");
    reject("{\"id\": \"a\", \"title\": 5}", "\"title\" is not a text");
    reject("{\"id\": \"a\", \"label\": \"wek\"}", "is \"week\" meant?");
    reject("{\"id\": \"a\", \"label\": \"something else\"}", "not in the config's labels");
    reject("{\"id\": \"a\", \"split\": \"dev\"}", "none of train, validation, test");
    reject("{\"id\": \"a\", \"published\": \"yesterday\"}", "\"published\"");
    reject("{\"id\": \"a\", \"features\": \"x.npy\"}", "\"features\" is not an object");
    reject("{\"id\": \"a\", \"features\": {\"sound\": \"x.npy\"}}",
            "features.sound: the config has no modality");
    reject("{\"id\": \"a\", \"features\": {\"text\": \"x.npy\"}}", "not of kind `features`");
    reject("{\"id\": \"a\", \"features\": {\"audio\": 3}}", "features.audio is neither a path");
    reject("{\"id\": \"a\", \"tokens\": {\"audio\": \"x.npy\"}}", "not of kind `bert`");
    reject("{\"id\": \"a\", \"tokens\": {\"text\": {\"row\": 1}}}", "tokens.text has no \"path\"");
    reject("{\"id\": \"a\", \"texts\": {\"text\": 1}}", "\"texts.text\" is not a text");
    reject("{\"id\": \"a\", \"texts\": {\"audio\": \"x\"}}", "not of kind `bert`");
    reject("{\"id\": \"a\", \"features\": {\"audio\": {\"row\": 1}}}", "has no \"path\"");
    reject("{\"id\": \"a\", \"features\": {\"audio\": {\"path\": \"x\", \"row\": -1}}}",
            "whole number from 0");
    reject("{\"id\": \"a\", \"features\": {\"audio\": {\"path\": \"x\", \"rwo\": 1}}}", "is \"row\" meant?");
}

static void test_long_lines_and_ids(void **state)
{
    (void)state;
    char *line = sl_alloc(WK_MANIFEST_LINE_MAX + 2, 1);
    memset(line, ' ', WK_MANIFEST_LINE_MAX + 1);
    reject(line, "at most 1048576");
    (void)sprintf(line, "{\"id\": \"%0300d\"}", 1);
    reject(line, "longer than 255 bytes");
    char id[WK_MANIFEST_ID_MAX + 1];
    struct wk_manifest_row row = {0};
    (void)sprintf(line, "{\"id\": \"named\", \"split\": 5}");
    assert_error(wk_manifest_parse(&row, id, line, strlen(line), config, &fixture_error), SL_BAD_DATA,
            "\"split\"");
    assert_string_equal(id, "named");
    sl_free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_a_full_line),
            cmocka_unit_test(test_what_may_be_left_out),
            cmocka_unit_test(test_bad_lines),
            cmocka_unit_test(test_long_lines_and_ids),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
