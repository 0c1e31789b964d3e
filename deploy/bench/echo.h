#pragma once
/* A server of blocks on a thread of its own: each PUSH is answered by PARAMS of the same size. One connection
 * over one kind of endpoint, through the same sockets as training; and beside it a raw ZeroMQ pair that carries
 * bytes one way, as the limit.
 *
 *     s = dp_echo_open(&echo, "tcp://127.0.0.1:0", &load, err);
 *     struct dp_item item = {.work = dp_echo_work, .context = echo};      // load.messages there, as many back
 */
#include "deploy/bench/measure.h"

#include <stdbool.h>

/* What one call carries, one way. */
struct dp_load {
    size_t size;       /* bytes of a message */
    uint64_t messages; /* of one call */
    uint64_t window;   /* messages that may be on their way at a time */
    bool spread; /* each message of a call is of other memory, as blocks are, so that a large cache helps nobody; else all are of the same */
};

struct dp_echo;
struct dp_raw;

/* dp_echo_open binds, connects and waits until one block has gone there and back. tcp and ipc have a ZeroMQ
 * context for each side, as processes have; inproc has one for both. Owns: *ret_echo. Errors: FAILED, TIMEOUT,
 * NO_MEMORY. */
SL_MUST_USE enum sl_status dp_echo_open(
        struct dp_echo **ret_echo, const char *endpoint, const struct dp_load *load, struct sl_error *err);
void dp_echo_close(struct dp_echo *echo);
dp_work dp_echo_work; /* context: struct dp_echo */

/* The raw pair: zero-copy messages one after the other, received by a thread that throws them away. */
SL_MUST_USE enum sl_status dp_raw_open(
        struct dp_raw **ret_raw, const char *endpoint, const struct dp_load *load, struct sl_error *err);
void dp_raw_close(struct dp_raw *raw);
dp_work dp_raw_work; /* context: struct dp_raw */
