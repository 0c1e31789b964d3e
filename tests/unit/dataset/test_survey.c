/* A survey of hand-made datasets: classes, lengths, times, and what is alike between splits and within one. */
#include "common/memory.h"
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/import.h"
#include "worker/dataset/survey.h"
#include "worker/dataset/twins.h"

static char *folder;

static const char config_text[] = "labels: [{name: day, duration: 1d}, {name: evergreen, duration: inf}]\n"
                                  "dataset: {train: data/train}\n"
                                  "modalities:\n"
                                  "  - {name: text, kind: bert, vocab: vocab.txt, max_tokens: 8, hidden: 8, "
                                  "layers: 1, heads: 1, mlp: 8}\n"
                                  "  - {name: sound, kind: features, in: 2, max_items: 3, hidden: 8}\n"
                                  "fusion: {dim: 8, heads: 1, layers: 1, mlp: 8}\n"
                                  "snapshots: {dir: run}\n";

#define LINE(id, title, label, split, row, published)                                                        \
    "{\"id\": \"" id "\", \"title\": \"" title "\", \"label\": \"" label "\", \"split\": \"" split           \
    "\", \"features\": {\"sound\": {\"path\": \"sound.npy\", \"row\": " #row "}}" published "}\n"

static const char manifest[] = LINE("a", "How to bake a loaf of bread", "evergreen", "train", 0, "") LINE("b",
        "Storm reaches the coast of the north", "day", "train", 1,
        ", \"published\": \"2026-01-01T00:00:00Z\"")
        LINE("c", "Something else altogether", "day", "train", 2, ", \"published\": \"2026-03-01T00:00:00Z\"")
                LINE("d", "How to bake a loaf of bread!", "day", "train", 3, "") /* of a */
        LINE("e", "STORM reaches the coast of the north", "day", "validation", 4,
                ", \"published\": \"2026-02-01T00:00:00Z\"")                          /* of b */
        LINE("f", "A title of its own", "evergreen", "test", 2, "")                   /* content of c */
        LINE("g", "storm reaches the coast of the north", "evergreen", "test", 5, "") /* of b and e */
        LINE("h", "Nothing like it", "day", "test", 6, "");

static void write_text(const char *name, const char *text, size_t size)
{
    char *path = fixture_path(folder, name);
    assert_ok(sl_file_write_atomic(path, text, size, &fixture_error));
    sl_free(path);
}

static void write_sound(void)
{
    float values[7][2][2];
    for (int i = 0; i < 28; i++)
        (&values[0][0][0])[i] = (float)i;
    static const char dict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 2, 2), }";
    char bytes[256] = "\x93NUMPY\x01";
    size_t used = 10 + (size_t)snprintf(bytes + 10, sizeof(bytes) - 10, "%-117s\n", dict);
    bytes[8] = (char)(used - 10);
    memcpy(bytes + used, values, sizeof(values));
    write_text("sound.npy", bytes, used + sizeof(values));
}

static struct sl_config *config;

static int set_up(void **state)
{
    (void)state;
    folder = fixture_folder("survey");
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    write_text("vocab.txt", vocab, sizeof(vocab) - 1);
    write_text("config.yaml", config_text, sizeof(config_text) - 1);
    write_text("m.jsonl", manifest, sizeof(manifest) - 1);
    write_sound();
    char *path = fixture_path(folder, "config.yaml"), *lines = fixture_path(folder, "m.jsonl"),
         *out = fixture_path(folder, "data");
    assert_ok(sl_config_load(&config, path, NULL, 0, &fixture_error));
    struct wk_import_options options = {.manifest = lines, .out = out, .jobs = 1};
    struct wk_import_result result;
    assert_ok(wk_import_run(&options, config, &result, &fixture_error));
    assert_int_equal(result.rejected, 0);
    sl_free(path);
    sl_free(lines);
    sl_free(out);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_config_destroy(config);
    fixture_remove(folder);
    return 0;
}

static enum sl_status add(struct wk_survey *survey, const char *name)
{
    struct wk_dataset *dataset = NULL;
    char *path = fixture_path(folder, name);
    assert_ok(wk_dataset_open(&dataset, path, config, &fixture_error));
    enum sl_status status = wk_survey_add(survey, dataset, config, path, NULL, &fixture_error);
    wk_dataset_close(dataset);
    sl_free(path);
    return status;
}

static void expect(
        const struct wk_survey *survey, enum wk_alike reason, int a, int b, int count, int conflicts)
{
    const struct wk_survey_alike *alike = &survey->alike[reason][a][b];
    if (alike->count != (uint64_t)count || alike->conflicts != (uint64_t)conflicts)
        fail_msg("%s: %d of split %d in %d, %d conflicts, expected %d and %d", wk_alike_name(reason),
                (int)alike->count, b, a, (int)alike->conflicts, count, conflicts);
}

static void test_a_dataset(void **state)
{
    (void)state;
    struct wk_survey *survey = NULL;
    assert_ok(wk_survey_create(&survey, WK_TWINS_SIMILARITY, &fixture_error));
    assert_ok(add(survey, "data/train"));
    assert_ok(add(survey, "data/validation"));
    assert_ok(add(survey, "data/test"));
    assert_ok(wk_survey_compare(survey, &fixture_error));
    assert_int_equal(survey->sample_count, 8);
    assert_int_equal(survey->held_out, 4);
    assert_int_equal(survey->leaked, 3);
    expect(survey, WK_ALIKE_ID, 0, 0, 0, 0);
    expect(survey, WK_ALIKE_CONTENT, 0, 2, 1, 1);
    expect(survey, WK_ALIKE_CONTENT, 0, 1, 0, 0);
    expect(survey, WK_ALIKE_TITLE, 0, 0, 1, 1);
    expect(survey, WK_ALIKE_TITLE, 0, 1, 1, 0);
    expect(survey, WK_ALIKE_TITLE, 0, 2, 1, 1);
    expect(survey, WK_ALIKE_TITLE, 1, 2, 1, 1);
    const uint32_t *pair = survey->alike[WK_ALIKE_TITLE][0][1].pairs[0];
    assert_string_equal(survey->samples[pair[0]].id, "b");
    assert_string_equal(survey->samples[pair[1]].id, "e");
    const struct wk_survey_split *train = &survey->splits[0];
    assert_true(train->count == 4 && train->labels[0] == 3 && train->labels[1] == 1 && train->undated == 2);
    assert_int_equal(train->newest_s - train->oldest_s, 59 * 86400);
    assert_int_equal(train->lengths[1].counts[2], 4); /* rows of sound */
    assert_int_equal(wk_survey_quantile(&train->lengths[1], train->count, 0.5), 2);
    wk_survey_destroy(survey);
}

/* The same split twice: every id and content comes again. */
static void test_the_same_twice(void **state)
{
    (void)state;
    struct wk_survey *survey = NULL;
    assert_ok(wk_survey_create(&survey, WK_TWINS_SIMILARITY, &fixture_error));
    assert_ok(add(survey, "data/train"));
    assert_ok(add(survey, "data/train"));
    assert_ok(wk_survey_compare(survey, &fixture_error));
    expect(survey, WK_ALIKE_ID, 0, 1, 4, 0);
    expect(survey, WK_ALIKE_CONTENT, 0, 1, 4, 0);
    assert_int_equal(survey->leaked, 4);
    for (int i = 2; i < WK_SURVEY_SPLITS_MAX; i++)
        assert_ok(add(survey, "data/test"));
    assert_int_equal(add(survey, "data/test"), SL_USAGE);
    wk_survey_destroy(survey);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct wk_survey *survey = NULL;
        struct wk_dataset *dataset = NULL;
        char *path = fixture_path(folder, "data/train");
        assert_ok(wk_dataset_open(&dataset, path, config, &fixture_error));
        sl_memory_fail_after(n);
        enum sl_status status = wk_survey_create(&survey, 0.8, &fixture_error);
        if (status == SL_OK)
            status = wk_survey_add(survey, dataset, config, path, NULL, &fixture_error);
        if (status == SL_OK)
            status = wk_survey_compare(survey, &fixture_error);
        sl_memory_fail_after(0);
        wk_survey_destroy(survey);
        wk_dataset_close(dataset);
        sl_free(path);
        if (status == SL_OK)
            return;
        assert_int_equal(status, SL_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_dataset),
            cmocka_unit_test(test_the_same_twice), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
