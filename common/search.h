#pragma once
/* Searching in rising numbers. */
#include <stdint.h>

/* sl_search_last gives the last i with begins[i] <= x. Shapes: begins (count,), rising, begins[0] <= x; count >= 1. */
static inline uint32_t sl_search_last(const uint64_t *begins, uint32_t count, uint64_t x)
{
    uint32_t low = 0, high = count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (begins[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    return low;
}
