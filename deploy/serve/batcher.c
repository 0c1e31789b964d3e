/* Batches of requests: see batcher.h. */
#include "deploy/serve/batcher.h"

#include "common/memory.h"

#include <assert.h>

enum sl_status dp_batcher_init(
        struct dp_batcher *batcher, int capacity, int batch_max, int64_t wait_us, struct sl_error *err)
{
    assert(capacity >= 1 && batch_max >= 1 && batch_max <= DP_BATCH_MAX && wait_us >= 0);
    *batcher = (struct dp_batcher){.items = sl_alloc((size_t)capacity, sizeof(*batcher->items)),
            .since_us = sl_alloc((size_t)capacity, sizeof(*batcher->since_us)),
            .capacity = capacity,
            .batch_max = batch_max,
            .wait_us = wait_us};
    if (batcher->items != NULL && batcher->since_us != NULL)
        return SL_OK;
    dp_batcher_fini(batcher);
    return sl_fail(err, SL_NO_MEMORY, "out of memory for a queue of %d requests", capacity);
}

void dp_batcher_fini(struct dp_batcher *batcher)
{
    sl_free(batcher->items);
    sl_free(batcher->since_us);
    *batcher = (struct dp_batcher){0};
}

enum sl_status dp_batcher_put(struct dp_batcher *batcher, void *item, int64_t now_us)
{
    if (batcher->count == batcher->capacity)
        return SL_AGAIN;
    int at = (batcher->first + batcher->count) % batcher->capacity;
    batcher->items[at] = item;
    batcher->since_us[at] = now_us;
    batcher->count++;
    return SL_OK;
}

int64_t dp_batcher_due_us(const struct dp_batcher *batcher)
{
    if (batcher->count == 0)
        return INT64_MAX;
    if (batcher->closed || batcher->count >= batcher->batch_max || batcher->wait_us == 0)
        return 0;
    return batcher->since_us[batcher->first] + batcher->wait_us;
}

int dp_batcher_take(struct dp_batcher *batcher, int64_t now_us, int idle, void **ret_items)
{
    assert(idle >= 1);
    if (dp_batcher_due_us(batcher) > now_us)
        return 0;
    int share = (batcher->count + idle - 1) / idle;
    int count = share < batcher->batch_max ? share : batcher->batch_max;
    for (int i = 0; i < count; i++) {
        ret_items[i] = batcher->items[batcher->first];
        batcher->first = (batcher->first + 1) % batcher->capacity;
    }
    batcher->count -= count;
    return count;
}

void dp_batcher_close(struct dp_batcher *batcher)
{
    batcher->closed = true;
}
