/* The plain twins' gradients against central differences of their forwards, in double. */
#include "tests/unit/model/numbers.h"

#include "worker/model/reference.h"

#include <string.h>

#define ROWS 3
#define IN 5
#define OUT 4
#define HEADS 2
#define WIDTH 6
#define QUERIES 3
#define KEYS 4
#define CLASSES 5
#define MOST 128

/* One input array of a twin is varied, all others stay. */
struct setting {
    double a[MOST], b[MOST], c[MOST], weights[MOST];
    int varied;
    double smoothing;
};

static void prepare(struct setting *s, uint64_t seed)
{
    float x[MOST];
    double *arrays[] = {s->a, s->b, s->c, s->weights};
    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < 4; i++) {
        fill(x, MOST, seed * 10 + i, 1.0F);
        widen(arrays[i], x, MOST);
    }
}

static const double *pick(const struct setting *s, int index, const double *x)
{
    const double *own[] = {s->a, s->b, s->c};
    return s->varied == index ? x : own[index];
}

static double linear(const double *x, void *context)
{
    const struct setting *s = context;
    double y[ROWS * OUT];
    wk_reference_linear(y, pick(s, 0, x), pick(s, 1, x), pick(s, 2, x), ROWS, OUT, IN);
    return dot(y, s->weights, ROWS * OUT);
}

static void test_linear(void **state)
{
    (void)state;
    struct setting s;
    double dx[ROWS * IN], dw[OUT * IN], db[OUT];
    prepare(&s, 1);
    wk_reference_linear_backward(dx, dw, db, s.weights, s.a, s.b, ROWS, OUT, IN);
    s.varied = 0;
    expect_gradient("x", linear, &s, s.a, dx, ROWS * IN);
    s.varied = 1;
    expect_gradient("w", linear, &s, s.b, dw, OUT * IN);
    s.varied = 2;
    expect_gradient("b", linear, &s, s.c, db, OUT);
}

static double gelu(const double *x, void *context)
{
    const struct setting *s = context;
    double y[MOST];
    wk_reference_gelu(y, x, MOST);
    return dot(y, s->weights, MOST);
}

static void test_gelu(void **state)
{
    (void)state;
    struct setting s;
    double dx[MOST];
    prepare(&s, 2);
    for (size_t i = 0; i < MOST; i++)
        s.a[i] *= 6.0;
    wk_reference_gelu_backward(dx, s.weights, s.a, MOST);
    expect_gradient("x", gelu, &s, s.a, dx, MOST);
}

static double norm(const double *x, void *context)
{
    const struct setting *s = context;
    double y[ROWS * IN];
    wk_reference_norm(y, pick(s, 0, x), pick(s, 1, x), pick(s, 2, x), ROWS, IN);
    return dot(y, s->weights, ROWS * IN);
}

static void test_norm(void **state)
{
    (void)state;
    struct setting s;
    double dx[ROWS * IN], dgamma[IN], dbeta[IN];
    prepare(&s, 3);
    wk_reference_norm_backward(dx, dgamma, dbeta, s.weights, s.a, s.b, ROWS, IN);
    s.varied = 0;
    expect_gradient("x", norm, &s, s.a, dx, ROWS * IN);
    s.varied = 1;
    expect_gradient("gamma", norm, &s, s.b, dgamma, IN);
    s.varied = 2;
    expect_gradient("beta", norm, &s, s.c, dbeta, IN);
}

static double softmax(const double *x, void *context)
{
    const struct setting *s = context;
    double y[ROWS * IN];
    wk_reference_softmax(y, x, 0.7, ROWS, IN);
    return dot(y, s->weights, ROWS * IN);
}

static void test_softmax(void **state)
{
    (void)state;
    struct setting s;
    double dx[ROWS * IN], y[ROWS * IN];
    prepare(&s, 4);
    wk_reference_softmax(y, s.a, 0.7, ROWS, IN);
    wk_reference_softmax_backward(dx, s.weights, y, 0.7, ROWS, IN);
    expect_gradient("x", softmax, &s, s.a, dx, ROWS * IN);
}

static double attention(const double *x, void *context)
{
    const struct setting *s = context;
    double y[QUERIES * WIDTH];
    wk_reference_attention(y, pick(s, 0, x), pick(s, 1, x), pick(s, 2, x), QUERIES, KEYS, HEADS, WIDTH);
    return dot(y, s->weights, QUERIES * WIDTH);
}

static void test_attention(void **state)
{
    (void)state;
    struct setting s;
    double dq[QUERIES * WIDTH], dk[KEYS * WIDTH], dv[KEYS * WIDTH];
    prepare(&s, 5);
    wk_reference_attention_backward(dq, dk, dv, s.weights, s.a, s.b, s.c, QUERIES, KEYS, HEADS, WIDTH);
    s.varied = 0;
    expect_gradient("q", attention, &s, s.a, dq, QUERIES * WIDTH);
    s.varied = 1;
    expect_gradient("k", attention, &s, s.b, dk, KEYS * WIDTH);
    s.varied = 2;
    expect_gradient("v", attention, &s, s.c, dv, KEYS * WIDTH);
}

static double loss(const double *x, void *context)
{
    const struct setting *s = context;
    return wk_reference_loss(x, CLASSES, 3, 1.5, s->smoothing);
}

static void test_loss(void **state)
{
    (void)state;
    struct setting s;
    double dlogits[CLASSES];
    prepare(&s, 6);
    for (int step = 0; step < 3; step++) {
        s.smoothing = 0.15 * step;
        wk_reference_loss_backward(dlogits, s.a, CLASSES, 3, 1.5, s.smoothing);
        expect_gradient("logits", loss, &s, s.a, dlogits, CLASSES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_linear),
            cmocka_unit_test(test_gelu),
            cmocka_unit_test(test_norm),
            cmocka_unit_test(test_softmax),
            cmocka_unit_test(test_attention),
            cmocka_unit_test(test_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
