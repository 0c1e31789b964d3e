/* Runs below a folder: see places.h. */
#include "deploy/dashboard/places.h"

#include "common/file.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ENTRIES_MAX 4096 /* names looked at in one folder */

static const char *const marks[] = {"metrics.jsonl", "status.json", "config.resolved.yaml"};

bool dp_place_is_endpoint(const char *text)
{
    return strncmp(text, "tcp://", 6) == 0 || strncmp(text, "ipc://", 6) == 0;
}

/* Joins into a fixed path; false when it does not fit. */
static bool join_path(char *path, const char *dir, const char *name)
{
    int length = snprintf(path, SL_PATH_MAX, "%s/%s", dir, name);
    return length > 0 && length < SL_PATH_MAX;
}

static double newest_mark(const char *folder)
{
    double newest = 0.0;
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        char path[SL_PATH_MAX];
        struct stat found;
        if (!join_path(path, folder, marks[i]) || stat(path, &found) != 0 || !S_ISREG(found.st_mode))
            continue;
        double time = (double)found.st_mtim.tv_sec + 1e-9 * (double)found.st_mtim.tv_nsec;
        newest = time > newest ? time : newest;
    }
    return newest;
}

/* Keeps the newest when there are too many. */
static void add(struct dp_place *places, int *count, const char *folder, const char *name, double modified)
{
    int slot = *count;
    if (slot == DP_PLACES_MAX) {
        slot = 0;
        for (int i = 1; i < DP_PLACES_MAX; i++)
            if (places[i].modified < places[slot].modified)
                slot = i;
        if (places[slot].modified >= modified)
            return;
    } else {
        (*count)++;
    }
    places[slot] = (struct dp_place){.modified = modified};
    (void)snprintf(places[slot].name, sizeof(places[slot].name), "%s", name);
    (void)snprintf(places[slot].folder, sizeof(places[slot].folder), "%s", folder);
}

static enum sl_status scan_folder(struct dp_place *places, int *count, const char *root, const char *prefix,
        int depth, struct sl_error *err)
{
    DIR *dir = opendir(root);
    if (dir == NULL)
        return sl_fail_errno(err, "cannot read the folder %s", root);
    struct dirent *entry = NULL;
    for (int seen = 0; seen < ENTRIES_MAX && (entry = readdir(dir)) != NULL; seen++) {
        char path[SL_PATH_MAX], name[DP_PLACE_NAME_MAX];
        int length = snprintf(name, sizeof(name), "%s%s", prefix, entry->d_name);
        if (entry->d_name[0] == '.' || length >= (int)sizeof(name) || !join_path(path, root, entry->d_name) ||
                !sl_file_is_directory(path))
            continue;
        double modified = newest_mark(path);
        if (modified > 0.0)
            add(places, count, path, name, modified);
        else if (depth > 1 && length + 1 < (int)sizeof(name)) {
            char inner[DP_PLACE_NAME_MAX + 1];
            (void)snprintf(inner, sizeof(inner), "%s/", name);
            (void)scan_folder(places, count, path, inner, depth - 1,
                    NULL); /* one that may not be read has no runs for us */
        }
    }
    (void)closedir(dir);
    return SL_OK;
}

static int newer_first(const void *a, const void *b)
{
    const struct dp_place *x = a, *y = b;
    if (x->modified != y->modified)
        return x->modified > y->modified ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void last_part(char *name, const char *path)
{
    char absolute[PATH_MAX];
    if (realpath(path, absolute) == NULL)
        (void)snprintf(absolute, sizeof(absolute), "%s", path);
    const char *slash = strrchr(absolute, '/');
    (void)snprintf(name, DP_PLACE_NAME_MAX, "%.*s", DP_PLACE_NAME_MAX - 1,
            slash != NULL && slash[1] != 0 ? slash + 1 : absolute);
}

enum sl_status dp_places_scan(struct dp_place *places, int *ret_count, const char *root, struct sl_error *err)
{
    int count = 0;
    if (!sl_file_is_directory(root))
        return sl_fail(err, SL_NOT_FOUND,
                "%s is not a folder: give a run's folder, a folder of runs or an endpoint", root);
    double modified = newest_mark(root);
    enum sl_status status = SL_OK;
    if (modified > 0.0) {
        char name[DP_PLACE_NAME_MAX];
        last_part(name, root);
        add(places, &count, root, name, modified);
    } else {
        status = scan_folder(places, &count, root, "", 2, err);
    }
    if (status != SL_OK)
        return status;
    for (int i = 0; i < count; i++)
        if (sl_status_place_read(&places[i].where, places[i].folder, NULL) != SL_OK)
            places[i].where = (struct sl_status_place){0}; /* files only */
    qsort(places, (size_t)count, sizeof(places[0]), newer_first);
    *ret_count = count;
    return SL_OK;
}
