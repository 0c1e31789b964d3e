/* Splits: exact shares of every class, groups that stay together, order in time, and what is no such option. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/split.h"

#define ROWS 1000
#define LABELS 3

static struct wk_split_row rows[ROWS];
static uint8_t splits[ROWS], again[ROWS];

static void make_rows(int group_size)
{
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = (struct wk_split_row){.group = i - i % (uint32_t)group_size,
                .label = i % 10 == 0  ? 2
                         : i % 3 == 0 ? 1
                                      : 0,
                .published_s = 1000000 - (int64_t)(i * 7919 % ROWS)};
}

static void assign(uint8_t *into, const char *text, uint64_t seed)
{
    struct wk_split_options options = {.seed = seed};
    assert_ok(wk_split_parse(&options, text, &fixture_error));
    assert_ok(wk_split_assign(into, rows, ROWS, LABELS, &options, &fixture_error));
}

static void count(uint32_t counts[WK_SPLITS][LABELS])
{
    memset(counts, 0, sizeof(uint32_t) * WK_SPLITS * LABELS);
    for (int i = 0; i < ROWS; i++)
        counts[splits[i]][rows[i].label]++;
}

static void test_every_class_in_the_same_shares(void **state)
{
    (void)state;
    static const double shares[] = {0.8, 0.1, 0.1};
    uint32_t counts[WK_SPLITS][LABELS];
    make_rows(1);
    assign(splits, "stratified", 1);
    count(counts);
    for (int k = 0; k < LABELS; k++) {
        uint32_t all = counts[0][k] + counts[1][k] + counts[2][k];
        for (int s = 0; s < WK_SPLITS; s++)
            assert_true(counts[s][k] + 1.0 > shares[s] * all && counts[s][k] - 1.0 < shares[s] * all);
    }
    assign(again, "stratified:8,1,1", 1);
    assert_memory_equal(splits, again, sizeof(splits));
    assign(again, "stratified:80,10,10", 2);
    assert_memory_not_equal(splits, again, sizeof(splits));
    assign(splits, "stratified:3,1", 1);
    count(counts);
    assert_int_equal(counts[2][0] + counts[2][1] + counts[2][2], 0);
    assert_int_equal(counts[1][0] + counts[1][1] + counts[1][2], ROWS / 4);
}

static void test_groups_stay_together(void **state)
{
    (void)state;
    static const char *const ways[] = {"stratified:60,20,20", "time:60,20,20"};
    for (int w = 0; w < 2; w++) {
        uint32_t counts[WK_SPLITS][LABELS];
        make_rows(7);
        assign(splits, ways[w], 3);
        for (int i = 0; i < ROWS; i++)
            assert_int_equal(splits[i], splits[rows[i].group]);
        count(counts);
        uint32_t train = counts[0][0] + counts[0][1] + counts[0][2];
        assert_true(train >= 590 && train <= 610);
    }
}

static void test_by_time(void **state)
{
    (void)state;
    make_rows(1);
    assign(splits, "time:70,20,10", 1);
    int64_t newest[WK_SPLITS] = {INT64_MIN, INT64_MIN, INT64_MIN},
            oldest[WK_SPLITS] = {INT64_MAX, INT64_MAX, INT64_MAX};
    int counts[WK_SPLITS] = {0};
    for (int i = 0; i < ROWS; i++) {
        int s = splits[i];
        counts[s]++;
        newest[s] = rows[i].published_s > newest[s] ? rows[i].published_s : newest[s];
        oldest[s] = rows[i].published_s < oldest[s] ? rows[i].published_s : oldest[s];
    }
    assert_true(counts[0] == 700 && counts[1] == 200 && counts[2] == 100);
    assert_true(newest[0] < oldest[1] && newest[1] < oldest[2]);
    for (int i = 0; i < ROWS; i++)
        rows[i].published_s = i < 600 ? 5 : 6; /* nobody is cut off from those of the same second */
    assign(splits, "time:50,50", 1);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(splits[i], i < 600 ? 0 : 1);
}

static void test_what_is_no_split(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "random", "stratified:", "stratified:80", "stratified:80,",
            "stratified:a,b", "stratified:1,2,3,4", "time:-1,2", "time:0,1,1", "time:nan,1",
            "stratifiedx:1,2", "time:1;2"};
    struct wk_split_options options = {0};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_error(
                wk_split_parse(&options, bad[i], &fixture_error), SL_USAGE, "such as stratified:80,10,10");
}

static void test_no_memory(void **state)
{
    (void)state;
    struct wk_split_options options = {0};
    make_rows(1);
    assert_ok(wk_split_parse(&options, "stratified", &fixture_error));
    for (uint64_t n = 1;; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = wk_split_assign(splits, rows, ROWS, LABELS, &options, &fixture_error);
        sl_memory_fail_after(0);
        if (status == SL_OK)
            return;
        assert_int_equal(status, SL_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_class_in_the_same_shares),
            cmocka_unit_test(test_groups_stay_together), cmocka_unit_test(test_by_time),
            cmocka_unit_test(test_what_is_no_split), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
