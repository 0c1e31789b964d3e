/* A set of strings: one block of bytes, one of starts, and an open-addressing table over them. See strings.h. */
#include "worker/dataset/strings.h"
#include "common/memory.h"
#include "common/random.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

void wk_strings_fini(struct wk_strings *strings)
{
    sl_free(strings->bytes);
    sl_free(strings->starts);
    sl_free(strings->slots);
    *strings = (struct wk_strings){0};
}

const char *wk_strings_get(const struct wk_strings *strings, int32_t index, size_t *ret_size)
{
    assert(index >= 0 && index < strings->count);
    size_t start = strings->starts[index];
    size_t end = index + 1 < strings->count ? strings->starts[index + 1] : strings->used;
    *ret_size = end - start - 1;
    return strings->bytes + start;
}

/* find_slot gives the slot that holds the string, or the free one where it belongs. */
static size_t find_slot(const struct wk_strings *strings, const char *bytes, size_t size)
{
    size_t mask = strings->slot_count - 1;
    for (size_t slot = sl_hash64(bytes, size, 0) & mask;; slot = (slot + 1) & mask) {
        if (strings->slots[slot] < 0)
            return slot;
        size_t other_size;
        const char *other = wk_strings_get(strings, strings->slots[slot], &other_size);
        if (other_size == size && memcmp(other, bytes, size) == 0)
            return slot;
    }
}

static bool grow_slots(struct wk_strings *strings)
{
    size_t slot_count = strings->slot_count ? strings->slot_count * 2 : 64;
    int32_t *slots = sl_alloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return false;
    memset(slots, 0xFF, slot_count * sizeof *slots);
    sl_free(strings->slots);
    strings->slots = slots;
    strings->slot_count = slot_count;
    for (int32_t i = 0; i < strings->count; i++) {
        size_t size;
        const char *bytes = wk_strings_get(strings, i, &size);
        strings->slots[find_slot(strings, bytes, size)] = i;
    }
    return true;
}

/* reserve makes room for one more string of size bytes. */
static bool reserve(struct wk_strings *strings, size_t size)
{
    if (strings->slot_count < 2 * ((size_t)strings->count + 1) && !grow_slots(strings))
        return false;
    if (strings->count == strings->room) {
        int32_t room = strings->room ? strings->room * 2 : 64;
        size_t *starts = sl_realloc(strings->starts, (size_t)room, sizeof *starts);
        if (starts == NULL)
            return false;
        strings->starts = starts;
        strings->room = room;
    }
    if (strings->capacity - strings->used <= size) {
        size_t capacity = 2 * strings->capacity + size + 1;
        char *bytes = sl_realloc(strings->bytes, capacity, 1);
        if (bytes == NULL)
            return false;
        strings->bytes = bytes;
        strings->capacity = capacity;
    }
    return true;
}

int32_t wk_strings_intern(struct wk_strings *strings, const char *bytes, size_t size)
{
    if (strings->slot_count > 0) {
        int32_t known = strings->slots[find_slot(strings, bytes, size)];
        if (known >= 0)
            return known;
    }
    if (strings->count == INT32_MAX / 2 || !reserve(strings, size))
        return -1;
    strings->slots[find_slot(strings, bytes, size)] = strings->count;
    strings->starts[strings->count] = strings->used;
    memcpy(strings->bytes + strings->used, bytes, size);
    strings->bytes[strings->used + size] = 0;
    strings->used += size + 1;
    return strings->count++;
}
