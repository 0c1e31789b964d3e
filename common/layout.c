/* The parameter table: see layout.h. One builder walks the config and adds parameters in the order of the flat vector; names follow
 * Hugging Face's ViT and BERT below a prefix, shapes follow PyTorch. */
#include "common/layout.h"

#include "common/memory.h"
#include "common/random.h"

#include <assert.h>
#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ALIGN_FLOATS 16
#define EMBEDDING_STD 0.02F /* of tables, positions and [CLS], as ViT and BERT have it */

/* What the builder knows while it walks: where it is, and whom the next parameter belongs to. */
struct builder {
    struct sl_layout *layout;
    const struct sl_config *config;
    int capacity;
    enum sl_part part;
    int modality;
    bool out_of_memory;
};

static struct sl_param *add(struct builder *b, enum sl_init init, int rank, const int64_t *shape,
        const char *format, va_list args)
{
    struct sl_layout *layout = b->layout;
    if (layout->param_count == b->capacity) {
        int capacity = b->capacity == 0 ? 256 : 2 * b->capacity;
        struct sl_param *params = sl_realloc(layout->params, (size_t)capacity, sizeof(*params));
        if (params == NULL) {
            b->out_of_memory = true;
            return NULL;
        }
        layout->params = params;
        b->capacity = capacity;
    }
    struct sl_param *param = &layout->params[layout->param_count++];
    memset(param, 0, sizeof(*param));
    (void)vsnprintf(param->name, sizeof(param->name), format, args);
    param->rank = rank;
    param->count = 1;
    for (int i = 0; i < rank; i++) {
        param->shape[i] = shape[i];
        param->count *= (size_t)shape[i];
    }
    param->part = b->part;
    param->modality = b->modality;
    param->init = init;
    param->init_std = EMBEDDING_STD;
    param->decay = rank > 1;
    param->lr_scale = 1.0F;
    param->offset = layout->count;
    layout->count += param->count;
    layout->trained += param->count;
    return param;
}

/* Tensors after which the next may begin at once (members of a packed matrix) use add_*_packed; all others end on a multiple of 16. */
static void align(struct builder *b)
{
    b->layout->count = (b->layout->count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

__attribute__((format(printf, 4, 5))) static void add_tensor(
        struct builder *b, enum sl_init init, const int64_t shape[5], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)add(b, init, (int)shape[0], shape + 1, format, args);
    va_end(args);
    align(b);
}

/* The last parameter added is a table of embeddings. */
static void mark_table(struct builder *b)
{
    if (b->layout->param_count > 0)
        b->layout->params[b->layout->param_count - 1].table = true;
}

__attribute__((format(printf, 4, 5))) static void add_packed(
        struct builder *b, enum sl_init init, const int64_t shape[5], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)add(b, init, (int)shape[0], shape + 1, format, args);
    va_end(args);
}

/* {rank, sizes…} for the two functions above */
#define SHAPE1(a) ((const int64_t[5]){1, (a)})
#define SHAPE2(a, b) ((const int64_t[5]){2, (a), (b)})
#define SHAPE3(a, b, c) ((const int64_t[5]){3, (a), (b), (c)})
#define SHAPE4(a, b, c, d) ((const int64_t[5]){4, (a), (b), (c), (d)})

static void add_linear(struct builder *b, const char *prefix, const char *name, int64_t out, int64_t in)
{
    add_tensor(b, SL_INIT_XAVIER, SHAPE2(out, in), "%s%s.weight", prefix, name);
    add_tensor(b, SL_INIT_ZERO, SHAPE1(out), "%s%s.bias", prefix, name);
}

/* A classifier begins almost undecided: its loss starts at ln(classes), and no modality leads by chance of its initial values. */
static void add_classifier(
        struct builder *b, const char *prefix, const char *name, int64_t classes, int64_t in)
{
    add_tensor(b, SL_INIT_NORMAL, SHAPE2(classes, in), "%s%s.weight", prefix, name);
    add_tensor(b, SL_INIT_ZERO, SHAPE1(classes), "%s%s.bias", prefix, name);
}

static void add_norm(struct builder *b, const char *prefix, const char *name, int64_t dim)
{
    add_tensor(b, SL_INIT_ONE, SHAPE1(dim), "%s%s.weight", prefix, name);
    add_tensor(b, SL_INIT_ZERO, SHAPE1(dim), "%s%s.bias", prefix, name);
}

/* Several linear layers of the same input as one matrix: all weights, then all biases, each without gaps. */
static void add_packed_linears(
        struct builder *b, const char *prefix, const char *const *names, int count, int64_t dim)
{
    for (int i = 0; i < count; i++)
        add_packed(b, SL_INIT_XAVIER, SHAPE2(dim, dim), "%s%s.weight", prefix, names[i]);
    align(b);
    for (int i = 0; i < count; i++)
        add_packed(b, SL_INIT_ZERO, SHAPE1(dim), "%s%s.bias", prefix, names[i]);
    align(b);
}

static const char *const self_attention[] = {"query", "key", "value"};

static void add_vit(struct builder *b, const struct sl_modality_config *m)
{
    char prefix[SL_PARAM_NAME_MAX], layer[SL_PARAM_NAME_MAX + 32], inner[SL_PARAM_NAME_MAX + 64];
    int64_t d = m->hidden, side = m->image / m->patch;
    (void)snprintf(prefix, sizeof(prefix), "extractor.%s.", m->name);
    add_tensor(b, SL_INIT_NORMAL, SHAPE2(m->frames, d), "%stemporal_embeddings", prefix);
    add_tensor(b, SL_INIT_NORMAL, SHAPE3(1, 1, d), "%svit.embeddings.cls_token", prefix);
    add_tensor(
            b, SL_INIT_NORMAL, SHAPE3(1, side * side + 1, d), "%svit.embeddings.position_embeddings", prefix);
    add_tensor(b, SL_INIT_XAVIER, SHAPE4(d, 3, m->patch, m->patch),
            "%svit.embeddings.patch_embeddings.projection.weight", prefix);
    add_tensor(b, SL_INIT_ZERO, SHAPE1(d), "%svit.embeddings.patch_embeddings.projection.bias", prefix);
    for (int i = 0; i < m->layers; i++) {
        (void)snprintf(layer, sizeof(layer), "%svit.encoder.layer.%d.", prefix, i);
        (void)snprintf(inner, sizeof(inner), "%sattention.attention.", layer);
        add_norm(b, layer, "layernorm_before", d);
        add_packed_linears(b, inner, self_attention, 3, d);
        add_linear(b, layer, "attention.output.dense", d, d);
        add_norm(b, layer, "layernorm_after", d);
        add_linear(b, layer, "intermediate.dense", m->mlp, d);
        add_linear(b, layer, "output.dense", d, m->mlp);
    }
    (void)snprintf(inner, sizeof(inner), "%svit.", prefix);
    add_norm(b, inner, "layernorm", d);
}

static void add_bert(struct builder *b, const struct sl_modality_config *m)
{
    char prefix[SL_PARAM_NAME_MAX], layer[SL_PARAM_NAME_MAX + 32], inner[SL_PARAM_NAME_MAX + 64];
    int64_t d = m->hidden;
    (void)snprintf(prefix, sizeof(prefix), "extractor.%s.bert.", m->name);
    add_tensor(b, SL_INIT_NORMAL, SHAPE2(m->vocab_size, d), "%sembeddings.word_embeddings.weight", prefix);
    mark_table(b);
    add_tensor(
            b, SL_INIT_NORMAL, SHAPE2(m->max_position, d), "%sembeddings.position_embeddings.weight", prefix);
    mark_table(b);
    add_tensor(b, SL_INIT_NORMAL, SHAPE2(2, d), "%sembeddings.token_type_embeddings.weight", prefix);
    add_norm(b, prefix, "embeddings.LayerNorm", d);
    for (int i = 0; i < m->layers; i++) {
        (void)snprintf(layer, sizeof(layer), "%sencoder.layer.%d.", prefix, i);
        (void)snprintf(inner, sizeof(inner), "%sattention.self.", layer);
        add_packed_linears(b, inner, self_attention, 3, d);
        add_linear(b, layer, "attention.output.dense", d, d);
        add_norm(b, layer, "attention.output.LayerNorm", d);
        add_linear(b, layer, "intermediate.dense", m->mlp, d);
        add_linear(b, layer, "output.dense", d, m->mlp);
        add_norm(b, layer, "output.LayerNorm", d);
    }
}

static void add_features(struct builder *b, const struct sl_modality_config *m)
{
    char prefix[SL_PARAM_NAME_MAX];
    (void)snprintf(prefix, sizeof(prefix), "extractor.%s.", m->name);
    add_linear(b, prefix, "fc1", m->hidden, m->input);
    add_linear(b, prefix, "fc2", m->hidden, m->hidden);
    add_norm(b, prefix, "layernorm", m->hidden);
}

static void add_fusion_stream(struct builder *b, const char *prefix)
{
    static const char *const context[] = {"key", "value"};
    int64_t d = b->config->fusion.dim, mlp = b->config->fusion.mlp;
    add_norm(b, prefix, "norm_query", d);
    add_norm(b, prefix, "norm_context", d);
    add_linear(b, prefix, "query", d, d);
    add_packed_linears(b, prefix, context, 2, d);
    add_linear(b, prefix, "out", d, d);
    add_norm(b, prefix, "norm_ffn", d);
    add_linear(b, prefix, "fc1", mlp, d);
    add_linear(b, prefix, "fc2", d, mlp);
}

static void add_fusion(struct builder *b)
{
    const struct sl_config *config = b->config;
    char prefix[SL_PARAM_NAME_MAX];
    for (int m = 0; m < config->modality_count; m++) {
        (void)snprintf(prefix, sizeof(prefix), "fusion.project.%s", config->modalities[m].name);
        add_linear(b, "", prefix, config->fusion.dim, config->modalities[m].hidden);
    }
    for (int i = 0; i < config->fusion.layers; i++) {
        for (int m = 0; m < config->modality_count; m++) {
            (void)snprintf(prefix, sizeof(prefix), "fusion.layer.%d.%s.", i, config->modalities[m].name);
            add_fusion_stream(b, prefix);
        }
    }
    for (int m = 0; m < config->modality_count; m++)
        add_norm(b, "fusion.layernorm.", config->modalities[m].name, config->fusion.dim);
    add_classifier(
            b, "fusion.", "head", config->label_count, (int64_t)config->fusion.dim * config->modality_count);
}

static void add_all(struct builder *b)
{
    const struct sl_config *config = b->config;
    b->part = SL_PART_HEAD;
    for (int m = 0; m < config->modality_count; m++) {
        b->modality = m;
        add_classifier(
                b, "head.", config->modalities[m].name, config->label_count, config->modalities[m].hidden);
    }
    b->layout->head_end = b->layout->count;
    b->part = SL_PART_EXTRACTOR;
    for (int m = 0; m < config->modality_count; m++) {
        static void (*const add_kind[])(struct builder *, const struct sl_modality_config *) = {
                [SL_KIND_VIT] = add_vit, [SL_KIND_BERT] = add_bert, [SL_KIND_FEATURES] = add_features};
        b->modality = m;
        add_kind[config->modalities[m].kind](b, &config->modalities[m]);
    }
    b->layout->extractor_end = b->layout->count;
    b->part = SL_PART_FUSION;
    b->modality = -1;
    add_fusion(b);
}

/* Patterns are matched against the whole name and against the name below "extractor.MODALITY.". */
static bool matches(
        const struct sl_param *param, const struct sl_config *config, int modality, const char *pattern)
{
    if (param->part != SL_PART_EXTRACTOR || param->modality != modality)
        return false;
    size_t prefix = strlen("extractor.") + strlen(config->modalities[modality].name) + 1;
    return fnmatch(pattern, param->name, 0) == 0 || fnmatch(pattern, param->name + prefix, 0) == 0;
}

static enum sl_status fail_unmatched(
        const struct sl_modality_config *modality, const char *key, const char *pattern, struct sl_error *err)
{
    return sl_fail(err, SL_USAGE,
            "modalities.%s.%s: no parameter matches \"%s\"; patterns are those of fnmatch, such as "
            "\"vit.encoder.layer.[0-3].*\"",
            modality->name, key, pattern);
}

static enum sl_status freeze(
        struct sl_layout *layout, const struct sl_config *config, int m, struct sl_error *err)
{
    const struct sl_modality_config *modality = &config->modalities[m];
    for (int f = 0; f < modality->freeze_count; f++) {
        int matched = 0;
        for (int p = 0; p < layout->param_count; p++) {
            if (!matches(&layout->params[p], config, m, modality->freeze[f]))
                continue;
            layout->params[p].frozen = true;
            matched++;
        }
        if (matched == 0)
            return fail_unmatched(modality, "freeze", modality->freeze[f], err);
    }
    return SL_OK;
}

static enum sl_status scale_rates(
        struct sl_layout *layout, const struct sl_config *config, int m, struct sl_error *err)
{
    const struct sl_modality_config *modality = &config->modalities[m];
    for (int i = 0; i < modality->lr_scale_count; i++) {
        const struct sl_lr_scale *scale = &modality->lr_scale[i];
        int matched = 0;
        for (int p = 0; p < layout->param_count; p++) {
            if (!matches(&layout->params[p], config, m, scale->pattern))
                continue;
            layout->params[p].lr_scale = scale->scale;
            matched++;
        }
        if (matched == 0)
            return fail_unmatched(modality, "lr_scale", scale->pattern, err);
    }
    return SL_OK;
}

/* Cuts [0, count) into blocks that never cross from one (part, modality) to the next: calls with blocks NULL only count. */
static int cut_blocks(const struct sl_layout *layout, size_t block_floats, struct sl_block *blocks)
{
    int count = 0;
    size_t begin = 0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p], *next = param + 1;
        bool last = p + 1 == layout->param_count;
        if (!last && next->part == param->part && next->modality == param->modality)
            continue;
        size_t end = last ? layout->count : next->offset;
        /* equal pieces, each a multiple of the alignment, none above block_floats */
        size_t pieces = (end - begin + block_floats - 1) / block_floats;
        size_t size = ((end - begin) / pieces + ALIGN_FLOATS) / ALIGN_FLOATS * ALIGN_FLOATS;
        size = size > block_floats ? block_floats : size;
        for (; begin < end; begin += size, count++) {
            if (blocks == NULL)
                continue;
            blocks[count] = (struct sl_block){begin, end - begin < size ? end - begin : size, param->part,
                    param->part == SL_PART_FUSION ? -1 : param->modality,
                    {param->part != SL_PART_FUSION, param->part != SL_PART_HEAD}, false, false};
            if (layout->vectors == 1 && param->part == SL_PART_EXTRACTOR)
                blocks[count].tagged[SL_TAG_UNIMODAL] = false; /* its part is in the fused one's sum */
        }
        begin = end;
    }
    return count;
}

/* What blocks have of the parameters that lie in them. */
static void mark_blocks(struct sl_layout *layout)
{
    for (int b = 0; b < layout->block_count; b++) {
        struct sl_block *block = &layout->blocks[b];
        block->frozen = true;
        for (int p = 0; p < layout->param_count; p++) {
            const struct sl_param *param = &layout->params[p];
            if (param->offset >= block->offset + block->count ||
                    block->offset >= param->offset + param->count)
                continue;
            block->sparse |= param->table;
            block->frozen &= param->frozen;
        }
        layout->trained_block_count += !block->frozen;
    }
}

static uint64_t hash_layout(const struct sl_layout *layout)
{
    uint64_t hash = 0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        hash = sl_hash64(param->name, strlen(param->name), hash);
        hash = sl_hash64(param->shape, sizeof(param->shape[0]) * (size_t)param->rank, hash);
        hash = sl_hash64(&param->offset, sizeof(param->offset), hash);
    }
    for (int b = 0; b < layout->block_count; b++)
        hash = sl_hash64(&layout->blocks[b].offset, sizeof(layout->blocks[b].offset), hash);
    return hash;
}

enum sl_status sl_layout_create(struct sl_layout **ret_layout, const struct sl_config *config,
        size_t block_floats, struct sl_error *err)
{
    assert(block_floats > 0 && block_floats % ALIGN_FLOATS == 0);
    SL_AUTO(sl_layout_destroy_auto) struct sl_layout *layout = sl_alloc(1, sizeof(*layout));
    if (layout == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the parameter table");
    layout->modality_count = config->modality_count;
    layout->vectors = config->modulation.exchange == SL_EXCHANGE_EARLY ? 1 : SL_TAGS;
    struct builder builder = {.layout = layout, .config = config};
    add_all(&builder);
    if (builder.out_of_memory)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the parameter table");
    enum sl_status status = SL_OK;
    for (int m = 0; status == SL_OK && m < config->modality_count; m++) {
        status = freeze(layout, config, m, err);
        if (status == SL_OK)
            status = scale_rates(layout, config, m, err);
    }
    if (status != SL_OK)
        return status;
    layout->block_count = cut_blocks(layout, block_floats, NULL);
    layout->blocks = sl_alloc((size_t)layout->block_count, sizeof(*layout->blocks));
    if (layout->blocks == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the block table");
    (void)cut_blocks(layout, block_floats, layout->blocks);
    mark_blocks(layout);
    layout->hash = hash_layout(layout);
    *ret_layout = SL_TAKE(layout);
    return SL_OK;
}

void sl_layout_destroy(struct sl_layout *layout)
{
    if (layout == NULL)
        return;
    sl_free(layout->params);
    sl_free(layout->blocks);
    sl_free(layout);
}

void sl_layout_destroy_auto(struct sl_layout **layout)
{
    sl_layout_destroy(*layout);
}

int sl_layout_find(const struct sl_layout *layout, const char *name)
{
    for (int p = 0; p < layout->param_count; p++)
        if (strcmp(layout->params[p].name, name) == 0)
            return p;
    return -1;
}

size_t sl_layout_offset(const struct sl_layout *layout, const char *format, ...)
{
    char name[SL_PARAM_NAME_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    int index = sl_layout_find(layout, name);
    assert(index >= 0);
    return layout->params[index].offset;
}

void sl_layout_initialise(const struct sl_layout *layout, uint64_t seed, float *params)
{
    memset(params, 0, layout->count * sizeof(*params));
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        float *values = params + param->offset, std = param->init_std;
        struct sl_random random =
                sl_random_make(seed, SL_RANDOM_INITIAL, sl_hash64(param->name, strlen(param->name), 0), 0);
        if (param->init == SL_INIT_XAVIER) /* Glorot & Bengio 2010, eq. 16, normal form */
            std = sqrtf(2.0F / (float)((size_t)param->shape[0] + param->count / (size_t)param->shape[0]));
        for (size_t i = 0; i < param->count && param->init != SL_INIT_ZERO; i++)
            values[i] = param->init == SL_INIT_ONE ? 1.0F : std * sl_random_normal(&random, i);
    }
}
