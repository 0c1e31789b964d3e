#pragma once
/* Which samples are in slot g of step t: a pure function of (seed, sizes, t, g), so that it does not matter which worker asks, nor how many there are. How an epoch is
 * cut into steps and slots is common/plan.h; this adds the order of samples.
 *
 * - locality samples: epoch e is a permutation of all samples, a Fisher-Yates shuffle by counter-based random numbers keyed by (seed, e).
 * - locality shards: each shard has a permutation of its own, keyed by (seed, e, shard).
 *
 * Every sample comes exactly once per epoch; the last step of an epoch has what is left.
 *
 *     wk_sampler_slot(sampler, step, slot, indices, &count);
 *
 * Thread: one sampler belongs to one thread: it keeps the permutations of the epoch that was asked for last.
 */
#include "common/error.h"
#include "common/plan.h"

#include <stdbool.h>
#include <stdint.h>

struct wk_sampler;

/* wk_sampler_create plans as sl_plan_create. shuffle = false gives the order of the dataset in every epoch, for validation. Owns: *ret_sampler. Errors: as sl_plan_create. */
SL_MUST_USE enum sl_status wk_sampler_create(struct wk_sampler **ret_sampler,
        const struct sl_plan_options *options, bool shuffle, struct sl_error *err);
void wk_sampler_destroy(struct wk_sampler *sampler);

/* wk_sampler_slot gives the samples of a slot. Shapes: ret_indices (slot_size,). step >= 0, slot >= 0 (asserted); a slot that the step does not have is empty. */
void wk_sampler_slot(
        struct wk_sampler *sampler, int64_t step, int slot, uint64_t *ret_indices, int *ret_count);

int64_t wk_sampler_steps_per_epoch(const struct wk_sampler *sampler);
int64_t wk_sampler_epoch(const struct wk_sampler *sampler, int64_t step); /* of a step, from 0 */
