#pragma once
/* A server process from start to end: the coordinator's and the server's core, a ZeroMQ socket, snapshots, metrics, the terminal.
 *
 *     enum sl_status s = ps_run(&(struct ps_run_options){.config = config, .resume = "auto", .signal_fd = fd, .ready_fd = -1}, &number, err);
 *
 * Threads: the caller's runs the loop, owns the socket and the table; one more writes snapshots; ZeroMQ has one of its own.
 */
#include "common/config.h"
#include "common/error.h"

struct ps_run_options {
    const struct sl_config *config;
    const char *resume; /* "auto": the newest whole snapshot if there is one; "never"; or a snapshot's path */
    int signal_fd;      /* of sl_signals_open */
    int ready_fd; /* the endpoint and a newline are written to it once workers may come; -1 = none. Closed then. */
};

/* ps_run trains until the config's end. Errors: STOPPED when a signal ended it (ret_signal says which; a snapshot is written), DIVERGED, DISK, KEYS, BAD_DATA for
 * a snapshot that is damaged or of another model, USAGE, FAILED. */
SL_MUST_USE enum sl_status ps_run(
        const struct ps_run_options *options, int *ret_signal, struct sl_error *err);
