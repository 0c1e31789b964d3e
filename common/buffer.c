/* Counted buffers: see buffer.h. */
#include "common/buffer.h"

#include "common/memory.h"
#include "common/shared_heap.h"

#include <assert.h>

static struct sl_buffer *create(size_t size, bool zeroed)
{
    struct sl_buffer *buffer = sl_alloc(1, sizeof(*buffer));
    void *data = sl_shared_alloc(size, zeroed);
    if (buffer == NULL || data == NULL) {
        sl_free(buffer);
        sl_shared_free(data);
        return NULL;
    }
    atomic_init(&buffer->references, 1);
    buffer->size = size;
    buffer->data = data;
    return buffer;
}

struct sl_buffer *sl_buffer_create(size_t size)
{
    return create(size, true);
}

struct sl_buffer *sl_buffer_create_unset(size_t size)
{
    return create(size, false);
}

struct sl_buffer *sl_buffer_adopt(void *data, size_t size, void (*free_data)(void *context), void *context)
{
    struct sl_buffer *buffer = sl_alloc(1, sizeof(*buffer));
    if (buffer == NULL)
        return NULL;
    atomic_init(&buffer->references, 1);
    buffer->size = size;
    buffer->data = data;
    buffer->free_data = free_data;
    buffer->context = context;
    return buffer;
}

struct sl_buffer *sl_buffer_retain(struct sl_buffer *buffer)
{
    int before = atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
    assert(before > 0);
    return buffer;
}

void sl_buffer_release(struct sl_buffer *buffer)
{
    if (buffer == NULL || atomic_fetch_sub_explicit(&buffer->references, 1, memory_order_acq_rel) > 1)
        return;
    if (buffer->free_data != NULL)
        buffer->free_data(buffer->context);
    else
        sl_shared_free(buffer->data);
    sl_free(buffer);
}
