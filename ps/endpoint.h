#pragma once
/* Where a process may listen. */
#include "common/config.h"
#include "common/error.h"

/* ps_endpoint_check refuses an endpoint that other machines can reach when there are no keys and the config does not say cluster.insecure. key names the
 * value in the error, such as "cluster.coordinator". Errors: KEYS. */
SL_MUST_USE enum sl_status ps_endpoint_check(
        const struct sl_config *config, const char *key, const char *endpoint, struct sl_error *err);
