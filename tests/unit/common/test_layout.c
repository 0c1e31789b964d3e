/* The table of parameters: order, gaps, packing, names, blocks, freezing, initial values. */
#include "common/layout.h"
#include "common/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct sl_error err;
static struct sl_config *config;

/* One modality of each kind, of odd sizes. */
static int set_up(void **state)
{
    (void)state;
    config = sl_alloc(1, sizeof(*config));
    config->label_count = 3;
    config->modality_count = 3;
    config->modalities[0] = (struct sl_modality_config){.name = "visual",
            .kind = SL_KIND_VIT,
            .image = 24,
            .patch = 8,
            .hidden = 18,
            .layers = 2,
            .heads = 3,
            .mlp = 20,
            .frames = 4};
    config->modalities[1] = (struct sl_modality_config){.name = "text",
            .kind = SL_KIND_BERT,
            .vocab_size = 29,
            .hidden = 20,
            .layers = 1,
            .heads = 2,
            .mlp = 24,
            .max_tokens = 7,
            .max_position = 9};
    config->modalities[2] = (struct sl_modality_config){
            .name = "audio", .kind = SL_KIND_FEATURES, .input = 5, .hidden = 11, .max_items = 4};
    config->fusion.dim = 12;
    config->fusion.heads = 2;
    config->fusion.layers = 2;
    config->fusion.mlp = 14;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(config);
    return 0;
}

static struct sl_layout *make(size_t block_floats)
{
    struct sl_layout *layout = NULL;
    if (sl_layout_create(&layout, config, block_floats, &err) != SL_OK)
        fail_msg("%s", err.text);
    return layout;
}

static const struct sl_param *find(const struct sl_layout *layout, const char *name)
{
    int index = sl_layout_find(layout, name);
    if (index < 0)
        fail_msg("no parameter %s", name);
    return &layout->params[index];
}

static void test_parts_follow_each_other(void **state)
{
    (void)state;
    struct sl_layout *layout = make(SL_BLOCK_FLOATS);
    size_t end = 0, trained = 0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        size_t count = 1;
        for (int i = 0; i < param->rank; i++)
            count *= (size_t)param->shape[i];
        assert_int_equal(param->count, count);
        assert_true(param->offset >= end && param->offset - end < 16); /* a gap of less than the alignment */
        assert_true(param->part == SL_PART_HEAD ? param->offset + count <= layout->head_end
                                                : param->offset >= layout->head_end);
        assert_true((param->part == SL_PART_FUSION) == (param->offset >= layout->extractor_end));
        assert_int_equal(param->decay, param->rank > 1);
        assert_int_equal(sl_layout_find(layout, param->name), p); /* names are unique */
        end = param->offset + count;
        trained += count;
    }
    assert_true(layout->count >= end && layout->count - end < 16 && layout->count % 16 == 0);
    assert_int_equal(layout->trained, trained);
    assert_int_equal(layout->head_end % 16 + layout->extractor_end % 16, 0);
    assert_int_equal(sl_layout_find(layout, "extractor.text"), -1);
    sl_layout_destroy(layout);
    sl_layout_destroy(NULL);
}

static void expect_shape(const struct sl_layout *layout, const char *name, int rank, int64_t a, int64_t b)
{
    const struct sl_param *param = find(layout, name);
    if (param->rank != rank || param->shape[0] != a || (rank > 1 && param->shape[1] != b))
        fail_msg("%s has rank %d, %ld by %ld", name, param->rank, (long)param->shape[0],
                (long)param->shape[1]);
}

static void test_names_and_shapes_are_those_of_pytorch(void **state)
{
    (void)state;
    struct sl_layout *layout = make(SL_BLOCK_FLOATS);
    expect_shape(layout, "head.visual.weight", 2, 3, 18);
    expect_shape(layout, "head.text.bias", 1, 3, 0);
    expect_shape(layout, "extractor.visual.temporal_embeddings", 2, 4, 18);
    expect_shape(layout, "extractor.visual.vit.embeddings.cls_token", 3, 1, 1);
    expect_shape(layout, "extractor.visual.vit.embeddings.position_embeddings", 3, 1, 10);
    expect_shape(layout, "extractor.visual.vit.embeddings.patch_embeddings.projection.weight", 4, 18, 3);
    expect_shape(layout, "extractor.visual.vit.encoder.layer.1.intermediate.dense.weight", 2, 20, 18);
    expect_shape(layout, "extractor.visual.vit.layernorm.weight", 1, 18, 0);
    expect_shape(layout, "extractor.text.bert.embeddings.word_embeddings.weight", 2, 29, 20);
    expect_shape(layout, "extractor.text.bert.embeddings.position_embeddings.weight", 2, 9, 20);
    expect_shape(layout, "extractor.text.bert.embeddings.token_type_embeddings.weight", 2, 2, 20);
    expect_shape(layout, "extractor.text.bert.encoder.layer.0.attention.output.LayerNorm.weight", 1, 20, 0);
    expect_shape(layout, "extractor.audio.fc1.weight", 2, 11, 5);
    expect_shape(layout, "fusion.project.audio.weight", 2, 12, 11);
    expect_shape(layout, "fusion.layer.1.text.fc2.weight", 2, 12, 14);
    expect_shape(layout, "fusion.head.weight", 2, 3, 36);
    sl_layout_destroy(layout);
}

/* Query, key and value are one matrix for one product. */
static void test_packed_matrices(void **state)
{
    (void)state;
    struct sl_layout *layout = make(SL_BLOCK_FLOATS);
    static const char *const prefix[] = {"extractor.visual.vit.encoder.layer.1.attention.attention.",
            "extractor.text.bert.encoder.layer.0.attention.self."};
    static const size_t dim[] = {18, 20};
    for (int i = 0; i < 2; i++) {
        size_t at = sl_layout_offset(layout, "%squery.weight", prefix[i]);
        assert_int_equal(sl_layout_offset(layout, "%skey.weight", prefix[i]), at + dim[i] * dim[i]);
        assert_int_equal(sl_layout_offset(layout, "%svalue.weight", prefix[i]), at + 2 * dim[i] * dim[i]);
        at = sl_layout_offset(layout, "%squery.bias", prefix[i]);
        assert_int_equal(sl_layout_offset(layout, "%svalue.bias", prefix[i]), at + 2 * dim[i]);
    }
    size_t key = sl_layout_offset(layout, "fusion.layer.0.%s.key.weight", "audio");
    assert_int_equal(sl_layout_offset(layout, "fusion.layer.0.audio.value.weight"), key + (size_t)12 * 12);
    sl_layout_destroy(layout);
}

static void check_blocks(size_t block_floats)
{
    struct sl_layout *layout = make(block_floats);
    size_t end = 0;
    for (int b = 0; b < layout->block_count; b++) {
        const struct sl_block *block = &layout->blocks[b];
        assert_int_equal(block->offset, end);
        assert_true(block->count > 0 && block->count <= block_floats && block->offset % 16 == 0);
        end += block->count;
        assert_int_equal(block->tagged[SL_TAG_UNIMODAL], block->part != SL_PART_FUSION);
        assert_int_equal(block->tagged[SL_TAG_FUSED], block->part != SL_PART_HEAD);
        assert_int_equal(block->modality == -1, block->part == SL_PART_FUSION);
        for (int p = 0; p < layout->param_count; p++) { /* all that lies in it has the same owner */
            const struct sl_param *param = &layout->params[p];
            if (param->offset < end && param->offset + param->count > block->offset)
                assert_true(param->part == block->part && param->modality == block->modality);
        }
    }
    assert_int_equal(end, layout->count);
    sl_layout_destroy(layout);
}

static void test_blocks_cover_everything_once(void **state)
{
    (void)state;
    for (size_t block_floats = 16; block_floats <= 4096; block_floats *= 2)
        check_blocks(block_floats);
    check_blocks(48);
    check_blocks(SL_BLOCK_FLOATS);
}

static void test_the_hash_tells_layouts_apart(void **state)
{
    (void)state;
    struct sl_layout *a = make(256), *b = make(256), *blocks = make(512);
    assert_true(a->hash == b->hash && a->hash != blocks->hash);
    config->modalities[1].vocab_size++;
    struct sl_layout *vocabulary = make(256);
    assert_true(a->hash != vocabulary->hash);
    config->modalities[1].vocab_size--;
    (void)snprintf(config->modalities[2].name, SL_NAME_MAX, "sound");
    struct sl_layout *name = make(256);
    assert_true(a->hash != name->hash);
    (void)snprintf(config->modalities[2].name, SL_NAME_MAX, "audio");
    sl_layout_destroy(a);
    sl_layout_destroy(b);
    sl_layout_destroy(blocks);
    sl_layout_destroy(vocabulary);
    sl_layout_destroy(name);
}

static void test_freezing(void **state)
{
    (void)state;
    struct sl_modality_config *visual = &config->modalities[0];
    (void)snprintf(visual->freeze[0], sizeof(visual->freeze[0]), "vit.encoder.layer.0.*");
    (void)snprintf(visual->freeze[1], sizeof(visual->freeze[1]), "extractor.visual.temporal_embeddings");
    visual->freeze_count = 2;
    struct sl_layout *layout = make(SL_BLOCK_FLOATS);
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        bool wanted = strstr(param->name, "visual.vit.encoder.layer.0.") != NULL ||
                      strstr(param->name, "temporal") != NULL;
        assert_int_equal(param->frozen, wanted);
    }
    sl_layout_destroy(layout);
    (void)snprintf(visual->freeze[1], sizeof(visual->freeze[1]), "vit.encoder.layer.7.*");
    layout = NULL;
    assert_int_equal(sl_layout_create(&layout, config, 256, &err), SL_USAGE);
    assert_non_null(
            strstr(err.text, "modalities.visual.freeze: no parameter matches \"vit.encoder.layer.7.*\""));
    assert_null(layout);
    visual->freeze_count = 0;
}

/* Whether a trained number lies in a block, found the other way round: from the numbers. */
static bool has_trained(const struct sl_layout *layout, const struct sl_block *block)
{
    bool any = false;
    for (int p = 0; p < layout->param_count; p++)
        for (size_t i = 0; i < layout->params[p].count && !layout->params[p].frozen; i++) {
            size_t at = layout->params[p].offset + i;
            any |= at >= block->offset && at < block->offset + block->count;
        }
    return any;
}

static void test_blocks_of_frozen_parameters(void **state)
{
    (void)state;
    struct sl_modality_config *visual = &config->modalities[0];
    struct sl_layout *layout = make(256);
    assert_int_equal(layout->trained_block_count, layout->block_count);
    sl_layout_destroy(layout);
    (void)snprintf(visual->freeze[0], sizeof(visual->freeze[0]), "vit.encoder.layer.0.*");
    visual->freeze_count = 1;
    for (size_t size = 64; size <= 1024; size *= 4) {
        int frozen = 0;
        layout = make(size);
        for (int b = 0; b < layout->block_count; b++) {
            assert_int_equal(layout->blocks[b].frozen, !has_trained(layout, &layout->blocks[b]));
            frozen += layout->blocks[b].frozen;
        }
        assert_true(frozen > 0);
        assert_int_equal(layout->trained_block_count, layout->block_count - frozen);
        sl_layout_destroy(layout);
    }
    visual->freeze_count = 0;
}

static void test_initial_values(void **state)
{
    (void)state;
    struct sl_layout *layout = make(256);
    float *params = sl_alloc_aligned(layout->count, sizeof(float)),
          *again = sl_alloc_aligned(layout->count, sizeof(float));
    for (size_t i = 0; i < layout->count; i++)
        params[i] = 7.0F; /* gaps must become zero */
    sl_layout_initialise(layout, 1, params);
    sl_layout_initialise(layout, 1, again);
    assert_memory_equal(params, again, layout->count * sizeof(float));
    size_t end = 0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        double sum = 0.0, square = 0.0;
        for (; end < param->offset; end++)
            assert_true(params[end] == 0.0F);
        for (end = param->offset; end < param->offset + param->count; end++) {
            sum += params[end];
            square += (double)params[end] * params[end];
        }
        double n = (double)param->count, std = param->init_std;
        if (param->init == SL_INIT_XAVIER)
            std = sqrt(2.0 / (double)((size_t)param->shape[0] + param->count / (size_t)param->shape[0]));
        if (param->init == SL_INIT_ZERO || param->init == SL_INIT_ONE)
            assert_true(sum == (param->init == SL_INIT_ONE ? n : 0.0));
        else if (fabs(sum / n) > 6.0 * std / sqrt(n) ||
                 fabs(square / n / (std * std) - 1.0) > 6.0 * sqrt(2.0 / n))
            fail_msg("%s: mean %g, mean square %g, expected 0 and %g", param->name, sum / n, square / n,
                    std * std);
    }
    sl_layout_initialise(layout, 2, again);
    assert_memory_not_equal(params, again, layout->count * sizeof(float));
    sl_free(params);
    sl_free(again);
    sl_layout_destroy(layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_parts_follow_each_other),
            cmocka_unit_test(test_names_and_shapes_are_those_of_pytorch),
            cmocka_unit_test(test_packed_matrices),
            cmocka_unit_test(test_blocks_cover_everything_once),
            cmocka_unit_test(test_the_hash_tells_layouts_apart),
            cmocka_unit_test(test_freezing),
            cmocka_unit_test(test_blocks_of_frozen_parameters),
            cmocka_unit_test(test_initial_values),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
