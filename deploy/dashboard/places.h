#pragma once
/* Which runs there are below a folder, and where each one's status socket is.
 *
 *     s = dp_places_scan(places, &count, "runs", err);       // runs/a, runs/b, runs/old/c …
 *
 * A run is a folder with metrics.jsonl, status.json or config.resolved.yaml. The folder itself may be one; else folders in it, and in those. At most DP_PLACES_MAX,
 * the newest first. Names come from disk and may hold any byte but '/': whoever shows them escapes them.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/status_place.h"

#include <stdbool.h>

#define DP_PLACES_MAX 48
#define DP_PLACE_NAME_MAX 256

struct dp_place {
    char name
            [DP_PLACE_NAME_MAX]; /* its path below the root; the last part of the root's path when that is the run */
    char folder[SL_PATH_MAX];     /* "" when only the socket is known */
    double modified;              /* Unix seconds of its newest file of those above */
    struct sl_status_place where; /* its status socket and how it ended; endpoint "" while none is known */
};

/* dp_places_scan lists the runs. Shapes: places has DP_PLACES_MAX. Errors: NOT_FOUND when root is not there, FAILED when it cannot be read. An empty list is fine. */
SL_MUST_USE enum sl_status dp_places_scan(
        struct dp_place *places, int *ret_count, const char *root, struct sl_error *err);

/* dp_place_is_endpoint tells an endpoint (tcp://…, ipc://…) from a path. */
bool dp_place_is_endpoint(const char *text);
