/* ModelProto around the graph, large tensors outside when asked for, and the stream to disk: see onnx.h. */
#include "deploy/export/onnx.h"

#include "common/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IR_VERSION 8
#define EXTERNAL_MIN 1024 /* bytes: smaller tensors stay inside, for shapes are read from some of them */
#define EXTERNAL_ALIGNMENT 4096 /* bytes: so that a runtime can map them */

/* A ProtobufCBuffer that ends in a file; the first error sticks. base must come first. */
struct stream {
    ProtobufCBuffer base;
    struct dp_file *file;
    enum sl_status status;
    struct sl_error *err;
};

static void stream_append(ProtobufCBuffer *buffer, size_t size, const uint8_t *bytes)
{
    struct stream *stream = (struct stream *)buffer;
    if (stream->status == SL_OK)
        stream->status = dp_file_write(stream->file, bytes, size, stream->err);
}

static bool put_entry(struct dp_graph *graph, Shelflife__Onnx__StringStringEntryProto **ret_entry,
        const char *key, const char *value)
{
    Shelflife__Onnx__StringStringEntryProto *entry = dp_graph_alloc(graph, 1, sizeof(*entry));
    if (entry == NULL)
        return false;
    shelflife__onnx__string_string_entry_proto__init(entry);
    entry->key = (char *)key;
    entry->value = (char *)value;
    *ret_entry = entry;
    return true;
}

/* ---- tensors outside ---- */

/* Writes one tensor's bytes to data and puts the place where they stand into it. */
static enum sl_status move_out(struct dp_graph *graph, Shelflife__Onnx__TensorProto *tensor,
        struct dp_file *data, const char *location, struct sl_error *err)
{
    size_t size = tensor->raw_data.len;
    enum sl_status status = dp_file_pad(data, EXTERNAL_ALIGNMENT, err);
    uint64_t offset = dp_file_size(data);
    if (status == SL_OK)
        status = dp_file_write(data, tensor->raw_data.data, size, err);
    if (status != SL_OK)
        return status;
    Shelflife__Onnx__StringStringEntryProto **entries = dp_graph_alloc(graph, 3, sizeof(*entries));
    if (entries == NULL || !put_entry(graph, &entries[0], "location", location) ||
            !put_entry(graph, &entries[1], "offset", dp_graph_text(graph, "%" PRIu64, offset)) ||
            !put_entry(graph, &entries[2], "length", dp_graph_text(graph, "%zu", size)))
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the places of tensors");
    tensor->external_data = entries;
    tensor->n_external_data = 3;
    tensor->has_data_location = 1;
    tensor->data_location = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    tensor->has_raw_data = 0;
    return SL_OK;
}

static enum sl_status move_all_out(struct dp_files *files, struct dp_graph *graph,
        Shelflife__Onnx__GraphProto *proto, struct sl_error *err)
{
    struct dp_file *data = NULL;
    char name[SL_PATH_MAX + 16];
    enum sl_status status = dp_files_add(files, ".data", &data, err);
    dp_files_name(files, ".data", name, sizeof(name));
    const char *location = dp_graph_text(graph, "%s", name); /* read when the model is written */
    for (size_t i = 0; i < proto->n_initializer && status == SL_OK; i++)
        if (proto->initializer[i]->raw_data.len >= EXTERNAL_MIN)
            status = move_out(graph, proto->initializer[i], data, location, err);
    return status;
}

/* ---- the model ---- */

static enum sl_status put_metadata(struct dp_graph *graph, Shelflife__Onnx__ModelProto *model,
        const struct dp_metadata *metadata, struct sl_error *err)
{
    model->metadata_props = dp_graph_alloc(graph, (size_t)metadata->count, sizeof(*model->metadata_props));
    bool good = model->metadata_props != NULL;
    for (int i = 0; i < metadata->count && good; i++)
        good = put_entry(graph, &model->metadata_props[i], metadata->key[i], metadata->value[i]);
    if (!good)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the metadata");
    model->n_metadata_props = (size_t)metadata->count;
    return SL_OK;
}

static enum sl_status write_model(struct dp_file *file, struct dp_graph *graph,
        Shelflife__Onnx__GraphProto *proto, const struct dp_metadata *metadata, struct sl_error *err)
{
    Shelflife__Onnx__ModelProto model;
    Shelflife__Onnx__OperatorSetIdProto opset, *opsets[] = {&opset};
    shelflife__onnx__model_proto__init(&model);
    shelflife__onnx__operator_set_id_proto__init(&opset);
    opset.domain = "";
    opset.has_version = 1;
    opset.version = dp_graph_opset(graph);
    model.has_ir_version = 1;
    model.ir_version = IR_VERSION;
    model.producer_name = "shelflife";
    model.producer_version = SHELFLIFE_VERSION;
    model.doc_string = "How long a video stays worth recommending; labels, durations_s and preprocessing are "
                       "in the metadata.";
    model.graph = proto;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    enum sl_status status = put_metadata(graph, &model, metadata, err);
    if (status != SL_OK)
        return status;
    struct stream stream = {.base = {.append = stream_append}, .file = file, .err = err};
    (void)protobuf_c_message_pack_to_buffer(&model.base, &stream.base);
    return stream.status;
}

/* Bytes of the model's message at most: tensors and nodes, and room for the rest. */
static size_t message_size(const Shelflife__Onnx__GraphProto *proto, const struct dp_metadata *metadata)
{
    size_t size = shelflife__onnx__graph_proto__get_packed_size(proto) + 4096;
    for (int i = 0; i < metadata->count; i++)
        size += strlen(metadata->key[i]) + strlen(metadata->value[i]) + 32;
    return size;
}

enum sl_status dp_onnx_write(struct dp_files *files, struct dp_file *file, const struct dp_loaded *loaded,
        const struct dp_metadata *metadata, int opset, size_t inside_max, struct sl_error *err)
{
    SL_AUTO(dp_graph_destroy_auto) struct dp_graph *graph = NULL;
    Shelflife__Onnx__GraphProto *proto = NULL;
    enum sl_status status =
            dp_network_build(&graph, loaded->config, loaded->layout, loaded->params, opset, err);
    if (status == SL_OK)
        status = dp_graph_finish(graph, "shelflife", &proto, err);
    if (status == SL_OK && message_size(proto, metadata) > inside_max)
        status = move_all_out(files, graph, proto, err);
    return status == SL_OK ? write_model(file, graph, proto, metadata, err) : status;
}
