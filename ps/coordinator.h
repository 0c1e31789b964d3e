#pragma once
/* What the coordinator decides: who takes part, which slots are whose, when a step is whole, what its
 * coefficients are, when to validate, to snapshot and to stop. Pure: events in, updates out; no socket,
 * clock, thread or file. It lives in the first server.
 *
 *     waiting ──first worker──▶ training step t ──all slots reported, all blocks reduced──▶ committing ──applied──▶ t + 1
 *                                     │ end of epoch
 *                                     ▼
 *                                 validating ──all units──▶ snapshot ──▶ next epoch, or finished
 *
 * Every number that it sends for a step is a function of sums over the whole global batch, joined in the
 * order of the slot tree: it does not depend on how many workers there are or which of them computed what.
 */
#include "common/config.h"
#include "common/evaluation.h"
#include "common/layout.h"
#include "common/outbox.h"
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
    PS_EVENT_GONE,
    PS_EVENT_STOP,
    PS_EVENT_SNAPSHOT_WRITTEN
};

struct ps_event {
    enum ps_event_kind kind;
    int64_t now_us;
    struct sl_address from;           /* MESSAGE, GONE */
    const struct sl_message *message; /* MESSAGE: borrowed */
    enum sl_status status;            /* STOP: what to finish with; SNAPSHOT_WRITTEN: how it went */
    const char *text;                 /* STOP, SNAPSHOT_WRITTEN: why */
};

/* What one step was, for the metrics. Means over the step's samples. */
struct ps_step_record {
    int64_t step;  /* steps applied with this one */
    int64_t epoch; /* from 0 */
    int64_t samples;
    double loss[SL_BRANCHES_MAX], accuracy[SL_BRANCHES_MAX]; /* by branch */
    double score[SL_MODALITIES_MAX], ratio[SL_MODALITIES_MAX], coefficient[SL_MODALITIES_MAX];
    double cosine[SL_MODALITIES_MAX]; /* between the unimodal and the fused gradient of each extractor */
    double norm, clip, rate; /* global norm of the unmodulated mean gradient, factor applied, learning rate */
    double seconds;          /* from opening the step to its commit */
    double compute_seconds;  /* summed over workers */
    int workers;
};

enum ps_action_kind {
    PS_ACTION_STEP,       /* write `record` */
    PS_ACTION_VALIDATION, /* write `evaluation`, borrowed until the next event */
    PS_ACTION_SNAPSHOT,   /* capture now, write in the background, answer with PS_EVENT_SNAPSHOT_WRITTEN */
    PS_ACTION_JOINED,     /* a worker is in, text names it */
    PS_ACTION_LOST,       /* a worker is out, text says why */
    PS_ACTION_REFUSED,    /* a peer does not fit, text says how */
    PS_ACTION_WARN,       /* text */
    PS_ACTION_FINISH,     /* end with `status` and text */
};

struct ps_action {
    enum ps_action_kind kind;
    struct ps_step_record record;           /* STEP */
    const struct sl_evaluation *evaluation; /* VALIDATION */
    double seconds;                         /* VALIDATION: how long it took */
    bool best;                              /* VALIDATION, SNAPSHOT: the best one so far */
    enum sl_status status;                  /* FINISH */
    char text[SL_MESSAGE_TEXT_MAX];
};

#define PS_ACTIONS_MAX 8 /* of one event */

struct ps_updates {
    struct sl_outbox outbox;
    struct ps_action actions[PS_ACTIONS_MAX];
    int action_count;
    int64_t wake_us; /* when TICK is due */
};

/* Borrowed pointers outlive the coordinator. cluster: a random number that marks messages of this run. */
struct ps_coordinator_options {
    const struct sl_config *config;
    const struct sl_layout *layout;
    uint64_t config_hash, cluster;
    struct ps_training training; /* where to begin */
};

SL_MUST_USE enum sl_status ps_coordinator_create(struct ps_coordinator **ret_coordinator,
        const struct ps_coordinator_options *options, struct sl_error *err);
void ps_coordinator_destroy(struct ps_coordinator *coordinator);

/* ps_coordinator_step advances by one event. updates is cleared first. Errors: NO_MEMORY; all else becomes an
 * action. */
SL_MUST_USE enum sl_status ps_coordinator_step(struct ps_coordinator *coordinator,
        const struct ps_event *event, struct ps_updates *updates, struct sl_error *err);

/* What a process told of itself last. */
struct sl_report {
    uint64_t memory;         /* bytes resident */
    uint64_t sent, received; /* bytes, since its start */
    uint64_t queued;         /* messages that wait to be sent or acknowledged */
    uint64_t busy_us;        /* since its start: computing (worker), updating (server) */
    uint64_t dropped;        /* messages that did not count */
};

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
