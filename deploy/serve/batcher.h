#pragma once
/* Which requests are computed together, and when: a bounded first-in first-out queue from which batches are taken. Pure: times come in as numbers, nothing waits here.
 *
 *     s = dp_batcher_put(&batcher, job, now_us);                 // AGAIN: full
 *     int n = dp_batcher_take(&batcher, now_us, idle, jobs);     // 0: none is due; ask again at dp_batcher_due_us
 *
 * A batch is due when batch_max requests wait, when the oldest has waited wait_us, or after dp_batcher_close. It is a fair share of what waits for the threads that
 * have nothing to do, at most batch_max: eight requests and two idle threads make four and four, not eight and none. Order is kept.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

#define DP_BATCH_MAX 256

struct dp_batcher {
    void **items;      /* (capacity,) a ring */
    int64_t *since_us; /* (capacity,) when each came */
    int capacity, first, count, batch_max;
    int64_t wait_us;
    bool closed;
};

/* dp_batcher_init makes an empty one; batch_max 1 to DP_BATCH_MAX. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_batcher_init(
        struct dp_batcher *batcher, int capacity, int batch_max, int64_t wait_us, struct sl_error *err);
void dp_batcher_fini(struct dp_batcher *batcher);

/* dp_batcher_put appends. Errors: AGAIN when it is full. */
SL_MUST_USE enum sl_status dp_batcher_put(struct dp_batcher *batcher, void *item, int64_t now_us);
/* dp_batcher_take gives a batch that is due to one of `idle` (>= 1) threads. Shapes: ret_items (batch_max,). Returns their number. */
int dp_batcher_take(struct dp_batcher *batcher, int64_t now_us, int idle, void **ret_items);
/* dp_batcher_due_us tells when the next batch is due: at once (0), at a time, or never as it stands (INT64_MAX). */
int64_t dp_batcher_due_us(const struct dp_batcher *batcher);
/* dp_batcher_close makes everything due from now on. */
void dp_batcher_close(struct dp_batcher *batcher);
