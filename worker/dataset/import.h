#pragma once
/* A whole import: manifest in, dataset out, on several threads, in several runs if need be.
 *
 *     struct wk_import_options options = {.manifest = "clips/manifest.jsonl", .out = "data"};
 *     struct wk_import_result result = {0};
 *     enum sl_status s = wk_import_run(&options, config, &result, err);
 *
 * Worker threads (each with an importer and a decoder process) turn rows into packed records; the calling thread writes them in the order
 * of the rows, so the records are the same bytes for any number of threads. It writes one shard at a time into shard-NNNNN.partial,
 * commits every second or so, and renames a shard that is whole. So a run that ends at any point, by kill -9, a
 * full disk or a signal, is resumed by the same call: whole shards stay, a partial one goes on after its last commit. import.json
 * keeps what the first run was given; a later run with another manifest or other shapes is refused. manifest.json of each split is written last.
 *
 * A line that is no use (rejects) is not an error; it is listed in rejects.jsonl with its number, id and reason. It is stored in its shard as well, so that a resumed
 * run neither tries it again nor forgets it.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/allot.h"
#include "worker/dataset/decoder.h"
#include "worker/dataset/manifest.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WK_SHARD_ROWS 4096 /* rows of a shard when not said otherwise */

/* Zero means the default for each number. */
struct wk_import_options {
    const char *manifest; /* path; relative paths in it start from its folder */
    const char *out;      /* folder of the dataset */
    int jobs;             /* threads; 0 = cores that this process may use */
    uint64_t shard_size;  /* rows per shard; 0 = WK_SHARD_ROWS */
    uint64_t commit_rows; /* rows after which records are made durable; 0 = by time and size alone */
    const struct wk_allot_options *allot; /* how rows are given to splits; NULL = as their lines say */
    struct wk_decoder_limits limits;
    const atomic_bool *stop; /* set to stop in good order; may be NULL */
    void (*progress)(void *context, uint64_t done, uint64_t total,
            uint64_t rejected); /* from the calling thread; may be NULL */
    void *context;
};

struct wk_import_result {
    uint64_t lines;               /* of the manifest that are not blank */
    uint64_t imported[WK_SPLITS]; /* samples */
    uint64_t rejected;            /* lines */
    uint64_t resumed;             /* rows that an earlier run had done */
    int64_t size;                 /* bytes of all shards */
    double seconds;               /* of this run */
    char first_reason[256];       /* of the first reject, with its line */
};

/* wk_import_run imports what is missing. Errors: USAGE (another import's folder, a vocabulary that does not fit), BAD_DATA (no usable line at all: the lists are still
 * written), DISK (full or failing: resumable), STOPPED (resumable), FAILED (also when another import writes there), NO_MEMORY. */
SL_MUST_USE enum sl_status wk_import_run(const struct wk_import_options *options,
        const struct sl_config *config, struct wk_import_result *ret_result, struct sl_error *err);
