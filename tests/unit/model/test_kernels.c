/* Products that are cut into tiles: against one call of sgemm, with gaps between rows; any team gives the same bits. Chunks. */
#include "tests/unit/model/numbers.h"

#include "common/memory.h"
#include "worker/model/gemm.h"
#include "worker/model/kernels.h"

#define ROWS 1700
#define OUT 850
#define IN 130
#define GAP 3

static float *numbers(size_t rows, size_t stride, uint64_t seed)
{
    float *x = sl_alloc(rows * stride, sizeof(float));
    assert_non_null(x);
    fill(x, rows * stride, seed, 1.0F);
    return x;
}

static void compare(const float *got, const float *want, size_t rows, size_t stride, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < stride; i++) {
            float g = got[r * stride + i], w = want[r * stride + i];
            bool inside = i < n; /* what lies between rows stays as it was */
            if (!(inside ? fabsf(g - w) <= 1e-4F + 1e-4F * fabsf(w) : g == w))
                fail_msg("row %zu, column %zu: %g, not %g", r, i, (double)g, (double)w);
        }
    }
}

enum { FORWARD, INPUT_OF, WEIGHT, PRODUCTS };

/* One of the three products into c, by the house's function or by one call of sgemm. */
static void multiply(
        int which, const struct wk_run *run, float *c, const float *x, const float *dy, const float *w)
{
    size_t out = OUT + GAP, in = IN + GAP;
    if (which == FORWARD && run != NULL)
        wk_product_forward(run, c, out, x, in, w, ROWS, OUT, IN);
    else if (which == FORWARD)
        wk_gemm(WK_PLAIN, WK_TRANSPOSED, c, out, x, in, w, IN, ROWS, OUT, IN, false);
    else if (which == INPUT_OF && run != NULL)
        wk_product_input(run, c, in, dy, out, w, ROWS, OUT, IN, true);
    else if (which == INPUT_OF)
        wk_gemm(WK_PLAIN, WK_PLAIN, c, in, dy, out, w, IN, ROWS, IN, OUT, true);
    else if (run != NULL)
        wk_product_weight(run, c, dy, out, x, in, ROWS, OUT, IN);
    else
        wk_gemm(WK_TRANSPOSED, WK_PLAIN, c, IN, dy, out, x, in, OUT, IN, ROWS, true);
}

static void test_tiles(void **state)
{
    (void)state;
    const size_t rows[PRODUCTS] = {ROWS, ROWS, OUT}, stride[PRODUCTS] = {OUT + GAP, IN + GAP, IN},
                 columns[PRODUCTS] = {OUT, IN, IN};
    float *x = numbers(ROWS, IN + GAP, 1), *dy = numbers(ROWS, OUT + GAP, 2), *w = numbers(OUT, IN, 3);
    wk_blas_single();
    for (int which = 0; which < PRODUCTS; which++) {
        size_t count = rows[which] * stride[which];
        float *want = numbers(rows[which], stride[which], 4), *alone = numbers(rows[which], stride[which], 4);
        multiply(which, NULL, want, x, dy, w);
        multiply(which, &(struct wk_run){.team = NULL}, alone, x, dy, w);
        compare(alone, want, rows[which], stride[which], columns[which]);
        for (int threads = 2; threads <= 3; threads++) {
            struct sl_team *team = NULL;
            struct sl_error err = {0};
            float *together = numbers(rows[which], stride[which], 4);
            assert_int_equal(sl_team_create(&team, threads, &err), SL_OK);
            multiply(which, &(struct wk_run){.team = team}, together, x, dy, w);
            assert_memory_equal(together, alone, count * sizeof(float));
            sl_team_destroy(team);
            sl_free(together);
        }
        sl_free(want);
        sl_free(alone);
    }
    sl_free(x);
    sl_free(dy);
    sl_free(w);
}

/* Chunks cover the rows, none is larger than the most, and the last is not much smaller than the others. */
static void test_chunks(void **state)
{
    (void)state;
    const size_t widths[] = {1, 64, 768, 3072, 100000};
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        size_t most = wk_chunk_most(widths[i]);
        for (size_t rows = 1; rows < 5 * most; rows += 1 + rows / 7) {
            size_t chunk = wk_chunk(widths[i], rows), chunks = (rows + chunk - 1) / chunk;
            assert_true(chunk >= 1 && chunk <= most);
            assert_int_equal(chunks, (rows + most - 1) / most);
            assert_true(chunk * chunks - rows < chunks);
        }
    }
    assert_int_equal(wk_chunk(64, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_tiles),
            cmocka_unit_test(test_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
