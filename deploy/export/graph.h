#pragma once
/* An ONNX graph under construction: nodes, constants and the ends of it, with no idea of what they compute.
 *
 *     struct dp_graph *graph = NULL;
 *     s = dp_graph_create(&graph, 17, err);
 *     dp_graph_input(graph, "x", DP_ELEMENT_F32, (struct dp_dimension[]){{"batch", 0}, {NULL, 8}}, 2, NULL);
 *     dp_graph_scope(graph, "head");
 *     dp_value y = dp_graph_op(graph, "Relu", "x", NULL);
 *     dp_graph_output(graph, y, DP_ELEMENT_F32, …);
 *     s = dp_graph_finish(graph, "name", &proto, err);
 *
 * A value is its name in the graph, owned by the graph. The first allocation that fails sticks: later calls do
 * nothing and give "", and only dp_graph_finish is checked.
 */
#include "common/error.h"
#include "proto/onnx.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_GRAPH_NAME_MAX 256  /* bytes of a value's name with its 0 */
#define DP_GRAPH_INPUTS_MAX 16 /* inputs of one node */

enum dp_element { DP_ELEMENT_F32, DP_ELEMENT_U8, DP_ELEMENT_I64, DP_ELEMENT_BOOL };

typedef const char *dp_value;

struct dp_graph;

/* A dimension of an input or output: a number, or a name when it is known only at run time. */
struct dp_dimension {
    const char *name; /* NULL: size counts */
    int64_t size;
};

/* dp_graph_create begins an empty graph for an operator set. Owns: *ret_graph. */
SL_MUST_USE enum sl_status dp_graph_create(struct dp_graph **ret_graph, int opset, struct sl_error *err);
void dp_graph_destroy(struct dp_graph *graph);
void dp_graph_destroy_auto(struct dp_graph **graph);
int dp_graph_opset(const struct dp_graph *graph);

/* dp_graph_text copies a text into the graph's memory. */
const char *dp_graph_text(struct dp_graph *graph, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* dp_graph_scope sets what the names of the following nodes begin with, such as "extractor.text.layer.0". */
void dp_graph_scope(struct dp_graph *graph, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* dp_graph_op appends a node with one output and gives that. The inputs end with NULL. */
dp_value dp_graph_op(struct dp_graph *graph, const char *op, ... /* dp_value…, NULL */)
        __attribute__((sentinel));
/* dp_graph_op_list is dp_graph_op with the inputs in an array. */
dp_value dp_graph_op_list(struct dp_graph *graph, const char *op, const dp_value *inputs, int count);

/* dp_graph_attribute_… give the node appended last an attribute. name must live as long as the graph. */
void dp_graph_attribute_int(struct dp_graph *graph, const char *name, int64_t value);
void dp_graph_attribute_float(struct dp_graph *graph, const char *name, float value);
void dp_graph_attribute_ints(struct dp_graph *graph, const char *name, const int64_t *values, int count);

/* dp_graph_rename gives the output of the node appended last a name of its own. */
dp_value dp_graph_rename(struct dp_graph *graph, const char *name);

/* dp_graph_ints, _index and _scalar are constants: one-dimensional int64, an int64 without dimensions, a float without dimensions. The same
 * constant is stored once. */
dp_value dp_graph_ints(struct dp_graph *graph, const int64_t *values, int count);
dp_value dp_graph_index(struct dp_graph *graph, int64_t value);
dp_value dp_graph_scalar(struct dp_graph *graph, float value);
#define DP_INTS(graph, ...)                                                                                  \
    dp_graph_ints(graph, (const int64_t[]){__VA_ARGS__},                                                     \
            (int)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

/* dp_graph_tensor adds float values under a name; they are borrowed until the graph is destroyed. */
dp_value dp_graph_tensor(
        struct dp_graph *graph, const char *name, const float *values, const int64_t *shape, int rank);

/* dp_graph_input and dp_graph_output declare the ends. note is for people; NULL = none. */
dp_value dp_graph_input(struct dp_graph *graph, const char *name, enum dp_element element,
        const struct dp_dimension *dimensions, int rank, const char *note);
void dp_graph_output(struct dp_graph *graph, dp_value value, enum dp_element element,
        const struct dp_dimension *dimensions, int rank, const char *note);

/* dp_graph_finish borrows the message until the graph is destroyed; its tensors may be changed to lie outside.
 * Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_graph_finish(struct dp_graph *graph, const char *name,
        Shelflife__Onnx__GraphProto **ret_proto, struct sl_error *err);
/* dp_graph_alloc gives zeroed memory that lives as long as the graph, or NULL. */
void *dp_graph_alloc(struct dp_graph *graph, size_t count, size_t size);
