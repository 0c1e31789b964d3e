/* Who came too late: see late.h. */
#include "common/late.h"

#include "common/memory.h"
#include "common/status_place.h"

#include <stdio.h>

void sl_late_begin(struct sl_late *late, const struct sl_config *config, uint64_t config_hash, int64_t now_us)
{
    *late = (struct sl_late){.folder = config->snapshots.dir,
            .config_hash = config_hash,
            .look_us = now_us + SL_LATE_FIRST_US};
}

bool sl_late_over(struct sl_late *late, int64_t now_us, char *reason, size_t size)
{
    if (now_us < late->look_us)
        return false;
    late->look_us = now_us + SL_LATE_AGAIN_US;
    SL_AUTO_FREE struct sl_status_place *place = sl_alloc(1, sizeof(*place));
    struct sl_error ignored = {0};
    if (place == NULL || sl_status_place_read(place, late->folder, &ignored) != SL_OK ||
            !sl_status_place_done(place, late->config_hash))
        return false;
    (void)snprintf(reason, size, "%s", place->reason);
    return true;
}
