/* Layers as ONNX nodes: see layers.h. The patterns of GELU and LayerNorm are those that runtimes know how to fuse. */
#include "deploy/export/layers.h"

#include "worker/model/vector.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define MASKED (-1e30F) /* exp of it is 0, and a finite score added to it stays finite */

dp_value dp_layer_parameter(const struct dp_source *source, const char *format, ...)
{
    char name[2 * SL_PARAM_NAME_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    int index = sl_layout_find(source->layout, name);
    assert(index >= 0);
    const struct sl_param *param = &source->layout->params[index];
    return dp_graph_tensor(
            source->graph, param->name, source->params + param->offset, param->shape, param->rank);
}

dp_value dp_layer_linear(const struct dp_source *source, dp_value x, const char *name)
{
    struct dp_graph *graph = source->graph;
    dp_graph_scope(graph, "%s", name);
    dp_value weight = dp_graph_op(graph, "Transpose", dp_layer_parameter(source, "%s.weight", name), NULL);
    dp_graph_attribute_ints(graph, "perm", (const int64_t[]){1, 0}, 2);
    dp_value product = dp_graph_op(graph, "MatMul", x, weight, NULL);
    return dp_graph_op(graph, "Add", product, dp_layer_parameter(source, "%s.bias", name), NULL);
}

dp_value dp_layer_classifier(const struct dp_source *source, dp_value x, const char *name)
{
    struct dp_graph *graph = source->graph;
    dp_graph_scope(graph, "%s", name);
    dp_value y = dp_graph_op(graph, "Gemm", x, dp_layer_parameter(source, "%s.weight", name),
            dp_layer_parameter(source, "%s.bias", name), NULL);
    dp_graph_attribute_int(graph, "transB", 1);
    return y;
}

static dp_value row_mean(struct dp_graph *graph, dp_value x)
{
    dp_value mean = dp_graph_op(graph, "ReduceMean", x, NULL);
    dp_graph_attribute_ints(graph, "axes", (const int64_t[]){-1}, 1);
    return mean;
}

dp_value dp_layer_norm(const struct dp_source *source, dp_value x, const char *name)
{
    struct dp_graph *graph = source->graph;
    dp_graph_scope(graph, "%s", name);
    dp_value gamma = dp_layer_parameter(source, "%s.weight", name),
             beta = dp_layer_parameter(source, "%s.bias", name);
    if (dp_graph_opset(graph) >= 17) {
        dp_value y = dp_graph_op(graph, "LayerNormalization", x, gamma, beta, NULL);
        dp_graph_attribute_int(graph, "axis", -1);
        dp_graph_attribute_float(graph, "epsilon", WK_NORM_EPS);
        return y;
    }
    dp_value centred = dp_graph_op(graph, "Sub", x, row_mean(graph, x), NULL);
    dp_value square = dp_graph_op(graph, "Pow", centred, dp_graph_scalar(graph, 2.0F), NULL);
    dp_value variance =
            dp_graph_op(graph, "Add", row_mean(graph, square), dp_graph_scalar(graph, WK_NORM_EPS), NULL);
    dp_value normed = dp_graph_op(graph, "Div", centred, dp_graph_op(graph, "Sqrt", variance, NULL), NULL);
    return dp_graph_op(graph, "Add", dp_graph_op(graph, "Mul", normed, gamma, NULL), beta, NULL);
}

dp_value dp_layer_gelu(const struct dp_source *source, dp_value x)
{
    struct dp_graph *graph = source->graph;
    dp_value scaled = dp_graph_op(graph, "Div", x, dp_graph_scalar(graph, sqrtf(2.0F)), NULL);
    dp_value erf = dp_graph_op(graph, "Erf", scaled, NULL);
    dp_value shifted = dp_graph_op(graph, "Add", erf, dp_graph_scalar(graph, 1.0F), NULL);
    dp_value product = dp_graph_op(graph, "Mul", x, shifted, NULL);
    return dp_graph_op(graph, "Mul", product, dp_graph_scalar(graph, 0.5F), NULL);
}

dp_value dp_layer_feed_forward(
        const struct dp_source *source, dp_value x, const char *first, const char *second)
{
    dp_value hidden = dp_layer_gelu(source, dp_layer_linear(source, x, first));
    return dp_layer_linear(source, hidden, second);
}

/* (B, T, d) to (B, heads, T, d / heads), or with last to (B, heads, d / heads, T), as the right side of q kᵀ wants it. */
static dp_value split_heads(struct dp_graph *graph, dp_value x, int heads, int d, bool last)
{
    dp_value split = dp_graph_op(graph, "Reshape", x, DP_INTS(graph, 0, 0, heads, d / heads), NULL);
    dp_value y = dp_graph_op(graph, "Transpose", split, NULL);
    dp_graph_attribute_ints(
            graph, "perm", last ? (const int64_t[]){0, 2, 3, 1} : (const int64_t[]){0, 2, 1, 3}, 4);
    return y;
}

dp_value dp_layer_attention(
        const struct dp_source *source, dp_value q, dp_value k, dp_value v, dp_value bias, int heads, int d)
{
    struct dp_graph *graph = source->graph;
    q = split_heads(graph, q, heads, d, false);
    k = split_heads(graph, k, heads, d, true);
    v = split_heads(graph, v, heads, d, false);
    dp_value scores = dp_graph_op(graph, "MatMul", q, k, NULL);
    scores = dp_graph_op(graph, "Div", scores, dp_graph_scalar(graph, sqrtf((float)(d / heads))), NULL);
    if (bias != NULL)
        scores = dp_graph_op(graph, "Add", scores, bias, NULL);
    dp_value weights = dp_graph_op(graph, "Softmax", scores, NULL);
    dp_graph_attribute_int(graph, "axis", -1);
    dp_value mixed = dp_graph_op(graph, "MatMul", weights, v, NULL);
    dp_value rows = dp_graph_op(graph, "Transpose", mixed, NULL);
    dp_graph_attribute_ints(graph, "perm", (const int64_t[]){0, 2, 1, 3}, 4);
    return dp_graph_op(graph, "Reshape", rows, DP_INTS(graph, 0, 0, d), NULL);
}

dp_value dp_layer_mask_bias(const struct dp_source *source, dp_value mask)
{
    struct dp_graph *graph = source->graph;
    dp_value bias = dp_graph_op(
            graph, "Where", mask, dp_graph_scalar(graph, 0.0F), dp_graph_scalar(graph, MASKED), NULL);
    return dp_graph_op(graph, "Unsqueeze", bias, DP_INTS(graph, 1, 2), NULL);
}

static dp_value sum_rows(struct dp_graph *graph, dp_value x)
{
    dp_value sum = dp_graph_op(graph, "ReduceSum", x, DP_INTS(graph, 1), NULL);
    dp_graph_attribute_int(graph, "keepdims", 0);
    return sum;
}

dp_value dp_layer_masked_mean(const struct dp_source *source, dp_value x, dp_value mask)
{
    struct dp_graph *graph = source->graph;
    dp_value weight = dp_graph_op(graph, "Cast", mask, NULL);
    dp_graph_attribute_int(graph, "to", SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    weight = dp_graph_op(graph, "Unsqueeze", weight, DP_INTS(graph, 2), NULL);
    dp_value sum = sum_rows(graph, dp_graph_op(graph, "Mul", x, weight, NULL));
    return dp_graph_op(graph, "Div", sum, sum_rows(graph, weight), NULL);
}

dp_value dp_layer_first(const struct dp_source *source, dp_value x, bool keep)
{
    struct dp_graph *graph = source->graph;
    dp_value index = keep ? DP_INTS(graph, 0) : dp_graph_index(graph, 0);
    dp_value first = dp_graph_op(graph, "Gather", x, index, NULL);
    dp_graph_attribute_int(graph, "axis", 1);
    return first;
}

dp_value dp_layer_extent(const struct dp_source *source, dp_value x, int first, int count)
{
    struct dp_graph *graph = source->graph;
    int64_t indices[DP_GRAPH_INPUTS_MAX];
    assert(count <= DP_GRAPH_INPUTS_MAX);
    for (int i = 0; i < count; i++)
        indices[i] = first + i;
    dp_value shape = dp_graph_op(graph, "Shape", x, NULL);
    return dp_graph_op(graph, "Gather", shape, dp_graph_ints(graph, indices, count), NULL);
}

dp_value dp_layer_table_rows(const struct dp_source *source, dp_value table, dp_value n)
{
    struct dp_graph *graph = source->graph;
    return dp_graph_op(graph, "Slice", table, DP_INTS(graph, 0), n, DP_INTS(graph, 0), NULL);
}

dp_value dp_layer_concat(const struct dp_source *source, const dp_value *values, int count, int axis)
{
    dp_value joined = dp_graph_op_list(source->graph, "Concat", values, count);
    dp_graph_attribute_int(source->graph, "axis", axis);
    return joined;
}
