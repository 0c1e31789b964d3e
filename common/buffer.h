#pragma once
/* Shared bytes for tensor frames: a counted buffer, so that the same parameters can be on their way to many workers without a copy.
 *
 *     struct sl_buffer *buffer = sl_buffer_create(count * sizeof(float));   // aligned, zeroed
 *     struct sl_frame frame = {sl_buffer_retain(buffer), buffer->data, buffer->size};
 *     sl_buffer_release(buffer);
 *
 * Thread: the count is atomic (ZeroMQ's thread releases frames); the bytes belong to whoever filled them until the first send, then nobody
 * writes them. (A text that grows is text.h.)
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct sl_buffer {
    _Atomic int references;
    size_t size;                      /* bytes */
    void *data;                       /* aligned to SL_ALIGNMENT unless adopted */
    void (*free_data)(void *context); /* NULL: data came from sl_shared_alloc */
    void *context;
    bool read_only; /* the bytes are another process's: nobody here may write them, not even the last who holds them */
};

/* A view of part of a buffer. Owns one reference. */
struct sl_frame {
    struct sl_buffer *buffer;
    const void *data;
    size_t size; /* bytes */
};

/* sl_buffer_create gives one reference, or NULL. Large ones lie where other processes can be shown them, when shared_heap.h is open. */
struct sl_buffer *sl_buffer_create(size_t size);
/* sl_buffer_create_unset is the same with bytes that may be anything, for who writes all of them. */
struct sl_buffer *sl_buffer_create_unset(size_t size);
/* sl_buffer_adopt wraps foreign memory, freed through free_data(context) with the last reference. NULL when memory is out: then nothing was adopted. */
struct sl_buffer *sl_buffer_adopt(void *data, size_t size, void (*free_data)(void *context), void *context);
struct sl_buffer *sl_buffer_retain(struct sl_buffer *buffer);
void sl_buffer_release(struct sl_buffer *buffer); /* NULL is fine */
