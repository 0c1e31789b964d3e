/* The ONNX graph of a model: every parameter once, every value made before it is used, the ends as documented; and running out of memory. */
#include "tests/unit/model/fixture.h"

#include "deploy/export/network.h"

/* What a test needs of one model. */
struct model {
    struct sl_config *config;
    struct sl_layout *layout;
    float *params;
};

static struct sl_error err;

static int set_up(void **state)
{
    struct model *model = sl_alloc(1, sizeof(*model));
    assert_non_null(model);
    model->config = make_config(0.1F);
    assert_int_equal(sl_layout_create(&model->layout, model->config, SL_BLOCK_FLOATS, &err), SL_OK);
    model->params = sl_alloc_aligned(model->layout->count, sizeof(float));
    assert_non_null(model->params);
    sl_layout_initialise(model->layout, 3, model->params);
    *state = model;
    return 0;
}

static int tear_down(void **state)
{
    struct model *model = *state;
    sl_free(model->params);
    sl_layout_destroy(model->layout);
    sl_config_destroy(model->config);
    sl_free(model);
    return 0;
}

static Shelflife__Onnx__GraphProto *build(struct dp_graph **ret_graph, const struct model *model, int opset)
{
    Shelflife__Onnx__GraphProto *proto = NULL;
    assert_int_equal(
            dp_network_build(ret_graph, model->config, model->layout, model->params, opset, &err), SL_OK);
    assert_int_equal(dp_graph_finish(*ret_graph, "test", &proto, &err), SL_OK);
    return proto;
}

static const Shelflife__Onnx__TensorProto *find(const Shelflife__Onnx__GraphProto *proto, const char *name)
{
    for (size_t i = 0; i < proto->n_initializer; i++)
        if (strcmp(proto->initializer[i]->name, name) == 0)
            return proto->initializer[i];
    return NULL;
}

static void test_parameters_are_constants(void **state)
{
    const struct model *model = *state;
    SL_AUTO(dp_graph_destroy_auto) struct dp_graph *graph = NULL;
    const Shelflife__Onnx__GraphProto *proto = build(&graph, model, 17);
    for (int p = 0; p < model->layout->param_count; p++) {
        const struct sl_param *param = &model->layout->params[p];
        const Shelflife__Onnx__TensorProto *tensor = find(proto, param->name);
        if (tensor == NULL)
            print_error("%s is not in the graph\n", param->name);
        assert_non_null(tensor);
        assert_int_equal(tensor->n_dims, param->rank);
        for (int i = 0; i < param->rank; i++)
            assert_int_equal(tensor->dims[i], param->shape[i]);
        assert_int_equal(tensor->raw_data.len, param->count * sizeof(float));
        assert_ptr_equal(tensor->raw_data.data, model->params + param->offset);
    }
}

/* Whether a name is a constant, an input, or made by one of the first `nodes` nodes. */
static bool known(const Shelflife__Onnx__GraphProto *proto, size_t nodes, const char *name)
{
    for (size_t i = 0; i < proto->n_input; i++)
        if (strcmp(proto->input[i]->name, name) == 0)
            return true;
    for (size_t n = 0; n < nodes; n++)
        if (strcmp(proto->node[n]->output[0], name) == 0)
            return true;
    return find(proto, name) != NULL;
}

static bool used(const Shelflife__Onnx__GraphProto *proto, const char *name)
{
    for (size_t i = 0; i < proto->n_output; i++)
        if (strcmp(proto->output[i]->name, name) == 0)
            return true;
    for (size_t n = 0; n < proto->n_node; n++)
        for (size_t i = 0; i < proto->node[n]->n_input; i++)
            if (strcmp(proto->node[n]->input[i], name) == 0)
                return true;
    return false;
}

static void test_every_value_is_made_once_and_used(void **state)
{
    for (int opset = DP_OPSET_MIN; opset <= DP_OPSET_MAX; opset++) {
        SL_AUTO(dp_graph_destroy_auto) struct dp_graph *graph = NULL;
        const Shelflife__Onnx__GraphProto *proto = build(&graph, *state, opset);
        bool fused_norm = false;
        for (size_t n = 0; n < proto->n_node; n++) {
            const Shelflife__Onnx__NodeProto *node = proto->node[n];
            assert_false(known(proto, n, node->output[0]));
            assert_true(used(proto, node->output[0]));
            fused_norm = fused_norm || strcmp(node->op_type, "LayerNormalization") == 0;
            for (size_t i = 0; i < node->n_input; i++) {
                if (!known(proto, n, node->input[i]))
                    print_error("%s reads %s before it is made\n", node->name, node->input[i]);
                assert_true(known(proto, n, node->input[i]));
            }
        }
        for (size_t i = 0; i < proto->n_initializer; i++)
            assert_true(used(proto, proto->initializer[i]->name));
        assert_int_equal(fused_norm, opset >= 17);
    }
}

static void check_end(
        const Shelflife__Onnx__ValueInfoProto *end, const char *name, int type, const char *shape)
{
    char text[256] = "";
    const Shelflife__Onnx__TensorShapeProto *found = end->type->tensor_type->shape;
    for (size_t i = 0; i < found->n_dim; i++) {
        const Shelflife__Onnx__TensorShapeProto__Dimension *d = found->dim[i];
        size_t at = strlen(text);
        if (d->value_case == SHELFLIFE__ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            (void)snprintf(text + at, sizeof(text) - at, "%s ", d->dim_param);
        else
            (void)snprintf(text + at, sizeof(text) - at, "%d ", (int)d->dim_value);
    }
    assert_string_equal(end->name, name);
    assert_int_equal(end->type->tensor_type->elem_type, type);
    assert_string_equal(text, shape);
}

static void test_inputs_and_outputs(void **state)
{
    enum {
        F32 = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
        U8 = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__UINT8,
        I64 = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
        BOOL = SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__BOOL
    };
    static const char *const branches[] = {"visual", "text", "audio", "fused"};
    SL_AUTO(dp_graph_destroy_auto) struct dp_graph *graph = NULL;
    const Shelflife__Onnx__GraphProto *proto = build(&graph, *state, 17);
    assert_int_equal(proto->n_input, 6);
    check_end(proto->input[0], "visual", U8, "batch visual_frames 8 8 3 ");
    check_end(proto->input[1], "visual.mask", BOOL, "batch visual_frames ");
    check_end(proto->input[2], "text", I64, "batch text_tokens ");
    check_end(proto->input[3], "text.mask", BOOL, "batch text_tokens ");
    check_end(proto->input[4], "audio", F32, "batch audio_rows 5 ");
    check_end(proto->input[5], "audio.mask", BOOL, "batch audio_rows ");
    assert_int_equal(proto->n_output, 8);
    for (size_t b = 0; b < 4; b++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "logits.%s", branches[b]);
        check_end(proto->output[2 * b], name, F32, "batch 4 ");
        (void)snprintf(name, sizeof(name), "probabilities.%s", branches[b]);
        check_end(proto->output[2 * b + 1], name, F32, "batch 4 ");
    }
}

/* A table of one row would be repeated over frames that it has no place for: then the size is fixed. */
static void test_room_for_one_is_a_fixed_size(void **state)
{
    struct model *model = *state, one = {.config = model->config, .params = model->params};
    model->config->modalities[VISUAL].frames = 1;
    assert_int_equal(sl_layout_create(&one.layout, one.config, SL_BLOCK_FLOATS, &err), SL_OK);
    SL_AUTO(dp_graph_destroy_auto) struct dp_graph *graph = NULL;
    const Shelflife__Onnx__GraphProto *proto = build(&graph, &one, 17);
    check_end(proto->input[1], "visual.mask", SHELFLIFE__ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, "batch 1 ");
    sl_layout_destroy(one.layout);
    model->config->modalities[VISUAL].frames = FRAMES;
}

/* Whichever allocation fails, the end says so. */
static void test_out_of_memory(void **state)
{
    const struct model *model = *state;
    enum sl_status status = SL_NO_MEMORY;
    for (uint64_t n = 1; status != SL_OK; n += n < 40 ? 1 : 97) {
        struct dp_graph *graph = NULL;
        Shelflife__Onnx__GraphProto *proto = NULL;
        sl_memory_fail_after(n);
        status = dp_network_build(&graph, model->config, model->layout, model->params, 13, &err);
        if (status == SL_OK)
            status = dp_graph_finish(graph, "test", &proto, &err);
        sl_memory_fail_after(0);
        assert_true(status == SL_OK || status == SL_NO_MEMORY);
        dp_graph_destroy(graph);
        assert_true(n < 100000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_parameters_are_constants),
            cmocka_unit_test(test_every_value_is_made_once_and_used),
            cmocka_unit_test(test_inputs_and_outputs),
            cmocka_unit_test(test_room_for_one_is_a_fixed_size),
            cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
