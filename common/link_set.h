#pragma once
/* The links of links.h by address (a hash table) and by deadline (a heap): finding one and seeing that nothing is due cost the same for one and for
 * thousands. A deadline in the heap is never later than the link's own; one that has moved back is found out when its time comes. */
#include "common/link.h"

struct sl_link_set {
    struct sl_link **slots; /* (slot_count,), a power of two, open addressing; NULL = free */
    uint32_t slot_count;
    struct sl_link **heap; /* (count,) of slot_count / 2 */
    int count;
};

/* sl_link_set_reserve makes room for one more. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_link_set_reserve(struct sl_link_set *set, struct sl_error *err);
void sl_link_set_add(
        struct sl_link_set *set, struct sl_link *link); /* there must be room, and none of that address */
void sl_link_set_remove(struct sl_link_set *set, struct sl_link *link);
struct sl_link *sl_link_set_find(const struct sl_link_set *set, struct sl_address peer); /* or NULL */
struct sl_link *sl_link_set_first(const struct sl_link_set *set); /* of the least deadline, or NULL */
void sl_link_set_move(
        struct sl_link_set *set, struct sl_link *link, int64_t due_us); /* gives it another deadline */
void sl_link_set_fini(struct sl_link_set *set);                         /* the links are not its own */
