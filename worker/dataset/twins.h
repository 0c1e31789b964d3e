#pragma once
/* Which of many short texts are the same but for little: titles that were published twice, series with a number in them.
 *
 *     SL_AUTO(wk_twins_destroy_auto) struct wk_twins *twins = NULL;
 *     enum sl_status s = wk_twins_create(&twins, WK_TWINS_SIMILARITY, err);
 *     s = wk_twins_add(twins, title, strlen(title), err);            // texts are numbered 0, 1, 2 …
 *     s = wk_twins_join(twins, i, j, err);                           // for another reason, such as the same file
 *     s = wk_twins_find(twins, err);
 *     uint32_t group = wk_twins_group(twins, i);                     // the smallest number of the group
 *
 * A text is what remains of it after NFKC, case folding and the removal of all that is neither letter, mark nor digit; its shingles are the set of runs of three
 * characters, of two where one of them is a Han character, kana or hangul. Two texts are twins when the Jaccard similarity of their shingles is at least the one given; a
 * group is whoever is connected by twins. Texts of which nothing remains are nobody's twins.
 *
 * The search is exact, not by sampling: prefix filtering with the rarest shingles first, as in AllPairs and PPJoin (Bayardo et al. 2007, Xiao et al. 2008). Only
 * where more than WK_TWINS_POSTINGS texts share a rare shingle are the nearest ones in length tried alone; wk_twins_cut counts such lists.
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define WK_TWINS_SIMILARITY 0.8
#define WK_TWINS_POSTINGS 2000
#define WK_TWINS_BYTES 1024 /* of a text that are looked at */

struct wk_twins;

/* wk_twins_create: similarity above 0, at most 1. Owns: *ret_twins. */
SL_MUST_USE enum sl_status wk_twins_create(
        struct wk_twins **ret_twins, double similarity, struct sl_error *err);
void wk_twins_destroy(struct wk_twins *twins);
void wk_twins_destroy_auto(struct wk_twins **twins);

/* wk_twins_add appends a text: any bytes, those that are not UTF-8 are passed over. Errors: NO_MEMORY, BAD_DATA after 2³¹ of them. */
SL_MUST_USE enum sl_status wk_twins_add(
        struct wk_twins *twins, const char *text, size_t size, struct sl_error *err);
uint32_t wk_twins_count(const struct wk_twins *twins);
/* wk_twins_join puts two into one group, whatever their texts. */
void wk_twins_join(struct wk_twins *twins, uint32_t a, uint32_t b);

/* wk_twins_find joins all twins among the texts that were added. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status wk_twins_find(struct wk_twins *twins, struct sl_error *err);
uint32_t wk_twins_group(const struct wk_twins *twins, uint32_t index);
uint64_t wk_twins_cut(const struct wk_twins *twins);
/* wk_twins_similarity, after wk_twins_find: of two texts, 0 to 1. */
double wk_twins_similarity(const struct wk_twins *twins, uint32_t a, uint32_t b);
