#pragma once
/* Whether a process that finds no coordinator has come too late: the run has ended, and says so in RUN/status.json. It can be asked where the run's folder is shared, as under Slurm.
 *
 *     struct sl_late late;
 *     sl_late_begin(&late, config, config_hash, now);                    // whenever it begins to look for a coordinator
 *     if (sl_late_over(&late, now, reason, sizeof(reason))) …            // it may end, and well
 *
 * Nobody looks in the first seconds: a server that is started with it, to go on or to begin anew, takes the old word back first (sl_status_place_begin). Only an end with everything
 * done counts, and only of the same config: after any other a server may come again.
 */
#include "common/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_LATE_FIRST_US 5000000
#define SL_LATE_AGAIN_US 2000000

/* Borrows the folder's name. */
struct sl_late {
    const char *folder;
    uint64_t config_hash;
    int64_t look_us; /* when to look next */
};

void sl_late_begin(
        struct sl_late *late, const struct sl_config *config, uint64_t config_hash, int64_t now_us);
/* sl_late_over reads the file when it is time, and gives what the run said at its end. */
bool sl_late_over(struct sl_late *late, int64_t now_us, char *reason, size_t size);
