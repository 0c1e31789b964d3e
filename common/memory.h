#pragma once
/* Allocation and clean-up: one idiom for the whole house.
 *
 *     SL_AUTO_FREE char *path = sl_strdup_printf("%s/manifest.json", dir);
 *     if (path == NULL)
 *         return sl_fail(err, SL_NO_MEMORY, "out of memory");
 *     *ret_path = SL_TAKE(path);             // ownership leaves, the clean-up sees NULL
 *
 * Every allocation in the house goes through sl_alloc and its kin, so that tests can fail the n-th one (sl_memory_fail_after).
 */
#include <stddef.h>
#include <stdint.h>

#define SL_ALIGNMENT 64 /* bytes: a cache line, and the widest vector register */

/* sl_alloc returns count * size zeroed bytes, or NULL when that overflows or memory is out. Owns: free with sl_free. */
void *sl_alloc(size_t count, size_t size) __attribute__((malloc));
/* sl_alloc_aligned is sl_alloc at SL_ALIGNMENT, for tensors; zeroed. What is large lies in huge pages where the system allows it (madvise). Owns: free with sl_free. */
void *sl_alloc_aligned(size_t count, size_t size) __attribute__((malloc));
/* sl_memory_map maps size bytes of fd, which others may map too, or with fd = -1 memory of this process alone that takes room as it is touched; at the boundary of a huge page, without which
 * there are none. protection: as of mmap. NULL and errno when that fails. Owns: munmap it. */
void *sl_memory_map(int fd, size_t size, int protection);
/* sl_realloc grows or shrinks an array from sl_alloc (never from sl_alloc_aligned); new bytes are NOT zeroed. NULL leaves old as it was. */
void *sl_realloc(void *old, size_t count, size_t size);
/* sl_free frees what the functions of this header gave; NULL is fine. */
void sl_free(void *pointer);
char *sl_strdup(const char *text);
char *sl_strdup_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* sl_memory_keep_freed makes malloc keep what is freed instead of giving it back to the system, for processes that take in and let go of blocks all the time: a block
 * that ZeroMQ receives lies in memory from malloc, and to get that anew from the system, page by page, costs as much as copying it. Call it before
 * threads are started. */
void sl_memory_keep_freed(void);

/* sl_memory_fail_after makes the n-th allocation from now (1 = the next) and all later ones return NULL; 0 turns that off. For tests. */
void sl_memory_fail_after(uint64_t n);

void sl_free_auto(void *pointer_to_pointer); /* for SL_AUTO_FREE only */
void sl_close_auto(int *fd);                 /* for SL_AUTO_CLOSE only */

#define SL_AUTO(function) __attribute__((cleanup(function)))
#define SL_AUTO_FREE SL_AUTO(sl_free_auto)
#define SL_AUTO_CLOSE SL_AUTO(sl_close_auto)
#define SL_TAKE(pointer)                                                                                     \
    ({                                                                                                       \
        __auto_type taken_ = (pointer);                                                                      \
        (pointer) = NULL;                                                                                    \
        taken_;                                                                                              \
    })
