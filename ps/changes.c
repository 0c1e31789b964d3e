/* Changed lines of the last updates: see changes.h. */
#include "ps/changes.h"

#include "common/encoding.h"
#include "common/memory.h"
#include "common/mutant.h"

#include <string.h>

struct ps_changes {
    size_t size;            /* of a bitmap */
    int64_t begin, version; /* updates to versions in (begin, version] were made; the last ones are known */
    unsigned char
            *lines; /* (PS_CHANGES_UPDATES, size): of the update to version v at v % PS_CHANGES_UPDATES */
};

enum sl_status ps_changes_create(struct ps_changes **ret_changes, size_t count, struct sl_error *err)
{
    struct ps_changes *changes = sl_alloc(1, sizeof(*changes));
    size_t size = sl_encoding_bitmap_size(count);
    if (changes != NULL)
        *changes = (struct ps_changes){.size = size, .lines = sl_alloc(PS_CHANGES_UPDATES, size)};
    if (changes == NULL || changes->lines == NULL) {
        ps_changes_destroy(changes);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the changes of a block");
    }
    *ret_changes = changes;
    return SL_OK;
}

void ps_changes_destroy(struct ps_changes *changes)
{
    if (changes == NULL)
        return;
    sl_free(changes->lines);
    sl_free(changes);
}

void ps_changes_begin(struct ps_changes *changes, int64_t version)
{
    changes->begin = changes->version = version;
}

static unsigned char *lines_of(const struct ps_changes *changes, int64_t version)
{
    return changes->lines + (size_t)(version % PS_CHANGES_UPDATES) * changes->size;
}

unsigned char *ps_changes_next(struct ps_changes *changes)
{
    unsigned char *lines = lines_of(changes, ++changes->version);
    memset(lines, 0, changes->size);
    return lines;
}

/* A whole line: without a branch for each number. */
static bool line_differs(const float *before, const float *after)
{
    uint32_t a[SL_LINE_FLOATS], b[SL_LINE_FLOATS], any = 0;
    memcpy(a, before, sizeof(a));
    memcpy(b, after, sizeof(b));
    for (int i = 0; i < SL_LINE_FLOATS; i++)
        any |= a[i] ^ b[i];
    return any != 0;
}

void ps_changes_compare(
        unsigned char *lines, size_t offset, const float *before, const float *after, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t line = (offset + i) / SL_LINE_FLOATS, left = SL_LINE_FLOATS - (offset + i) % SL_LINE_FLOATS;
        size_t now = left < n - i ? left : n - i;
        bool differs = now == SL_LINE_FLOATS ? line_differs(before + i, after + i)
                                             : memcmp(before + i, after + i, now * sizeof(float)) != 0;
        lines[line / 8] |= (unsigned char)((unsigned)differs << line % 8);
        i += now;
    }
}

bool ps_changes_since(const struct ps_changes *changes, int64_t held, unsigned char *ret_lines)
{
    if (held < changes->begin || held > changes->version || changes->version - held > PS_CHANGES_UPDATES)
        return false;
    memset(ret_lines, 0, changes->size);
    for (int64_t v = held + 1 + sl_mutant("server: a changed line is forgotten"); v <= changes->version;
            v++) {
        const unsigned char *lines = lines_of(changes, v);
        for (size_t i = 0; i < changes->size; i++)
            ret_lines[i] |= lines[i];
    }
    return true;
}
