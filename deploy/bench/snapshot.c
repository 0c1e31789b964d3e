/* `bench snapshot`: what a snapshot costs training, and how quickly it is written, against a copy in memory and a plain write of the same bytes.
 *
 * Taking one retains the table's buffers and copies nothing; the cost comes with the next update, which must leave them as they are and write
 * into new ones. So both are measured: the same update of all blocks with the buffers held and, in place, without. */
#include "ps/snapshot.h"

#include "common/cpu.h"
#include "common/file.h"
#include "common/memory.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/local_server.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "snapshot"
#define MEGA 1e-6
#define GIGA 1e-9
#define RATE 1e-6 /* of learning: nothing must drift away while the same gradients come again and again */
#define STEPS_BETWEEN 100 /* snapshots, for the share of the time */

struct snapshot_bench {
    struct dp_server server;
    struct dp_slot slot;
    struct dp_stream_limit copy;
    struct ps_manifest manifest;
    struct ps_snapshot *captured; /* what is written again and again */
    float *gradients;             /* (block of the most floats,) */
    char *dir, *plain;
};

enum { ITEM_UPDATE, ITEM_HELD, ITEM_COPY, ITEM_WRITE, ITEM_PLAIN, ITEM_SLOT, ITEMS };
enum { PART_TAKE, PART_UPDATE };

static struct sl_frame frame_of(struct sl_buffer *buffer)
{
    return buffer == NULL ? (struct sl_frame){NULL, NULL, 0}
                          : (struct sl_frame){buffer, buffer->data, buffer->size};
}

/* As the loop does it for the blocks of its own server. */
static enum sl_status take(struct snapshot_bench *b, struct ps_snapshot **ret_snapshot, struct sl_error *err)
{
    struct ps_snapshot_source source = {.layout = b->server.subject->layout, .manifest = &b->manifest};
    SL_AUTO(ps_snapshot_destroy_auto) struct ps_snapshot *snapshot = NULL;
    enum sl_status status = ps_snapshot_begin(&snapshot, &source, err);
    for (int i = 0; status == SL_OK && i < source.layout->block_count; i++) {
        struct ps_block_state state = ps_table_capture(b->server.table, i);
        struct sl_frame params = frame_of(state.params), m = frame_of(state.m), v = frame_of(state.v);
        status = ps_snapshot_put(snapshot, i, &params, &m, &v, err);
        ps_block_state_fini(&state);
    }
    if (status == SL_OK)
        *ret_snapshot = SL_TAKE(snapshot);
    return status;
}

static enum sl_status update(struct snapshot_bench *b, struct sl_error *err)
{
    const struct sl_layout *layout = b->server.subject->layout;
    struct sl_commit commit = {.inverse_weight = 1.0, .clip = 1.0, .rate = RATE};
    for (int m = 0; m < layout->modality_count; m++)
        commit.coefficient[m] = commit.fused[m] = commit.update[m] = 1.0;
    enum sl_status status = SL_OK;
    for (int i = 0; status == SL_OK && i < layout->block_count; i++) {
        const float *grads[SL_TAGS] = {NULL};
        for (int tag = 0; tag < SL_TAGS; tag++)
            if (layout->blocks[i].tagged[tag])
                grads[tag] = b->gradients;
        status =
                ps_table_apply(b->server.table, i, ps_table_version(b->server.table, i), &commit, grads, err);
    }
    return status;
}

static enum sl_status update_work(struct dp_item *item, struct sl_error *err)
{
    return update(item->context, err);
}

/* Freeing the snapshot is not part of it: that is done when it is written, by then nothing waits. */
static enum sl_status held_work(struct dp_item *item, struct sl_error *err)
{
    struct snapshot_bench *b = item->context;
    SL_AUTO(ps_snapshot_destroy_auto) struct ps_snapshot *snapshot = NULL;
    double begin = dp_now();
    enum sl_status status = take(b, &snapshot, err);
    double taken = dp_now();
    if (status == SL_OK)
        status = update(b, err);
    item->part[PART_TAKE] += taken - begin;
    item->part[PART_UPDATE] += dp_now() - taken;
    return status;
}

static enum sl_status write_work(struct dp_item *item, struct sl_error *err)
{
    struct snapshot_bench *b = item->context;
    return ps_snapshot_write(b->captured, b->dir, err);
}

/* As many bytes in one new file, made durable. */
static enum sl_status plain_work(struct dp_item *item, struct sl_error *err)
{
    struct snapshot_bench *b = item->context;
    SL_AUTO_CLOSE int fd = open(b->plain, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return sl_fail_errno(err, "cannot write %s", b->plain);
    enum sl_status status = sl_file_write_all(fd, b->copy.from, b->copy.count * sizeof(float), b->plain, err);
    if (status == SL_OK && fsync(fd) != 0)
        status = sl_fail_errno(err, "cannot sync %s", b->plain);
    return status;
}

static enum sl_status prepare(struct snapshot_bench *b, struct dp_subject *subject, struct sl_error *err)
{
    b->dir = sl_path_join(subject->dir, "snapshots");
    b->plain = sl_path_join(subject->dir, "plain");
    if (b->dir == NULL || b->plain == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    b->manifest = (struct ps_manifest){.seed = subject->config->seed,
            .layout_hash = subject->layout->hash,
            .optimiser = subject->config->optimiser.kind,
            .training = {.best_value = NAN}};
    size_t most = 0;
    for (int i = 0; i < subject->layout->block_count; i++)
        most = subject->layout->blocks[i].count > most ? subject->layout->blocks[i].count : most;
    b->gradients = sl_alloc_aligned(most, sizeof(float));
    if (b->gradients == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a gradient");
    for (size_t i = 0; i < most; i++)
        b->gradients[i] = i % 2 == 0 ? 1e-3F : -1e-3F;
    enum sl_status status = dp_server_init(&b->server, subject, (uint32_t)subject->config->batch.slots, err);
    if (status == SL_OK)
        status = dp_slot_init(&b->slot, subject, err);
    if (status == SL_OK)
        status = take(b, &b->captured, err);
    return status == SL_OK ? dp_stream_limit_init(&b->copy, 2 * (size_t)ps_snapshot_size(b->captured), err)
                           : status;
}

static void report(struct dp_bench *bench, const struct snapshot_bench *b, const struct dp_item items[ITEMS])
{
    int slots = bench->subject->config->batch.slots, cores = sl_cpu_count();
    int rounds = (slots + cores - 1) / cores; /* of slots that a step takes on this machine */
    double bytes = dp_stream_copy_bytes(&b->copy), taken = dp_item_part(&items[ITEM_HELD], PART_TAKE);
    double after = dp_item_part(&items[ITEM_HELD], PART_UPDATE),
           before = dp_item_seconds(&items[ITEM_UPDATE]);
    double extra = after > before ? after - before : 0.0, cost = taken + extra;
    double step = dp_item_seconds(&items[ITEM_SLOT]) * rounds;
    dp_bench_row(bench, NAME, "size", bytes * MEGA, "MB", 0.0, NULL);
    dp_bench_row(bench, NAME, "taking it", taken * 1e3, "ms", 0.0, NULL);
    dp_bench_row(bench, NAME, "update in place", before * 1e3, "ms", 0.0, NULL);
    dp_bench_row(bench, NAME, "first update after it", after * 1e3, "ms", 0.0, NULL);
    dp_bench_row(bench, NAME, "cost to training", cost * 1e3, "ms", 0.0, NULL);
    dp_bench_row(bench, NAME, "cost, one per 100 steps", 100.0 * cost / (cost + STEPS_BETWEEN * step),
            "% of time", 0.0, NULL);
    if (cost > 0.0)
        dp_bench_row(bench, NAME, "copy on write", bytes / cost * GIGA, "GB/s",
                bytes / dp_item_seconds(&items[ITEM_COPY]) * GIGA, "memcpy");
    dp_bench_row(bench, NAME, "write, sync, rename", bytes / dp_item_seconds(&items[ITEM_WRITE]) * GIGA,
            "GB/s", bytes / dp_item_seconds(&items[ITEM_PLAIN]) * GIGA, "plain write + fsync");
}

enum sl_status dp_bench_snapshot(struct dp_bench *bench, struct sl_error *err)
{
    struct snapshot_bench b = {.dir = NULL};
    enum sl_status status = prepare(&b, bench->subject, err);
    struct dp_item items[ITEMS] = {[ITEM_UPDATE] = {.work = update_work, .context = &b},
            [ITEM_HELD] = {.work = held_work, .context = &b},
            [ITEM_COPY] = {.work = dp_stream_copy_work, .context = &b.copy},
            [ITEM_WRITE] = {.work = write_work, .context = &b},
            [ITEM_PLAIN] = {.work = plain_work, .context = &b},
            [ITEM_SLOT] = {.work = dp_slot_work, .context = &b.slot}};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, ITEMS, err);
    if (status == SL_OK)
        report(bench, &b, items);
    ps_snapshot_destroy(b.captured);
    dp_server_fini(&b.server);
    dp_slot_fini(&b.slot);
    dp_stream_limit_fini(&b.copy);
    sl_free(b.gradients);
    sl_free(b.dir);
    sl_free(b.plain);
    return status;
}
