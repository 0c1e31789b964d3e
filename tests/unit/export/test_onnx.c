/* An ONNX file read back by protobuf-c: head, metadata, tensors inside and outside. (What a runtime makes of it is tests/e2e/export.sh.) */
#include "tests/unit/model/fixture.h"

#include "common/file.h"
#include "deploy/export/onnx.h"

#include <stdlib.h>

#define FOLDER "test_onnx.d"
#define MAIN FOLDER "/model.onnx"

static struct sl_error err;

static int set_up(void **state)
{
    struct dp_loaded *loaded = sl_alloc(1, sizeof(*loaded));
    assert_non_null(loaded);
    loaded->config = make_config(0.0F);
    static const int64_t durations[] = {3600, 86400, 604800, SL_DURATION_INFINITE};
    for (int k = 0; k < 4; k++) {
        (void)snprintf(loaded->config->labels[k].name, SL_NAME_MAX, "label \"%d\"", k);
        loaded->config->labels[k].duration_s = durations[k];
    }
    assert_int_equal(sl_layout_create(&loaded->layout, loaded->config, SL_BLOCK_FLOATS, &err), SL_OK);
    loaded->params = sl_alloc_aligned(loaded->layout->count, sizeof(float));
    assert_non_null(loaded->params);
    sl_layout_initialise(loaded->layout, 3, loaded->params);
    loaded->step = 1234;
    *state = loaded;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK && sl_file_make_directories(FOLDER, &err) == SL_OK ? 0
                                                                                                         : -1;
}

static int tear_down(void **state)
{
    struct dp_loaded *loaded = *state;
    sl_free(loaded->params);
    sl_layout_destroy(loaded->layout);
    sl_config_destroy(loaded->config);
    sl_free(loaded);
    return sl_file_remove_tree(FOLDER, &err) == SL_OK ? 0 : -1;
}

static void write_model(const struct dp_loaded *loaded, size_t inside_max)
{
    SL_AUTO(dp_files_destroy_auto) struct dp_files *files = NULL;
    SL_AUTO(dp_metadata_fini) struct dp_metadata metadata = {0};
    struct dp_file *file = NULL;
    assert_int_equal(dp_metadata_make(&metadata, loaded, &err), SL_OK);
    assert_int_equal(dp_files_create(&files, MAIN, &err), SL_OK);
    assert_int_equal(dp_files_add(files, "", &file, &err), SL_OK);
    assert_int_equal(dp_onnx_write(files, file, loaded, &metadata, 15, inside_max, &err), SL_OK);
    assert_int_equal(dp_files_commit(files, &err), SL_OK);
}

static Shelflife__Onnx__ModelProto *read_model(size_t *ret_size)
{
    SL_AUTO_FREE char *bytes = NULL;
    assert_int_equal(sl_file_read(&bytes, ret_size, MAIN, 1 << 24, &err), SL_OK);
    Shelflife__Onnx__ModelProto *model =
            shelflife__onnx__model_proto__unpack(NULL, *ret_size, (const uint8_t *)bytes);
    assert_non_null(model);
    return model;
}

static const char *metadata_of(const Shelflife__Onnx__ModelProto *model, const char *key)
{
    for (size_t i = 0; i < model->n_metadata_props; i++)
        if (strcmp(model->metadata_props[i]->key, key) == 0)
            return model->metadata_props[i]->value;
    return "";
}

static void test_inside(void **state)
{
    const struct dp_loaded *loaded = *state;
    size_t size = 0;
    write_model(loaded, DP_ONNX_INSIDE_MAX);
    Shelflife__Onnx__ModelProto *model = read_model(&size);
    assert_int_equal(model->ir_version, 8);
    assert_int_equal(model->n_opset_import, 1);
    assert_int_equal(model->opset_import[0]->version, 15);
    assert_string_equal(metadata_of(model, "step"), "1234");
    assert_string_equal(metadata_of(model, "durations_s"), "[3600,86400,604800,null]");
    assert_string_equal(metadata_of(model, "labels"),
            "[\"label \\\"0\\\"\",\"label \\\"1\\\"\",\"label \\\"2\\\"\",\"label \\\"3\\\"\"]");
    assert_non_null(strstr(metadata_of(model, "config"), "modalities"));
    const Shelflife__Onnx__GraphProto *graph = model->graph;
    for (size_t i = 0; i < graph->n_initializer; i++) {
        const Shelflife__Onnx__TensorProto *tensor = graph->initializer[i];
        int p = sl_layout_find(loaded->layout, tensor->name);
        if (p < 0)
            continue;
        const struct sl_param *param = &loaded->layout->params[p];
        assert_int_equal(tensor->raw_data.len, param->count * sizeof(float));
        assert_memory_equal(tensor->raw_data.data, loaded->params + param->offset, tensor->raw_data.len);
    }
    shelflife__onnx__model_proto__free_unpacked(model, NULL);
}

/* A tensor outside says where: file, offset, length, in this order as we write them. */
static void check_outside(const struct sl_layout *layout, const float *params,
        const Shelflife__Onnx__TensorProto *tensor, const char *data, size_t data_size)
{
    int p = sl_layout_find(layout, tensor->name);
    assert_true(p >= 0);
    assert_false(tensor->has_raw_data);
    assert_int_equal(tensor->n_external_data, 3);
    assert_string_equal(tensor->external_data[0]->key, "location");
    assert_string_equal(tensor->external_data[0]->value, "model.onnx.data");
    size_t offset = strtoull(tensor->external_data[1]->value, NULL, 10),
           length = strtoull(tensor->external_data[2]->value, NULL, 10);
    assert_int_equal(offset % 4096, 0);
    assert_int_equal(length, layout->params[p].count * sizeof(float));
    assert_true(offset + length <= data_size);
    assert_memory_equal(data + offset, params + layout->params[p].offset, length);
}

static void test_outside(void **state)
{
    const struct dp_loaded *loaded = *state;
    SL_AUTO_FREE char *data = NULL;
    size_t inside = 0, size = 0, data_size = 0, outside = 0;
    write_model(loaded, DP_ONNX_INSIDE_MAX);
    shelflife__onnx__model_proto__free_unpacked(read_model(&inside), NULL);
    write_model(loaded, 0);
    Shelflife__Onnx__ModelProto *model = read_model(&size);
    assert_true(size < inside);
    assert_int_equal(sl_file_read(&data, &data_size, MAIN ".data", 1 << 24, &err), SL_OK);
    for (size_t i = 0; i < model->graph->n_initializer; i++) {
        const Shelflife__Onnx__TensorProto *tensor = model->graph->initializer[i];
        if (tensor->data_location != SHELFLIFE__ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
            continue;
        check_outside(loaded->layout, loaded->params, tensor, data, data_size);
        outside++;
    }
    assert_true(outside > 10);
    shelflife__onnx__model_proto__free_unpacked(model, NULL);
}

/* Past the limit of a message, which is 2 GiB but for this test, tensors go outside by themselves. */
static void test_outside_past_the_limit(void **state)
{
    const struct dp_loaded *loaded = *state;
    size_t inside = 0, size = 0;
    write_model(loaded, DP_ONNX_INSIDE_MAX);
    shelflife__onnx__model_proto__free_unpacked(read_model(&inside), NULL);
    assert_true(sl_file_size(MAIN ".data") < 0);
    write_model(loaded, inside + 65536);
    assert_true(sl_file_size(MAIN ".data") < 0);
    write_model(loaded, inside - 1);
    shelflife__onnx__model_proto__free_unpacked(read_model(&size), NULL);
    assert_true(size < inside && sl_file_size(MAIN ".data") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_inside, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_outside, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_outside_past_the_limit, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
