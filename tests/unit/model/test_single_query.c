/* Attention of one query in each segment against the plain twins of projections and attention, which form the keys and values. */
#include "tests/unit/model/numbers.h"

#include "worker/model/reference.h"
#include "worker/model/single_query.h"

#include <string.h>

#define TAGS 2
#define MOST_SEGMENTS 3
#define MOST_LENGTH 17
#define MOST_D 48
#define MOST_ROWS ((size_t)MOST_SEGMENTS * MOST_LENGTH)
#define WEIGHT ((size_t)MOST_D * MOST_D)

struct shape {
    const char *name;
    size_t d, length, segments;
    int heads;
};

static const struct shape shapes[] = {
        {"some heads", 48, 17, 3, 3},
        {"one head", 20, 5, 2, 1},
        {"narrow heads, more of them than rows", 18, 2, 3, 9},
};

/* Query, key and value of one projection follow each other: weights, then biases. */
struct numbers {
    float params[3 * WEIGHT + 3 * MOST_D], grads[TAGS][3 * WEIGHT + 3 * MOST_D];
    float x[MOST_ROWS * MOST_D], dx[TAGS * MOST_ROWS * MOST_D];
    float context[MOST_SEGMENTS * MOST_D], dcontext[TAGS * MOST_SEGMENTS * MOST_D];
    float kept[MOST_SEGMENTS * 19 * MOST_D], scratch[TAGS * MOST_SEGMENTS * 19 * MOST_D];
    float probs[MOST_ROWS * 9], dprobs[MOST_LENGTH * 9];
};

/* The same in doubles. */
struct expected {
    double w[3][WEIGHT], b[3][MOST_D], x[MOST_ROWS * MOST_D];
    double y[3][MOST_ROWS * MOST_D], dy[3][MOST_ROWS * MOST_D];
    double dw[3][WEIGHT], db[3][MOST_D], dx[3][MOST_ROWS * MOST_D], context[MOST_SEGMENTS * MOST_D];
};

static struct wk_single_query plan(const struct shape *s)
{
    size_t square = s->d * s->d, bias = 3 * square;
    return (struct wk_single_query){.d = s->d,
            .length = s->length,
            .heads = s->heads,
            .query = {0, bias},
            .key = {square, bias + s->d},
            .value = {2 * square, bias + 2 * s->d}};
}

/* All queries are projected, the first of each segment alone gets a gradient. */
static void expect(struct expected *e, const struct shape *s, const struct numbers *n, size_t tag)
{
    size_t d = s->d, rows = s->segments * s->length;
    widen(e->x, n->x, rows * d);
    memset(e->dy[0], 0, sizeof(e->dy[0]));
    for (size_t i = 0; i < 3; i++) {
        widen(e->w[i], n->params + i * d * d, d * d);
        widen(e->b[i], n->params + 3 * d * d + i * d, d);
        wk_reference_linear(e->y[i], e->x, e->w[i], e->b[i], rows, d, d);
    }
    for (size_t i = 0; i < s->segments; i++) {
        double dcontext[MOST_D];
        size_t at = i * s->length * d;
        widen(dcontext, n->dcontext + (tag * s->segments + i) * d, d);
        wk_reference_attention(e->context + i * d, e->y[0] + at, e->y[1] + at, e->y[2] + at, 1, s->length,
                (size_t)s->heads, d);
        wk_reference_attention_backward(e->dy[0] + at, e->dy[1] + at, e->dy[2] + at, dcontext, e->y[0] + at,
                e->y[1] + at, e->y[2] + at, 1, s->length, (size_t)s->heads, d);
    }
    for (size_t i = 0; i < 3; i++)
        wk_reference_linear_backward(e->dx[i], e->dw[i], e->db[i], e->dy[i], e->x, e->w[i], rows, d, d);
    for (size_t i = 0; i < rows * d; i++)
        e->dx[0][i] += e->dx[1][i] + e->dx[2][i];
}

static void check_gradients(
        const struct shape *s, const struct numbers *n, const struct expected *e, size_t t)
{
    size_t d = s->d, rows = s->segments * s->length;
    static const double zeros[MOST_D];
    expect_near("dx", n->dx + t * rows * d, e->dx[0], rows * d, 1e-5, 1e-4);
    for (size_t i = 0; i < 3; i++) {
        bool key = i == 1; /* the twin leaves rounding there */
        expect_near("weight", n->grads[t] + i * d * d, e->dw[i], d * d, 1e-5, 1e-4);
        expect_near(
                "bias", n->grads[t] + 3 * d * d + i * d, key ? zeros : e->db[i], d, key ? 0.0 : 1e-5, 1e-4);
    }
}

/* Nothing is added for what is frozen; without dx the other gradients keep their bits. */
static void check_frozen(const struct wk_run *run, const struct wk_single_query *single, struct numbers *n,
        const struct shape *s)
{
    static float before[TAGS][3 * WEIGHT + 3 * MOST_D];
    struct wk_single_query frozen = *single;
    struct wk_tags tags = {.count = TAGS, .grads = {n->grads[0], n->grads[1]}};
    size_t square = s->d * s->d;
    frozen.key.weight_frozen = frozen.value.bias_frozen = frozen.query.weight_frozen = true;
    memcpy(before, n->grads, sizeof(before));
    memset(n->grads, 0, sizeof(n->grads));
    wk_single_query_backward(run, &tags, &frozen, NULL, n->dcontext, n->kept, n->probs, n->x, s->segments,
            n->scratch, n->dprobs);
    for (size_t t = 0; t < TAGS; t++) {
        memset(before[t], 0, 2 * square * sizeof(float));
        memset(before[t] + single->value.bias, 0, s->d * sizeof(float));
        assert_memory_equal(n->grads[t], before[t], sizeof(before[t]));
    }
    memset(n->grads, 0, sizeof(n->grads));
}

static void check_shape(const struct shape *s)
{
    static struct numbers n;
    static struct expected e;
    struct wk_batch batch = {0};
    struct wk_run run = {.v = wk_vector(), .params = n.params, .batch = &batch, .training = true};
    struct wk_tags tags = {.count = TAGS, .grads = {n.grads[0], n.grads[1]}};
    struct wk_single_query single = plan(s);
    size_t d = s->d, segments = s->segments;
    memset(&n, 0, sizeof(n));
    assert_true(wk_single_query_floats(&single) <= 19 * (size_t)MOST_D);
    fill(n.params, 3 * d * d + 3 * d, 1, 0.5F);
    fill(n.x, segments * s->length * d, 2, 1.0F);
    fill(n.dcontext, TAGS * segments * d, 3, 1.0F);
    memset(n.dx, 0xff, sizeof(n.dx)); /* set, not added to */
    wk_single_query_forward(&run, &single, n.context, n.kept, n.probs, n.x, segments);
    wk_single_query_backward(
            &run, &tags, &single, n.dx, n.dcontext, n.kept, n.probs, n.x, segments, n.scratch, n.dprobs);
    for (size_t t = 0; t < TAGS; t++) {
        expect(&e, s, &n, t);
        expect_near(s->name, n.context, e.context, segments * d, 1e-5, 1e-4);
        check_gradients(s, &n, &e, t);
    }
    check_frozen(&run, &single, &n, s);
    run.training = false; /* probabilities of one segment only */
    memset(n.context, 0, sizeof(n.context));
    wk_single_query_forward(&run, &single, n.context, n.kept, n.dprobs, n.x, segments);
    expect_near("without training", n.context, e.context, segments * d, 1e-5, 1e-4);
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
    struct wk_single_query single = plan(&shapes[0]);
    double square = 2.0 * 48 * 48, mix = 2.0 * 17 * 3 * 48;
    /* query, t and context as D x D; scores and z, head by head */
    assert_true(wk_single_query_flops(&single, 3, 0, true) == 3 * (3 * square + 2 * mix));
    assert_true(wk_single_query_flops(&single, 3, TAGS, true) == TAGS * 3 * (6 * square + 4 * mix));
    assert_true(wk_single_query_flops(&single, 3, TAGS, false) == TAGS * 3 * (5 * square + 2 * mix));
    single.key.weight_frozen = true;
    assert_true(wk_single_query_flops(&single, 3, 1, true) == 3 * (5 * square + 4 * mix));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_shapes),
            cmocka_unit_test(test_flops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
