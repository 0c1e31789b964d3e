#pragma once
/* What the coordinator tells whoever watches: collects the run's figures, packs them (proto/status.proto) and publishes them on a socket of its own.
 *
 *     s = ps_status_open(&status, &(struct ps_status_options){.config = config, .keys = keys, …}, err);
 *     ps_status_step(status, &record);                                // as they happen
 *     if (now_us >= ps_status_due_us(status)) ps_status_update(status, &view, now_us);     // every second, and when something turned
 *     ps_status_close(status, SL_OK, "all steps done");
 *
 * Training never waits for it: messages go through a bounded ring to a thread that owns the socket, the oldest is dropped when it is full. The thread has
 * a ZeroMQ context of its own, so that what strangers do to it does not touch the workers' messages. A figure that cannot be packed or sent is lost, never an error.
 * Thread: all functions the loop's; one more thread owns the socket. A NULL status (cluster.status: none) is fine everywhere.
 */
#include "common/config.h"
#include "common/evaluation.h"
#include "common/keys.h"
#include "common/log.h"
#include "ps/coordinator.h"

#include <stdint.h>

#define PS_STATUS_SNAPSHOTS_MAX 32
#define PS_STATUS_EVENTS_MAX 64
#define PS_STATUS_INTERVAL_US 1000000

enum ps_status_state {
    PS_STATUS_WAITING,
    PS_STATUS_RESTORING,
    PS_STATUS_TRAINING,
    PS_STATUS_VALIDATING,
    PS_STATUS_SAVING,
};

/* Texts are borrowed for the call; times are of the monotonic clock, in microseconds; 0 = not known, for all values. */
struct ps_status_worker {
    uint32_t rank, pid, threads;
    const char *host;
    int64_t joined_us, heard_us;
    uint64_t slots;
    double samples_per_second;
    int64_t staleness;
    uint64_t memory, sent, received; /* bytes */
    const char *doing;               /* idle, pulling, computing, pushing */
    double wait_share;
};

struct ps_status_server {
    uint32_t rank, pid;
    const char *host, *endpoint;
    int64_t heard_us;
    uint64_t blocks, parameter_bytes;
    int64_t version;
    uint64_t queue;
    double update_seconds;
    uint64_t memory, sent, received; /* bytes */
    uint64_t dropped;
};

/* What the loop knows at one moment, from its cores. */
struct ps_status_view {
    enum ps_status_state state;
    int64_t step, total_steps, steps_per_epoch;
    double best_value; /* NaN = none yet */
    int64_t best_step;
    const struct ps_status_worker *workers; /* in order of rank */
    int worker_count;
    const struct ps_status_server *servers; /* in order of rank */
    int server_count;
    uint64_t lost_workers, rollbacks, refused;
};

/* Borrowed pointers outlive the status. */
struct ps_status_options {
    const struct sl_config *config;
    const struct sl_keys *keys; /* NULL = not encrypted */
    uint64_t config_hash, parameters;
};

struct ps_status;

/* ps_status_open binds cluster.status and writes RUN/status.json; NULL in *ret_status when that is `none`. Errors: FAILED when the endpoint cannot be bound,
 * KEYS, DISK, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_status_open(
        struct ps_status **ret_status, const struct ps_status_options *options, struct sl_error *err);

/* ps_status_close publishes a last Status with state finished (exit_code as the command's), writes the end into RUN/status.json and waits up to half a second for what is
 * under way. Call it before the process's other sockets close; on an early failure too. */
void ps_status_close(struct ps_status *status, int exit_code, const char *reason);

/* Something happened: published at once, and part of every later Status. */
void ps_status_step(struct ps_status *status, const struct ps_step_record *record);
void ps_status_validation(struct ps_status *status, int64_t step, int64_t epoch, double seconds, bool best,
        const struct sl_evaluation *evaluation);
void ps_status_snapshot(struct ps_status *status, int64_t step, uint64_t size, bool best, double seconds);
void ps_status_event(
        struct ps_status *status, int64_t step, enum sl_log_level level, const char *name, const char *text);

/* ps_status_update publishes all of it. ps_status_due_us: when the next is due, on the monotonic clock; a validation or snapshot makes it due at once, a NULL
 * status never. */
void ps_status_update(struct ps_status *status, const struct ps_status_view *view, int64_t now_us);
int64_t ps_status_due_us(const struct ps_status *status);

/* ps_status_endpoint borrows the bound address with its real port, "" for NULL. */
const char *ps_status_endpoint(const struct ps_status *status);
