/* Whom servers let in: see allow_list.h. */
#include "common/allow_list.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zmq.h>

#define SUFFIX ".pub"
#define AGE_MAX_US (5 * 1000 * 1000) /* files that were changed in place do not show in the folder's time */
#define SETTLED_US                                                                                           \
    (1 * 1000 *                                                                                              \
            1000) /* a folder changed later than this before it was read may have changed once more in the same tick */

struct entry {
    uint8_t key[SL_KEY_SIZE];
    char name[SL_CLIENT_NAME_MAX];
};

struct sl_allow_list {
    char *dir;
    struct entry *entries;
    int count, capacity;
    struct stat seen; /* the folder when it was read */
    int64_t read_us;  /* monotonic */
    bool settled;
};

static enum sl_status add(struct sl_allow_list *list, const char *file, struct sl_error *err)
{
    char text[SL_KEY_TEXT_SIZE];
    SL_AUTO_FREE char *path = sl_strdup_printf("%s/%s", list->dir, file);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = sl_key_read_public(text, path, err);
    if (status != SL_OK)
        return status;
    if (list->count == SL_ALLOWED_MAX)
        return sl_fail(err, SL_KEYS, "%s has more than %d keys", list->dir, SL_ALLOWED_MAX);
    if (list->count == list->capacity) {
        int capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        struct entry *entries = sl_realloc(list->entries, (size_t)capacity, sizeof(*entries));
        if (entries == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for keys");
        list->entries = entries;
        list->capacity = capacity;
    }
    struct entry *entry = &list->entries[list->count++];
    (void)zmq_z85_decode(entry->key, text); /* was checked when it was read */
    (void)snprintf(entry->name, sizeof(entry->name), "%.*s", (int)(strlen(file) - strlen(SUFFIX)), file);
    return SL_OK;
}

static bool is_key_file(const char *name)
{
    size_t size = strlen(name);
    return name[0] != '.' && size > strlen(SUFFIX) && strcmp(name + size - strlen(SUFFIX), SUFFIX) == 0;
}

/* lenient: what is no key is logged and left out, so that one bad file does not shut everybody out of a running cluster. */
static enum sl_status read_folder(struct sl_allow_list *list, bool lenient, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    list->count = 0;
    list->settled = false;
    list->read_us = sl_clock_monotonic_us();
    DIR *dir = opendir(list->dir);
    if (dir == NULL || fstat(dirfd(dir), &list->seen) != 0) {
        status = sl_fail(err, SL_KEYS, "%s: %s: servers need it, with the public key of each client",
                list->dir, strerror(errno));
        if (dir != NULL)
            (void)closedir(dir);
        return status;
    }
    int64_t changed_us = (int64_t)list->seen.st_mtim.tv_sec * 1000000 + list->seen.st_mtim.tv_nsec / 1000;
    list->settled = sl_clock_wall_us() - changed_us > SETTLED_US;
    for (struct dirent *item; status == SL_OK && (item = readdir(dir)) != NULL;) {
        struct sl_error problem = {0};
        if (!is_key_file(item->d_name))
            continue;
        status = add(list, item->d_name, &problem);
        if (status == SL_OK)
            continue;
        char quoted[SL_ERROR_TEXT_MAX];
        if (!lenient)
            (void)sl_fail(err, status, "%s", problem.text);
        else
            sl_log(SL_LOG_WARN, "transport", "key-file-skipped", "reason=%s",
                    sl_log_quote(quoted, sizeof(quoted), problem.text));
        status = lenient ? SL_OK : status;
    }
    (void)closedir(dir);
    return status;
}

static bool has_changed(const struct sl_allow_list *list)
{
    struct stat now;
    if (!list->settled || sl_clock_monotonic_us() - list->read_us > AGE_MAX_US || stat(list->dir, &now) != 0)
        return true;
    return now.st_mtim.tv_sec != list->seen.st_mtim.tv_sec ||
           now.st_mtim.tv_nsec != list->seen.st_mtim.tv_nsec || now.st_ino != list->seen.st_ino ||
           now.st_dev != list->seen.st_dev;
}

enum sl_status sl_allow_list_open(struct sl_allow_list **ret_list, const char *dir, struct sl_error *err)
{
    struct sl_allow_list *list = sl_alloc(1, sizeof(*list));
    if (list == NULL || (list->dir = sl_strdup(dir)) == NULL) {
        sl_free(list);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for keys");
    }
    enum sl_status status = read_folder(list, false, err);
    if (status != SL_OK) {
        sl_allow_list_close(list);
        return status;
    }
    *ret_list = list;
    return SL_OK;
}

void sl_allow_list_close(struct sl_allow_list *list)
{
    if (list == NULL)
        return;
    sl_free(list->entries);
    sl_free(list->dir);
    sl_free(list);
}

const char *sl_allow_list_find(struct sl_allow_list *list, const uint8_t key[static SL_KEY_SIZE])
{
    struct sl_error problem = {0};
    char quoted[SL_ERROR_TEXT_MAX];
    if (has_changed(list) && read_folder(list, true, &problem) != SL_OK)
        sl_log(SL_LOG_WARN, "transport", "allow-list-failed", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
    for (int i = 0; i < list->count; i++)
        if (memcmp(list->entries[i].key, key, SL_KEY_SIZE) == 0)
            return list->entries[i].name;
    return NULL;
}

int sl_allow_list_count(const struct sl_allow_list *list)
{
    return list->count;
}
