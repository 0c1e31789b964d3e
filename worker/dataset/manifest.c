/* Strict reading of manifest lines: see manifest.h. */
#include "worker/dataset/manifest.h"

#include "common/clock.h"
#include "common/memory.h"
#include "worker/dataset/sample.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const row_keys[] = {
        "id", "video", "title", "ocr", "asr", "label", "published", "split", "features", "tokens", "texts"};
static const char *const text_keys[WK_TEXT_FIELDS] = {"title", "ocr", "asr"};
static const char *const split_names[WK_SPLITS] = {"train", "validation", "test"};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char *wk_split_name(enum wk_split split)
{
    return (size_t)split < WK_SPLITS ? split_names[split] : "unknown";
}

void wk_manifest_row_fini(struct wk_manifest_row *row)
{
    sl_free(row->id);
    sl_free(row->video);
    for (int i = 0; i < WK_TEXT_FIELDS; i++)
        sl_free(row->texts[i]);
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        sl_free(row->arrays[m].path);
        sl_free(row->arrays[m].name);
        sl_free(row->own_texts[m]);
    }
    memset(row, 0, sizeof(*row));
}

/* Levenshtein distance of short words; large when one is long. */
static size_t word_distance(const char *a, const char *b)
{
    size_t row[SL_NAME_MAX + 1];
    size_t length_a = strlen(a), length_b = strlen(b);
    if (length_a > SL_NAME_MAX || length_b > SL_NAME_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= length_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= length_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[length_b];
}

/* The nearest of the names if it is near enough to be meant, else NULL. */
static const char *nearest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        size_t distance = word_distance(word, names[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = names[i];
        }
    }
    return best;
}

/* A key or a value of the line, short and printable, for an error. */
static const char *shown(char buffer[64], const char *text)
{
    size_t length = strlen(text);
    if (length > 56) {
        length = 56;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--; /* not in the middle of a character */
    }
    for (size_t i = 0; i < length; i++)
        buffer[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    buffer[length] = '\0';
    return buffer;
}

static enum sl_status copy_text(char **ret_text, const char *key, const json_t *value, struct sl_error *err)
{
    if (value == NULL || json_is_null(value))
        return SL_OK;
    if (!json_is_string(value))
        return sl_fail(err, SL_BAD_DATA, "\"%s\" is not a text", key);
    char *copy = sl_strdup(json_string_value(value));
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    *ret_text = copy;
    return SL_OK;
}

static enum sl_status check_keys(
        const json_t *object, const char *const *names, size_t count, const char *where, struct sl_error *err)
{
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, key, value)
    {
        bool known = key[0] == '_';
        for (size_t i = 0; i < count && !known; i++)
            known = strcmp(key, names[i]) == 0;
        if (known)
            continue;
        char buffer[64];
        const char *near = nearest(key, names, count);
        if (near != NULL)
            return sl_fail(err, SL_BAD_DATA, "unknown key \"%s\"%s; is \"%s\" meant?", shown(buffer, key),
                    where, near);
        return sl_fail(err, SL_BAD_DATA, "unknown key \"%s\"%s; a key of your own begins with \"_\"",
                shown(buffer, key), where);
    }
    return SL_OK;
}

static enum sl_status take_id(struct wk_manifest_row *row, const json_t *object, struct sl_error *err)
{
    enum sl_status status = copy_text(&row->id, "id", json_object_get(object, "id"), err);
    if (status != SL_OK)
        return status;
    if (row->id == NULL || row->id[0] == '\0')
        return sl_fail(err, SL_BAD_DATA, "\"id\" is missing; every line needs one of its own");
    if (strlen(row->id) > WK_MANIFEST_ID_MAX)
        return sl_fail(err, SL_BAD_DATA, "\"id\" is longer than %d bytes", WK_MANIFEST_ID_MAX);
    return SL_OK;
}

static enum sl_status take_label(struct wk_manifest_row *row, const json_t *object,
        const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO_FREE char *name = NULL;
    row->label = WK_LABEL_NONE;
    enum sl_status status = copy_text(&name, "label", json_object_get(object, "label"), err);
    if (status != SL_OK || name == NULL)
        return status;
    row->label = sl_config_find_label(config, name);
    if (row->label >= 0)
        return SL_OK;
    const char *names[SL_LABELS_MAX];
    for (int k = 0; k < config->label_count; k++)
        names[k] = config->labels[k].name;
    char buffer[64];
    const char *near = nearest(name, names, (size_t)config->label_count);
    if (near != NULL)
        return sl_fail(err, SL_BAD_DATA, "label \"%s\" is not in the config; is \"%s\" meant?",
                shown(buffer, name), near);
    return sl_fail(err, SL_BAD_DATA, "label \"%s\" is not in the config's labels", shown(buffer, name));
}

static enum sl_status take_split(struct wk_manifest_row *row, const json_t *object, struct sl_error *err)
{
    SL_AUTO_FREE char *name = NULL;
    row->split = WK_SPLIT_TRAIN;
    enum sl_status status = copy_text(&name, "split", json_object_get(object, "split"), err);
    if (status != SL_OK || name == NULL)
        return status;
    for (int i = 0; i < WK_SPLITS; i++) {
        if (strcmp(name, split_names[i]) == 0) {
            row->split = (enum wk_split)i;
            return SL_OK;
        }
    }
    char buffer[64];
    return sl_fail(err, SL_BAD_DATA, "split \"%s\" is none of train, validation, test", shown(buffer, name));
}

static enum sl_status take_published(struct wk_manifest_row *row, const json_t *object, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    row->published_s = INT64_MIN;
    enum sl_status status = copy_text(&text, "published", json_object_get(object, "published"), err);
    if (status != SL_OK || text == NULL)
        return status;
    if (sl_time_parse_rfc3339(&row->published_s, text, err) != SL_OK)
        return sl_error_context(err, "\"published\"");
    return SL_OK;
}

static enum sl_status take_array(struct wk_manifest_array *array, const char *section, const char *name,
        const json_t *value, struct sl_error *err)
{
    static const char *const keys[] = {"path", "row", "name"};
    array->row = -1;
    if (json_is_string(value))
        return copy_text(&array->path, name, value, err);
    if (!json_is_object(value))
        return sl_fail(err, SL_BAD_DATA, "%s.%s is neither a path nor {\"path\", \"row\" or \"name\"}",
                section, name);
    enum sl_status status = check_keys(value, keys, COUNT_OF(keys), " of an array", err);
    if (status == SL_OK)
        status = copy_text(&array->path, "path", json_object_get(value, "path"), err);
    if (status == SL_OK)
        status = copy_text(&array->name, "name", json_object_get(value, "name"), err);
    if (status != SL_OK)
        return status;
    if (array->path == NULL)
        return sl_fail(err, SL_BAD_DATA, "%s.%s has no \"path\"", section, name);
    const json_t *row = json_object_get(value, "row");
    if (row == NULL || json_is_null(row))
        return SL_OK;
    if (!json_is_integer(row) || json_integer_value(row) < 0)
        return sl_fail(err, SL_BAD_DATA, "%s.%s.row is not a whole number from 0", section, name);
    array->row = json_integer_value(row);
    return SL_OK;
}

typedef enum sl_status take_value(struct wk_manifest_row *row, int modality, const char *section,
        const char *name, const json_t *value, struct sl_error *err);

static enum sl_status take_own_array(struct wk_manifest_row *row, int modality, const char *section,
        const char *name, const json_t *value, struct sl_error *err)
{
    return take_array(&row->arrays[modality], section, name, value, err);
}

static enum sl_status take_own_text(struct wk_manifest_row *row, int modality, const char *section,
        const char *name, const json_t *value, struct sl_error *err)
{
    char key[2 * SL_NAME_MAX];
    (void)snprintf(key, sizeof(key), "%s.%s", section, name);
    return copy_text(&row->own_texts[modality], key, value, err);
}

/* "features", "tokens" and "texts" have the same form: modality: value, for modalities of one kind. */
static enum sl_status take_section(struct wk_manifest_row *row, const json_t *object, const char *section,
        enum sl_kind kind, take_value *take, const struct sl_config *config, struct sl_error *err)
{
    const json_t *values = json_object_get(object, section);
    if (values == NULL || json_is_null(values))
        return SL_OK;
    if (!json_is_object(values))
        return sl_fail(err, SL_BAD_DATA, "\"%s\" is not an object of modality: value", section);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)values, key, value)
    {
        if (key[0] == '_')
            continue;
        char buffer[64];
        int m = sl_config_find_modality(config, key);
        if (m < 0)
            return sl_fail(err, SL_BAD_DATA, "%s.%s: the config has no modality of that name", section,
                    shown(buffer, key));
        if (config->modalities[m].kind != kind)
            return sl_fail(err, SL_BAD_DATA, "%s.%s: the config's modality is not of kind `%s`", section, key,
                    kind == SL_KIND_FEATURES ? "features" : "bert");
        enum sl_status status = take(row, m, section, config->modalities[m].name, value, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status take_row(struct wk_manifest_row *row, const json_t *object,
        const struct sl_config *config, struct sl_error *err)
{
    enum sl_status status = check_keys(object, row_keys, COUNT_OF(row_keys), "", err);
    if (status == SL_OK)
        status = copy_text(&row->video, "video", json_object_get(object, "video"), err);
    for (int i = 0; i < WK_TEXT_FIELDS && status == SL_OK; i++)
        status = copy_text(&row->texts[i], text_keys[i], json_object_get(object, text_keys[i]), err);
    if (status == SL_OK)
        status = take_label(row, object, config, err);
    if (status == SL_OK)
        status = take_published(row, object, err);
    if (status == SL_OK)
        status = take_split(row, object, err);
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        row->arrays[m].row = -1;
    if (status == SL_OK)
        status = take_section(row, object, "features", SL_KIND_FEATURES, take_own_array, config, err);
    if (status == SL_OK)
        status = take_section(row, object, "tokens", SL_KIND_BERT, take_own_array, config, err);
    if (status == SL_OK)
        status = take_section(row, object, "texts", SL_KIND_BERT, take_own_text, config, err);
    return status;
}

static void release_json(json_t **value)
{
    json_decref(*value);
}

enum sl_status wk_manifest_parse(struct wk_manifest_row *ret_row, char *ret_id, const char *line, size_t size,
        const struct sl_config *config, struct sl_error *err)
{
    if (ret_id != NULL)
        ret_id[0] = '\0';
    if (size > WK_MANIFEST_LINE_MAX)
        return sl_fail(
                err, SL_BAD_DATA, "the line has %zu bytes, at most %d are read", size, WK_MANIFEST_LINE_MAX);
    json_error_t problem;
    SL_AUTO(release_json) json_t *object = json_loadb(line, size, JSON_REJECT_DUPLICATES, &problem);
    if (object == NULL)
        return sl_fail(err, SL_BAD_DATA, "not JSON: %s at column %d", problem.text, problem.column);
    if (!json_is_object(object))
        return sl_fail(err, SL_BAD_DATA, "not a JSON object {…}");
    SL_AUTO(wk_manifest_row_fini) struct wk_manifest_row row = {0};
    enum sl_status status = take_id(&row, object, err);
    if (status == SL_OK && ret_id != NULL)
        (void)snprintf(ret_id, WK_MANIFEST_ID_MAX + 1, "%s", row.id);
    if (status == SL_OK)
        status = take_row(&row, object, config, err);
    if (status != SL_OK)
        return status;
    *ret_row = row;
    memset(&row, 0, sizeof(row));
    return SL_OK;
}

static bool is_blank(const char *text)
{
    return text == NULL || text[strspn(text, " \t\r\n")] == '\0';
}

enum sl_status wk_manifest_check_input(
        const struct wk_manifest_row *row, const struct sl_config *config, int modality, struct sl_error *err)
{
    const struct sl_modality_config *m = &config->modalities[modality];
    bool there = true;
    const char *what = "";
    if (m->kind == SL_KIND_VIT) {
        there = !is_blank(row->video);
        what = "\"video\" is missing";
    } else if (m->kind == SL_KIND_BERT) {
        there = !is_blank(row->texts[WK_TEXT_TITLE]) || !is_blank(row->texts[WK_TEXT_OCR]) ||
                !is_blank(row->texts[WK_TEXT_ASR]) || !is_blank(row->own_texts[modality]) ||
                row->arrays[modality].path != NULL;
        what = "no text: title, ocr and asr are missing or empty, and so is what \"texts\" or \"tokens\" "
               "has for it";
    } else {
        there = row->arrays[modality].path != NULL;
        what = "its array is missing in \"features\"";
    }
    return there ? SL_OK : sl_fail(err, SL_BAD_DATA, "modality %s: %s", m->name, what);
}

enum sl_status wk_manifest_check_inputs(
        const struct wk_manifest_row *row, const struct sl_config *config, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        status = wk_manifest_check_input(row, config, m, err);
    return status;
}
