/* A step while it is open: see open_step.h. */
#include "ps/open_step.h"

#include "common/memory.h"
#include "common/mutant.h"

#include <string.h>

static enum sl_status reserve(struct ps_open_step *step, uint32_t units, uint32_t slots_max, int blocks,
        int servers, struct sl_error *err)
{
    if (units > step->capacity) {
        int32_t *owner = sl_realloc(step->owner, units, sizeof(*owner));
        step->owner = owner != NULL ? owner : step->owner;
        int32_t *shard = owner != NULL ? sl_realloc(step->shard, units, sizeof(*shard)) : NULL;
        if (shard == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %u units of work", units);
        step->shard = shard;
        step->capacity = units;
    }
    if (step->phase == SL_PHASE_VALIDATE || step->reduced != NULL)
        return SL_OK;
    size_t places = sl_tree_places(slots_max);
    step->node_stats = sl_alloc(places, sizeof(*step->node_stats));
    step->node_present = sl_alloc(places, 1);
    step->sums = sl_alloc((size_t)blocks, sizeof(*step->sums));
    step->changes = sl_alloc((size_t)blocks, sizeof(*step->changes));
    step->applied = sl_alloc((size_t)servers, 1);
    step->scorer = sl_alloc(slots_max, sizeof(*step->scorer));
    step->skipped = sl_alloc(slots_max, 1);
    if (step->node_stats != NULL && step->node_present != NULL && step->sums != NULL &&
            step->changes != NULL && step->applied != NULL && step->scorer != NULL && step->skipped != NULL)
        step->reduced = sl_alloc((size_t)servers, 1); /* last: it stands for all of them */
    return step->reduced == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for a step") : SL_OK;
}

enum sl_status ps_open_step_begin(struct ps_open_step *step, enum sl_phase phase, int64_t index, int64_t base,
        uint32_t units, uint32_t slots_max, int blocks, int servers, int64_t now_us, struct sl_error *err)
{
    step->phase = phase;
    if (step->reduced == NULL && phase == SL_PHASE_TRAIN) { /* what an earlier lack of memory left */
        sl_free(SL_TAKE(step->node_stats));
        sl_free(SL_TAKE(step->node_present));
        sl_free(SL_TAKE(step->sums));
        sl_free(SL_TAKE(step->changes));
        sl_free(SL_TAKE(step->applied));
        sl_free(SL_TAKE(step->scorer));
        sl_free(SL_TAKE(step->skipped));
    }
    enum sl_status status = reserve(step, units, slots_max, blocks, servers, err);
    if (status != SL_OK)
        return status;
    step->open = true;
    step->step = index;
    step->base = base;
    step->opened_us = now_us;
    step->units = units;
    step->todo = units;
    step->done = 0;
    step->compute_us = 0;
    memset(step->spent, 0, sizeof(step->spent));
    for (uint32_t u = 0; u < units; u++) {
        step->owner[u] = PS_UNIT_TODO;
        step->shard[u] = -1;
    }
    step->reduced_count = 0;
    step->applied_count = 0;
    step->committing = false;
    step->audit = PS_AUDIT_NONE;
    step->scoring = step->scored = false;
    memset(step->coefficient, 0, sizeof(step->coefficient));
    if (phase == SL_PHASE_TRAIN) {
        memset(step->scorer, 0, slots_max * sizeof(*step->scorer));
        memset(step->skipped, 0, slots_max);
        memset(step->node_present, 0, sl_tree_places(slots_max));
        memset(step->reduced, 0, (size_t)servers);
        memset(step->applied, 0, (size_t)servers);
    }
    return SL_OK;
}

void ps_open_step_fini(struct ps_open_step *step)
{
    sl_free(step->owner);
    sl_free(step->shard);
    sl_free(step->node_stats);
    sl_free(step->node_present);
    sl_free(step->sums);
    sl_free(step->changes);
    sl_free(step->reduced);
    sl_free(step->applied);
    sl_free(step->scorer);
    sl_free(step->skipped);
}

void ps_open_step_note_scored(
        struct ps_open_step *step, uint32_t begin, uint32_t end, uint64_t worker, bool skipped)
{
    for (uint32_t u = begin; u < end; u++) {
        if (step->owner[u] == PS_UNIT_DONE)
            continue;
        step->scorer[u] = skipped ? 0 : worker;
        step->skipped[u] = skipped;
    }
}

void ps_open_step_train(struct ps_open_step *step)
{
    step->scoring = false;
    step->scored = true;
    step->done = step->todo = 0;
    memset(step->node_present, 0, sl_tree_places(step->units));
    for (uint32_t u = 0; u < step->units; u++) {
        step->owner[u] = step->skipped[u] ? PS_UNIT_DONE : PS_UNIT_TODO;
        step->done += step->skipped[u];
        step->todo += !step->skipped[u];
        if (step->skipped[u])
            ps_open_step_join(step, (struct sl_node){0, u}, &(struct sl_step_stats){0});
    }
}

bool ps_open_step_own_stretch(
        const struct ps_open_step *step, uint64_t worker, uint32_t *ret_begin, uint32_t *ret_end)
{
    uint32_t begin = 0;
    while (begin < step->units && (step->owner[begin] != PS_UNIT_TODO || step->scorer[begin] != worker))
        begin++;
    uint32_t end = begin;
    while (end < step->units && step->owner[end] == PS_UNIT_TODO && step->scorer[end] == worker)
        end++;
    *ret_begin = begin;
    *ret_end = end;
    return begin < end;
}

bool ps_open_step_covers(const struct ps_open_step *step, uint32_t begin, uint32_t end)
{
    for (uint32_t u = begin; u < end; u++)
        if (step->owner[u] != PS_UNIT_DONE)
            return true;
    return false;
}

void ps_open_step_join(struct ps_open_step *step, struct sl_node node, const struct sl_step_stats *stats)
{
    uint32_t root = sl_tree_levels(step->units);
    struct sl_step_stats sum = *stats;
    if (sl_mutant("coordinator: statistics are added as they come")) {
        if (step->node_present[1])
            sl_step_stats_add(&step->node_stats[1], stats);
        else
            step->node_stats[1] = *stats;
        step->node_present[1] = 1;
        return;
    }
    for (;; node = sl_tree_parent(node)) {
        size_t place = sl_tree_place(step->units, node);
        step->node_stats[place] = sum;
        step->node_present[place] = 1;
        if (node.level == root)
            return;
        struct sl_node sibling = sl_tree_sibling(node);
        if (!sl_tree_node_valid(step->units, sibling))
            continue; /* a missing leaf is skipped */
        size_t other = sl_tree_place(step->units, sibling);
        if (!step->node_present[other])
            return;
        sum = step->node_stats[node.index % 2 == 0 ? place : other];
        sl_step_stats_add(&sum, &step->node_stats[node.index % 2 == 0 ? other : place]);
    }
}

const struct sl_step_stats *ps_open_step_total(const struct ps_open_step *step)
{
    return &step->node_stats[1];
}

bool ps_open_step_readable(const struct ps_open_step *step, uint32_t unit, const unsigned char *shards)
{
    return shards == NULL || step->shard[unit] < 0 || shards[step->shard[unit]] != 0;
}

bool ps_open_step_free_stretch(const struct ps_open_step *step, uint32_t most, const unsigned char *shards,
        uint32_t *ret_begin, uint32_t *ret_end)
{
    uint32_t begin = 0;
    while (begin < step->units &&
            (step->owner[begin] != PS_UNIT_TODO || !ps_open_step_readable(step, begin, shards)))
        begin++;
    uint32_t end = begin;
    while (end < step->units && end - begin < most && step->owner[end] == PS_UNIT_TODO &&
            ps_open_step_readable(step, end, shards))
        end++;
    *ret_begin = begin;
    *ret_end = end;
    return begin < end;
}
