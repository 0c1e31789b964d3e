/* Linear, GELU, linear, chunk by chunk: see ffn.h. */
#include "worker/model/ffn.h"

size_t wk_ffn_scratch(const struct wk_ffn *ffn, int tags)
{
    return wk_chunk_most(ffn->mid) * ffn->mid * (size_t)(1 + tags);
}

size_t wk_ffn_kept(const struct wk_ffn *ffn, size_t rows, bool training)
{
    size_t chunk = wk_chunk_most(ffn->mid);
    return training || rows < chunk ? rows : chunk;
}

void wk_ffn_forward(const struct wk_run *run, const struct wk_ffn *ffn, float *y, float *u, const float *h,
        size_t rows, float *scratch)
{
    size_t chunk = wk_chunk(ffn->mid, rows);
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        float *at = run->training ? u + r * ffn->mid : u;
        wk_product_forward(run, at, ffn->mid, h + r * ffn->in, ffn->in, run->params + ffn->first.weight, n,
                ffn->mid, ffn->in);
        run->v->gelu(scratch, at, run->params + ffn->first.bias, n, ffn->mid);
        wk_product_forward(run, y + r * ffn->out, ffn->out, scratch, ffn->mid,
                run->params + ffn->second.weight, n, ffn->out, ffn->mid);
    }
}

/* dx = dy W for the n rows from r of each tag: one product where the chunk is everything, so that the tags'
 * rows follow each other. */
static void input_of_tags(const struct wk_run *run, float *dx, size_t dx_tag, size_t in, const float *dy,
        size_t dy_tag, size_t out, const float *w, size_t n, int tags, bool add)
{
    if (dx_tag == n * in && dy_tag == n * out) {
        wk_product_input(run, dx, in, dy, out, w, n * (size_t)tags, out, in, add);
        return;
    }
    for (size_t t = 0; t < (size_t)tags; t++)
        wk_product_input(run, dx + t * dx_tag, in, dy + t * dy_tag, out, w, n, out, in, add);
}

/* Whether a backward pass goes through the second layer. */
static bool passes_second(const struct wk_ffn *ffn, bool input)
{
    return input || !wk_linear_frozen(ffn->first);
}

void wk_ffn_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_ffn *ffn,
        float *dh, const float *dy, const float *h, const float *u, size_t rows, bool add, float *scratch)
{
    size_t in = ffn->in, mid = ffn->mid, out = ffn->out, chunk = wk_chunk(mid, rows);
    float *act = scratch, *d = scratch + chunk * mid;
    const float *bias = run->params + ffn->first.bias;
    struct wk_targets first_bias = wk_targets(tags, ffn->first.bias, ffn->first.bias_frozen);
    bool deep = passes_second(ffn, dh != NULL);
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        if (deep) {
            input_of_tags(run, d, n * mid, mid, dy + r * out, rows * out, out,
                    run->params + ffn->second.weight, n, tags->count, false);
            run->v->gelu_backward(act, d, first_bias.at, u + r * mid, bias, n, mid, tags->count, n * mid);
        } else {
            run->v->gelu(act, u + r * mid, bias, n, mid);
        }
        for (int t = 0; t < tags->count; t++) {
            const float *dyt = dy + (size_t)t * rows * out + r * out, *dt = d + (size_t)t * n * mid;
            wk_linear_gradient(run, tags, t, ffn->second, dyt, out, act, mid, n, out, mid);
            if (!ffn->first.weight_frozen)
                wk_product_weight(
                        run, wk_gradient_at(tags, t, ffn->first.weight), dt, mid, h + r * in, in, n, mid, in);
        }
        if (dh != NULL)
            input_of_tags(run, dh + r * in, rows * in, in, d, n * mid, mid, run->params + ffn->first.weight,
                    n, tags->count, add);
    }
}

double wk_ffn_flops(const struct wk_ffn *ffn, size_t rows, int tags, bool input)
{
    return wk_linear_flops(ffn->second, rows, ffn->out, ffn->mid, tags, passes_second(ffn, input)) +
           wk_linear_flops(ffn->first, rows, ffn->mid, ffn->in, tags, input);
}
