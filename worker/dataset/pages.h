#pragma once
/* A look at an LMDB data file before LMDB maps it. LMDB trusts its file: a damaged page can send it outside the map, a file that was cut
 * off kills the process with SIGBUS. So the tree is walked here with plain reads and every bound checked: page numbers, node
 * offsets, key sizes, order of keys, depth, number of entries. Values in overflow pages are not read: their content has checksums (record.h).
 *
 * Only what shard.h writes passes: one main database, 9-byte keys, no duplicates. Layout of the file: LMDB 0.9 data version 1.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

#define WK_KEY_SIZE 9 /* bytes: big-endian ordinal, then the kind */

enum wk_entry_kind { WK_ENTRY_SAMPLE, WK_ENTRY_REJECT };

/* Called for each entry in the order of keys. */
typedef enum sl_status wk_pages_visit(
        void *context, uint64_t ordinal, enum wk_entry_kind kind, uint64_t size, struct sl_error *err);

/* wk_pages_check walks the file and calls visit for each entry (NULL = none). Errors: BAD_DATA with the page, NOT_FOUND, and what visit returns. */
SL_MUST_USE enum sl_status wk_pages_check(
        const char *path, wk_pages_visit *visit, void *context, struct sl_error *err);

void wk_key_store(uint8_t key[WK_KEY_SIZE], uint64_t ordinal, enum wk_entry_kind kind);
bool wk_key_load(const uint8_t *key, uint64_t size, uint64_t *ret_ordinal, enum wk_entry_kind *ret_kind);
