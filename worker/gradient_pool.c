/* Reused gradient buffers: see gradient_pool.h. */
#include "worker/gradient_pool.h"

#include "common/memory.h"
#include "common/random.h"
#include "common/shared_heap.h"
#include "common/tree.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

struct entry {
    struct wk_gradient_pool *pool;
    float *data;
    struct entry *next;
};

struct wk_gradient_pool {
    const struct sl_layout *layout;
    pthread_mutex_t lock;
    struct entry *free; /* entries that nobody uses */
    int out;            /* buffers that somebody uses */
    bool closed;        /* its owner is gone: the last buffer that comes back frees it */
};

enum sl_status wk_gradient_pool_create(
        struct wk_gradient_pool **ret_pool, const struct sl_layout *layout, struct sl_error *err)
{
    struct wk_gradient_pool *pool = sl_alloc(1, sizeof(*pool));
    if (pool == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for gradients");
    pool->layout = layout;
    (void)pthread_mutex_init(&pool->lock, NULL);
    *ret_pool = pool;
    return SL_OK;
}

static void free_pool(struct wk_gradient_pool *pool)
{
    for (struct entry *entry = pool->free; entry != NULL;) {
        struct entry *next = entry->next;
        sl_shared_free(entry->data);
        sl_free(entry);
        entry = next;
    }
    (void)pthread_mutex_destroy(&pool->lock);
    sl_free(pool);
}

void wk_gradient_pool_destroy(struct wk_gradient_pool *pool)
{
    if (pool == NULL)
        return;
    (void)pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    bool last = pool->out == 0;
    (void)pthread_mutex_unlock(&pool->lock);
    if (last)
        free_pool(pool);
}

static void give_back(void *context)
{
    struct entry *entry = context;
    struct wk_gradient_pool *pool = entry->pool;
    (void)pthread_mutex_lock(&pool->lock);
    entry->next = pool->free;
    pool->free = entry;
    pool->out--;
    bool last = pool->closed && pool->out == 0;
    (void)pthread_mutex_unlock(&pool->lock);
    if (last)
        free_pool(pool);
}

static struct entry *take_entry(struct wk_gradient_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    struct entry *entry = pool->free;
    if (entry != NULL)
        pool->free = entry->next;
    pool->out++;
    (void)pthread_mutex_unlock(&pool->lock);
    if (entry != NULL)
        return entry;
    entry = sl_alloc(1, sizeof(*entry));
    float *data = sl_shared_alloc(sl_layout_gradient_floats(pool->layout) * sizeof(*data), true);
    if (entry == NULL || data == NULL) {
        sl_free(entry);
        sl_shared_free(data);
        (void)pthread_mutex_lock(&pool->lock);
        pool->out--;
        (void)pthread_mutex_unlock(&pool->lock);
        return NULL;
    }
    *entry = (struct entry){pool, data, NULL};
    return entry;
}

/* A run of numbers that is cleared in parts. */
struct clearing {
    float *at;
    size_t count;
};

#define PART ((size_t)1 << 20) /* floats: much more than what waking a thread costs */

static void clear_part(void *context, int part, int member)
{
    (void)member;
    const struct clearing *run = context;
    size_t begin = (size_t)part * PART, left = run->count - begin;
    memset(run->at + begin, 0, (left < PART ? left : PART) * sizeof(float));
}

static void clear(const struct sl_layout *layout, struct sl_team *team, float *gradients)
{
    struct wk_gradient_range ranges[SL_TAGS];
    for (int i = 0, n = wk_gradient_ranges(layout, ranges); i < n; i++) {
        struct clearing run = {gradients + ranges[i].offset, ranges[i].count};
        sl_team_run(team, (int)((run.count + PART - 1) / PART), clear_part, &run);
    }
}

enum sl_status wk_gradient_pool_take(struct wk_gradient_pool *pool, struct sl_team *team,
        struct sl_buffer **ret_buffer, struct sl_error *err)
{
    const struct sl_layout *layout = pool->layout;
    size_t size = sl_layout_gradient_floats(layout) * sizeof(float);
    struct entry *entry = take_entry(pool);
    if (entry == NULL)
        return sl_fail(err, SL_NO_MEMORY,
                "out of memory for a gradient of %zu bytes: use fewer threads or a smaller model", size);
    clear(layout, team, entry->data);
    struct sl_buffer *buffer = sl_buffer_adopt(entry->data, size, give_back, entry);
    if (buffer == NULL) {
        give_back(entry);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a gradient");
    }
    *ret_buffer = buffer;
    return SL_OK;
}

void wk_gradient_add_block(const struct sl_layout *layout, int block, float *sum, const float *x)
{
    const struct sl_block *b = &layout->blocks[block];
    for (int tag = 0; tag < SL_TAGS; tag++) {
        size_t at = sl_layout_gradient_at(layout, tag, b->offset);
        if (b->tagged[tag])
            sl_vector_add(sum + at, x + at, b->count);
    }
}

int wk_gradient_ranges(const struct sl_layout *layout, struct wk_gradient_range ret_ranges[SL_TAGS])
{
    if (layout->vectors == 1) {
        ret_ranges[0] = (struct wk_gradient_range){0, layout->count};
        return 1;
    }
    ret_ranges[SL_TAG_UNIMODAL] = (struct wk_gradient_range){0, layout->extractor_end};
    ret_ranges[SL_TAG_FUSED] =
            (struct wk_gradient_range){layout->count + layout->head_end, layout->count - layout->head_end};
    return SL_TAGS;
}

/* Field by field: a struct may have gaps. */
uint64_t wk_gradient_hash(
        const struct sl_layout *layout, const float *gradients, const struct sl_step_stats *stats)
{
    uint64_t hash = 0;
    for (int tag = 0; tag < SL_TAGS; tag++) {
        for (int b = 0; b < layout->block_count; b++) {
            const struct sl_block *block = &layout->blocks[b];
            if (block->tagged[tag] && !block->frozen)
                hash = sl_hash64(gradients + sl_layout_gradient_at(layout, tag, block->offset),
                        block->count * sizeof(float), hash);
        }
    }
    hash = sl_hash64(&stats->count, sizeof(stats->count), hash);
    hash = sl_hash64(&stats->weight_sum, sizeof(stats->weight_sum), hash);
    hash = sl_hash64(stats->loss, sizeof(stats->loss), hash);
    hash = sl_hash64(stats->score, sizeof(stats->score), hash);
    hash = sl_hash64(stats->coefficient, sizeof(stats->coefficient), hash);
    return sl_hash64(stats->correct, sizeof(stats->correct), hash);
}
