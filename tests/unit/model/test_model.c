/* The whole model: gradients against central differences with dropout, smoothing and weights on; sums over
 * samples; bits; memory. What it computes is held against PyTorch by the golden tests. */
#include "tests/unit/model/fixture.h"

#include "worker/model/gemm.h"

#include <pthread.h>

#define SAMPLES 5

struct setup {
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_model *model;
    struct wk_workspace *workspace;
    struct wk_batch *batch;
    float *params, *grads[SL_TAGS];
    struct wk_mode mode;
};

static const float class_weights[] = {0.5F, 1.5F, 1.0F, 2.0F};

static void begin_with(struct setup *s, struct sl_config *config, int samples, bool training)
{
    struct sl_error err = {0};
    *s = (struct setup){.config = config, .mode = {.training = training, .seed = 3, .step = 17}};
    if (sl_layout_create(&s->layout, config, SL_BLOCK_FLOATS, &err) != SL_OK ||
            wk_model_create(&s->model, config, s->layout, &err) != SL_OK ||
            wk_workspace_create(&s->workspace, s->model, samples, training, &err) != SL_OK)
        fail_msg("%s", err.text);
    s->batch = make_batch(config, 0, samples);
    s->params = sl_alloc_aligned(s->layout->count, sizeof(float));
    for (int t = 0; t < SL_TAGS; t++)
        s->grads[t] = sl_alloc_aligned(s->layout->count, sizeof(float));
    assert_true(s->params != NULL && s->grads[0] != NULL && s->grads[1] != NULL);
    /* nothing at zero or one, so that a missing term shows */
    for (int p = 0; p < s->layout->param_count; p++) {
        const struct sl_param *param = &s->layout->params[p];
        fill(s->params + param->offset, param->count, (uint64_t)p, 0.3F);
        for (size_t i = 0; i < param->count && param->init == SL_INIT_ONE; i++)
            s->params[param->offset + i] += 1.0F;
    }
}

static void begin(struct setup *s, float dropout, int samples, bool training)
{
    begin_with(s, make_config(dropout), samples, training);
}

static void end(struct setup *s)
{
    wk_workspace_destroy(s->workspace);
    wk_model_destroy(s->model);
    sl_layout_destroy(s->layout);
    wk_batch_destroy(s->batch);
    sl_free(s->params);
    sl_free(s->grads[0]);
    sl_free(s->grads[1]);
    sl_free(s->config);
}

static struct sl_step_stats forward(struct setup *s)
{
    struct sl_step_stats stats;
    wk_model_forward(s->model, s->params, s->batch, &s->mode, s->workspace, &stats);
    return stats;
}

static void backward(struct setup *s)
{
    wk_model_backward(s->model, s->params, s->batch, s->workspace, s->grads);
}

/* What the tag's gradients are the derivative of. */
static double objective(struct setup *s, enum sl_tag tag)
{
    struct sl_step_stats stats = forward(s);
    double sum = 0.0;
    int modalities = s->config->modality_count;
    if (tag == SL_TAG_FUSED)
        return (double)s->config->loss.weight[modalities] * stats.loss[modalities];
    for (int m = 0; m < modalities; m++)
        sum += (double)s->config->loss.weight[m] * stats.loss[m];
    return sum;
}

static double norm_of(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* The derivative of one tensor along its own gradient with something random added: right only if scale and
 * direction are. */
static void check_tensor(struct setup *s, enum sl_tag tag, const struct sl_param *param)
{
    enum { MOST = 1024 };
    const double h = 4e-3;
    static float direction[MOST], saved[MOST];
    const float *g = s->grads[tag] + param->offset;
    float *p = s->params + param->offset;
    size_t n = param->count;
    double norm = norm_of(g, n), expected = 0.0;
    assert_true(n <= MOST);
    fill(direction, n, 77, 1.0F);
    double random_norm = norm_of(direction, n);
    for (size_t i = 0; i < n; i++) {
        double along = norm > 0.0 ? (double)g[i] / norm : 0.0;
        direction[i] = (float)(along + 0.5 * (double)direction[i] / random_norm);
        expected += (double)direction[i] * (double)g[i];
    }
    memcpy(saved, p, n * sizeof(*p));
    for (size_t i = 0; i < n; i++)
        p[i] = saved[i] + (float)h * direction[i];
    double up = objective(s, tag);
    for (size_t i = 0; i < n; i++)
        p[i] = saved[i] - (float)h * direction[i];
    double down = objective(s, tag);
    memcpy(p, saved, n * sizeof(*p));
    double difference = (up - down) / (2.0 * h);
    if (!(fabs(difference - expected) <= 4e-3 + 5e-3 * fabs(expected)))
        fail_msg("%s, tag %d: gradient %.6g, central difference %.6g", param->name, (int)tag, expected,
                difference);
}

static void check_gradients(float dropout)
{
    struct setup s;
    begin(&s, dropout, SAMPLES, true);
    s.config->loss.label_smoothing = 0.1F;
    s.config->loss.weight[VISUAL] = 0.5F;
    s.config->loss.weight[FUSED] = 1.5F;
    s.mode.class_weights = class_weights;
    (void)forward(&s);
    backward(&s);
    for (int tag = 0; tag < SL_TAGS; tag++)
        for (int p = 0; p < s.layout->param_count; p++)
            check_tensor(&s, (enum sl_tag)tag, &s.layout->params[p]);
    end(&s);
}

static void test_gradients(void **state)
{
    (void)state;
    check_gradients(0.0F);
}

static void test_gradients_with_dropout(void **state)
{
    (void)state;
    check_gradients(0.25F);
}

/* Each tag reaches what belongs to it and nothing else; what lies between tensors stays zero. */
static void test_tags(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.1F, SAMPLES, true);
    (void)forward(&s);
    backward(&s);
    assert_true(norm_of(s.grads[SL_TAG_UNIMODAL] + s.layout->extractor_end,
                        s.layout->count - s.layout->extractor_end) == 0.0);
    assert_true(norm_of(s.grads[SL_TAG_FUSED], s.layout->head_end) == 0.0);
    for (int p = 0; p + 1 < s.layout->param_count; p++) {
        size_t gap = s.layout->params[p].offset + s.layout->params[p].count,
               next = s.layout->params[p + 1].offset;
        for (int t = 0; t < SL_TAGS; t++)
            assert_true(norm_of(s.grads[t] + gap, next - gap) == 0.0);
    }
    end(&s);
}

static void expect_close(const char *what, const float *got, const float *expected, size_t n, double relative)
{
    double difference = 0.0;
    for (size_t i = 0; i < n; i++)
        difference += ((double)got[i] - (double)expected[i]) * ((double)got[i] - (double)expected[i]);
    double limit = relative * norm_of(expected, n);
    if (!(sqrt(difference) <= limit))
        fail_msg("%s: differs by %.3g, at most %.3g", what, sqrt(difference), limit);
}

/* A batch is the sum of its samples, dropout included: nothing of a sample reaches another. */
static void test_samples_add_up(void **state)
{
    (void)state;
    struct setup all, one;
    struct sl_step_stats sum = {0};
    begin(&all, 0.2F, SAMPLES, true);
    begin(&one, 0.2F, 1, true);
    struct sl_step_stats together = forward(&all);
    backward(&all);
    for (int i = 0; i < SAMPLES; i++) {
        wk_batch_clear(one.batch);
        add_sample(one.batch, one.config, i);
        struct sl_step_stats stats = forward(&one);
        sl_step_stats_add(&sum, &stats);
        for (int b = 0; b <= FUSED; b++)
            expect_close("logits", wk_model_logits(one.workspace, b),
                    wk_model_logits(all.workspace, b) + i * 4, 4, 2e-6);
        backward(&one); /* adds */
    }
    assert_int_equal(sum.count, together.count);
    for (int b = 0; b <= FUSED; b++) {
        assert_true(fabs(sum.loss[b] - together.loss[b]) < 1e-5);
        assert_int_equal(sum.correct[b], together.correct[b]);
    }
    for (int t = 0; t < SL_TAGS; t++)
        expect_close("gradients", one.grads[t], all.grads[t], all.layout->count, 1e-5);
    end(&all);
    end(&one);
}

/* Same batch, same bits: again, in another workspace, in a larger one, after another batch. */
static void test_bits(void **state)
{
    (void)state;
    struct setup a, b;
    begin(&a, 0.2F, SAMPLES, true);
    begin(&b, 0.2F, 3 * SAMPLES, true);
    (void)forward(&a);
    backward(&a);
    (void)forward(&b);
    backward(&b);
    memset(b.grads[0], 0, b.layout->count * sizeof(float));
    memset(b.grads[1], 0, b.layout->count * sizeof(float));
    wk_batch_destroy(b.batch);
    b.batch = make_batch(b.config, 0, SAMPLES);
    (void)forward(&b);
    backward(&b);
    for (int branch = 0; branch <= FUSED; branch++)
        assert_memory_equal(wk_model_logits(a.workspace, branch), wk_model_logits(b.workspace, branch),
                SAMPLES * 4 * sizeof(float));
    for (int t = 0; t < SL_TAGS; t++)
        assert_memory_equal(a.grads[t], b.grads[t], a.layout->count * sizeof(float));
    /* another step drops other elements */
    b.mode.step++;
    (void)forward(&b);
    assert_memory_not_equal(wk_model_logits(a.workspace, FUSED), wk_model_logits(b.workspace, FUSED),
            SAMPLES * 4 * sizeof(float));
    end(&a);
    end(&b);
}

static void *compute(void *argument)
{
    struct setup *s = argument;
    for (int i = 0; i < 20; i++) {
        memset(s->grads[0], 0, s->layout->count * sizeof(float));
        memset(s->grads[1], 0, s->layout->count * sizeof(float));
        (void)forward(s);
        backward(s);
    }
    return NULL;
}

/* Two threads at once, a workspace each: the bits of one thread alone. */
static void test_threads(void **state)
{
    (void)state;
    struct setup alone, pair[2];
    pthread_t threads[2];
    begin(&alone, 0.2F, SAMPLES, true);
    (void)compute(&alone);
    for (int i = 0; i < 2; i++)
        begin(&pair[i], 0.2F, SAMPLES, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, compute, &pair[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        for (int t = 0; t < SL_TAGS; t++)
            assert_memory_equal(pair[i].grads[t], alone.grads[t], alone.layout->count * sizeof(float));
        end(&pair[i]);
    }
    end(&alone);
}

/* Threads that work together on one batch: the bits of one, with products that are large enough for tiles, a last layer of one query a segment, dropout and segments of different lengths. */
static void test_teams(void **state)
{
    (void)state;
    const int samples = 12;
    struct setup alone, together;
    struct sl_error err = {0};
    for (int threads = 1; threads <= 3; threads++) {
        struct sl_config *config = make_config(0.1F);
        struct sl_modality_config *visual = &config->modalities[VISUAL];
        struct setup *s = threads == 1 ? &alone : &together;
        struct sl_team *team = NULL;
        visual->hidden = 768;
        visual->heads = 12;
        visual->mlp = 3072;
        begin_with(s, config, samples, true);
        if (threads > 1) {
            wk_workspace_destroy(s->workspace);
            assert_int_equal(sl_team_create(&team, threads, &err), SL_OK);
            assert_int_equal(
                    wk_workspace_create_for(&s->workspace, s->model, samples, true, threads, &err), SL_OK);
            wk_workspace_use_team(s->workspace, team);
        }
        (void)forward(s);
        backward(s);
        if (threads > 1) {
            for (int branch = 0; branch <= FUSED; branch++)
                assert_memory_equal(wk_model_logits(together.workspace, branch),
                        wk_model_logits(alone.workspace, branch), (size_t)samples * 4 * sizeof(float));
            for (int t = 0; t < SL_TAGS; t++)
                assert_memory_equal(together.grads[t], alone.grads[t], alone.layout->count * sizeof(float));
            end(&together);
        }
        sl_team_destroy(team);
    }
    end(&alone);
}

/* Without training: no dropout, less memory, the same numbers as a training workspace that is not training. */
static void freeze(struct sl_config *config, int m, const char *pattern)
{
    struct sl_modality_config *modality = &config->modalities[m];
    (void)snprintf(modality->freeze[modality->freeze_count], sizeof(modality->freeze[0]), "%s", pattern);
    modality->freeze_count++;
}

/* What a backward pass said of its gradients: how often each number was in a range, the numbers as they were then, and the ranges in their order. */
struct told {
    struct setup *s;
    unsigned char *times; /* (count,) */
    float *values;        /* (SL_TAGS, count) */
    size_t begin[256], end[256];
    int ranges;
};

static void hear(void *context, size_t begin, size_t end)
{
    struct told *told = context;
    size_t count = told->s->layout->count;
    assert_true(begin < end && end <= count && told->ranges < 256);
    for (size_t i = begin; i < end; i++)
        told->times[i]++;
    for (size_t tag = 0; tag < SL_TAGS; tag++)
        memcpy(told->values + tag * count + begin, told->s->grads[tag] + begin,
                (end - begin) * sizeof(float));
    told->begin[told->ranges] = begin;
    told->end[told->ranges++] = end;
}

/* Every number is told of once, after the last addition to it: heads, fusion, then extractors, the last layers first. */
static void check_told(struct sl_config *config)
{
    struct setup s;
    begin_with(&s, config, 3, true);
    const struct sl_layout *layout = s.layout;
    struct told told = {.s = &s, .times = sl_alloc(layout->count, 1)};
    told.values = sl_alloc(SL_TAGS * layout->count, sizeof(float));
    assert_true(told.times != NULL && told.values != NULL);
    (void)forward(&s);
    wk_workspace_tell(s.workspace, hear, &told);
    backward(&s);
    for (size_t i = 0; i < layout->count; i++)
        assert_int_equal(told.times[i], 1);
    for (size_t tag = 0; tag < SL_TAGS; tag++)
        assert_memory_equal(told.values + tag * layout->count, s.grads[tag], layout->count * sizeof(float));
    assert_true(told.begin[0] == 0 && told.end[0] == layout->head_end);
    assert_true(told.end[1] == layout->count && told.begin[1] >= layout->extractor_end);
    assert_true(told.ranges >= 2 + 2 + layout->modality_count); /* layers apart */
    int at = 1;
    while (told.begin[at] > layout->extractor_end)
        at++;
    for (at++; at < told.ranges; at++)
        assert_true(told.end[at] == (told.begin[at - 1] == layout->extractor_end ? layout->extractor_end
                                                                                 : told.begin[at - 1]));
    assert_true(told.begin[told.ranges - 1] == layout->head_end);
    sl_free(told.times);
    sl_free(told.values);
    end(&s);
}

static void test_finished_gradients_are_told(void **state)
{
    (void)state;
    check_told(make_config(0.1F));
    struct sl_config *config = make_config(0.1F);
    freeze(config, VISUAL, "*");
    freeze(config, TEXT, "bert.encoder.layer.0.*");
    freeze(config, TEXT, "bert.embeddings.*");
    check_told(config);
}

/* Takes ranges out of folded gradients, as they are told of. */
struct unfolding {
    const struct sl_layout *layout;
    const struct wk_fold *fold;
    float *folded; /* (SL_TAGS, fold->floats) */
    float *flat;   /* (SL_TAGS, count) */
};

static void unfold(void *context, size_t begin, size_t end)
{
    const struct unfolding *u = context;
    assert_int_equal(begin, u->fold->begin[wk_fold_range(u->fold, begin)]);
    assert_int_equal(end, u->fold->begin[wk_fold_range(u->fold, begin) + 1]);
    for (size_t tag = 0; tag < SL_TAGS; tag++) {
        float *from = u->folded + tag * u->fold->floats + wk_fold_place(u->fold, begin);
        memcpy(u->flat + tag * u->layout->count + begin, from, (end - begin) * sizeof(float));
        memset(from, 0, (end - begin) * sizeof(float));
    }
}

/* A folded pass tells of the very ranges that the fold has, gives the bits of a flat one, and leaves zeros. */
static void test_folded_gradients_are_the_same(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.1F, 3, true);
    const struct wk_fold *fold = wk_model_fold(s.model);
    struct unfolding u = {s.layout, fold, sl_alloc(SL_TAGS * fold->floats, sizeof(float)),
            sl_alloc(SL_TAGS * s.layout->count, sizeof(float))};
    assert_true(u.folded != NULL && u.flat != NULL && fold->floats < s.layout->count);
    (void)forward(&s);
    backward(&s);
    wk_workspace_tell(s.workspace, unfold, &u);
    wk_workspace_fold(s.workspace, true);
    (void)forward(&s);
    float *const folded[SL_TAGS] = {u.folded, u.folded + fold->floats};
    wk_model_backward(s.model, s.params, s.batch, s.workspace, folded);
    for (size_t tag = 0; tag < SL_TAGS; tag++)
        assert_memory_equal(u.flat + tag * s.layout->count, s.grads[tag], s.layout->count * sizeof(float));
    for (size_t i = 0; i < SL_TAGS * fold->floats; i++)
        assert_true(u.folded[i] == 0.0F);
    sl_free(u.folded);
    sl_free(u.flat);
    end(&s);
}

/* Parameters that are not a number until they are asked for. */
struct asked {
    const float *real; /* (count,) */
    float *params;     /* (count,) what the pass reads */
    size_t last;       /* begin of the last range */
};

static void bring(void *context, size_t begin, size_t end)
{
    struct asked *asked = context;
    memcpy(asked->params + begin, asked->real + begin, (end - begin) * sizeof(float));
    asked->last = begin;
}

/* A forward pass asks for every parameter before it reads it: else something would not be a number, or other bits. */
static void test_parameters_are_asked_for(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.1F, 3, true);
    size_t count = s.layout->count;
    struct sl_step_stats want = forward(&s);
    backward(&s);
    float *real = sl_alloc(count, sizeof(float)), *grads = sl_alloc(SL_TAGS * count, sizeof(float));
    assert_true(real != NULL && grads != NULL);
    memcpy(real, s.params, count * sizeof(float));
    for (size_t tag = 0; tag < SL_TAGS; tag++) {
        memcpy(grads + tag * count, s.grads[tag], count * sizeof(float));
        memset(s.grads[tag], 0, count * sizeof(float));
    }
    for (size_t i = 0; i < count; i++)
        s.params[i] = 0.0F / 0.0F;
    struct asked asked = {.real = real, .params = s.params};
    wk_workspace_await(s.workspace, bring, &asked);
    struct sl_step_stats got = forward(&s);
    assert_memory_equal(got.loss, want.loss, sizeof(want.loss));
    assert_int_equal(asked.last, 0); /* all of them in the end */
    backward(&s);
    for (size_t tag = 0; tag < SL_TAGS; tag++)
        assert_memory_equal(s.grads[tag], grads + tag * count, count * sizeof(float));
    sl_free(real);
    sl_free(grads);
    end(&s);
}

static void test_inference(void **state)
{
    (void)state;
    struct setup train, infer;
    begin(&train, 0.3F, SAMPLES, true);
    begin(&infer, 0.3F, SAMPLES, false);
    train.mode.training = false;
    struct sl_step_stats a = forward(&train), b = forward(&infer);
    for (int branch = 0; branch <= FUSED; branch++) {
        assert_memory_equal(wk_model_logits(train.workspace, branch),
                wk_model_logits(infer.workspace, branch), SAMPLES * 4 * sizeof(float));
        assert_true(a.loss[branch] == b.loss[branch]);
    }
    assert_true(wk_workspace_size(infer.workspace) > 0);
    assert_true(wk_workspace_size(infer.workspace) < wk_workspace_size(train.workspace));
    train.mode.training = true;
    (void)forward(&train);
    assert_memory_not_equal(wk_model_logits(train.workspace, TEXT), wk_model_logits(infer.workspace, TEXT),
            SAMPLES * 4 * sizeof(float));
    end(&train);
    end(&infer);
}

static void test_unlabelled(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.0F, SAMPLES, false);
    struct sl_step_stats all = forward(&s), part;
    s.batch->labels[1] = WK_LABEL_NONE;
    part = forward(&s);
    assert_int_equal(part.count, SAMPLES - 1);
    assert_true(part.weight_sum == SAMPLES - 1);
    assert_true(part.loss[FUSED] < all.loss[FUSED]);
    for (int b = 0; b < SAMPLES; b++)
        s.batch->labels[b] = WK_LABEL_NONE;
    part = forward(&s);
    assert_int_equal(part.count, 0);
    assert_true(part.loss[0] == 0.0 && part.score[0] == 0.0 && part.correct[FUSED] == 0);
    end(&s);
}

/* loss.weight 0 takes a branch's gradient away and leaves its loss to be read. */
static void test_branch_without_weight(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.0F, SAMPLES, true);
    s.config->loss.weight[FUSED] = 0.0F;
    s.config->loss.weight[AUDIO] = 0.0F;
    struct sl_step_stats stats = forward(&s);
    backward(&s);
    assert_true(stats.loss[FUSED] > 0.0 && stats.loss[AUDIO] > 0.0);
    assert_true(norm_of(s.grads[SL_TAG_FUSED], s.layout->count) == 0.0);
    for (int p = 0; p < s.layout->param_count; p++) {
        const struct sl_param *param = &s.layout->params[p];
        if (param->modality == AUDIO)
            assert_true(norm_of(s.grads[SL_TAG_UNIMODAL] + param->offset, param->count) == 0.0);
    }
    assert_true(norm_of(s.grads[SL_TAG_UNIMODAL], s.layout->count) > 0.0);
    end(&s);
}

static void test_not_finite_shows(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.0F, SAMPLES, true);
    s.params[sl_layout_offset(s.layout, "extractor.text.bert.encoder.layer.0.intermediate.dense.weight")] =
            NAN;
    struct sl_step_stats stats = forward(&s);
    assert_true(isfinite(stats.loss[VISUAL]));
    assert_true(!isfinite(stats.loss[TEXT]) && !isfinite(stats.loss[FUSED]));
    assert_true(!sl_step_stats_finite(&stats));
    end(&s);
}

/* Two modalities of one kind, no fusion layer, one class more: shapes that the other tests do not have. */
static void test_other_shapes(void **state)
{
    (void)state;
    for (int layers = 0; layers <= 3; layers++) {
        struct sl_config *config = make_config(0.1F);
        struct setup s;
        config->modality_count = 2;
        config->label_count = 5;
        config->fusion.layers = layers;
        config->modalities[VISUAL].layers = 1;
        config->modalities[TEXT].layers = 3;
        begin_with(&s, config, 3, true);
        (void)forward(&s);
        backward(&s);
        for (int tag = 0; tag < SL_TAGS; tag++)
            for (int p = 0; p < s.layout->param_count; p += 3)
                check_tensor(&s, (enum sl_tag)tag, &s.layout->params[p]);
        s.mode.training = false;
        struct sl_step_stats a = forward(&s), b;
        struct wk_workspace *training = s.workspace;
        struct sl_error err = {0};
        assert_int_equal(wk_workspace_create(&s.workspace, s.model, 3, false, &err), SL_OK);
        b = forward(&s);
        for (int branch = 0; branch <= 2; branch++)
            assert_true(a.loss[branch] == b.loss[branch]);
        wk_workspace_destroy(training);
        end(&s);
    }
}

/* What is frozen, by patterns of each modality. */
struct freezing {
    const char *patterns[3][4];
    bool shared; /* some are frozen that are one matrix or one norm with others that are not */
};

static const struct freezing freezings[] = {
        {{{"*"}, {NULL}, {NULL}}, false},
        {{{NULL}, {"*"}, {"*"}}, false},
        {{{"*"}, {"*"}, {"*"}}, false},
        {{{"vit.*"}, {"bert.embeddings.*"}, {"fc1.*"}}, false}, /* the temporal embeddings need no pass */
        {{{"temporal_embeddings"}, {"bert.encoder.*"}, {"fc2.*"}}, false},
        {{{"vit.embeddings.*", "vit.encoder.layer.0.*"}, {"bert.embeddings.*", "bert.encoder.layer.0.*"},
                 {"layernorm.*"}},
                false},
        /* the pass ends in each of the places of a layer */
        {{{"vit.embeddings.*", "vit.encoder.layer.0.*", "vit.encoder.layer.1.layernorm_before.*"},
                 {"bert.embeddings.*", "bert.encoder.layer.0.attention.*"}, {"fc[12].*"}},
                false},
        {{{"vit.embeddings.*", "vit.encoder.layer.0.*", "vit.encoder.layer.1.layernorm_before.*",
                  "vit.encoder.layer.1.attention.attention.*"},
                 {"bert.embeddings.*", "bert.encoder.layer.0.attention.self.*"}, {NULL}},
                false},
        {{{"vit.embeddings.*", "vit.encoder.layer.*"},
                 {"bert.embeddings.*", "bert.encoder.layer.[01].[ai]*", "bert.encoder.layer.0.output.*"},
                 {"*.weight"}},
                true},
        {{{"*.query.*", "*.position_embeddings", "*.cls_token"},
                 {"*.key.*", "*word_embeddings*", "*.LayerNorm.weight"}, {"*.bias"}},
                true},
        {{{"*.weight"}, {"*.bias"}, {"fc1.bias"}}, true},
        {{{"*projection.weight", "*.dense.bias"}, {"*.dense.weight", "*position*", "*token_type*"},
                 {"fc1.weight"}},
                true},
};

struct counting {
    double flops;
};

static void begin_product(void *context)
{
    (void)context;
}

static void count_product(void *context, const struct wk_gemm_shape *shape)
{
    struct counting *counting = context;
    counting->flops += 2.0 * (double)shape->m * (double)shape->n * (double)shape->k;
}

/* A forward and a backward pass, whose products are those that the model counts. */
static double counted_pass(struct setup *s, bool early)
{
    static const double coefficients[] = {0.5, 0.25, 0.75};
    struct counting counting = {0};
    struct wk_gemm_probe probe = {begin_product, count_product, &counting};
    (void)forward(s);
    memset(s->grads[0], 0, s->layout->count * sizeof(float));
    memset(s->grads[1], 0, s->layout->count * sizeof(float));
    wk_gemm_observe(&probe);
    if (early)
        wk_model_backward_early(s->model, s->params, s->batch, s->workspace, coefficients, s->grads[0]);
    else
        backward(s);
    wk_gemm_observe(NULL);
    double expected = wk_model_flops(s->model, s->batch, early ? 1 : SL_TAGS);
    if (!(fabs(counting.flops - expected) <= 1e-9 * expected))
        fail_msg("%.0f operations were done, %.0f counted", counting.flops, expected);
    return counting.flops;
}

/* Such parameters get their gradients all the same. */
static bool may_be_shared(const struct sl_param *param)
{
    return strstr(param->name, "query") != NULL || strstr(param->name, "key") != NULL ||
           strstr(param->name, "value") != NULL || strstr(param->name, "orm") != NULL;
}

/* Of trained parameters the bits of a pass in which everything trains, of frozen ones nothing. */
static void compare(const struct setup *s, const struct setup *all, const struct freezing *freezing)
{
    size_t untouched = 0;
    for (int p = 0; p < s->layout->param_count; p++) {
        const struct sl_param *param = &s->layout->params[p];
        bool zero = true, same = true;
        for (int t = 0; t < SL_TAGS; t++) {
            const float *got = s->grads[t] + param->offset, *want = all->grads[t] + param->offset;
            zero = zero && norm_of(got, param->count) == 0.0;
            same = same && memcmp(got, want, param->count * sizeof(float)) == 0;
        }
        if (param->frozen ? !zero && !(freezing->shared && may_be_shared(param) && same) : !same)
            fail_msg("freezing %td: %s has %s gradient", freezing - freezings, param->name,
                    param->frozen ? "a" : "another");
        untouched += param->frozen && zero;
    }
    assert_true(untouched > 0);
}

static void check_freezing(const struct freezing *freezing, bool early)
{
    struct sl_config *config = make_config(0.1F);
    struct setup s, all;
    for (int m = 0; m < 3; m++)
        for (int i = 0; i < 4 && freezing->patterns[m][i] != NULL; i++)
            freeze(config, m, freezing->patterns[m][i]);
    begin(&all, 0.1F, SAMPLES, true);
    begin_with(&s, config, SAMPLES, true);
    double least = counted_pass(&s, early), most = counted_pass(&all, early);
    assert_true(least < most || (freezing->shared && least == most));
    compare(&s, &all, freezing);
    size_t size = wk_workspace_size(s.workspace), full = wk_workspace_size(all.workspace);
    assert_true(freezing == &freezings[0] ? size < full : size <= full); /* activations of the ViT */
    if (!early && freezing == &freezings[5])
        for (int tag = 0; tag < SL_TAGS; tag++)
            for (int p = 0; p < s.layout->param_count; p++)
                if (!s.layout->params[p].frozen)
                    check_tensor(&s, (enum sl_tag)tag, &s.layout->params[p]);
    end(&s);
    end(&all);
}

static void test_frozen(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(freezings) / sizeof(freezings[0]); i++) {
        check_freezing(&freezings[i], false);
        check_freezing(&freezings[i], true);
    }
}

static void test_flops(void **state)
{
    (void)state;
    struct sl_config *config = make_config(0.0F);
    struct setup s;
    config->modality_count = 2; /* the second and third become audio and text: features and bert */
    config->modalities[0] = config->modalities[AUDIO];
    config->fusion.layers = 0;
    config->modalities[1].layers = 1;
    struct sl_error err = {0};
    s = (struct setup){.config = config};
    assert_int_equal(sl_layout_create(&s.layout, config, SL_BLOCK_FLOATS, &err), SL_OK);
    assert_int_equal(wk_model_create(&s.model, config, s.layout, &err), SL_OK);
    int audio_offset[] = {0, 3}, text_offset[] = {0, 5};
    struct wk_batch batch = {
            .count = 1, .inputs = {{.rows = 3, .offset = audio_offset}, {.rows = 5, .offset = text_offset}}};
    double first = 2.0 * 3 * INPUT * 11, second = 2.0 * 3 * 11 * 11; /* features: two linears */
    double encoder = 2.0 * 5 * 4 * 16 * 16 + 2.0 * 5 * 2 * 16 * 24 + 4.0 * 5 * 5 * 16;
    double heads = 2.0 * (11 + 16) * 4, fusion = 2.0 * (3 * 11 + 5 * 16) * 12 + 2.0 * 24 * 4;
    assert_true(wk_model_flops(s.model, &batch, 0) == first + second + encoder + heads + fusion);
    assert_true(wk_model_flops(s.model, &batch, SL_TAGS) ==
                2.0 * first + 4.0 * second + 4.0 * encoder + 2.0 * heads + 2.0 * fusion);
    end(&s);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct setup s;
    begin(&s, 0.1F, 1, true);
    enum sl_status status = SL_NO_MEMORY;
    uint64_t n = 1;
    for (; status != SL_OK && n < 200; n++) {
        struct wk_model *model = NULL;
        struct wk_workspace *workspace = NULL;
        struct sl_error err = {0};
        sl_memory_fail_after(n);
        status = wk_model_create(&model, s.config, s.layout, &err);
        if (status == SL_OK)
            status = wk_workspace_create(&workspace, model, 2, true, &err);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || (status == SL_NO_MEMORY && err.text[0] != '\0'));
        wk_workspace_destroy(workspace);
        wk_model_destroy(model);
    }
    assert_true(n > 8 && n < 200);
    /* more than any machine has: the bytes that were wanted are said */
    struct sl_error err = {0};
    struct wk_workspace *workspace = NULL;
    sl_memory_fail_after(5); /* the arena, after the workspace and three lists of nodes */
    assert_int_equal(wk_workspace_create(&workspace, s.model, 1, true, &err), SL_NO_MEMORY);
    sl_memory_fail_after(0);
    assert_non_null(strstr(err.text, "bytes wanted"));
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_gradients),
            cmocka_unit_test(test_gradients_with_dropout),
            cmocka_unit_test(test_tags),
            cmocka_unit_test(test_samples_add_up),
            cmocka_unit_test(test_bits),
            cmocka_unit_test(test_threads),
            cmocka_unit_test(test_teams),
            cmocka_unit_test(test_finished_gradients_are_told),
            cmocka_unit_test(test_folded_gradients_are_the_same),
            cmocka_unit_test(test_parameters_are_asked_for),
            cmocka_unit_test(test_inference),
            cmocka_unit_test(test_unlabelled),
            cmocka_unit_test(test_branch_without_weight),
            cmocka_unit_test(test_not_finite_shows),
            cmocka_unit_test(test_other_shapes),
            cmocka_unit_test(test_frozen),
            cmocka_unit_test(test_flops),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
