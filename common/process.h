#pragma once
/* What a process of the cluster says of itself: who it is, where it runs, how much memory it holds. */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/* sl_process_draw gives a random number that is not 0: an incarnation, the mark of a run. Errors: FAILED. */
SL_MUST_USE enum sl_status sl_process_draw(uint64_t *ret_number, struct sl_error *err);
/* sl_process_host writes the machine's name, cut to fit; "unknown" when it has none. */
void sl_process_host(char *host, size_t size);
/* sl_process_memory gives the bytes resident, 0 when the system does not tell. */
uint64_t sl_process_memory(void);
