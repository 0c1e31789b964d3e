/* A snapshot in use: see bundle.h. */
#include "deploy/serve/bundle.h"

#include "common/clock.h"
#include "common/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum sl_status dp_bundle_find(struct dp_place_of_snapshot *ret_place, const char *path, struct sl_error *err)
{
    char resolved[SL_PATH_MAX], real[PATH_MAX], manifest[PATH_MAX + 32];
    struct stat info;
    if (strlen(path) + 32 > SL_PATH_MAX)
        return sl_fail(err, SL_USAGE, "the snapshot's path is too long");
    dp_loaded_resolve(resolved, path);
    if (realpath(resolved, real) == NULL || strlen(real) >= SL_PATH_MAX - 32)
        return sl_fail(err, SL_NOT_FOUND, "%s: %s", path, strerror(errno));
    (void)snprintf(manifest, sizeof(manifest), "%s/manifest.json", real);
    if (stat(manifest, &info) != 0)
        return sl_fail(err, SL_NOT_FOUND, "%s has no snapshot: %s is not there", path, manifest);
    *ret_place = (struct dp_place_of_snapshot){.device = info.st_dev,
            .inode = info.st_ino,
            .modified_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec};
    (void)snprintf(ret_place->path, sizeof(ret_place->path), "%.*s", SL_PATH_MAX - 1, real);
    return SL_OK;
}

bool dp_bundle_same(const struct dp_place_of_snapshot *a, const struct dp_place_of_snapshot *b)
{
    return strcmp(a->path, b->path) == 0 && a->device == b->device && a->inode == b->inode &&
           a->modified_ns == b->modified_ns;
}

enum sl_status dp_bundle_wrap(
        struct dp_bundle **ret_bundle, const struct dp_loaded *loaded, struct sl_error *err)
{
    struct dp_bundle *bundle = sl_alloc(1, sizeof(*bundle));
    if (bundle == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot");
    (void)pthread_mutex_init(&bundle->lock, NULL);
    bundle->loaded = loaded;
    bundle->references = 1;
    bundle->loaded_at = (double)sl_clock_wall_us() * 1e-6;
    *ret_bundle = bundle;
    return SL_OK;
}

enum sl_status dp_bundle_open(
        struct dp_bundle **ret_bundle, const struct dp_place_of_snapshot *place, struct sl_error *err)
{
    SL_AUTO(dp_loaded_close_auto) struct dp_loaded *loaded = NULL;
    enum sl_status status = dp_loaded_open(&loaded, place->path, err);
    if (status == SL_OK)
        status = dp_bundle_wrap(ret_bundle, loaded, err);
    if (status != SL_OK)
        return status;
    (*ret_bundle)->owned = SL_TAKE(loaded);
    (*ret_bundle)->place = *place;
    return SL_OK;
}

struct dp_bundle *dp_bundle_retain(struct dp_bundle *bundle)
{
    (void)pthread_mutex_lock(&bundle->lock);
    bundle->references++;
    (void)pthread_mutex_unlock(&bundle->lock);
    return bundle;
}

void dp_bundle_release(struct dp_bundle *bundle)
{
    if (bundle == NULL)
        return;
    (void)pthread_mutex_lock(&bundle->lock);
    int left = --bundle->references;
    (void)pthread_mutex_unlock(&bundle->lock);
    if (left > 0)
        return;
    (void)pthread_mutex_destroy(&bundle->lock);
    dp_loaded_close(bundle->owned);
    sl_free(bundle);
}
