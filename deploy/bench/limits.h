#pragma once
/* What the machine can do at best, as pieces of work to run beside the figures: sgemm, a stream of sums from
 * memory, a copy.
 *
 *     struct dp_gemm_limit gemm;  s = dp_gemm_limit_init(&gemm, err);
 *     struct dp_item item = {.work = dp_gemm_limit_work, .context = &gemm};
 *     … dp_gemm_limit_flops / seconds …
 */
#include "common/team.h"
#include "deploy/bench/measure.h"

#define DP_GEMM_LIMIT 1024 /* rows and columns of the square product */

/* One product of square matrices on one thread: the peak that a model's products are held against. */
struct dp_gemm_limit {
    float *a, *b, *c; /* (DP_GEMM_LIMIT, DP_GEMM_LIMIT) */
};

SL_MUST_USE enum sl_status dp_gemm_limit_init(struct dp_gemm_limit *limit, struct sl_error *err);
void dp_gemm_limit_fini(struct dp_gemm_limit *limit);
dp_work dp_gemm_limit_work;       /* context: struct dp_gemm_limit */
double dp_gemm_limit_flops(void); /* of one call */

/* Two long vectors that are read, added and written (d += s), or copied, on one thread. No write goes to a line
 * that was not read, so all traffic is counted. */
struct dp_stream_limit {
    float *to, *from; /* (count,) */
    size_t count;
};

/* A stream that several threads share. */
struct dp_team_stream {
    const struct dp_stream_limit *stream;
    struct sl_team *team;
};

/* dp_stream_limit_init takes vectors of `bytes` together. */
SL_MUST_USE enum sl_status dp_stream_limit_init(
        struct dp_stream_limit *limit, size_t bytes, struct sl_error *err);
void dp_stream_limit_fini(struct dp_stream_limit *limit);
dp_work dp_stream_sum_work;      /* d += s */
dp_work dp_team_stream_sum_work; /* the same by several threads; context: struct dp_team_stream */
dp_work dp_stream_copy_work;     /* memcpy */
dp_work dp_team_stream_copy_work; /* the same by several threads, a block at a time; context: struct dp_team_stream */
double dp_stream_sum_bytes(const struct dp_stream_limit *limit);  /* of one call: two reads and a write */
double dp_stream_copy_bytes(const struct dp_stream_limit *limit); /* of one call: what was copied, once */
