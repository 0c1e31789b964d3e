#pragma once
/* A worker process from start to end: opens its data, joins the core (core.h), the executor (executor.h) and the cluster's connections (common/wire.h), until training is
 * over. When the coordinator or a server is lost it joins again: dataset, model and compute threads stay.
 *
 *     enum sl_status s = wk_worker_run(&(struct wk_worker_options){.config = config, .coordinator = "tcp://10.0.0.1:5000", …}, err);
 *
 * Threads: the caller's runs the loop and owns the sockets; `threads` compute threads belong to the executor; ZeroMQ has one of its own.
 */
#include "common/config.h"
#include "common/error.h"

struct sl_transport;

struct wk_worker_options {
    const struct sl_config *config;
    const char *coordinator; /* endpoint */
    int threads;             /* compute threads, >= 1 */
    int signal_fd;           /* of sl_signals_open or sl_signals_pipe, -1 = none */
    struct sl_transport *
            transport; /* shared with a server in the same process (inproc://), then without keys; NULL = its own */
};

/* wk_worker_run returns when the coordinator says that training is over (OK), refuses (MISMATCH), does not let us in (KEYS), cannot be found for
 * cluster.join_ms (TIMEOUT), a signal comes (STOPPED), or something fails; err says what. */
SL_MUST_USE enum sl_status wk_worker_run(const struct wk_worker_options *options, struct sl_error *err);
