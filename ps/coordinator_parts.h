#pragma once
/* The coordinator's state, and what its parts do for each other. Its files are one object, in the order in which a reader should take them: coordinator.c (events, what comes next, the
 * end), membership.c (who takes part), assignment.c (who computes what), stepping.c (a step's results), validation.c, gathering.c (snapshots). Nobody else includes this.
 */
#include "common/plan.h"
#include "ps/coordinator.h"
#include "ps/open_step.h"
#include "ps/optimiser.h"
#include "ps/roster.h"
#include "ps/server.h"

#define UNITS_MAX (1U << 26)  /* of a validation: the table of who has which is 4 bytes for each */
#define FRUITLESS_MAX 10      /* rollbacks in a row without one step more than before */
#define LOOK_AROUND_US 100000 /* between two looks for stragglers, while somebody is idle */

enum ps_state {
    STATE_GATHERING,
    STATE_LOADING,
    STATE_TRAINING,
    STATE_VALIDATING,
    STATE_SAVING,
    STATE_RESTORING,
    STATE_FINISHED
};

struct ps_coordinator {
    struct ps_coordinator_options options;
    struct sl_modulation_config modulation;
    struct ps_optimiser optimiser; /* for its clipping */
    struct ps_training training;   /* as far as all servers have applied */
    struct ps_modulation
            ordered_modulation; /* as far as COMMIT was sent; training.modulation follows when nothing is under way */
    enum ps_state state;
    struct ps_roster roster;
    uint64_t cluster;
    int *owners;          /* (block_count,): ranks */
    int reducing_servers; /* that own a trained block: who has none has nothing to reduce */
    struct sl_plan *plan; /* NULL until the data is known */
    uint64_t shards_hash; /* of the shards' sizes, locality shards */
    uint32_t shard_count; /* 0: locality samples */
    int64_t steps_per_epoch, total_steps;
    bool told_missing; /* that shards are on no living worker */
    /* what is being computed */
    struct ps_open_step steps[PS_OPEN_MAX + 1]; /* the last one is for validation */
    int open_max;
    int64_t next_step; /* to be opened */
    int64_t boundary;  /* no step from here on is opened before everything is applied */
    int64_t ordered;   /* versions up to here: COMMIT was sent */
    struct sl_evaluation *evaluation, *part;
    /* snapshots */
    bool snapshot_wanted, snapshot_best;
    bool snapshot_busy;         /* being gathered or written */
    int64_t snapshot_step;      /* of that one */
    int blocks_missing;         /* > 0: being gathered */
    unsigned char *block_saved; /* (block_count,) */
    /* ends */
    bool stopping, finish_after_save;
    enum sl_status finish_status;
    char finish_text[SL_MESSAGE_TEXT_MAX];
    uint64_t rollbacks, lost;
    int fruitless;
    int64_t rolled_back_step; /* how far training was at the last rollback */
    int keep_branch;
    enum sl_metric keep_metric;
    /* of the event being handled */
    int64_t now_us;
    struct ps_updates *updates;
    bool out_of_memory; /* for an action, which then goes nowhere */
    struct ps_action nowhere;
};

#define PS_VALIDATION PS_OPEN_MAX /* the open step of a validation */

/* ---- coordinator.c ---- */

/* Units that a validation has. */
uint32_t ps_coordinator_validation_units(const struct ps_coordinator *c);
/* Sizes follow from the data: known at once when resuming, unless shards are local to workers, from the first worker otherwise. shards: (shard_count,), NULL = locality samples. Nothing happens when the plan
 * is made already. */
SL_MUST_USE enum sl_status ps_coordinator_plan_steps(
        struct ps_coordinator *c, const uint64_t *shards, uint32_t shard_count, struct sl_error *err);
/* A message with our mark, at the version that stands, or NULL. */
struct sl_message *ps_coordinator_message_to_send(const struct ps_coordinator *c, enum sl_message_kind kind);
/* Queues a message; takes it, NULL is NO_MEMORY. */
SL_MUST_USE enum sl_status ps_coordinator_send_worker(
        struct ps_coordinator *c, uint64_t id, struct sl_message *m, struct sl_error *err);
/* The same message to every server. Owns: takes template. */
SL_MUST_USE enum sl_status ps_coordinator_send_servers(
        struct ps_coordinator *c, struct sl_message *template, struct sl_error *err);
/* Never NULL: when memory is out, the step of the core fails and the action goes nowhere. */
struct ps_action *ps_coordinator_add_action(struct ps_coordinator *c, enum ps_action_kind kind);
/* An action that is a text for people. */
__attribute__((format(printf, 3, 4))) struct ps_action *ps_coordinator_add_note(
        struct ps_coordinator *c, enum ps_action_kind kind, const char *format, ...);
/* Goes on from wherever training stands: more of the open steps; at a boundary with everything applied, a validation, a snapshot, the next steps, the end. A snapshot that is due waits for the
 * one before it. */
SL_MUST_USE enum sl_status ps_coordinator_proceed(struct ps_coordinator *c, struct sl_error *err);
/* The end: everybody is told, the loop gets FINISH. */
SL_MUST_USE enum sl_status ps_coordinator_begin_finish(
        struct ps_coordinator *c, enum sl_status status, const char *text, struct sl_error *err);

/* ---- membership.c ---- */

/* What is left of a stop when nobody computes any more: open steps are given up, if what is applied is a whole number of steps in order. */
SL_MUST_USE enum sl_status ps_coordinator_stop_without_workers(
        struct ps_coordinator *c, struct sl_error *err);
/* Its units are free again; what it already reported stays. */
SL_MUST_USE enum sl_status ps_coordinator_lose_worker(
        struct ps_coordinator *c, int w, const char *why, struct sl_error *err);
/* A worker that says what cannot be is not asked again. */
SL_MUST_USE enum sl_status ps_coordinator_expel_worker(
        struct ps_coordinator *c, int w, const char *why, struct sl_error *err);
/* HELLO of a worker: does not fit → REFUSE; else it is in: it is welcomed as soon as all servers are known. The first worker of a fresh
 * run tells the size of the data. */
SL_MUST_USE enum sl_status ps_coordinator_on_worker_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err);
/* A server is gone, left or was started again: everybody goes back to the newest snapshot. */
SL_MUST_USE enum sl_status ps_coordinator_lose_server(
        struct ps_coordinator *c, int rank, const char *why, struct sl_error *err);
/* HELLO of a server: does not fit → REFUSE; its rank is taken by an earlier start of it → the news of that one's end comes first; else WELCOME. */
SL_MUST_USE enum sl_status ps_coordinator_on_server_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err);
/* All servers and somebody's data are there: every server gets its blocks, every worker its welcome. */
SL_MUST_USE enum sl_status ps_coordinator_load_if_gathered(struct ps_coordinator *c, struct sl_error *err);
/* LOADED by a server; by all → training goes on from there. */
SL_MUST_USE enum sl_status ps_coordinator_on_loaded(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err);

/* ---- assignment.c ---- */

/* How many samples are in units [begin, end) of an open step or validation. */
int64_t ps_coordinator_samples_of_units(
        const struct ps_coordinator *c, const struct ps_open_step *step, uint32_t begin, uint32_t end);
/* At the end of an epoch and of the training, once for each: a resumed run may have been stopped in between. */
bool ps_coordinator_validation_due(const struct ps_coordinator *c);
/* Early stopping. */
bool ps_coordinator_out_of_patience(const struct ps_coordinator *c);
/* Where everything must be applied before it goes on: the end of an epoch, a snapshot, the end. */
int64_t ps_coordinator_next_boundary(const struct ps_coordinator *c);
/* Whether a training step is open. */
bool ps_coordinator_anything_open(const struct ps_coordinator *c);
/* Opens steps[at] on what is ordered now. */
SL_MUST_USE enum sl_status ps_coordinator_open_units(struct ps_coordinator *c, int at, enum sl_phase phase,
        int64_t step, uint32_t units, struct sl_error *err);
/* An audit that takes too long is given up: it must not hold up training. */
bool ps_coordinator_drop_overdue_audits(struct ps_coordinator *c);
/* Idle workers take over what others are too slow with; whoever is first counts. */
SL_MUST_USE enum sl_status ps_coordinator_shadow_stragglers(struct ps_coordinator *c, struct sl_error *err);
/* Gives everybody who is idle something to do, as long as there is something: free units of the oldest step, then a new step. */
SL_MUST_USE enum sl_status ps_coordinator_assign_work(struct ps_coordinator *c, struct sl_error *err);
/* Takes note that a run of units is done. Returns how many were not before: 0 for a duplicate. */
uint32_t ps_coordinator_close_units(
        struct ps_coordinator *c, struct ps_open_step *step, uint32_t begin, uint32_t end);
/* Takes the times of all runs that are over. */
void ps_coordinator_learn_all_speeds(struct ps_coordinator *c);
/* A worker's units are free again, or its shadow's; a shadow's stay with the one that it shadowed. */
void ps_coordinator_free_units(struct ps_coordinator *c, int w);
/* Nothing is open any more: a validation that is given up, or everything at a rollback. */
void ps_coordinator_abandon(struct ps_coordinator *c, int at);

/* ---- stepping.c ---- */

/* Exchange early: the coefficients that a step's slots are computed with, from what the ratios say. Shapes: from_ratios (SL_MODALITIES_MAX,). */
void ps_coordinator_set_coefficients(
        const struct ps_coordinator *c, struct ps_open_step *step, const double *from_ratios);

/* Commits what is whole and may be, oldest first, until there is nothing such. */
SL_MUST_USE enum sl_status ps_coordinator_commit_whole_steps(struct ps_coordinator *c, struct sl_error *err);
/* STATS of a node of the worker's run: joined once. Of another step or run, or of slots that are done → ignored. Over other
 * samples than those slots have → the worker is expelled: it has another idea of the data. */
SL_MUST_USE enum sl_status ps_coordinator_on_stats(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err);
/* Whether a server owns a trained block. */
bool ps_coordinator_reduces(const struct ps_coordinator *c, int rank);
/* REDUCED by a server: text is set when it found something that is not finite; else the sums of its blocks. */
SL_MUST_USE enum sl_status ps_coordinator_on_reduced(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err);
/* APPLIED by a server, with what that did to its blocks; by all → the version stands, and whoever waited for it goes on. */
SL_MUST_USE enum sl_status ps_coordinator_on_applied(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err);

/* ---- validation.c ---- */

SL_MUST_USE enum sl_status ps_coordinator_open_validation(struct ps_coordinator *c, struct sl_error *err);
/* VALIDATED units of the worker's run: merged once, when none of them is in yet. What does not fit the shape of an evaluation or the number of samples → the worker is expelled. */
SL_MUST_USE enum sl_status ps_coordinator_on_validated(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err);

/* ---- gathering.c ---- */

/* Every server sends its blocks as they stand after all COMMITs so far: the next one comes behind this on the same link. */
SL_MUST_USE enum sl_status ps_coordinator_start_snapshot(struct ps_coordinator *c, struct sl_error *err);
/* SAVED: a block of the snapshot that is being gathered, from its owner, once; the last one → it is written. */
void ps_coordinator_on_saved(struct ps_coordinator *c, int rank, const struct sl_message *m);
SL_MUST_USE enum sl_status ps_coordinator_on_snapshot_written(
        struct ps_coordinator *c, const struct ps_event *event, struct sl_error *err);
