/* golden_pretrained FOLDER: checkpoints that PyTorch wrote under Hugging Face's names, loaded by `init`, give the logits that PyTorch computes from them.
 *
 * FOLDER (written by pretrained.py): config.yaml with `init` of both modalities, batch0.safetensors (set.h), expected.safetensors: `pooled.<modality>` (B, hidden), what the encoder gives for
 * each sample before its head, in float64. Heads and temporal embeddings are not in a checkpoint: this program's own initial ones are put on top. */
#include "tests/golden/set.h"

#include "common/memory.h"
#include "ps/pretrained.h"
#include "worker/model/model.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOLERANCE 2e-5 /* ‖a − b‖ / ‖b‖ */

static const float *param(const struct golden_set *set, const float *params, const char *name)
{
    for (int p = 0; p < set->layout->param_count; p++)
        if (strcmp(set->layout->params[p].name, name) == 0)
            return params + set->layout->params[p].offset;
    golden_die("there is no parameter %s", name);
}

/* The mean of the temporal embeddings of all frames, which every sample of these batches has. */
static void add_time(const struct golden_set *set, const float *params, const struct sl_modality_config *m,
        float *pooled, size_t count)
{
    char name[SL_PARAM_NAME_MAX];
    (void)snprintf(name, sizeof(name), "extractor.%s.temporal_embeddings", m->name);
    const float *time = param(set, params, name);
    size_t hidden = (size_t)m->hidden;
    for (size_t i = 0; i < count; i++)
        for (int f = 0; f < m->frames; f++)
            pooled[i] += time[(size_t)f * hidden + i % hidden] / (float)m->frames;
}

static float *expected_logits(const struct golden_set *set, const float *params,
        const struct sl_safetensors *file, const struct sl_modality_config *m)
{
    char weight_name[SL_PARAM_NAME_MAX], bias_name[SL_PARAM_NAME_MAX];
    size_t count = 0, hidden = (size_t)m->hidden, classes = (size_t)set->config->label_count,
           batch = (size_t)set->config->batch.slot_size;
    float *pooled = golden_tensor(file, &count, "pooled.%s", m->name);
    float *logits = sl_alloc(batch * classes, sizeof(*logits));
    if (pooled == NULL || logits == NULL || count != batch * hidden)
        golden_die("expected.safetensors: no pooled.%s of the right shape", m->name);
    if (m->kind == SL_KIND_VIT)
        add_time(set, params, m, pooled, count);
    (void)snprintf(weight_name, sizeof(weight_name), "head.%s.weight", m->name);
    (void)snprintf(bias_name, sizeof(bias_name), "head.%s.bias", m->name);
    const float *weight = param(set, params, weight_name), *bias = param(set, params, bias_name);
    for (size_t b = 0; b < batch; b++)
        for (size_t k = 0; k < classes; k++) {
            double sum = (double)bias[k];
            for (size_t i = 0; i < hidden; i++)
                sum += (double)weight[k * hidden + i] * (double)pooled[b * hidden + i];
            logits[b * classes + k] = (float)sum;
        }
    sl_free(pooled);
    return logits;
}

static int compare(const struct golden_set *set, const float *params, const struct wk_workspace *workspace)
{
    int failed = 0;
    struct sl_safetensors *file = golden_file(set, "expected.safetensors");
    for (int m = 0; m < set->config->modality_count; m++) {
        const struct sl_modality_config *modality = &set->config->modalities[m];
        float *expected = expected_logits(set, params, file, modality);
        double relative = golden_relative(wk_model_logits(workspace, m), expected,
                (size_t)set->config->batch.slot_size * (size_t)set->config->label_count, 0.0);
        bool right = relative <= TOLERANCE;
        printf("%s: logits of %s differ by %.3g, at most %.0e%s\n", set->folder, modality->name, relative,
                TOLERANCE, right ? "" : ": FAILED");
        failed += !right;
        sl_free(expected);
    }
    sl_safetensors_close(file);
    return failed;
}

int main(int argc, char **argv)
{
    struct sl_error err = {0};
    struct golden_set set = {.folder = argc == 2 ? argv[1] : ""};
    struct wk_model *model = NULL;
    struct wk_workspace *workspace = NULL;
    struct sl_step_stats stats;
    struct wk_mode mode = {0};
    char path[4096];
    if (argc != 2) {
        (void)fprintf(stderr, "usage: golden_pretrained FOLDER\n");
        return 2;
    }
    (void)snprintf(path, sizeof(path), "%s/config.yaml", set.folder);
    if (access(path, R_OK) != 0) {
        printf("skipped: there is no %s\n", path);
        return GOLDEN_SKIPPED;
    }
    if (sl_config_load(&set.config, path, NULL, 0, &err) != SL_OK ||
            sl_layout_create(&set.layout, set.config, SL_BLOCK_FLOATS, &err) != SL_OK)
        golden_die("%s", err.text);
    float *params = sl_alloc_aligned(set.layout->count, sizeof(*params));
    if (params == NULL)
        golden_die("out of memory");
    sl_layout_initialise(set.layout, set.config->seed, params);
    if (ps_pretrained_apply(set.config, set.layout, params, &err) != SL_OK)
        golden_die("%s", err.text);
    struct wk_batch *batch = golden_batch(&set, 0);
    if (wk_model_create(&model, set.config, set.layout, &err) != SL_OK ||
            wk_workspace_create(&workspace, model, batch->count, false, &err) != SL_OK)
        golden_die("%s", err.text);
    wk_model_forward(model, params, batch, &mode, workspace, &stats);
    int failed = compare(&set, params, workspace);
    wk_workspace_destroy(workspace);
    wk_model_destroy(model);
    wk_batch_destroy(batch);
    sl_free(params);
    sl_layout_destroy(set.layout);
    sl_config_destroy(set.config);
    return failed == 0 ? 0 : 1;
}
