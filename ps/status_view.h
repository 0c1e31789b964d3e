#pragma once
/* From the coordinator's core to a view for the status. For the loop. */
#include "ps/coordinator.h"
#include "ps/status.h"

/* What a view's lists borrow from. Zero to begin; kept from one view to the next. */
struct ps_status_members {
    struct ps_status_worker *workers;
    struct ps_status_server *servers;
    struct ps_member_memory *now, *before; /* reports of this view and the last, in order of rank */
    int worker_capacity, server_capacity, before_count;
};
void ps_status_members_fini(struct ps_status_members *members);

/* ps_status_view fills what the coordinator knows; slot_size is in samples; `refused`, and blocks and parameter bytes of servers, are left to the caller. When memory is out the lists are empty. */
void ps_status_view(struct ps_status_view *ret_view, struct ps_status_members *members,
        const struct ps_coordinator *coordinator, int slot_size);
