/* Messages in memory: see message.h. */
#include "common/message.h"

#include "common/memory.h"

#include <assert.h>

#define HEADER_SIZE_TYPICAL 128 /* bytes, as packed */

struct sl_message *sl_message_create(enum sl_message_kind kind)
{
    struct sl_message *message = sl_alloc(1, sizeof(*message));
    if (message == NULL)
        return NULL;
    message->kind = kind;
    message->held = -1;
    return message;
}

void sl_message_destroy(struct sl_message *message)
{
    if (message == NULL)
        return;
    for (int i = 0; i < message->frame_count; i++)
        sl_buffer_release(message->frames[i].buffer);
    sl_free(message);
}

void sl_message_destroy_auto(struct sl_message **message)
{
    sl_message_destroy(*message);
}

struct sl_message *sl_message_clone(const struct sl_message *message)
{
    struct sl_message *clone = sl_alloc(1, sizeof(*clone));
    if (clone == NULL)
        return NULL;
    *clone = *message;
    for (int i = 0; i < clone->frame_count; i++)
        (void)sl_buffer_retain(clone->frames[i].buffer);
    return clone;
}

size_t sl_message_size(const struct sl_message *message)
{
    size_t size = HEADER_SIZE_TYPICAL;
    for (int i = 0; i < message->frame_count; i++)
        size += message->frames[i].size;
    return size;
}

void sl_message_add_frame(struct sl_message *message, struct sl_buffer *buffer, const void *data, size_t size)
{
    assert(message->frame_count < SL_MESSAGE_FRAMES_MAX);
    message->frames[message->frame_count++] = (struct sl_frame){sl_buffer_retain(buffer), data, size};
}

const char *sl_message_name(enum sl_message_kind kind)
{
    static const char *const names[SL_MESSAGE_KIND_COUNT] = {
#define X(kind, name, least, most) [SL_MESSAGE_##kind] = name,
            SL_MESSAGE_KINDS(X)
#undef X
    };
    if ((unsigned)kind >= SL_MESSAGE_KIND_COUNT || names[kind] == NULL)
        return "unknown";
    return names[kind];
}
