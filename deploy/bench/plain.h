#pragma once
/* Plain TCP sockets over loopback, without ZeroMQ: what the kernel's way alone can carry, one way. */
#include "deploy/bench/echo.h"

struct dp_plain;

/* dp_plain_open connects two sockets and starts a thread that reads into one buffer, again and again. load: as of the other benchmarks; window is not used.
 * Owns: *ret_plain. Errors: FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_plain_open(
        struct dp_plain **ret_plain, const struct dp_load *load, struct sl_error *err);
void dp_plain_close(struct dp_plain *plain); /* NULL is fine */
dp_work dp_plain_work; /* context: struct dp_plain. load.messages one way, answered by one byte */
