/* RUN/status.json: see status_place.h. */
#include "common/status_place.h"

#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (64 << 10) /* bytes */

static bool is_endpoint(const char *text)
{
    return strncmp(text, "tcp://", 6) == 0 || strncmp(text, "ipc://", 6) == 0;
}

/* ---- read ---- */

static bool copy_text(char *to, size_t size, const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL)
        return true; /* stays empty */
    return (size_t)snprintf(to, size, "%s", text) < size;
}

static bool parse(struct sl_status_place *place, const json_t *object)
{
    bool fits = copy_text(place->endpoint, sizeof(place->endpoint), object, "endpoint");
    fits &= copy_text(place->public_key, sizeof(place->public_key), object, "public_key");
    fits &= copy_text(place->host, sizeof(place->host), object, "host");
    (void)copy_text(place->reason, sizeof(place->reason), object, "reason"); /* cut, if need be */
    place->pid = json_integer_value(json_object_get(object, "pid"));
    place->started = json_number_value(json_object_get(object, "started"));
    const char *hash = json_string_value(json_object_get(object, "config_hash"));
    place->config_hash = hash == NULL ? 0 : strtoull(hash, NULL, 16);
    const json_t *ended = json_object_get(object, "ended");
    place->ended = json_is_number(ended);
    place->ended_at = json_number_value(ended);
    place->step = json_integer_value(json_object_get(object, "step"));
    place->exit_code = (int)json_integer_value(json_object_get(object, "exit_code"));
    return fits && json_is_object(object) && is_endpoint(place->endpoint);
}

static enum sl_status read_file(struct sl_status_place *place, const char *path, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum sl_status status = sl_file_read(&text, &size, path, FILE_MAX, err);
    if (status != SL_OK)
        return status;
    json_t *object = json_loadb(text, size, 0, NULL);
    bool good = object != NULL && parse(place, object);
    json_decref(object);
    struct stat facts;
    if (stat(path, &facts) == 0)
        place->sign = (double)facts.st_mtim.tv_sec + (double)facts.st_mtim.tv_nsec * 1e-9;
    return good ? SL_OK
                : sl_fail(err, SL_BAD_DATA,
                          "%s does not say where a run can be heard; the run writes it anew when it starts",
                          path);
}

static enum sl_status read_folder(struct sl_status_place *place, const char *folder, struct sl_error *err)
{
    if ((size_t)snprintf(place->folder, sizeof(place->folder), "%s", folder) >= sizeof(place->folder))
        return sl_fail(err, SL_USAGE, "the path is longer than %zu bytes", sizeof(place->folder) - 1);
    SL_AUTO_FREE char *path = sl_path_join(folder, SL_STATUS_FILE);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = read_file(place, path, err);
    if (status == SL_NOT_FOUND)
        return sl_fail(err, SL_NOT_FOUND,
                "%s has no " SL_STATUS_FILE
                ": no run has written there, or it publishes nothing (cluster.status: none)",
                folder);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

enum sl_status sl_status_place_read(struct sl_status_place *ret_place, const char *text, struct sl_error *err)
{
    struct sl_status_place place = {0};
    enum sl_status status = SL_OK;
    if (is_endpoint(text)) {
        if ((size_t)snprintf(place.endpoint, sizeof(place.endpoint), "%s", text) >= sizeof(place.endpoint))
            return sl_fail(
                    err, SL_USAGE, "the endpoint is longer than %zu bytes", sizeof(place.endpoint) - 1);
    } else if (sl_file_is_directory(text)) {
        status = read_folder(&place, text, err);
    } else if (ends_with(text, SL_STATUS_FILE) && sl_file_size(text) >= 0) {
        SL_AUTO_FREE char *folder = sl_path_directory(text);
        status = folder == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for a path")
                                : read_folder(&place, folder, err);
    } else {
        return sl_fail(err, SL_USAGE,
                "%s is neither a run's folder nor an endpoint such as tcp://127.0.0.1:5556", text);
    }
    if (status == SL_OK)
        *ret_place = place;
    return status;
}

/* ---- write ---- */

enum sl_status sl_status_place_write(const struct sl_status_place *place, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    const char *text = NULL;
    SL_AUTO_FREE char *path = sl_path_join(place->folder, SL_STATUS_FILE);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    sl_json_init(&json, FILE_MAX);
    json.pretty = true;
    sl_json_object(&json, NULL);
    sl_json_string(&json, "endpoint", place->endpoint);
    sl_json_string(&json, "public_key", place->public_key[0] != 0 ? place->public_key : NULL);
    sl_json_string(&json, "host", place->host);
    sl_json_int(&json, "pid", place->pid);
    sl_json_double(&json, "started", place->started);
    char hash[17];
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64, place->config_hash);
    sl_json_string(&json, "config_hash", place->config_hash != 0 ? hash : NULL);
    if (place->ended) {
        sl_json_double(&json, "ended", place->ended_at);
        sl_json_int(&json, "step", place->step);
        sl_json_string(&json, "reason", place->reason);
        sl_json_int(&json, "exit_code", place->exit_code);
    }
    sl_json_end(&json);
    size_t size = 0;
    enum sl_status status = sl_json_finish(&json, &text, &size, err);
    SL_AUTO_FREE char *line = status == SL_OK ? sl_strdup_printf("%s\n", text) : NULL;
    if (status == SL_OK && line == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %s", path);
    return status == SL_OK ? sl_file_write_atomic(path, line, size + 1, err) : status;
}

bool sl_status_place_done(const struct sl_status_place *place, uint64_t config_hash)
{
    return place->ended && place->exit_code == 0 && place->config_hash == config_hash && config_hash != 0;
}

enum sl_status sl_status_place_begin(const char *folder, struct sl_error *err)
{
    SL_AUTO_FREE struct sl_status_place *place = sl_alloc(1, sizeof(*place));
    struct sl_error ignored = {0};
    if (place == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for " SL_STATUS_FILE);
    if (read_folder(place, folder, &ignored) != SL_OK || !place->ended || place->config_hash == 0)
        return SL_OK;
    place->config_hash = 0;
    return sl_status_place_write(place, err);
}

void sl_status_place_touch(const struct sl_status_place *place)
{
    SL_AUTO_FREE char *path = sl_path_join(place->folder, SL_STATUS_FILE);
    if (path != NULL)
        (void)utimensat(AT_FDCWD, path, NULL, 0);
}

/* ---- find ---- */

struct search {
    struct sl_status_place *places; /* the newest `most`, in order of their start */
    int most, count;                /* count: of all */
};

static void add(struct search *search, const struct sl_status_place *place)
{
    int kept = search->count < search->most ? search->count : search->most;
    int at = kept;
    while (at > 0 && search->places[at - 1].started > place->started)
        at--;
    search->count++;
    if (kept < search->most) {
        memmove(search->places + at + 1, search->places + at, (size_t)(kept - at) * sizeof(*place));
        search->places[at] = *place;
    } else if (at > 0) { /* the oldest leaves */
        memmove(search->places, search->places + 1, (size_t)(at - 1) * sizeof(*place));
        search->places[at - 1] = *place;
    }
}

/* A run's folder is not searched further: its snapshots are no runs. */
static enum sl_status search_folder(
        struct search *search, const char *folder, int depth, struct sl_error *err)
{
    SL_AUTO_FREE struct sl_status_place *place = sl_alloc(1, sizeof(*place));
    if (place == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a list of runs");
    struct sl_error problem = {0};
    enum sl_status status = read_folder(place, folder, &problem);
    if (status == SL_OK)
        add(search, place);
    if (status != SL_NOT_FOUND || depth == 0)
        return status == SL_NO_MEMORY ? sl_fail(err, status, "%s", problem.text) : SL_OK;
    DIR *entries = opendir(folder);
    if (entries == NULL)
        return SL_OK; /* not ours to read */
    status = SL_OK;
    for (const struct dirent *entry; status == SL_OK && (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        bool here = strcmp(folder, ".") == 0;
        SL_AUTO_FREE char *path = here ? sl_strdup(entry->d_name) : sl_path_join(folder, entry->d_name);
        if (path == NULL)
            status = sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
        else if (sl_file_is_directory(path))
            status = search_folder(search, path, depth - 1, err);
    }
    (void)closedir(entries);
    return status;
}

enum sl_status sl_status_places_find(
        struct sl_status_place *ret_places, int most, int *ret_count, const char *dir, struct sl_error *err)
{
    struct search search = {.places = ret_places, .most = most};
    if (!sl_file_is_directory(dir))
        return sl_fail(err, SL_NOT_FOUND, "there is no folder %s", dir);
    enum sl_status status = search_folder(&search, dir, 2, err);
    if (status == SL_OK)
        *ret_count = search.count;
    return status;
}

bool sl_status_place_dead(const struct sl_status_place *place)
{
    char host[sizeof(place->host)] = "";
    if (place->pid <= 0 || gethostname(host, sizeof(host) - 1) != 0 || strcmp(host, place->host) != 0)
        return false;
    return kill((pid_t)place->pid, 0) != 0 && errno == ESRCH;
}
