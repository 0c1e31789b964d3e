/* Reads golden sets: see set.h. */
#include "tests/golden/set.h"

#include "common/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_MAX_HERE 4096

void golden_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

/* ---- config ---- */

static json_t *member(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (value == NULL)
        golden_die("expected.json: no \"%s\"", key);
    return value;
}

static int number(json_t *object, const char *key)
{
    return (int)json_integer_value(member(object, key));
}

static void read_modality(struct sl_modality_config *m, json_t *object)
{
    const char *kind = json_string_value(member(object, "kind"));
    (void)snprintf(m->name, sizeof(m->name), "%s", json_string_value(member(object, "name")));
    m->hidden = number(object, "hidden");
    if (strcmp(kind, "features") == 0) {
        m->kind = SL_KIND_FEATURES;
        m->input = number(object, "in");
        return;
    }
    m->layers = number(object, "layers");
    m->heads = number(object, "heads");
    m->mlp = number(object, "mlp");
    if (strcmp(kind, "vit") == 0) {
        m->kind = SL_KIND_VIT;
        m->image = number(object, "image");
        m->patch = number(object, "patch");
        m->frames = number(object, "frames");
        for (int c = 0; c < 3; c++)
            m->mean[c] = m->std[c] = 0.5F;
        return;
    }
    m->kind = SL_KIND_BERT;
    m->vocab_size = number(object, "vocab");
    m->max_position = number(object, "max_position");
}

/* How many items a sample can have stands in the shape of the first batch alone. */
static void read_items(const struct golden_set *set, struct sl_config *config)
{
    struct sl_safetensors *file = golden_file(set, "batch0.safetensors");
    for (int i = 0; i < config->modality_count; i++) {
        struct sl_modality_config *m = &config->modalities[i];
        const char *name = m->kind == SL_KIND_VIT ? "frames" : m->kind == SL_KIND_BERT ? "ids" : m->name;
        const struct sl_tensor *tensor = sl_safetensors_find(file, name);
        if (tensor == NULL || tensor->rank < 2)
            golden_die("batch0.safetensors: no \"%s\"", name);
        m->max_items = m->max_tokens = (int)tensor->shape[1];
    }
    sl_safetensors_close(file);
}

static struct sl_config *read_config(const struct golden_set *set)
{
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    json_t *object = member(set->expected, "config"), *modalities = member(object, "modalities"),
           *fusion = member(object, "fusion");
    if (config == NULL)
        golden_die("out of memory");
    config->modality_count = (int)json_array_size(modalities);
    if (config->modality_count < 2 || config->modality_count > SL_MODALITIES_MAX)
        golden_die(
                "expected.json: %d modalities; expected 2 to %d", config->modality_count, SL_MODALITIES_MAX);
    for (int m = 0; m < config->modality_count; m++)
        read_modality(&config->modalities[m], json_array_get(modalities, (size_t)m));
    config->fusion.dim = number(fusion, "dim");
    config->fusion.heads = number(fusion, "heads");
    config->fusion.layers = number(fusion, "layers");
    config->fusion.mlp = number(fusion, "mlp");
    config->label_count = number(object, "classes");
    for (int k = 0; k < config->label_count; k++) {
        (void)snprintf(config->labels[k].name, sizeof(config->labels[k].name), "class%d", k);
        config->labels[k].duration_s = 3600 * (k + 1);
    }
    for (int b = 0; b <= config->modality_count; b++)
        config->loss.weight[b] = 1.0F;
    config->modulation.alpha = json_number_value(member(object, "alpha"));
    config->modulation.form =
            strcmp(json_string_value(member(object, "form")), "excess") == 0 ? SL_FORM_EXCESS : SL_FORM_RATIO;
    config->modulation.end = -1;
    config->batch.slots = 1;
    config->batch.slot_size = number(object, "B");
    read_items(set, config);
    return config;
}

bool golden_open(struct golden_set *set, const char *folder)
{
    char path[PATH_MAX_HERE];
    json_error_t error;
    struct sl_error err = {0};
    *set = (struct golden_set){.folder = folder};
    (void)snprintf(path, sizeof(path), "%s/expected.json", folder);
    if (access(path, R_OK) != 0) {
        printf("skipped: no golden set in %s\n", folder);
        return false;
    }
    set->expected = json_load_file(path, 0, &error);
    if (set->expected == NULL)
        golden_die("%s:%d: %s", path, error.line, error.text);
    set->config = read_config(set);
    if (sl_layout_create(&set->layout, set->config, SL_BLOCK_FLOATS, &err) != SL_OK)
        golden_die("%s", err.text);
    return true;
}

void golden_close(struct golden_set *set)
{
    json_decref(set->expected);
    sl_layout_destroy(set->layout);
    sl_free(set->config);
    *set = (struct golden_set){0};
}

/* ---- tensors ---- */

struct sl_safetensors *golden_file(const struct golden_set *set, const char *name)
{
    char path[PATH_MAX_HERE];
    struct sl_error err = {0};
    struct sl_safetensors *file = NULL;
    (void)snprintf(path, sizeof(path), "%s/%s", set->folder, name);
    if (sl_safetensors_open(&file, path, &err) != SL_OK)
        golden_die("%s", err.text);
    return file;
}

float *golden_tensor(const struct sl_safetensors *file, size_t *ret_count, const char *format, ...)
{
    char name[SL_SAFETENSORS_NAME_MAX];
    struct sl_error err = {0};
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    const struct sl_tensor *tensor = sl_safetensors_find(file, name);
    if (tensor == NULL)
        return NULL;
    float *values = sl_alloc(tensor->count, sizeof(*values));
    if (values == NULL)
        golden_die("out of memory");
    if (sl_safetensors_read_f32(file, tensor, values, tensor->count, &err) != SL_OK)
        golden_die("%s", err.text);
    *ret_count = tensor->count;
    return values;
}

float *golden_params(const struct golden_set *set, const char *name)
{
    struct sl_safetensors *file = golden_file(set, name);
    float *params = sl_alloc_aligned(set->layout->count, sizeof(*params));
    if (params == NULL)
        golden_die("out of memory");
    for (int p = 0; p < set->layout->param_count; p++) {
        const struct sl_param *param = &set->layout->params[p];
        size_t count = 0;
        float *values = golden_tensor(file, &count, "%s", param->name);
        if (values == NULL || count != param->count)
            golden_die("%s: %s is missing or has another shape than the layout's", name, param->name);
        memcpy(params + param->offset, values, count * sizeof(*params));
        sl_free(values);
    }
    sl_safetensors_close(file);
    return params;
}

double golden_norm(const float *values, size_t count)
{
    double squares = 0.0;
    for (size_t i = 0; i < count; i++)
        squares += (double)values[i] * (double)values[i];
    return sqrt(squares);
}

double golden_relative(const float *a, const float *b, size_t count, double least)
{
    double squares = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        squares += d * d;
    }
    return sqrt(squares) / fmax(golden_norm(b, count), least);
}

/* ---- batches ---- */

static int64_t *integers(const struct sl_safetensors *file, const char *name, size_t count)
{
    struct sl_error err = {0};
    const struct sl_tensor *tensor = sl_safetensors_find(file, name);
    if (tensor == NULL || tensor->count != count)
        golden_die("batch: %s is missing or does not hold %zu numbers", name, count);
    int64_t *values = sl_alloc(count, sizeof(*values));
    if (values == NULL)
        golden_die("out of memory");
    if (sl_safetensors_read_i64(file, tensor, values, count, &err) != SL_OK)
        golden_die("%s", err.text);
    return values;
}

/* One frame (3, image, image) to its patches, each channel-row-column. */
static void cut_patches(float *patches, const float *frame, size_t image, size_t patch)
{
    for (size_t py = 0; py < image; py += patch)
        for (size_t px = 0; px < image; px += patch)
            for (size_t c = 0; c < 3; c++)
                for (size_t y = 0; y < patch; y++, patches += patch)
                    memcpy(patches, frame + (c * image + py + y) * image + px, patch * sizeof(*patches));
}

static void add_item(struct wk_batch_input *to, const struct sl_modality_config *m, const float *values,
        const int64_t *ids, size_t at, int position)
{
    size_t row = (size_t)to->rows, image = (size_t)m->image, input = (size_t)m->input;
    to->position[row] = position;
    if (m->kind == SL_KIND_VIT)
        cut_patches(to->values + row * 3 * image * image, values + at * 3 * image * image, image,
                (size_t)m->patch);
    else if (m->kind == SL_KIND_BERT)
        to->tokens[row] = (int32_t)ids[at];
    else
        memcpy(to->values + row * input, values + at * input, input * sizeof(*values));
    to->rows++;
}

static void read_input(const struct sl_safetensors *file, struct wk_batch *batch, int index,
        const struct sl_modality_config *m)
{
    struct wk_batch_input *to = &batch->inputs[index];
    char mask_name[SL_NAME_MAX + 8];
    size_t items = (size_t)(m->kind == SL_KIND_VIT ? m->frames : m->max_tokens),
           count = (size_t)batch->capacity * items, floats = 0;
    if (m->kind == SL_KIND_FEATURES)
        (void)snprintf(mask_name, sizeof(mask_name), "%s_mask", m->name);
    else
        (void)snprintf(
                mask_name, sizeof(mask_name), "%s", m->kind == SL_KIND_VIT ? "frame_mask" : "text_mask");
    int64_t *mask = integers(file, mask_name, count),
            *ids = m->kind == SL_KIND_BERT ? integers(file, "ids", count) : NULL;
    float *values = ids != NULL
                            ? NULL
                            : golden_tensor(file, &floats, "%s", m->kind == SL_KIND_VIT ? "frames" : m->name);
    if (ids == NULL && values == NULL)
        golden_die("batch: no values for modality %s", m->name);
    for (size_t at = 0; at < count; at++) {
        if (mask[at] != 0)
            add_item(to, m, values, ids, at, (int)(at % items));
        to->offset[at / items + 1] = to->rows;
    }
    sl_free(mask);
    sl_free(ids);
    sl_free(values);
}

struct wk_batch *golden_batch(const struct golden_set *set, int index)
{
    char name[64];
    struct sl_error err = {0};
    struct wk_batch *batch = NULL;
    (void)snprintf(name, sizeof(name), "batch%d.safetensors", index);
    struct sl_safetensors *file = golden_file(set, name);
    int count = set->config->batch.slot_size;
    if (wk_batch_create(&batch, set->config, count, &err) != SL_OK)
        golden_die("%s", err.text);
    int64_t *labels = integers(file, "label", (size_t)count);
    for (int b = 0; b < count; b++) {
        batch->labels[b] = (int)labels[b];
        batch->ids[b] = (uint64_t)b;
    }
    batch->count = count;
    for (int m = 0; m < set->config->modality_count; m++)
        read_input(file, batch, m, &set->config->modalities[m]);
    sl_free(labels);
    sl_safetensors_close(file);
    return batch;
}
