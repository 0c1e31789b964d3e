/* Linear layers and the feed-forward against their plain twins, over and under a chunk of rows, with one and
 * two tags. */
#include "tests/unit/model/numbers.h"

#include "common/memory.h"
#include "worker/model/ffn.h"
#include "worker/model/reference.h"

#include <string.h>

#define IN 5
#define OUT 3
#define TAGS 2

/* A feed-forward's place in a small flat vector. */
static struct wk_ffn ffn_of(size_t mid)
{
    struct wk_ffn ffn = {.in = IN, .mid = mid, .out = OUT};
    ffn.first.weight = 0;
    ffn.first.bias = mid * IN;
    ffn.second.weight = ffn.first.bias + mid;
    ffn.second.bias = ffn.second.weight + mid * OUT;
    return ffn;
}

static double *doubles(size_t n)
{
    double *x = sl_alloc(n, sizeof(*x));
    assert_non_null(x);
    return x;
}

static float *floats(size_t n, uint64_t seed, float scale)
{
    float *x = sl_alloc_aligned(n, sizeof(*x));
    assert_non_null(x);
    fill(x, n, seed, scale);
    return x;
}

static double *widened(const float *x, size_t n)
{
    double *y = doubles(n);
    widen(y, x, n);
    return y;
}

struct expected {
    double *y, *dh, *params; /* gradients of all parameters, laid out as ffn_of has them */
};

static struct expected expect_of(
        const struct wk_ffn *ffn, const double *p, const double *h, const double *dy, size_t rows)
{
    size_t mid = ffn->mid;
    struct expected e = {doubles(rows * OUT), doubles(rows * IN), doubles(ffn->second.bias + OUT)};
    double *u = doubles(rows * mid), *act = doubles(rows * mid), *dact = doubles(rows * mid),
           *du = doubles(rows * mid), zero[OUT] = {0};
    wk_reference_linear(u, h, p + ffn->first.weight, p + ffn->first.bias, rows, mid, IN);
    wk_reference_gelu(act, u, rows * mid);
    wk_reference_linear(
            e.y, act, p + ffn->second.weight, zero, rows, OUT, mid); /* add_norm adds the last bias */
    wk_reference_linear_backward(dact, e.params + ffn->second.weight, e.params + ffn->second.bias, dy, act,
            p + ffn->second.weight, rows, OUT, mid);
    wk_reference_gelu_backward(du, dact, u, rows * mid);
    wk_reference_linear_backward(e.dh, e.params + ffn->first.weight, e.params + ffn->first.bias, du, h,
            p + ffn->first.weight, rows, mid, IN);
    sl_free(u);
    sl_free(act);
    sl_free(dact);
    sl_free(du);
    return e;
}

static void check(size_t mid, size_t rows, int tag_count)
{
    struct wk_ffn ffn = ffn_of(mid);
    size_t params = ffn.second.bias + OUT;
    float *p = floats(params, 1, 0.3F), *h = floats(rows * IN, 2, 1.0F),
          *dy = floats(TAGS * rows * OUT, 3, 1.0F);
    float *u = floats(rows * mid, 4, 1.0F), *y = floats(rows * OUT, 5, 1.0F),
          *dh = floats(TAGS * rows * IN, 6, 1.0F);
    float *scratch = floats(wk_ffn_scratch(&ffn, tag_count), 7, 1.0F);
    struct wk_tags tags = {
            .count = tag_count, .grads = {sl_alloc_aligned(params, 4), sl_alloc_aligned(params, 4)}};
    struct wk_run run = {.v = wk_vector(), .params = p, .training = true};
    double *wp = widened(p, params), *wh = widened(h, rows * IN);
    wk_ffn_forward(&run, &ffn, y, u, h, rows, scratch);
    wk_ffn_backward(&run, &tags, &ffn, dh, dy, h, u, rows, true, scratch);
    for (size_t t = 0; t < (size_t)tag_count; t++) {
        double *wdy = widened(dy + t * rows * OUT, rows * OUT);
        float *start = floats(TAGS * rows * IN, 6, 1.0F);
        struct expected e = expect_of(&ffn, wp, wh, wdy, rows);
        for (size_t i = 0; i < rows * IN; i++)
            e.dh[i] += (double)start[t * rows * IN + i];
        expect_near("y", y, e.y, rows * OUT, 1e-5, 1e-4);
        expect_near("dh", dh + t * rows * IN, e.dh, rows * IN, 1e-5, 1e-4);
        expect_near("gradients", tags.grads[t], e.params, params, 2e-5, 1e-4);
        sl_free(wdy);
        sl_free(start);
        sl_free(e.y);
        sl_free(e.dh);
        sl_free(e.params);
    }
    /* without training, u holds one chunk */
    float *small = floats(wk_ffn_kept(&ffn, rows, false) * mid, 8, 1.0F),
          *again = floats(rows * OUT, 9, 1.0F);
    run.training = false;
    wk_ffn_forward(&run, &ffn, again, small, h, rows, scratch);
    assert_memory_equal(again, y, rows * OUT * sizeof(*y));
    float *all[] = {p, h, dy, u, y, dh, scratch, tags.grads[0], tags.grads[1], small, again};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        sl_free(all[i]);
    sl_free(wp);
    sl_free(wh);
}

static void test_one_chunk(void **state)
{
    (void)state;
    check(7, 9, 1);
    check(7, 9, TAGS);
    check(33, 1, TAGS);
}

static void test_several_chunks(void **state)
{
    (void)state;
    size_t mid = 1024;
    assert_true(wk_chunk_most(mid) < 900);
    check(mid, wk_chunk_most(mid), TAGS);
    check(mid, wk_chunk_most(mid) + 1, TAGS);
    check(mid, 2 * wk_chunk_most(mid) + 1, 1);
}

static void test_linear(void **state)
{
    (void)state;
    enum { ROWS = 11, PARAMS = OUT * IN + OUT };
    float p[PARAMS], x[ROWS * IN], y[ROWS * OUT], dy[TAGS * ROWS * OUT], dx[TAGS * ROWS * IN],
            grads[TAGS][PARAMS] = {{0}};
    double wp[PARAMS], wx[ROWS * IN], wy[ROWS * OUT], wdy[ROWS * OUT], wdx[ROWS * IN], wg[PARAMS];
    struct wk_linear_at at = {.weight = 0, .bias = OUT * IN};
    struct wk_run run = {.v = wk_vector(), .params = p};
    struct wk_tags tags = {.count = TAGS, .grads = {grads[0], grads[1]}};
    fill(p, PARAMS, 1, 1.0F);
    fill(x, ROWS * IN, 2, 1.0F);
    fill(dy, TAGS * ROWS * OUT, 3, 1.0F);
    widen(wp, p, PARAMS);
    widen(wx, x, ROWS * IN);
    wk_linear_forward(&run, y, x, at, ROWS, OUT, IN);
    wk_reference_linear(wy, wx, wp, wp + at.bias, ROWS, OUT, IN);
    expect_near("y", y, wy, ROWS * OUT, 1e-6, 1e-5);
    wk_linear_backward(&run, &tags, dx, dy, x, at, ROWS, OUT, IN, false);
    for (size_t t = 0; t < TAGS; t++) {
        widen(wdy, dy + t * ROWS * OUT, ROWS * OUT);
        wk_reference_linear_backward(wdx, wg, wg + at.bias, wdy, wx, wp, ROWS, OUT, IN);
        expect_near("dx", dx + t * ROWS * IN, wdx, ROWS * IN, 1e-6, 1e-5);
        expect_near("gradients", grads[t], wg, PARAMS, 1e-6, 1e-5);
    }
    wk_linear_backward(&run, &tags, NULL, dy, x, at, 0, OUT, IN, false); /* no rows: nothing happens */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_linear),
            cmocka_unit_test(test_one_chunk),
            cmocka_unit_test(test_several_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
