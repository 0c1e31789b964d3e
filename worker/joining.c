/* Sums of slots, block by block: see joining.h. The additions happen outside the lock. */
#include "worker/joining.h"

#include "common/memory.h"
#include "worker/gradient_pool.h"

#include <pthread.h>
#include <string.h>

/* What a slot's backward pass fills, and later the sums of the nodes that begin with the slot. */
struct entry {
    struct sl_buffer *gradients; /* NULL = not begun, or added to a left sibling whole, or folded */
    int uses; /* blocks that are trained and were not added to a left sibling, and the slot's own pass */
};

struct waiting {
    bool present;
    struct wk_node_sums sums;
};

struct wk_joining {
    const struct sl_layout *layout;
    uint32_t max_slots, slots;
    const struct sl_node *cuts;
    int cut_count;
    pthread_mutex_t lock;
    struct entry *entries;  /* (max_slots,) */
    unsigned char *waiting; /* (places, block_count): the block is whole there, its sibling's is not */
    struct waiting *done;   /* (places,): all slots there are done, those of the sibling are not */
};

enum sl_status wk_joining_create(struct wk_joining **ret_joining, const struct sl_layout *layout,
        uint32_t max_slots, struct sl_error *err)
{
    struct wk_joining *j = sl_alloc(1, sizeof(*j));
    if (j == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for joining gradients");
    j->layout = layout;
    j->max_slots = max_slots;
    (void)pthread_mutex_init(&j->lock, NULL);
    j->entries = sl_alloc(max_slots, sizeof(*j->entries));
    j->waiting = sl_alloc(sl_tree_places(max_slots), (size_t)layout->block_count);
    j->done = sl_alloc(sl_tree_places(max_slots), sizeof(*j->done));
    if (j->entries == NULL || j->waiting == NULL || j->done == NULL) {
        wk_joining_destroy(j);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for joining the gradients of %u slots", max_slots);
    }
    *ret_joining = j;
    return SL_OK;
}

void wk_joining_destroy(struct wk_joining *j)
{
    if (j == NULL)
        return;
    if (j->entries != NULL && j->waiting != NULL && j->done != NULL)
        wk_joining_clear(j);
    sl_free(j->entries);
    sl_free(j->waiting);
    sl_free(j->done);
    (void)pthread_mutex_destroy(&j->lock);
    sl_free(j);
}

void wk_joining_begin(struct wk_joining *j, uint32_t slots, const struct sl_node *cuts, int cut_count)
{
    j->slots = slots;
    j->cuts = cuts;
    j->cut_count = cut_count;
}

void wk_joining_clear(struct wk_joining *j)
{
    for (uint32_t s = 0; s < j->max_slots; s++) {
        sl_buffer_release(j->entries[s].gradients);
        j->entries[s] = (struct entry){0};
    }
    memset(j->waiting, 0, (size_t)sl_tree_places(j->max_slots) * (size_t)j->layout->block_count);
    memset(j->done, 0, (size_t)sl_tree_places(j->max_slots) * sizeof(*j->done));
}

void wk_joining_enter(struct wk_joining *j, uint32_t slot, struct sl_buffer **gradients)
{
    (void)pthread_mutex_lock(&j->lock);
    j->entries[slot] = (struct entry){SL_TAKE(*gradients), j->layout->trained_block_count + 1};
    (void)pthread_mutex_unlock(&j->lock);
}

static bool is_cut(const struct wk_joining *j, struct sl_node node)
{
    for (int i = 0; i < j->cut_count; i++)
        if (sl_tree_equal(j->cuts[i], node))
            return true;
    return false;
}

struct sl_buffer *wk_joining_left(struct wk_joining *j, uint32_t slot)
{
    struct sl_node node = {0, slot}, sibling = sl_tree_sibling(node);
    if (slot % 2 == 0 || is_cut(j, node))
        return NULL;
    (void)pthread_mutex_lock(&j->lock);
    bool done = j->done[sl_tree_place(j->slots, sibling)].present;
    (void)pthread_mutex_unlock(&j->lock);
    return done ? wk_joining_peek(j, sibling) : NULL;
}

struct sl_node wk_joining_cut(const struct wk_joining *j, uint32_t slot)
{
    struct sl_node node = {0, slot};
    while (!is_cut(j, node))
        node = sl_tree_parent(node);
    return node;
}

static unsigned char *place(struct wk_joining *j, struct sl_node node, int block)
{
    return &j->waiting[(size_t)sl_tree_place(j->slots, node) * (size_t)j->layout->block_count +
                       (size_t)block];
}

/* Whether the sibling's block is there: then both are taken; else this one waits. */
static bool meet(struct wk_joining *j, struct sl_node node, struct sl_node sibling, int block)
{
    (void)pthread_mutex_lock(&j->lock);
    unsigned char *theirs = place(j, sibling, block);
    bool there = *theirs != 0;
    *theirs = 0;
    if (!there)
        *place(j, node, block) = 1;
    (void)pthread_mutex_unlock(&j->lock);
    return there;
}

/* The last use of a slot's gradients releases them. A slot that has not entered (its scores alone are joined) has none. */
static void end_use(struct wk_joining *j, uint32_t slot)
{
    struct entry *entry = &j->entries[slot];
    struct sl_buffer *done = NULL;
    (void)pthread_mutex_lock(&j->lock);
    if (entry->uses > 0 && --entry->uses == 0)
        done = SL_TAKE(entry->gradients);
    (void)pthread_mutex_unlock(&j->lock);
    sl_buffer_release(done);
}

/* Left + right, into left. Nobody else looks at either block meanwhile. */
static void add_pair(struct wk_joining *j, struct sl_node parent, struct sl_node right, int block)
{
    struct sl_buffer *sum = wk_joining_peek(j, parent), *x = wk_joining_peek(j, right);
    if (x != NULL) /* else the slot's pass has added it */
        wk_gradient_add_block(j->layout, block, sum->data, x->data);
    end_use(j, sl_tree_begin(right));
}

bool wk_joining_add(struct wk_joining *j, uint32_t slot, int block)
{
    struct sl_node node = {0, slot};
    while (!is_cut(j, node)) {
        struct sl_node sibling = sl_tree_sibling(node), parent = sl_tree_parent(node);
        if (sl_tree_node_valid(j->slots, sibling)) { /* a missing leaf is skipped */
            if (!meet(j, node, sibling, block))
                return false;
            add_pair(j, parent, node.index % 2 == 0 ? sibling : node, block);
        }
        node = parent;
    }
    return true;
}

static void add_sums(struct wk_node_sums *left, const struct wk_node_sums *right)
{
    sl_spent_add(&left->spent, &right->spent);
    sl_step_stats_add(&left->stats, &right->stats);
    left->compute_us += right->compute_us;
}

bool wk_joining_deposit(struct wk_joining *j, uint32_t slot, struct wk_node_sums *sums)
{
    struct sl_node node = {0, slot};
    end_use(j, slot);
    for (; !is_cut(j, node); node = sl_tree_parent(node)) {
        struct sl_node sibling = sl_tree_sibling(node);
        if (!sl_tree_node_valid(j->slots, sibling))
            continue;
        struct waiting *other = &j->done[sl_tree_place(j->slots, sibling)];
        (void)pthread_mutex_lock(&j->lock);
        struct waiting theirs = *other;
        *other = (struct waiting){0};
        if (!theirs.present)
            j->done[sl_tree_place(j->slots, node)] = (struct waiting){true, *sums};
        (void)pthread_mutex_unlock(&j->lock);
        if (!theirs.present)
            return false;
        struct wk_node_sums left = node.index % 2 == 0 ? *sums : theirs.sums,
                            right = node.index % 2 == 0 ? theirs.sums : *sums;
        add_sums(&left, &right);
        *sums = left;
    }
    return true;
}

struct sl_buffer *wk_joining_peek(struct wk_joining *j, struct sl_node node)
{
    (void)pthread_mutex_lock(&j->lock);
    struct sl_buffer *gradients = j->entries[sl_tree_begin(node)].gradients;
    (void)pthread_mutex_unlock(&j->lock);
    return gradients;
}

struct sl_buffer *wk_joining_take(struct wk_joining *j, struct sl_node cut)
{
    (void)pthread_mutex_lock(&j->lock);
    struct sl_buffer *gradients = SL_TAKE(j->entries[sl_tree_begin(cut)].gradients);
    (void)pthread_mutex_unlock(&j->lock);
    return gradients;
}
