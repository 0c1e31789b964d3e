/* `bench server`: reduction and update of a whole step against a stream through memory. */
#include "common/memory.h"
#include "common/random.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/local_server.h"

#define NAME "server"
#define WORKERS 2
#define GIGA 1e-9
#define FLOAT_BYTES 4.0

struct server_bench {
    struct dp_server server;
    struct dp_stream_limit stream;
    float *gradients[WORKERS]; /* (SL_TAGS * layout->count,) */
    struct sl_step_stats stats;
};

enum { ITEM_STREAM, ITEM_STEP, ITEMS };
enum { PART_REDUCE, PART_UPDATE };

/* Both workers push every block, one slot each; the step is committed. */
static enum sl_status step_work(struct dp_item *item, struct sl_error *err)
{
    struct server_bench *b = item->context;
    enum sl_status status = SL_OK;
    double begin = dp_now();
    for (int block = 0; block < b->server.subject->layout->block_count; block++)
        for (uint32_t w = 0; w < WORKERS && status == SL_OK; w++)
            status = dp_server_push(
                    &b->server, w + 1, (struct sl_node){0, w}, block, b->gradients[w], NULL, err);
    double reduced = dp_now();
    if (status == SL_OK)
        status = dp_server_commit(&b->server, &b->stats, err);
    item->part[PART_REDUCE] += reduced - begin;
    item->part[PART_UPDATE] += dp_now() - reduced;
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
    size_t count = SL_TAGS * subject->layout->count;
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
    return status == SL_OK
                   ? dp_stream_limit_init(&b->stream,
                             (WORKERS * SL_TAGS + states) * subject->layout->count * sizeof(float), err)
                   : status;
}

static void report(struct dp_bench *bench, const struct server_bench *b, const struct dp_item items[ITEMS])
{
    double reduce = 0.0, update = 0.0, elements = (double)bench->subject->layout->count;
    count_bytes(&b->server, &reduce, &update);
    double limit = dp_stream_sum_bytes(&b->stream) / dp_item_seconds(&items[ITEM_STREAM]) * GIGA;
    double reduce_seconds = dp_item_part(&items[ITEM_STEP], PART_REDUCE),
           update_seconds = dp_item_part(&items[ITEM_STEP], PART_UPDATE);
    dp_bench_row(bench, NAME, "reduce 2 workers and measure", reduce / reduce_seconds * GIGA, "GB/s", limit,
            "stream d += s");
    dp_bench_row(bench, NAME, "modulate, clip, update", update / update_seconds * GIGA, "GB/s", limit,
            "stream d += s");
    dp_bench_row(bench, NAME, "all of it", (reduce + update) / dp_item_seconds(&items[ITEM_STEP]) * GIGA,
            "GB/s", limit, "stream d += s");
    dp_bench_row(bench, NAME, "all of it", dp_item_seconds(&items[ITEM_STEP]) / elements * 1e9, "ns/param",
            0.0, NULL);
    dp_bench_row(
            bench, NAME, "a step of the server", dp_item_seconds(&items[ITEM_STEP]) * 1e3, "ms", 0.0, NULL);
}

enum sl_status dp_bench_server(struct dp_bench *bench, struct sl_error *err)
{
    struct server_bench b = {.gradients = {NULL}};
    enum sl_status status = prepare(&b, bench->subject, err);
    struct dp_item items[ITEMS] = {[ITEM_STREAM] = {.work = dp_stream_sum_work, .context = &b.stream},
            [ITEM_STEP] = {.work = step_work, .context = &b}};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, ITEMS, err);
    if (status == SL_OK)
        report(bench, &b, items);
    dp_server_fini(&b.server);
    dp_stream_limit_fini(&b.stream);
    for (int w = 0; w < WORKERS; w++)
        sl_free(b.gradients[w]);
    return status;
}
