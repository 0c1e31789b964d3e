#pragma once
/* How the training data is cut into epochs, steps and slots: what workers, servers and the coordinator must agree on. Pure arithmetic on sizes; which sample is where in a slot is
 * worker/dataset/sampler.h.
 *
 * An epoch is a sequence of chunks of at most slot_size samples; step i of the epoch has the next `slots` of them, one a slot; the last step has what is left.
 *
 * - dataset.locality samples: the chunks are cut from one shuffled sequence of all samples. All are full but the last.
 * - dataset.locality shards: each shard is cut into chunks of its own (the last may be short), and the chunks of all shards are shuffled, by (seed, epoch) alone. So all samples of a slot lie in one
 *   shard, and a worker needs no other to compute it.
 *
 *     uint32_t slots = sl_plan_slots(plan, step);
 *     int shard = sl_plan_shard(plan, step, slot);       // -1: needs all of them
 *
 * Thread: one plan belongs to one thread: it keeps the order of the epoch that was asked for last.
 */
#include "common/error.h"
#include "common/random.h"

#include <stdint.h>

#define SL_PLAN_SHARDS_MAX 1000000

struct sl_plan;

struct sl_plan_options {
    uint64_t count; /* samples */
    int slots, slot_size;
    uint64_t seed;
    const uint64_t
            *shards; /* (shard_count,) samples of each, borrowed for the call; NULL: locality samples */
    uint32_t shard_count;
};

/* sl_plan_create: Owns: *ret_plan. Errors: BAD_DATA for no samples, more than 2^32 - 1, or shards that do not add up to count; USAGE for slots or slot_size < 1; NO_MEMORY. */
SL_MUST_USE enum sl_status sl_plan_create(
        struct sl_plan **ret_plan, const struct sl_plan_options *options, struct sl_error *err);
void sl_plan_destroy(struct sl_plan *plan); /* NULL is fine */

uint64_t sl_plan_epoch_slots(const struct sl_plan *plan); /* chunks of an epoch */
int64_t sl_plan_steps_per_epoch(const struct sl_plan *plan);
/* sl_plan_slots is how many slots of a step have samples: 1 … slots. step >= 0. */
uint32_t sl_plan_slots(const struct sl_plan *plan, int64_t step);
/* sl_plan_cut_slots is the same from the number of chunks alone, for who does not have the plan. */
uint32_t sl_plan_cut_slots(uint64_t epoch_slots, int slots, int64_t step);

/* A slot's samples: numbers [begin, begin + count) of its shard's sequence, or of the one sequence when shard is -1. */
struct sl_plan_chunk {
    int shard;
    uint64_t begin;
    int count;
};
/* sl_plan_chunk: slot < sl_plan_slots(step) (asserted). */
struct sl_plan_chunk sl_plan_chunk(struct sl_plan *plan, int64_t step, uint32_t slot);
/* sl_plan_samples adds up the samples of slots [begin, end). */
int64_t sl_plan_samples(struct sl_plan *plan, int64_t step, uint32_t begin, uint32_t end);
/* sl_plan_shard is the shard of a slot, -1: any. */
int sl_plan_shard(struct sl_plan *plan, int64_t step, uint32_t slot);

/* sl_plan_shuffle fills order with a permutation of 0 … count - 1 (Fisher-Yates). Shapes: (count,). */
void sl_plan_shuffle(const struct sl_random *random, uint32_t *order, uint64_t count);
