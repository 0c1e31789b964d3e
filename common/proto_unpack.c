/* Unpacking within a budget: see proto_unpack.h. */
#include "common/proto_unpack.h"

#include "common/memory.h"

static void *budget_alloc(void *data, size_t size)
{
    size_t *left = data;
    if (size > *left)
        return NULL;
    *left -= size;
    return sl_alloc(1, size);
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    sl_free(pointer);
}

ProtobufCMessage *sl_proto_unpack(
        const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t size, size_t budget)
{
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free, .allocator_data = &budget};
    return protobuf_c_message_unpack(descriptor, &allocator, size, bytes);
}

void sl_proto_free(ProtobufCMessage *message)
{
    ProtobufCAllocator allocator = {.alloc = budget_alloc, .free = budget_free};
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &allocator);
}
