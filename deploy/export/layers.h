#pragma once
/* What the model is made of, as nodes of an ONNX graph: linear layers, LayerNorm, GELU, attention, masked means. Each computes what the
 * kernel of the same name in worker/model computes, on padded samples with a mask instead of packed rows.
 *
 * Parameters become constants of the graph under their own names and with PyTorch's shapes; a linear layer transposes its weight in the
 * graph, which every runtime does once when it loads.
 */
#include "common/layout.h"
#include "deploy/export/graph.h"

/* What layers are built from. Borrowed. */
struct dp_source {
    struct dp_graph *graph;
    const struct sl_layout *layout;
    const float *params; /* (layout->count,) */
};

/* dp_layer_parameter makes a parameter, which must exist, a constant; the name is built as printf does. */
dp_value dp_layer_parameter(const struct dp_source *source, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* dp_layer_linear: y = x Wᵀ + b of NAME.weight and NAME.bias. Shapes: x (…, in), y (…, out). */
dp_value dp_layer_linear(const struct dp_source *source, dp_value x, const char *name);
/* dp_layer_classifier is dp_layer_linear for x (B, in). */
dp_value dp_layer_classifier(const struct dp_source *source, dp_value x, const char *name);

/* dp_layer_norm: LayerNorm of NAME.weight and NAME.bias over the last dimension; one node from opset 17 on, else its formula. */
dp_value dp_layer_norm(const struct dp_source *source, dp_value x, const char *name);

/* dp_layer_gelu: x (1 + erf(x / √2)) / 2. */
dp_value dp_layer_gelu(const struct dp_source *source, dp_value x);

/* dp_layer_feed_forward: linear FIRST, GELU, linear SECOND. */
dp_value dp_layer_feed_forward(
        const struct dp_source *source, dp_value x, const char *first, const char *second);

/* dp_layer_attention: softmax(q kᵀ / √(d / heads) + bias) v per head. Shapes: q (B, Q, d), k and v (B, C, d), bias (B, 1, 1, C) or NULL,
 * result (B, Q, d). */
dp_value dp_layer_attention(
        const struct dp_source *source, dp_value q, dp_value k, dp_value v, dp_value bias, int heads, int d);

/* dp_layer_mask_bias: 0 where mask, else a number that softmax takes for minus infinity. Shapes: mask (B, T) bool, result (B, 1, 1, T). */
dp_value dp_layer_mask_bias(const struct dp_source *source, dp_value mask);

/* dp_layer_masked_mean: the mean of the rows where mask. Shapes: x (B, T, d), mask (B, T) bool, result (B, d). */
dp_value dp_layer_masked_mean(const struct dp_source *source, dp_value x, dp_value mask);

/* dp_layer_first: row 0 of each sample; keep: as a dimension of size 1. Shapes: x (B, T, d), result (B, d) or (B, 1, d). */
dp_value dp_layer_first(const struct dp_source *source, dp_value x, bool keep);

/* dp_layer_extent: sizes `first` to `first + count - 1` of x's shape. Shapes: result (count,) int64. */
dp_value dp_layer_extent(const struct dp_source *source, dp_value x, int first, int count);

/* dp_layer_table_rows: the first n rows of a parameter. Shapes: n (1,) int64. */
dp_value dp_layer_table_rows(const struct dp_source *source, dp_value table, dp_value n);

/* dp_layer_concat joins values along an axis. */
dp_value dp_layer_concat(const struct dp_source *source, const dp_value *values, int count, int axis);
