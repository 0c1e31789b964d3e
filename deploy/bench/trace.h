#pragma once
/* Which matrix products a model does and how long they take, through the probe of gemm.h; and the same products once
 * more, alone and from cache, which is what sgemm can do at these shapes.
 *
 *     dp_trace_begin(trace);  … forward and backward …  dp_trace_end(trace);
 *     trace->seconds, trace->flops
 *
 * Seconds are CPU time of the thread, with the wrapper and two looks at the clock. Thread: products of one thread at a time.
 */
#include "deploy/bench/measure.h"
#include "worker/model/gemm.h"

#include <stdbool.h>
#include <stdint.h>

#define DP_SHAPES_MAX 1024

struct dp_shape {
    struct wk_gemm_shape shape;
    uint64_t calls;
    double seconds;
};

struct dp_trace {
    double seconds, flops; /* of all products since they were last set to 0 */
    uint64_t calls;
    double begun; /* when the product that runs began */
    struct dp_shape shapes[DP_SHAPES_MAX];
    int shape_count;
    bool overflow; /* there were more shapes than fit */
    struct wk_gemm_probe probe;
    float *a, *b, *c; /* for the replay */
};

/* dp_trace_begin and dp_trace_end let the process's products be seen in between. */
void dp_trace_begin(struct dp_trace *trace);
void dp_trace_end(struct dp_trace *trace);
/* dp_trace_clear sets all to zero but for the matrices of a replay. */
void dp_trace_clear(struct dp_trace *trace);
void dp_trace_fini(struct dp_trace *trace);

/* dp_trace_prepare makes room to replay what was traced since the last clear: these shapes, as often. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_trace_prepare(struct dp_trace *trace, struct sl_error *err);
dp_work dp_trace_replay_work; /* context: struct dp_trace, prepared and not traced since */
double dp_trace_shape_flops(const struct dp_shape *shape); /* of all its calls */
