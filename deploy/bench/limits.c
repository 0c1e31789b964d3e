/* The machine's limits: see limits.h. */
#include "deploy/bench/limits.h"

#include "common/memory.h"
#include "worker/model/blas.h"
#include "worker/model/gemm.h"
#include "worker/model/vector.h"

#include <string.h>

static void fill(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        x[i] = (float)(i % 251) * 0x1p-10F;
}

enum sl_status dp_gemm_limit_init(struct dp_gemm_limit *limit, struct sl_error *err)
{
    size_t count = (size_t)DP_GEMM_LIMIT * DP_GEMM_LIMIT;
    limit->a = sl_alloc_aligned(count, sizeof(float));
    limit->b = sl_alloc_aligned(count, sizeof(float));
    limit->c = sl_alloc_aligned(count, sizeof(float));
    if (limit->a == NULL || limit->b == NULL || limit->c == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the matrices of sgemm");
    fill(limit->a, count);
    fill(limit->b, count);
    wk_blas_single();
    return SL_OK;
}

void dp_gemm_limit_fini(struct dp_gemm_limit *limit)
{
    sl_free(limit->a);
    sl_free(limit->b);
    sl_free(limit->c);
    *limit = (struct dp_gemm_limit){0};
}

enum sl_status dp_gemm_limit_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    const struct dp_gemm_limit *limit = item->context;
    const size_t n = DP_GEMM_LIMIT;
    wk_gemm_blas(WK_PLAIN, WK_TRANSPOSED, limit->c, n, limit->a, n, limit->b, n, n, n, n, false);
    return SL_OK;
}

double dp_gemm_limit_flops(void)
{
    return 2.0 * DP_GEMM_LIMIT * DP_GEMM_LIMIT * DP_GEMM_LIMIT;
}

enum sl_status dp_stream_limit_init(struct dp_stream_limit *limit, size_t bytes, struct sl_error *err)
{
    size_t count = bytes / (2 * sizeof(float));
    limit->count = count < 1024 ? 1024 : count;
    limit->to = sl_alloc_aligned(limit->count, sizeof(float));
    limit->from = sl_alloc_aligned(limit->count, sizeof(float));
    if (limit->to == NULL || limit->from == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for two streams of %zu bytes together", bytes);
    fill(limit->from, limit->count);
    return SL_OK;
}

void dp_stream_limit_fini(struct dp_stream_limit *limit)
{
    sl_free(limit->to);
    sl_free(limit->from);
    *limit = (struct dp_stream_limit){0};
}

enum sl_status dp_stream_sum_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    const struct dp_stream_limit *limit = item->context;
    wk_vector()->axpy(limit->to, limit->from, 1.0F, limit->count);
    return SL_OK;
}

#define STREAM_PART ((size_t)256 * 1024) /* floats: a block, as the server's threads take them */

static void sum_part(void *context, int part, int member)
{
    (void)member;
    const struct dp_stream_limit *stream = context;
    size_t begin = (size_t)part * STREAM_PART, left = stream->count - begin;
    wk_vector()->axpy(
            stream->to + begin, stream->from + begin, 1.0F, left < STREAM_PART ? left : STREAM_PART);
}

enum sl_status dp_team_stream_sum_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    const struct dp_team_stream *shared = item->context;
    struct dp_stream_limit stream = *shared->stream;
    sl_team_run(shared->team, (int)((stream.count + STREAM_PART - 1) / STREAM_PART), sum_part, &stream);
    return SL_OK;
}

enum sl_status dp_stream_copy_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    const struct dp_stream_limit *limit = item->context;
    memcpy(limit->to, limit->from, limit->count * sizeof(float));
    __asm__ volatile("" : : "r"(limit->to) : "memory"); /* nobody reads the copy: it is made all the same */
    return SL_OK;
}

static void copy_part(void *context, int part, int member)
{
    (void)member;
    const struct dp_stream_limit *stream = context;
    size_t begin = (size_t)part * STREAM_PART, left = stream->count - begin;
    memcpy(stream->to + begin, stream->from + begin,
            (left < STREAM_PART ? left : STREAM_PART) * sizeof(float));
    __asm__ volatile("" : : "r"(stream->to) : "memory");
}

enum sl_status dp_team_stream_copy_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    const struct dp_team_stream *shared = item->context;
    struct dp_stream_limit stream = *shared->stream;
    sl_team_run(shared->team, (int)((stream.count + STREAM_PART - 1) / STREAM_PART), copy_part, &stream);
    return SL_OK;
}

double dp_stream_sum_bytes(const struct dp_stream_limit *limit)
{
    return 3.0 * (double)limit->count * sizeof(float);
}

double dp_stream_copy_bytes(const struct dp_stream_limit *limit)
{
    return (double)limit->count * sizeof(float);
}
