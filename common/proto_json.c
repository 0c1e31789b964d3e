/* Messages as JSON: see proto_json.h. A walk over the descriptor, so that a field that is added to a .proto appears by itself. */
#include "common/proto_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_hash(struct sl_json *json, const char *key, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "0x%016" PRIx64, value);
    sl_json_string(json, key, text);
}

static void put_bytes(struct sl_json *json, const char *key, const ProtobufCBinaryData *bytes)
{
    sl_json_string_n(json, key, (const char *)bytes->data, bytes->len);
}

static size_t value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

static void put_value(struct sl_json *json, const char *key, ProtobufCType type, const void *at)
{
    switch (type) {
    case PROTOBUF_C_TYPE_DOUBLE:
        sl_json_double(json, key, *(const double *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        sl_json_float(json, key, *(const float *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        sl_json_int(json, key, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        sl_json_int(json, key, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        sl_json_uint(json, key, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FIXED64:
        put_hash(json, key, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        sl_json_uint(json, key, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        sl_json_bool(json, key, *(const protobuf_c_boolean *)at != 0);
        break;
    case PROTOBUF_C_TYPE_STRING:
        sl_json_string(json, key, *(char *const *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_bytes(json, key, at);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        sl_proto_json(json, key, *(ProtobufCMessage *const *)at);
        break;
    }
}

static bool is_present(const ProtobufCFieldDescriptor *field, const void *base)
{
    if (field->label == PROTOBUF_C_LABEL_REQUIRED)
        return true;
    if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)((const char *)base + field->offset) != NULL;
    return *(const protobuf_c_boolean *)((const char *)base + field->quantifier_offset) != 0;
}

static void put_list(struct sl_json *json, const ProtobufCFieldDescriptor *field, const void *base)
{
    size_t count = *(const size_t *)((const char *)base + field->quantifier_offset);
    const char *items = *(char *const *)((const char *)base + field->offset);
    sl_json_array(json, field->name);
    for (size_t i = 0; i < count; i++)
        put_value(json, NULL, field->type, items + i * value_size(field->type));
    sl_json_end(json);
}

void sl_proto_json(struct sl_json *json, const char *key, const ProtobufCMessage *message)
{
    sl_json_object(json, key);
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED)
            put_list(json, field, message);
        else if (is_present(field, message))
            put_value(json, field->name, field->type, (const char *)message + field->offset);
    }
    sl_json_end(json);
}
