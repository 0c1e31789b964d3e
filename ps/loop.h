#pragma once
/* A server process from start to end. Rank 0 is the coordinator's process: both cores, the snapshots, the metrics, the terminal. The others have the server's core alone: no
 * files, no run folder; they join the coordinator, and join it again when it was lost.
 *
 *     enum sl_status s = ps_run(&(struct ps_run_options){.config = config, .resume = "auto", .signal_fd = fd, .ready_fd = -1}, &number, err);
 *
 * Threads: the caller's runs the loop, owns the sockets and the table; cluster.server_threads - 1 more help with the arithmetic of a step and sleep otherwise; one
 * more writes snapshots (rank 0); ZeroMQ has one of its own.
 */
#include "common/config.h"
#include "common/error.h"

struct sl_transport;

struct ps_run_options {
    const struct sl_config *config;
    int rank; /* 0 … cluster.servers - 1 */
    const char *
            resume; /* rank 0: "auto": the newest whole snapshot if there is one; "never"; or a snapshot's path */
    const char *coordinator; /* rank >= 1: where to find it; NULL = the config's */
    const char *
            bind; /* where to listen; NULL = the config's: cluster.coordinator for rank 0, cluster.bind for the others */
    const char *
            advertise; /* rank >= 1: the endpoint that workers are told, port 0 = the one that was bound; NULL = what was bound */
    int signal_fd; /* of sl_signals_open or sl_signals_pipe */
    bool stay; /* when training is over, stay until a signal and tell late workers, instead of returning */
    int ready_fd; /* the endpoint and a newline are written to it once peers may come; -1 = none. Closed in any case. */
    struct sl_transport *
            transport; /* shared with a worker in the same process (inproc://), then without keys; NULL = its own */
};

/* ps_run returns when training is over. Errors: STOPPED when a signal ended it (ret_signal says which; rank 0 has written a snapshot), DIVERGED, DISK, KEYS, BAD_DATA for
 * a snapshot that is damaged or of another model, USAGE, FAILED; rank >= 1 besides: MISMATCH when the coordinator refuses it, TIMEOUT when it cannot be found for cluster.join_ms. */
SL_MUST_USE enum sl_status ps_run(
        const struct ps_run_options *options, int *ret_signal, struct sl_error *err);
