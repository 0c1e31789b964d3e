/* The whole model: extractors, heads, fusion, losses; see model.h. */
#include "worker/model/model.h"

#include "common/memory.h"
#include "worker/model/extractor.h"
#include "worker/model/fusion.h"
#include "worker/model/loss.h"
#include "worker/model/pool.h"

#include <assert.h>
#include <string.h>

struct wk_model {
    const struct sl_config *config;
    const struct sl_layout *layout;
    int modalities;
    size_t classes;
    struct wk_extractor extractor[SL_MODALITIES_MAX];
    struct wk_linear_at head[SL_MODALITIES_MAX];
    struct wk_fusion fusion;
    size_t end
            [SL_MODALITIES_MAX]; /* of each extractor's parameters; it begins where the one before it ends */
    struct wk_fold fold;         /* of what a backward pass tells of, range by range */
};

struct wk_workspace {
    const struct wk_model *model;
    int capacity;
    bool training;
    int tags;             /* that backward has room for, 0 when not training */
    int threads;          /* that there is scratch for */
    struct sl_team *team; /* NULL = the caller alone */
    void (*whole)(void *context, size_t begin, size_t end); /* told of finished gradients; NULL = nobody */
    void *whole_context;
    void (*need)(void *context, size_t begin, size_t end); /* waits for parameters; NULL = they are there */
    void *need_context;
    bool folded; /* backward passes write folded vectors */
    void *kept_memory, *scratch_memory;
    size_t size;                  /* bytes */
    struct wk_mode mode;          /* of the last forward; backward repeats it */
    const struct wk_batch *batch; /* of the last forward */
    struct wk_extractor_state extractor[SL_MODALITIES_MAX];
    struct wk_fusion_state fusion;
    float *pooled[SL_MODALITIES_MAX];                          /* (B, d) */
    float *logits[SL_BRANCHES_MAX], *dlogits[SL_BRANCHES_MAX]; /* (B, K) */
    float *dpooled;                                            /* (B, d) of the widest modality */
    float *dfeatures
            [SL_MODALITIES_MAX]; /* (R, d) per tag of heads and fusion; NULL where the extractor is frozen */
};

static size_t extractor_begin(const struct wk_model *model, int m)
{
    return m == 0 ? model->layout->head_end : model->end[m - 1];
}

/* The ranges that a backward pass tells of, in the order of the flat vector. */
static enum sl_status plan_fold(struct wk_model *model, struct sl_error *err)
{
    int most = 2 + model->fusion.layers, count = 0;
    for (int m = 0; m < model->modalities; m++)
        most += 1 + wk_extractor_layers(&model->extractor[m]);
    SL_AUTO_FREE uint64_t *begin = sl_alloc((size_t)most + 1, sizeof(*begin));
    if (begin == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the model's plan");
    begin[count++] = 0;
    for (int m = 0; m < model->modalities; m++) {
        begin[count++] = extractor_begin(model, m);
        for (int l = 0; l < wk_extractor_layers(&model->extractor[m]); l++)
            begin[count++] = wk_extractor_layer_begin(&model->extractor[m], l);
    }
    begin[count++] = model->layout->extractor_end;
    for (int l = 0; l < model->fusion.layers; l++)
        begin[count++] = wk_fusion_layer_begin(&model->fusion, l);
    begin[count] = model->layout->count;
    return wk_fold_create(&model->fold, begin, count, err);
}

enum sl_status wk_model_create(struct wk_model **ret_model, const struct sl_config *config,
        const struct sl_layout *layout, struct sl_error *err)
{
    struct wk_model *model = sl_alloc(1, sizeof(*model));
    if (model == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the model's plan");
    int max_items[SL_MODALITIES_MAX] = {0};
    enum sl_status status = SL_OK;
    wk_blas_single();
    model->config = config;
    model->layout = layout;
    model->modalities = config->modality_count;
    model->classes = (size_t)config->label_count;
    for (int m = 0; m < model->modalities && status == SL_OK; m++) {
        const char *name = config->modalities[m].name;
        model->head[m] = wk_place_linear(layout, "head.", name, 1);
        status = wk_extractor_init(&model->extractor[m], config, m, layout, err);
        max_items[m] = model->extractor[m].max_items;
    }
    for (int b = 0; b < layout->block_count; b++)
        if (layout->blocks[b].part == SL_PART_EXTRACTOR) /* in order: the last one stays */
            model->end[layout->blocks[b].modality] = layout->blocks[b].offset + layout->blocks[b].count;
    if (status == SL_OK)
        status = wk_fusion_init(&model->fusion, config, layout, max_items, err);
    if (status == SL_OK)
        status = plan_fold(model, err);
    if (status != SL_OK) {
        wk_model_destroy(model);
        return status;
    }
    *ret_model = model;
    return SL_OK;
}

void wk_model_destroy(struct wk_model *model)
{
    if (model == NULL)
        return;
    for (int m = 0; m < model->modalities; m++)
        wk_extractor_fini(&model->extractor[m]);
    wk_fusion_fini(&model->fusion);
    wk_fold_fini(&model->fold);
    sl_free(model);
}

const struct wk_fold *wk_model_fold(const struct wk_model *model)
{
    return &model->fold;
}

/* Everything that a batch needs, in one order; called twice (see arena.h). Parts that run one after the other
 * share their scratch. */
static void plan(struct wk_workspace *ws, struct wk_arena *kept, struct wk_arena *scratch)
{
    const struct wk_model *model = ws->model;
    size_t b = (size_t)ws->capacity, widest = 0;
    for (int m = 0; m < model->modalities; m++) {
        size_t d = model->extractor[m].d;
        scratch->used = 0;
        wk_extractor_plan(&ws->extractor[m], &model->extractor[m], ws->capacity, ws->tags, kept, scratch);
        ws->pooled[m] = wk_arena_floats(kept, b, d);
        if (ws->training && !wk_extractor_frozen(&model->extractor[m]))
            ws->dfeatures[m] = wk_arena_floats(kept, SL_TAGS * b * (size_t)model->extractor[m].max_items, d);
        widest = d > widest ? d : widest;
    }
    scratch->used = 0;
    wk_fusion_plan(&ws->fusion, &model->fusion, ws->capacity, ws->training, kept, scratch);
    for (int branch = 0; branch <= model->modalities; branch++) {
        ws->logits[branch] = wk_arena_floats(kept, b, model->classes);
        ws->dlogits[branch] = ws->training ? wk_arena_floats(kept, b, model->classes) : NULL;
    }
    if (ws->training)
        ws->dpooled = wk_arena_floats(kept, b, widest);
}

static enum sl_status allocate(struct wk_workspace *ws, struct sl_error *err)
{
    int members = ws->threads;
    struct wk_arena kept = {0}, scratch = {.members = members};
    plan(ws, &kept, &scratch);
    if (__builtin_add_overflow(kept.peak, scratch.peak, &ws->size))
        ws->size = SIZE_MAX;
    ws->kept_memory = sl_alloc_aligned(kept.peak, 1);
    ws->scratch_memory = sl_alloc_aligned(scratch.peak, 1);
    if (ws->kept_memory == NULL || ws->scratch_memory == NULL)
        return sl_fail(err, SL_NO_MEMORY,
                "out of memory for the activations of %d samples: %zu bytes wanted; make batch.slot_size or "
                "the model smaller",
                ws->capacity, ws->size);
    kept = (struct wk_arena){.base = ws->kept_memory};
    scratch = (struct wk_arena){.base = ws->scratch_memory, .members = members};
    plan(ws, &kept, &scratch);
    return SL_OK;
}

enum sl_status wk_workspace_create(struct wk_workspace **ret_workspace, const struct wk_model *model,
        int capacity, bool training, struct sl_error *err)
{
    return wk_workspace_create_for(ret_workspace, model, capacity, training, 1, err);
}

enum sl_status wk_workspace_create_for(struct wk_workspace **ret_workspace, const struct wk_model *model,
        int capacity, bool training, int threads, struct sl_error *err)
{
    struct wk_workspace *ws = sl_alloc(1, sizeof(*ws));
    if (ws == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a workspace");
    ws->model = model;
    ws->capacity = capacity;
    ws->training = training;
    if (training)
        ws->tags = model->config->modulation.exchange == SL_EXCHANGE_EARLY ? 1 : SL_TAGS;
    ws->threads = threads;
    enum sl_status status = wk_fusion_state_init(&ws->fusion, &model->fusion, err);
    for (int m = 0; m < model->modalities && status == SL_OK; m++)
        status = wk_extractor_state_init(&ws->extractor[m], &model->extractor[m], err);
    if (status == SL_OK)
        status = allocate(ws, err);
    if (status != SL_OK) {
        wk_workspace_destroy(ws);
        return status;
    }
    *ret_workspace = ws;
    return SL_OK;
}

void wk_workspace_use_team(struct wk_workspace *workspace, struct sl_team *team)
{
    assert(sl_team_threads(team) <= workspace->threads);
    workspace->team = team;
}

void wk_workspace_tell(
        struct wk_workspace *workspace, void (*whole)(void *context, size_t begin, size_t end), void *context)
{
    workspace->whole = whole;
    workspace->whole_context = context;
}

void wk_workspace_await(
        struct wk_workspace *workspace, void (*need)(void *context, size_t begin, size_t end), void *context)
{
    workspace->need = need;
    workspace->need_context = context;
}

void wk_workspace_fold(struct wk_workspace *workspace, bool folded)
{
    workspace->folded = folded;
}

void wk_workspace_destroy(struct wk_workspace *workspace)
{
    if (workspace == NULL)
        return;
    for (int m = 0; m < workspace->model->modalities; m++)
        wk_extractor_state_fini(&workspace->extractor[m], &workspace->model->extractor[m]);
    wk_fusion_state_fini(&workspace->fusion);
    sl_free(workspace->kept_memory);
    sl_free(workspace->scratch_memory);
    sl_free(workspace);
}

size_t wk_workspace_size(const struct wk_workspace *workspace)
{
    return workspace->size;
}

static struct wk_run run_of(const struct wk_workspace *ws, const float *params, const struct wk_batch *batch,
        const struct wk_mode *mode)
{
    return (struct wk_run){.v = wk_vector(),
            .params = params,
            .batch = batch,
            .training = mode->training,
            .seed = mode->seed,
            .step = mode->step,
            .team = ws->team};
}

static void head_forward(
        const struct wk_run *run, const struct wk_model *model, struct wk_workspace *ws, int m)
{
    const struct wk_extractor *extractor = &model->extractor[m];
    const int *offset = run->batch->inputs[m].offset;
    const float *x = ws->extractor[m].output;
    wk_run_need(run, model->head[m].weight, model->head[m].bias + model->classes);
    if (extractor->pool_first)
        wk_pool_first(run, ws->pooled[m], x, offset, extractor->d);
    else
        wk_pool_mean(run, ws->pooled[m], extractor->d, x, offset, extractor->d);
    wk_linear_forward(run, ws->logits[m], ws->pooled[m], model->head[m], (size_t)run->batch->count,
            model->classes, extractor->d);
}

static void losses(const struct wk_model *model, struct wk_workspace *ws, const struct wk_batch *batch,
        struct sl_step_stats *ret_stats)
{
    const struct sl_config *config = model->config;
    memset(ret_stats, 0, sizeof(*ret_stats));
    for (int branch = 0; branch <= model->modalities; branch++) {
        struct wk_loss loss;
        wk_loss_forward(&loss, ws->mode.training ? ws->dlogits[branch] : NULL, ws->logits[branch],
                batch->labels, ws->mode.class_weights, batch->count, (int)model->classes,
                config->loss.label_smoothing, config->loss.weight[branch]);
        ret_stats->loss[branch] = loss.loss;
        ret_stats->correct[branch] = loss.correct;
        ret_stats->weight_sum = loss.weight_sum;
        ret_stats->count = loss.count;
        if (branch < model->modalities)
            ret_stats->score[branch] = loss.score;
    }
}

void wk_model_forward(const struct wk_model *model, const float *params, const struct wk_batch *batch,
        const struct wk_mode *mode, struct wk_workspace *workspace, struct sl_step_stats *ret_stats)
{
    assert(workspace->model == model && batch->count >= 1 && batch->count <= workspace->capacity);
    assert(workspace->training || !mode->training);
    const float *features[SL_MODALITIES_MAX] = {NULL};
    wk_blas_single();
    struct wk_run run = run_of(workspace, params, batch, mode);
    run.need = workspace->need;
    run.need_context = workspace->need_context;
    workspace->mode = *mode;
    workspace->batch = batch;
    for (int m = 0; m < model->modalities; m++) {
        wk_extractor_forward(&run, &model->extractor[m], &workspace->extractor[m]);
        features[m] = workspace->extractor[m].output;
        head_forward(&run, model, workspace, m);
    }
    wk_fusion_forward(
            &run, &model->fusion, &workspace->fusion, workspace->logits[model->modalities], features);
    wk_run_need(&run, 0, model->layout->count); /* backward reads them in another order */
    losses(model, workspace, batch, ret_stats);
}

const float *wk_model_logits(const struct wk_workspace *workspace, int branch)
{
    assert(branch >= 0 && branch <= workspace->model->modalities);
    return workspace->logits[branch];
}

/* Inverts head_forward: dx, the unimodal gradient of modality m's features, unless it is NULL. */
static void head_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_model *model,
        struct wk_workspace *ws, int m, float *dx)
{
    const struct wk_extractor *extractor = &model->extractor[m];
    const int *offset = run->batch->inputs[m].offset;
    wk_linear_backward(run, tags, dx == NULL ? NULL : ws->dpooled, ws->dlogits[m], ws->pooled[m],
            model->head[m], (size_t)run->batch->count, model->classes, extractor->d, false);
    if (dx == NULL)
        return;
    if (extractor->pool_first)
        wk_pool_first_backward(run, dx, ws->dpooled, offset, extractor->d);
    else
        wk_pool_mean_backward(run, dx, ws->dpooled, extractor->d, offset, extractor->d);
}

/* A key's bias adds the same to all scores of a query, which softmax takes out again: its gradient is zero.
 * What the sums leave there is rounding, and AdamW would divide it by its own size and make a random walk of
 * it. */
static void clear_key_biases(
        const struct sl_layout *layout, const struct wk_tags *tags, size_t begin, size_t end)
{
    static const char suffix[] = ".key.bias";
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        if (param->offset < begin || param->offset >= end)
            continue;
        size_t length = strlen(param->name);
        if (length < sizeof(suffix) || strcmp(param->name + length - (sizeof(suffix) - 1), suffix) != 0)
            continue;
        for (int t = param->part == SL_PART_FUSION ? SL_TAG_FUSED : SL_TAG_UNIMODAL; t < SL_TAGS; t++)
            memset(wk_gradient_at(tags, t, param->offset), 0, param->count * sizeof(float));
    }
}

/* A backward pass, for whoever is told of what it has finished. */
struct backward {
    const struct wk_workspace *ws;
    struct wk_tags tags; /* SL_TAGS of them, by tag; with exchange early both are the same vector */
};

/* One of the tags alone. */
static struct wk_tags one_tag(const struct wk_tags *tags, int tag)
{
    return (struct wk_tags){.count = 1, .grads = {tags->grads[tag]}, .fold = tags->fold};
}

/* Layers come whole, so that no parameter is cut in two. */
static void finish_range(void *context, size_t begin, size_t end)
{
    const struct backward *pass = context;
    clear_key_biases(pass->ws->model->layout, &pass->tags, begin, end);
    if (pass->ws->whole != NULL)
        pass->ws->whole(pass->ws->whole_context, begin, end);
}

/* Heads and fusion: the gradients of the extractors' outputs by tag. */
static void backward_to_features(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_model *model, struct wk_workspace *ws)
{
    struct wk_tags unimodal = one_tag(tags, SL_TAG_UNIMODAL), fused = one_tag(tags, SL_TAG_FUSED);
    const float *features[SL_MODALITIES_MAX] = {NULL};
    float *dfused[SL_MODALITIES_MAX] = {NULL};
    for (int m = 0; m < model->modalities; m++) {
        features[m] = ws->extractor[m].output;
        if (ws->dfeatures[m] != NULL)
            dfused[m] = ws->dfeatures[m] + (size_t)run->batch->inputs[m].rows * model->extractor[m].d;
        head_backward(run, &unimodal, model, ws, m, ws->dfeatures[m]);
    }
    run->walk->end = model->layout->head_end;
    wk_run_reached(run, 0);
    run->walk->end = model->layout->count;
    wk_fusion_backward(
            run, &fused, &model->fusion, &ws->fusion, dfused, ws->dlogits[model->modalities], features);
    wk_run_reached(run, model->layout->extractor_end);
}

static void extractor_backward(const struct wk_run *run, const struct wk_tags *tags,
        const struct wk_model *model, struct wk_workspace *ws, int m, const float *dx)
{
    run->walk->end = model->end[m];
    wk_extractor_backward(run, tags, &model->extractor[m], &ws->extractor[m], dx);
    wk_run_reached(run, extractor_begin(model, m));
}

static struct backward begin_backward(const struct wk_workspace *ws, float *unimodal, float *fused)
{
    return (struct backward){
            ws, {.count = SL_TAGS, .grads = {unimodal, fused}, .fold = ws->folded ? &ws->model->fold : NULL}};
}

void wk_model_backward(const struct wk_model *model, const float *params, const struct wk_batch *batch,
        struct wk_workspace *workspace, float *const grads[SL_TAGS])
{
    assert(workspace->model == model && workspace->mode.training && workspace->batch == batch);
    assert(workspace->tags == SL_TAGS);
    wk_blas_single();
    struct wk_run run = run_of(workspace, params, batch, &workspace->mode);
    struct backward pass = begin_backward(workspace, grads[SL_TAG_UNIMODAL], grads[SL_TAG_FUSED]);
    run.walk = &(struct wk_walk){.whole = finish_range, .context = &pass};
    backward_to_features(&run, &pass.tags, model, workspace);
    for (int m = model->modalities - 1; m >= 0; m--)
        extractor_backward(&run, &pass.tags, model, workspace, m, workspace->dfeatures[m]);
}

void wk_model_backward_early(const struct wk_model *model, const float *params, const struct wk_batch *batch,
        struct wk_workspace *workspace, const double *coefficients, float *grads)
{
    assert(workspace->model == model && workspace->mode.training && workspace->batch == batch);
    wk_blas_single();
    struct wk_run run = run_of(workspace, params, batch, &workspace->mode);
    struct backward pass = begin_backward(workspace, grads, grads);
    struct wk_tags both = one_tag(&pass.tags, SL_TAG_FUSED);
    run.walk = &(struct wk_walk){.whole = finish_range, .context = &pass};
    backward_to_features(&run, &pass.tags, model, workspace);
    for (int m = model->modalities - 1; m >= 0; m--) {
        size_t count = (size_t)batch->inputs[m].rows * model->extractor[m].d;
        float *unimodal = workspace->dfeatures[m], *fused = unimodal == NULL ? NULL : unimodal + count;
        if (fused != NULL)
            run.v->axpy(fused, unimodal, (float)coefficients[m], count);
        extractor_backward(&run, &both, model, workspace, m, fused);
    }
}

double wk_model_flops(const struct wk_model *model, const struct wk_batch *batch, int tags)
{
    bool needed[SL_MODALITIES_MAX] = {false}; /* gradients of features */
    double flops = 0.0;
    for (int m = 0; m < model->modalities; m++) {
        needed[m] = tags > 0 && !wk_extractor_frozen(&model->extractor[m]);
        flops += wk_extractor_flops(&model->extractor[m], batch, tags);
        flops += wk_linear_flops(model->head[m], (size_t)batch->count, model->classes, model->extractor[m].d,
                tags > 0, needed[m]); /* heads have one tag */
    }
    return flops + wk_fusion_flops(&model->fusion, batch, tags > 0 ? needed : NULL);
}
