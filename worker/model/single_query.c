/* Attention of one query in each segment: see single_query.h. */
#include "worker/model/single_query.h"

#include "worker/model/gemm.h"

#include <math.h>

size_t wk_single_query_floats(const struct wk_single_query *single)
{
    return (1 + 2 * (size_t)single->heads) * single->d;
}

/* q (S, D), t (S, H, D) and z (S, H, D) follow each other, and so do their gradients, where S counts the segments of all tags. */
static size_t t_at(const struct wk_single_query *single, size_t segments)
{
    return segments * single->d;
}

static size_t z_at(const struct wk_single_query *single, size_t segments)
{
    return segments * (1 + (size_t)single->heads) * single->d;
}

/* Where head h's rows of a weight begin. */
static size_t head_weight(const struct wk_single_query *single, struct wk_linear_at at, int h)
{
    return at.weight + (size_t)h * (single->d / (size_t)single->heads) * single->d;
}

static float scale_of(const struct wk_single_query *single)
{
    return 1.0F / sqrtf((float)(single->d / (size_t)single->heads));
}

/* ---- forward ---- */

struct forward {
    const struct wk_run *run;
    const struct wk_single_query *single;
    float *q, *t, *z, *probs;
    const float *x;
};

/* scores = t xᵀ, p = softmax(scale scores), z = p x. */
static void mix_segment(void *context, int segment, int member)
{
    (void)member;
    const struct forward *f = context;
    size_t d = f->single->d, heads = (size_t)f->single->heads, length = f->single->length,
           s = (size_t)segment;
    const float *x = f->x + s * length * d, *t = f->t + s * heads * d;
    float *probs = f->run->training ? f->probs + s * heads * length : f->probs;
    wk_blas_single();
    wk_gemm(WK_PLAIN, WK_TRANSPOSED, probs, length, t, d, x, d, heads, length, d, false);
    f->run->v->softmax(probs, length, scale_of(f->single), heads, length);
    wk_gemm(WK_PLAIN, WK_PLAIN, f->z + s * heads * d, d, probs, length, x, d, heads, d, length, false);
}

void wk_single_query_forward(const struct wk_run *run, const struct wk_single_query *single, float *context,
        float *kept, float *probs, const float *x, size_t segments)
{
    size_t d = single->d, heads = (size_t)single->heads, width = d / heads;
    const float *p = run->params;
    struct forward f = {
            run, single, kept, kept + t_at(single, segments), kept + z_at(single, segments), probs, x};
    wk_product_forward(run, f.q, d, x, single->length * d, p + single->query.weight, segments, d, d);
    run->v->bias(f.q, d, p + single->query.bias, segments, d);
    for (int h = 0; h < single->heads; h++) /* t = q W_key */
        wk_product_input(run, f.t + (size_t)h * d, heads * d, f.q + (size_t)h * width, d,
                p + head_weight(single, single->key, h), segments, width, d, false);
    /* without training all segments write into the same probabilities, one after the other */
    sl_team_run(run->training ? run->team : NULL, (int)segments, mix_segment, &f);
    for (int h = 0; h < single->heads; h++) /* context = z W_valueᵀ + b */
        wk_product_forward(run, context + (size_t)h * width, d, f.z + (size_t)h * d, heads * d,
                p + head_weight(single, single->value, h), segments, width, d);
    run->v->bias(context, d, p + single->value.bias, segments, d);
}

/* ---- backward ---- */

struct backward {
    const struct wk_run *run;
    const struct wk_single_query *single;
    const float *q, *t, *z, *probs, *x;
    float *dq, *dt, *dz, *dx, *dprobs; /* per tag, stacked, but for dprobs */
    size_t segments;
    int tags;
};

/* Inverts mix_segment: from dz to dt, and to what reaches x through scores and mixture. */
static void unmix_segment(void *context, int segment, int member)
{
    const struct backward *b = context;
    size_t d = b->single->d, heads = (size_t)b->single->heads, length = b->single->length,
           s = (size_t)segment;
    const float *x = b->x + s * length * d, *p = b->probs + s * heads * length, *t = b->t + s * heads * d;
    float *dp = b->dprobs + (size_t)member * heads * length;
    wk_blas_single();
    for (size_t tag = 0; tag < (size_t)b->tags; tag++) {
        size_t at = tag * b->segments + s;
        const float *dz = b->dz + at * heads * d;
        float *dt = b->dt + at * heads * d, *dx = b->dx == NULL ? NULL : b->dx + at * length * d;
        wk_gemm(WK_PLAIN, WK_TRANSPOSED, dp, length, dz, d, x, d, heads, length, d, false);
        if (dx != NULL) /* z = p x */
            wk_gemm(WK_TRANSPOSED, WK_PLAIN, dx, d, p, length, dz, d, length, d, heads, false);
        b->run->v->softmax_backward(dp, p, scale_of(b->single), heads, length);
        wk_gemm(WK_PLAIN, WK_PLAIN, dt, d, dp, length, x, d, heads, d, length, false);
        if (dx != NULL) /* scores = t xᵀ */
            wk_gemm(WK_TRANSPOSED, WK_PLAIN, dx, d, dp, length, t, d, length, d, heads, true);
    }
}

/* Inverts context = z W_valueᵀ + b, for one head: dz and the weight's gradient. */
static void value_backward(const struct backward *b, const struct wk_tags *tags, const float *dcontext, int h)
{
    size_t d = b->single->d, heads = (size_t)b->single->heads, width = d / heads, rows = b->segments;
    size_t weight = head_weight(b->single, b->single->value, h);
    const float *dc = dcontext + (size_t)h * width, *z = b->z + (size_t)h * d;
    wk_product_input(b->run, b->dz + (size_t)h * d, heads * d, dc, d, b->run->params + weight,
            (size_t)b->tags * rows, width, d, false);
    for (int t = 0; t < tags->count && !b->single->value.weight_frozen; t++)
        wk_product_weight(b->run, wk_gradient_at(tags, t, weight), dc + (size_t)t * rows * d, d, z, heads * d,
                rows, width, d);
}

/* Inverts t = q W_key, for one head: dq and the weight's gradient. */
static void key_backward(const struct backward *b, const struct wk_tags *tags, int h)
{
    size_t d = b->single->d, heads = (size_t)b->single->heads, width = d / heads, rows = b->segments;
    size_t weight = head_weight(b->single, b->single->key, h);
    const float *dt = b->dt + (size_t)h * d, *q = b->q + (size_t)h * width;
    wk_product_forward(b->run, b->dq + (size_t)h * width, d, dt, heads * d, b->run->params + weight,
            (size_t)b->tags * rows, width, d);
    for (int t = 0; t < tags->count && !b->single->key.weight_frozen; t++)
        wk_product_weight(b->run, wk_gradient_at(tags, t, weight), q, d, dt + (size_t)t * rows * heads * d,
                heads * d, rows, width, d);
}

void wk_single_query_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_single_query *single, float *dx, const float *dcontext, const float *kept,
        const float *probs, const float *x, size_t segments, float *scratch, float *dprobs)
{
    size_t d = single->d, stacked = (size_t)tags->count * segments, apart = single->length * d;
    struct backward b = {.run = run,
            .single = single,
            .q = kept,
            .t = kept + t_at(single, segments),
            .z = kept + z_at(single, segments),
            .probs = probs,
            .x = x,
            .dq = scratch,
            .dt = scratch + t_at(single, stacked),
            .dz = scratch + z_at(single, stacked),
            .dx = dx,
            .dprobs = dprobs,
            .segments = segments,
            .tags = tags->count};
    for (int h = 0; h < single->heads; h++)
        value_backward(&b, tags, dcontext, h);
    sl_team_run(run->team, (int)segments, unmix_segment, &b);
    for (int h = 0; h < single->heads; h++)
        key_backward(&b, tags, h);
    for (int t = 0; t < tags->count; t++) {
        const float *dq = b.dq + (size_t)t * segments * d, *dc = dcontext + (size_t)t * segments * d;
        if (!single->value.bias_frozen)
            run->v->column_sum(wk_gradient_at(tags, t, single->value.bias), dc, d, segments, d);
        wk_linear_gradient(run, tags, t, single->query, dq, d, x, apart, segments, d, d);
    }
    if (dx == NULL)
        return;
    /* the tags' first rows are all segments' of the stacked matrix */
    wk_product_input(run, dx, apart, b.dq, d, run->params + single->query.weight, stacked, d, d, true);
}

double wk_single_query_flops(const struct wk_single_query *single, size_t segments, int tags, bool input)
{
    size_t d = single->d;
    double mix = 4.0 * (double)segments * (double)single->length * single->heads * (double)d;
    double products = wk_linear_flops(single->query, segments, d, d, tags, input) +
                      wk_linear_flops(single->key, segments, d, d, tags, true) +
                      wk_linear_flops(single->value, segments, d, d, tags, true);
    return products + (tags == 0 ? mix : tags * (input ? 2.0 : 1.0) * mix);
}
