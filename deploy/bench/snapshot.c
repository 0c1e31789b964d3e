/* `bench snapshot`: what a snapshot costs training, and how quickly it is written, against a copy in memory and a plain write of the same bytes. */
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
#define STEPS_BETWEEN 100 /* snapshots, for the share of the time */

struct snapshot_bench {
    struct dp_server server;
    struct dp_slot slot;
    struct dp_stream_limit copy;
    struct ps_manifest manifest;
    struct ps_snapshot *captured; /* what is written again and again */
    char *dir, *plain;
};

enum { ITEM_CAPTURE, ITEM_COPY, ITEM_WRITE, ITEM_PLAIN, ITEM_SLOT, ITEMS };

static enum sl_status capture(
        struct snapshot_bench *b, struct ps_snapshot **ret_snapshot, struct sl_error *err)
{
    struct ps_snapshot_source source = {
            .layout = b->server.subject->layout, .table = b->server.table, .manifest = &b->manifest};
    return ps_snapshot_capture(ret_snapshot, &source, err);
}

static enum sl_status capture_work(struct dp_item *item, struct sl_error *err)
{
    SL_AUTO(ps_snapshot_destroy_auto) struct ps_snapshot *snapshot = NULL;
    double begin = dp_now();
    enum sl_status status = capture(item->context, &snapshot, err);
    item->part[0] += dp_now() - begin; /* freeing it is not part of the pause */
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
    enum sl_status status = dp_server_init(&b->server, subject, (uint32_t)subject->config->batch.slots, err);
    if (status == SL_OK)
        status = dp_slot_init(&b->slot, subject, err);
    if (status == SL_OK)
        status = capture(b, &b->captured, err);
    return status == SL_OK ? dp_stream_limit_init(&b->copy, 2 * (size_t)ps_snapshot_size(b->captured), err)
                           : status;
}

static void report(struct dp_bench *bench, const struct snapshot_bench *b, const struct dp_item items[ITEMS])
{
    int slots = bench->subject->config->batch.slots, cores = sl_cpu_count();
    int rounds = (slots + cores - 1) / cores; /* of slots that a step takes on this machine */
    double bytes = dp_stream_copy_bytes(&b->copy), pause = dp_item_part(&items[ITEM_CAPTURE], 0);
    double step = dp_item_seconds(&items[ITEM_SLOT]) * rounds;
    dp_bench_row(bench, NAME, "size", bytes * MEGA, "MB", 0.0, NULL);
    dp_bench_row(bench, NAME, "pause of training", pause * 1e3, "ms", 0.0, NULL);
    dp_bench_row(bench, NAME, "pause, one per 100 steps", 100.0 * pause / (pause + STEPS_BETWEEN * step),
            "% of time", 0.0, NULL);
    dp_bench_row(bench, NAME, "capture", bytes / pause * GIGA, "GB/s",
            bytes / dp_item_seconds(&items[ITEM_COPY]) * GIGA, "memcpy");
    dp_bench_row(bench, NAME, "write, sync, rename", bytes / dp_item_seconds(&items[ITEM_WRITE]) * GIGA,
            "GB/s", bytes / dp_item_seconds(&items[ITEM_PLAIN]) * GIGA, "plain write + fsync");
}

enum sl_status dp_bench_snapshot(struct dp_bench *bench, struct sl_error *err)
{
    struct snapshot_bench b = {.dir = NULL};
    enum sl_status status = prepare(&b, bench->subject, err);
    struct dp_item items[ITEMS] = {[ITEM_CAPTURE] = {.work = capture_work, .context = &b},
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
    sl_free(b.dir);
    sl_free(b.plain);
    return status;
}
