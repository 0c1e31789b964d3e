/* manifest.json: a round trip, and that a changed number is noticed. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/index.h"

static char *folder;
static struct sl_config *config;
static const uint64_t vocab_hashes[SL_MODALITIES_MAX] = {0, 0x1234};

static int set_up(void **state)
{
    (void)state;
    folder = fixture_folder("index");
    config = fixture_config(folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(config);
    fixture_remove(folder);
    return 0;
}

static struct wk_index *make_index(void)
{
    struct wk_index *index = NULL;
    assert_ok(wk_index_begin(&index, config, vocab_hashes, "train", &fixture_error));
    for (int i = 0; i < 3; i++) {
        struct wk_index_shard shard = {.count = 10,
                .rejects = (uint64_t)i,
                .hash = 77 + (uint64_t)i,
                .size = 4096 * (i + 1),
                .labels = {5, 3, 2}};
        (void)snprintf(shard.name, sizeof(shard.name), "shard-%05d", i);
        assert_ok(wk_index_add_shard(index, &shard, &fixture_error));
    }
    return index;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct wk_index *index = make_index(), *back = NULL;
    assert_int_equal(index->count, 30);
    assert_int_equal(index->rejects, 3);
    assert_int_equal(index->size, 4096 * 6);
    assert_ok(wk_index_save(index, folder, &fixture_error));
    assert_ok(wk_index_load(&back, folder, &fixture_error));
    assert_string_equal(back->split, "train");
    assert_int_equal(back->count, 30);
    assert_true(back->fingerprint == index->fingerprint);
    assert_int_equal(back->shard_count, 3);
    assert_int_equal(back->label_counts[1], 9);
    assert_memory_equal(back->modalities, index->modalities, sizeof(back->modalities));
    assert_ok(wk_index_check_config(back, config, vocab_hashes, "d", &fixture_error));
    struct wk_index_shard shard;
    assert_ok(wk_index_shard_save(&index->shards[1], 3, folder, &fixture_error));
    assert_ok(wk_index_shard_load(&shard, 3, folder, &fixture_error));
    assert_true(shard.hash == 78 && shard.labels[0] == 5);
    assert_error(wk_index_shard_load(&shard, 4, folder, &fixture_error), SL_BAD_DATA, "\"labels\"");
    wk_index_destroy(index);
    wk_index_destroy(back);
}

/* Replaces a piece of the saved text. */
static void expect_damage(const char *from, const char *to, const char *piece)
{
    struct wk_index *index = make_index(), *back = NULL;
    assert_ok(wk_index_save(index, folder, &fixture_error));
    char *path = fixture_path(folder, WK_INDEX_FILE), *text = NULL;
    size_t size = 0;
    assert_ok(sl_file_read(&text, &size, path, 1 << 20, &fixture_error));
    char *at = strstr(text, from);
    if (at == NULL)
        fail_msg("no %s in %s", from, text);
    char *changed = sl_strdup_printf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_error(
            wk_index_parse(&back, changed, strlen(changed), "m.json", &fixture_error), SL_BAD_DATA, piece);
    assert_null(back);
    wk_index_destroy(index);
    sl_free(changed);
    sl_free(text);
    sl_free(path);
}

static void test_damage(void **state)
{
    (void)state;
    expect_damage("{", "", "not JSON");
    expect_damage("shelflife-dataset", "shelflife-other", "\"format\"");
    expect_damage("\"version\": 1", "\"version\": 2", "\"version\"");
    expect_damage("\"count\": 30", "\"count\": 31", "\"count\" is not the sum");
    expect_damage("\"count\": 9", "\"count\": 8", "\"labels\" are not the sums");
    expect_damage("\"count\": 10", "\"count\": 9", "");
    expect_damage("000000000000004e", "000000000000004f", "\"fingerprint\" does not fit");
    expect_damage("000000000000004e", "00000000000000xy", "\"hash\"");
    expect_damage("shard-00001", "../../etc", "\"name\"");
    expect_damage("\"vit\"", "\"vid\"", "\"kind\" is not known");
    expect_damage("\"image\": 16", "\"image\": -1", "\"image\"");
    expect_damage("\"train\"", "\"<b>\"", "\"split\" is not known"); /* it goes into pages as it is */
    expect_damage("\"max_tokens\": ", "\"max_tokens\": 6553", "\"max_tokens\""); /* lengths are counted */
    struct wk_index *index = NULL;
    assert_error(
            wk_index_parse(&index, "[]", 2, "m.json", &fixture_error), SL_BAD_DATA, "m.json is not JSON");
    assert_int_equal(wk_index_parse(&index, "{}", 2, "m.json", NULL), SL_BAD_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_round_trip),
            cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
