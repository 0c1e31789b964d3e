/* Links by address and by deadline: see link_set.h. */
#include "common/link_set.h"

#include "common/memory.h"

#include <assert.h>

#define SLOTS_MIN 16U

static uint32_t slot_of(const struct sl_link_set *set, struct sl_address peer)
{
    uint64_t mixed = (peer.id + (uint64_t)peer.role) * 0x9e3779b97f4a7c15ULL;
    return (uint32_t)(mixed >> 32) & (set->slot_count - 1);
}

static uint32_t next_slot(const struct sl_link_set *set, uint32_t slot)
{
    return (slot + 1) & (set->slot_count - 1);
}

static void insert(struct sl_link_set *set, struct sl_link *link)
{
    uint32_t slot = slot_of(set, link->peer);
    while (set->slots[slot] != NULL)
        slot = next_slot(set, slot);
    set->slots[slot] = link;
}

enum sl_status sl_link_set_reserve(struct sl_link_set *set, struct sl_error *err)
{
    if ((uint32_t)set->count < set->slot_count / 2)
        return SL_OK;
    uint32_t slot_count = set->slot_count == 0 ? SLOTS_MIN : 2 * set->slot_count;
    struct sl_link **slots = sl_alloc(slot_count, sizeof(*slots));
    struct sl_link **heap = slots == NULL ? NULL : sl_realloc(set->heap, slot_count / 2, sizeof(*heap));
    if (heap == NULL) {
        sl_free(slots);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u links", slot_count / 2);
    }
    sl_free(set->slots);
    set->slots = slots;
    set->slot_count = slot_count;
    set->heap = heap;
    for (int i = 0; i < set->count; i++)
        insert(set, heap[i]);
    return SL_OK;
}

/* ---- the heap ---- */

static void place(struct sl_link_set *set, int index, struct sl_link *link)
{
    set->heap[index] = link;
    link->heap_index = index;
}

static void sift_up(struct sl_link_set *set, struct sl_link *link)
{
    int index = link->heap_index;
    for (; index > 0 && set->heap[(index - 1) / 2]->due_us > link->due_us; index = (index - 1) / 2)
        place(set, index, set->heap[(index - 1) / 2]);
    place(set, index, link);
}

static void sift_down(struct sl_link_set *set, struct sl_link *link)
{
    int index = link->heap_index;
    for (;;) {
        int child = 2 * index + 1;
        if (child + 1 < set->count && set->heap[child + 1]->due_us < set->heap[child]->due_us)
            child++;
        if (child >= set->count || set->heap[child]->due_us >= link->due_us)
            break;
        place(set, index, set->heap[child]);
        index = child;
    }
    place(set, index, link);
}

void sl_link_set_move(struct sl_link_set *set, struct sl_link *link, int64_t due_us)
{
    link->due_us = due_us;
    sift_up(set, link);
    sift_down(set, link);
}

/* ---- both ---- */

void sl_link_set_add(struct sl_link_set *set, struct sl_link *link)
{
    assert((uint32_t)set->count < set->slot_count / 2 && sl_link_set_find(set, link->peer) == NULL);
    insert(set, link);
    set->count++;
    place(set, set->count - 1, link);
    sift_up(set, link);
}

struct sl_link *sl_link_set_find(const struct sl_link_set *set, struct sl_address peer)
{
    if (set->slot_count == 0)
        return NULL;
    uint32_t slot = slot_of(set, peer);
    while (set->slots[slot] != NULL && !sl_address_equal(set->slots[slot]->peer, peer))
        slot = next_slot(set, slot);
    return set->slots[slot];
}

struct sl_link *sl_link_set_first(const struct sl_link_set *set)
{
    return set->count > 0 ? set->heap[0] : NULL;
}

/* Frees the slot and moves back those that were pushed on by it: no gap may lie between a link and where it belongs. */
static void remove_slot(struct sl_link_set *set, struct sl_link *link)
{
    uint32_t gap = slot_of(set, link->peer);
    while (set->slots[gap] != link)
        gap = next_slot(set, gap);
    for (uint32_t slot = next_slot(set, gap); set->slots[slot] != NULL; slot = next_slot(set, slot)) {
        uint32_t home = slot_of(set, set->slots[slot]->peer), mask = set->slot_count - 1;
        if (((slot - home) & mask) >= ((slot - gap) & mask)) {
            set->slots[gap] = set->slots[slot];
            gap = slot;
        }
    }
    set->slots[gap] = NULL;
}

void sl_link_set_remove(struct sl_link_set *set, struct sl_link *link)
{
    remove_slot(set, link);
    struct sl_link *last = set->heap[--set->count];
    if (last == link)
        return;
    place(set, link->heap_index, last);
    sl_link_set_move(set, last, last->due_us);
}

void sl_link_set_fini(struct sl_link_set *set)
{
    sl_free(set->slots);
    sl_free(set->heap);
    *set = (struct sl_link_set){0};
}
