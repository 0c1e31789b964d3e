#pragma once
/* A snapshot in use by several threads: counted, and closed by whoever lets go last. For service.c and lane.c.
 *
 * Thread: retain and release any; the count has a lock of its own.
 */
#include "deploy/scoring/loaded.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/* Where a snapshot lies and whether it is still the same one. */
struct dp_place_of_snapshot {
    char path[SL_PATH_MAX]; /* without links: "latest" may point elsewhere while files are read */
    dev_t device;
    ino_t inode; /* of its manifest.json, which is written last */
    int64_t modified_ns;
};

struct dp_bundle {
    const struct dp_loaded *loaded;
    struct dp_loaded *owned; /* the same, or NULL when it is borrowed */
    struct dp_place_of_snapshot place;
    double loaded_at; /* Unix seconds */
    pthread_mutex_t lock;
    int references;
};

/* dp_bundle_find tells where the snapshot lies that path stands for now. Errors: NOT_FOUND. */
SL_MUST_USE enum sl_status dp_bundle_find(
        struct dp_place_of_snapshot *ret_place, const char *path, struct sl_error *err);
bool dp_bundle_same(const struct dp_place_of_snapshot *a, const struct dp_place_of_snapshot *b);

/* dp_bundle_open verifies and loads the snapshot at a place; dp_bundle_wrap borrows one that is loaded. Owns: *ret_bundle, release it. Errors: as dp_loaded_open. */
SL_MUST_USE enum sl_status dp_bundle_open(
        struct dp_bundle **ret_bundle, const struct dp_place_of_snapshot *place, struct sl_error *err);
SL_MUST_USE enum sl_status dp_bundle_wrap(
        struct dp_bundle **ret_bundle, const struct dp_loaded *loaded, struct sl_error *err);
struct dp_bundle *dp_bundle_retain(struct dp_bundle *bundle);
void dp_bundle_release(struct dp_bundle *bundle); /* NULL is fine */
