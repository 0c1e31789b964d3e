/* manifest.json in and out: see index.h. */
#include "worker/dataset/index.h"

#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "worker/dataset/manifest.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define SHARD_LINE_FILE "shard.json"
#define FORMAT_NAME "shelflife-dataset"

static const char *const kind_names[] = {"vit", "bert", "features"};
static const char *const storage_names[] = {"raw", "jpeg"};

const char *wk_kind_name(enum sl_kind kind)
{
    return (size_t)kind < 3 ? kind_names[kind] : "unknown";
}

/* ---- building ---- */

static void describe_modality(
        struct wk_index_modality *to, const struct sl_modality_config *from, uint64_t vocab_hash)
{
    memcpy(to->name, from->name, sizeof(to->name));
    to->kind = from->kind;
    switch (from->kind) {
    case SL_KIND_VIT:
        to->image = from->image;
        to->frames = from->frames;
        to->storage = from->storage;
        to->jpeg_quality = from->storage == SL_STORAGE_JPEG ? from->jpeg_quality : 0;
        break;
    case SL_KIND_BERT:
        to->max_tokens = from->max_tokens;
        to->vocab_size = from->vocab_size;
        to->lower_case = from->lower_case;
        to->vocab_hash = vocab_hash;
        break;
    case SL_KIND_FEATURES:
        to->input = from->input;
        to->max_items = from->max_items;
        break;
    }
}

enum sl_status wk_index_begin(struct wk_index **ret_index, const struct sl_config *config,
        const uint64_t *vocab_hashes, const char *split, struct sl_error *err)
{
    struct wk_index *index = sl_alloc(1, sizeof(*index));
    if (index == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    (void)snprintf(index->split, sizeof(index->split), "%s", split);
    index->label_count = config->label_count;
    for (int k = 0; k < config->label_count; k++)
        memcpy(index->labels[k], config->labels[k].name, SL_NAME_MAX);
    index->modality_count = config->modality_count;
    for (int m = 0; m < config->modality_count; m++)
        describe_modality(&index->modalities[m], &config->modalities[m], vocab_hashes[m]);
    *ret_index = index;
    return SL_OK;
}

enum sl_status wk_index_add_shard(
        struct wk_index *index, const struct wk_index_shard *shard, struct sl_error *err)
{
    if (index->shard_count >= WK_SHARDS_MAX)
        return sl_fail(err, SL_BAD_DATA, "more than %d shards; use a larger --shard-size", WK_SHARDS_MAX);
    if ((index->shard_count & (index->shard_count - 1)) == 0) { /* room doubles at powers of two */
        size_t room = index->shard_count == 0 ? 1 : (size_t)index->shard_count * 2;
        struct wk_index_shard *shards = sl_realloc(index->shards, room, sizeof(*shards));
        if (shards == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        index->shards = shards;
    }
    index->shards[index->shard_count++] = *shard;
    index->count += shard->count;
    index->rejects += shard->rejects;
    index->size += shard->size;
    index->fingerprint = wk_shard_fold(index->fingerprint, shard->count, shard->hash);
    for (int k = 0; k < index->label_count; k++)
        index->label_counts[k] += shard->labels[k];
    return SL_OK;
}

void wk_index_destroy(struct wk_index *index)
{
    if (index == NULL)
        return;
    sl_free(index->shards);
    sl_free(index);
}

void wk_index_destroy_auto(struct wk_index **index)
{
    wk_index_destroy(*index);
}

/* ---- writing ---- */

static void put_hash(struct sl_json *json, const char *key, uint64_t hash)
{
    char text[17];
    (void)snprintf(text, sizeof(text), "%016" PRIx64, hash);
    sl_json_string(json, key, text);
}

static void put_modality(struct sl_json *json, const struct wk_index_modality *modality)
{
    sl_json_object(json, NULL);
    sl_json_string(json, "name", modality->name);
    sl_json_string(json, "kind", wk_kind_name(modality->kind));
    switch (modality->kind) {
    case SL_KIND_VIT:
        sl_json_int(json, "image", modality->image);
        sl_json_int(json, "frames", modality->frames);
        sl_json_string(json, "storage", storage_names[modality->storage]);
        if (modality->storage == SL_STORAGE_JPEG)
            sl_json_int(json, "jpeg_quality", modality->jpeg_quality);
        break;
    case SL_KIND_BERT:
        sl_json_int(json, "max_tokens", modality->max_tokens);
        sl_json_bool(json, "lower_case", modality->lower_case);
        sl_json_int(json, "vocab_size", modality->vocab_size);
        put_hash(json, "vocab_hash", modality->vocab_hash);
        break;
    case SL_KIND_FEATURES:
        sl_json_int(json, "in", modality->input);
        sl_json_int(json, "max_items", modality->max_items);
        break;
    }
    sl_json_end(json);
}

static void put_modalities(struct sl_json *json, const struct wk_index *index)
{
    sl_json_array(json, "modalities");
    for (int m = 0; m < index->modality_count; m++)
        put_modality(json, &index->modalities[m]);
    sl_json_end(json);
}

static void put_shard(struct sl_json *json, const struct wk_index_shard *shard, int label_count)
{
    sl_json_object(json, NULL);
    sl_json_string(json, "name", shard->name);
    sl_json_uint(json, "count", shard->count);
    sl_json_uint(json, "rejected", shard->rejects);
    sl_json_int(json, "size", shard->size);
    put_hash(json, "hash", shard->hash);
    sl_json_array(json, "labels");
    for (int k = 0; k < label_count; k++)
        sl_json_uint(json, NULL, shard->labels[k]);
    sl_json_end(json);
    sl_json_end(json);
}

static void put_index(struct sl_json *json, const struct wk_index *index)
{
    sl_json_object(json, NULL);
    sl_json_string(json, "format", FORMAT_NAME);
    sl_json_int(json, "version", WK_INDEX_VERSION);
    sl_json_string(json, "split", index->split);
    sl_json_uint(json, "count", index->count);
    sl_json_uint(json, "rejected", index->rejects);
    sl_json_int(json, "size", index->size);
    put_hash(json, "fingerprint", index->fingerprint);
    sl_json_array(json, "labels");
    for (int k = 0; k < index->label_count; k++) {
        sl_json_object(json, NULL);
        sl_json_string(json, "name", index->labels[k]);
        sl_json_uint(json, "count", index->label_counts[k]);
        sl_json_end(json);
    }
    sl_json_end(json);
    put_modalities(json, index);
    sl_json_array(json, "shards");
    for (uint32_t i = 0; i < index->shard_count; i++)
        put_shard(json, &index->shards[i], index->label_count);
    sl_json_end(json);
    sl_json_end(json);
}

static enum sl_status save_json(struct sl_json *json, const char *dir, const char *file, struct sl_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    enum sl_status status = sl_json_finish(json, &text, &size, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE char *path = sl_path_join(dir, file);
    SL_AUTO_FREE char *line = sl_alloc(size + 1, 1);
    if (path == NULL || line == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    memcpy(line, text, size);
    line[size] = '\n';
    return sl_file_write_atomic(path, line, size + 1, err);
}

enum sl_status wk_index_save(const struct wk_index *index, const char *dir, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, WK_INDEX_SIZE_MAX);
    json.pretty = true;
    put_index(&json, index);
    return save_json(&json, dir, WK_INDEX_FILE, err);
}

enum sl_status wk_index_shard_save(
        const struct wk_index_shard *shard, int label_count, const char *dir, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 65536);
    put_shard(&json, shard, label_count);
    return save_json(&json, dir, SHARD_LINE_FILE, err);
}

enum sl_status wk_index_settings(char **ret_text, const struct wk_index *index, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 20);
    sl_json_object(&json, NULL);
    sl_json_array(&json, "labels");
    for (int k = 0; k < index->label_count; k++)
        sl_json_string(&json, NULL, index->labels[k]);
    sl_json_end(&json);
    put_modalities(&json, index);
    sl_json_end(&json);
    const char *text = NULL;
    enum sl_status status = sl_json_finish(&json, &text, NULL, err);
    if (status != SL_OK)
        return status;
    *ret_text = sl_strdup(text);
    return *ret_text != NULL ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory");
}

/* ---- reading ---- */

#define ITEMS_MAX 65536 /* frames, tokens or rows of a sample: no config allows more */

/* The file being read, for errors. */
struct reading {
    const char *name;
    struct sl_error *err;
    bool failed;
};

static void bad(struct reading *r, const char *what, const char *key)
{
    if (!r->failed)
        (void)sl_fail(r->err, SL_BAD_DATA, "%s: \"%s\" %s; the manifest is damaged or of another version",
                r->name, key, what);
    r->failed = true;
}

static int64_t get_int(struct reading *r, const json_t *object, const char *key, int64_t least, int64_t most)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most) {
        bad(r, "is missing or out of range", key);
        return least;
    }
    return json_integer_value(value);
}

static const char *get_text(struct reading *r, const json_t *object, const char *key, size_t capacity)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value) || json_string_length(value) >= capacity) {
        bad(r, "is missing or no text", key);
        return "";
    }
    return json_string_value(value);
}

static uint64_t get_hash(struct reading *r, const json_t *object, const char *key)
{
    const char *text = get_text(r, object, key, 17);
    uint64_t hash = 0;
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16 ||
            sscanf(text, "%16" SCNx64, &hash) != 1)
        bad(r, "is not a hash of 16 digits", key);
    return hash;
}

static size_t get_array(
        struct reading *r, const json_t *object, const char *key, size_t most, json_t **ret_array)
{
    json_t *array = json_object_get(object, key);
    *ret_array = array;
    if (!json_is_array(array) || json_array_size(array) > most) {
        bad(r, "is missing or too long", key);
        return 0;
    }
    return json_array_size(array);
}

static int get_word(
        struct reading *r, const json_t *object, const char *key, const char *const *words, int count)
{
    const char *text = get_text(r, object, key, SL_NAME_MAX);
    for (int i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0)
            return i;
    }
    bad(r, "is not known", key);
    return 0;
}

/* One of those that imports write, and no other text: it is shown to people as it is. */
static const char *get_split(struct reading *r, const json_t *root)
{
    const char *words[WK_SPLITS];
    for (int i = 0; i < WK_SPLITS; i++)
        words[i] = wk_split_name((enum wk_split)i);
    return words[get_word(r, root, "split", words, WK_SPLITS)];
}

static void read_modality(struct reading *r, struct wk_index_modality *modality, const json_t *object)
{
    (void)snprintf(modality->name, sizeof(modality->name), "%s", get_text(r, object, "name", SL_NAME_MAX));
    modality->kind = (enum sl_kind)get_word(r, object, "kind", kind_names, 3);
    switch (modality->kind) {
    case SL_KIND_VIT:
        modality->image = (int)get_int(r, object, "image", 1, 65536);
        modality->frames = (int)get_int(r, object, "frames", 1, ITEMS_MAX);
        modality->storage = (enum sl_storage)get_word(r, object, "storage", storage_names, 2);
        if (modality->storage == SL_STORAGE_JPEG)
            modality->jpeg_quality = (int)get_int(r, object, "jpeg_quality", 1, 100);
        break;
    case SL_KIND_BERT:
        modality->max_tokens = (int)get_int(r, object, "max_tokens", 2, ITEMS_MAX);
        modality->vocab_size = (int)get_int(r, object, "vocab_size", 1, INT32_MAX);
        modality->lower_case = json_is_true(json_object_get(object, "lower_case"));
        modality->vocab_hash = get_hash(r, object, "vocab_hash");
        break;
    case SL_KIND_FEATURES:
        modality->input = (int)get_int(r, object, "in", 1, INT32_MAX);
        modality->max_items = (int)get_int(r, object, "max_items", 1, ITEMS_MAX);
        break;
    }
}

static void read_shard(struct reading *r, struct wk_index_shard *shard, const json_t *object, int label_count)
{
    (void)snprintf(shard->name, sizeof(shard->name), "%s", get_text(r, object, "name", WK_SHARD_NAME_MAX));
    if (strncmp(shard->name, "shard-", 6) != 0 || strchr(shard->name, '/') != NULL)
        bad(r, "is not a shard's folder", "name");
    shard->count = (uint64_t)get_int(r, object, "count", 0, INT32_MAX);
    shard->rejects = (uint64_t)get_int(r, object, "rejected", 0, INT32_MAX);
    shard->size = get_int(r, object, "size", 0, INT64_MAX / WK_SHARDS_MAX);
    shard->hash = get_hash(r, object, "hash");
    json_t *labels = NULL;
    uint64_t sum = 0;
    size_t count = get_array(r, object, "labels", SL_LABELS_MAX, &labels);
    for (size_t k = 0; k < count; k++) {
        const json_t *value = json_array_get(labels, k);
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT32_MAX)
            bad(r, "holds something else than counts", "labels");
        else
            sum += shard->labels[k] = (uint64_t)json_integer_value(value);
    }
    if (count != (size_t)label_count || sum > shard->count)
        bad(r, "does not fit the shard's count", "labels");
}

static void read_labels(struct reading *r, struct wk_index *index, const json_t *root, uint64_t *ret_counts)
{
    json_t *labels = NULL;
    index->label_count = (int)get_array(r, root, "labels", SL_LABELS_MAX, &labels);
    for (int k = 0; k < index->label_count; k++) {
        const json_t *label = json_array_get(labels, (size_t)k);
        (void)snprintf(index->labels[k], SL_NAME_MAX, "%s", get_text(r, label, "name", SL_NAME_MAX));
        ret_counts[k] = (uint64_t)get_int(r, label, "count", 0, INT64_MAX);
    }
}

static void read_shards(struct reading *r, struct wk_index *index, const json_t *root)
{
    json_t *shards = NULL;
    size_t count = get_array(r, root, "shards", WK_SHARDS_MAX, &shards);
    for (size_t i = 0; i < count && !r->failed; i++) {
        struct wk_index_shard shard = {0};
        read_shard(r, &shard, json_array_get(shards, i), index->label_count);
        if (!r->failed && wk_index_add_shard(index, &shard, r->err) != SL_OK)
            r->failed = true;
    }
}

static void check_totals(
        struct reading *r, const struct wk_index *index, const json_t *root, const uint64_t *label_counts)
{
    if ((uint64_t)get_int(r, root, "count", 0, INT64_MAX) != index->count)
        bad(r, "is not the sum over the shards", "count");
    if ((uint64_t)get_int(r, root, "rejected", 0, INT64_MAX) != index->rejects)
        bad(r, "is not the sum over the shards", "rejected");
    if (get_int(r, root, "size", 0, INT64_MAX) != index->size)
        bad(r, "is not the sum over the shards", "size");
    if (get_hash(r, root, "fingerprint") != index->fingerprint)
        bad(r, "does not fit the shards", "fingerprint");
    for (int k = 0; k < index->label_count; k++) {
        if (label_counts[k] != index->label_counts[k])
            bad(r, "are not the sums over the shards", "labels");
    }
}

static void release_json(json_t **value)
{
    json_decref(*value);
}

enum sl_status wk_index_parse(
        struct wk_index **ret_index, const char *text, size_t size, const char *name, struct sl_error *err)
{
    struct sl_error ignored = {0};
    struct reading r = {.name = name, .err = err != NULL ? err : &ignored};
    json_error_t problem;
    SL_AUTO(release_json) json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(root))
        return sl_fail(err, SL_BAD_DATA, "%s is not JSON: %s at line %d; it is damaged", name,
                root == NULL ? problem.text : "no object", root == NULL ? problem.line : 1);
    SL_AUTO(wk_index_destroy_auto) struct wk_index *index = sl_alloc(1, sizeof(*index));
    if (index == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (strcmp(get_text(&r, root, "format", 64), FORMAT_NAME) != 0)
        bad(&r, "is not " FORMAT_NAME, "format");
    (void)get_int(&r, root, "version", WK_INDEX_VERSION, WK_INDEX_VERSION);
    (void)snprintf(index->split, sizeof(index->split), "%s", get_split(&r, root));
    uint64_t label_counts[SL_LABELS_MAX] = {0};
    read_labels(&r, index, root, label_counts);
    json_t *modalities = NULL;
    index->modality_count = (int)get_array(&r, root, "modalities", SL_MODALITIES_MAX, &modalities);
    for (int m = 0; m < index->modality_count; m++)
        read_modality(&r, &index->modalities[m], json_array_get(modalities, (size_t)m));
    read_shards(&r, index, root);
    check_totals(&r, index, root, label_counts);
    if (r.failed)
        return r.err->status;
    *ret_index = SL_TAKE(index);
    return SL_OK;
}

enum sl_status wk_index_load(struct wk_index **ret_index, const char *dir, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, WK_INDEX_FILE);
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_file_read(&text, &size, path, WK_INDEX_SIZE_MAX, err);
    return status == SL_OK ? wk_index_parse(ret_index, text, size, path, err) : status;
}

enum sl_status wk_index_shard_load(
        struct wk_index_shard *ret_shard, int label_count, const char *dir, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, SHARD_LINE_FILE);
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_file_read(&text, &size, path, 1 << 20, err);
    if (status != SL_OK)
        return status;
    struct sl_error ignored = {0};
    struct reading r = {.name = path, .err = err != NULL ? err : &ignored};
    SL_AUTO(release_json) json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    struct wk_index_shard shard = {0};
    read_shard(&r, &shard, root, label_count);
    if (r.failed)
        return r.err->status;
    *ret_shard = shard;
    return SL_OK;
}

/* ---- fit ---- */

static enum sl_status differs(const char *dir, const char *modality, const char *what, int64_t found,
        int64_t expected, struct sl_error *err)
{
    return sl_fail(err, SL_BAD_DATA,
            "dataset %s: modality %s has %s %lld, the config says %lld; import it with this config", dir,
            modality, what, (long long)found, (long long)expected);
}

static enum sl_status check_modality(const struct wk_index_modality *stored,
        const struct sl_modality_config *modality, uint64_t vocab_hash, const char *dir, struct sl_error *err)
{
    if (stored->kind != modality->kind)
        return sl_fail(err, SL_BAD_DATA,
                "dataset %s: modality %s is of kind %s, the config says %s; import it with this config", dir,
                stored->name, wk_kind_name(stored->kind), wk_kind_name(modality->kind));
    if (stored->kind == SL_KIND_VIT && stored->image != modality->image)
        return differs(dir, stored->name, "image", stored->image, modality->image, err);
    if (stored->kind == SL_KIND_FEATURES && stored->input != modality->input)
        return differs(dir, stored->name, "in", stored->input, modality->input, err);
    if (stored->kind != SL_KIND_BERT)
        return SL_OK;
    if (stored->vocab_size != modality->vocab_size)
        return differs(
                dir, stored->name, "a vocabulary of size", stored->vocab_size, modality->vocab_size, err);
    if (stored->lower_case != modality->lower_case)
        return differs(dir, stored->name, "lower_case", stored->lower_case, modality->lower_case, err);
    if (vocab_hash != 0 && stored->vocab_hash != vocab_hash)
        return sl_fail(err, SL_BAD_DATA,
                "dataset %s: modality %s was imported with another vocabulary than %s; use vocab-%s.txt of "
                "the dataset or import it again",
                dir, stored->name, modality->vocab, stored->name);
    return SL_OK;
}

enum sl_status wk_index_check_config(const struct wk_index *index, const struct sl_config *config,
        const uint64_t *vocab_hashes, const char *dir, struct sl_error *err)
{
    for (int k = 0; k < index->label_count; k++) {
        if (index->label_counts[k] > 0 && sl_config_find_label(config, index->labels[k]) < 0)
            return sl_fail(err, SL_BAD_DATA,
                    "dataset %s has %llu samples of label %s, which is not in the config's labels", dir,
                    (unsigned long long)index->label_counts[k], index->labels[k]);
    }
    for (int m = 0; m < config->modality_count; m++) {
        const struct wk_index_modality *stored = NULL;
        for (int i = 0; i < index->modality_count; i++) {
            if (strcmp(index->modalities[i].name, config->modalities[m].name) == 0)
                stored = &index->modalities[i];
        }
        if (stored == NULL)
            return sl_fail(err, SL_BAD_DATA, "dataset %s has no modality %s; import it with this config", dir,
                    config->modalities[m].name);
        enum sl_status status = check_modality(stored, &config->modalities[m], vocab_hashes[m], dir, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}
