/* Epochs, steps and slots: see plan.h. */
#include "common/plan.h"

#include "common/memory.h"
#include "common/search.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

struct sl_plan {
    struct sl_plan_options options; /* shards is not kept here */
    uint64_t chunks;                /* of an epoch */
    /* locality shards only */
    uint64_t *shards; /* (shard_count,) samples */
    uint64_t *firsts; /* (shard_count + 1,): number of each shard's first chunk, before shuffling */
    uint32_t *order;  /* (chunks,) of the epoch */
    int64_t epoch;    /* whose order is kept, -1 = none */
};

static uint64_t chunks_of(uint64_t count, int slot_size)
{
    return (count + (uint64_t)slot_size - 1) / (uint64_t)slot_size;
}

static enum sl_status keep_shards(
        struct sl_plan *plan, const struct sl_plan_options *options, struct sl_error *err)
{
    uint64_t sum = 0;
    plan->shards = sl_alloc(options->shard_count, sizeof(*plan->shards));
    plan->firsts = sl_alloc((size_t)options->shard_count + 1, sizeof(*plan->firsts));
    if (plan->shards == NULL || plan->firsts == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u shards", options->shard_count);
    memcpy(plan->shards, options->shards, options->shard_count * sizeof(*plan->shards));
    for (uint32_t s = 0; s < options->shard_count; s++) {
        if (plan->shards[s] > options->count - sum)
            return sl_fail(err, SL_BAD_DATA,
                    "the shards hold more than the %" PRIu64 " samples of the dataset", options->count);
        sum += plan->shards[s];
        plan->firsts[s + 1] = plan->firsts[s] + chunks_of(plan->shards[s], options->slot_size);
    }
    if (sum != options->count)
        return sl_fail(err, SL_BAD_DATA, "the shards hold %" PRIu64 " samples, the dataset %" PRIu64, sum,
                options->count);
    plan->chunks = plan->firsts[options->shard_count];
    plan->order = sl_alloc(plan->chunks, sizeof(*plan->order));
    return plan->order == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for the order of slots") : SL_OK;
}

enum sl_status sl_plan_create(
        struct sl_plan **ret_plan, const struct sl_plan_options *options, struct sl_error *err)
{
    if (options->count < 1 || options->count > UINT32_MAX)
        return sl_fail(err, SL_BAD_DATA, "%" PRIu64 " samples cannot be drawn from; 1 to %u can",
                options->count, UINT32_MAX);
    if (options->slots < 1 || options->slot_size < 1)
        return sl_fail(
                err, SL_USAGE, "%d slots of %d samples make no batch", options->slots, options->slot_size);
    if (options->shards != NULL && (options->shard_count < 1 || options->shard_count > SL_PLAN_SHARDS_MAX))
        return sl_fail(
                err, SL_BAD_DATA, "%u shards; 1 to %d can be used", options->shard_count, SL_PLAN_SHARDS_MAX);
    struct sl_plan *plan = sl_alloc(1, sizeof(*plan));
    if (plan == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the order of samples");
    plan->options = *options;
    plan->options.shards = NULL;
    plan->epoch = -1;
    plan->chunks = chunks_of(options->count, options->slot_size);
    enum sl_status status = options->shards != NULL ? keep_shards(plan, options, err) : SL_OK;
    if (status != SL_OK) {
        sl_plan_destroy(plan);
        return status;
    }
    *ret_plan = plan;
    return SL_OK;
}

void sl_plan_destroy(struct sl_plan *plan)
{
    if (plan == NULL)
        return;
    sl_free(plan->shards);
    sl_free(plan->firsts);
    sl_free(plan->order);
    sl_free(plan);
}

uint64_t sl_plan_epoch_slots(const struct sl_plan *plan)
{
    return plan->chunks;
}

int64_t sl_plan_steps_per_epoch(const struct sl_plan *plan)
{
    return (int64_t)chunks_of(plan->chunks, plan->options.slots);
}

uint32_t sl_plan_cut_slots(uint64_t epoch_slots, int slots, int64_t step)
{
    uint64_t steps = chunks_of(epoch_slots, slots),
             left = epoch_slots - (uint64_t)step % steps * (uint64_t)slots;
    return (uint32_t)(left < (uint64_t)slots ? left : (uint64_t)slots);
}

uint32_t sl_plan_slots(const struct sl_plan *plan, int64_t step)
{
    return sl_plan_cut_slots(plan->chunks, plan->options.slots, step);
}

void sl_plan_shuffle(const struct sl_random *random, uint32_t *order, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (uint64_t i = count; i > 1; i--) {
        uint64_t j = sl_random_below(random, i - 1, i);
        uint32_t kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

static void order_epoch(struct sl_plan *plan, int64_t epoch)
{
    if (plan->epoch == epoch)
        return;
    struct sl_random random = sl_random_make(plan->options.seed, SL_RANDOM_CHUNKS, (uint64_t)epoch, 0);
    sl_plan_shuffle(&random, plan->order, plan->chunks);
    plan->epoch = epoch;
}

/* The shard of a chunk: the last one whose first chunk is not behind it; empty shards have none. */
static uint32_t find_shard(const struct sl_plan *plan, uint64_t chunk)
{
    return sl_search_last(plan->firsts, plan->options.shard_count, chunk);
}

struct sl_plan_chunk sl_plan_chunk(struct sl_plan *plan, int64_t step, uint32_t slot)
{
    assert(step >= 0 && slot < sl_plan_slots(plan, step));
    int64_t steps = sl_plan_steps_per_epoch(plan);
    uint64_t size = (uint64_t)plan->options.slot_size,
             place = (uint64_t)(step % steps) * (uint64_t)plan->options.slots + slot,
             total = plan->options.count;
    struct sl_plan_chunk chunk = {.shard = -1};
    if (plan->order != NULL) {
        order_epoch(plan, step / steps);
        uint32_t shard = find_shard(plan, plan->order[place]);
        place = plan->order[place] - plan->firsts[shard];
        total = plan->shards[shard];
        chunk.shard = (int)shard;
    }
    chunk.begin = place * size;
    chunk.count = (int)(total - chunk.begin < size ? total - chunk.begin : size);
    return chunk;
}

int64_t sl_plan_samples(struct sl_plan *plan, int64_t step, uint32_t begin, uint32_t end)
{
    int64_t sum = 0;
    for (uint32_t slot = begin; slot < end; slot++)
        sum += sl_plan_chunk(plan, step, slot).count;
    return sum;
}

int sl_plan_shard(struct sl_plan *plan, int64_t step, uint32_t slot)
{
    return plan->order == NULL ? -1 : sl_plan_chunk(plan, step, slot).shard;
}
