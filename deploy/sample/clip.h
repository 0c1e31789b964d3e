#pragma once
/* One clip: drawn, encoded and put in its place.
 *
 *     enum sl_status s = dp_clip_make(&plan, "demo/videos/clip-000012.mp4", &drawn, err);
 */
#include "common/error.h"
#include "deploy/sample/plan.h"

#include <stdbool.h>

/* dp_clip_make writes the clip's video to path, whole or not at all, unless the file there is this clip already: then *ret_drawn is false.
 * Thread: any, one path per thread. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_clip_make(
        const struct dp_plan *plan, const char *path, bool *ret_drawn, struct sl_error *err);
