#pragma once
/* The import's worker threads: rows in, packed records out, handed over in the order of the rows.
 *
 * Task i is started when fewer than `window` tasks are between it and the last one taken, so memory is bounded by window records.
 * Thread: create, take and destroy belong to one thread.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/decoder.h"
#include "worker/dataset/pages.h"
#include "worker/dataset/plan.h"

#include <stdint.h>

struct wk_task {
    enum wk_split split;
    uint64_t ordinal; /* of the row in its split */
};

/* A packed record or reject, ready for the shard. */
struct wk_task_result {
    enum wk_entry_kind kind;
    int label;
    uint8_t *bytes; /* owned by whoever took it */
    size_t size;
};

struct wk_pool;

/* wk_pool_create starts jobs threads on tasks[0 … count - 1]. plan, config and tasks are borrowed until destroy. Owns: *ret_pool. */
SL_MUST_USE enum sl_status wk_pool_create(struct wk_pool **ret_pool, const struct wk_plan *plan,
        const struct sl_config *config, const struct wk_decoder_limits *limits, const struct wk_task *tasks,
        uint64_t count, int jobs, struct sl_error *err);
/* wk_pool_destroy stops the threads; those that are in a row finish it first. */
void wk_pool_destroy(struct wk_pool *pool);

/* wk_pool_take waits up to wait_ms for the next result in order. Owns: ret_result->bytes. Errors: TIMEOUT, or what stopped a thread (never a row's own fault). */
SL_MUST_USE enum sl_status wk_pool_take(
        struct wk_pool *pool, int wait_ms, struct wk_task_result *ret_result, struct sl_error *err);
