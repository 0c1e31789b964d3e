/* Allocation with a switch for fault tests: see memory.h. */
#include "common/memory.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic uint64_t fail_countdown; /* 0 = off, 1 = every allocation fails */

static int allocation_fails(void)
{
    uint64_t left = atomic_load_explicit(&fail_countdown, memory_order_relaxed);
    if (left == 0)
        return 0;
    if (left > 1) {
        atomic_store_explicit(&fail_countdown, left - 1, memory_order_relaxed);
        return 0;
    }
    errno = ENOMEM;
    return 1;
}

void sl_memory_fail_after(uint64_t n)
{
    atomic_store(&fail_countdown, n);
}

/* Larger ones than a block come from the system as before. One arena: the others lie in heaps of 64 MiB that are given back whatever is set. */
void sl_memory_keep_freed(void)
{
    (void)mallopt(M_ARENA_MAX, 1);
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

void *sl_alloc(size_t count, size_t size)
{
    if (allocation_fails())
        return NULL;
    return calloc(count == 0 ? 1 : count, size == 0 ? 1 : size);
}

#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)

/* Large memory begins at a huge page and asks for such pages, so that matrix products and streams miss the TLB less; only whole ones, so that it takes no more memory. Where the
 * kernel has none to give, nothing is lost. */
static void *take_aligned(size_t bytes)
{
    if (bytes < 2 * HUGE_PAGE)
        return aligned_alloc(SL_ALIGNMENT, bytes);
    void *pointer = NULL;
    if (posix_memalign(&pointer, HUGE_PAGE, bytes) != 0)
        return NULL;
    (void)madvise(pointer, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return pointer;
}

void *sl_alloc_aligned(size_t count, size_t size)
{
    size_t bytes = 0;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - SL_ALIGNMENT) {
        errno = ENOMEM;
        return NULL;
    }
    if (allocation_fails())
        return NULL;
    bytes = (bytes + SL_ALIGNMENT - 1) / SL_ALIGNMENT * SL_ALIGNMENT;
    if (bytes == 0)
        bytes = SL_ALIGNMENT;
    void *pointer = take_aligned(bytes);
    if (pointer != NULL)
        memset(pointer, 0, bytes);
    return pointer;
}

void *sl_memory_map(int fd, size_t size, int protection)
{
    const int alone = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    size_t reserved = 0;
    if (__builtin_add_overflow(size, HUGE_PAGE, &reserved)) {
        errno = ENOMEM;
        return NULL;
    }
    char *start = mmap(NULL, reserved, PROT_NONE, alone, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    char *at = start + (HUGE_PAGE - (uintptr_t)start % HUGE_PAGE) % HUGE_PAGE;
    if (mmap(at, size, protection, MAP_FIXED | (fd < 0 ? alone : MAP_SHARED), fd, 0) == MAP_FAILED) {
        int reason = errno;
        (void)munmap(start, reserved);
        errno = reason;
        return NULL;
    }
    size_t end = (size + PAGE - 1) / PAGE * PAGE; /* of the last page, from at */
    if (at > start)
        (void)munmap(start, (size_t)(at - start));
    if (at + end < start + reserved)
        (void)munmap(at + end, (size_t)(start + reserved - (at + end)));
    return at;
}

void *sl_realloc(void *old, size_t count, size_t size)
{
    if (allocation_fails())
        return NULL;
    return reallocarray(old, count == 0 ? 1 : count, size == 0 ? 1 : size);
}

void sl_free(void *pointer)
{
    free(pointer);
}

char *sl_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = sl_alloc(size, 1);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

char *sl_strdup_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return NULL;
    char *text = sl_alloc((size_t)length + 1, 1);
    if (text == NULL)
        return NULL;
    va_start(args, format);
    (void)vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void sl_free_auto(void *pointer_to_pointer)
{
    void *pointer = NULL;
    memcpy(&pointer, pointer_to_pointer, sizeof(pointer));
    sl_free(pointer);
}

void sl_close_auto(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}
