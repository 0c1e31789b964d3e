/* Near-identical texts: what is a twin and what is not, and that the quick search finds what comparing all with all finds. */
#include "common/clock.h"
#include "common/random.h"
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/twins.h"

static struct wk_twins *twins;

static void begin(double similarity)
{
    assert_ok(wk_twins_create(&twins, similarity, &fixture_error));
}

static uint32_t add(const char *text)
{
    assert_ok(wk_twins_add(twins, text, strlen(text), &fixture_error));
    return wk_twins_count(twins) - 1;
}

static void find(void)
{
    assert_ok(wk_twins_find(twins, &fixture_error));
}

static bool same(const char *a, const char *b)
{
    begin(WK_TWINS_SIMILARITY);
    (void)add("a text of its own");
    uint32_t i = add(a), j = add(b);
    (void)add("五花八门");
    find();
    bool together = wk_twins_group(twins, i) == wk_twins_group(twins, j);
    assert_true(wk_twins_group(twins, 0) == 0 && wk_twins_group(twins, 3) == 3);
    wk_twins_destroy(twins);
    return together;
}

static void test_what_is_a_twin(void **state)
{
    (void)state;
    assert_true(same("Storm reaches the coast", "STORM reaches the coast!"));
    assert_true(same("Storm reaches the coast of the north", "Storm reaches the cost of the north"));
    assert_true(same("Storm reaches the coast", " Storm — reaches\tthe coast (up)"));
    assert_false(same("What is the capital of Norway", "What is the capital of China"));
    assert_true(same("Ｓｔｏｒｍ 2026", "storm 2026")); /* full width */
    assert_true(same("Caf\xc3\xa9 au lait", "Cafe\xcc\x81 au lait"));
    assert_true(same("如何评价黄轩主演的正午阳光新剧山海情", "如何评价黄轩主演的正午阳光新剧《山海情》？"));
    assert_true(same("ab", "AB"));
    assert_false(same("Storm reaches the coast", "Calm after the storm"));
    assert_false(same("如何评价黄轩主演的新剧", "如何做一碗好吃的面"));
    assert_false(same("ab", "ac"));
    assert_false(same("", ""));
    assert_false(same("?!", "?!")); /* nothing remains */
    assert_false(same("\xff\xfe", "\xff\xfe"));
}

static void test_groups_and_joins(void **state)
{
    (void)state;
    begin(WK_TWINS_SIMILARITY);
    uint32_t a = add("one fine day in spring"), b = add("quite another title"),
             c = add("One fine day, in spring"), d = add("and a third one here");
    wk_twins_join(twins, d, b);
    find();
    assert_int_equal(wk_twins_group(twins, a), a);
    assert_int_equal(wk_twins_group(twins, c), a);
    assert_int_equal(wk_twins_group(twins, b), b);
    assert_int_equal(wk_twins_group(twins, d), b);
    assert_int_equal(wk_twins_cut(twins), 0);
    assert_true(wk_twins_similarity(twins, a, c) == 1.0 && wk_twins_similarity(twins, a, b) < 0.2);
    wk_twins_destroy(twins);
    begin(WK_TWINS_SIMILARITY);
    find(); /* of nothing */
    wk_twins_destroy(twins);
}

/* Words over few letters, so that near ones come up at every similarity. */
static void random_text(char text[64], struct sl_random *random, uint64_t *counter)
{
    int length = 3 + (int)sl_random_below(random, (*counter)++, 40);
    for (int i = 0; i < length; i++)
        text[i] = (char)('a' + sl_random_below(random, (*counter)++, 3));
    text[length] = 0;
}

static int shingles_of(const char *text, uint32_t *shingles)
{
    int count = 0;
    for (size_t i = 0; i + 2 < strlen(text); i++) {
        uint32_t shingle = (uint32_t)text[i] << 16 | (uint32_t)text[i + 1] << 8 | (uint32_t)text[i + 2];
        bool known = false;
        for (int k = 0; k < count; k++)
            known = known || shingles[k] == shingle;
        if (!known)
            shingles[count++] = shingle;
    }
    return count;
}

static double jaccard(const char *a, const char *b)
{
    uint32_t x[64], y[64];
    int x_count = shingles_of(a, x), y_count = shingles_of(b, y), both = 0;
    for (int i = 0; i < x_count; i++)
        for (int j = 0; j < y_count; j++)
            both += x[i] == y[j];
    return (double)both / (x_count + y_count - both);
}

#define TEXTS 300

static uint32_t root(const uint32_t *parents, uint32_t i)
{
    while (parents[i] != i)
        i = parents[i];
    return i;
}

static void test_as_comparing_all_with_all(void **state)
{
    (void)state;
    static char texts[TEXTS][64];
    static const double similarities[] = {0.3, 0.5, 0.7, 0.8, 0.95, 1.0};
    uint64_t counter = 0;
    struct sl_random random = sl_random_make(5, SL_RANDOM_NETWORK, 0, 0);
    for (int round = 0; round < 6; round++) {
        uint32_t parents[TEXTS];
        double similarity = similarities[round];
        begin(similarity);
        for (uint32_t i = 0; i < TEXTS; i++) {
            random_text(texts[i], &random, &counter);
            if (i % 3 == 2) { /* one letter of an earlier one changes */
                memcpy(texts[i], texts[i - 2], sizeof(texts[i]));
                texts[i][sl_random_below(&random, counter++, (uint32_t)strlen(texts[i]))] = 'd';
            }
            (void)add(texts[i]);
            parents[i] = i;
        }
        for (uint32_t i = 0; i < TEXTS; i++)
            for (uint32_t j = 0; j < i; j++)
                if (jaccard(texts[i], texts[j]) >= similarity - 1e-9 &&
                        root(parents, i) != root(parents, j)) {
                    uint32_t a = root(parents, i), b = root(parents, j);
                    parents[a < b ? b : a] = a < b ? a : b;
                }
        find();
        for (uint32_t i = 0; i < TEXTS; i++)
            if (wk_twins_group(twins, i) != root(parents, i))
                fail_msg("similarity %g: text %u \"%s\" is in group %u instead of %u", similarity, i,
                        texts[i], wk_twins_group(twins, i), root(parents, i));
        wk_twins_destroy(twins);
    }
}

/* A thousand titles of one series and hostile lengths neither take for ever nor break anything. */
static void test_many_alike(void **state)
{
    (void)state;
    static char text[20000];
    begin(WK_TWINS_SIMILARITY);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof(text), "Weather for the whole country, episode %04d", i);
        (void)add(text);
    }
    memset(text, 'x', sizeof(text) - 1);
    uint32_t a = add(text);
    text[WK_TWINS_BYTES] = 'y'; /* beyond what is looked at */
    uint32_t b = add(text);
    find();
    assert_int_equal(wk_twins_group(twins, 4999), 0);
    assert_int_equal(wk_twins_group(twins, b), a);
    wk_twins_destroy(twins);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = wk_twins_create(&twins, 0.7, &fixture_error);
        if (status == SL_OK)
            status = wk_twins_add(twins, "some title", 10, &fixture_error);
        if (status == SL_OK)
            status = wk_twins_find(twins, &fixture_error);
        sl_memory_fail_after(0);
        wk_twins_destroy(SL_TAKE(twins));
        if (status == SL_OK)
            return;
        assert_int_equal(status, SL_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_a_twin),
            cmocka_unit_test(test_groups_and_joins), cmocka_unit_test(test_as_comparing_all_with_all),
            cmocka_unit_test(test_many_alike), cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
