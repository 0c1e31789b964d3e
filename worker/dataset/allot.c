/* Rows into splits: see allot.h. */
#include "worker/dataset/allot.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/text.h"
#include "worker/dataset/twins.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* A reason to belong to another row: whoever has the same kind and key does. */
struct tie {
    uint64_t kind, key; /* kind: of the size of a video, of its bytes, or of an own key */
    uint32_t row;
};

struct wk_allot {
    const struct wk_allot_options *options;
    char *base_dir;
    struct wk_twins *twins; /* titles; all ties are joined there */
    struct wk_split_row *rows;
    char **videos; /* (count,) paths, NULL where there is none or videos are not compared */
    uint32_t count, room;
    struct tie *ties;
    size_t tie_count, tie_room;
};

#define KIND_SIZE 0
#define KIND_BYTES 1
#define KIND_OWN 2 /* and the number of the key */

/* ---- options ---- */

enum sl_status wk_allot_parse_together(
        struct wk_allot_options *options, const char *text, struct sl_error *err)
{
    options->titles = options->videos = false;
    options->key_count = 0;
    if (strcmp(text, "none") == 0)
        return SL_OK;
    for (const char *at = text; at != NULL;) {
        size_t length = strcspn(at, ",");
        bool titles = length == 6 && strncmp(at, "titles", 6) == 0,
             videos = length == 6 && strncmp(at, "videos", 6) == 0,
             own = length > 1 && length < SL_NAME_MAX && at[0] == '_' &&
                   options->key_count < WK_ALLOT_KEYS_MAX;
        if (!titles && !videos && !own)
            return sl_fail(err, SL_USAGE,
                    "--together %s: expected none, or of titles, videos and keys of your own that begin with "
                    "_, "
                    "such as titles,_series",
                    text);
        options->titles = options->titles || titles;
        options->videos = options->videos || videos;
        if (own)
            (void)snprintf(options->keys[options->key_count++], SL_NAME_MAX, "%.*s", (int)length, at);
        at = at[length] == ',' ? at + length + 1 : NULL;
    }
    return SL_OK;
}

char *wk_allot_describe(const struct wk_allot_options *options)
{
    SL_AUTO(sl_text_fini) struct sl_text text;
    const char *bytes = NULL;
    struct sl_error ignored = {0};
    sl_text_init(&text, 4096);
    sl_text_printf(&text, "%s %.6g %.6g %.6g, seed %" PRIu64 ", together%s%s",
            options->split.way == WK_SPLIT_BY_TIME ? "time" : "stratified", options->split.shares[0],
            options->split.shares[1], options->split.shares[2], options->split.seed,
            options->titles ? " titles" : "", options->videos ? " videos" : "");
    for (int i = 0; i < options->key_count; i++)
        sl_text_printf(&text, " %s", options->keys[i]);
    return sl_text_finish(&text, &bytes, NULL, &ignored) == SL_OK ? sl_strdup(bytes) : NULL;
}

/* ---- rows ---- */

enum sl_status wk_allot_create(struct wk_allot **ret_allot, const struct wk_allot_options *options,
        const char *base_dir, struct sl_error *err)
{
    SL_AUTO(wk_allot_destroy_auto) struct wk_allot *allot = sl_alloc(1, sizeof(*allot));
    if (allot == NULL || (allot->base_dir = sl_strdup(base_dir)) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    allot->options = options;
    enum sl_status status = wk_twins_create(&allot->twins, WK_TWINS_SIMILARITY, err);
    if (status == SL_OK)
        *ret_allot = SL_TAKE(allot);
    return status;
}

void wk_allot_destroy(struct wk_allot *allot)
{
    if (allot == NULL)
        return;
    for (uint32_t i = 0; i < allot->count; i++)
        sl_free(allot->videos[i]);
    sl_free((void *)allot->videos);
    wk_twins_destroy(allot->twins);
    sl_free(allot->rows);
    sl_free(allot->ties);
    sl_free(allot->base_dir);
    sl_free(allot);
}

void wk_allot_destroy_auto(struct wk_allot **allot)
{
    wk_allot_destroy(*allot);
}

static enum sl_status add_tie(
        struct wk_allot *allot, uint64_t kind, uint64_t key, uint32_t row, struct sl_error *err)
{
    if (allot->tie_count == allot->tie_room) {
        size_t room = allot->tie_room == 0 ? 1024 : allot->tie_room * 2;
        struct tie *ties = sl_realloc(allot->ties, room, sizeof(*ties));
        if (ties == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the groups of a manifest");
        allot->ties = ties;
        allot->tie_room = room;
    }
    allot->ties[allot->tie_count++] = (struct tie){kind, key, row};
    return SL_OK;
}

static void release_json(json_t **value)
{
    json_decref(*value);
}

/* The row's own keys are not kept by the parser: the line, which is sound JSON, is read once more. null is no value. */
static enum sl_status add_own_ties(
        struct wk_allot *allot, const char *line, size_t size, uint32_t row, struct sl_error *err)
{
    if (allot->options->key_count == 0)
        return SL_OK;
    SL_AUTO(release_json) json_t *object = json_loadb(line, size, 0, NULL);
    enum sl_status status = SL_OK;
    for (int i = 0; i < allot->options->key_count && status == SL_OK; i++) {
        const json_t *value = json_object_get(object, allot->options->keys[i]);
        char *text = value == NULL || json_is_null(value)
                             ? NULL
                             : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
        if (text != NULL)
            status = add_tie(allot, KIND_OWN + (uint64_t)i, XXH3_64bits(text, strlen(text)), row, err);
        free(text);
    }
    return status;
}

static const char *title_of(const struct wk_manifest_row *row)
{
    for (int i = 0; i < WK_TEXT_FIELDS; i++)
        if (row->texts[i] != NULL && row->texts[i][0] != '\0')
            return row->texts[i];
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        if (row->own_texts[m] != NULL && row->own_texts[m][0] != '\0')
            return row->own_texts[m];
    return "";
}

static enum sl_status make_room(struct wk_allot *allot, struct sl_error *err)
{
    if (allot->count < allot->room)
        return SL_OK;
    uint32_t room = allot->room == 0 ? 1024 : allot->room * 2;
    struct wk_split_row *rows = sl_realloc(allot->rows, room, sizeof(*rows));
    if (rows != NULL)
        allot->rows = rows;
    char **videos = sl_realloc((void *)allot->videos, room, sizeof(char *));
    if (videos != NULL)
        allot->videos = videos;
    if (rows == NULL || videos == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the splits of %u rows", room);
    allot->room = room;
    return SL_OK;
}

enum sl_status wk_allot_add(struct wk_allot *allot, const struct wk_manifest_row *row, const char *line,
        size_t size, uint32_t number, struct sl_error *err)
{
    const struct wk_allot_options *options = allot->options;
    if (options->split.way == WK_SPLIT_BY_TIME && row->published_s == INT64_MIN)
        return sl_fail(err, SL_BAD_DATA,
                "--split time needs \"published\" in every line; line %u (\"%.100s\") has none", number,
                row->id);
    enum sl_status status = make_room(allot, err);
    if (status != SL_OK)
        return status;
    const char *title = options->titles ? title_of(row) : "";
    status = wk_twins_add(allot->twins, title, strlen(title), err);
    if (status != SL_OK)
        return status;
    uint32_t index = allot->count++;
    allot->videos[index] = NULL;
    allot->rows[index] =
            (struct wk_split_row){.group = index, .label = row->label, .published_s = row->published_s};
    status = add_own_ties(allot, line, size, index, err);
    if (status != SL_OK || !options->videos || row->video == NULL)
        return status;
    allot->videos[index] = sl_path_join(allot->base_dir, row->video);
    if (allot->videos[index] == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int64_t bytes = sl_file_size(allot->videos[index]);
    return bytes > 0 ? add_tie(allot, KIND_SIZE, (uint64_t)bytes, index, err) : SL_OK;
}

/* ---- groups ---- */

static int compare_ties(const void *a, const void *b)
{
    const struct tie *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static bool same_tie(const struct tie *a, const struct tie *b)
{
    return a->kind == b->kind && a->key == b->key;
}

static void sort_ties(struct wk_allot *allot)
{
    if (allot->tie_count > 0)
        qsort(allot->ties, allot->tie_count, sizeof(*allot->ties), compare_ties);
}

/* Only files of the same size are read. */
static enum sl_status hash_videos(struct wk_allot *allot, struct sl_error *err)
{
    sort_ties(allot);
    size_t count = allot->tie_count;
    enum sl_status status = SL_OK;
    for (size_t i = 0; i < count && status == SL_OK; i++) {
        const struct tie tie = allot->ties[i];
        bool alone = (i == 0 || !same_tie(&allot->ties[i - 1], &tie)) &&
                     (i + 1 == count || !same_tie(&allot->ties[i + 1], &tie));
        uint64_t hash = 0;
        struct sl_error unreadable = {0};
        if (tie.kind == KIND_SIZE && !alone &&
                sl_file_hash(&hash, allot->videos[tie.row], &unreadable) == SL_OK)
            status = add_tie(allot, KIND_BYTES, hash, tie.row, err);
    }
    return status;
}

enum sl_status wk_allot_finish(
        struct wk_allot *allot, int label_count, uint8_t *ret_splits, struct sl_error *err)
{
    enum sl_status status = hash_videos(allot, err);
    if (status == SL_OK)
        status = wk_twins_find(allot->twins, err);
    if (status != SL_OK)
        return status;
    sort_ties(allot);
    for (size_t i = 1; i < allot->tie_count; i++)
        if (allot->ties[i].kind != KIND_SIZE && same_tie(&allot->ties[i - 1], &allot->ties[i]))
            wk_twins_join(allot->twins, allot->ties[i - 1].row, allot->ties[i].row);
    for (uint32_t i = 0; i < allot->count; i++)
        allot->rows[i].group = wk_twins_group(allot->twins, i);
    return wk_split_assign(ret_splits, allot->rows, allot->count, label_count, &allot->options->split, err);
}
