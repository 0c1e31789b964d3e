#pragma once
/* Memory that other processes of this machine can be shown: one segment of this process, out of which large buffers are given.
 *
 *     s = sl_shared_heap_open(0, err);                   // once, before buffers are made
 *     float *data = sl_shared_alloc(bytes);              // from the segment, or elsewhere where that is closed or full
 *     sl_shared_free(data);
 *
 * The segment is a memfd: it has no name, nothing of it is left when its last process ends, however that ends. It is sealed in its size, so that who
 * maps it never meets its end (SIGBUS), and takes memory only as far as it is used; every page is asked for before it is given out, so that a full machine is
 * an error here and no signal later. What was given back is kept for the next buffer. The book-keeping lies elsewhere: nobody who sees the segment can touch it.
 * Where it is closed or full, large buffers lie in a region of this process alone, kept in the same way. Both are in huge pages where the system has them: what
 * streams through blocks of a mebibyte would spend a third of its time on the pages of smaller ones.
 * Thread: any.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_SHARED_MIN (64 << 10) /* bytes; smaller ones are not worth it and come from sl_alloc_aligned */

/* sl_shared_heap_open makes the segment of this process, for as long as that lives; a second call does nothing. size_max: bytes that it may hold, 0 = half of the
 * machine's memory. Errors: FAILED when the system has no such memory. */
SL_MUST_USE enum sl_status sl_shared_heap_open(uint64_t size_max, struct sl_error *err);
int sl_shared_heap_fd(void);        /* borrowed, -1 = not open */
uint64_t sl_shared_heap_size(void); /* bytes of the segment, used or not */

/* sl_shared_alloc gives memory aligned to SL_ALIGNMENT, or NULL. zeroed: else it may hold anything. Owns: sl_shared_free it. */
void *sl_shared_alloc(size_t size, bool zeroed);
void sl_shared_free(void *pointer); /* NULL is fine */
/* sl_shared_offset gives where in the segment these bytes lie; false when they do not. */
bool sl_shared_offset(const void *bytes, size_t size, uint64_t *ret_offset);
