/* Pretrained encoders: checkpoints are written here in every form of names, read, and compared number by number; every way
 * in which a file and a config do not fit gives its line. */
#include "common/file.h"
#include "common/safetensors.h"
#include "ps/archive.h"
#include "ps/bicubic.h"
#include "ps/pretrained.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define TENSORS_MAX 128
#define HIDDEN 12

static struct sl_error err;
static struct sl_config *config; /* visual: vit, text: bert, audio: features */
static struct sl_layout *layout;
static char dir[64];

/* A checkpoint in memory, and its bytes as a file. */
struct checkpoint {
    struct sl_tensor_view tensors[TENSORS_MAX];
    char names[TENSORS_MAX][SL_PARAM_NAME_MAX];
    float *values[TENSORS_MAX];
    int count;
    char *bytes;
    size_t size;
};

static int setup(void **state)
{
    (void)state;
    config = fixture_config();
    struct sl_modality_config *visual = &config->modalities[0], *text = &config->modalities[1],
                              *audio = &config->modalities[2];
    *visual = (struct sl_modality_config){.kind = SL_KIND_VIT,
            .name = "visual",
            .hidden = HIDDEN,
            .layers = 2,
            .heads = 2,
            .mlp = 20,
            .image = 16,
            .patch = 4,
            .frames = 3};
    *text = (struct sl_modality_config){.kind = SL_KIND_BERT,
            .name = "text",
            .hidden = HIDDEN,
            .layers = 2,
            .heads = 2,
            .mlp = 16,
            .vocab_size = 30,
            .max_tokens = 8,
            .max_position = 8};
    *audio = (struct sl_modality_config){
            .kind = SL_KIND_FEATURES, .name = "audio", .hidden = 10, .input = 7, .max_items = 4};
    config->modality_count = 3;
    layout = fixture_layout(config, FIXTURE_BLOCK);
    (void)snprintf(dir, sizeof(dir), "pretrained.XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    sl_layout_destroy(layout);
    sl_free(config);
    return rmdir(dir);
}

/* ---- making checkpoints ---- */

static void add_shape(struct checkpoint *c, const char *name, int rank, const int64_t *shape)
{
    size_t count = 1;
    assert_true(c->count < TENSORS_MAX);
    struct sl_tensor_view *view = &c->tensors[c->count];
    (void)snprintf(c->names[c->count], SL_PARAM_NAME_MAX, "%s", name);
    *view = (struct sl_tensor_view){.name = c->names[c->count], .dtype = SL_DTYPE_F32, .rank = rank};
    for (int i = 0; i < rank; i++) {
        view->shape[i] = shape[i];
        count *= (size_t)shape[i];
    }
    view->data = c->values[c->count] = fixture_vector(count, (uint64_t)c->count + 100, 1.0F);
    c->count++;
}

static struct sl_tensor_view *find(struct checkpoint *c, const char *name, float **ret_values)
{
    for (int i = 0; i < c->count; i++) {
        if (strcmp(c->names[i], name) != 0)
            continue;
        if (ret_values != NULL)
            *ret_values = c->values[i];
        return &c->tensors[i];
    }
    fail_msg("no %s", name);
    return NULL;
}

static void reshape(struct checkpoint *c, const char *name, int rank, const int64_t *shape)
{
    struct sl_tensor_view *view = find(c, name, NULL);
    int at = c->count;
    add_shape(c, "moved", rank, shape);
    int i = (int)(view - c->tensors);
    sl_free(c->values[i]);
    c->values[i] = c->values[at];
    *view = c->tensors[at];
    view->name = c->names[i];
    c->count--;
}

static void drop(struct checkpoint *c, const char *name)
{
    int i = (int)(find(c, name, NULL) - c->tensors);
    c->count--;
    sl_free(c->values[i]);
    c->values[i] = c->values[c->count];
    c->tensors[i] = c->tensors[c->count];
    memmove(c->names[i], c->names[c->count], SL_PARAM_NAME_MAX);
    c->tensors[i].name = c->names[i];
}

static bool ends(const char *name, const char *end)
{
    size_t size = strlen(name), tail = strlen(end);
    return size >= tail && strcmp(name + size - tail, end) == 0;
}

/* The name in a file: `cut` is what it leaves out before, `old` takes gamma and beta. */
static void file_name(char *name, const char *param, const char *cut, bool old)
{
    size_t skip = strncmp(param, cut, strlen(cut)) == 0 ? strlen(cut) : strlen("extractor.audio.");
    (void)snprintf(name, SL_PARAM_NAME_MAX, "%s", param + skip);
    if (old && ends(name, ".LayerNorm.weight"))
        (void)snprintf(name + strlen(name) - strlen("weight"), 8, "gamma");
    if (old && ends(name, ".LayerNorm.bias"))
        (void)snprintf(name + strlen(name) - strlen("bias"), 8, "beta");
}

/* All parameters of a modality's extractor, but for temporal embeddings where names are not ours. */
static struct checkpoint *make(int modality, const char *cut, bool old)
{
    struct checkpoint *c = sl_alloc(1, sizeof(*c));
    assert_non_null(c);
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        char name[SL_PARAM_NAME_MAX];
        if (param->part != SL_PART_EXTRACTOR || param->modality != modality ||
                (cut[0] != 0 && ends(param->name, "temporal_embeddings")))
            continue;
        file_name(name, param->name, cut, old);
        add_shape(c, name, param->rank, param->shape);
    }
    return c;
}

static void destroy(struct checkpoint *c)
{
    for (int i = 0; i < c->count; i++)
        sl_free(c->values[i]);
    sl_free(c->bytes);
    sl_free(c);
}

static enum sl_status append(void *context, const void *bytes, size_t size, struct sl_error *error)
{
    (void)error;
    struct checkpoint *c = context;
    c->bytes = sl_realloc(c->bytes, c->size + size, 1);
    assert_non_null(c->bytes);
    memcpy(c->bytes + c->size, bytes, size);
    c->size += size;
    return SL_OK;
}

static void write_bytes(struct checkpoint *c)
{
    struct sl_sink sink = {append, c};
    sl_free(SL_TAKE(c->bytes));
    c->size = 0;
    if (sl_safetensors_write(&sink, c->tensors, c->count, NULL, 0, &err) != SL_OK)
        fail_msg("%s", err.text);
}

/* ---- reading them ---- */

static float *initial_values(void)
{
    float *params = sl_alloc_aligned(layout->count, sizeof(*params));
    assert_non_null(params);
    sl_layout_initialise(layout, config->seed, params);
    return params;
}

static enum sl_status load(struct checkpoint *c, int modality, float *params, struct ps_pretrained *done)
{
    struct sl_safetensors *file = NULL;
    write_bytes(c);
    if (sl_safetensors_open_memory(&file, c->bytes, c->size, "file", &err) != SL_OK)
        fail_msg("%s", err.text);
    enum sl_status status = ps_pretrained_load(config, modality, layout, file, "file", params, done, &err);
    sl_safetensors_close(file);
    return status;
}

static float *load_good(struct checkpoint *c, int modality, struct ps_pretrained *done)
{
    float *params = initial_values();
    if (load(c, modality, params, done) != SL_OK)
        fail_msg("%s", err.text);
    return params;
}

static void expect_refused(struct checkpoint *c, int modality, enum sl_status status, const char *text)
{
    float *params = initial_values();
    struct ps_pretrained done;
    enum sl_status got = load(c, modality, params, &done);
    if (got != status || strcmp(err.text, text) != 0)
        fail_msg("status %d\n  got      %s\n  expected %s", got, err.text, text);
    sl_free(params);
    destroy(c);
}

static void expect_same(const float *got, const float *wanted, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!(got[i] == wanted[i]))
            fail_msg("%s[%zu]: %.9g, expected %.9g", name, i, (double)got[i], (double)wanted[i]);
}

/* Everything in the flat vector: the modality's from the checkpoint where it has the name, else as it began. */
static void expect_values(struct checkpoint *c, int modality, const float *params, const char *cut, bool old)
{
    float *initial = initial_values();
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        const float *wanted = initial + param->offset;
        char name[SL_PARAM_NAME_MAX];
        if (param->part == SL_PART_EXTRACTOR && param->modality == modality) {
            file_name(name, param->name, cut, old);
            for (int i = 0; i < c->count; i++)
                if (strcmp(c->names[i], name) == 0)
                    wanted = c->values[i];
        }
        expect_same(params + param->offset, wanted, param->count, param->name);
    }
    sl_free(initial);
}

/* ---- what loads ---- */

static void test_every_form_of_names(void **state)
{
    (void)state;
    static const struct {
        int modality;
        const char *cut;
        bool old;
        int initial;
    } forms[] = {
            {0, "", false, 0},
            {0, "extractor.visual.", false, 1},
            {0, "extractor.visual.vit.", false, 1},
            {1, "", false, 0},
            {1, "extractor.text.", false, 0},
            {1, "extractor.text.bert.", false, 0},
            {1, "extractor.text.bert.", true, 0},
            {1, "extractor.text.", true, 0},
            {2, "", false, 0},
            {2, "extractor.audio.", false, 0},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct ps_pretrained done;
        struct checkpoint *c = make(forms[i].modality, forms[i].cut, forms[i].old);
        float *params = load_good(c, forms[i].modality, &done);
        expect_values(c, forms[i].modality, params, forms[i].cut, forms[i].old);
        assert_int_equal(done.tensors, c->count);
        assert_int_equal(done.own, forms[i].cut[0] == 0);
        assert_int_equal(done.initial.count, forms[i].initial);
        assert_int_equal(done.ignored.count + done.surplus.count, 0);
        if (forms[i].initial > 0)
            assert_string_equal(done.initial.text, "extractor.visual.temporal_embeddings");
        sl_free(params);
        destroy(c);
    }
}

static void test_other_parts_are_named(void **state)
{
    (void)state;
    static const int64_t shape[] = {3, 2};
    static const char *const vit[] = {
            "vit.pooler.dense.weight", "classifier.weight", "vit.embeddings.mask_token"};
    struct ps_pretrained done;
    struct checkpoint *c = make(0, "extractor.visual.", false);
    for (int i = 0; i < 3; i++)
        add_shape(c, vit[i], 2, shape);
    add_shape(c, "vit.novel.weight", 2, shape);
    add_shape(c, "broken\nname", 2, shape);
    float *params = load_good(c, 0, &done);
    expect_values(c, 0, params, "extractor.visual.", false);
    assert_int_equal(done.ignored.count, 3);
    assert_string_equal(
            done.ignored.text, "vit.pooler.dense.weight, classifier.weight, vit.embeddings.mask_token");
    assert_int_equal(done.surplus.count, 2);
    assert_string_equal(done.surplus.text, "vit.novel.weight, (a name that cannot be printed)");
    sl_free(params);
    destroy(c);

    /* an integer table, as BERT files have it, and more heads than a line holds */
    c = make(1, "extractor.text.bert.", true);
    static int64_t ids[8];
    add_shape(c, "embeddings.position_ids", 1, (const int64_t[]){8});
    c->tensors[c->count - 1].dtype = SL_DTYPE_I64;
    c->tensors[c->count - 1].data = ids;
    for (int i = 0; i < 30; i++) {
        char name[SL_PARAM_NAME_MAX];
        (void)snprintf(name, sizeof(name), "cls.predictions.transform.%d.weight", i);
        add_shape(c, name, 2, shape);
    }
    params = load_good(c, 1, &done);
    expect_values(c, 1, params, "extractor.text.bert.", true);
    assert_int_equal(done.ignored.count, 31);
    assert_non_null(
            strstr(done.ignored.text, "embeddings.position_ids, cls.predictions.transform.0.weight, "));
    assert_non_null(strstr(done.ignored.text, ".weight and 18 more"));
    sl_free(params);
    destroy(c);
}

/* A whole snapshot serves as a checkpoint of each of its modalities. */
static void test_a_snapshot(void **state)
{
    (void)state;
    struct checkpoint *c = sl_alloc(1, sizeof(*c));
    assert_non_null(c);
    int extractor = 0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        bool wanted = param->part == SL_PART_EXTRACTOR && param->modality == 1;
        extractor += wanted ? 1 : 0;
        if (wanted || param->part == SL_PART_HEAD)
            add_shape(c, param->name, param->rank, param->shape);
    }
    struct ps_pretrained done;
    float *params = load_good(c, 1, &done);
    assert_int_equal(done.tensors, extractor);
    assert_int_equal(done.ignored.count, 6);
    assert_non_null(strstr(done.ignored.text, "head.visual.weight"));
    assert_int_equal(done.surplus.count, 0);
    sl_free(params);
    destroy(c);
}

static void test_floating_types(void **state)
{
    (void)state;
    static const char name[] = "encoder.layer.1.output.dense.bias";
    static const uint16_t half[HIDDEN] = {0x3C00, 0xC000, 0x3555, 0x0001, 0x7BFF},
                          brain[HIDDEN] = {0x3F80, 0xC000, 0x3EAB};
    static const double wide[HIDDEN] = {1.0, -2.0, 0.1};
    static const struct {
        enum sl_dtype dtype;
        const void *data;
        float wanted[5];
    } types[] = {{SL_DTYPE_F16, half, {1.0F, -2.0F, 0.333251953125F, 5.9604644775390625e-08F, 65504.0F}},
            {SL_DTYPE_BF16, brain, {1.0F, -2.0F, 0.333984375F}}, {SL_DTYPE_F64, wide, {1.0F, -2.0F, 0.1F}}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct checkpoint *c = make(1, "extractor.text.bert.", false);
        struct sl_tensor_view *view = find(c, name, NULL);
        view->dtype = types[i].dtype;
        view->data = types[i].data;
        float *params = load_good(c, 1, NULL);
        expect_same(
                params + sl_layout_offset(layout, "extractor.text.bert.%s", name), types[i].wanted, 5, name);
        sl_free(params);
        destroy(c);
    }
}

static void test_positions_of_another_image(void **state)
{
    (void)state;
    static const char name[] = "vit.embeddings.position_embeddings";
    size_t place = sl_layout_offset(layout, "extractor.visual.%s", name);
    for (int side = 1; side <= 7; side += 2) { /* the config's is 4 */
        struct ps_pretrained done;
        struct checkpoint *c = make(0, "extractor.visual.", false);
        float *values = NULL, wanted[16 * HIDDEN];
        reshape(c, name, 3, (const int64_t[]){1, side * side + 1, HIDDEN});
        (void)find(c, name, &values);
        float *params = load_good(c, 0, &done);
        assert_int_equal(done.from_side, side);
        assert_int_equal(done.to_side, 4);
        expect_same(params + place, values, HIDDEN, "[CLS]");
        ps_bicubic_resize(wanted, 4, values + HIDDEN, side, HIDDEN);
        expect_same(params + place + HIDDEN, wanted, (size_t)16 * HIDDEN, name);
        sl_free(params);
        destroy(c);
    }
}

static void test_tables_of_another_length(void **state)
{
    (void)state;
    struct ps_pretrained done;
    struct checkpoint *c = make(1, "extractor.text.", false);
    float *values = NULL, *initial = initial_values();
    reshape(c, "bert.embeddings.position_embeddings.weight", 2, (const int64_t[]){512, HIDDEN});
    (void)find(c, "bert.embeddings.position_embeddings.weight", &values);
    float *params = load_good(c, 1, &done);
    expect_same(
            params + sl_layout_offset(layout, "extractor.text.bert.embeddings.position_embeddings.weight"),
            values, (size_t)8 * HIDDEN, "positions");
    assert_int_equal(done.rows, 8);
    assert_int_equal(done.rows_of, 512);
    assert_int_equal(done.initial.count, 0);
    sl_free(params);
    destroy(c);

    /* more frames than before: the known rows are taken */
    c = make(0, "", false);
    reshape(c, "extractor.visual.temporal_embeddings", 2, (const int64_t[]){2, HIDDEN});
    (void)find(c, "extractor.visual.temporal_embeddings", &values);
    params = load_good(c, 0, &done);
    size_t place = sl_layout_offset(layout, "extractor.visual.temporal_embeddings");
    expect_same(params + place, values, (size_t)2 * HIDDEN, "temporal");
    expect_same(params + place + (size_t)2 * HIDDEN, initial + place + (size_t)2 * HIDDEN, HIDDEN,
            "temporal, the rest");
    assert_int_equal(done.rows, 2);
    assert_int_equal(done.initial.count, 1);
    sl_free(params);
    sl_free(initial);
    destroy(c);
}

/* ---- what does not ---- */

static void test_missing_tensors(void **state)
{
    (void)state;
    struct checkpoint *c = make(0, "extractor.visual.", false);
    drop(c, "vit.layernorm.weight");
    drop(c, "vit.encoder.layer.1.attention.attention.key.bias");
    expect_refused(c, 0, SL_USAGE,
            "file: lacks 2 of the encoder\'s tensors: vit.encoder.layer.1.attention.attention.key.bias, "
            "vit.layernorm.weight: the file is not whole, or of another model");
    c = make(1, "extractor.text.", false);
    drop(c, "bert.embeddings.word_embeddings.weight");
    expect_refused(c, 1, SL_USAGE,
            "file: lacks 1 of the encoder\'s tensors: bert.embeddings.word_embeddings.weight: the file is "
            "not whole, or of another model");
}

static void test_another_size(void **state)
{
    (void)state;
    struct checkpoint *c = make(0, "extractor.visual.", false);
    for (int i = 0; i < 2; i++)
        add_shape(c,
                i == 0 ? "vit.encoder.layer.2.output.dense.bias" : "vit.encoder.layer.3.output.dense.bias", 1,
                (const int64_t[]){HIDDEN});
    expect_refused(c, 0, SL_USAGE,
            "file: layers is 4 in the file and 2 in the config: give modalities.visual the file's values, or "
            "choose another file");

    c = make(0, "extractor.visual.vit.", false);
    reshape(c, "embeddings.cls_token", 3, (const int64_t[]){1, 1, 768});
    reshape(c, "embeddings.patch_embeddings.projection.weight", 4, (const int64_t[]){HIDDEN, 3, 16, 16});
    expect_refused(c, 0, SL_USAGE,
            "file: hidden is 768 in the file and 12 in the config, patch is 16 in the file and 4 in the "
            "config: give "
            "modalities.visual the file's values, or choose another file");

    c = make(1, "extractor.text.bert.", true);
    reshape(c, "embeddings.word_embeddings.weight", 2, (const int64_t[]){31, HIDDEN});
    reshape(c, "embeddings.position_embeddings.weight", 2, (const int64_t[]){5, HIDDEN});
    expect_refused(c, 1, SL_USAGE,
            "file: vocab_size is 31 in the file and 30 in the config, max_position is 5 in the file and 8 in "
            "the config: "
            "give modalities.text the file's values, or choose another file; the vocabulary must be the one "
            "that belongs "
            "to the checkpoint");

    c = make(2, "", false);
    reshape(c, "extractor.audio.fc1.weight", 2, (const int64_t[]){10, 8});
    expect_refused(c, 2, SL_USAGE,
            "file: in is 8 in the file and 7 in the config: give modalities.audio the file's values, or "
            "choose another file");
}

static void test_another_shape(void **state)
{
    (void)state;
    struct checkpoint *c = make(0, "extractor.visual.", false);
    reshape(c, "vit.embeddings.position_embeddings", 3, (const int64_t[]){1, 12, HIDDEN});
    reshape(c, "vit.layernorm.bias", 2, (const int64_t[]){1, HIDDEN});
    expect_refused(c, 0, SL_USAGE,
            "file: has other shapes than modalities.visual gives (2): "
            "vit.embeddings.position_embeddings is "
            "[1, 12, 12] instead of [1, 17, 12], vit.layernorm.bias is [1, 12] instead of [12]");
    c = make(1, "extractor.text.", false);
    reshape(c, "bert.embeddings.token_type_embeddings.weight", 2, (const int64_t[]){1, HIDDEN});
    expect_refused(c, 1, SL_USAGE,
            "file: has other shapes than modalities.text gives (1): "
            "bert.embeddings.token_type_embeddings.weight is [1, 12] instead of [2, 12]");
}

static void test_another_model(void **state)
{
    (void)state;
    struct checkpoint *c = sl_alloc(1, sizeof(*c));
    assert_non_null(c);
    static const char *const names[] = {
            "conv1.weight", "conv1.bias", "fire2.weight", "a\x01", "conv10.weight"};
    for (int i = 0; i < 5; i++)
        add_shape(c, names[i], 1, (const int64_t[]){3});
    expect_refused(c, 0, SL_USAGE,
            "file: none of its 5 tensors (conv1.weight, conv1.bias, fire2.weight, (a name that cannot be "
            "printed), …) "
            "belongs to an encoder of kind vit; expected names such as vit.embeddings.cls_token, with or "
            "without "
            "\"vit.\" before them: choose a checkpoint of that kind");
    c = sl_alloc(1, sizeof(*c));
    assert_non_null(c);
    expect_refused(c, 1, SL_USAGE,
            "file: none of its 0 tensors () belongs to an encoder of kind bert; expected names such as "
            "bert.embeddings.word_embeddings.weight, with or without \"bert.\" before them: choose a "
            "checkpoint of that kind");
}

static void test_values_that_are_no_weights(void **state)
{
    (void)state;
    float *values = NULL;
    struct checkpoint *c = make(1, "extractor.text.", false);
    (void)find(c, "bert.encoder.layer.1.output.dense.weight", &values);
    values[5] = NAN;
    values[9] = -INFINITY;
    expect_refused(c, 1, SL_BAD_DATA,
            "file: 2 numbers of bert.encoder.layer.1.output.dense.weight are not finite, the first at place "
            "5: the file is "
            "damaged or comes from a run that diverged");
    c = make(0, "extractor.visual.", false);
    reshape(c, "vit.embeddings.position_embeddings", 3, (const int64_t[]){1, 5, HIDDEN});
    (void)find(c, "vit.embeddings.position_embeddings", &values);
    values[5 * HIDDEN - 1] = NAN;
    expect_refused(c, 0, SL_BAD_DATA,
            "file: 1 numbers of vit.embeddings.position_embeddings are not finite, the first at place 59: "
            "the file is "
            "damaged or comes from a run that diverged");
    /* a double beyond float's range is as bad; a table of integers is none of weights */
    static double wide[HIDDEN] = {[3] = 1e300};
    c = make(0, "extractor.visual.", false);
    find(c, "vit.layernorm.bias", NULL)->dtype = SL_DTYPE_F64;
    find(c, "vit.layernorm.bias", NULL)->data = wide;
    expect_refused(c, 0, SL_BAD_DATA,
            "file: 1 numbers of vit.layernorm.bias are not finite, the first at place 3: the file is damaged "
            "or comes from "
            "a run that diverged");
    c = make(0, "extractor.visual.", false);
    find(c, "vit.layernorm.bias", NULL)->dtype = SL_DTYPE_I32;
    float *params = initial_values();
    assert_int_equal(load(c, 0, params, NULL), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "vit.layernorm.bias"));
    sl_free(params);
    destroy(c);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct checkpoint *c = make(0, "extractor.visual.", false);
    struct sl_safetensors *file = NULL;
    float *params = initial_values();
    reshape(c, "vit.embeddings.position_embeddings", 3, (const int64_t[]){1, 5, HIDDEN});
    write_bytes(c);
    assert_int_equal(sl_safetensors_open_memory(&file, c->bytes, c->size, "file", &err), SL_OK);
    for (uint64_t n = 1;; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = ps_pretrained_load(config, 0, layout, file, "file", params, NULL, &err);
        sl_memory_fail_after(0);
        if (status == SL_OK)
            break;
        assert_int_equal(status, SL_NO_MEMORY);
        assert_true(n < 100);
    }
    sl_safetensors_close(file);
    sl_free(params);
    destroy(c);
}

/* ---- files, and a run that begins from them ---- */

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void expect_apply(enum sl_status status, const char *part)
{
    float *params = initial_values();
    enum sl_status got = ps_pretrained_apply(config, layout, params, &err);
    if (got != status || strstr(err.text, part) == NULL)
        fail_msg("status %d\n  got      %s\n  expected %s", got, err.text, part);
    sl_free(params);
}

static void test_files(void **state)
{
    (void)state;
    static const char pickle[] = "PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl",
                      bare[] = "\x80\x02}q\x00(X\x05";
    char *path = config->modalities[1].init;
    (void)snprintf(path, SL_PATH_MAX, "%s/bert.safetensors", dir);
    expect_apply(SL_USAGE, "modalities.text.init: there is no file pretrained.");
    write_file(path, pickle, sizeof(pickle));
    expect_apply(SL_BAD_DATA, "modalities.text.init: pretrained.");
    assert_non_null(strstr(err.text, "PyTorch"));
    write_file(path, bare, sizeof(bare));
    expect_apply(SL_BAD_DATA, "modalities.text.init: pretrained.");
    struct checkpoint *c = make(1, "extractor.text.", false);
    write_bytes(c);
    for (size_t cut = 1; cut < 1000; cut *= 3) {
        write_file(path, c->bytes, c->size - cut);
        expect_apply(SL_BAD_DATA, "modalities.text.init: pretrained.");
    }
    write_file(path, c->bytes, c->size);
    err.text[0] = 0;
    expect_apply(SL_OK, "");
    assert_int_equal(unlink(path), 0);
    path[0] = 0;
    destroy(c);
}

/* The real checkpoints at hand are of other models: each is refused with what it holds. */
static void test_foreign_files(void **state)
{
    (void)state;
    static const char *const names[] = {"squeezenet_v1.0_imagenet", "burn_mnist", "burn_multi_layer"};
    const char *shared = getenv("SHELFLIFE_SHARED");
    char *path = config->modalities[0].init;
    bool any = false;
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, SL_PATH_MAX, "%s/data/checkpoints/%s.safetensors", shared == NULL ? "" : shared,
                names[i]);
        if (access(path, R_OK) != 0)
            continue;
        any = true;
        expect_apply(SL_USAGE, "belongs to an encoder of kind vit");
        print_message("%s\n", err.text);
    }
    path[0] = 0;
    if (!any) {
        print_message("skipped: no shared checkpoints\n");
        skip();
    }
}

static void save(struct ps_archive *archive, const struct sl_layout *places, const struct ps_table *table,
        const struct ps_training *training)
{
    struct ps_written written;
    assert_int_equal(ps_archive_begin(archive, training, false, &err), SL_OK);
    for (int b = 0; b < places->block_count; b++) {
        struct ps_block_state state = ps_table_capture(table, b);
        struct sl_frame params = {state.params, state.params->data, state.params->size},
                        m = {state.m, state.m->data, state.m->size},
                        v = {state.v, state.v->data, state.v->size};
        assert_int_equal(ps_archive_put(archive, b, &params, &m, &v, &err), SL_OK);
        ps_block_state_fini(&state);
    }
    assert_int_equal(ps_archive_write(archive, &err), SL_OK);
    struct pollfd wait = {.fd = ps_archive_fd(archive), .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 60000), 1);
    assert_int_equal(ps_archive_take(archive, &written), SL_OK);
    if (written.status != SL_OK)
        fail_msg("%s", written.error.text);
}

/* One start of a server: what ps_archive_restore gives, and the values that the table then has. */
static enum sl_status start(const struct sl_config *run, const struct sl_layout *places, const char *resume,
        float *values, bool snapshot)
{
    struct ps_optimiser optimiser = ps_optimiser_from_config(run);
    struct ps_archive *archive = NULL;
    struct ps_table *table = NULL;
    struct ps_training training;
    assert_int_equal(ps_table_create(&table, places, &optimiser, NULL, 0, &err), SL_OK);
    if (ps_archive_open(&archive, run, places, &err) != SL_OK)
        fail_msg("%s", err.text);
    enum sl_status status = ps_archive_restore(archive, resume, &training, &err);
    for (int b = 0; status == SL_OK && b < places->block_count; b++) {
        struct sl_buffer *params = ps_archive_block(archive, b)->params;
        struct sl_frame frame = {params, params->data, params->size};
        assert_int_equal(ps_table_put(table, b, &frame, NULL, NULL, training.step, &err), SL_OK);
    }
    if (status == SL_OK)
        ps_table_copy(table, values, NULL, NULL);
    if (snapshot)
        save(archive, places, table, &training);
    ps_archive_close(archive);
    ps_table_destroy(table);
    return status;
}

static int remove_entry(const char *path)
{
    char *command = sl_strdup_printf("rm -rf '%s'", path);
    int result = system(command);
    sl_free(command);
    return result;
}

static void test_a_run_needs_the_file_once(void **state)
{
    (void)state;
    struct sl_config *run = fixture_config(); /* features alone */
    struct sl_layout *places = fixture_layout(run, FIXTURE_BLOCK);
    struct checkpoint *c = sl_alloc(1, sizeof(*c));
    float *values = sl_alloc(places->count, sizeof(*values)),
          *again = sl_alloc(places->count, sizeof(*again));
    assert_true(c != NULL && values != NULL && again != NULL);
    (void)snprintf(run->snapshots.dir, SL_PATH_MAX, "%s/run", dir);
    run->snapshots.keep = 3;
    (void)snprintf(run->modalities[0].init, SL_PATH_MAX, "%s/features.safetensors", dir);
    assert_int_equal(start(run, places, "auto", values, false), SL_USAGE);
    assert_non_null(strstr(err.text, "modalities.visual.init: there is no file pretrained."));

    for (int p = 0; p < places->param_count; p++)
        if (places->params[p].part == SL_PART_EXTRACTOR && places->params[p].modality == 0)
            add_shape(c, places->params[p].name, places->params[p].rank, places->params[p].shape);
    write_bytes(c);
    write_file(run->modalities[0].init, c->bytes, c->size);
    if (start(run, places, "auto", values, true) != SL_OK)
        fail_msg("%s", err.text);
    expect_same(values + sl_layout_offset(places, "%s", c->names[0]), c->values[0], 20, c->names[0]);
    assert_int_equal(unlink(run->modalities[0].init), 0);
    if (start(run, places, "auto", again, false) != SL_OK)
        fail_msg("%s", err.text);
    expect_same(again, values, places->count, "resumed");
    assert_int_equal(remove_entry(run->snapshots.dir), 0);
    destroy(c);
    sl_free(values);
    sl_free(again);
    sl_layout_destroy(places);
    sl_free(run);
}

/* ---- learning rates by pattern ---- */

static void test_scaled_rates(void **state)
{
    (void)state;
    struct sl_modality_config *visual = &config->modalities[0];
    visual->lr_scale[0] = (struct sl_lr_scale){"vit.*", 0.5F};
    visual->lr_scale[1] = (struct sl_lr_scale){"vit.encoder.layer.1.*", 0.25F};
    visual->lr_scale[2] = (struct sl_lr_scale){"extractor.visual.vit.layernorm.*", 2.0F};
    visual->lr_scale_count = 3;
    struct sl_layout *scaled = fixture_layout(config, FIXTURE_BLOCK);
    for (int p = 0; p < scaled->param_count; p++) {
        const char *name = scaled->params[p].name;
        float wanted = strncmp(name, "extractor.visual.vit.", 21) != 0       ? 1.0F
                       : strstr(name, "visual.vit.encoder.layer.1.") != NULL ? 0.25F
                       : strstr(name, "visual.vit.layernorm.") != NULL       ? 2.0F
                                                                             : 0.5F;
        if (!(scaled->params[p].lr_scale == wanted))
            fail_msg("%s: %g, expected %g", name, (double)scaled->params[p].lr_scale, (double)wanted);
    }
    sl_layout_destroy(scaled);
    struct sl_layout *none = NULL;
    visual->lr_scale[1] = (struct sl_lr_scale){"vit.encoder.layer.9.*", 0.25F};
    assert_int_equal(sl_layout_create(&none, config, FIXTURE_BLOCK, &err), SL_USAGE);
    assert_string_equal(err.text,
            "modalities.visual.lr_scale: no parameter matches \"vit.encoder.layer.9.*\"; patterns "
            "are those of fnmatch, such as \"vit.encoder.layer.[0-3].*\"");
    visual->lr_scale_count = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_every_form_of_names),
            cmocka_unit_test(test_other_parts_are_named),
            cmocka_unit_test(test_a_snapshot),
            cmocka_unit_test(test_floating_types),
            cmocka_unit_test(test_positions_of_another_image),
            cmocka_unit_test(test_tables_of_another_length),
            cmocka_unit_test(test_missing_tensors),
            cmocka_unit_test(test_another_size),
            cmocka_unit_test(test_another_shape),
            cmocka_unit_test(test_another_model),
            cmocka_unit_test(test_values_that_are_no_weights),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_files),
            cmocka_unit_test(test_foreign_files),
            cmocka_unit_test(test_a_run_needs_the_file_once),
            cmocka_unit_test(test_scaled_rates),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
