/* `bench compute`: how much of sgemm's rate a forward and backward reach, and where the rest goes. */
#include "common/memory.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define NAME "compute"
#define SHAPES_SHOWN 16
#define GIGA 1e-9

struct compute {
    struct dp_slot slot;
    struct dp_gemm_limit gemm;
    struct dp_trace replay; /* the products of one forward and backward */
    struct dp_trace trace;  /* those of the rounds */
};

enum { ITEM_GEMM, ITEM_FORWARD, ITEM_SLOT, ITEM_TRACED, ITEM_REPLAY, ITEM_EARLY, ITEMS };
enum { PART_GEMM_SECONDS };

/* Forward and backward with every product timed. The context is the whole benchmark. */
static enum sl_status traced_work(struct dp_item *item, struct sl_error *err)
{
    struct compute *c = item->context;
    struct dp_item inner = {.context = &c->slot};
    double before = c->trace.seconds;
    dp_trace_begin(&c->trace);
    enum sl_status status = dp_slot_work(&inner, err);
    dp_trace_end(&c->trace);
    item->part[PART_GEMM_SECONDS] += c->trace.seconds - before;
    return status;
}

static enum sl_status prepare(struct compute *c, struct dp_subject *subject, struct sl_error *err)
{
    enum sl_status status = dp_slot_init(&c->slot, subject, err);
    if (status == SL_OK)
        status = dp_gemm_limit_init(&c->gemm, err);
    if (status != SL_OK)
        return status;
    struct dp_item once = {.context = &c->slot};
    dp_trace_begin(&c->replay);
    status = dp_slot_work(&once, err);
    dp_trace_end(&c->replay);
    return status == SL_OK ? dp_trace_prepare(&c->replay, err) : status;
}

static int by_time(const void *a, const void *b)
{
    const struct dp_shape *x = a, *y = b;
    return x->seconds > y->seconds ? -1 : x->seconds < y->seconds;
}

static void list_shapes(struct dp_bench *bench, struct dp_trace *trace, double peak)
{
    qsort(trace->shapes, (size_t)trace->shape_count, sizeof(*trace->shapes), by_time);
    for (int i = 0; i < trace->shape_count && i < SHAPES_SHOWN; i++) {
        const struct dp_shape *s = &trace->shapes[i];
        char figure[96];
        (void)snprintf(figure, sizeof(figure), "%zu x %zu x %zu %c%c%s, %.1f %% of sgemm", s->shape.m,
                s->shape.n, s->shape.k, s->shape.a_transposed ? 'T' : 'N', s->shape.b_transposed ? 'T' : 'N',
                s->shape.add ? " +=" : "", 100.0 * s->seconds / trace->seconds);
        dp_bench_row(bench, NAME, figure, dp_trace_shape_flops(s) / s->seconds * GIGA, "GFLOP/s", peak,
                "sgemm 1024");
    }
}

/* One backward for all branches, beside that of the tags; as the config's own there is nothing to set it beside. */
static void report_early(
        struct dp_bench *bench, const struct compute *c, const struct dp_item items[ITEMS], double peak)
{
    const struct dp_subject *subject = bench->subject;
    double flops = wk_model_flops(subject->model, c->slot.batch, 0) +
                   wk_model_flops(subject->model, c->slot.batch, 1);
    if (subject->layout->vectors == 1)
        return;
    dp_bench_row(bench, NAME, "samples, forward + backward, early",
            subject->config->batch.slot_size / dp_item_cpu(&items[ITEM_EARLY]), "/CPU s", 0.0, NULL);
    dp_bench_row(bench, NAME, "forward + backward, early", flops / dp_item_cpu(&items[ITEM_EARLY]) * GIGA,
            "GFLOP/s", peak, "sgemm 1024");
    dp_bench_row(bench, NAME, "early against tagged",
            dp_item_cpu(&items[ITEM_SLOT]) / dp_item_cpu(&items[ITEM_EARLY]), "x", 0.0, NULL);
}

static void report(struct dp_bench *bench, struct compute *c, const struct dp_item items[ITEMS])
{
    const struct dp_subject *subject = bench->subject;
    double samples = subject->config->batch.slot_size;
    double forward = wk_model_flops(subject->model, c->slot.batch, 0);
    double both = forward + wk_model_flops(subject->model, c->slot.batch, subject->layout->vectors);
    double traced = c->replay.flops; /* of one forward and backward, as they came through the wrapper */
    double peak = dp_gemm_limit_flops() / dp_series_least(&items[ITEM_GEMM].cpu_seconds) * GIGA;
    double in_gemm = dp_item_part(&items[ITEM_TRACED], PART_GEMM_SECONDS);
    struct rusage usage;
    dp_bench_row(bench, NAME,
            subject->layout->vectors == 1 ? "samples, forward + backward, early"
                                          : "samples, forward + backward, tagged",
            samples / dp_item_cpu(&items[ITEM_SLOT]), "/CPU s", 0.0, NULL);
    dp_bench_row(bench, NAME, "forward", forward / dp_item_cpu(&items[ITEM_FORWARD]) * GIGA, "GFLOP/s", peak,
            "sgemm 1024");
    dp_bench_row(bench, NAME, "forward + backward", both / dp_item_cpu(&items[ITEM_SLOT]) * GIGA, "GFLOP/s",
            peak, "sgemm 1024");
    report_early(bench, c, items, peak);
    dp_bench_row(bench, NAME, "share of the time inside sgemm",
            100.0 * in_gemm / dp_item_cpu(&items[ITEM_TRACED]), "%", 100.0, "forward + backward");
    dp_bench_row(bench, NAME, "rate inside sgemm", traced / in_gemm * GIGA, "GFLOP/s", peak, "sgemm 1024");
    if (!c->replay.overflow)
        dp_bench_row(bench, NAME, "the same products alone", traced / dp_item_cpu(&items[ITEM_REPLAY]) * GIGA,
                "GFLOP/s", peak, "sgemm 1024");
    dp_bench_row(bench, NAME, "products", (double)c->replay.calls, "/slot", 0.0, NULL);
    dp_bench_row(bench, NAME, "activations and scratch",
            (double)wk_workspace_size(c->slot.workspace) / 1048576.0, "MiB", 0.0, NULL);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        dp_bench_row(bench, NAME, "peak memory of this process", (double)usage.ru_maxrss / 1024.0, "MiB", 0.0,
                NULL);
    if (bench->shapes)
        list_shapes(bench, &c->trace, peak);
}

enum sl_status dp_bench_compute(struct dp_bench *bench, struct sl_error *err)
{
    struct compute *c = sl_alloc(1, sizeof(*c));
    if (c == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = prepare(c, bench->subject, err);
    struct dp_item items[ITEMS] = {[ITEM_GEMM] = {.work = dp_gemm_limit_work, .context = &c->gemm},
            [ITEM_FORWARD] = {.work = dp_slot_forward_work, .context = &c->slot},
            [ITEM_SLOT] = {.work = dp_slot_work, .context = &c->slot},
            [ITEM_TRACED] = {.work = traced_work, .context = c},
            [ITEM_REPLAY] = {.work = dp_trace_replay_work, .context = &c->replay},
            [ITEM_EARLY] = {.work = dp_slot_early_work, .context = &c->slot}};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, ITEMS, err);
    if (status == SL_OK)
        report(bench, c, items);
    dp_slot_fini(&c->slot);
    dp_gemm_limit_fini(&c->gemm);
    dp_trace_fini(&c->replay);
    sl_free(c);
    return status;
}
