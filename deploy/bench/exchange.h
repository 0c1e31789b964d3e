#pragma once
/* Push + pull as a cluster does it, over processes: one server process with the real server core, table and reduction, and workers that push every block
 * of a step and pull the next version, all through wire.h: sockets, links, headers. What is left out is the model and the coordinator's decisions.
 *
 *     s = dp_exchange_open(&exchange, config, &options, err);
 *     struct dp_item item = {.work = dp_exchange_work, .context = exchange};       // one step of every worker
 *     … dp_exchange_bytes(exchange) / dp_item_seconds(&item) …
 *
 * A step: each worker pushes all blocks (one slot each) and asks for the version after the step; the server adds the workers' sums, measures them, updates
 * with plain SGD (w += c * sum: the least that a server may do), and answers with all blocks, which the worker copies into its parameters.
 *
 * The processes are forked from the caller, which must have no threads that hold locks at that time: open it before anything that starts threads.
 */
#include "common/config.h"
#include "deploy/bench/measure.h"

#include <stdbool.h>

#define DP_EXCHANGE_WORKERS_MAX 2

enum { DP_EXCHANGE_CPU }; /* part of the item: CPU seconds of all processes */

struct dp_exchange_options {
    const char *endpoint; /* that the server binds */
    size_t size;          /* bytes of a block */
    int blocks, workers;  /* at most DP_EXCHANGE_WORKERS_MAX */
    bool shared;          /* blocks stay where they are: shared memory */
    bool copies; /* the server does nothing but copy what is pushed, and answers with blocks of its own: the way alone */
};

struct dp_exchange;

/* dp_exchange_open starts the processes and waits until every worker has made a step. config: what table and core are made from, but for the optimiser;
 * borrowed for the call. Owns: *ret_exchange. Errors: FAILED, TIMEOUT, NO_MEMORY, what a process reports. */
SL_MUST_USE enum sl_status dp_exchange_open(struct dp_exchange **ret_exchange, const struct sl_config *config,
        const struct dp_exchange_options *options, struct sl_error *err);
void dp_exchange_close(struct dp_exchange *exchange); /* NULL is fine */
dp_work dp_exchange_work;                             /* context: struct dp_exchange */

/* dp_exchange_bytes is what one call carries there and back, each block counted once, of all workers together. */
double dp_exchange_bytes(const struct dp_exchange *exchange);
