/* The elementwise kernels, every variant that this CPU can run, against the plain twins; every row length
 * around a register's width. */
#include "tests/unit/model/numbers.h"

#include "worker/model/reference.h"
#include "worker/model/vector.h"

#include <stdio.h>
#include <string.h>

#define ROWS 5
#define WIDEST 70
#define MOST (ROWS * WIDEST)
#define TAGS 2
#define GUARD 12345.0F /* stands behind every result: no kernel may write past a row's end */

static const size_t widths[] = {
        1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, WIDEST};
#define WIDTHS (sizeof(widths) / sizeof(widths[0]))

/* Runs the body for every variant and every width. */
static void each(void (*body)(const struct wk_vector *v, size_t n))
{
    for (int i = 0; wk_vector_variant(i) != NULL; i++)
        for (size_t w = 0; w < WIDTHS; w++)
            body(wk_vector_variant(i), widths[w]);
}

static void expect_guard(const float *end)
{
    assert_true(*end == GUARD);
}

static void test_dispatch(void **state)
{
    (void)state;
    int count = 0;
    while (wk_vector_variant(count) != NULL)
        printf("variant %d: %s\n", count, wk_vector_variant(count)->name), count++;
    assert_true(count >= 1);
    assert_string_equal(wk_vector_variant(0)->name, "plain");
    assert_null(wk_vector_variant(-1));
    assert_non_null(wk_vector());
    assert_ptr_equal(wk_vector(), wk_vector());
}

static void test_exp(void **state)
{
    (void)state;
    static float x[40001], y[40001];
    size_t n = sizeof(x) / sizeof(x[0]);
    for (size_t i = 0; i < n; i++)
        x[i] = -86.0F + 174.0F * (float)i / (float)(n - 1);
    for (int i = 0; wk_vector_variant(i) != NULL; i++) {
        const struct wk_vector *v = wk_vector_variant(i);
        double worst = 0.0;
        v->exp(y, x, n);
        for (size_t k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)y[k] / exp((double)x[k]) - 1.0));
        printf("exp %s: relative error %.2e\n", v->name, worst);
        assert_true(worst <= 2e-7);
        float edge[] = {0.0F, -0.0F, -87.0F, -1e30F, -INFINITY, 89.0F, 1e30F, INFINITY, NAN}, out[9];
        v->exp(out, edge, 9);
        assert_true(out[0] == 1.0F && out[1] == 1.0F);
        assert_true(out[2] == 0.0F && out[3] == 0.0F && out[4] == 0.0F);
        assert_true(out[5] > 2e38F && out[6] == out[5] && out[7] == out[5]);
        assert_true(isnan(out[8]));
    }
}

static void test_gelu_error(void **state)
{
    (void)state;
    static float x[40001], y[40001], zero[40001], d[40001], dbias[40001];
    static double wide[40001], expected[40001], one[40001], slope[40001];
    size_t n = sizeof(x) / sizeof(x[0]);
    for (size_t i = 0; i < n; i++) {
        x[i] = -12.0F + 24.0F * (float)i / (float)(n - 1);
        one[i] = 1.0;
    }
    widen(wide, x, n);
    wk_reference_gelu(expected, wide, n);
    wk_reference_gelu_backward(slope, one, wide, n);
    for (int i = 0; wk_vector_variant(i) != NULL; i++) {
        const struct wk_vector *v = wk_vector_variant(i);
        float *target = dbias;
        double worst = 0.0, worst_slope = 0.0;
        for (size_t k = 0; k < n; k++)
            d[k] = 1.0F;
        memset(dbias, 0, sizeof(dbias));
        v->gelu(y, x, zero, 1, n);
        for (size_t k = 0; k < n; k++)
            worst = fmax(worst, fabs((double)y[k] - expected[k]) / fmax(1.0, fabs(wide[k])));
        v->gelu_backward(y, d, &target, x, zero, 1, n, 1, 0);
        for (size_t k = 0; k < n; k++)
            worst_slope = fmax(worst_slope, fabs((double)d[k] - slope[k]));
        printf("gelu %s: error %.2e of max(1, |x|), slope %.2e\n", v->name, worst, worst_slope);
        assert_true(worst <= 2e-7 && worst_slope <= 4e-7);
        float edge[] = {0.0F, -60.0F, 60.0F, NAN}, out[4];
        v->gelu(out, edge, zero, 1, 4);
        assert_true(out[0] == 0.0F && fabsf(out[1]) < 1e-30F && out[2] == 60.0F && isnan(out[3]));
    }
}

static void gelu_body(const struct wk_vector *v, size_t n)
{
    float u[MOST], bias[WIDEST], act[MOST + 1], d[TAGS * MOST], dbias[TAGS][WIDEST], before[TAGS * MOST];
    double x[MOST], expected[MOST], dy[MOST], dx[MOST], sum[WIDEST];
    float *targets[TAGS] = {dbias[0], dbias[1]};
    fill(u, MOST, 1, 3.0F);
    fill(bias, WIDEST, 2, 1.0F);
    fill(before, TAGS * MOST, 3, 1.0F);
    memcpy(d, before, sizeof(d));
    fill(dbias[0], TAGS * WIDEST, 4, 1.0F);
    for (size_t i = 0; i < ROWS * n; i++)
        x[i] = (double)u[i] + (double)bias[i % n];
    wk_reference_gelu(expected, x, ROWS * n);
    act[ROWS * n] = GUARD;
    v->gelu(act, u, bias, ROWS, n);
    expect_near("act", act, expected, ROWS * n, 1e-6, 1e-6);
    expect_guard(act + ROWS * n);
    memset(act, 0, sizeof(act));
    v->gelu_backward(act, d, targets, u, bias, ROWS, n, TAGS, MOST);
    expect_near("act again", act, expected, ROWS * n, 1e-6, 1e-6);
    for (size_t t = 0; t < TAGS; t++) {
        widen(dy, before + t * MOST, MOST);
        wk_reference_gelu_backward(dx, dy, x, ROWS * n);
        expect_near("du", d + t * MOST, dx, ROWS * n, 1e-6, 1e-6);
        float start[TAGS * WIDEST];
        fill(start, TAGS * WIDEST, 4, 1.0F);
        for (size_t c = 0; c < n; c++) {
            sum[c] = (double)start[t * WIDEST + c];
            for (size_t r = 0; r < ROWS; r++)
                sum[c] += dx[r * n + c];
        }
        expect_near("dbias", dbias[t], sum, n, 1e-5, 1e-5);
    }
}

static void test_gelu(void **state)
{
    (void)state;
    each(gelu_body);
}

static void norm_body(const struct wk_vector *v, size_t n)
{
    float x[MOST], gamma[WIDEST], beta[WIDEST], y[MOST + 1], mean[ROWS], rstd[ROWS];
    float dy[TAGS * MOST], dx[TAGS * MOST], sums[2][TAGS][WIDEST] = {{{0}}};
    double wx[MOST], wg[WIDEST], wb[WIDEST], expected[MOST], wdy[MOST], wdx[MOST], dgamma[WIDEST],
            dbeta[WIDEST];
    float *gammas[TAGS] = {sums[0][0], sums[0][1]}, *betas[TAGS] = {sums[1][0], sums[1][1]};
    fill(x, MOST, 1, 2.0F);
    fill(gamma, WIDEST, 2, 1.0F);
    fill(beta, WIDEST, 3, 1.0F);
    fill(dy, TAGS * MOST, 4, 1.0F);
    widen(wx, x, MOST);
    widen(wg, gamma, WIDEST);
    widen(wb, beta, WIDEST);
    wk_reference_norm(expected, wx, wg, wb, ROWS, n);
    y[ROWS * n] = GUARD;
    v->norm(y, mean, rstd, x, gamma, beta, ROWS, n);
    expect_guard(y + ROWS * n);
    expect_near("norm", y, expected, ROWS * n, n == 1 ? 0.0 : 2e-5, 2e-5);
    if (n < 3)
        return; /* one or two numbers normalise to 0 or ±1 whatever they are: their gradient is all rounding */
    for (int add = 0; add < 2; add++) {
        fill(dx, TAGS * MOST, 5, 1.0F);
        memset(sums, 0, sizeof(sums));
        v->norm_backward(dx, dy, gammas, betas, x, mean, rstd, gamma, ROWS, n, TAGS, MOST, add);
        for (size_t t = 0; t < TAGS; t++) {
            float start[TAGS * MOST];
            fill(start, TAGS * MOST, 5, 1.0F);
            widen(wdy, dy + t * MOST, MOST);
            wk_reference_norm_backward(wdx, dgamma, dbeta, wdy, wx, wg, ROWS, n);
            for (size_t i = 0; i < ROWS * n && add; i++)
                wdx[i] += (double)start[t * MOST + i];
            expect_near("dx", dx + t * MOST, wdx, ROWS * n, 1e-4, 1e-4);
            expect_near("dgamma", sums[0][t], dgamma, n, 1e-4, 1e-4);
            expect_near("dbeta", sums[1][t], dbeta, n, 1e-5, 1e-5);
        }
    }
    /* in place, as the encoder uses it */
    memcpy(dx, dy, sizeof(dx));
    memset(sums, 0, sizeof(sums));
    v->norm_backward(dx, dx, gammas, betas, x, mean, rstd, gamma, ROWS, n, 1, MOST, 0);
    widen(wdy, dy, MOST);
    wk_reference_norm_backward(wdx, dgamma, dbeta, wdy, wx, wg, ROWS, n);
    expect_near("dx in place", dx, wdx, ROWS * n, 1e-4, 1e-4);
}

static void test_norm(void **state)
{
    (void)state;
    each(norm_body);
}

/* A mask with about two thirds kept, and what it keeps. */
static void make_mask(uint8_t *mask, bool *kept, size_t n)
{
    struct sl_random stream = sl_random_make(9, SL_RANDOM_TEST, n, 0);
    size_t bytes = (n + 7) / 8;
    memset(mask, 0, ROWS * bytes);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t i = 0; i < n; i++) {
            kept[r * n + i] = sl_random_float(&stream, r * n + i) < 0.66F;
            mask[r * bytes + i / 8] |= (uint8_t)(kept[r * n + i] << (i % 8));
        }
}

static void add_norm_body(const struct wk_vector *v, size_t n)
{
    size_t stride = n + 3;
    float y[MOST], bias[WIDEST], residual[ROWS * (WIDEST + 3)], gamma[WIDEST], beta[WIDEST], sum[MOST + 1],
            out[MOST + 1];
    float mean[ROWS], rstd[ROWS];
    double expected[MOST], normed[MOST], wg[WIDEST], wb[WIDEST];
    uint8_t mask[ROWS * (WIDEST / 8 + 1) + 8] = {0};
    bool kept[MOST];
    fill(y, MOST, 1, 1.0F);
    fill(bias, WIDEST, 2, 1.0F);
    fill(residual, ROWS * (WIDEST + 3), 3, 1.0F);
    fill(gamma, WIDEST, 4, 1.0F);
    fill(beta, WIDEST, 5, 1.0F);
    widen(wg, gamma, WIDEST);
    widen(wb, beta, WIDEST);
    make_mask(mask, kept, n);
    for (int masked = 0; masked < 2; masked++) {
        for (size_t i = 0; i < ROWS * n; i++) {
            double keep = !masked ? 1.0 : kept[i] ? 1.5 : 0.0;
            expected[i] =
                    (double)residual[i / n * stride + i % n] + keep * ((double)y[i] + (double)bias[i % n]);
        }
        wk_reference_norm(normed, expected, wg, wb, ROWS, n);
        memcpy(sum, y, sizeof(y));
        sum[ROWS * n] = out[ROWS * n] = GUARD;
        v->add_norm(sum, out, mean, rstd, bias, residual, stride, masked ? mask : NULL, 1.5F, gamma, beta,
                ROWS, n);
        expect_near("sum", sum, expected, ROWS * n, 1e-6, 1e-6);
        if (n > 2)
            expect_near("norm", out, normed, ROWS * n, 1e-4, 1e-4);
        expect_guard(sum + ROWS * n);
        expect_guard(out + ROWS * n);
        memcpy(sum, y, sizeof(y));
        v->add_norm(sum, NULL, NULL, NULL, bias, residual, stride, masked ? mask : NULL, 1.5F, NULL, NULL,
                ROWS, n);
        expect_near("sum alone", sum, expected, ROWS * n, 1e-6, 1e-6);
    }
    v->drop(sum, y, mask, 1.5F, ROWS, n);
    for (size_t i = 0; i < ROWS * n; i++)
        assert_true(sum[i] == (kept[i] ? 1.5F * y[i] : 0.0F));
}

static void test_add_norm(void **state)
{
    (void)state;
    each(add_norm_body);
}

static void softmax_body(const struct wk_vector *v, size_t n)
{
    float x[MOST], y[MOST + 1], dp[MOST + 1];
    double wx[MOST], expected[MOST], wdp[MOST], ds[MOST];
    fill(x, MOST, 1, 20.0F);
    fill(dp, MOST, 2, 1.0F);
    widen(wx, x, MOST);
    widen(wdp, dp, MOST);
    wk_reference_softmax(expected, wx, 0.3, ROWS, n);
    memcpy(y, x, sizeof(x));
    y[ROWS * n] = dp[ROWS * n] = GUARD;
    v->softmax(y, n, 0.3F, ROWS, n);
    expect_guard(y + ROWS * n);
    expect_near("softmax", y, expected, ROWS * n, 1e-7, 3e-6);
    v->softmax_backward(dp, y, 0.3F, ROWS, n);
    expect_guard(dp + ROWS * n);
    wk_reference_softmax_backward(ds, wdp, expected, 0.3, ROWS, n);
    expect_near("softmax backward", dp, ds, ROWS * n, 1e-6, 1e-5);
    /* scores far apart give exact zeros, not NaN; NaN stays */
    float wide[WIDEST];
    for (size_t i = 0; i < n; i++)
        wide[i] = i == 0 ? 1e30F : -1e30F;
    v->softmax(wide, n, 1.0F, 1, n);
    for (size_t i = 0; i < n; i++)
        assert_true(wide[i] == (i == 0 ? 1.0F : 0.0F));
    wide[n - 1] = NAN;
    v->softmax(wide, n, 1.0F, 1, n);
    assert_true(isnan(wide[0]));
}

static void test_softmax(void **state)
{
    (void)state;
    each(softmax_body);
}

static void sums_body(const struct wk_vector *v, size_t n)
{
    enum { LONG = 21 };
    static float x[LONG * (WIDEST + 2)], y[LONG * (WIDEST + 2)];
    float sum[WIDEST + 1], bias[WIDEST];
    size_t stride = n + 2;
    double expected[LONG * (WIDEST + 2)];
    fill(x, LONG * (WIDEST + 2), 1, 1.0F);
    fill(sum, WIDEST, 2, 1.0F);
    fill(bias, WIDEST, 3, 1.0F);
    for (size_t c = 0; c < n; c++) {
        expected[c] = (double)sum[c];
        for (size_t r = 0; r < LONG; r++)
            expected[c] += (double)x[r * stride + c];
    }
    sum[n] = GUARD;
    v->column_sum(sum, x, stride, LONG, n);
    expect_near("column sum", sum, expected, n, 1e-5, 1e-5);
    expect_guard(sum + n);

    memcpy(y, x, sizeof(y));
    v->bias(y, stride, bias, LONG, n);
    for (size_t i = 0; i < LONG * stride; i++)
        expected[i] = (double)x[i] + (i % stride < n ? (double)bias[i % stride] : 0.0);
    expect_near("bias", y, expected, LONG * stride, 1e-6, 0.0);

    memcpy(y, x, sizeof(y));
    v->axpy(y, bias, 0.25F, n);
    for (size_t i = 0; i < LONG * stride; i++)
        expected[i] = (double)x[i] + (i < n ? 0.25 * (double)bias[i] : 0.0);
    expect_near("axpy", y, expected, LONG * stride, 1e-6, 0.0);
}

static void test_sums(void **state)
{
    (void)state;
    each(sums_body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_dispatch),
            cmocka_unit_test(test_exp),
            cmocka_unit_test(test_gelu_error),
            cmocka_unit_test(test_gelu),
            cmocka_unit_test(test_norm),
            cmocka_unit_test(test_add_norm),
            cmocka_unit_test(test_softmax),
            cmocka_unit_test(test_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
