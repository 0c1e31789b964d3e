#pragma once
/* What the coordinator decides: who takes part, which slots are whose, when a step is whole, what its
 * coefficients are, when to validate, to snapshot, to roll back and to stop. Pure: events in, updates out; no socket,
 * clock, thread or file. It lives in the process of the first server. Messages come and go through links.h: in order, once.
 *
 *     gathering ──all servers and a worker──▶ loading ──LOADED by all──▶ training ──all slots reported, reduced by all──▶ committing ──APPLIED by all──▶ …
 *         ▲                                                                 │ end of epoch
 *     restoring ◀──a server is gone── (any)                                 ▼
 *                                                                       validating ──all units──▶ snapshot ──▶ next epoch, or finished
 *
 * Every number that it sends for a step is a function of sums over the whole global batch, joined in the
 * order of the slot tree: it does not depend on how many workers there are or which of them computed what.
 *
 * Steps open at a time: one in bsp. In ssp and asp more are, so that a slow worker holds up its own step alone; they are committed as they become whole, in ssp only while every
 * other open step can still be applied within the staleness bound (see docs/protocol.md for the proof). Before a validation or a snapshot nothing new is opened until
 * all that is open has been applied, so that a snapshot is always after a whole number of steps in order.
 */
#include "common/config.h"
#include "common/evaluation.h"
#include "common/layout.h"
#include "common/outbox.h"
#include "ps/balance.h"
#include "ps/modulation.h"

struct ps_coordinator;

/* Where training stands: what a snapshot keeps of the coordinator, and what a resumed one begins with. Zero =
 * a fresh run (best_value NaN). */
struct ps_training {
    int64_t step;                    /* steps applied */
    struct ps_modulation modulation; /* exponential means of the scores */
    double best_value;               /* of snapshots.keep_best, NaN = none yet */
    int64_t best_step;
    int64_t validations_without_gain;
    int64_t validated_step;                 /* the last step after which the model was validated */
    uint64_t train_count, validation_count; /* samples of the datasets, 0 = not known yet */
    uint64_t train_fingerprint, validation_fingerprint;
};

/* ps_training_begin is the state of a fresh run. */
struct ps_training ps_training_begin(void);

enum ps_event_kind {
    PS_EVENT_TICK,
    PS_EVENT_MESSAGE,
    PS_EVENT_GONE, /* the link to `from` has ended, text says why */
    PS_EVENT_STOP,
    PS_EVENT_SNAPSHOT_WRITTEN,
    PS_EVENT_RESTORED /* RESTORE is done: `training` is where it begins again; status not OK: it cannot, text says why */
};

struct ps_event {
    enum ps_event_kind kind;
    int64_t now_us;
    struct sl_address from;           /* MESSAGE, GONE */
    const struct sl_message *message; /* MESSAGE: borrowed */
    enum sl_status status;            /* STOP: what to finish with; SNAPSHOT_WRITTEN, RESTORED: how it went */
    const char *text;                 /* STOP, SNAPSHOT_WRITTEN, RESTORED, GONE: why */
    const struct ps_training *training; /* RESTORED: borrowed */
};

/* What one step was, for the metrics. Means over the step's samples. */
struct ps_step_record {
    int64_t step;  /* steps applied with this one */
    int64_t epoch; /* from 0 */
    int64_t samples;
    double loss[SL_BRANCHES_MAX], accuracy[SL_BRANCHES_MAX]; /* by branch */
    double score[SL_MODALITIES_MAX], ratio[SL_MODALITIES_MAX], coefficient[SL_MODALITIES_MAX];
    double cosine[SL_MODALITIES_MAX]; /* between the unimodal and the fused gradient of each extractor */
    /* By branch, of the parameters that are the branch's own (an extractor and its head are its modality's, the fusion the fused branch's; frozen ones do not count): norm of the step's change, and
     * their norm after it. */
    double update_norm[SL_BRANCHES_MAX], parameter_norm[SL_BRANCHES_MAX];
    double norm, clip,
            rate; /* global norm of the unmodulated mean gradient (exchange early: of the modulated one), factor applied, learning rate */
    double seconds;         /* from opening the step to its commit */
    double compute_seconds; /* summed over workers */
    double spent
            [SL_SPENT_COUNT]; /* seconds by kind, summed over workers; of compute threads divided by their worker's threads */
    double update_seconds; /* from the commit until the last server had applied it */
    int workers;
};

enum ps_action_kind {
    PS_ACTION_LOAD, /* send LOAD for every block of server `rank` to `to`, with `cluster`, `count` and the version of ps_coordinator_training */
    PS_ACTION_READY,       /* all servers have loaded: what was restored need not be kept */
    PS_ACTION_STEP,        /* write `record` */
    PS_ACTION_VALIDATION,  /* write `evaluation`, borrowed until the next event */
    PS_ACTION_SNAPSHOT,    /* begin a snapshot of ps_coordinator_training: its blocks come as SAVED_BLOCK */
    PS_ACTION_SAVED_BLOCK, /* put the frames of the event's message (SAVED) into the snapshot */
    PS_ACTION_SNAPSHOT_WRITE, /* all blocks are in: write in the background, answer with PS_EVENT_SNAPSHOT_WRITTEN */
    PS_ACTION_SNAPSHOT_DROP, /* a server is gone before all were in: forget it */
    PS_ACTION_RESTORE, /* roll back: wait for a snapshot that is being written, close all links, begin a new core of the own server, read the
                                newest whole snapshot, answer with PS_EVENT_RESTORED */
    PS_ACTION_CLOSE,   /* close the link to `to`: it was refused or given up */
    PS_ACTION_JOINED,  /* a worker or server is in, text names it */
    PS_ACTION_LOST,    /* a worker or server is out, text says why */
    PS_ACTION_REFUSED, /* a peer does not fit, text says how */
    PS_ACTION_WARN,    /* text */
    PS_ACTION_FINISH,  /* end with `status` and text */
};

struct ps_action {
    enum ps_action_kind kind;
    struct sl_address to;                   /* LOAD, CLOSE; of JOINED and LOST the role alone is sure */
    uint32_t rank;                          /* LOAD */
    uint64_t cluster, count;                /* LOAD */
    struct ps_step_record record;           /* STEP */
    const struct sl_evaluation *evaluation; /* VALIDATION */
    double seconds;                         /* VALIDATION: how long it took */
    bool best;                              /* VALIDATION, SNAPSHOT: the best one so far */
    enum sl_status status;                  /* FINISH */
    char text[SL_MESSAGE_TEXT_MAX];
};

struct ps_updates {
    struct sl_outbox outbox;
    struct ps_action *actions; /* (action_count,), in order */
    int action_count, action_capacity;
    int64_t wake_us; /* when TICK is due */
};

void ps_updates_fini(struct ps_updates *updates);

/* Borrowed pointers outlive the coordinator. */
struct ps_coordinator_options {
    const struct sl_config *config;
    const struct sl_layout *layout;
    uint64_t config_hash;
    uint64_t cluster;     /* a random number that marks messages of this run; every rollback adds 1 */
    uint64_t incarnation; /* of its process, which is also the first server's */
    int servers;
    struct ps_training training;    /* where to begin */
    const struct ps_replay *replay; /* of modulation.form replay, else NULL */
};

SL_MUST_USE enum sl_status ps_coordinator_create(struct ps_coordinator **ret_coordinator,
        const struct ps_coordinator_options *options, struct sl_error *err);
void ps_coordinator_destroy(struct ps_coordinator *coordinator);

/* ps_coordinator_step advances by one event. updates is cleared first. Errors: NO_MEMORY; all else becomes an
 * action. */
SL_MUST_USE enum sl_status ps_coordinator_step(struct ps_coordinator *coordinator,
        const struct ps_event *event, struct ps_updates *updates, struct sl_error *err);

/* What is known of a worker and of a server, for the status. Borrowed until the next event. */
struct ps_worker_view {
    uint64_t id;
    uint32_t rank, threads, pid;
    const char *host;
    int64_t joined_us, heard_us;
    uint64_t slots;          /* computed and counted */
    double seconds_per_slot; /* a mean over recent ones, 0 = not known yet */
    int64_t staleness;       /* versions between what it computes on and the newest */
    bool busy;               /* has slots or units that are not done */
    struct sl_report report; /* the last one */
    int64_t reported_us;
};
struct ps_server_view {
    uint64_t id;
    uint32_t rank, pid;
    const char *host, *endpoint;
    bool present, loaded;
    int64_t heard_us, version;
    double update_seconds; /* from COMMIT to APPLIED of the last step */
    struct sl_report report;
};
int ps_coordinator_worker_count(const struct ps_coordinator *coordinator);
struct ps_worker_view ps_coordinator_worker(const struct ps_coordinator *coordinator, int index);
int ps_coordinator_server_count(const struct ps_coordinator *coordinator);
struct ps_server_view ps_coordinator_server(const struct ps_coordinator *coordinator, int rank);
/* ps_coordinator_state borrows gathering, loading, training, validating, saving, restoring or finished. */
const char *ps_coordinator_state(const struct ps_coordinator *coordinator);
uint64_t ps_coordinator_rollbacks(const struct ps_coordinator *coordinator);
uint64_t ps_coordinator_lost(const struct ps_coordinator *coordinator); /* workers, so far */

/* ps_coordinator_training borrows where training stands now. */
const struct ps_training *ps_coordinator_training(const struct ps_coordinator *coordinator);
int64_t ps_coordinator_total_steps(
        const struct ps_coordinator *coordinator); /* 0 until the first worker told the size of its data */
int64_t ps_coordinator_steps_per_epoch(const struct ps_coordinator *coordinator);
