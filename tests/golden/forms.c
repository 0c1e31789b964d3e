/* golden_forms FOLDER: what every balancing form makes of a golden set's first step, against forms.json and forms.safetensors, which forms.py computed: coefficients and factors of each
 * extractor, its parameters after two updates with the same gradients, and pareto's weights for angles of all kinds. */
#include "common/memory.h"
#include "ps/balance.h"
#include "ps/modulation.h"
#include "ps/table.h"
#include "tests/golden/optimiser.h"
#include "tests/golden/set.h"
#include "worker/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UPDATES 2
#define TENSOR_TOLERANCE 1e-4 /* ‖a − b‖ / ‖b‖ */
#define FACTOR_TOLERANCE 1e-4 /* relative: pareto's come from gradients in float32 */
#define ANGLE_TOLERANCE 1e-6  /* relative: the search of forms.py ends there */

struct checked {
    const struct golden_set *set;
    struct sl_step_stats stats;
    float *params, *grads[SL_TAGS];
    double worst;
    int count, failed;
};

static void check(
        struct checked *c, double got, double wanted, double tolerance, const char *what, const char *name)
{
    double share = fabs(got - wanted) / fmax(fabs(wanted), 1e-12) / tolerance;
    c->count++;
    c->worst = share > c->worst ? share : c->worst;
    if (!(share <= 1.0)) {
        c->failed++;
        printf("FAILED %s of %s: %.9g, expected %.9g\n", what, name, got, wanted);
    }
}

static void compute(struct checked *c)
{
    struct sl_error err = {0};
    struct wk_model *model = NULL;
    struct wk_workspace *workspace = NULL;
    struct wk_batch *batch = golden_batch(c->set, 0);
    struct wk_mode mode = {.training = true};
    c->params = golden_params(c->set, "initial.safetensors");
    for (int t = 0; t < SL_TAGS; t++)
        c->grads[t] = sl_alloc_aligned(c->set->layout->count, sizeof(float));
    if (c->grads[0] == NULL || c->grads[1] == NULL ||
            wk_model_create(&model, c->set->config, c->set->layout, &err) != SL_OK ||
            wk_workspace_create(&workspace, model, batch->count, true, &err) != SL_OK)
        golden_die("%s", err.text);
    wk_model_forward(model, c->params, batch, &mode, workspace, &c->stats);
    wk_model_backward(model, c->params, batch, workspace, c->grads);
    wk_workspace_destroy(workspace);
    wk_model_destroy(model);
    wk_batch_destroy(batch);
}

static void tags_of(const struct checked *c, const struct sl_block *block, const float *ret_grads[SL_TAGS])
{
    for (int tag = 0; tag < SL_TAGS; tag++)
        ret_grads[tag] = block->tagged[tag] ? c->grads[tag] + block->offset : NULL;
}

static int word(json_t *object, const char *key, const char *const *words)
{
    const char *text = json_string_value(json_object_get(object, key));
    for (int i = 0; text != NULL && words[i] != NULL; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    return 0;
}

static struct sl_modulation_config read_form(json_t *object)
{
    static const char *const forms[] = {"excess", "ratio", "mlb", "pareto", "constant", NULL};
    static const char *const scales[] = {"unimodal", "gradient", "update", NULL};
    json_t *constant = json_object_get(object, "constant");
    struct sl_modulation_config form = {.form = (enum sl_modulation_form)word(object, "form", forms),
            .scale = (enum sl_modulation_scale)word(object, "scale", scales),
            .alpha = json_number_value(json_object_get(object, "alpha")),
            .beta_max = json_number_value(json_object_get(object, "beta_max")),
            .gamma = json_number_value(json_object_get(object, "gamma")),
            .floor = json_number_value(json_object_get(object, "floor")),
            .end = -1};
    form.constant.count = (int)json_array_size(constant);
    for (int m = 0; m < form.constant.count && m < SL_MODALITIES_MAX; m++)
        form.constant.values[m] = json_number_value(json_array_get(constant, (size_t)m));
    return form;
}

/* The sums that the coordinator gets from the servers; returns the global norm of the mean gradient. */
static double measure(const struct checked *c, const struct ps_table *table, struct ps_angle *ret_angles)
{
    const struct sl_layout *layout = c->set->layout;
    double norm2 = 0.0;
    for (int b = 0; b < layout->block_count; b++) {
        const float *grads[SL_TAGS];
        struct sl_block_sums sums;
        struct sl_error err = {0};
        tags_of(c, &layout->blocks[b], grads);
        if (ps_table_measure(table, b, grads, &sums, &err) != SL_OK)
            golden_die("%s", err.text);
        norm2 += sums.norm2;
        if (layout->blocks[b].part != SL_PART_EXTRACTOR)
            continue;
        struct ps_angle *angle = &ret_angles[layout->blocks[b].modality];
        angle->dot += sums.dot;
        angle->unimodal2 += sums.unimodal2;
        angle->fused2 += sums.fused2;
    }
    return sqrt(norm2) / c->stats.weight_sum;
}

static void check_factors(
        struct checked *c, json_t *expected, const char *name, const struct sl_commit *commit)
{
    const struct sl_config *config = c->set->config;
    const double *const got[] = {commit->coefficient, commit->fused, commit->update};
    static const char *const keys[] = {"unimodal", "fused", "update"};
    for (int m = 0; m < config->modality_count; m++)
        for (int i = 0; i < 3; i++)
            check(c, got[i][m],
                    json_number_value(
                            json_object_get(json_object_get(expected, keys[i]), config->modalities[m].name)),
                    FACTOR_TOLERANCE, keys[i], name);
}

static void check_params(
        struct checked *c, const struct sl_safetensors *file, const struct ps_table *table, const char *name)
{
    const struct sl_layout *layout = c->set->layout;
    float *params = sl_alloc_aligned(layout->count, sizeof(float));
    if (params == NULL)
        golden_die("out of memory");
    ps_table_copy(table, params, NULL, NULL);
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        size_t count = 0;
        if (param->part != SL_PART_EXTRACTOR)
            continue;
        float *wanted = golden_tensor(file, &count, "%s.%s", name, param->name);
        if (wanted == NULL || count != param->count)
            golden_die("forms.safetensors: no %s.%s of the right shape", name, param->name);
        check(c, 1.0 + golden_relative(params + param->offset, wanted, count, 0.0), 1.0, TENSOR_TOLERANCE,
                param->name, name);
        sl_free(wanted);
    }
    sl_free(params);
}

static void run_case(struct checked *c, const char *name, json_t *expected, const struct sl_safetensors *file)
{
    struct sl_error err = {0};
    struct ps_modulation state = {0};
    struct ps_angle angles[SL_MODALITIES_MAX] = {{0}};
    struct ps_table *table = NULL;
    double rate = 0.0, ratios[SL_MODALITIES_MAX], k[SL_MODALITIES_MAX];
    struct sl_modulation_config form = read_form(json_object_get(expected, "modulation"));
    struct ps_optimiser optimiser =
            golden_optimiser(json_object_get(json_object_get(c->set->expected, "optimisers"),
                                     json_string_value(json_object_get(expected, "optimiser"))),
                    &rate);
    if (ps_table_create(&table, c->set->layout, &optimiser, NULL, 0, &err) != SL_OK ||
            ps_table_load(table, c->params, NULL, NULL, 0, &err) != SL_OK ||
            ps_modulation_step(&state, &form, 0, c->stats.score, c->set->config->modality_count, ratios, k,
                    &err) != SL_OK)
        golden_die("%s", err.text);
    struct sl_commit commit = {.inverse_weight = 1.0 / c->stats.weight_sum, .rate = rate};
    commit.clip = ps_optimiser_clip(&optimiser, measure(c, table, angles));
    ps_balance_factors(&form, 0, c->set->config->modality_count, angles, NULL, k, &commit);
    check_factors(c, expected, name, &commit);
    for (int64_t version = 0; version < UPDATES; version++) {
        for (int b = 0; b < c->set->layout->block_count; b++) {
            const float *grads[SL_TAGS];
            tags_of(c, &c->set->layout->blocks[b], grads);
            if (ps_table_apply(table, b, version, &commit, grads, &err) != SL_OK)
                golden_die("%s", err.text);
        }
    }
    check_params(c, file, table, name);
    ps_table_destroy(table);
}

static void check_angle(struct checked *c, json_t *expected)
{
    struct ps_angle angle = {json_number_value(json_object_get(expected, "dot")),
            json_number_value(json_object_get(expected, "unimodal2")),
            json_number_value(json_object_get(expected, "fused2"))};
    double unimodal = 0.0, fused = 0.0;
    ps_balance_pareto(&angle, 1.5, &unimodal, &fused);
    check(c, unimodal, json_number_value(json_object_get(expected, "unimodal")), ANGLE_TOLERANCE, "angle",
            "unimodal");
    check(c, fused, json_number_value(json_object_get(expected, "fused")), ANGLE_TOLERANCE, "angle", "fused");
}

int main(int argc, char **argv)
{
    struct golden_set set;
    char path[4096];
    json_error_t error;
    if (argc != 2) {
        (void)fprintf(stderr, "usage: golden_forms FOLDER\n");
        return 2;
    }
    (void)snprintf(path, sizeof(path), "%s/forms.json", argv[1]);
    if (access(path, R_OK) != 0) {
        printf("skipped: no forms.json in %s\n", argv[1]);
        return GOLDEN_SKIPPED;
    }
    if (!golden_open(&set, argv[1]))
        return GOLDEN_SKIPPED;
    json_t *forms = json_load_file(path, 0, &error), *expected = NULL;
    if (forms == NULL)
        golden_die("%s:%d: %s", path, error.line, error.text);
    struct checked c = {.set = &set};
    struct sl_safetensors *file = golden_file(&set, "forms.safetensors");
    const char *name = NULL;
    size_t index = 0;
    compute(&c);
    json_object_foreach(json_object_get(forms, "cases"), name, expected) run_case(&c, name, expected, file);
    json_array_foreach(json_object_get(forms, "angles"), index, expected) check_angle(&c, expected);
    printf("%s: %d tensors and numbers, %d beyond their tolerance; worst %.3g of it\n", set.folder, c.count,
            c.failed, c.worst);
    sl_safetensors_close(file);
    for (int t = 0; t < SL_TAGS; t++)
        sl_free(c.grads[t]);
    sl_free(c.params);
    json_decref(forms);
    golden_close(&set);
    return c.failed == 0 && c.count > 0 ? 0 : 1;
}
