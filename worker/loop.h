#pragma once
/* A worker process from start to end: opens its data, joins the core (core.h), the executor (executor.h) and a ZeroMQ socket, until training is over.
 *
 *     enum sl_status s = wk_worker_run(&(struct wk_worker_options){.config = config, .coordinator = "tcp://10.0.0.1:5000", …}, err);
 *
 * Threads: the caller's runs the loop and owns the socket; `threads` compute threads belong to the executor; ZeroMQ has one of its own.
 */
#include "common/config.h"
#include "common/error.h"

struct sl_transport;

struct wk_worker_options {
    const struct sl_config *config;
    const char *coordinator; /* endpoint */
    int threads;             /* compute threads, >= 1 */
    int signal_fd;           /* of sl_signals_open, -1 = none */
};

/* wk_worker_run returns when the coordinator says that training is over (OK), refuses (MISMATCH), does not let us in (KEYS), is silent (TIMEOUT), a signal comes (STOPPED), or
 * something fails; err says what. */
SL_MUST_USE enum sl_status wk_worker_run(const struct wk_worker_options *options, struct sl_error *err);
