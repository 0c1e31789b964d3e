/* See sampler.h. */
#include "worker/dataset/sampler.h"

#include "common/memory.h"
#include "common/random.h"

#include <assert.h>

struct wk_sampler {
    uint64_t count, seed;
    int slots, slot_size;
    bool shuffle;
    int64_t epoch;         /* whose permutation is kept; -1 = none */
    uint32_t *permutation; /* (count,) when shuffle */
};

enum sl_status wk_sampler_create(struct wk_sampler **ret_sampler, uint64_t count, int slots, int slot_size,
        uint64_t seed, bool shuffle, struct sl_error *err)
{
    if (count < 1 || count > UINT32_MAX)
        return sl_fail(err, SL_BAD_DATA, "%llu samples cannot be drawn from; 1 to %u can",
                (unsigned long long)count, UINT32_MAX);
    if (slots < 1 || slot_size < 1)
        return sl_fail(err, SL_USAGE, "%d slots of %d samples make no batch", slots, slot_size);
    struct wk_sampler *sampler = sl_alloc(1, sizeof(*sampler));
    if (sampler != NULL && shuffle)
        sampler->permutation = sl_alloc(count, sizeof(*sampler->permutation));
    if (sampler == NULL || (shuffle && sampler->permutation == NULL)) {
        sl_free(sampler);
        return sl_fail(
                err, SL_NO_MEMORY, "out of memory for the order of %llu samples", (unsigned long long)count);
    }
    sampler->count = count;
    sampler->seed = seed;
    sampler->slots = slots;
    sampler->slot_size = slot_size;
    sampler->shuffle = shuffle;
    sampler->epoch = -1;
    *ret_sampler = sampler;
    return SL_OK;
}

void wk_sampler_destroy(struct wk_sampler *sampler)
{
    if (sampler == NULL)
        return;
    sl_free(sampler->permutation);
    sl_free(sampler);
}

int64_t wk_sampler_steps_per_epoch(const struct wk_sampler *sampler)
{
    uint64_t batch = (uint64_t)sampler->slots * (uint64_t)sampler->slot_size;
    return (int64_t)((sampler->count + batch - 1) / batch);
}

int64_t wk_sampler_epoch(const struct wk_sampler *sampler, int64_t step)
{
    return step / wk_sampler_steps_per_epoch(sampler);
}

static void shuffle_epoch(struct wk_sampler *sampler, int64_t epoch)
{
    struct sl_random random = sl_random_make(sampler->seed, SL_RANDOM_PERMUTATION, (uint64_t)epoch, 0);
    uint32_t *order = sampler->permutation;
    for (uint64_t i = 0; i < sampler->count; i++)
        order[i] = (uint32_t)i;
    for (uint64_t i = sampler->count - 1; i > 0; i--) {
        uint64_t j = sl_random_below(&random, i, i + 1);
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    sampler->epoch = epoch;
}

void wk_sampler_slot(
        struct wk_sampler *sampler, int64_t step, int slot, uint64_t *ret_indices, int *ret_count)
{
    assert(step >= 0 && slot >= 0 && slot < sampler->slots);
    int64_t steps = wk_sampler_steps_per_epoch(sampler);
    if (sampler->shuffle && sampler->epoch != step / steps)
        shuffle_epoch(sampler, step / steps);
    uint64_t place = (uint64_t)(step % steps) * (uint64_t)sampler->slots +
                     (uint64_t)slot; /* of the slot in the epoch */
    uint64_t begin = place * (uint64_t)sampler->slot_size;
    uint64_t end = begin + (uint64_t)sampler->slot_size;
    end = end < sampler->count ? end : sampler->count;
    int count = 0;
    for (uint64_t i = begin; i < end; i++)
        ret_indices[count++] = sampler->shuffle ? sampler->permutation[i] : i;
    *ret_count = count;
}
