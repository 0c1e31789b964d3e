#pragma once
/* What loop.c (a server's process of any rank) and leader.c (what rank 0 does besides) share. For these two alone. */
#include "common/keys.h"
#include "common/late.h"
#include "common/rejoin.h"
#include "common/wire.h"
#include "ps/archive.h"
#include "ps/console.h"
#include "ps/loop.h"
#include "ps/metrics.h"
#include "ps/offenders.h"
#include "ps/profile.h"
#include "ps/replay.h"
#include "ps/server.h"
#include "ps/status.h"
#include "ps/status_view.h"
#include "ps/tensorboard.h"

struct ps_process {
    const struct ps_run_options *options;
    struct sl_layout *layout;
    struct sl_keys *keys; /* NULL = not encrypted */
    struct sl_transport *transport;
    struct sl_team *team; /* does the arithmetic of the server's core */
    struct sl_wire *wire;
    uint64_t incarnation;
    struct sl_hello hello;
    struct ps_table *table;
    struct ps_server *server; /* NULL between two lives */
    struct ps_server_updates answers;
    uint64_t busy_us; /* in the server's core: joining and updating */
    struct ps_offenders offenders;
    uint64_t refused; /* handshakes, as far as they were logged */

    /* rank 0 */
    struct ps_coordinator *coordinator; /* NULL for other ranks */
    uint64_t cluster;
    struct ps_replay replay; /* of modulation.form replay */
    struct ps_updates updates;
    struct sl_outbox local; /* messages between the two cores, in order */
    int lock;               /* of the run's folder, -1 = none */
    struct ps_archive *archive;
    struct ps_metrics *metrics;
    struct ps_tensorboard *tensorboard; /* NULL = none */
    struct ps_status *status;           /* NULL = none */
    struct ps_status_members members;   /* of its last view */
    struct ps_console console;
    struct ps_profile profile;
    bool saving;      /* between SNAPSHOT and WRITE or DROP */
    bool restore_due; /* RESTORE came: done when the event that brought it is done */
    bool snapshot_failed;
    struct sl_error snapshot_problem;

    /* rank >= 1 */
    struct sl_rejoin rejoin;
    struct sl_late late;
    bool welcomed;              /* in this life */
    int64_t again_us, check_us; /* without a core: when to try again; when to look at handshakes */
    char handshake_text[SL_ERROR_TEXT_MAX]; /* why nobody lets us in so far, "" = they do or are not there */

    bool finished;
    enum sl_status finish_status;
    char finish_text[SL_MESSAGE_TEXT_MAX];
    int signal_number;
};

/* ---- loop.c ---- */

/* ps_process_serve makes a server core of this process's incarnation, before anybody has heard of it; the one before is destroyed. */
SL_MUST_USE enum sl_status ps_process_serve(struct ps_process *p, int64_t join_us, struct sl_error *err);
/* ps_process_server gives the server's core an event, and its messages to whom they are for. */
SL_MUST_USE enum sl_status ps_process_server(
        struct ps_process *p, struct ps_server_event *event, struct sl_error *err);
/* ps_process_send sends a message of one of the cores: to the other core, or onto the wire. Owns: takes *message, always. */
SL_MUST_USE enum sl_status ps_process_send(
        struct ps_process *p, struct sl_address to, struct sl_message **message, struct sl_error *err);
void ps_process_finish(struct ps_process *p, enum sl_status status, const char *text);

/* ---- leader.c ---- */

SL_MUST_USE enum sl_status ps_leader_open(struct ps_process *p, struct sl_error *err);
SL_MUST_USE enum sl_status ps_leader_start(
        struct ps_process *p, struct sl_error *err); /* the cores' first events */
void ps_leader_close(struct ps_process *p);
/* ps_leader_step gives the coordinator's core an event and does what follows. */
SL_MUST_USE enum sl_status ps_leader_step(struct ps_process *p, struct ps_event *event, struct sl_error *err);
/* ps_leader_settle delivers what the cores tell each other, and does what had to wait for the end of an event, until nothing is left. */
SL_MUST_USE enum sl_status ps_leader_settle(struct ps_process *p, struct sl_error *err);
/* ps_leader_close_status tells whoever watches how the run ended: before the wire is closed, on an early failure too. */
void ps_leader_close_status(struct ps_process *p, enum sl_status status, const struct sl_error *err);
/* ps_leader_tick looks after the snapshot that is being written and the coordinator's clock. */
SL_MUST_USE enum sl_status ps_leader_tick(struct ps_process *p, struct sl_error *err);
