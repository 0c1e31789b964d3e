#pragma once
/* The reduction tree over the slots 0 … slots-1 of a step: always the same pairs, whoever computes them.
 *
 * Node (level, index) covers the slots [index << level, (index + 1) << level) that exist. Its sum is left child + right child; a child that
 * covers no slot is skipped. The root has the least level whose width is >= slots. Adding in this order is what makes
 * the bits of a step independent of the number of workers and servers.
 *
 *     struct sl_node node = sl_tree_cover(slots, begin, end);   // largest aligned node that starts at begin and fits into [begin, end)
 */
#include <stdbool.h>
#include <stdint.h>

struct sl_node {
    uint32_t level, index;
};

uint32_t sl_tree_levels(uint32_t slots); /* level of the root: 0 for one slot */
struct sl_node sl_tree_root(uint32_t slots);
bool sl_tree_node_valid(
        uint32_t slots, struct sl_node node); /* within the root and covers at least one slot */
uint32_t sl_tree_begin(struct sl_node node);
uint32_t sl_tree_end(uint32_t slots, struct sl_node node); /* one past the last existing slot */
struct sl_node sl_tree_parent(struct sl_node node);
struct sl_node sl_tree_sibling(struct sl_node node);
bool sl_tree_equal(struct sl_node a, struct sl_node b);

/* sl_tree_cover gives the largest node that begins at slot `begin` and covers no slot >= end. Repeating it from the node's end cuts any
 * run of slots into few aligned nodes. A node at the right edge may be wider than the slots that exist: it is still that node.
 * begin < end <= slots. */
struct sl_node sl_tree_cover(uint32_t slots, uint32_t begin, uint32_t end);

/* The nodes of a tree as places of an array, the root at 1 and the children of i at 2 i and 2 i + 1. sl_tree_places is the length of an array for
 * any tree of up to `slots` slots. */
uint32_t sl_tree_places(uint32_t slots);
uint32_t sl_tree_place(uint32_t slots, struct sl_node node);

/* sl_vector_add does sum[i] += x[i]: the addition of the tree, on workers and servers. Shapes: (count,). */
void sl_vector_add(float *restrict sum, const float *restrict x, uint64_t count);
/* sl_vector_sum does ret_sum[i] = a[i] + b[i]: the same where neither may be written. Shapes: (count,). */
void sl_vector_sum(float *restrict ret_sum, const float *a, const float *b, uint64_t count);
