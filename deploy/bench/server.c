/* `bench server`: reduction and update of a whole step against a stream through memory. */
#include "common/clock.h"
#include "common/cpu.h"
#include "common/memory.h"
#include "common/random.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/local_server.h"

#include <stdio.h>

#define NAME "server"
#define WORKERS 2
#define GIGA 1e-9
#define FLOAT_BYTES 4.0

struct server_bench {
    struct dp_server server;
    struct dp_stream_limit stream;
    float *gradients[WORKERS]; /* (sl_layout_gradient_floats,) */
    struct sl_step_stats stats;
    struct sl_team *team; /* of all cores */
};

/* The server of one thread, or of a team. */
struct server_run {
    struct server_bench *bench;
    struct sl_team *team;
};

enum { ITEM_STREAM, ITEM_STEP, ITEM_TEAM_STREAM, ITEM_TEAM, ITEMS };
enum { PART_REDUCE, PART_UPDATE, PART_REDUCE_CPU, PART_UPDATE_CPU };

static double cpu_now(void)
{
    return (double)sl_clock_thread_ns() * 1e-9;
}

/* Both workers push every block, one slot each; the step is committed. */
static enum sl_status step_work(struct dp_item *item, struct sl_error *err)
{
    struct server_run *run = item->context;
    struct server_bench *b = run->bench;
    enum sl_status status = SL_OK;
    ps_server_use_team(b->server.server, run->team);
    double begin = dp_now(), cpu = cpu_now();
    for (int block = 0; block < b->server.subject->layout->block_count; block++)
        for (uint32_t w = 0; w < WORKERS && status == SL_OK; w++)
            status = dp_server_push(
                    &b->server, w + 1, (struct sl_node){0, w}, block, b->gradients[w], NULL, err);
    double reduced = dp_now(), reduced_cpu = cpu_now();
    if (status == SL_OK)
        status = dp_server_commit(&b->server, &b->stats, err);
    item->part[PART_REDUCE] += reduced - begin;
    item->part[PART_UPDATE] += dp_now() - reduced;
    item->part[PART_REDUCE_CPU] += reduced_cpu - cpu;
    item->part[PART_UPDATE_CPU] += cpu_now() - reduced_cpu;
    return status;
}

/* Bytes that must pass between memory and core: for each tag of a block two gradients are read and one is written; the update reads the sums, values
 * and moments, and writes values and moments. Measuring reads what is in cache. */
static void count_bytes(const struct dp_server *server, double *ret_reduce, double *ret_update)
{
    const struct sl_layout *layout = server->subject->layout;
    double states = ps_table_has_second(server->table) ? 3.0 : 2.0;
    *ret_reduce = *ret_update = 0.0;
    for (int b = 0; b < layout->block_count; b++) {
        const struct sl_block *block = &layout->blocks[b];
        double bytes = (double)block->count * FLOAT_BYTES,
               tags = block->tagged[SL_TAG_UNIMODAL] + block->tagged[SL_TAG_FUSED];
        *ret_reduce += bytes * tags * 3.0;
        *ret_update += bytes * (tags + 2.0 * states);
    }
}

static enum sl_status prepare(struct server_bench *b, const struct dp_subject *subject, struct sl_error *err)
{
    size_t count = sl_layout_gradient_floats(subject->layout);
    if (subject->config->batch.slots < WORKERS)
        return sl_fail(err, SL_USAGE, "two workers need batch.slots of at least %d, and it is %d", WORKERS,
                subject->config->batch.slots);
    enum sl_status status = dp_server_init(&b->server, subject, WORKERS, err);
    for (uint64_t w = 0; w < WORKERS && status == SL_OK; w++) {
        struct sl_random random = sl_random_make(subject->config->seed, SL_RANDOM_SAMPLE, w, 0);
        b->gradients[w] = sl_alloc_aligned(count, sizeof(float));
        if (b->gradients[w] == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the gradients of %d workers", WORKERS);
        for (size_t i = 0; i < count; i++)
            b->gradients[w][i] = 1e-3F * (sl_random_float(&random, i) - 0.5F);
    }
    b->stats = (struct sl_step_stats){.count = 2, .weight_sum = 2.0};
    for (int m = 0; m < subject->config->modality_count; m++)
        b->stats.score[m] = 0.5 + 0.1 * m;
    /* the limit streams through as many bytes as the server does, so that a large cache helps both or neither */
    size_t states = ps_table_has_second(b->server.table) ? 3 : 2;
    return status == SL_OK ? dp_stream_limit_init(&b->stream,
                                     (WORKERS * (size_t)subject->layout->vectors + states) *
                                             subject->layout->count * sizeof(float),
                                     err)
                           : status;
}

static void report(struct dp_bench *bench, const struct server_bench *b, const struct dp_item *stream,
        const struct dp_item *step, int threads)
{
    double reduce = 0.0, update = 0.0, elements = (double)bench->subject->layout->count;
    count_bytes(&b->server, &reduce, &update);
    bool alone = threads == 1; /* then what counts is the time on a core */
    double all = alone ? dp_item_cpu(step) : dp_item_seconds(step);
    double limit =
            dp_stream_sum_bytes(&b->stream) / (alone ? dp_item_cpu(stream) : dp_item_seconds(stream)) * GIGA;
    struct {
        const char *what;
        double value;
        const char *unit;
        double limit;
    } rows[] = {
            {"reduce 2 workers and measure",
                    reduce / dp_item_part(step, alone ? PART_REDUCE_CPU : PART_REDUCE) * GIGA, "GB/s", limit},
            {"modulate, clip, update",
                    update / dp_item_part(step, alone ? PART_UPDATE_CPU : PART_UPDATE) * GIGA, "GB/s", limit},
            {"all of it", (reduce + update) / all * GIGA, "GB/s", limit},
            {"all of it", all / elements * 1e9, "ns/param", 0.0},
            {"a step of the server", all * 1e3, "ms", 0.0}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char figure[96];
        (void)snprintf(
                figure, sizeof(figure), "%d thread%s: %s", threads, threads == 1 ? "" : "s", rows[i].what);
        dp_bench_row(bench, NAME, figure, rows[i].value, rows[i].unit, rows[i].limit,
                rows[i].limit > 0.0 ? "stream d += s" : NULL);
    }
}

enum sl_status dp_bench_server(struct dp_bench *bench, struct sl_error *err)
{
    struct server_bench b = {.gradients = {NULL}};
    int threads = sl_cpu_count();
    enum sl_status status = prepare(&b, bench->subject, err);
    if (status == SL_OK)
        status = sl_team_create(&b.team, threads, err);
    struct dp_team_stream team_stream = {&b.stream, b.team};
    struct server_run one = {&b, NULL}, all = {&b, b.team};
    struct dp_item items[ITEMS] = {[ITEM_STREAM] = {.work = dp_stream_sum_work, .context = &b.stream},
            [ITEM_STEP] = {.work = step_work, .context = &one},
            [ITEM_TEAM_STREAM] = {.work = dp_team_stream_sum_work, .context = &team_stream},
            [ITEM_TEAM] = {.work = step_work, .context = &all}};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, threads > 1 ? ITEMS : ITEM_TEAM_STREAM, err);
    if (status == SL_OK)
        report(bench, &b, &items[ITEM_STREAM], &items[ITEM_STEP], 1);
    if (status == SL_OK && threads > 1)
        report(bench, &b, &items[ITEM_TEAM_STREAM], &items[ITEM_TEAM], threads);
    dp_server_fini(&b.server);
    dp_stream_limit_fini(&b.stream);
    sl_team_destroy(b.team);
    for (int w = 0; w < WORKERS; w++)
        sl_free(b.gradients[w]);
    return status;
}
