#pragma once
/* Workers that asked a server for a version that does not stand yet: one entry each, for a worker waits for one version at a time. */
#include "common/error.h"
#include "common/outbox.h"

#define PS_WAITING_MAX 8192 /* more than the coordinator takes workers */

struct ps_waiting_pull {
    struct sl_address from;
    int64_t version; /* that it waits for */
    int64_t held;    /* that it has, -1 = none */
};

/* All zero is an empty list. */
struct ps_waiting {
    struct ps_waiting_pull *pulls; /* (count,) */
    int count, capacity;
};

void ps_waiting_fini(struct ps_waiting *waiting);
/* ps_waiting_put replaces what `from` waited for before. Errors: USAGE for more than PS_WAITING_MAX workers, NO_MEMORY; the list is as before then. */
SL_MUST_USE enum sl_status ps_waiting_put(
        struct ps_waiting *waiting, struct ps_waiting_pull pull, struct sl_error *err);
void ps_waiting_remove(struct ps_waiting *waiting, struct sl_address from);
/* ps_waiting_forget removes all who wait for that version or an older one. */
void ps_waiting_forget(struct ps_waiting *waiting, int64_t version);
