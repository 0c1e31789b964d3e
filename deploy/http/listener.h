#pragma once
/* A listening TCP socket from ADDRESS:PORT, with errors that say what to do. */
#include "common/error.h"

#include <stdbool.h>

#define DP_URL_MAX 128

/* dp_listen binds and listens; without a token only where nobody but this machine comes. ret_url: "http://ADDRESS:PORT/" with the real port. Shapes: ret_url has DP_URL_MAX bytes.
 * Owns: *ret_fd. Errors: USAGE when it is not ADDRESS:PORT or wants a token, FAILED when it is in use or may not be used. */
SL_MUST_USE enum sl_status dp_listen(
        int *ret_fd, char *ret_url, const char *bind_to, bool has_token, struct sl_error *err);
