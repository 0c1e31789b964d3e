#pragma once
/* What is known of a step, or of a validation, while it is open: who has which units (slots; runs of samples of a validation), the statistics joined along the slot tree, which
 * servers have reduced and applied it. Plain data with the arithmetic on it; what follows from it is decided in coordinator.c.
 */
#include "common/layout.h"
#include "ps/coordinator.h"

#include <stdbool.h>
#include <stdint.h>

#define PS_UNIT_TODO (-1)
#define PS_UNIT_DONE (-2)

enum ps_audit { PS_AUDIT_NONE, PS_AUDIT_WANTED, PS_AUDIT_OPEN, PS_AUDIT_ASSIGNED, PS_AUDIT_CLOSED };

struct ps_open_step {
    bool open;
    enum sl_phase phase; /* TRAIN or VALIDATE */
    int64_t step;        /* which samples */
    int64_t base; /* the version that was ordered when it was opened: nobody computes on an older one */
    int64_t opened_us;
    uint32_t units, done, todo; /* todo: nobody has them */
    int32_t *owner;             /* (capacity,): worker index, PS_UNIT_TODO or PS_UNIT_DONE */
    int32_t *shard;             /* (capacity,): that a worker must have to compute the unit, -1 = all */
    uint32_t capacity;
    uint64_t compute_us;
    double spent[SL_SPENT_COUNT]; /* seconds, as in the record */
    /* training only */
    struct sl_step_stats *node_stats; /* (sl_tree_places(slots),), heap order of the slot tree */
    unsigned char *node_present;
    struct sl_block_sums *sums;       /* (block_count,) */
    struct sl_block_change *changes;  /* (block_count,) */
    unsigned char *reduced, *applied; /* (servers,) */
    int reduced_count, applied_count;
    bool committing;
    int64_t version; /* that it makes, once committing */
    /* exchange early */
    bool scoring; /* its units are to be scored, before they can be trained */
    bool scored;  /* its coefficients are decided; its statistics are joined anew, from what is trained */
    double coefficient[SL_MODALITIES_MAX]; /* decided once, unless scoring */
    uint64_t *scorer;       /* (slots_max,): id of the worker that may still have the activations, 0 = none */
    unsigned char *skipped; /* (slots_max,) 1 = zeros were pushed for it while scoring */
    struct ps_step_record record;
    enum ps_audit audit;
    struct sl_node audit_node;
    uint64_t audit_hash, audit_first; /* of the node's sums; the worker that they are from */
    char audit_name[80];              /* its name: it may be gone */
};

/* ps_open_step_begin opens it with all units to do; memory of an earlier use is kept. slots_max, servers: of the run. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_open_step_begin(struct ps_open_step *step, enum sl_phase phase, int64_t index,
        int64_t base, uint32_t units, uint32_t slots_max, int blocks, int servers, int64_t now_us,
        struct sl_error *err);
void ps_open_step_fini(struct ps_open_step *step);

/* ps_open_step_note_scored notes who scored [begin, end), or skipped it; before the units are closed: those that are done stay their first scorer's. */
void ps_open_step_note_scored(
        struct ps_open_step *step, uint32_t begin, uint32_t end, uint64_t worker, bool skipped);
/* ps_open_step_train ends scoring: all units are to do again, but those that were skipped, and the statistics are empty but for theirs: what counts in a step is
 * what is trained. */
void ps_open_step_train(struct ps_open_step *step);
/* ps_open_step_own_stretch gives the first stretch of free units that this worker scored; false when there is none. */
bool ps_open_step_own_stretch(
        const struct ps_open_step *step, uint64_t worker, uint32_t *ret_begin, uint32_t *ret_end);

/* ps_open_step_covers says whether some unit of [begin, end) is not done yet. */
bool ps_open_step_covers(const struct ps_open_step *step, uint32_t begin, uint32_t end);

/* ps_open_step_join adds a node's statistics with its sibling's, up to the root, left + right: the order of the gradients. A node that covers slots
 * anew replaces narrower ones below it, as in ps/reduction.h. */
void ps_open_step_join(struct ps_open_step *step, struct sl_node node, const struct sl_step_stats *stats);

/* ps_open_step_total borrows the sums over all slots, when all are done. */
const struct sl_step_stats *ps_open_step_total(const struct ps_open_step *step);

/* ps_open_step_readable says whether a worker with these shards (NULL: all) can compute a unit. */
bool ps_open_step_readable(const struct ps_open_step *step, uint32_t unit, const unsigned char *shards);
/* ps_open_step_free_stretch gives the first stretch of units that nobody has and that a worker with these shards can compute, at most `most` long; false when there
 * is none. */
bool ps_open_step_free_stretch(const struct ps_open_step *step, uint32_t most, const unsigned char *shards,
        uint32_t *ret_begin, uint32_t *ret_end);
