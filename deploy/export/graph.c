/* Nodes and constants into protobuf-c messages: see graph.h. Messages point into the graph's own allocations and, for parameters, into
 * the caller's: nothing is copied before the file is written. */
#include "deploy/export/graph.h"

#include "common/memory.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A list of pointers that grows. */
struct list {
    void **items;
    size_t count, capacity;
};

struct dp_graph {
    int opset;
    bool failed;       /* out of memory: sticks */
    struct list owned; /* everything that dp_graph_alloc gave */
    struct list nodes, tensors, inputs, outputs;
    char scope[DP_GRAPH_NAME_MAX];
    Shelflife__Onnx__GraphProto proto;
};

static bool append(struct dp_graph *graph, struct list *list, void *item)
{
    if (graph->failed || item == NULL) {
        graph->failed = true;
        return false;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        void **items = sl_realloc(list->items, capacity, sizeof(*items));
        if (items == NULL) {
            graph->failed = true;
            return false;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return true;
}

enum sl_status dp_graph_create(struct dp_graph **ret_graph, int opset, struct sl_error *err)
{
    struct dp_graph *graph = sl_alloc(1, sizeof(*graph));
    if (graph == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a graph");
    graph->opset = opset;
    shelflife__onnx__graph_proto__init(&graph->proto);
    *ret_graph = graph;
    return SL_OK;
}

void dp_graph_destroy(struct dp_graph *graph)
{
    if (graph == NULL)
        return;
    for (size_t i = 0; i < graph->owned.count; i++)
        sl_free(graph->owned.items[i]);
    sl_free(graph->owned.items);
    sl_free(graph->nodes.items);
    sl_free(graph->tensors.items);
    sl_free(graph->inputs.items);
    sl_free(graph->outputs.items);
    sl_free(graph);
}

void dp_graph_destroy_auto(struct dp_graph **graph)
{
    dp_graph_destroy(*graph);
}

int dp_graph_opset(const struct dp_graph *graph)
{
    return graph->opset;
}

void *dp_graph_alloc(struct dp_graph *graph, size_t count, size_t size)
{
    void *memory = graph->failed ? NULL : sl_alloc(count == 0 ? 1 : count, size);
    if (!append(graph, &graph->owned, memory)) {
        sl_free(memory);
        return NULL;
    }
    return memory;
}

static char *copy_text(struct dp_graph *graph, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = dp_graph_alloc(graph, size, 1);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

const char *dp_graph_text(struct dp_graph *graph, const char *format, ...)
{
    char text[DP_GRAPH_NAME_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const char *copy = copy_text(graph, text);
    return copy == NULL ? "" : copy;
}

void dp_graph_scope(struct dp_graph *graph, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(graph->scope, sizeof(graph->scope), format, args);
    va_end(args);
}

/* ---- nodes ---- */

dp_value dp_graph_op_list(struct dp_graph *graph, const char *op, const dp_value *inputs, int count)
{
    char name[2 * DP_GRAPH_NAME_MAX];
    Shelflife__Onnx__NodeProto *node = dp_graph_alloc(graph, 1, sizeof(*node));
    (void)snprintf(name, sizeof(name), "%s/%s_%zu", graph->scope, op, graph->nodes.count);
    char **in = dp_graph_alloc(graph, (size_t)count, sizeof(*in)),
         **out = dp_graph_alloc(graph, 1, sizeof(*out));
    char *own = copy_text(graph, name), *type = copy_text(graph, op);
    if (graph->failed)
        return "";
    shelflife__onnx__node_proto__init(node);
    for (int i = 0; i < count; i++)
        in[i] = (char *)inputs[i];
    out[0] = own;
    node->name = own;
    node->op_type = type;
    node->input = in;
    node->n_input = (size_t)count;
    node->output = out;
    node->n_output = 1;
    return append(graph, &graph->nodes, node) ? own : "";
}

dp_value dp_graph_op(struct dp_graph *graph, const char *op, ...)
{
    dp_value inputs[DP_GRAPH_INPUTS_MAX];
    int count = 0;
    va_list args;
    va_start(args, op);
    for (dp_value input; (input = va_arg(args, dp_value)) != NULL;) {
        assert(count < DP_GRAPH_INPUTS_MAX);
        inputs[count++] = input;
    }
    va_end(args);
    return dp_graph_op_list(graph, op, inputs, count);
}

dp_value dp_graph_rename(struct dp_graph *graph, const char *name)
{
    char *own = copy_text(graph, name);
    if (graph->failed)
        return "";
    Shelflife__Onnx__NodeProto *node = graph->nodes.items[graph->nodes.count - 1];
    node->output[0] = own;
    return own;
}

/* A fresh attribute of the node appended last, or NULL. */
static Shelflife__Onnx__AttributeProto *add_attribute(struct dp_graph *graph, const char *name)
{
    if (graph->failed)
        return NULL;
    Shelflife__Onnx__NodeProto *node = graph->nodes.items[graph->nodes.count - 1];
    Shelflife__Onnx__AttributeProto *attribute = dp_graph_alloc(graph, 1, sizeof(*attribute));
    Shelflife__Onnx__AttributeProto **list = dp_graph_alloc(graph, node->n_attribute + 1, sizeof(*list));
    if (graph->failed)
        return NULL;
    shelflife__onnx__attribute_proto__init(attribute);
    attribute->name = (char *)name;
    attribute->has_type = 1;
    for (size_t i = 0; i < node->n_attribute; i++)
        list[i] = node->attribute[i];
    list[node->n_attribute++] = attribute;
    node->attribute = list;
    return attribute;
}

void dp_graph_attribute_int(struct dp_graph *graph, const char *name, int64_t value)
{
    Shelflife__Onnx__AttributeProto *attribute = add_attribute(graph, name);
    if (attribute == NULL)
        return;
    attribute->type = SHELFLIFE__ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    attribute->has_i = 1;
    attribute->i = value;
}

void dp_graph_attribute_float(struct dp_graph *graph, const char *name, float value)
{
    Shelflife__Onnx__AttributeProto *attribute = add_attribute(graph, name);
    if (attribute == NULL)
        return;
    attribute->type = SHELFLIFE__ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    attribute->has_f = 1;
    attribute->f = value;
}

void dp_graph_attribute_ints(struct dp_graph *graph, const char *name, const int64_t *values, int count)
{
    int64_t *copy = dp_graph_alloc(graph, (size_t)count, sizeof(*copy));
    Shelflife__Onnx__AttributeProto *attribute = add_attribute(graph, name);
    if (attribute == NULL)
        return;
    memcpy(copy, values, (size_t)count * sizeof(*copy));
    attribute->type = SHELFLIFE__ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
    attribute->ints = copy;
    attribute->n_ints = (size_t)count;
}

/* ---- constants ---- */

static const Shelflife__Onnx__TensorProto *find_tensor(const struct dp_graph *graph, const char *name)
{
    for (size_t i = 0; i < graph->tensors.count; i++) {
        const Shelflife__Onnx__TensorProto *tensor = graph->tensors.items[i];
        if (strcmp(tensor->name, name) == 0)
            return tensor;
    }
    return NULL;
}

/* Adds a tensor whose bytes are borrowed, unless one of that name is there. Rank 0 is a scalar. */
static dp_value add_tensor(struct dp_graph *graph, const char *name, int type, const void *bytes, size_t size,
        const int64_t *shape, int rank)
{
    const Shelflife__Onnx__TensorProto *there = find_tensor(graph, name);
    if (there != NULL)
        return there->name;
    Shelflife__Onnx__TensorProto *tensor = dp_graph_alloc(graph, 1, sizeof(*tensor));
    int64_t *dims = dp_graph_alloc(graph, (size_t)rank, sizeof(*dims));
    char *own = copy_text(graph, name);
    if (graph->failed)
        return "";
    shelflife__onnx__tensor_proto__init(tensor);
    for (int i = 0; i < rank; i++)
        dims[i] = shape[i];
    tensor->name = own;
    tensor->dims = dims;
    tensor->n_dims = (size_t)rank;
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)bytes};
    return append(graph, &graph->tensors, tensor) ? own : "";
}

dp_value dp_graph_tensor(
        struct dp_graph *graph, const char *name, const float *values, const int64_t *shape, int rank)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    return add_tensor(graph, name, SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, values,
            count * sizeof(*values), shape, rank);
}

dp_value dp_graph_ints(struct dp_graph *graph, const int64_t *values, int count)
{
    char name[DP_GRAPH_NAME_MAX] = "constant";
    size_t length = strlen(name);
    for (int i = 0; i < count; i++)
        length += (size_t)snprintf(name + length, sizeof(name) - length, ".%lld", (long long)values[i]);
    assert(length < sizeof(name));
    int64_t *copy = dp_graph_alloc(graph, (size_t)count, sizeof(*copy)), shape = count;
    if (copy == NULL)
        return "";
    memcpy(copy, values, (size_t)count * sizeof(*copy));
    return add_tensor(graph, name, SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__INT64, copy,
            (size_t)count * sizeof(*copy), &shape, 1);
}

dp_value dp_graph_index(struct dp_graph *graph, int64_t value)
{
    int64_t *copy = dp_graph_alloc(graph, 1, sizeof(*copy));
    if (copy == NULL)
        return "";
    *copy = value;
    return add_tensor(graph, dp_graph_text(graph, "constant.index.%lld", (long long)value),
            SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__INT64, copy, sizeof(*copy), NULL, 0);
}

dp_value dp_graph_scalar(struct dp_graph *graph, float value)
{
    float *copy = dp_graph_alloc(graph, 1, sizeof(*copy));
    if (copy == NULL)
        return "";
    *copy = value;
    return add_tensor(graph, dp_graph_text(graph, "constant.f32.%.9g", (double)value),
            SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, copy, sizeof(*copy), NULL, 0);
}

/* ---- the ends ---- */

static Shelflife__Onnx__TensorShapeProto__Dimension *new_dimension(
        struct dp_graph *graph, const struct dp_dimension *from)
{
    Shelflife__Onnx__TensorShapeProto__Dimension *dimension = dp_graph_alloc(graph, 1, sizeof(*dimension));
    if (dimension == NULL)
        return NULL;
    shelflife__onnx__tensor_shape_proto__dimension__init(dimension);
    if (from->name != NULL) {
        dimension->value_case = SHELFLIFE__ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        dimension->dim_param = copy_text(graph, from->name);
    } else {
        dimension->value_case = SHELFLIFE__ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dimension->dim_value = from->size;
    }
    return dimension;
}

static Shelflife__Onnx__TypeProto *new_type(
        struct dp_graph *graph, enum dp_element element, const struct dp_dimension *dimensions, int rank)
{
    static const int types[] = {[DP_ELEMENT_F32] = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
            [DP_ELEMENT_U8] = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__UINT8,
            [DP_ELEMENT_I64] = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
            [DP_ELEMENT_BOOL] = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__BOOL};
    Shelflife__Onnx__TypeProto *type = dp_graph_alloc(graph, 1, sizeof(*type));
    Shelflife__Onnx__TypeProto__Tensor *tensor = dp_graph_alloc(graph, 1, sizeof(*tensor));
    Shelflife__Onnx__TensorShapeProto *shape = dp_graph_alloc(graph, 1, sizeof(*shape));
    Shelflife__Onnx__TensorShapeProto__Dimension **list = dp_graph_alloc(graph, (size_t)rank, sizeof(*list));
    if (graph->failed)
        return NULL;
    shelflife__onnx__type_proto__init(type);
    shelflife__onnx__type_proto__tensor__init(tensor);
    shelflife__onnx__tensor_shape_proto__init(shape);
    for (int i = 0; i < rank; i++)
        list[i] = new_dimension(graph, &dimensions[i]);
    type->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = types[element];
    tensor->shape = shape;
    shape->dim = list;
    shape->n_dim = (size_t)rank;
    return type;
}

static dp_value declare(struct dp_graph *graph, struct list *list, const char *name, enum dp_element element,
        const struct dp_dimension *dimensions, int rank, const char *note)
{
    Shelflife__Onnx__ValueInfoProto *info = dp_graph_alloc(graph, 1, sizeof(*info));
    Shelflife__Onnx__TypeProto *type = new_type(graph, element, dimensions, rank);
    char *own = copy_text(graph, name), *doc = note == NULL ? NULL : copy_text(graph, note);
    if (graph->failed)
        return "";
    shelflife__onnx__value_info_proto__init(info);
    info->name = own;
    info->type = type;
    info->doc_string = doc;
    return append(graph, list, info) ? own : "";
}

dp_value dp_graph_input(struct dp_graph *graph, const char *name, enum dp_element element,
        const struct dp_dimension *dimensions, int rank, const char *note)
{
    return declare(graph, &graph->inputs, name, element, dimensions, rank, note);
}

void dp_graph_output(struct dp_graph *graph, dp_value value, enum dp_element element,
        const struct dp_dimension *dimensions, int rank, const char *note)
{
    (void)declare(graph, &graph->outputs, value, element, dimensions, rank, note);
}

enum sl_status dp_graph_finish(struct dp_graph *graph, const char *name,
        Shelflife__Onnx__GraphProto **ret_proto, struct sl_error *err)
{
    Shelflife__Onnx__GraphProto *proto = &graph->proto;
    proto->name = copy_text(graph, name);
    if (graph->failed)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a graph of %zu nodes", graph->nodes.count);
    proto->node = (Shelflife__Onnx__NodeProto **)graph->nodes.items;
    proto->n_node = graph->nodes.count;
    proto->initializer = (Shelflife__Onnx__TensorProto **)graph->tensors.items;
    proto->n_initializer = graph->tensors.count;
    proto->input = (Shelflife__Onnx__ValueInfoProto **)graph->inputs.items;
    proto->n_input = graph->inputs.count;
    proto->output = (Shelflife__Onnx__ValueInfoProto **)graph->outputs.items;
    proto->n_output = graph->outputs.count;
    *ret_proto = proto;
    return SL_OK;
}
