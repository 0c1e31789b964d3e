#pragma once
/* One block of memory that is cut up in order: planned by a dry run with base NULL, which only counts, then
 * by the same calls again with memory behind them. A part that wants memory takes it while the workspace is
 * created; nobody takes any later.
 *
 *     struct wk_arena arena = {0};
 *     plan(&arena);                                           // counts: every pointer is NULL
 *     arena = (struct wk_arena){.base = sl_alloc_aligned(arena.peak, 1)};
 *     plan(&arena);                                           // the same calls, real pointers
 */
#include "common/memory.h"

#include <stddef.h>
#include <stdint.h>

struct wk_arena {
    char *base;        /* NULL in the dry run */
    size_t used, peak; /* bytes */
    int members;       /* threads that need scratch of their own at the same time; 0 = 1 */
};

/* wk_arena_take gives count things of size bytes at SL_ALIGNMENT, or NULL in the dry run; a size past what
 * the machine can address makes peak SIZE_MAX, at which the allocation then fails. */
static inline void *wk_arena_take(struct wk_arena *arena, size_t count, size_t size)
{
    size_t bytes = 0, at = arena->used;
    if (__builtin_mul_overflow(count, size, &bytes) ||
            __builtin_add_overflow(bytes, (size_t)SL_ALIGNMENT, &bytes) ||
            __builtin_add_overflow(at, bytes / SL_ALIGNMENT * SL_ALIGNMENT, &arena->used)) {
        arena->used = SIZE_MAX - SL_ALIGNMENT;
        arena->peak = SIZE_MAX;
        return NULL;
    }
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    return arena->base == NULL ? NULL : arena->base + at;
}

/* wk_arena_members is how often a part must plan what each thread of a team writes for itself. */
static inline size_t wk_arena_members(const struct wk_arena *arena)
{
    return arena->members > 1 ? (size_t)arena->members : 1;
}

static inline float *wk_arena_floats(struct wk_arena *arena, size_t rows, size_t n)
{
    size_t count = 0;
    if (__builtin_mul_overflow(rows, n, &count))
        count = SIZE_MAX;
    return wk_arena_take(arena, count, sizeof(float));
}
