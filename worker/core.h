#pragma once
/* What a worker decides: join, pull, compute, push, report. Pure: events in, updates out; no socket, clock, thread or file.
 *
 *     joining ──WELCOME──▶ idle ──ASSIGN──▶ pulling ──all blocks──▶ computing ──node done──▶ pushing ──all acknowledged──▶ STATS
 *                           ▲                                                                                       │
 *                           └───────────────────────────── every node of the run reported ──────────────────────────┘
 *
 * In bsp the next version is asked for when a step is reported, and taken while nothing is computed: servers send each block when they have updated it. A run is given to the executor when its parameters are asked for: batches are read, and layers computed, as blocks of parameters come.
 * Blocks of a node are pushed as they become whole, while the rest is still being computed, those that are frozen never; the node is reported when all of it is computed and acknowledged.
 *
 * With exchange early a step has two runs: SCORE, whose nodes are reported as soon as their forward pass is done, then TRAIN with the step's coefficients. In between the worker is idle, so that
 * it can be given the slots of another one that was lost.
 *
 * An ASSIGN replaces the run before it: what is not computed yet is cancelled (somebody else was faster, or the step is over).
 * Messages come and go through links.h: in order, once. When the coordinator or a server is gone, the core finishes with AGAIN: the loop makes a new core with a new
 * incarnation, which joins again.
 */
#include "common/layout.h"
#include "common/outbox.h"
#include "common/plan.h"

struct wk_core;

enum wk_event_kind {
    WK_EVENT_START,
    WK_EVENT_TICK,
    WK_EVENT_MESSAGE,
    WK_EVENT_GONE,            /* the link to `from` has ended, text says why */
    WK_EVENT_BLOCKS_DONE,     /* of the last COMPUTE or of one that was cancelled */
    WK_EVENT_NODE_DONE,       /* the same; of its blocks those that BLOCKS_DONE did not bring are whole now */
    WK_EVENT_VALIDATION_DONE, /* the same */
    WK_EVENT_IDLE,            /* nothing is being computed any more: the last run is whole or cancelled */
    WK_EVENT_LEAVE
};

struct wk_event {
    enum wk_event_kind kind;
    int64_t now_us;
    struct sl_address from;           /* MESSAGE, GONE */
    const struct sl_message *message; /* MESSAGE: borrowed; frames are retained where needed */
    uint64_t run;        /* BLOCKS_DONE, NODE_DONE, VALIDATION_DONE: of the COMPUTE that asked for it */
    struct sl_node node; /* BLOCKS_DONE, NODE_DONE */
    const int *blocks;   /* BLOCKS_DONE: (block_count,): those that will not change any more */
    int block_count;     /* BLOCKS_DONE */
    const struct sl_step_stats *stats; /* NODE_DONE */
    struct sl_spent spent;             /* NODE_DONE: of compute threads */
    struct sl_buffer *
            gradients; /* BLOCKS_DONE, NODE_DONE: sl_layout_gradient_floats; borrowed, retained. Of SCORE: NULL */
    struct sl_buffer *evaluation; /* VALIDATION_DONE: borrowed, retained */
    uint64_t compute_us;          /* NODE_DONE, VALIDATION_DONE */
    uint64_t hash;                /* NODE_DONE of a COMPUTE that asked for it: of the node's sums */
    struct sl_report report;      /* TICK: how the process is doing, sent now and then */
    const char *text;             /* LEAVE, GONE: why */
};

enum wk_action_kind {
    WK_ACTION_NONE,
    WK_ACTION_CONNECT, /* open links to servers[1 …]; rank 0 is reached through the coordinator */
    WK_ACTION_COMPUTE, /* run the slots or units [begin, end) of the step on the parameters as they are now, or as they come (arriving); only after IDLE */
    WK_ACTION_CANCEL, /* skip what is not begun of the last COMPUTE; IDLE comes when nothing is being computed */
    WK_ACTION_FINISH, /* leave with this status and text; AGAIN: make a new core and join again */
};

struct wk_action {
    enum wk_action_kind kind;
    uint64_t run; /* COMPUTE: comes back with its results */
    enum sl_phase phase;
    int64_t step, version; /* version: at least this one is wanted */
    uint32_t slots, begin, end;
    bool arriving; /* COMPUTE: blocks of params that are not `here` may be read when `arrived` has named them; results come only when all have */
    const unsigned char *here; /* COMPUTE, arriving: (block_count,), borrowed until the next event */
    bool hash;                 /* COMPUTE: of each node's sums too, to be compared with another worker's */
    uint64_t parameters; /* COMPUTE: names the values of params: as long as it is the same, so are they */
    double coefficient
            [SL_MODALITIES_MAX]; /* COMPUTE of TRAIN and AUDIT with exchange early: of the unimodal branches */
    const struct sl_server_entry *servers; /* CONNECT: (server_count,), borrowed until the next event */
    int server_count;
    enum sl_status status;
    char text[SL_MESSAGE_TEXT_MAX];
};

struct wk_updates {
    struct sl_outbox outbox;
    struct wk_action action; /* at most one a step of the core */
    int arrived;             /* this block of params is there for the last COMPUTE; -1 = none came */
    int64_t wake_us;         /* when TICK is due */
};

/* Everything the core must know about its process. Borrowed: layout and plan outlive the core. */
struct wk_core_options {
    const struct sl_layout *layout;
    struct sl_hello hello;
    uint64_t incarnation;
    const struct sl_plan *plan; /* of the training set: says which assignments there can be */
    uint32_t slot_size;         /* of the config's batch */
    /* locality shards: what hello carries besides, borrowed; NULL, 0 = locality samples */
    const uint64_t *shards;        /* (shard_count,) samples of each */
    const unsigned char *readable; /* (shard_count,) 1 = it is here */
    uint32_t shard_count;
    int64_t join_us;   /* without a WELCOME for so long after START: FINISH with TIMEOUT */
    int64_t report_us; /* between two REPORTs */
    bool pulls_ahead; /* bsp: what comes after a step is known, so its version is asked for as soon as the step is reported, of servers with a link of their own */
    bool rounds; /* cluster.wire bf16: gradients are pushed rounded, and what that takes away with the next ones */
    bool busy; /* the executor is still at a run of the core before: wait for IDLE */
};

/* wk_core_create makes a core whose parameters are `params` (layout->count floats), which the core fills from PARAMS messages and nobody else writes.
 * Owns: *ret_core; borrows params. */
SL_MUST_USE enum sl_status wk_core_create(struct wk_core **ret_core, const struct wk_core_options *options,
        float *params, struct sl_error *err);
void wk_core_destroy(struct wk_core *core);

/* wk_core_step advances the core by one event. updates is cleared first. Errors: NO_MEMORY; what a peer did wrong becomes a FINISH or is ignored. */
SL_MUST_USE enum sl_status wk_core_step(
        struct wk_core *core, const struct wk_event *event, struct wk_updates *updates, struct sl_error *err);

/* wk_core_doing borrows "joining", "idle", "pulling", "computing" or "pushing". */
const char *wk_core_doing(const struct wk_core *core);
