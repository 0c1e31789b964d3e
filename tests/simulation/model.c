/* What is trained: see model.h. */
#include "tests/simulation/model.h"

#include "common/coefficient.h"
#include "common/memory.h"
#include "common/random.h"
#include "tests/simulation/dice.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX 256 /* floats */

struct variant {
    enum sl_consistency mode;
    int staleness, slots, slot_size, epochs, train, validation, hidden, block_floats;
    enum sl_optimiser_kind optimiser;
    int shards; /* 0 = locality samples */
    enum sl_modulation_form form;
    enum sl_modulation_scale scale;
    bool by_slot; /* statistics slot */
    enum sl_exchange exchange;
    bool tables; /* text is a table of embeddings, visual is frozen; nothing decays or has momentum */
    enum sl_wire_numbers wire;
};

static const struct variant variants[SIM_MODEL_COUNT] = {
        [SIM_MODEL_BSP] = {SL_CONSISTENCY_BSP, 0, 5, 3, 3, 37, 11, 4, 128, SL_OPTIMISER_ADAMW},
        [SIM_MODEL_BSP_SGD] = {SL_CONSISTENCY_BSP, 0, 8, 1, 2, 37, 0, 4, 64, SL_OPTIMISER_SGD, 0,
                SL_FORM_PARETO},
        [SIM_MODEL_SSP] = {SL_CONSISTENCY_SSP, 3, 4, 2, 2, 63, 7, 4, 128, SL_OPTIMISER_ADAMW, 0, SL_FORM_MLB,
                SL_SCALE_GRADIENT},
        [SIM_MODEL_SSP_TIGHT] = {SL_CONSISTENCY_SSP, 1, 3, 1, 2, 29, 0, 4, 128, SL_OPTIMISER_SGD},
        [SIM_MODEL_ASP] = {SL_CONSISTENCY_ASP, 0, 3, 2, 2, 58, 5, 4, 128, SL_OPTIMISER_ADAMW},
        [SIM_MODEL_WIDE] = {SL_CONSISTENCY_BSP, 0, 64, 1, 1, 250, 40, 4, 128, SL_OPTIMISER_ADAMW, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, true},
        [SIM_MODEL_FINE] = {SL_CONSISTENCY_BSP, 0, 4, 1, 1, 11, 0, 16, 16, SL_OPTIMISER_ADAMW, 0, SL_FORM_MLB,
                SL_SCALE_UPDATE},
        [SIM_MODEL_SHARDS] = {SL_CONSISTENCY_BSP, 0, 4, 2, 2, 31, 5, 4, 128, SL_OPTIMISER_SGD, 5},
        [SIM_MODEL_EARLY] = {SL_CONSISTENCY_BSP, 0, 5, 3, 3, 37, 11, 4, 128, SL_OPTIMISER_ADAMW, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_EARLY},
        [SIM_MODEL_EARLY_SSP] = {SL_CONSISTENCY_SSP, 2, 4, 2, 2, 63, 7, 4, 128, SL_OPTIMISER_SGD, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_EARLY},
        [SIM_MODEL_EARLY_SHARDS] = {SL_CONSISTENCY_BSP, 0, 8, 1, 2, 31, 0, 4, 64, SL_OPTIMISER_SGD, 5,
                SL_FORM_MLB, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_EARLY},
        [SIM_MODEL_TABLES] = {SL_CONSISTENCY_BSP, 0, 4, 2, 2, 43, 9, 4, 128, SL_OPTIMISER_ADAMW, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_TAGGED, true},
        [SIM_MODEL_TABLES_SSP] = {SL_CONSISTENCY_SSP, 3, 3, 2, 2, 47, 5, 4, 128, SL_OPTIMISER_SGD, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_TAGGED, true},
        [SIM_MODEL_TABLES_ASP] = {SL_CONSISTENCY_ASP, 0, 2, 2, 2, 41, 0, 4, 128, SL_OPTIMISER_SGD, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_TAGGED, true},
        [SIM_MODEL_TABLES_EARLY] = {SL_CONSISTENCY_BSP, 0, 3, 2, 2, 29, 5, 4, 64, SL_OPTIMISER_SGD, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_EARLY, true},
        [SIM_MODEL_FROZEN] = {SL_CONSISTENCY_SSP, 2, 3, 2, 2, 37, 7, 4, 256, SL_OPTIMISER_SGD, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_TAGGED, true},
        [SIM_MODEL_ROUNDED] = {SL_CONSISTENCY_BSP, 0, 5, 2, 2, 37, 7, 4, 128, SL_OPTIMISER_ADAMW, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_TAGGED, false, SL_WIRE_BF16},
        [SIM_MODEL_ROUNDED_TABLES] = {SL_CONSISTENCY_BSP, 0, 4, 2, 2, 43, 0, 4, 64, SL_OPTIMISER_ADAMW, 0,
                SL_FORM_EXCESS, SL_SCALE_UNIMODAL, false, SL_EXCHANGE_TAGGED, true, SL_WIRE_BF16},
        [SIM_MODEL_SCALE] = {SL_CONSISTENCY_BSP, 0, 1024, 1, 1, 3072, 0, 16, 16, SL_OPTIMISER_ADAMW},
};

static void *must(void *memory)
{
    if (memory == NULL) {
        (void)fprintf(stderr, "simulation: out of memory\n");
        exit(9);
    }
    return memory;
}

#define ROWS 160 /* of the table: 40 lines of 16 numbers */
#define NAMED 48 /* one row of so many is named by a slot */

static void freeze(struct sl_modality_config *modality)
{
    modality->freeze_count = 1;
    (void)snprintf(modality->freeze[0], sizeof(modality->freeze[0]), "*");
}

static void use_tables(struct sl_config *config)
{
    struct sl_modality_config *visual = &config->modalities[0], *text = &config->modalities[1];
    freeze(visual);
    text->kind = SL_KIND_BERT;
    text->vocab_size = ROWS;
    text->max_position = text->max_tokens = 4;
    text->heads = 1;
    config->optimiser.momentum = 0.0F;
    config->optimiser.weight_decay = 0.0F;
}

static void configure(struct sl_config *config, enum sim_model_kind kind)
{
    const struct variant *variant = &variants[kind];
    config->label_count = SIM_LABELS;
    config->modality_count = SIM_MODALITIES;
    for (int m = 0; m < SIM_MODALITIES; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        (void)snprintf(modality->name, sizeof(modality->name), "%s", m == 0 ? "visual" : "text");
        modality->kind = SL_KIND_FEATURES;
        modality->input = 4 + m;
        modality->hidden = variant->hidden;
        modality->max_items = 2;
    }
    for (int k = 0; k < SIM_LABELS; k++)
        (void)snprintf(config->labels[k].name, sizeof(config->labels[k].name), "c%d", k);
    config->fusion.dim = variant->hidden;
    config->fusion.heads = 1;
    config->fusion.layers = 1;
    config->fusion.mlp = variant->hidden;
    config->modulation.form = variant->form;
    config->modulation.scale = variant->scale;
    config->modulation.beta_max = 2.0;
    config->modulation.gamma = 1.5;
    config->modulation.alpha = 0.5;
    config->modulation.decay = 0.9;
    config->modulation.end = -1;
    config->modulation.statistics = variant->by_slot ? SL_STATISTICS_SLOT : SL_STATISTICS_MEAN;
    config->modulation.exchange = variant->exchange;
    if (variant->exchange == SL_EXCHANGE_EARLY) {
        config->optimiser.second_moment = SL_SECOND_MODULATED;
        config->optimiser.clip_by = SL_CLIP_BY_MODULATED;
    }
    config->optimiser.kind = variant->optimiser;
    config->optimiser.lr = 1e-2F;
    config->optimiser.beta1 = 0.9F;
    config->optimiser.beta2 = 0.999F;
    config->optimiser.eps = 1e-8F;
    config->optimiser.momentum = 0.9F;
    config->optimiser.weight_decay = 0.05F;
    config->optimiser.clip_norm = 1.0F;
    config->optimiser.schedule = SL_SCHEDULE_COSINE;
    config->cluster.wire = variant->wire;
    config->batch.slots = variant->slots;
    config->batch.slot_size = variant->slot_size;
    config->epochs = variant->epochs;
    config->seed = 3;
    config->consistency.mode = variant->mode;
    config->consistency.staleness = variant->staleness;
    config->dataset.locality = variant->shards > 0 ? SL_LOCALITY_SHARDS : SL_LOCALITY_SAMPLES;
    if (variant->validation > 0)
        (void)snprintf(config->snapshots.keep_best, sizeof(config->snapshots.keep_best), "fused.loss");
    for (int b = 0; b <= SIM_MODALITIES; b++)
        config->loss.weight[b] = 1.0F;
    if (variant->tables)
        use_tables(config);
    if (kind == SIM_MODEL_FROZEN)
        freeze(&config->modalities[1]);
}

/* Shards of unequal sizes, the last of them has the rest. */
static void make_plan(struct sim_model *model, int shards)
{
    struct sl_error err = {0};
    model->shard_count = (uint32_t)shards;
    uint64_t left = model->train_count;
    for (int s = 0; s < shards; s++) {
        uint64_t size = (uint64_t)(3 + 2 * s);
        model->shards[s] = s == shards - 1 || size > left ? left : size;
        left -= model->shards[s];
    }
    struct sl_plan_options options = {.count = model->train_count,
            .slots = model->config.batch.slots,
            .slot_size = model->config.batch.slot_size,
            .seed = model->config.seed,
            .shards = shards > 0 ? model->shards : NULL,
            .shard_count = (uint32_t)shards};
    if (sl_plan_create(&model->plan, &options, &err) != SL_OK) {
        (void)fprintf(stderr, "simulation: %s\n", err.text);
        exit(1);
    }
}

static void find_rows(struct sim_model *model)
{
    model->row = must(sl_alloc(model->layout->count, sizeof(*model->row)));
    for (size_t i = 0; i < model->layout->count; i++)
        model->row[i] = -1;
    for (int p = 0; p < model->layout->param_count; p++) {
        const struct sl_param *param = &model->layout->params[p];
        for (size_t i = 0; param->table && i < param->count; i++)
            model->row[param->offset + i] = (int32_t)(i / (size_t)param->shape[1]);
    }
}

struct sim_model *sim_model_create(enum sim_model_kind kind)
{
    const struct variant *variant = &variants[kind];
    struct sim_model *model = must(sl_alloc(1, sizeof(*model)));
    struct sl_error err = {0};
    model->kind = kind;
    configure(&model->config, kind);
    if (sl_layout_create(&model->layout, &model->config, (size_t)variant->block_floats, &err) != SL_OK) {
        (void)fprintf(stderr, "simulation: %s\n", err.text);
        exit(1);
    }
    find_rows(model);
    model->train_count = (uint64_t)variant->train;
    model->validation_count = (uint64_t)variant->validation;
    make_plan(model, variant->shards);
    model->steps_per_epoch = sl_plan_steps_per_epoch(model->plan);
    model->total_steps = model->steps_per_epoch * variant->epochs;
    model->early = variant->exchange == SL_EXCHANGE_EARLY;
    model->whole_numbers = variant->mode != SL_CONSISTENCY_BSP;
    model->initial = must(sl_alloc_aligned(model->layout->count, sizeof(float)));
    sl_layout_initialise(model->layout, 3, model->initial);
    size_t places = (size_t)(model->total_steps + 1) * (size_t)model->layout->block_count;
    model->facts = must(sl_alloc((size_t)model->total_steps, sizeof(*model->facts)));
    model->params_hash = must(sl_alloc(places, sizeof(uint64_t)));
    model->state_hash = must(sl_alloc(places, sizeof(uint64_t)));
    model->validation_loss = must(sl_alloc((size_t)model->total_steps + 1, sizeof(double)));
    for (int64_t step = 0; step <= model->total_steps; step++)
        model->validation_loss[step] = NAN;
    return model;
}

void sim_model_destroy(struct sim_model *model)
{
    if (model == NULL)
        return;
    sl_layout_destroy(model->layout);
    sl_plan_destroy(model->plan);
    sl_free(model->initial);
    sl_free(model->row);
    sl_free(model->facts);
    sl_free(model->params_hash);
    sl_free(model->state_hash);
    sl_free(model->validation_loss);
    sl_free(model);
}

int64_t sim_model_samples(const struct sim_model *model, int64_t step)
{
    return sl_plan_samples(model->plan, step, 0, sim_model_slots(model, step));
}

uint32_t sim_model_slots(const struct sim_model *model, int64_t step)
{
    return sl_plan_slots(model->plan, step);
}

uint32_t sim_model_units(const struct sim_model *model)
{
    uint64_t size = (uint64_t)model->config.batch.slot_size;
    return (uint32_t)((model->validation_count + size - 1) / size);
}

/* A number of (step, slot, place): the same wherever and whenever it is drawn. */
static uint64_t number(int64_t step, uint32_t slot, uint64_t place)
{
    return sim_mix(
            (((uint64_t)step << 40) ^ ((uint64_t)slot << 24) ^ place) * 0x9e3779b97f4a7c15U + 0x51ed270b);
}

static double fraction(int64_t step, uint32_t slot, uint64_t place)
{
    return (double)(number(step, slot, place) >> 11) * 0x1p-53;
}

/* A bit of a parameter that differs from version to version. */
static float odd(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (float)(bits >> 3 & 1);
}

static float drawn_gradient(
        const struct sim_model *model, const float *params, int64_t step, uint32_t slot, int tag, size_t i)
{
    uint64_t drawn = number(step, slot, (size_t)tag * model->layout->count + i);
    if (model->row[i] >= 0 && number(step, slot, (1U << 23) + (uint64_t)model->row[i]) % NAMED != 0)
        return 0.0F;
    float whole = (float)(int)(drawn % 15) - 7.0F;
    if (model->config.cluster.wire ==
            SL_WIRE_BF16) /* which has every whole number up to 256, so all sums of these */
        return whole + odd(params[i]);
    return model->whole_numbers ? whole : (float)(drawn >> 40) * 0x1p-24F - 0.5F + 0.1F * params[i];
}

/* One backward pass for all branches: what the server would make of the tags, in one vector. */
static void early_gradients(const struct sim_model *model, const float *params, int64_t step, uint32_t slot,
        const double *coefficient, float *grads)
{
    const struct sl_layout *layout = model->layout;
    for (int b = 0; b < layout->block_count; b++) {
        const struct sl_block *block = &layout->blocks[b];
        for (size_t i = block->offset; i < block->offset + block->count; i++) {
            float unimodal = drawn_gradient(model, params, step, slot, SL_TAG_UNIMODAL, i),
                  fused = drawn_gradient(model, params, step, slot, SL_TAG_FUSED, i);
            grads[i] = block->part == SL_PART_HEAD ? unimodal
                       : block->part == SL_PART_FUSION
                               ? fused
                               : (float)coefficient[block->modality] * unimodal + fused;
        }
    }
}

static void leaf(const struct sim_model *model, const float *params, int64_t step, uint32_t slot,
        const double *coefficient, float *grads, struct sl_step_stats *stats)
{
    size_t count = model->layout->count;
    for (int tag = 0; tag < SL_TAGS && grads != NULL && !model->early; tag++)
        for (size_t i = 0; i < count; i++)
            grads[(size_t)tag * count + i] = drawn_gradient(model, params, step, slot, tag, i);
    if (grads != NULL && model->early)
        early_gradients(model, params, step, slot, coefficient, grads);
    int samples = sl_plan_chunk(model->plan, step, slot).count;
    *stats = (struct sl_step_stats){
            .count = samples, .weight_sum = samples * (0.5 + fraction(step, slot, 1 << 20))};
    for (int b = 0; b < SIM_BRANCHES; b++)
        stats->loss[b] = 1.0 + fraction(step, slot, (uint64_t)((1 << 21) + b));
    for (int m = 0; m < SIM_MODALITIES; m++)
        stats->score[m] = samples * (0.1 + 0.4 * m + 0.3 * fraction(step, slot, (uint64_t)((1 << 22) + m)));
    for (int m = 0; m < SIM_MODALITIES && model->config.modulation.statistics == SL_STATISTICS_SLOT; m++)
        stats->coefficient[m] = samples * sl_coefficient_of_scores(
                                                  &model->config.modulation, stats->score, SIM_MODALITIES, m);
}

void sim_model_node(const struct sim_model *model, const float *params, int64_t step, struct sl_node node,
        const double *coefficient, float *grads, struct sl_step_stats *stats)
{
    if (node.level == 0) {
        leaf(model, params, step, node.index, coefficient, grads, stats);
        return;
    }
    struct sl_node left = {node.level - 1, 2 * node.index}, right = {node.level - 1, 2 * node.index + 1};
    sim_model_node(model, params, step, left, coefficient, grads, stats);
    if (!sl_tree_node_valid(sim_model_slots(model, step), right))
        return;
    size_t size = sl_layout_gradient_floats(model->layout);
    SL_AUTO_FREE float *other = grads != NULL ? must(sl_alloc_aligned(size, sizeof(float))) : NULL;
    struct sl_step_stats other_stats;
    sim_model_node(model, params, step, right, coefficient, other, &other_stats);
    if (grads != NULL)
        sl_vector_add(grads, other, size);
    sl_step_stats_add(stats, &other_stats);
}

void sim_model_validate(const struct sim_model *model, const float *params, uint32_t begin, uint32_t end,
        struct sl_evaluation *evaluation)
{
    uint32_t size = (uint32_t)model->config.batch.slot_size;
    for (uint32_t s = begin * size; s < end * size && s < model->validation_count; s++) {
        for (int b = 0; b < SIM_BRANCHES; b++) {
            struct sl_error err = {0};
            size_t place = (s * 7U + (uint32_t)b * 13U) % (model->layout->count - SIM_LABELS);
            if (sl_evaluation_add_logits(evaluation, b, params + place, (int)(s % SIM_LABELS), &err) !=
                    SL_OK) {
                (void)fprintf(stderr, "simulation: %s\n", err.text);
                abort();
            }
        }
    }
}

uint64_t sim_hash_params(const struct sim_model *model, int block, const void *params)
{
    return sl_hash64(params, model->layout->blocks[block].count * sizeof(float), 1);
}

/* Moments that are not there are zero. */
uint64_t sim_hash_state(const struct sim_model *model, int block, const struct ps_block_state *state)
{
    static const float zeros[BLOCK_MAX];
    size_t size = model->layout->blocks[block].count * sizeof(float);
    assert(size <= sizeof(zeros));
    uint64_t hash = sl_hash64(state->params->data, size, 2);
    hash = sl_hash64(state->m != NULL ? state->m->data : zeros, size, hash);
    if (model->config.optimiser.kind != SL_OPTIMISER_ADAMW)
        return hash;
    return sl_hash64(state->v != NULL ? state->v->data : zeros, size, hash);
}
