/* `bench step`: whole steps in one process: compute threads, reduction, update, parameters back; no socket. */
#include "common/cpu.h"
#include "common/memory.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/local_server.h"
#include "deploy/bench/trace.h"
#include "worker/executor.h"
#include "worker/model/gemm.h"

#include <poll.h>
#include <stdio.h>

#define NAME "step"
#define WAIT_MS 60000
#define GIGA 1e-9

/* A subject under one exchange, with its server. */
struct side {
    struct dp_subject *subject;
    struct dp_server server;
    float *params; /* (layout->count,) what the executors compute with */
};

struct step_bench {
    struct side main, early; /* of the config; its twin, where the config is tagged */
    struct dp_gemm_limit gemm;
    struct dp_trace *trace;
    struct wk_dataset *dataset;
    uint32_t steps; /* of an epoch, none of them shorter than the others */
};

/* Steps on a number of threads; with a trace, of one thread alone. */
struct runner {
    struct step_bench *bench;
    struct side *side;
    struct wk_executor *executor;
    struct sl_team *team; /* of the server: as many threads */
    int threads;
    bool traced;
    int64_t step;
};

enum { ITEM_GEMM, ITEM_ONE, ITEM_TRACED, ITEM_EARLY, ITEM_ALL, ITEMS };
enum { PART_WAIT, PART_COMPUTE, PART_REDUCE, PART_UPDATE, PART_PULL, PART_GEMM, PART_GFLOP };

/* The run's one node; the executor is idle again when this returns. */
static enum sl_status wait_for(struct runner *r, struct wk_result *ret_result, struct sl_error *err)
{
    struct pollfd fd = {.fd = wk_executor_fd(r->executor), .events = POLLIN};
    struct wk_result result;
    *ret_result = (struct wk_result){.kind = WK_RESULT_IDLE};
    for (;;) {
        if (wk_executor_take(r->executor, &result) == SL_AGAIN) {
            if (poll(&fd, 1, WAIT_MS) == 0)
                return sl_fail(err, SL_TIMEOUT, "a slot took more than %d s", WAIT_MS / 1000);
            continue;
        }
        if (result.kind == WK_RESULT_FAILED)
            return sl_fail(err, result.status, "%s", result.error.text);
        if (result.kind == WK_RESULT_IDLE)
            return SL_OK;
        if (result.kind == WK_RESULT_BLOCKS) /* the node brings them all */
            wk_result_fini(&result);
        else
            *ret_result = result;
    }
}

/* Gives the root's sums to the server, updates, and takes the new parameters. */
static enum sl_status apply(
        struct runner *r, struct dp_item *item, const struct wk_result *result, struct sl_error *err)
{
    struct dp_server *server = &r->side->server;
    enum sl_status status = SL_OK;
    ps_server_use_team(server->server, r->team);
    double begin = dp_now();
    for (int block = 0; block < server->subject->layout->block_count && status == SL_OK; block++)
        status = dp_server_push(server, 1, result->node, block, result->buffer->data, result->buffer, err);
    double reduced = dp_now();
    if (status == SL_OK)
        status = dp_server_commit(server, &result->stats, err);
    double updated = dp_now();
    if (status == SL_OK)
        status = dp_server_pull(server, r->side->params, err);
    item->part[PART_REDUCE] += reduced - begin;
    item->part[PART_UPDATE] += updated - reduced;
    item->part[PART_PULL] += dp_now() - updated;
    return status;
}

/* Scores first, when the exchange is early; then gradients. */
static enum sl_status compute(struct runner *r, struct wk_action *run, struct wk_result *ret_result,
        uint64_t *ret_us, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    if (r->side->subject->layout->vectors == 1) {
        run->phase = SL_PHASE_SCORE;
        wk_executor_submit(r->executor, run, r->side->params);
        status = wait_for(r, ret_result, err);
        *ret_us += ret_result->compute_us;
        if (status == SL_OK)
            status = dp_server_decide(&r->side->server, &ret_result->stats, run->coefficient, err);
    }
    if (status != SL_OK)
        return status;
    run->phase = SL_PHASE_TRAIN;
    wk_executor_submit(r->executor, run, r->side->params);
    status = wait_for(r, ret_result, err);
    *ret_us += ret_result->compute_us;
    return status;
}

static enum sl_status step_work(struct dp_item *item, struct sl_error *err)
{
    struct runner *r = item->context;
    struct wk_result result = {0};
    uint32_t slots = (uint32_t)r->side->subject->config->batch.slots;
    struct wk_action run = {.kind = WK_ACTION_COMPUTE, .step = r->step, .slots = slots, .end = slots};
    uint64_t compute_us = 0;
    double seconds = r->bench->trace->seconds, flops = r->bench->trace->flops, begin = dp_now();
    run.parameters = (uint64_t)r->side->server.version;
    r->step = (r->step + 1) % r->bench->steps;
    if (r->traced)
        dp_trace_begin(r->bench->trace);
    enum sl_status status = compute(r, &run, &result, &compute_us, err);
    dp_trace_end(r->bench->trace);
    item->part[PART_WAIT] += dp_now() - begin;
    item->part[PART_COMPUTE] += (double)compute_us * 1e-6;
    item->part[PART_GEMM] += r->bench->trace->seconds - seconds;
    item->part[PART_GFLOP] += (r->bench->trace->flops - flops) * GIGA;
    if (status == SL_OK)
        status = apply(r, item, &result, err);
    sl_buffer_release(result.buffer);
    return status;
}

/* ---- report ---- */

static void report_threads(struct dp_bench *bench, const struct dp_item *item, int threads)
{
    const struct sl_config *config = bench->subject->config;
    double samples = (double)config->batch.slots * config->batch.slot_size, seconds = dp_item_seconds(item);
    double compute = dp_item_part(item, PART_COMPUTE) / threads;
    struct {
        const char *what;
        double seconds;
    } parts[] = {{"computing", compute},
            {"idle threads and joining slots", dp_item_part(item, PART_WAIT) - compute},
            {"reducing and measuring", dp_item_part(item, PART_REDUCE)},
            {"updating", dp_item_part(item, PART_UPDATE)},
            {"taking parameters", dp_item_part(item, PART_PULL)}};
    char figure[96];
    (void)snprintf(figure, sizeof(figure), "%d thread%s", threads, threads == 1 ? "" : "s");
    dp_bench_row(bench, NAME, figure, samples / seconds, "samples/s", 0.0, NULL);
    (void)snprintf(figure, sizeof(figure), "%d thread%s, whole step", threads, threads == 1 ? "" : "s");
    dp_bench_row(bench, NAME, figure, samples / dp_item_cpu(item), "/CPU s", 0.0, NULL);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        (void)snprintf(
                figure, sizeof(figure), "%d thread%s: %s", threads, threads == 1 ? "" : "s", parts[i].what);
        dp_bench_row(bench, NAME, figure, 100.0 * parts[i].seconds / seconds, "% of step", 0.0, NULL);
    }
    (void)snprintf(
            figure, sizeof(figure), "%d thread%s: all but computing", threads, threads == 1 ? "" : "s");
    dp_bench_row(bench, NAME, figure, 100.0 * (seconds - compute) / seconds, "% of step", 0.0, NULL);
}

static void report_traced(struct dp_bench *bench, const struct dp_item items[ITEMS])
{
    double peak = dp_gemm_limit_flops() / dp_series_least(&items[ITEM_GEMM].cpu_seconds) * GIGA;
    double in_gemm = dp_item_part(&items[ITEM_TRACED], PART_GEMM);
    dp_bench_row(bench, NAME, "1 thread: share of the step inside sgemm",
            100.0 * in_gemm / dp_item_cpu(&items[ITEM_TRACED]), "%", 100.0, "whole step");
    dp_bench_row(bench, NAME, "1 thread: rate inside sgemm",
            dp_item_part(&items[ITEM_TRACED], PART_GFLOP) / in_gemm, "GFLOP/s", peak, "sgemm 1024");
}

/* One thread with the early exchange beside one with the tagged. */
static void report_early(struct dp_bench *bench, const struct dp_item items[ITEMS])
{
    const struct sl_config *config = bench->subject->config;
    double samples = (double)config->batch.slots * config->batch.slot_size,
           seconds = dp_item_seconds(&items[ITEM_EARLY]);
    dp_bench_row(bench, NAME, "1 thread, early", samples / seconds, "samples/s", 0.0, NULL);
    dp_bench_row(bench, NAME, "1 thread, early, whole step", samples / dp_item_cpu(&items[ITEM_EARLY]),
            "/CPU s", 0.0, NULL);
    dp_bench_row(bench, NAME, "early against tagged",
            dp_item_cpu(&items[ITEM_ONE]) / dp_item_cpu(&items[ITEM_EARLY]), "x", 0.0, NULL);
}

/* ---- create ---- */

static enum sl_status start(
        struct runner *r, struct step_bench *b, struct side *side, int threads, struct sl_error *err)
{
    const struct dp_subject *subject = side->subject;
    struct sl_plan_options plan = {.count = wk_dataset_count(b->dataset),
            .slots = subject->config->batch.slots,
            .slot_size = subject->config->batch.slot_size,
            .seed = subject->config->seed};
    struct wk_executor_options options = {.config = subject->config,
            .plan = &plan,
            .layout = subject->layout,
            .model = subject->model,
            .train = b->dataset,
            .threads = threads};
    *r = (struct runner){.bench = b, .side = side, .threads = threads};
    enum sl_status status = sl_team_create(&r->team, threads, err);
    return status == SL_OK ? wk_executor_create(&r->executor, &options, err) : status;
}

static enum sl_status open_side(struct side *side, struct dp_subject *subject, struct sl_error *err)
{
    side->subject = subject;
    enum sl_status status =
            dp_server_init(&side->server, subject, (uint32_t)subject->config->batch.slots, err);
    if (status != SL_OK)
        return status;
    side->params = sl_alloc_aligned(subject->layout->count, sizeof(float));
    if (side->params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the parameters of a worker");
    return dp_server_pull(&side->server, side->params, err);
}

static void close_side(struct side *side)
{
    dp_server_fini(&side->server);
    sl_free(side->params);
}

static enum sl_status prepare(struct step_bench *b, struct dp_subject *subject, struct sl_error *err)
{
    struct dp_subject *twin = NULL;
    enum sl_status status = dp_subject_dataset(subject, &b->dataset, err);
    if (status == SL_OK)
        status = open_side(&b->main, subject, err);
    if (status == SL_OK && subject->layout->vectors > 1)
        status = dp_subject_twin_early(&twin, subject, err);
    if (status == SL_OK && twin != NULL)
        status = open_side(&b->early, twin, err);
    if (status == SL_OK)
        status = dp_gemm_limit_init(&b->gemm, err);
    if (status != SL_OK)
        return status;
    uint64_t samples = (uint64_t)subject->config->batch.slots * (uint64_t)subject->config->batch.slot_size;
    b->steps = (uint32_t)(wk_dataset_count(b->dataset) / samples);
    if (b->steps == 0)
        return sl_fail(err, SL_BAD_DATA,
                "the dataset has %llu samples and a step takes %llu; make batch.slots smaller",
                (unsigned long long)wk_dataset_count(b->dataset), (unsigned long long)samples);
    b->trace = sl_alloc(1, sizeof(*b->trace));
    return b->trace == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory") : SL_OK;
}

static enum sl_status measure(struct dp_bench *bench, struct step_bench *b, struct runner *one,
        struct runner *early, struct runner *all, struct sl_error *err)
{
    struct runner traced = *one;
    bool twin = early->executor != NULL;
    traced.traced = true;
    struct dp_item items[ITEMS] = {[ITEM_GEMM] = {.work = dp_gemm_limit_work, .context = &b->gemm},
            [ITEM_ONE] = {.work = step_work, .context = one},
            [ITEM_TRACED] = {.work = step_work, .context = &traced},
            [ITEM_EARLY] = {.work = step_work, .context = twin ? early : one},
            [ITEM_ALL] = {.work = step_work, .context = all}};
    enum sl_status status = dp_measure(&bench->measure, items, all->threads > 1 ? ITEMS : ITEM_ALL, err);
    if (status != SL_OK)
        return status;
    report_threads(bench, &items[ITEM_ONE], 1);
    report_traced(bench, items);
    if (twin)
        report_early(bench, items);
    if (all->threads > 1) {
        report_threads(bench, &items[ITEM_ALL], all->threads);
        dp_bench_row(bench, NAME, "speed-up by threads",
                dp_item_seconds(&items[ITEM_ONE]) / dp_item_seconds(&items[ITEM_ALL]), "x", all->threads,
                "threads");
    }
    return SL_OK;
}

enum sl_status dp_bench_step(struct dp_bench *bench, struct sl_error *err)
{
    struct step_bench b = {.trace = NULL};
    struct runner one = {0}, early = {0}, all = {0};
    int slots = bench->subject->config->batch.slots, cores = sl_cpu_count();
    enum sl_status status = prepare(&b, bench->subject, err);
    if (status == SL_OK)
        status = start(&one, &b, &b.main, 1, err);
    if (status == SL_OK && b.early.subject != NULL)
        status = start(&early, &b, &b.early, 1, err);
    if (status == SL_OK)
        status = start(&all, &b, &b.main, cores < slots ? cores : slots, err);
    if (status == SL_OK)
        status = measure(bench, &b, &one, &early, &all, err);
    close_side(&b.main); /* first: what servers hold goes back to the executors' pools */
    close_side(&b.early);
    wk_executor_destroy(one.executor);
    wk_executor_destroy(early.executor);
    wk_executor_destroy(all.executor);
    sl_team_destroy(one.team);
    sl_team_destroy(early.team);
    sl_team_destroy(all.team);
    dp_subject_twin_destroy(b.early.subject);
    dp_gemm_limit_fini(&b.gemm);
    sl_free(b.trace);
    return status;
}
