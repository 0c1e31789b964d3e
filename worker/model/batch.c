/* Samples to packed rows: see batch.h. Everything that a sample can have wrong is checked here, before the
 * model sees it. */
#include "worker/model/batch.h"

#include "common/memory.h"

#include <math.h>
#include <string.h>

/* Floats of one item of a modality: a frame's patches, or a row of features. */
static size_t item_floats(const struct sl_modality_config *m)
{
    switch (m->kind) {
    case SL_KIND_VIT:
        return 3 * (size_t)m->image * (size_t)m->image;
    case SL_KIND_FEATURES:
        return (size_t)m->input;
    case SL_KIND_BERT:
        break;
    }
    return 0;
}

static int most_items(const struct sl_modality_config *m)
{
    return m->kind == SL_KIND_VIT ? m->frames : m->kind == SL_KIND_BERT ? m->max_tokens : m->max_items;
}

static enum sl_status create_input(struct wk_batch *batch, struct wk_batch_input *input,
        const struct sl_modality_config *m, int capacity, struct sl_error *err)
{
    size_t rows = (size_t)capacity * (size_t)most_items(m), floats = 0;
    if (__builtin_mul_overflow(rows, item_floats(m), &floats))
        floats = SIZE_MAX;
    input->offset = sl_alloc((size_t)capacity + 1, sizeof(*input->offset));
    input->position = sl_alloc(rows, sizeof(*input->position));
    if (m->kind == SL_KIND_BERT)
        input->tokens = sl_alloc(rows, sizeof(*input->tokens));
    else
        input->values = sl_alloc_aligned(floats, sizeof(*input->values));
    if (input->offset == NULL || input->position == NULL || (input->tokens == NULL && input->values == NULL))
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a batch of %d samples (modality %s)", capacity,
                m->name);
    batch->size += (rows + (size_t)capacity + 1) * sizeof(int) + floats * sizeof(float) +
                   (m->kind == SL_KIND_BERT ? rows * sizeof(*input->tokens) : 0);
    return SL_OK;
}

enum sl_status wk_batch_create(
        struct wk_batch **ret_batch, const struct sl_config *config, int capacity, struct sl_error *err)
{
    struct wk_batch *batch = sl_alloc(1, sizeof(*batch));
    if (batch == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a batch");
    batch->capacity = capacity;
    batch->size = (size_t)capacity * (sizeof(*batch->labels) + sizeof(*batch->ids));
    batch->labels = sl_alloc((size_t)capacity, sizeof(*batch->labels));
    batch->ids = sl_alloc((size_t)capacity, sizeof(*batch->ids));
    enum sl_status status = SL_OK;
    if (batch->labels == NULL || batch->ids == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory for a batch of %d samples", capacity);
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        status = create_input(batch, &batch->inputs[m], &config->modalities[m], capacity, err);
    if (status != SL_OK) {
        wk_batch_destroy(batch);
        return status;
    }
    *ret_batch = batch;
    return SL_OK;
}

size_t wk_batch_size(const struct wk_batch *batch)
{
    return batch->size;
}

void wk_batch_destroy(struct wk_batch *batch)
{
    if (batch == NULL)
        return;
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        sl_free(batch->inputs[m].offset);
        sl_free(batch->inputs[m].position);
        sl_free(batch->inputs[m].values);
        sl_free(batch->inputs[m].tokens);
    }
    sl_free(batch->labels);
    sl_free(batch->ids);
    sl_free(batch);
}

void wk_batch_clear(struct wk_batch *batch)
{
    batch->count = 0;
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        batch->inputs[m].rows = 0;
}

/* ---- checks: none of them changes the batch ---- */

static enum sl_status check_tokens(const struct wk_sample_input *input, const struct sl_modality_config *m,
        const char *id, struct sl_error *err)
{
    if (input->tokens == NULL)
        return sl_fail(err, SL_BAD_DATA,
                "sample %s: modality %s has no tokens; import the dataset with this config", id, m->name);
    for (int i = 0; i < input->items; i++)
        if (input->tokens[i] < 0 || input->tokens[i] >= m->vocab_size)
            return sl_fail(err, SL_BAD_DATA,
                    "sample %s: modality %s: token %d is id %d, but the vocabulary has %d; import the "
                    "dataset with this vocabulary",
                    id, m->name, i, input->tokens[i], m->vocab_size);
    return SL_OK;
}

static enum sl_status check_features(const struct wk_sample_input *input, const struct sl_modality_config *m,
        const char *id, struct sl_error *err)
{
    if (input->features == NULL)
        return sl_fail(err, SL_BAD_DATA,
                "sample %s: modality %s has no features; import the dataset with this config", id, m->name);
    size_t count = (size_t)input->items * (size_t)m->input;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(input->features[i]))
            return sl_fail(err, SL_BAD_DATA,
                    "sample %s: modality %s: number %zu of row %zu is not finite; correct the array and "
                    "import again",
                    id, m->name, i % (size_t)m->input, i / (size_t)m->input);
    return SL_OK;
}

static enum sl_status check_input(const struct wk_sample_input *input, const struct sl_modality_config *m,
        const char *id, struct sl_error *err)
{
    static const char *const noun[] = {
            [SL_KIND_VIT] = "frames", [SL_KIND_BERT] = "tokens", [SL_KIND_FEATURES] = "rows"};
    if (input->items < 1 || input->items > most_items(m))
        return sl_fail(err, SL_BAD_DATA, "sample %s: modality %s has %d %s; expected 1 to %d", id, m->name,
                input->items, noun[m->kind], most_items(m));
    if (m->kind == SL_KIND_BERT)
        return check_tokens(input, m, id, err);
    if (m->kind == SL_KIND_FEATURES)
        return check_features(input, m, id, err);
    if (input->frames == NULL)
        return sl_fail(err, SL_BAD_DATA,
                "sample %s: modality %s has no frames; import the dataset with this config", id, m->name);
    return SL_OK;
}

static enum sl_status check_sample(const struct wk_batch *batch, const struct sl_config *config,
        const struct wk_sample *sample, const char *id, struct sl_error *err)
{
    if (batch->count >= batch->capacity)
        return sl_fail(
                err, SL_FAILED, "sample %s: the batch is full: it holds %d samples", id, batch->capacity);
    if (sample->label != WK_LABEL_NONE && (sample->label < 0 || sample->label >= config->label_count))
        return sl_fail(err, SL_BAD_DATA, "sample %s: label %d is not one of the config's %d labels", id,
                sample->label, config->label_count);
    for (int m = 0; m < config->modality_count; m++) {
        enum sl_status status = check_input(&sample->inputs[m], &config->modalities[m], id, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* ---- packing ---- */

/* One frame to its patches, normalised: a table of the 256 values of each channel instead of arithmetic per
 * pixel. Shapes: patches (P, 3 * patch * patch), frame (image, image, 3), table (3, 256). */
static void pack_frame(float *patches, const uint8_t *frame, size_t image, size_t patch, float table[3][256])
{
    size_t side = image / patch, channel_floats = patch * patch;
    for (size_t py = 0; py < side; py++) {
        for (size_t px = 0; px < side; px++, patches += 3 * channel_floats) {
            for (size_t y = 0; y < patch; y++) {
                const uint8_t *pixel = frame + 3 * ((py * patch + y) * image + px * patch);
                float *row = patches + y * patch;
                for (size_t x = 0; x < patch; x++, pixel += 3) {
                    row[x] = table[0][pixel[0]];
                    row[channel_floats + x] = table[1][pixel[1]];
                    row[2 * channel_floats + x] = table[2][pixel[2]];
                }
            }
        }
    }
}

static void pack_frames(
        float *values, const struct wk_sample_input *input, const struct sl_modality_config *m)
{
    float table[3][256];
    size_t image = (size_t)m->image, floats = item_floats(m);
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            table[c][v] = ((float)v / 255.0F - m->mean[c]) / m->std[c];
    for (size_t f = 0; f < (size_t)input->items; f++)
        pack_frame(values + f * floats, input->frames + f * floats, image, (size_t)m->patch, table);
}

static void append(struct wk_batch_input *to, int sample, const struct wk_sample_input *from,
        const struct sl_modality_config *m)
{
    size_t row = (size_t)to->rows, items = (size_t)from->items;
    to->offset[sample] = to->rows;
    for (int i = 0; i < from->items; i++)
        to->position[row + (size_t)i] = i;
    switch (m->kind) {
    case SL_KIND_VIT:
        pack_frames(to->values + row * item_floats(m), from, m);
        break;
    case SL_KIND_BERT:
        memcpy(to->tokens + row, from->tokens, items * sizeof(*to->tokens));
        break;
    case SL_KIND_FEATURES:
        memcpy(to->values + row * item_floats(m), from->features,
                items * item_floats(m) * sizeof(*to->values));
        break;
    }
    to->rows += from->items;
    to->offset[sample + 1] = to->rows;
}

enum sl_status wk_batch_add(struct wk_batch *batch, const struct sl_config *config,
        const struct wk_sample *sample, struct sl_error *err)
{
    const char *id = sample->id == NULL ? "(without id)" : sample->id;
    enum sl_status status = check_sample(batch, config, sample, id, err);
    if (status != SL_OK)
        return status;
    for (int m = 0; m < config->modality_count; m++)
        append(&batch->inputs[m], batch->count, &sample->inputs[m], &config->modalities[m]);
    batch->labels[batch->count] = sample->label;
    batch->ids[batch->count] = sample->index;
    batch->count++;
    return SL_OK;
}
