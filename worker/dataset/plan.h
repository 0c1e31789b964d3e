#pragma once
/* What an import will do: the manifest read once, each line checked and given its place. A line is known by its offset, so that the plan of a
 * million rows takes some tens of megabytes; whoever imports it reads and parses it again.
 *
 * Row i of a split goes to shard i / shard_size, whatever happens to other rows: the place of a sample depends on the manifest alone. A line that
 * cannot be parsed, lacks a label or an input or repeats an id has no row; it is in the plan's rejects.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/allot.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/record.h"

#include <stdint.h>

#define WK_PLAN_LINES_MAX 1000000000

struct wk_plan_row {
    uint64_t offset; /* bytes from the start of the manifest */
    uint32_t size;   /* bytes without the newline */
    uint32_t line;   /* from 1 */
};

struct wk_plan {
    char *path;
    int fd;               /* of the manifest */
    uint64_t hash;        /* of its bytes */
    uint64_t lines;       /* that are not blank */
    uint64_t splits_hash; /* of the splits that were given to the rows; 0 = the lines said theirs */
    struct wk_plan_row *rows[WK_SPLITS];
    uint64_t counts[WK_SPLITS];
    struct wk_reject *rejects;
    uint64_t reject_count;
};

/* wk_plan_create reads the manifest. allot: how rows are given to splits; NULL = as their lines say. Owns: *ret_plan. Errors: NOT_FOUND and FAILED as opening gives,
 * BAD_DATA for a manifest without lines and as wk_allot_add, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_plan_create(struct wk_plan **ret_plan, const char *path,
        const struct sl_config *config, const struct wk_allot_options *allot, struct sl_error *err);
void wk_plan_destroy(struct wk_plan *plan);
void wk_plan_destroy_auto(struct wk_plan **plan);

/* wk_plan_read parses the line of a row. Thread: any number at once. Owns: wk_manifest_row_fini(ret_row). Errors: FAILED when the manifest has changed. */
SL_MUST_USE enum sl_status wk_plan_read(const struct wk_plan *plan, const struct wk_plan_row *place,
        const struct sl_config *config, struct wk_manifest_row *ret_row, struct sl_error *err);
