/* The reduction tree of each block: see reduction.h. */
#include "ps/reduction.h"

#include "common/memory.h"
#include "common/mutant.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

/* A subtree's sums. */
struct part {
    struct sl_node node;
    struct sl_frame frames[SL_TAGS];
};

/* One block: the disjoint subtrees that wait for their siblings, and which slots are in. */
struct forest {
    struct part *parts;
    int count, capacity;
    struct sl_frame more[SL_TAGS]; /* of the root, what is still to be added to its frames */
    struct sl_frame
            from[SL_TAGS]; /* of these, what it is added to instead: the frame is for the sum alone then */
    uint64_t *covered;     /* one bit for each slot */
    bool dropped;
};

struct ps_reduction {
    const struct sl_layout *layout;
    struct forest *forests; /* (block_count,) */
    uint64_t *covered;      /* of all forests */
    uint32_t slots, max_slots;
    size_t words; /* of a forest's covered */
    struct sl_team *team;
};

static void release(struct sl_frame frames[SL_TAGS])
{
    for (int tag = 0; tag < SL_TAGS; tag++) {
        sl_buffer_release(frames[tag].buffer);
        frames[tag] = (struct sl_frame){0};
    }
}

static void clear(struct forest *forest)
{
    for (int i = 0; i < forest->count; i++)
        release(forest->parts[i].frames);
    forest->count = 0;
    release(forest->more);
    release(forest->from);
}

enum sl_status ps_reduction_create(struct ps_reduction **ret_reduction, const struct sl_layout *layout,
        uint32_t max_slots, struct sl_error *err)
{
    assert(max_slots >= 1 && max_slots <= SL_SLOTS_MAX);
    SL_AUTO(ps_reduction_destroy_auto) struct ps_reduction *reduction = sl_alloc(1, sizeof(*reduction));
    if (reduction == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the reduction");
    size_t blocks = (size_t)layout->block_count;
    reduction->layout = layout;
    reduction->max_slots = max_slots;
    reduction->words = ((size_t)max_slots + 63) / 64;
    reduction->forests = sl_alloc(blocks, sizeof(*reduction->forests));
    reduction->covered = sl_alloc(blocks * reduction->words, sizeof(*reduction->covered));
    if (reduction->forests == NULL || reduction->covered == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the reduction of %zu blocks", blocks);
    for (size_t b = 0; b < blocks; b++)
        reduction->forests[b].covered = reduction->covered + b * reduction->words;
    ps_reduction_reset(reduction, max_slots);
    *ret_reduction = SL_TAKE(reduction);
    return SL_OK;
}

void ps_reduction_destroy(struct ps_reduction *reduction)
{
    if (reduction == NULL)
        return;
    for (int b = 0; reduction->forests != NULL && b < reduction->layout->block_count; b++) {
        clear(&reduction->forests[b]);
        sl_free(reduction->forests[b].parts);
    }
    sl_free(reduction->forests);
    sl_free(reduction->covered);
    sl_free(reduction);
}

void ps_reduction_destroy_auto(struct ps_reduction **reduction)
{
    ps_reduction_destroy(*reduction);
}

void ps_reduction_reset(struct ps_reduction *reduction, uint32_t slots)
{
    assert(slots >= 1 && slots <= reduction->max_slots);
    reduction->slots = slots;
    size_t blocks = (size_t)reduction->layout->block_count;
    memset(reduction->covered, 0, blocks * reduction->words * sizeof(*reduction->covered));
    for (size_t b = 0; b < blocks; b++) {
        clear(&reduction->forests[b]);
        reduction->forests[b].dropped = false;
    }
}

/* check refuses what does not fit the step or the block. */
static enum sl_status check(const struct ps_reduction *reduction, uint32_t b, struct sl_node node,
        const struct sl_frame frames[SL_TAGS], struct sl_error *err)
{
    if (b >= (uint32_t)reduction->layout->block_count)
        return sl_fail(err, SL_BAD_DATA, "push: there is no block %u", b);
    if (node.level > 31 || !sl_tree_node_valid(reduction->slots, node))
        return sl_fail(err, SL_BAD_DATA, "push: there is no node %u of level %u in a step of %u slots",
                node.index, node.level, reduction->slots);
    const struct sl_block *block = &reduction->layout->blocks[b];
    for (int tag = 0; tag < SL_TAGS; tag++) {
        if (frames[tag].buffer == NULL)
            continue;
        if (!block->tagged[tag] || frames[tag].size != block->count * sizeof(float))
            return sl_fail(err, SL_BAD_DATA, "push: block %u has %zu bytes of that tag, not %zu", b,
                    block->tagged[tag] ? block->count * sizeof(float) : 0, frames[tag].size);
    }
    return SL_OK;
}

static bool is_covered(const struct forest *forest, uint32_t slot)
{
    return (forest->covered[slot / 64] >> slot % 64 & 1) != 0;
}

/* cover marks a node's slots; false when all of them were marked before. */
static bool cover(struct forest *forest, uint32_t slots, struct sl_node node)
{
    bool new = false;
    for (uint32_t slot = sl_tree_begin(node); slot < sl_tree_end(slots, node); slot++) {
        new |= !is_covered(forest, slot);
        forest->covered[slot / 64] |= (uint64_t)1 << slot % 64;
    }
    return new;
}

static bool exclusive(const struct sl_frame *frame)
{
    return !frame->buffer->read_only &&
           atomic_load_explicit(&frame->buffer->references, memory_order_acquire) == 1 &&
           (uintptr_t)frame->data % alignof(float) == 0;
}

static enum sl_status no_memory(size_t size, struct sl_error *err)
{
    return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu bytes of gradients", size);
}

/* align gives the frame a buffer of its own where its bytes do not lie on a float's boundary in the message that brought them. */
static enum sl_status align(struct sl_frame *frame, struct sl_error *err)
{
    if ((uintptr_t)frame->data % alignof(float) == 0)
        return SL_OK;
    struct sl_buffer *copy = sl_buffer_create_unset(frame->size);
    if (copy == NULL)
        return no_memory(frame->size, err);
    memcpy(copy->data, frame->data, frame->size);
    sl_buffer_release(frame->buffer);
    *frame = (struct sl_frame){copy, copy->data, copy->size};
    return SL_OK;
}

/* make_ready lets left take the sum of both, which is done later; right is empty where there is nothing to add. Addition commutes bit for
 * bit, so that it may go into the buffer that is free for it. Where others hold both, left becomes room for the sum, and *ret_from what it was. */
static enum sl_status make_ready(
        struct sl_frame *left, struct sl_frame *right, struct sl_frame *ret_from, struct sl_error *err)
{
    if (right->buffer == NULL)
        return SL_OK;
    if (left->buffer == NULL || (!exclusive(left) && exclusive(right))) {
        struct sl_frame swap = *left;
        *left = *right;
        *right = swap;
    }
    if (right->buffer == NULL)
        return SL_OK;
    enum sl_status s = align(left, err);
    if (s == SL_OK)
        s = align(right, err);
    if (s != SL_OK || exclusive(left))
        return s;
    struct sl_buffer *room = sl_buffer_create_unset(left->size);
    if (room == NULL)
        return no_memory(left->size, err);
    *ret_from = *left;
    *left = (struct sl_frame){room, room->data, room->size};
    return SL_OK;
}

#define ADD_PART 65536 /* floats: enough to be worth a thread's while */

struct adding {
    float *sum;
    const float *from, *more; /* from NULL = the sum itself */
    size_t count;
};

static void add_part(void *context, int part, int member)
{
    (void)member;
    const struct adding *adding = context;
    size_t begin = (size_t)part * ADD_PART, left = adding->count - begin;
    size_t now = left < ADD_PART ? left : ADD_PART;
    if (adding->from == NULL)
        sl_vector_add(adding->sum + begin, adding->more + begin, now);
    else
        sl_vector_sum(adding->sum + begin, adding->from + begin, adding->more + begin, now);
}

/* The frame's view is const for those who share it; after make_ready nobody does. */
static float *writable(const struct sl_frame *frame)
{
    return (float *)(uintptr_t)frame->data;
}

/* add does what make_ready prepared and empties from and right. */
static void add(struct sl_team *team, struct sl_frame *left, struct sl_frame *from, struct sl_frame *right)
{
    if (right->buffer == NULL)
        return;
    struct adding adding = {writable(left), from->data, right->data, right->size / sizeof(float)};
    sl_team_run(team, (int)((adding.count + ADD_PART - 1) / ADD_PART), add_part, &adding);
    sl_buffer_release(from->buffer);
    sl_buffer_release(right->buffer);
    *from = *right = (struct sl_frame){0};
}

static struct part *find(struct forest *forest, struct sl_node node)
{
    for (int i = 0; i < forest->count; i++)
        if (sl_tree_equal(forest->parts[i].node, node))
            return &forest->parts[i];
    return NULL;
}

/* remove_below drops the parts that a wider node replaces. */
static void remove_below(struct forest *forest, struct sl_node node)
{
    for (int i = forest->count - 1; i >= 0; i--) {
        struct sl_node below = forest->parts[i].node;
        if (below.level >= node.level || below.index >> (node.level - below.level) != node.index)
            continue;
        release(forest->parts[i].frames);
        forest->parts[i] = forest->parts[--forest->count];
    }
}

/* join makes part the sum of both; of the last two what is to be added is kept. */
static enum sl_status join(struct ps_reduction *reduction, struct forest *forest, struct part *part,
        struct part *other, bool last, struct sl_error *err)
{
    for (int tag = 0; tag < SL_TAGS; tag++) {
        struct sl_frame from = {0};
        enum sl_status s = make_ready(&part->frames[tag], &other->frames[tag], &from, err);
        if (s != SL_OK)
            return s;
        if (last) {
            sl_buffer_release(forest->more[tag].buffer);
            sl_buffer_release(forest->from[tag].buffer);
            forest->more[tag] = other->frames[tag];
            forest->from[tag] = from;
            other->frames[tag] = (struct sl_frame){0};
        } else {
            add(reduction->team, &part->frames[tag], &from, &other->frames[tag]);
        }
    }
    return SL_OK;
}

/* climb joins the part with its siblings as long as they are there, and keeps it where it must wait. The part
 * is emptied. The addition that yields the root is left for later. */
static enum sl_status climb(
        struct ps_reduction *reduction, struct forest *forest, struct part *part, struct sl_error *err)
{
    uint32_t slots = reduction->slots, root = sl_tree_levels(slots);
    enum sl_status s = SL_OK;
    while (s == SL_OK && part->node.level < root) {
        struct sl_node sibling = sl_tree_sibling(part->node), parent = sl_tree_parent(part->node);
        if (sl_tree_node_valid(slots, sibling)) {
            struct part *other = find(forest, sibling);
            if (other == NULL)
                break;
            s = join(reduction, forest, part, other, parent.level == root, err);
            release(other->frames);
            *other = forest->parts[--forest->count];
        }
        part->node = parent;
    }
    forest->parts[forest->count++] = *part;
    *part = (struct part){0};
    return s;
}

static enum sl_status reserve(struct forest *forest, struct sl_error *err)
{
    if (forest->count < forest->capacity)
        return SL_OK;
    int capacity = forest->capacity == 0 ? 4 : 2 * forest->capacity;
    struct part *parts = sl_realloc(forest->parts, (size_t)capacity, sizeof(*parts));
    if (parts == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d parts of a block", capacity);
    forest->parts = parts;
    forest->capacity = capacity;
    return SL_OK;
}

enum sl_status ps_reduction_push(struct ps_reduction *reduction, uint32_t block, struct sl_node node,
        struct sl_frame frames[SL_TAGS], struct sl_error *err)
{
    struct part part = {.node = node};
    memcpy(part.frames, frames, sizeof(part.frames));
    memset(frames, 0, sizeof(part.frames));
    enum sl_status s = check(reduction, block, node, part.frames, err);
    if (s == SL_OK)
        s = reserve(&reduction->forests[block], err);
    if (s == SL_OK && !cover(&reduction->forests[block], reduction->slots, node) &&
            !sl_mutant("server: a push counts twice"))
        s = sl_fail(err, SL_STALE, "push: node %u of level %u is in already for block %u", node.index,
                node.level, block);
    if (s == SL_OK) {
        remove_below(&reduction->forests[block], node);
        s = climb(reduction, &reduction->forests[block], &part, err);
    }
    release(part.frames);
    return s;
}

bool ps_reduction_whole(const struct ps_reduction *reduction, int block)
{
    const struct forest *forest = &reduction->forests[block];
    return forest->dropped ||
           (forest->count == 1 && sl_tree_equal(forest->parts[0].node, sl_tree_root(reduction->slots)));
}

static struct forest *whole_forest(const struct ps_reduction *reduction, int block)
{
    struct forest *forest = &reduction->forests[block];
    assert(!forest->dropped && ps_reduction_whole(reduction, block));
    return forest;
}

struct ps_last_sum ps_reduction_last(const struct ps_reduction *reduction, int block)
{
    const struct forest *forest = whole_forest(reduction, block);
    struct ps_last_sum last;
    for (int tag = 0; tag < SL_TAGS; tag++) {
        /* climb made sure that nobody shares a sum with something to add */
        last.sum[tag] = writable(&forest->parts[0].frames[tag]);
        last.more[tag] = forest->more[tag].data;
        last.from[tag] = forest->from[tag].data;
    }
    return last;
}

void ps_reduction_joined(struct ps_reduction *reduction, int block)
{
    struct forest *forest = whole_forest(reduction, block);
    release(forest->more);
    release(forest->from);
}

void ps_reduction_peek(struct ps_reduction *reduction, int block, const float *ret_grads[SL_TAGS])
{
    struct forest *forest = whole_forest(reduction, block);
    for (int tag = 0; tag < SL_TAGS; tag++) {
        add(reduction->team, &forest->parts[0].frames[tag], &forest->from[tag], &forest->more[tag]);
        ret_grads[tag] = forest->parts[0].frames[tag].data;
    }
}

void ps_reduction_use_team(struct ps_reduction *reduction, struct sl_team *team)
{
    reduction->team = team;
}

void ps_reduction_drop(struct ps_reduction *reduction, int block)
{
    assert(ps_reduction_whole(reduction, block));
    clear(&reduction->forests[block]);
    reduction->forests[block].dropped = true;
}

int ps_reduction_held(const struct ps_reduction *reduction)
{
    int held = 0;
    for (int b = 0; b < reduction->layout->block_count; b++)
        for (int i = 0; i < reduction->forests[b].count; i++)
            for (int tag = 0; tag < SL_TAGS; tag++)
                held += reduction->forests[b].parts[i].frames[tag].buffer != NULL;
    for (int b = 0; b < reduction->layout->block_count; b++)
        for (int tag = 0; tag < SL_TAGS; tag++)
            held += (reduction->forests[b].more[tag].buffer != NULL) +
                    (reduction->forests[b].from[tag].buffer != NULL);
    return held;
}
