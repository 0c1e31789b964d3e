/* golden_step FOLDER: three whole training steps of a golden set, for each of its optimisers, through the parts that a cluster runs: the model on one
 * slot per sample, the reduction tree, modulation, clipping and the table's update. Checked against the set: scores, ratios, coefficients, losses
 * and the norm of the unmodulated gradient of every step, the modulated gradient of the first, the parameters after the third.
 *
 * Then the same with exchange early, for the optimisers that it is allowed for: forward passes of all slots, coefficients, one backward pass for each. The norm of the unmodulated gradient, by which the
 * sets clip, is taken from the set there. The parameters must also be near those of the tagged exchange. */
#include "common/memory.h"
#include "ps/balance.h"
#include "ps/modulation.h"
#include "ps/reduction.h"
#include "ps/table.h"
#include "tests/golden/optimiser.h"
#include "tests/golden/set.h"
#include "worker/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STEPS 3
#define BLOCK_FLOATS 1024
#define TENSOR_TOLERANCE 1e-4 /* ‖a − b‖ / ‖b‖ */
#define NUMBER_TOLERANCE 1e-4 /* relative: losses, scores, norms */
#define EXCHANGE_TOLERANCE                                                                                   \
    2e-6 /* ‖a − b‖ / ‖b‖ of all parameters after the third step, early against tagged */
#define COEFFICIENT_TOLERANCE 1e-6 /* relative: ratios; absolute: coefficients */
/* Gradients that are zero in exact arithmetic (a key's bias) are rounding errors in the set and here; see golden_model. */
#define ZERO_SHARE 1e-9
#define ZERO_LIMIT 1e-8

struct report {
    double worst;
    char name[SL_PARAM_NAME_MAX + 160];
    int checked, failed;
};

/* One optimiser's training: what worker and server hold. */
struct training {
    const struct golden_set *set;
    enum sl_exchange exchange;
    struct sl_layout *layout; /* as the set's, in smaller blocks */
    const char *optimiser_name;
    struct ps_optimiser optimiser;
    struct ps_table *table;
    struct ps_reduction *reduction;
    struct sl_modulation_config modulation_config;
    struct ps_modulation modulation;
    struct wk_model *model;
    struct wk_workspace *workspace;
    struct wk_batch *slot;                 /* one sample */
    double coefficient[SL_MODALITIES_MAX]; /* exchange early: of the step */
    float *params;
    double rate;
    struct report *report;
};

static void must(enum sl_status status, const struct sl_error *err)
{
    if (status != SL_OK)
        golden_die("%s", err->text);
}

static void check(
        struct report *report, double relative, double tolerance, const char *what, const char *name)
{
    double share = relative / tolerance;
    report->checked++;
    if (!(share <= report->worst)) {
        report->worst = share;
        (void)snprintf(report->name, sizeof(report->name), "%s %s", what, name);
    }
    if (!(share <= 1.0)) {
        report->failed++;
        printf("FAILED %s %s: relative difference %.3g, at most %.3g\n", what, name, relative, tolerance);
    }
}

static void check_number(
        struct training *t, int step, const char *key, const char *name, double got, double tolerance)
{
    json_t *steps = json_object_get(json_object_get(t->set->expected, "steps"), t->optimiser_name);
    json_t *value = json_object_get(json_array_get(steps, (size_t)step), key);
    if (name != NULL)
        value = json_object_get(value, name);
    if (!json_is_number(value))
        golden_die("expected.json: no %s of step %d of %s", key, step, t->optimiser_name);
    double wanted = json_number_value(value), least = strcmp(key, "coefficient") == 0 ? 1.0 : 1e-12;
    char what[128];
    (void)snprintf(what, sizeof(what), "%s step %d %s", t->optimiser_name, step, key);
    check(t->report, fabs(got - wanted) / fmax(fabs(wanted), least), tolerance, what,
            name == NULL ? "" : name);
}

/* take_sample copies sample b of a batch into a batch of one. */
static void take_sample(struct training *t, const struct wk_batch *batch, int b)
{
    struct wk_batch *slot = t->slot;
    wk_batch_clear(slot);
    slot->labels[0] = batch->labels[b];
    slot->ids[0] = batch->ids[b];
    slot->count = 1;
    for (int m = 0; m < t->set->config->modality_count; m++) {
        const struct sl_modality_config *modality = &t->set->config->modalities[m];
        const struct wk_batch_input *from = &batch->inputs[m];
        struct wk_batch_input *to = &slot->inputs[m];
        size_t image = (size_t)modality->image, begin = (size_t)from->offset[b],
               rows = (size_t)(from->offset[b + 1] - from->offset[b]);
        size_t width = modality->kind == SL_KIND_VIT    ? 3 * image * image
                       : modality->kind == SL_KIND_BERT ? 0
                                                        : (size_t)modality->input;
        to->rows = (int)rows;
        to->offset[0] = 0;
        to->offset[1] = to->rows;
        memcpy(to->position, from->position + begin, rows * sizeof(*to->position));
        if (modality->kind == SL_KIND_BERT)
            memcpy(to->tokens, from->tokens + begin, rows * sizeof(*to->tokens));
        else
            memcpy(to->values, from->values + begin * width, rows * width * sizeof(*to->values));
    }
}

static void forward_slot(struct training *t, struct sl_step_stats *stats)
{
    struct wk_mode mode = {.training = true};
    struct sl_step_stats own;
    wk_model_forward(t->model, t->params, t->slot, &mode, t->workspace, &own);
    sl_step_stats_add(stats, &own);
}

static void backward_slot(struct training *t, float *gradients)
{
    float *const tags[SL_TAGS] = {gradients, gradients + t->layout->count};
    if (t->exchange == SL_EXCHANGE_EARLY)
        wk_model_backward_early(t->model, t->params, t->slot, t->workspace, t->coefficient, gradients);
    else
        wk_model_backward(t->model, t->params, t->slot, t->workspace, tags);
}

/* push_slot computes one slot's sums and pushes every block of them. */
static void push_slot(struct training *t, uint32_t slot, struct sl_step_stats *stats)
{
    struct sl_error err = {0};
    struct sl_buffer *buffer = sl_buffer_create(sl_layout_gradient_floats(t->layout) * sizeof(float));
    if (buffer == NULL)
        golden_die("out of memory");
    float *gradients = buffer->data;
    forward_slot(t, stats);
    backward_slot(t, gradients);
    for (int b = 0; b < t->layout->block_count; b++) {
        const struct sl_block *block = &t->layout->blocks[b];
        struct sl_frame frames[SL_TAGS] = {{0}};
        for (int tag = 0; tag < SL_TAGS; tag++)
            if (block->tagged[tag])
                frames[tag] = (struct sl_frame){sl_buffer_retain(buffer),
                        gradients + sl_layout_gradient_at(t->layout, tag, block->offset),
                        block->count * sizeof(float)};
        must(ps_reduction_push(t->reduction, (uint32_t)b, (struct sl_node){0, slot}, frames, &err), &err);
    }
    sl_buffer_release(buffer);
}

/* check_modulated holds what remains after modulation, before clipping, against the set: the mean over the batch. Without momentum and decay it is what SGD's moment
 * becomes. */
static void check_modulated(struct training *t, const struct sl_commit *commit)
{
    float *g = sl_alloc(t->layout->count, sizeof(float)), *params = sl_alloc(t->layout->count, sizeof(float));
    struct sl_block_change change = {0};
    if (g == NULL || params == NULL)
        golden_die("out of memory");
    for (int b = 0; b < t->layout->block_count; b++) {
        const struct sl_block *block = &t->layout->blocks[b];
        const float *grads[SL_TAGS];
        double k = block->part == SL_PART_EXTRACTOR ? commit->coefficient[block->modality] : 1.0;
        struct ps_factors factors = {
                .scale = (float)commit->inverse_weight, .unimodal = (float)k, .fused = 1.0F};
        ps_reduction_peek(t->reduction, b, grads);
        ps_kernels_best()->sgd(params + block->offset, g + block->offset, grads[SL_TAG_UNIMODAL],
                grads[SL_TAG_FUSED], block->count, &factors, &change);
    }
    struct sl_safetensors *file = golden_file(t->set, "step0.safetensors");
    double norm = golden_norm(g, t->layout->count);
    for (int p = 0; p < t->layout->param_count; p++) {
        const struct sl_param *param = &t->layout->params[p];
        size_t count = 0;
        float *wanted = golden_tensor(file, &count, "modulated.%s", param->name);
        if (wanted == NULL || count != param->count)
            golden_die("step0.safetensors: no modulated.%s of the right shape", param->name);
        bool zero = golden_norm(wanted, count) < ZERO_SHARE * norm;
        double relative = golden_relative(
                g + param->offset, wanted, count, zero ? ZERO_LIMIT / TENSOR_TOLERANCE * norm : 0.0);
        check(t->report, relative, TENSOR_TOLERANCE, "modulated", param->name);
        sl_free(wanted);
    }
    sl_safetensors_close(file);
    sl_free(g);
    sl_free(params);
}

/* reduce gives the global norm of the unmodulated mean gradient. */
static double global_norm(struct training *t, double inverse_weight)
{
    struct sl_error err = {0};
    double norm2 = 0.0;
    for (int b = 0; b < t->layout->block_count; b++) {
        const float *grads[SL_TAGS];
        struct sl_block_sums sums;
        if (!ps_reduction_whole(t->reduction, b))
            golden_die("block %d is not whole after all slots", b);
        ps_reduction_peek(t->reduction, b, grads);
        must(ps_table_measure(t->table, b, grads, &sums, &err), &err);
        norm2 += sums.norm2;
    }
    return sqrt(norm2) * inverse_weight;
}

/* The set's own, where the unmodulated gradient is not there to be measured. */
static double expected_norm(struct training *t, int step)
{
    json_t *steps = json_object_get(json_object_get(t->set->expected, "steps"), t->optimiser_name);
    return json_number_value(json_object_get(json_array_get(steps, (size_t)step), "raw_gradient_norm"));
}

static void check_step(struct training *t, int step, const struct sl_step_stats *stats, const double *ratios,
        const struct sl_commit *commit, double norm)
{
    const struct sl_config *config = t->set->config;
    for (int m = 0; m < config->modality_count; m++) {
        const char *name = config->modalities[m].name;
        check_number(t, step, "scores", name, stats->score[m], NUMBER_TOLERANCE);
        check_number(t, step, "ratio", name, ratios[m], COEFFICIENT_TOLERANCE);
        check_number(t, step, "coefficient", name, commit->coefficient[m], COEFFICIENT_TOLERANCE);
        check_number(t, step, "loss", name, stats->loss[m] * commit->inverse_weight, NUMBER_TOLERANCE);
    }
    check_number(t, step, "loss", "fused", stats->loss[config->modality_count] * commit->inverse_weight,
            NUMBER_TOLERANCE);
    check_number(t, step, "raw_gradient_norm", NULL, norm, NUMBER_TOLERANCE); /* early: itself */
}

/* The coefficients from the forward passes alone, as the coordinator decides them before anybody goes backward. */
static void decide_early(struct training *t, const struct wk_batch *batch, int step)
{
    struct sl_error err = {0};
    struct sl_step_stats stats = {0};
    struct ps_modulation look = t->modulation;
    double ratios[SL_MODALITIES_MAX];
    for (int b = batch->count - 1; b >= 0; b--) {
        take_sample(t, batch, b);
        forward_slot(t, &stats);
    }
    must(ps_modulation_step(&look, &t->modulation_config, step, stats.score, t->set->config->modality_count,
                 ratios, t->coefficient, &err),
            &err);
}

static void run_step(struct training *t, int step)
{
    struct sl_error err = {0};
    struct sl_step_stats stats = {0};
    double ratios[SL_MODALITIES_MAX] = {0}, coefficients[SL_MODALITIES_MAX] = {0};
    struct wk_batch *batch = golden_batch(t->set, step);
    ps_reduction_reset(t->reduction, (uint32_t)batch->count);
    ps_table_copy(t->table, t->params, NULL, NULL);
    bool early = t->exchange == SL_EXCHANGE_EARLY;
    if (early)
        decide_early(t, batch, step);
    for (int b = batch->count - 1; b >= 0; b--) { /* the order of arrival must not matter */
        take_sample(t, batch, b);
        push_slot(t, (uint32_t)b, &stats);
    }
    struct sl_commit commit = {.inverse_weight = 1.0 / stats.weight_sum, .rate = t->rate};
    double norm = early ? expected_norm(t, step) : global_norm(t, commit.inverse_weight);
    commit.clip = ps_optimiser_clip(&t->optimiser, norm);
    must(ps_modulation_step(&t->modulation, &t->modulation_config, step, stats.score,
                 t->set->config->modality_count, ratios, coefficients, &err),
            &err);
    ps_balance_factors(
            &t->modulation_config, step, t->set->config->modality_count, NULL, NULL, coefficients, &commit);
    check_step(t, step, &stats, ratios, &commit, norm);
    if (step == 0)
        check_modulated(t, &commit);
    for (int b = 0; b < t->layout->block_count; b++) {
        const float *grads[SL_TAGS];
        ps_reduction_peek(t->reduction, b, grads);
        must(ps_table_apply(t->table, b, step, &commit, grads, &err), &err);
        ps_reduction_drop(t->reduction, b);
    }
    wk_batch_destroy(batch);
}

static void check_params(struct training *t)
{
    char name[128], what[160];
    (void)snprintf(name, sizeof(name), "after3_%s.safetensors", t->optimiser_name);
    (void)snprintf(what, sizeof(what), "after3_%s", t->optimiser_name);
    float *wanted = golden_params(t->set, name);
    ps_table_copy(t->table, t->params, NULL, NULL);
    for (int p = 0; p < t->layout->param_count; p++) {
        const struct sl_param *param = &t->layout->params[p];
        double relative =
                golden_relative(t->params + param->offset, wanted + param->offset, param->count, 0.0);
        check(t->report, relative, TENSOR_TOLERANCE, what, param->name);
    }
    sl_free(wanted);
}

/* The parameters after the last step. Owns: sl_free them. */
static float *run_training(const struct golden_set *set, const char *name, json_t *optimiser,
        enum sl_exchange exchange, struct report *report)
{
    struct sl_error err = {0};
    struct training t = {.set = set, .optimiser_name = name, .report = report, .exchange = exchange};
    set->config->modulation.exchange = exchange;
    t.optimiser = golden_optimiser(optimiser, &t.rate);
    t.modulation_config = set->config->modulation;
    must(sl_layout_create(&t.layout, set->config, BLOCK_FLOATS, &err), &err);
    must(ps_table_create(&t.table, t.layout, &t.optimiser, NULL, 0, &err), &err);
    must(ps_reduction_create(&t.reduction, t.layout, (uint32_t)set->config->batch.slot_size, &err), &err);
    must(wk_model_create(&t.model, set->config, t.layout, &err), &err);
    must(wk_workspace_create(&t.workspace, t.model, 1, true, &err), &err);
    must(wk_batch_create(&t.slot, set->config, 1, &err), &err);
    t.params = golden_params(set, "initial.safetensors");
    must(ps_table_load(t.table, t.params, NULL, NULL, 0, &err), &err);
    for (int step = 0; step < STEPS; step++)
        run_step(&t, step);
    check_params(&t);
    wk_batch_destroy(t.slot);
    wk_workspace_destroy(t.workspace);
    wk_model_destroy(t.model);
    ps_reduction_destroy(t.reduction);
    ps_table_destroy(t.table);
    sl_layout_destroy(t.layout);
    return t.params;
}

/* Both exchanges, where both can be: how far apart they are. */
static void run_exchanges(
        const struct golden_set *set, const char *name, json_t *optimiser, struct report *report)
{
    double rate = 0.0;
    struct ps_optimiser read = golden_optimiser(optimiser, &rate);
    float *tagged = run_training(set, name, optimiser, SL_EXCHANGE_TAGGED, report);
    if (read.kind == SL_OPTIMISER_SGD || read.second_moment == SL_SECOND_MODULATED) {
        float *early = run_training(set, name, optimiser, SL_EXCHANGE_EARLY, report);
        double relative = golden_relative(early, tagged, set->layout->count, 0.0);
        printf("%s %s: early differs from tagged by %.3g\n", set->folder, name, relative);
        check(report, relative, EXCHANGE_TOLERANCE, "early against tagged", name);
        sl_free(early);
    }
    sl_free(tagged);
}

int main(int argc, char **argv)
{
    struct golden_set set;
    struct report report = {0};
    if (argc != 2) {
        (void)fprintf(stderr, "usage: golden_step FOLDER\n");
        return 2;
    }
    if (!golden_open(&set, argv[1]))
        return GOLDEN_SKIPPED;
    const char *name = NULL;
    json_t *optimiser = NULL;
    json_object_foreach(json_object_get(set.expected, "optimisers"), name, optimiser)
            run_exchanges(&set, name, optimiser, &report);
    printf("%s: %d tensors and numbers, %d beyond their tolerance; worst %.3g of it (%s)\n", set.folder,
            report.checked, report.failed, report.worst, report.name);
    golden_close(&set);
    return report.failed == 0 && report.checked > 0 ? 0 : 1;
}
