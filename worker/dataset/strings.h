#pragma once
/* A growing set of byte strings, numbered 0, 1, 2 … in the order in which they came. For building vocabularies.
 *
 *     struct wk_strings strings = {0};
 *     int32_t index = wk_strings_intern(&strings, "video", 5);       // 0, and 0 again when asked again
 *     wk_strings_fini(&strings);
 */
#include <stddef.h>
#include <stdint.h>

/* Plain data: zero it to begin. */
struct wk_strings {
    char *bytes; /* all strings one after the other, each with a final 0 */
    size_t used, capacity;
    size_t *starts; /* (count,) */
    int32_t count, room;
    int32_t *slots; /* (slot_count,) indices, -1 = free */
    size_t slot_count;
};

void wk_strings_fini(struct wk_strings *strings);

/* wk_strings_intern gives the index of the string, adding it when it is new; -1 when memory is out (the set is as before). */
int32_t wk_strings_intern(struct wk_strings *strings, const char *bytes, size_t size);

/* wk_strings_get borrows a string until the next intern; a 0 byte follows it. */
const char *wk_strings_get(const struct wk_strings *strings, int32_t index, size_t *ret_size);
