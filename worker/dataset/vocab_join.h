#pragma once
/* Byte-pair encoding over the words of a text: joins the most frequent pair of neighbouring pieces into a new piece,
 * again and again, until there are enough. The part of vocab_build.h that is an algorithm of its own.
 *
 *     struct wk_join *join = wk_join_create();
 *     wk_join_add_word(join, tokens, token_count, occurrences);        // for each distinct word
 *     wk_join_run(join, &strings, 8000, 2);           // strings: the tokens so far; grows by the joined ones
 *     wk_join_destroy(join);
 *
 * Deterministic: of equally frequent pairs the one with the smaller token numbers goes first. Time is about
 * proportional to the pieces of all words times how often each takes part in a join.
 */
#include "common/error.h"
#include "worker/dataset/strings.h"

#include <stdint.h>

struct wk_join;

/* wk_join_create. Owns: destroy it. NULL when memory is out. */
struct wk_join *wk_join_create(void);
void wk_join_destroy(struct wk_join *join);
void wk_join_destroy_auto(struct wk_join **join);

/* wk_join_add_word takes a distinct word as its pieces (indices into the strings that wk_join_run will get) and how
 * often it occurs. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_join_add_word(
        struct wk_join *join, const int32_t *pieces, int count, int64_t occurrences);

/* wk_join_run joins until strings holds `size` tokens or no pair occurs min_count times. A piece that continues a
 * word begins with "##". Once only. Errors: NO_MEMORY. Source: Sennrich et al. 2016, alg. 1. */
SL_MUST_USE enum sl_status wk_join_run(
        struct wk_join *join, struct wk_strings *strings, int size, int64_t min_count);
