/* golden_model FOLDER: logits, losses, scores and every branch's gradient of a golden set's first step
 * against this model's.
 *
 * The set's gradients are of mean losses, this model's of sums: they are divided by the batch's size here. A
 * gradient that the set does not have (a branch that does not reach a parameter) must be exactly zero. */
#include "tests/golden/set.h"

#include "common/memory.h"
#include "worker/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define TOLERANCE 1e-4 /* ‖a − b‖ / ‖b‖ of each tensor */
/* Some gradients are zero in exact arithmetic (a key's bias moves all scores of a query alike), so that a set
 * holds only rounding of float64. A tensor whose norm is below ZERO_SHARE of its whole branch's is such a
 * one, and ours must be below ZERO_LIMIT of the branch's. */
#define ZERO_SHARE 1e-9
#define ZERO_LIMIT 1e-8

struct worst {
    double relative;
    char name[SL_PARAM_NAME_MAX + SL_NAME_MAX + 32];
    int checked, failed;
};

static void check(struct worst *worst, const char *what, const char *name, double relative)
{
    worst->checked++;
    if (!(relative <= worst->relative)) {
        worst->relative = relative;
        (void)snprintf(worst->name, sizeof(worst->name), "%.60s.%.159s", what, name);
    }
    if (!(relative <= TOLERANCE)) {
        worst->failed++;
        printf("FAILED %s.%s: relative difference %.3g, at most %.3g\n", what, name, relative, TOLERANCE);
    }
}

static void check_number(struct worst *worst, const char *what, const char *name, double got, double expected)
{
    double relative = fabs(got - expected) / fmax(fabs(expected), 1e-12);
    check(worst, what, name, relative);
    if (!(relative <= TOLERANCE))
        printf("       %.9g, expected %.9g\n", got, expected);
}

static void check_outcome(
        struct worst *worst, const struct golden_set *set, const struct sl_step_stats *stats)
{
    json_t *steps = json_object_get(set->expected, "steps");
    json_t *first = json_array_get(json_object_iter_value(json_object_iter(steps)), 0);
    for (int b = 0; b <= set->config->modality_count; b++) {
        bool fused = b == set->config->modality_count;
        const char *name = fused ? "fused" : set->config->modalities[b].name;
        double loss = json_number_value(json_object_get(json_object_get(first, "loss"), name));
        check_number(worst, "loss", name, stats->loss[b] / stats->weight_sum, loss);
        if (!fused)
            check_number(worst, "score", name, stats->score[b],
                    json_number_value(json_object_get(json_object_get(first, "scores"), name)));
    }
    check_number(worst, "stats", "count", stats->count, set->config->batch.slot_size);
}

/* The norm of a branch's whole gradient in the set. */
static double branch_norm(const struct sl_safetensors *file, const char *branch)
{
    char prefix[SL_NAME_MAX + 16];
    double squares = 0.0;
    (void)snprintf(prefix, sizeof(prefix), "gradient.%s.", branch);
    for (int i = 0; i < sl_safetensors_count(file); i++) {
        const char *name = sl_safetensors_at(file, i)->name;
        size_t count = 0;
        if (strncmp(name, prefix, strlen(prefix)) != 0)
            continue;
        float *values = golden_tensor(file, &count, "%s", name);
        squares += pow(golden_norm(values, count), 2.0);
        sl_free(values);
    }
    return sqrt(squares);
}

/* One parameter in one branch: against the set, or against zero. grad: this parameter's place in the flat
 * vector. */
static void check_gradient(struct worst *worst, const struct sl_safetensors *file,
        const struct sl_param *param, const char *branch, const float *grad, double samples, double norm)
{
    char what[SL_NAME_MAX + 16];
    size_t count = 0;
    float *expected = golden_tensor(file, &count, "gradient.%s.%s", branch, param->name);
    float *mean = sl_alloc(param->count, sizeof(*mean));
    if (mean == NULL || (expected != NULL && count != param->count))
        golden_die("gradient.%s.%s: out of memory or another shape", branch, param->name);
    for (size_t i = 0; i < param->count; i++)
        mean[i] = (float)((double)grad[i] / samples);
    (void)snprintf(what, sizeof(what), "gradient.%s", branch);
    if (expected != NULL) {
        /* the floor makes ‖a‖ = ZERO_LIMIT norm a relative difference of TOLERANCE */
        bool zero = golden_norm(expected, count) < ZERO_SHARE * norm;
        check(worst, what, param->name,
                golden_relative(mean, expected, count, zero ? ZERO_LIMIT / TOLERANCE * norm : 0.0));
    } else {
        double largest = 0.0;
        for (size_t i = 0; i < param->count; i++)
            largest = fmax(largest, fabs((double)mean[i]));
        check(worst, what, param->name, largest);
    }
    sl_free(expected);
    sl_free(mean);
}

static void check_gradients(struct worst *worst, const struct golden_set *set,
        const struct sl_safetensors *file, float *const grads[SL_TAGS])
{
    double samples = set->config->batch.slot_size;
    int modalities = set->config->modality_count;
    for (int b = 0; b <= modalities; b++) {
        const char *branch = b == modalities ? "fused" : set->config->modalities[b].name;
        double norm = branch_norm(file, branch);
        for (int p = 0; p < set->layout->param_count; p++) {
            const struct sl_param *param = &set->layout->params[p];
            /* the unimodal branches share one flat vector: each owns the parts of its modality */
            if (b < modalities && param->modality != b)
                continue;
            check_gradient(worst, file, param, branch,
                    grads[b < modalities ? SL_TAG_UNIMODAL : SL_TAG_FUSED] + param->offset, samples, norm);
        }
    }
}

static void check_logits(struct worst *worst, const struct golden_set *set, const struct sl_safetensors *file,
        const struct wk_workspace *workspace)
{
    for (int b = 0; b <= set->config->modality_count; b++) {
        const char *branch = b == set->config->modality_count ? "fused" : set->config->modalities[b].name;
        size_t count = 0;
        float *expected = golden_tensor(file, &count, "logits.%s", branch);
        if (expected == NULL ||
                count != (size_t)set->config->batch.slot_size * (size_t)set->config->label_count)
            golden_die("step0.safetensors: no logits.%s of the right shape", branch);
        check(worst, "logits", branch, golden_relative(wk_model_logits(workspace, b), expected, count, 0.0));
        sl_free(expected);
    }
}

static int run(const struct golden_set *set)
{
    struct sl_error err = {0};
    struct wk_model *model = NULL;
    struct wk_workspace *workspace = NULL;
    struct worst worst = {0};
    struct wk_batch *batch = golden_batch(set, 0);
    float *params = golden_params(set, "initial.safetensors"), *grads[SL_TAGS];
    for (int t = 0; t < SL_TAGS; t++)
        grads[t] = sl_alloc_aligned(set->layout->count, sizeof(float));
    if (grads[0] == NULL || grads[1] == NULL)
        golden_die("out of memory");
    if (wk_model_create(&model, set->config, set->layout, &err) != SL_OK ||
            wk_workspace_create(&workspace, model, batch->count, true, &err) != SL_OK)
        golden_die("%s", err.text);

    struct wk_mode mode = {.training = true};
    struct sl_step_stats stats;
    struct sl_safetensors *step = golden_file(set, "step0.safetensors");
    wk_model_forward(model, params, batch, &mode, workspace, &stats);
    wk_model_backward(model, params, batch, workspace, grads);
    check_outcome(&worst, set, &stats);
    check_logits(&worst, set, step, workspace);
    check_gradients(&worst, set, step, grads);
    printf("%s: %d tensors and numbers, %d beyond %.0e; worst %.3g (%s)\n", set->folder, worst.checked,
            worst.failed, TOLERANCE, worst.relative, worst.name);

    sl_safetensors_close(step);
    wk_workspace_destroy(workspace);
    wk_model_destroy(model);
    wk_batch_destroy(batch);
    sl_free(params);
    sl_free(grads[0]);
    sl_free(grads[1]);
    return worst.failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct golden_set set;
    if (argc != 2) {
        (void)fprintf(stderr, "usage: golden_model FOLDER\n");
        return 2;
    }
    if (!golden_open(&set, argv[1]))
        return GOLDEN_SKIPPED;
    int status = run(&set);
    golden_close(&set);
    return status;
}
