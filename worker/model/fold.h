#pragma once
/* A folded gradient: the flat vector of a backward pass in far less memory, for a pass whose numbers are taken away as it goes.
 *
 * A pass walks through each part of the flat vector (heads, an extractor, the fusion) from its end to its begin, range by range (wk_run_reached), and writes into the range where it is and maybe into the one before it, which comes next.
 * So neighbouring ranges lie in two places by turns:
 *
 *     |  embeddings  | layer 0 | layer 1 | layer 2 | …        flat
 *     |     even     |   odd   |  even   |   odd   | …        folded: two places, each as long as the longest range that it is for
 *
 * Whoever is told that a range is whole takes its numbers from there and clears them before the pass goes on (worker/finishing.h).
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

struct wk_fold {
    uint64_t *begin; /* (count + 1,): where ranges begin in the flat vector; the last one's end */
    size_t *place;   /* (count,): where they begin in the folded one */
    int count;
    size_t floats; /* of a folded vector */
};

/* wk_fold_create plans it. Shapes: begin (count + 1,), rising, of ranges that do not cross the border of a part; is copied. Owns: *ret_fold. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_fold_create(
        struct wk_fold *ret_fold, const uint64_t *begin, int count, struct sl_error *err);
void wk_fold_fini(struct wk_fold *fold);

/* wk_fold_range gives the range that a number of the flat vector lies in. */
int wk_fold_range(const struct wk_fold *fold, size_t offset);
/* wk_fold_place gives the place of a number of the flat vector in the folded one; what follows it within its range follows it there. Units: floats. */
size_t wk_fold_place(const struct wk_fold *fold, size_t offset);
