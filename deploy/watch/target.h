#pragma once
/* Which run a command means: a folder, an endpoint, or, when nothing is said, the one run below the current folder. */
#include "common/status_place.h"

/* dp_target finds it. text may be NULL. A folder that is no run itself is searched (NAME/status.json, NAME/NAME/status.json): the one run in it, or the one that has not ended.
 * Errors: NOT_FOUND, USAGE with a list of the runs when there are several, BAD_DATA, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_target(
        struct sl_status_place *ret_place, const char *text, struct sl_error *err);
