/* The model's graph: see network.h. Each function names the file of worker/model that it repeats on padded samples. */
#include "deploy/export/network.h"

#include "common/memory.h"
#include "deploy/export/layers.h"

#include <stdio.h>

#define NAME_MAX_BYTES (2 * SL_PARAM_NAME_MAX)

struct network {
    struct dp_source source;
    const struct sl_config *config;
    dp_value input[SL_MODALITIES_MAX], mask[SL_MODALITIES_MAX];
    dp_value bias[SL_MODALITIES_MAX];     /* (B, 1, 1, T) of the mask */
    dp_value features[SL_MODALITIES_MAX]; /* (B, T, d) */
};

int dp_network_items(const struct sl_modality_config *modality)
{
    switch (modality->kind) {
    case SL_KIND_VIT:
        return modality->frames;
    case SL_KIND_BERT:
        return modality->max_tokens;
    case SL_KIND_FEATURES:
        break;
    }
    return modality->max_items;
}

const char *dp_network_items_name(const struct sl_modality_config *modality)
{
    static const char *const names[] = {
            [SL_KIND_VIT] = "frames", [SL_KIND_BERT] = "tokens", [SL_KIND_FEATURES] = "rows"};
    return names[modality->kind];
}

static dp_value cast_float(struct dp_graph *graph, dp_value x)
{
    dp_value y = dp_graph_op(graph, "Cast", x, NULL);
    dp_graph_attribute_int(graph, "to", SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    return y;
}

/* ---- encoder layers: encoder.c ---- */

struct encoder {
    char prefix[SL_PARAM_NAME_MAX]; /* before the layer's number */
    int d, heads;
    bool pre_norm;
    dp_value bias; /* of keys; NULL: all are there */
};

/* Projections and attention of layer l with its output projection. Shapes: queries (B, Q, d), rows (B, T, d). */
static dp_value self_attention(
        const struct network *net, const struct encoder *e, int l, dp_value queries, dp_value rows)
{
    const struct dp_source *source = &net->source;
    const char *inner = e->pre_norm ? "attention.attention" : "attention.self";
    char name[NAME_MAX_BYTES];
    dp_value qkv[3];
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"query", "key", "value"};
        (void)snprintf(name, sizeof(name), "%s%d.%s.%s", e->prefix, l, inner, names[i]);
        qkv[i] = dp_layer_linear(source, i == 0 ? queries : rows, name);
    }
    dp_graph_scope(source->graph, "%s%d.attention", e->prefix, l);
    dp_value mixed = dp_layer_attention(source, qkv[0], qkv[1], qkv[2], e->bias, e->heads, e->d);
    (void)snprintf(name, sizeof(name), "%s%d.attention.output.dense", e->prefix, l);
    return dp_layer_linear(source, mixed, name);
}

static dp_value layer_norm(
        const struct network *net, const struct encoder *e, int l, const char *noun, dp_value x)
{
    char name[NAME_MAX_BYTES];
    (void)snprintf(name, sizeof(name), "%s%d.%s", e->prefix, l, noun);
    return dp_layer_norm(&net->source, x, name);
}

static dp_value feed_forward(const struct network *net, const struct encoder *e, int l, dp_value x)
{
    char first[NAME_MAX_BYTES], second[NAME_MAX_BYTES];
    (void)snprintf(first, sizeof(first), "%s%d.intermediate.dense", e->prefix, l);
    (void)snprintf(second, sizeof(second), "%s%d.output.dense", e->prefix, l);
    return dp_layer_feed_forward(&net->source, x, first, second);
}

/* narrow: only row 0 of the result is wanted, so only it is computed. */
static dp_value pre_norm_layer(
        const struct network *net, const struct encoder *e, int l, dp_value x, bool narrow)
{
    struct dp_graph *graph = net->source.graph;
    dp_value h = layer_norm(net, e, l, "layernorm_before", x), queries = h;
    if (narrow) {
        queries = dp_layer_first(&net->source, h, true);
        x = dp_layer_first(&net->source, x, true);
    }
    x = dp_graph_op(graph, "Add", x, self_attention(net, e, l, queries, h), NULL);
    h = layer_norm(net, e, l, "layernorm_after", x);
    return dp_graph_op(graph, "Add", x, feed_forward(net, e, l, h), NULL);
}

static dp_value post_norm_layer(const struct network *net, const struct encoder *e, int l, dp_value x)
{
    struct dp_graph *graph = net->source.graph;
    x = dp_graph_op(graph, "Add", x, self_attention(net, e, l, x, x), NULL);
    x = layer_norm(net, e, l, "attention.output.LayerNorm", x);
    x = dp_graph_op(graph, "Add", x, feed_forward(net, e, l, x), NULL);
    return layer_norm(net, e, l, "output.LayerNorm", x);
}

/* ---- extractors ---- */

/* vit.c, batch.c: frames (B, F, H, W, 3) u8 to patches with [CLS] and positions (B F, P + 1, d). */
static dp_value embed_frames(const struct network *net, const struct sl_modality_config *m, dp_value frames)
{
    const struct dp_source *source = &net->source;
    struct dp_graph *graph = source->graph;
    int side = m->image / m->patch, d = m->hidden;
    dp_value x = dp_graph_op(graph, "Reshape", frames, DP_INTS(graph, -1, m->image, m->image, 3), NULL);
    x = dp_graph_op(graph, "Div", cast_float(graph, x), dp_graph_scalar(graph, 255.0F), NULL);
    int64_t three = 3;
    dp_value mean = dp_graph_tensor(
            graph, dp_graph_text(graph, "preprocessing.%s.mean", m->name), m->mean, &three, 1);
    dp_value std =
            dp_graph_tensor(graph, dp_graph_text(graph, "preprocessing.%s.std", m->name), m->std, &three, 1);
    x = dp_graph_op(graph, "Div", dp_graph_op(graph, "Sub", x, mean, NULL), std, NULL);
    x = dp_graph_op(graph, "Transpose", x, NULL);
    dp_graph_attribute_ints(graph, "perm", (const int64_t[]){0, 3, 1, 2}, 4);
    x = dp_graph_op(graph, "Conv", x,
            dp_layer_parameter(
                    source, "extractor.%s.vit.embeddings.patch_embeddings.projection.weight", m->name),
            dp_layer_parameter(
                    source, "extractor.%s.vit.embeddings.patch_embeddings.projection.bias", m->name),
            NULL);
    dp_graph_attribute_ints(graph, "kernel_shape", (const int64_t[]){m->patch, m->patch}, 2);
    dp_graph_attribute_ints(graph, "strides", (const int64_t[]){m->patch, m->patch}, 2);
    x = dp_graph_op(graph, "Reshape", x, DP_INTS(graph, 0, d, side * side), NULL);
    x = dp_graph_op(graph, "Transpose", x, NULL);
    dp_graph_attribute_ints(graph, "perm", (const int64_t[]){0, 2, 1}, 3);
    dp_value shape[] = {dp_layer_extent(source, x, 0, 1), DP_INTS(graph, 1, d)};
    dp_value cls = dp_graph_op(graph, "Expand",
            dp_layer_parameter(source, "extractor.%s.vit.embeddings.cls_token", m->name),
            dp_layer_concat(source, shape, 2, 0), NULL);
    x = dp_layer_concat(source, (dp_value[]){cls, x}, 2, 1);
    return dp_graph_op(graph, "Add", x,
            dp_layer_parameter(source, "extractor.%s.vit.embeddings.position_embeddings", m->name), NULL);
}

/* vit.c */
static dp_value extract_vit(const struct network *net, const struct sl_modality_config *m, dp_value frames)
{
    const struct dp_source *source = &net->source;
    struct dp_graph *graph = source->graph;
    struct encoder e = {.d = m->hidden, .heads = m->heads, .pre_norm = true};
    char norm[NAME_MAX_BYTES];
    (void)snprintf(e.prefix, sizeof(e.prefix), "extractor.%s.vit.encoder.layer.", m->name);
    (void)snprintf(norm, sizeof(norm), "extractor.%s.vit.layernorm", m->name);
    dp_graph_scope(graph, "extractor.%s.vit.embeddings", m->name);
    dp_value x = embed_frames(net, m, frames);
    for (int l = 0; l < m->layers; l++)
        x = pre_norm_layer(net, &e, l, x, l == m->layers - 1);
    x = dp_layer_norm(source, x, norm);
    dp_graph_scope(graph, "extractor.%s", m->name);
    dp_value shape[] = {dp_layer_extent(source, frames, 0, 2), DP_INTS(graph, m->hidden)};
    x = dp_graph_op(graph, "Reshape", x, dp_layer_concat(source, shape, 2, 0), NULL);
    dp_value temporal = dp_layer_table_rows(source,
            dp_layer_parameter(source, "extractor.%s.temporal_embeddings", m->name),
            dp_layer_extent(source, frames, 1, 1));
    return dp_graph_op(graph, "Add", x, temporal, NULL);
}

/* bert.c */
static dp_value extract_bert(
        const struct network *net, const struct sl_modality_config *m, dp_value ids, dp_value bias)
{
    const struct dp_source *source = &net->source;
    struct dp_graph *graph = source->graph;
    struct encoder e = {.d = m->hidden, .heads = m->heads, .bias = bias};
    char norm[NAME_MAX_BYTES];
    (void)snprintf(e.prefix, sizeof(e.prefix), "extractor.%s.bert.encoder.layer.", m->name);
    (void)snprintf(norm, sizeof(norm), "extractor.%s.bert.embeddings.LayerNorm", m->name);
    dp_graph_scope(graph, "extractor.%s.bert.embeddings", m->name);
    dp_value x = dp_graph_op(graph, "Gather",
            dp_layer_parameter(source, "extractor.%s.bert.embeddings.word_embeddings.weight", m->name), ids,
            NULL);
    dp_value position = dp_layer_table_rows(source,
            dp_layer_parameter(source, "extractor.%s.bert.embeddings.position_embeddings.weight", m->name),
            dp_layer_extent(source, ids, 1, 1));
    dp_value type = dp_graph_op(graph, "Gather",
            dp_layer_parameter(source, "extractor.%s.bert.embeddings.token_type_embeddings.weight", m->name),
            dp_graph_index(graph, 0), NULL);
    x = dp_graph_op(graph, "Add", dp_graph_op(graph, "Add", x, position, NULL), type, NULL);
    x = dp_layer_norm(source, x, norm);
    for (int l = 0; l < m->layers; l++)
        x = post_norm_layer(net, &e, l, x);
    return x;
}

/* features.c. What is masked is set to zero first: padding may hold anything, even NaN. */
static dp_value extract_features(
        const struct network *net, const struct sl_modality_config *m, dp_value rows, dp_value mask)
{
    struct dp_graph *graph = net->source.graph;
    char name[3][NAME_MAX_BYTES];
    static const char *const nouns[] = {"fc1", "fc2", "layernorm"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(name[i], sizeof(name[i]), "extractor.%s.%s", m->name, nouns[i]);
    dp_graph_scope(graph, "extractor.%s", m->name);
    dp_value present = dp_graph_op(graph, "Unsqueeze", mask, DP_INTS(graph, 2), NULL);
    dp_value x = dp_graph_op(graph, "Where", present, rows, dp_graph_scalar(graph, 0.0F), NULL);
    x = dp_layer_feed_forward(&net->source, x, name[0], name[1]);
    return dp_layer_norm(&net->source, x, name[2]);
}

static dp_value extract(const struct network *net, int m)
{
    const struct sl_modality_config *modality = &net->config->modalities[m];
    switch (modality->kind) {
    case SL_KIND_VIT:
        return extract_vit(net, modality, net->input[m]);
    case SL_KIND_BERT:
        return extract_bert(net, modality, net->input[m], net->bias[m]);
    case SL_KIND_FEATURES:
        break;
    }
    return extract_features(net, modality, net->input[m], net->mask[m]);
}

/* ---- fusion.c ---- */

/* The values of all modalities but m, one after the other along an axis. */
static dp_value others(const struct network *net, const dp_value *values, int m, int axis)
{
    dp_value list[SL_MODALITIES_MAX];
    int count = 0;
    for (int o = 0; o < net->config->modality_count; o++)
        if (o != m)
            list[count++] = values[o];
    return count == 1 ? list[0] : dp_layer_concat(&net->source, list, count, axis);
}

/* One modality's stream through one layer: x (others as context) to x'. */
static dp_value fusion_stream(const struct network *net, int l, int m, const dp_value *x)
{
    const struct dp_source *source = &net->source;
    struct dp_graph *graph = source->graph;
    enum { QUERY, KEY, VALUE, OUT, NORM_QUERY, NORM_CONTEXT, NORM_FFN, FC1, FC2, COUNT };
    static const char *const nouns[COUNT] = {
            "query", "key", "value", "out", "norm_query", "norm_context", "norm_ffn", "fc1", "fc2"};
    char name[COUNT][NAME_MAX_BYTES];
    for (int i = 0; i < COUNT; i++)
        (void)snprintf(name[i], sizeof(name[i]), "fusion.layer.%d.%s.%s", l, net->config->modalities[m].name,
                nouns[i]);
    dp_graph_scope(graph, "fusion.layer.%d.%s", l, net->config->modalities[m].name);
    dp_value context = others(net, x, m, 1), bias = others(net, net->bias, m, 3);
    context = dp_layer_norm(source, context, name[NORM_CONTEXT]);
    dp_value q = dp_layer_linear(source, dp_layer_norm(source, x[m], name[NORM_QUERY]), name[QUERY]);
    dp_value k = dp_layer_linear(source, context, name[KEY]),
             v = dp_layer_linear(source, context, name[VALUE]);
    dp_graph_scope(graph, "fusion.layer.%d.%s", l, net->config->modalities[m].name);
    dp_value mixed =
            dp_layer_attention(source, q, k, v, bias, net->config->fusion.heads, net->config->fusion.dim);
    dp_value z = dp_graph_op(graph, "Add", x[m], dp_layer_linear(source, mixed, name[OUT]), NULL);
    dp_value h =
            dp_layer_feed_forward(source, dp_layer_norm(source, z, name[NORM_FFN]), name[FC1], name[FC2]);
    return dp_graph_op(graph, "Add", z, h, NULL);
}

static dp_value fuse(const struct network *net)
{
    const struct sl_config *config = net->config;
    const struct dp_source *source = &net->source;
    char name[NAME_MAX_BYTES];
    dp_value x[SL_MODALITIES_MAX], next[SL_MODALITIES_MAX], pooled[SL_MODALITIES_MAX];
    for (int m = 0; m < config->modality_count; m++) {
        (void)snprintf(name, sizeof(name), "fusion.project.%s", config->modalities[m].name);
        x[m] = dp_layer_linear(source, net->features[m], name);
    }
    for (int l = 0; l < config->fusion.layers; l++) {
        for (int m = 0; m < config->modality_count; m++)
            next[m] = fusion_stream(net, l, m, x);
        for (int m = 0; m < config->modality_count; m++)
            x[m] = next[m];
    }
    for (int m = 0; m < config->modality_count; m++) {
        (void)snprintf(name, sizeof(name), "fusion.layernorm.%s", config->modalities[m].name);
        pooled[m] = dp_layer_masked_mean(source, dp_layer_norm(source, x[m], name), net->mask[m]);
    }
    dp_graph_scope(source->graph, "fusion");
    return dp_layer_classifier(
            source, dp_layer_concat(source, pooled, config->modality_count, 1), "fusion.head");
}

/* ---- the whole ---- */

static void declare_input(struct network *net, int m)
{
    struct dp_graph *graph = net->source.graph;
    const struct sl_modality_config *modality = &net->config->modalities[m];
    int most = dp_network_items(modality);
    const char *items = dp_graph_text(graph, "%s_%s", modality->name, dp_network_items_name(modality));
    /* with room for one only the size is fixed: else a table of one row would be repeated over what is too many */
    struct dp_dimension shape[5] = {{"batch", 0}, {most == 1 ? NULL : items, most}};
    int rank = 2;
    enum dp_element element = DP_ELEMENT_I64;
    if (modality->kind == SL_KIND_VIT) {
        element = DP_ELEMENT_U8;
        shape[rank++] = (struct dp_dimension){NULL, modality->image};
        shape[rank++] = (struct dp_dimension){NULL, modality->image};
        shape[rank++] = (struct dp_dimension){NULL, 3};
    } else if (modality->kind == SL_KIND_FEATURES) {
        element = DP_ELEMENT_F32;
        shape[rank++] = (struct dp_dimension){NULL, modality->input};
    }
    static const char *const notes[] = {[SL_KIND_VIT] = "frames as R G B bytes, at most %d",
            [SL_KIND_BERT] = "WordPiece ids with [CLS] and [SEP], at most %d",
            [SL_KIND_FEATURES] = "rows of numbers, at most %d"};
    char note[128];
    (void)snprintf(note, sizeof(note), notes[modality->kind], most);
    net->input[m] = dp_graph_input(graph, modality->name, element, shape, rank, note);
    net->mask[m] = dp_graph_input(graph, dp_graph_text(graph, "%s.mask", modality->name), DP_ELEMENT_BOOL,
            shape, 2, "true where an item is present; at least one of each sample");
    dp_graph_scope(graph, "%s.mask", modality->name);
    net->bias[m] = dp_layer_mask_bias(&net->source, net->mask[m]);
}

/* Names the node appended last logits.BRANCH, and adds probabilities.BRANCH. */
static void declare_outputs(const struct network *net, int branch)
{
    struct dp_graph *graph = net->source.graph;
    const char *name = sl_config_branch_name(net->config, branch);
    struct dp_dimension shape[2] = {{"batch", 0}, {NULL, net->config->label_count}};
    dp_value logits = dp_graph_rename(graph, dp_graph_text(graph, "logits.%s", name));
    (void)dp_graph_op(graph, "Softmax", logits, NULL);
    dp_graph_attribute_int(graph, "axis", -1);
    dp_value probabilities = dp_graph_rename(graph, dp_graph_text(graph, "probabilities.%s", name));
    dp_graph_output(graph, logits, DP_ELEMENT_F32, shape, 2, NULL);
    dp_graph_output(
            graph, probabilities, DP_ELEMENT_F32, shape, 2, "softmax of the logits; labels in the metadata");
}

static void build(struct network *net)
{
    const struct dp_source *source = &net->source;
    for (int m = 0; m < net->config->modality_count; m++)
        declare_input(net, m);
    for (int m = 0; m < net->config->modality_count; m++) {
        char head[NAME_MAX_BYTES];
        net->features[m] = extract(net, m);
        (void)snprintf(head, sizeof(head), "head.%s", net->config->modalities[m].name);
        dp_graph_scope(source->graph, "%s", head);
        dp_value pooled = net->config->modalities[m].kind == SL_KIND_BERT
                                  ? dp_layer_first(source, net->features[m], false)
                                  : dp_layer_masked_mean(source, net->features[m], net->mask[m]);
        (void)dp_layer_classifier(source, pooled, head);
        declare_outputs(net, m);
    }
    (void)fuse(net);
    declare_outputs(net, net->config->modality_count);
}

enum sl_status dp_network_build(struct dp_graph **ret_graph, const struct sl_config *config,
        const struct sl_layout *layout, const float *params, int opset, struct sl_error *err)
{
    struct dp_graph *graph = NULL;
    enum sl_status status = dp_graph_create(&graph, opset, err);
    if (status != SL_OK)
        return status;
    struct network net = {.source = {.graph = graph, .layout = layout, .params = params}, .config = config};
    build(&net);
    *ret_graph = graph; /* what failed on the way is told by dp_graph_finish */
    return SL_OK;
}
