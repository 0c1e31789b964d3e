/* Blocks over servers: see placement.h. */
#include "common/placement.h"

#include "common/message.h"

#include <assert.h>

void sl_placement_make(const struct sl_layout *layout, int servers, int *ret_owners)
{
    assert(servers >= 1 && servers <= SL_SERVERS_MAX);
    size_t loads[SL_SERVERS_MAX] = {0}; /* floats */
    for (int b = 0; b < layout->block_count; b++) {
        int least = 0;
        for (int s = 1; s < servers; s++)
            if (loads[s] < loads[least])
                least = s;
        ret_owners[b] = least;
        loads[least] += layout->blocks[b].count;
    }
}
