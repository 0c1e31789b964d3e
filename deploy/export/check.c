/* Random inputs and their logits: see check.h. */
#include "deploy/export/check.h"

#include "common/memory.h"
#include "common/random.h"
#include "deploy/export/network.h"
#include "deploy/export/weights.h"
#include "worker/model/batch.h"

#include <stdio.h>
#include <string.h>

#define VIEWS_MAX (2 * SL_MODALITIES_MAX + SL_BRANCHES_MAX)

struct check {
    const struct dp_loaded *loaded;
    int count;
    size_t items[SL_MODALITIES_MAX];    /* T: of a sample, padded */
    size_t numbers[SL_MODALITIES_MAX];  /* of one item */
    uint8_t *frames[SL_MODALITIES_MAX]; /* (N, T, image, image, 3) */
    int64_t *tokens[SL_MODALITIES_MAX]; /* (N, T) */
    float *features[SL_MODALITIES_MAX]; /* (N, T, in) */
    uint8_t *mask[SL_MODALITIES_MAX];   /* (N, T) */
    float *logits[SL_BRANCHES_MAX];     /* (N, K) */
    int32_t *row[SL_MODALITIES_MAX];    /* (T,): token ids of the sample at hand */
    struct wk_batch *batch;
    struct wk_workspace *workspace;
};

static void fini(struct check *check)
{
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        sl_free(check->frames[m]);
        sl_free(check->tokens[m]);
        sl_free(check->features[m]);
        sl_free(check->mask[m]);
        sl_free(check->row[m]);
    }
    for (int b = 0; b < SL_BRANCHES_MAX; b++)
        sl_free(check->logits[b]);
    wk_batch_destroy(check->batch);
    wk_workspace_destroy(check->workspace);
}

/* ---- inputs ---- */

/* Fills the arrays of modality m. Every sample has its own length, 1 to T. */
static enum sl_status draw_input(struct check *check, int m, struct sl_error *err)
{
    const struct sl_modality_config *modality = &check->loaded->config->modalities[m];
    struct sl_random random = sl_random_make(1, SL_RANDOM_TEST, (uint64_t)m, 0),
                     lengths = sl_random_make(1, SL_RANDOM_TEST, (uint64_t)m, 1);
    size_t rows = (size_t)check->count * check->items[m], total = rows * check->numbers[m];
    check->mask[m] = sl_alloc(rows, 1);
    check->row[m] = sl_alloc(check->items[m], sizeof(int32_t));
    if (modality->kind == SL_KIND_VIT)
        check->frames[m] = sl_alloc(total, 1);
    else if (modality->kind == SL_KIND_BERT)
        check->tokens[m] = sl_alloc(total, sizeof(int64_t));
    else
        check->features[m] = sl_alloc(total, sizeof(float));
    if (check->mask[m] == NULL || check->row[m] == NULL ||
            (!check->frames[m] && !check->tokens[m] && !check->features[m]))
        return sl_fail(
                err, SL_NO_MEMORY, "out of memory for %d samples to check with; ask for fewer", check->count);
    for (size_t i = 0; i < total; i++) {
        if (check->frames[m] != NULL)
            check->frames[m][i] = (uint8_t)(sl_random_u32(&random, i) >> 24);
        else if (check->tokens[m] != NULL)
            check->tokens[m][i] = (int64_t)sl_random_below(&random, i, (uint64_t)modality->vocab_size);
        else
            check->features[m][i] = sl_random_normal(&random, i);
    }
    for (size_t n = 0; n < (size_t)check->count; n++)
        memset(check->mask[m] + n * check->items[m], 1, 1 + sl_random_below(&lengths, n, check->items[m]));
    return SL_OK;
}

static enum sl_status init(struct check *check, struct sl_error *err)
{
    const struct sl_config *config = check->loaded->config;
    bool good = true;
    enum sl_status status = wk_batch_create(&check->batch, config, 1, err);
    if (status == SL_OK)
        status = wk_workspace_create(&check->workspace, check->loaded->model, 1, false, err);
    for (int m = 0; m < config->modality_count && status == SL_OK; m++) {
        const struct sl_modality_config *modality = &config->modalities[m];
        check->items[m] = (size_t)dp_network_items(modality);
        check->numbers[m] = modality->kind == SL_KIND_VIT
                                    ? 3 * (size_t)modality->image * (size_t)modality->image
                            : modality->kind == SL_KIND_BERT ? 1
                                                             : (size_t)modality->input;
        status = draw_input(check, m, err);
    }
    for (int b = 0; b <= config->modality_count; b++) {
        check->logits[b] = sl_alloc((size_t)check->count * (size_t)config->label_count, sizeof(float));
        good = good && check->logits[b] != NULL;
    }
    if (status == SL_OK && !good)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the logits of %d samples", check->count);
    return status;
}

/* ---- logits ---- */

/* The n-th sample, its arrays borrowed from check. */
static struct wk_sample sample_at(struct check *check, size_t n)
{
    struct wk_sample sample = {.id = "check", .label = WK_LABEL_NONE, .published_s = INT64_MIN};
    for (int m = 0; m < check->loaded->config->modality_count; m++) {
        struct wk_sample_input *input = &sample.inputs[m];
        size_t rows = n * check->items[m], at = rows * check->numbers[m];
        while ((size_t)input->items < check->items[m] && check->mask[m][rows + (size_t)input->items] != 0)
            input->items++;
        if (check->frames[m] != NULL)
            input->frames = check->frames[m] + at;
        if (check->features[m] != NULL)
            input->features = check->features[m] + at;
    }
    return sample;
}

static enum sl_status forward(struct check *check, size_t n, struct sl_error *err)
{
    const struct dp_loaded *loaded = check->loaded;
    size_t classes = (size_t)loaded->config->label_count;
    struct wk_sample sample = sample_at(check, n);
    struct wk_mode mode = {.training = false};
    struct sl_step_stats stats;
    for (int m = 0; m < loaded->config->modality_count; m++) {
        if (check->tokens[m] == NULL)
            continue;
        sample.inputs[m].tokens = check->row[m];
        for (int i = 0; i < sample.inputs[m].items; i++)
            check->row[m][i] = (int32_t)check->tokens[m][n * check->items[m] + (size_t)i];
    }
    wk_batch_clear(check->batch);
    enum sl_status status = wk_batch_add(check->batch, loaded->config, &sample, err);
    if (status != SL_OK)
        return status;
    wk_model_forward(loaded->model, loaded->params, check->batch, &mode, check->workspace, &stats);
    for (int b = 0; b <= loaded->config->modality_count; b++)
        memcpy(check->logits[b] + n * classes, wk_model_logits(check->workspace, b), classes * sizeof(float));
    return SL_OK;
}

/* ---- the file ---- */

/* The input and the mask of modality m as tensors. Shapes: names (2, …), views (2,). */
static void view_input(
        const struct check *check, int m, char (*names)[SL_NAME_MAX + 32], struct sl_tensor_view views[2])
{
    const struct sl_modality_config *modality = &check->loaded->config->modalities[m];
    int64_t count = check->count, items = (int64_t)check->items[m], image = modality->image;
    (void)snprintf(names[0], sizeof(names[0]), "%s", modality->name);
    (void)snprintf(names[1], sizeof(names[1]), "%s.mask", modality->name);
    views[1] = (struct sl_tensor_view){names[1], SL_DTYPE_BOOL, 2, {count, items}, check->mask[m]};
    switch (modality->kind) {
    case SL_KIND_VIT:
        views[0] = (struct sl_tensor_view){
                names[0], SL_DTYPE_U8, 5, {count, items, image, image, 3}, check->frames[m]};
        break;
    case SL_KIND_BERT:
        views[0] = (struct sl_tensor_view){names[0], SL_DTYPE_I64, 2, {count, items}, check->tokens[m]};
        break;
    case SL_KIND_FEATURES:
        views[0] = (struct sl_tensor_view){
                names[0], SL_DTYPE_F32, 3, {count, items, modality->input}, check->features[m]};
        break;
    }
}

static enum sl_status write_file(struct dp_files *files, const struct check *check, struct sl_error *err)
{
    const struct sl_config *config = check->loaded->config;
    struct sl_tensor_view views[VIEWS_MAX];
    char names[VIEWS_MAX][SL_NAME_MAX + 32];
    struct dp_file *file = NULL;
    int count = 0;
    for (int m = 0; m < config->modality_count; m++, count += 2)
        view_input(check, m, names + count, views + count);
    for (int b = 0; b <= config->modality_count; b++, count++) {
        (void)snprintf(names[count], sizeof(names[count]), "logits.%s", sl_config_branch_name(config, b));
        views[count] = (struct sl_tensor_view){
                names[count], SL_DTYPE_F32, 2, {check->count, config->label_count}, check->logits[b]};
    }
    enum sl_status status = dp_files_add(files, ".check.safetensors", &file, err);
    if (status != SL_OK)
        return status;
    struct sl_sink sink = dp_weights_sink(file);
    return sl_safetensors_write(&sink, views, count, NULL, 0, err);
}

enum sl_status dp_check_write(
        struct dp_files *files, const struct dp_loaded *loaded, int count, struct sl_error *err)
{
    SL_AUTO(fini) struct check check = {.loaded = loaded, .count = count};
    enum sl_status status = init(&check, err);
    for (size_t n = 0; n < (size_t)count && status == SL_OK; n++)
        status = forward(&check, n, err);
    return status == SL_OK ? write_file(files, &check, err) : status;
}
