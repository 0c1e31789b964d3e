#pragma once
/* Which samples are in slot g of step t: a pure function of (seed, count, slots, slot_size, t, g), so that it does not matter which worker
 * asks, nor how many there are.
 *
 * Epoch e is a permutation of all samples, a Fisher-Yates shuffle by counter-based random numbers keyed by (seed, e). Step i of the
 * epoch takes the next slots * slot_size of it, cut into slots in order. Every sample comes exactly once per epoch; the last
 * step of an epoch has what is left, so its later slots are partly or wholly empty.
 *
 *     wk_sampler_slot(sampler, step, slot, indices, &count);
 *
 * Thread: one sampler belongs to one thread: it keeps the permutation of the epoch that was asked for last.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

struct wk_sampler;

/* wk_sampler_create plans over count samples. shuffle = false gives the order of the dataset in every epoch, for validation. Owns: *ret_sampler.
 * Errors: BAD_DATA for no samples or more than 2^32 - 1, USAGE for slots or slot_size < 1, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_sampler_create(struct wk_sampler **ret_sampler, uint64_t count, int slots,
        int slot_size, uint64_t seed, bool shuffle, struct sl_error *err);
void wk_sampler_destroy(struct wk_sampler *sampler);

/* wk_sampler_slot gives the samples of a slot. Shapes: ret_indices (slot_size,). 0 <= slot < slots, step >= 0 (asserted). */
void wk_sampler_slot(
        struct wk_sampler *sampler, int64_t step, int slot, uint64_t *ret_indices, int *ret_count);

int64_t wk_sampler_steps_per_epoch(const struct wk_sampler *sampler);
int64_t wk_sampler_epoch(const struct wk_sampler *sampler, int64_t step); /* of a step, from 0 */
