/* The reduction tree over slots: see tree.h. */
#include "common/tree.h"

#include <assert.h>

uint32_t sl_tree_levels(uint32_t slots)
{
    assert(slots > 0);
    uint32_t level = 0;
    while (((uint64_t)1 << level) < slots)
        level++;
    return level;
}

struct sl_node sl_tree_root(uint32_t slots)
{
    return (struct sl_node){sl_tree_levels(slots), 0};
}

bool sl_tree_node_valid(uint32_t slots, struct sl_node node)
{
    return node.level <= sl_tree_levels(slots) && (uint64_t)node.index << node.level < slots;
}

uint32_t sl_tree_begin(struct sl_node node)
{
    return node.index << node.level;
}

uint32_t sl_tree_end(uint32_t slots, struct sl_node node)
{
    uint64_t end = ((uint64_t)node.index + 1) << node.level;
    return end < slots ? (uint32_t)end : slots;
}

struct sl_node sl_tree_parent(struct sl_node node)
{
    return (struct sl_node){node.level + 1, node.index >> 1};
}

struct sl_node sl_tree_sibling(struct sl_node node)
{
    return (struct sl_node){node.level, node.index ^ 1U};
}

bool sl_tree_equal(struct sl_node a, struct sl_node b)
{
    return a.level == b.level && a.index == b.index;
}

struct sl_node sl_tree_cover(uint32_t slots, uint32_t begin, uint32_t end)
{
    assert(begin < end && end <= slots);
    struct sl_node node = {0, begin};
    uint32_t root = sl_tree_levels(slots);
    while (node.level < root && node.index % 2 == 0) {
        struct sl_node wider = sl_tree_parent(node);
        if (sl_tree_end(slots, wider) > end)
            break;
        node = wider;
    }
    return node;
}

uint32_t sl_tree_places(uint32_t slots)
{
    return 2U << sl_tree_levels(slots);
}

uint32_t sl_tree_place(uint32_t slots, struct sl_node node)
{
    return (1U << (sl_tree_levels(slots) - node.level)) + node.index;
}

void sl_vector_add(float *restrict sum, const float *restrict x, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        sum[i] += x[i];
}

void sl_vector_sum(float *restrict ret_sum, const float *a, const float *b, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        ret_sum[i] = a[i] + b[i];
}
