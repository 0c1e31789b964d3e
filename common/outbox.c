/* Messages on their way out of a core: see outbox.h. */
#include "common/outbox.h"

#include "common/memory.h"

enum sl_status sl_outbox_add(
        struct sl_outbox *outbox, struct sl_address to, struct sl_message *message, struct sl_error *err)
{
    if (message == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
    if (outbox->count == outbox->capacity) {
        int capacity = outbox->capacity == 0 ? 64 : 2 * outbox->capacity;
        struct sl_outgoing *items = sl_realloc(outbox->items, (size_t)capacity, sizeof(*items));
        if (items == NULL) {
            sl_message_destroy(message);
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %d outgoing messages", capacity);
        }
        outbox->items = items;
        outbox->capacity = capacity;
    }
    outbox->items[outbox->count++] = (struct sl_outgoing){to, message};
    return SL_OK;
}

void sl_outbox_clear(struct sl_outbox *outbox)
{
    for (int i = 0; i < outbox->count; i++)
        sl_message_destroy(outbox->items[i].message);
    outbox->count = 0;
}

void sl_outbox_fini(struct sl_outbox *outbox)
{
    sl_outbox_clear(outbox);
    sl_free(outbox->items);
    *outbox = (struct sl_outbox){0};
}
