/* Products seen through the probe: see trace.h. */
#include "deploy/bench/trace.h"

#include "common/clock.h"
#include "common/memory.h"

#include <string.h>

static void begin_product(void *context)
{
    struct dp_trace *trace = context;
    trace->begun = (double)sl_clock_thread_ns() * 1e-9;
}

static bool same(const struct wk_gemm_shape *x, const struct wk_gemm_shape *y)
{
    return x->m == y->m && x->n == y->n && x->k == y->k && x->a_transposed == y->a_transposed &&
           x->b_transposed == y->b_transposed && x->add == y->add;
}

/* A list that sorts itself: there are few shapes, and most products are of very few of them. */
static struct dp_shape *find(struct dp_trace *trace, const struct wk_gemm_shape *shape)
{
    for (int i = 0; i < trace->shape_count; i++) {
        if (!same(&trace->shapes[i].shape, shape))
            continue;
        if (i > 0) { /* what is asked for often moves to the front */
            struct dp_shape swap = trace->shapes[i - 1];
            trace->shapes[i - 1] = trace->shapes[i];
            trace->shapes[i] = swap;
            i--;
        }
        return &trace->shapes[i];
    }
    if (trace->shape_count == DP_SHAPES_MAX) {
        trace->overflow = true;
        return NULL;
    }
    trace->shapes[trace->shape_count].shape = *shape;
    return &trace->shapes[trace->shape_count++];
}

static void end_product(void *context, const struct wk_gemm_shape *shape)
{
    struct dp_trace *trace = context;
    double seconds = (double)sl_clock_thread_ns() * 1e-9 - trace->begun;
    trace->seconds += seconds;
    trace->flops += 2.0 * (double)shape->m * (double)shape->n * (double)shape->k;
    trace->calls++;
    struct dp_shape *known = find(trace, shape);
    if (known == NULL)
        return;
    known->calls++;
    known->seconds += seconds;
}

void dp_trace_begin(struct dp_trace *trace)
{
    trace->probe = (struct wk_gemm_probe){begin_product, end_product, trace};
    wk_gemm_observe(&trace->probe);
}

void dp_trace_end(struct dp_trace *trace)
{
    (void)trace;
    wk_gemm_observe(NULL);
}

void dp_trace_clear(struct dp_trace *trace)
{
    trace->seconds = trace->flops = 0.0;
    trace->calls = 0;
    memset(trace->shapes, 0, sizeof(trace->shapes));
    trace->shape_count = 0;
    trace->overflow = false;
}

void dp_trace_fini(struct dp_trace *trace)
{
    sl_free(SL_TAKE(trace->a));
    sl_free(SL_TAKE(trace->b));
    sl_free(SL_TAKE(trace->c));
}

enum sl_status dp_trace_prepare(struct dp_trace *trace, struct sl_error *err)
{
    size_t a = 1, b = 1, c = 1;
    for (int i = 0; i < trace->shape_count; i++) {
        const struct wk_gemm_shape *shape = &trace->shapes[i].shape;
        a = shape->m * shape->k > a ? shape->m * shape->k : a;
        b = shape->k * shape->n > b ? shape->k * shape->n : b;
        c = shape->m * shape->n > c ? shape->m * shape->n : c;
    }
    dp_trace_fini(trace);
    trace->a = sl_alloc_aligned(a, sizeof(float));
    trace->b = sl_alloc_aligned(b, sizeof(float));
    trace->c = sl_alloc_aligned(c, sizeof(float));
    if (trace->a == NULL || trace->b == NULL || trace->c == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the matrices of %d shapes", trace->shape_count);
    return SL_OK;
}

enum sl_status dp_trace_replay_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    struct dp_trace *trace = item->context;
    for (int i = 0; i < trace->shape_count; i++) {
        const struct wk_gemm_shape *s = &trace->shapes[i].shape;
        for (uint64_t call = 0; call < trace->shapes[i].calls; call++)
            wk_gemm(s->a_transposed, s->b_transposed, trace->c, s->n, trace->a, s->a_transposed ? s->m : s->k,
                    trace->b, s->b_transposed ? s->k : s->n, s->m, s->n, s->k, s->add);
    }
    return SL_OK;
}

double dp_trace_shape_flops(const struct dp_shape *shape)
{
    return 2.0 * (double)shape->calls * (double)shape->shape.m * (double)shape->shape.n *
           (double)shape->shape.k;
}
