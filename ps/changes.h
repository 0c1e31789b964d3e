#pragma once
/* Which lines of one block its last updates changed, bit by bit: so who holds one of the versions before can be sent those lines alone.
 *
 *     ps_changes_begin(changes, version);                                   // values came from elsewhere
 *     unsigned char *lines = ps_changes_next(changes);                      // an update: to version + 1
 *     ps_changes_compare(lines, offset, before, after, n);                  // … for each run of numbers of it
 *     if (ps_changes_since(changes, held, lines)) … they are all that differs between version `held` and the last one …
 *
 * A line is SL_LINE_FLOATS numbers, its bit is where common/encoding.h has it. What is remembered is PS_CHANGES_UPDATES bitmaps: 2 KiB each for a block of 1 MiB. Which optimiser changed
 * what does not matter, for values are compared.
 * Thread: one at a time. */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PS_CHANGES_UPDATES 8 /* more than a worker is behind, but for one that was paused */

struct ps_changes;

/* ps_changes_create is for a block of count numbers. Owns: *ret_changes. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_changes_create(
        struct ps_changes **ret_changes, size_t count, struct sl_error *err);
void ps_changes_destroy(struct ps_changes *changes); /* NULL is fine */

/* ps_changes_begin forgets all updates: at this version the values have nothing to do with those before. */
void ps_changes_begin(struct ps_changes *changes, int64_t version);
/* ps_changes_next begins the update to the version after the last one, and borrows its bitmap, all zero, until the next call. */
unsigned char *ps_changes_next(struct ps_changes *changes);
/* ps_changes_compare sets the bits of those lines of which a bit differs. offset: of the run, in numbers from the block's start. Shapes: before, after (n,). */
void ps_changes_compare(
        unsigned char *lines, size_t offset, const float *before, const float *after, size_t n);
/* ps_changes_mark sets the bits of all lines in which a run of n numbers lies: it is not worth comparing. */
void ps_changes_mark(unsigned char *lines, size_t offset, size_t n);
/* ps_changes_since: ret_lines are those that any update after version `held` changed; false, and ret_lines are anything, where that is not known: of a version that is too old, is still to
 * come or was before ps_changes_begin. Shapes: ret_lines (sl_encoding_bitmap_size,). */
bool ps_changes_since(const struct ps_changes *changes, int64_t held, unsigned char *ret_lines);
