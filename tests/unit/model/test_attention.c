/* Ragged attention against its plain twin: self and cross, strides, several tags, heads of odd width. */
#include "tests/unit/model/numbers.h"

#include "worker/model/attention.h"
#include "worker/model/blas.h"
#include "worker/model/reference.h"

#include <string.h>

#define SEGMENTS 4
#define TAGS 2

struct shape {
    const char *name;
    int q_offset[SEGMENTS + 1], k_offset[SEGMENTS + 1];
    int heads;
    size_t d;
};

static const struct shape shapes[] = {
        {"self", {0, 5, 6, 23, 25}, {0, 5, 6, 23, 25}, 3, 15},
        {"cross", {0, 2, 3, 4, 8}, {0, 7, 8, 28, 30}, 4, 32},
        {"one head", {0, 1, 2, 3, 4}, {0, 17, 34, 35, 40}, 1, 20},
};

/* Everything in doubles, segment by segment through the twin. */
static void expected_of(const struct shape *s, double *context, double *dq, double *dk, double *dv,
        const double *q, const double *k, const double *v, const double *dcontext)
{
    for (int i = 0; i < SEGMENTS; i++) {
        size_t q0 = (size_t)s->q_offset[i] * s->d, k0 = (size_t)s->k_offset[i] * s->d;
        size_t nq = (size_t)(s->q_offset[i + 1] - s->q_offset[i]),
               nk = (size_t)(s->k_offset[i + 1] - s->k_offset[i]);
        wk_reference_attention(context + q0, q + q0, k + k0, v + k0, nq, nk, (size_t)s->heads, s->d);
        wk_reference_attention_backward(dq + q0, dk + k0, dv + k0, dcontext + q0, q + q0, k + k0, v + k0, nq,
                nk, (size_t)s->heads, s->d);
    }
}

/* The d columns from `column` of rows `stride` apart, as a matrix without gaps. */
static void gather(float *to, const float *from, size_t rows, size_t stride, size_t column, size_t d)
{
    for (size_t r = 0; r < rows; r++)
        memcpy(to + r * d, from + r * stride + column, d * sizeof(*to));
}

static void check_shape(const struct shape *s)
{
    enum { MOST = 64 * 40 };
    static float q[MOST], kv[2 * MOST], context[MOST], probs[8192], scratch[512], dcontext[TAGS * MOST],
            dq[TAGS * MOST], dkv[2 * TAGS * MOST];
    static float part[MOST];
    static double wq[MOST], wk[MOST], wv[MOST], wc[MOST], wdc[MOST], wdq[MOST], wdk[MOST], wdv[MOST];
    size_t d = s->d, q_rows = (size_t)s->q_offset[SEGMENTS], k_rows = (size_t)s->k_offset[SEGMENTS],
           q_stride = d + 3;
    struct wk_batch batch = {0};
    struct wk_run run = {.v = wk_vector(), .batch = &batch, .training = true};
    struct wk_attention a = {.q = q,
            .k = kv,
            .v = kv + d,
            .q_stride = q_stride,
            .k_stride = 2 * d,
            .q_offset = s->q_offset,
            .k_offset = s->k_offset,
            .segments = SEGMENTS,
            .heads = s->heads,
            .d = d};
    struct wk_attention_gradient g = {.dq = dq,
            .dk = dkv,
            .dv = dkv + d,
            .dq_stride = d,
            .dk_stride = 2 * d,
            .dq_tag = q_rows * d,
            .dk_tag = k_rows * 2 * d};
    fill(q, q_rows * q_stride, 1, 2.0F);
    fill(kv, k_rows * 2 * d, 2, 2.0F);
    fill(dcontext, TAGS * q_rows * d, 3, 1.0F);
    gather(part, q, q_rows, q_stride, 0, d);
    widen(wq, part, q_rows * d);
    gather(part, kv, k_rows, 2 * d, 0, d);
    widen(wk, part, k_rows * d);
    gather(part, kv, k_rows, 2 * d, d, d);
    widen(wv, part, k_rows * d);

    wk_attention_forward(&run, context, probs, &a);
    wk_attention_backward(&run, TAGS, &g, dcontext, probs, &a, scratch);
    for (size_t t = 0; t < TAGS; t++) {
        widen(wdc, dcontext + t * q_rows * d, q_rows * d);
        expected_of(s, wc, wdq, wdk, wdv, wq, wk, wv, wdc);
        expect_near(s->name, context, wc, q_rows * d, 2e-6, 1e-5);
        expect_near("dq", dq + t * q_rows * d, wdq, q_rows * d, 1e-5, 1e-4);
        gather(part, dkv + t * k_rows * 2 * d, k_rows, 2 * d, 0, d);
        expect_near("dk", part, wdk, k_rows * d, 1e-5, 1e-4);
        gather(part, dkv + t * k_rows * 2 * d, k_rows, 2 * d, d, d);
        expect_near("dv", part, wdv, k_rows * d, 1e-5, 1e-4);
    }
    run.training = false; /* probabilities of one head only */
    memset(context, 0, sizeof(context));
    wk_attention_forward(&run, context, scratch, &a);
    expect_near("without training", context, wc, q_rows * d, 2e-6, 1e-5);
}

static void test_shapes(void **state)
{
    (void)state;
    wk_blas_single();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        check_shape(&shapes[i]);
}

static void test_flops(void **state)
{
    (void)state;
    const struct shape *s = &shapes[1];
    struct wk_attention a = {.q_offset = s->q_offset,
            .k_offset = s->k_offset,
            .segments = SEGMENTS,
            .heads = s->heads,
            .d = s->d};
    /* q kᵀ and p v: 2 m n k each */
    double expected = 4.0 * 32 * (2 * 7 + 1 * 1 + 1 * 20 + 4 * 2);
    assert_true(wk_attention_flops(&a) == expected);
}

static void test_blas_core(void **state)
{
    (void)state;
    const char *wish;
    assert_non_null(wk_blas_core());
    assert_int_equal(setenv("OPENBLAS_CORETYPE", "anything", 1), 0);
    assert_null(wk_blas_core_wish()); /* what the user says stands */
    assert_int_equal(unsetenv("OPENBLAS_CORETYPE"), 0);
    wish = wk_blas_core_wish();
    assert_true(wish == NULL || strcmp(wish, wk_blas_core()) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_shapes),
            cmocka_unit_test(test_flops),
            cmocka_unit_test(test_blas_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
