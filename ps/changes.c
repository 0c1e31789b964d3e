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

/* Whole lines: without a branch for each number. */
static unsigned line_differs(const float *before, const float *after)
{
    uint64_t any = 0;
    for (int i = 0; i < SL_LINE_FLOATS; i += 2) {
        uint64_t a, b;
        memcpy(&a, before + i, sizeof(a));
        memcpy(&b, after + i, sizeof(b));
        any |= a ^ b;
    }
    return any != 0;
}

/* Eight lines from a byte's first on. */
static unsigned char compare_byte(const float *before, const float *after)
{
    unsigned bits = 0;
    for (unsigned line = 0; line < 8; line++)
        bits |= line_differs(before + line * SL_LINE_FLOATS, after + line * SL_LINE_FLOATS) << line;
    return (unsigned char)bits;
}

#define BYTE_FLOATS ((size_t)8 * SL_LINE_FLOATS)

void ps_changes_compare(
        unsigned char *lines, size_t offset, const float *before, const float *after, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t at = offset + i, line = at / SL_LINE_FLOATS, left = SL_LINE_FLOATS - at % SL_LINE_FLOATS;
        if (at % BYTE_FLOATS == 0 && n - i >= BYTE_FLOATS) {
            lines[line / 8] |= compare_byte(before + i, after + i);
            i += BYTE_FLOATS;
            continue;
        }
        size_t now = left < n - i ? left : n - i;
        bool differs = memcmp(before + i, after + i, now * sizeof(float)) != 0;
        lines[line / 8] |= (unsigned char)((unsigned)differs << line % 8);
        i += now;
    }
}

void ps_changes_mark(unsigned char *lines, size_t offset, size_t n)
{
    for (size_t line = offset / SL_LINE_FLOATS; line * SL_LINE_FLOATS < offset + n; line++)
        lines[line / 8] |= (unsigned char)(1U << line % 8);
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
