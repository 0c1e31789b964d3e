/* See sampler.h. */
#include "worker/dataset/sampler.h"

#include "common/memory.h"

#include <assert.h>
#include <string.h>

struct wk_sampler {
    struct sl_plan *plan;
    uint64_t count, seed;
    bool shuffle;
    uint32_t *permutation; /* (count,) when shuffle: of all samples, or of each shard's within its range */
    uint64_t *
            begins; /* (shard_count + 1,): each shard's range; one that holds everything in locality samples */
    int64_t *epochs; /* (shard_count,): whose permutation is kept; -1 = none */
};

enum sl_status wk_sampler_create(struct wk_sampler **ret_sampler, const struct sl_plan_options *options,
        bool shuffle, struct sl_error *err)
{
    struct wk_sampler *sampler = sl_alloc(1, sizeof(*sampler));
    if (sampler == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the order of samples");
    enum sl_status status = sl_plan_create(&sampler->plan, options, err);
    uint32_t ranges = options->shards != NULL ? options->shard_count : 1;
    if (status == SL_OK) {
        sampler->begins = sl_alloc((size_t)ranges + 1, sizeof(*sampler->begins));
        sampler->epochs = sl_alloc(ranges, sizeof(*sampler->epochs));
        sampler->permutation = shuffle ? sl_alloc(options->count, sizeof(*sampler->permutation)) : NULL;
        if (sampler->begins == NULL || sampler->epochs == NULL || (shuffle && sampler->permutation == NULL))
            status = sl_fail(err, SL_NO_MEMORY, "out of memory for the order of %llu samples",
                    (unsigned long long)options->count);
    }
    if (status != SL_OK) {
        wk_sampler_destroy(sampler);
        return status;
    }
    sampler->count = options->count;
    sampler->seed = options->seed;
    sampler->shuffle = shuffle;
    for (uint32_t r = 0; r < ranges; r++) {
        sampler->begins[r + 1] =
                options->shards != NULL ? sampler->begins[r] + options->shards[r] : options->count;
        sampler->epochs[r] = -1;
    }
    *ret_sampler = sampler;
    return SL_OK;
}

void wk_sampler_destroy(struct wk_sampler *sampler)
{
    if (sampler == NULL)
        return;
    sl_plan_destroy(sampler->plan);
    sl_free(sampler->begins);
    sl_free(sampler->epochs);
    sl_free(sampler->permutation);
    sl_free(sampler);
}

int64_t wk_sampler_steps_per_epoch(const struct wk_sampler *sampler)
{
    return sl_plan_steps_per_epoch(sampler->plan);
}

int64_t wk_sampler_epoch(const struct wk_sampler *sampler, int64_t step)
{
    return step / wk_sampler_steps_per_epoch(sampler);
}

/* The permutation of all samples has the random numbers of stream 0, that of shard s those of stream s + 1. */
static void shuffle_range(struct wk_sampler *sampler, uint32_t range, uint64_t stream, int64_t epoch)
{
    if (sampler->epochs[range] == epoch)
        return;
    struct sl_random random = sl_random_make(sampler->seed, SL_RANDOM_PERMUTATION, (uint64_t)epoch, stream);
    uint64_t begin = sampler->begins[range];
    sl_plan_shuffle(&random, sampler->permutation + begin, sampler->begins[range + 1] - begin);
    sampler->epochs[range] = epoch;
}

void wk_sampler_slot(
        struct wk_sampler *sampler, int64_t step, int slot, uint64_t *ret_indices, int *ret_count)
{
    assert(step >= 0 && slot >= 0);
    *ret_count = 0;
    if ((uint32_t)slot >= sl_plan_slots(sampler->plan, step))
        return;
    struct sl_plan_chunk chunk = sl_plan_chunk(sampler->plan, step, (uint32_t)slot);
    uint32_t range = chunk.shard < 0 ? 0 : (uint32_t)chunk.shard;
    if (sampler->shuffle)
        shuffle_range(sampler, range, (uint64_t)(chunk.shard + 1), wk_sampler_epoch(sampler, step));
    uint64_t begin = sampler->begins[range];
    for (int i = 0; i < chunk.count; i++) {
        uint64_t place = chunk.begin + (uint64_t)i;
        ret_indices[i] = begin + (sampler->shuffle ? sampler->permutation[begin + place] : place);
    }
    *ret_count = chunk.count;
}
