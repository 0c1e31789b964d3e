/* Writing and reading a snapshot's manifest: see manifest.h. */
#include "ps/manifest.h"

#include "common/json.h"
#include "common/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* The last member: SEAL_BEGIN, 32 hex digits, SEAL_END. Nothing may follow. */
#define SEAL_BEGIN ",\n  \"checksum\": \""
#define SEAL_END "\"\n}\n"
#define SEAL_SIZE (sizeof(SEAL_BEGIN) - 1 + 32 + sizeof(SEAL_END) - 1)

void ps_manifest_fini(struct ps_manifest *manifest)
{
    sl_free(manifest->state);
    manifest->state = NULL;
}

/* writing */

static void put_u64(struct sl_json *json, const char *key, uint64_t value)
{
    /* as text: readers of JSON lose numbers beyond 2^53 */
    char text[24];
    (void)snprintf(text, sizeof(text), "%016" PRIx64, value);
    sl_json_string(json, key, text);
}

static void put_doubles(struct sl_json *json, const char *key, const double *values, int count)
{
    sl_json_array(json, key);
    for (int i = 0; i < count; i++)
        sl_json_double(json, NULL, values[i]);
    sl_json_end(json);
}

static void put_training(struct sl_json *json, const struct ps_training *training)
{
    sl_json_object(json, "training");
    sl_json_double(json, "best_value", training->best_value); /* NaN becomes null */
    sl_json_int(json, "best_step", training->best_step);
    sl_json_int(json, "validations_without_gain", training->validations_without_gain);
    sl_json_int(json, "validated_step", training->validated_step);
    sl_json_uint(json, "train_count", training->train_count);
    sl_json_uint(json, "validation_count", training->validation_count);
    put_u64(json, "train_fingerprint", training->train_fingerprint);
    put_u64(json, "validation_fingerprint", training->validation_fingerprint);
    sl_json_object(json, "modulation");
    sl_json_int(json, "count", training->modulation.count);
    put_doubles(json, "numerator", training->modulation.numerator, SL_MODALITIES_MAX);
    put_doubles(json, "denominator", training->modulation.denominator, SL_MODALITIES_MAX);
    sl_json_end(json);
    sl_json_end(json);
}

static void put_files(struct sl_json *json, const struct ps_manifest *manifest)
{
    sl_json_array(json, "files");
    for (int i = 0; i < manifest->file_count; i++) {
        const struct ps_manifest_file *file = &manifest->files[i];
        char hash[40];
        (void)snprintf(hash, sizeof(hash), "%016" PRIx64 "%016" PRIx64, file->hash.high, file->hash.low);
        sl_json_object(json, NULL);
        sl_json_string(json, "name", file->name);
        sl_json_uint(json, "size", file->size);
        sl_json_string(json, "xxh3_128", hash);
        sl_json_end(json);
    }
    sl_json_end(json);
}

static enum sl_status check_state(const char *state, struct sl_error *err)
{
    if (strlen(state) > PS_MANIFEST_STATE_MAX)
        return sl_fail(err, SL_USAGE, "the state of a snapshot has %zu bytes, at most %u fit", strlen(state),
                PS_MANIFEST_STATE_MAX);
    json_error_t problem;
    json_t *parsed = json_loads(state, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (parsed == NULL)
        return sl_fail(err, SL_USAGE, "the state of a snapshot is no JSON: %s", problem.text);
    json_decref(parsed);
    return SL_OK;
}

size_t ps_manifest_seal(char *text, size_t size)
{
    /* the closing '}' of the object moves behind the checksum */
    while (size > 0 && text[size - 1] == '\n')
        size--;
    if (size > 0 && text[size - 1] == '}')
        size--;
    while (size > 0 && text[size - 1] == '\n')
        size--;
    XXH128_hash_t hash = XXH3_128bits(text, size);
    char seal[SEAL_SIZE + 1];
    (void)snprintf(
            seal, sizeof(seal), SEAL_BEGIN "%016" PRIx64 "%016" PRIx64 SEAL_END, hash.high64, hash.low64);
    memcpy(text + size, seal, SEAL_SIZE);
    return size + SEAL_SIZE;
}

enum sl_status ps_manifest_write(
        char **ret_text, size_t *ret_size, const struct ps_manifest *manifest, struct sl_error *err)
{
    static_assert(SEAL_SIZE < PS_MANIFEST_SEAL_SIZE, "room for the seal");
    enum sl_status s = manifest->state == NULL ? SL_OK : check_state(manifest->state, err);
    if (s != SL_OK)
        return s;
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, PS_MANIFEST_SIZE_MAX - PS_MANIFEST_SEAL_SIZE);
    json.pretty = true;
    sl_json_object(&json, NULL);
    sl_json_int(&json, "format", PS_MANIFEST_FORMAT);
    sl_json_string(&json, "program", "shelflife " SHELFLIFE_VERSION);
    sl_json_int(&json, "created", manifest->created_s);
    sl_json_int(&json, "step", manifest->training.step);
    sl_json_int(&json, "epoch", manifest->epoch);
    put_u64(&json, "seed", manifest->seed);
    put_u64(&json, "config_hash", manifest->config_hash);
    put_u64(&json, "layout_hash", manifest->layout_hash);
    sl_json_string(&json, "optimiser", manifest->optimiser == SL_OPTIMISER_ADAMW ? "adamw" : "sgd");
    put_training(&json, &manifest->training);
    if (manifest->state != NULL)
        sl_json_raw(&json, "state", manifest->state);
    put_files(&json, manifest);
    sl_json_end(&json);
    const char *text = NULL;
    size_t size = 0;
    s = sl_json_finish(&json, &text, &size, err);
    if (s != SL_OK)
        return s;
    SL_AUTO_FREE char *sealed = sl_alloc(size + PS_MANIFEST_SEAL_SIZE, 1);
    if (sealed == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a manifest");
    memcpy(sealed, text, size);
    *ret_size = ps_manifest_seal(sealed, size);
    *ret_text = SL_TAKE(sealed);
    return SL_OK;
}

/* reading */

/* What a reader goes through: the first missing or wrong member sticks, and its name is what the error tells. */
struct reader {
    const char *wrong;
};

static const json_t *member(struct reader *r, const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL && r->wrong == NULL)
        r->wrong = key;
    return value;
}

static int64_t get_int(struct reader *r, const json_t *object, const char *key)
{
    const json_t *value = member(r, object, key);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    if (number < 0 && r->wrong == NULL)
        r->wrong = key;
    return number < 0 ? 0 : number;
}

/* parse_hex reads exactly 16 digits of either case. */
static bool parse_hex(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (int i = 0; i < 16; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *found = text[i] == '\0' ? NULL : strchr(digits, text[i]);
        if (found == NULL)
            return false;
        value = value << 4 | (uint64_t)(found - digits);
    }
    *ret_value = value;
    return true;
}

static uint64_t get_u64(struct reader *r, const json_t *object, const char *key)
{
    const char *text = json_string_value(member(r, object, key));
    uint64_t value = 0;
    if ((text == NULL || strlen(text) != 16 || !parse_hex(text, &value)) && r->wrong == NULL)
        r->wrong = key;
    return value;
}

static double get_double(struct reader *r, const json_t *value, const char *key)
{
    if (!json_is_number(value) && r->wrong == NULL)
        r->wrong = key;
    return json_number_value(value);
}

static void get_doubles(struct reader *r, const json_t *object, const char *key, double *values, size_t count)
{
    const json_t *array = member(r, object, key);
    if (json_array_size(array) != count && r->wrong == NULL)
        r->wrong = key;
    for (size_t i = 0; i < json_array_size(array) && i < count; i++) {
        values[i] = get_double(r, json_array_get(array, i), key);
        if (!(values[i] >= 0.0) && r->wrong == NULL)
            r->wrong = key;
    }
}

static void get_training(struct reader *r, const json_t *object, struct ps_training *training)
{
    const json_t *best = member(r, object, "best_value");
    training->best_value = json_is_null(best) ? (double)NAN : get_double(r, best, "best_value");
    training->best_step = get_int(r, object, "best_step");
    training->validations_without_gain = get_int(r, object, "validations_without_gain");
    training->validated_step = get_int(r, object, "validated_step");
    training->train_count = (uint64_t)get_int(r, object, "train_count");
    training->validation_count = (uint64_t)get_int(r, object, "validation_count");
    training->train_fingerprint = get_u64(r, object, "train_fingerprint");
    training->validation_fingerprint = get_u64(r, object, "validation_fingerprint");
    const json_t *modulation = member(r, object, "modulation");
    training->modulation.count = get_int(r, modulation, "count");
    get_doubles(r, modulation, "numerator", training->modulation.numerator, SL_MODALITIES_MAX);
    get_doubles(r, modulation, "denominator", training->modulation.denominator, SL_MODALITIES_MAX);
}

/* A name must stay inside its folder and be printable. */
static bool name_is_fine(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length >= PS_MANIFEST_NAME_MAX || name[0] == '.')
        return false;
    for (const char *c = name; *c != '\0'; c++)
        if (*c == '/' || (unsigned char)*c < 0x20 || *c == 0x7F)
            return false;
    return true;
}

static void get_file(struct reader *r, const json_t *object, struct ps_manifest *manifest)
{
    struct ps_manifest_file *file = &manifest->files[manifest->file_count];
    const char *name = json_string_value(member(r, object, "name"));
    const char *hash = json_string_value(member(r, object, "xxh3_128"));
    file->size = (uint64_t)get_int(r, object, "size");
    bool fine = name != NULL && name_is_fine(name) && hash != NULL && strlen(hash) == 32 &&
                parse_hex(hash, &file->hash.high) && parse_hex(hash + 16, &file->hash.low);
    for (int i = 0; fine && i < manifest->file_count; i++)
        fine = strcmp(name, manifest->files[i].name) != 0;
    if (!fine) {
        r->wrong = r->wrong == NULL ? "files" : r->wrong;
        return;
    }
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    manifest->file_count++;
}

static void get_files(struct reader *r, const json_t *root, struct ps_manifest *manifest)
{
    const json_t *files = member(r, root, "files");
    size_t count = json_array_size(files);
    if ((count == 0 || count > PS_MANIFEST_FILES_MAX) && r->wrong == NULL)
        r->wrong = "files";
    for (size_t i = 0; r->wrong == NULL && i < count; i++)
        get_file(r, json_array_get(files, i), manifest);
}

static enum sl_status get_state(
        const json_t *root, struct ps_manifest *manifest, const char *name, struct sl_error *err)
{
    const json_t *state = json_object_get(root, "state");
    if (state == NULL)
        return SL_OK;
    char *text = json_dumps(state, JSON_COMPACT | JSON_ENCODE_ANY);
    manifest->state = text == NULL ? NULL : sl_strdup(text);
    json_free_t release = NULL;
    json_get_alloc_funcs(NULL, &release);
    release(text);
    if (manifest->state == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory", name);
    return SL_OK;
}

static enum sl_status read_members(
        const json_t *root, struct ps_manifest *manifest, const char *name, struct sl_error *err)
{
    struct reader r = {NULL};
    int64_t format = get_int(&r, root, "format");
    if (r.wrong == NULL && format != PS_MANIFEST_FORMAT)
        return sl_fail(err, SL_MISMATCH,
                "%s: snapshot format %lld; this shelflife reads format %d: use the newer version", name,
                (long long)format, PS_MANIFEST_FORMAT);
    manifest->created_s = get_int(&r, root, "created");
    manifest->training.step = get_int(&r, root, "step");
    manifest->epoch = get_int(&r, root, "epoch");
    manifest->seed = get_u64(&r, root, "seed");
    manifest->config_hash = get_u64(&r, root, "config_hash");
    manifest->layout_hash = get_u64(&r, root, "layout_hash");
    const char *optimiser = json_string_value(member(&r, root, "optimiser"));
    bool adamw = optimiser != NULL && strcmp(optimiser, "adamw") == 0;
    if (!adamw && (optimiser == NULL || strcmp(optimiser, "sgd") != 0) && r.wrong == NULL)
        r.wrong = "optimiser";
    manifest->optimiser = adamw ? SL_OPTIMISER_ADAMW : SL_OPTIMISER_SGD;
    get_training(&r, member(&r, root, "training"), &manifest->training);
    get_files(&r, root, manifest);
    if (r.wrong != NULL)
        return sl_fail(
                err, SL_BAD_DATA, "%s: the manifest's member \"%s\" is missing or wrong", name, r.wrong);
    return get_state(root, manifest, name, err);
}

/* check_seal compares the checksum with the bytes before it. */
static enum sl_status check_seal(const char *text, size_t size, const char *name, struct sl_error *err)
{
    if (size < SEAL_SIZE || memcmp(text + size - SEAL_SIZE, SEAL_BEGIN, sizeof(SEAL_BEGIN) - 1) != 0 ||
            memcmp(text + size - (sizeof(SEAL_END) - 1), SEAL_END, sizeof(SEAL_END) - 1) != 0)
        return sl_fail(err, SL_BAD_DATA,
                "%s: the manifest is cut off or damaged: it does not end with its checksum", name);
    XXH128_hash_t hash = XXH3_128bits(text, size - SEAL_SIZE);
    char wanted[33];
    (void)snprintf(wanted, sizeof(wanted), "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
    if (memcmp(text + size - SEAL_SIZE + sizeof(SEAL_BEGIN) - 1, wanted, 32) != 0)
        return sl_fail(err, SL_BAD_DATA, "%s: the manifest is damaged: its checksum does not agree", name);
    return SL_OK;
}

enum sl_status ps_manifest_read(struct ps_manifest *ret_manifest, const char *text, size_t size,
        const char *name, struct sl_error *err)
{
    if (size > PS_MANIFEST_SIZE_MAX)
        return sl_fail(err, SL_BAD_DATA, "%s: a manifest of %zu bytes (at most %u)", name, size,
                PS_MANIFEST_SIZE_MAX);
    enum sl_status s = check_seal(text, size, name, err);
    if (s != SL_OK)
        return s;
    json_error_t problem;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (root == NULL)
        return sl_fail(err, SL_BAD_DATA, "%s: no JSON in line %d: %s", name, problem.line, problem.text);
    struct ps_manifest manifest = {0};
    s = read_members(root, &manifest, name, err);
    json_decref(root);
    if (s == SL_OK)
        *ret_manifest = manifest;
    else
        ps_manifest_fini(&manifest);
    return s;
}
