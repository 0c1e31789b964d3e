#pragma once
/* Which server owns which block: evenly by bytes, those that are trained and all together, a function of the layout and the number of servers alone, so that workers, servers and the
 * coordinator know it without being told.
 *
 *     sl_placement_make(layout, servers, owners);      // owners[block] is a rank
 */
#include "common/layout.h"

/* sl_placement_make gives every block, those that are trained before those that are frozen and else in order, to the server with the fewest bytes so far (of equal ones the lowest rank): no two servers
 * differ by more than a block, neither in what is pushed to them nor in what is pulled from them. A server without a trained block there is only when there are fewer of those than servers. Shapes: ret_owners (layout->block_count,). servers >= 1 (asserted). */
void sl_placement_make(const struct sl_layout *layout, int servers, int *ret_owners);
