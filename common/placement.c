/* Blocks over servers: see placement.h. */
#include "common/placement.h"

#include "common/message.h"

#include <assert.h>

/* Shapes: loads (servers,), floats. */
static void place(const struct sl_layout *layout, bool frozen, int servers, size_t *loads, int *ret_owners)
{
    for (int b = 0; b < layout->block_count; b++) {
        int least = 0;
        if (layout->blocks[b].frozen != frozen)
            continue;
        for (int s = 1; s < servers; s++)
            if (loads[s] < loads[least])
                least = s;
        ret_owners[b] = least;
        loads[least] += layout->blocks[b].count;
    }
}

void sl_placement_make(const struct sl_layout *layout, int servers, int *ret_owners)
{
    assert(servers >= 1 && servers <= SL_SERVERS_MAX);
    size_t loads[SL_SERVERS_MAX] = {0};
    place(layout, false, servers, loads, ret_owners);
    place(layout, true, servers, loads, ret_owners);
}
