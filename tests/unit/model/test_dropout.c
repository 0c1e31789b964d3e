/* Dropout masks: the share that is kept, and what a mask may and may not depend on. */
#include "tests/unit/model/numbers.h"

#include "worker/model/dropout.h"

#include <stdio.h>
#include <string.h>

#define N 37
#define BYTES ((N + 7) / 8)
#define EVERY 3

static const int offset[] = {0, 4, 5, 12};
static uint64_t ids[] = {100, 7, 3000000000000};

static const uint8_t *draw(uint8_t *mask, uint64_t seed, uint64_t step, int part, int layer,
        enum wk_site site, struct wk_batch *batch, const int *rows)
{
    struct wk_run run = {.batch = batch, .training = true, .seed = seed, .step = step};
    struct wk_dropout dropout = {.p = 0.3F, .part = part};
    return wk_dropout_draw(&run, &dropout, mask, layer, site, rows, EVERY, N);
}

static int count_bits(const uint8_t *mask, size_t bytes)
{
    int count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += __builtin_popcount(mask[i]);
    return count;
}

static void test_share(void **state)
{
    (void)state;
    enum { ROWS = 4000 };
    static uint8_t mask[ROWS * 8 + 8];
    const int all[] = {0, ROWS};
    for (int p = 1; p <= 9; p += 2) {
        struct wk_batch batch = {.count = 1, .ids = ids};
        struct wk_run run = {.batch = &batch, .training = true, .seed = 1};
        struct wk_dropout dropout = {.p = 0.1F * (float)p};
        (void)wk_dropout_draw(&run, &dropout, mask, 0, WK_SITE_FFN, all, 1, 64);
        double share = count_bits(mask, ROWS * 8) / (ROWS * 64.0), keep = 1.0 - 0.1 * p;
        printf("p 0.%d: kept %.4f\n", p, share);
        assert_true(fabs(share - keep) < 0.005); /* 4 to 5 standard deviations */
        assert_true(fabs((double)wk_dropout_scale(dropout.p) * keep - 1.0) < 2e-4);
    }
}

static void test_off(void **state)
{
    (void)state;
    struct wk_batch batch = {.count = 3, .ids = ids};
    struct wk_run run = {.batch = &batch};
    struct wk_dropout on = {.p = 0.5F}, off = {.p = 0.0F};
    struct wk_arena arena = {0};
    uint8_t mask[1];
    assert_null(wk_dropout_draw(&run, &on, mask, 0, WK_SITE_FFN, offset, 1, N)); /* not training */
    run.training = true;
    assert_null(wk_dropout_draw(&run, &off, mask, 0, WK_SITE_FFN, offset, 1, N));
    assert_null(wk_dropout_plan(&arena, &off, 100, 100));
    assert_int_equal(arena.used, 0);
    assert_true(wk_dropout_scale(0.0F) == 1.0F);
}

/* A sample's mask is the same whatever stands beside it and in whatever order. */
static void test_batch_does_not_matter(void **state)
{
    (void)state;
    uint8_t together[12 * EVERY * BYTES], alone[12 * EVERY * BYTES];
    struct wk_batch batch = {.count = 3, .ids = ids};
    draw(together, 5, 6, 1, 2, WK_SITE_ATTENTION, &batch, offset);
    for (int b = 0; b < 3; b++) {
        struct wk_batch one = {.count = 1, .ids = &ids[b]};
        const int rows[] = {0, offset[b + 1] - offset[b]};
        draw(alone, 5, 6, 1, 2, WK_SITE_ATTENTION, &one, rows);
        assert_memory_equal(
                alone, together + (size_t)offset[b] * EVERY * BYTES, (size_t)rows[1] * EVERY * BYTES);
    }
}

static void test_keys_matter(void **state)
{
    (void)state;
    uint8_t base[12 * EVERY * BYTES], other[12 * EVERY * BYTES];
    struct wk_batch batch = {.count = 3, .ids = ids};
    const struct {
        uint64_t seed, step;
        int part, layer;
        enum wk_site site;
    } keys[] = {{6, 6, 1, 2, WK_SITE_ATTENTION}, {5, 7, 1, 2, WK_SITE_ATTENTION},
            {5, 6, 2, 2, WK_SITE_ATTENTION}, {5, 6, 1, 3, WK_SITE_ATTENTION}, {5, 6, 1, 2, WK_SITE_FFN}};
    draw(base, 5, 6, 1, 2, WK_SITE_ATTENTION, &batch, offset);
    draw(other, 5, 6, 1, 2, WK_SITE_ATTENTION, &batch, offset);
    assert_memory_equal(base, other, sizeof(base));
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        draw(other, keys[i].seed, keys[i].step, keys[i].part, keys[i].layer, keys[i].site, &batch, offset);
        assert_memory_not_equal(base, other, sizeof(base));
        int agree = 0; /* two independent masks with p = 0.3 agree in 58 % of the bits */
        for (size_t k = 0; k < sizeof(base); k++)
            agree += 8 - __builtin_popcount(base[k] ^ other[k]);
        double share = agree / (8.0 * sizeof(base));
        assert_true(share > 0.5 && share < 0.66);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_share),
            cmocka_unit_test(test_off),
            cmocka_unit_test(test_batch_does_not_matter),
            cmocka_unit_test(test_keys_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
