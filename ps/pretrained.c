/* Pretrained encoders: see pretrained.h. First every parameter finds its tensor and the two are compared, then
 * values are read. */
#include "ps/pretrained.h"

#include "common/log.h"
#include "common/memory.h"
#include "common/utf8.h"
#include "ps/bicubic.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_MAX (SL_NAME_MAX + 16)
#define SHAPE_TEXT_MAX 128
#define SHOWN_NAME_MAX 120 /* bytes of a name in a list */
#define LAYERS_MAX 100000  /* of a file: no more are counted */
#define HEAD_FEATURES 64   /* per head, in nearly every checkpoint there is */

enum form { FORM_OURS, FORM_PLAIN, FORM_BARE, FORMS };

/* How a tensor becomes a parameter. */
enum fit { FIT_NONE, FIT_EXACT, FIT_RESIZED, FIT_ROWS };

struct loader {
    const struct sl_modality_config *modality;
    int m;
    const struct sl_layout *layout;
    const struct sl_safetensors *file;
    const char *path;
    char prefix[PREFIX_MAX]; /* "extractor.NAME." */
    const char *encoder;     /* "vit.", "bert." or "": what bare names leave out */
    enum form form;
    const struct sl_tensor **tensors; /* (layout->param_count,) of each parameter; NULL = none */
    struct sl_error *err;
};

/* ---- lists of names ---- */

/* A list as it grows: what does not fit any more is counted. */
struct list {
    char text[PS_NAMES_TEXT_MAX - 32]; /* leaves room for the count of the rest */
    size_t used;
    int count, shown;
};

__attribute__((format(printf, 2, 3))) static void list_add(struct list *list, const char *format, ...)
{
    char item[SHOWN_NAME_MAX + 3 * SHAPE_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(item, sizeof(item), format, args);
    va_end(args);
    const char *comma = list->count > 0 ? ", " : "";
    size_t size = strlen(comma) + strlen(item);
    list->count++;
    /* once one was left out, so are all after it: the list is the first few, in order */
    if (list->shown != list->count - 1 || list->used + size >= sizeof(list->text))
        return;
    (void)snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s", comma, item);
    list->used += size;
    list->shown++;
}

static struct ps_names list_names(const struct list *list)
{
    struct ps_names names = {.count = list->count};
    char more[32] = "";
    if (list->shown < list->count)
        (void)snprintf(more, sizeof(more), " and %d more", list->count - list->shown);
    (void)snprintf(names.text, sizeof(names.text), "%s%s", list->text, more);
    return names;
}

/* A name from a file can be any text: one that would break a line is not shown. */
static const char *shown(const char *name)
{
    return sl_utf8_is_text(name, strlen(name)) ? name : "(a name that cannot be printed)";
}

static const char *shape_text(char *text, int rank, const int64_t *shape)
{
    size_t used = (size_t)snprintf(text, SHAPE_TEXT_MAX, "[");
    for (int i = 0; i < rank && used < SHAPE_TEXT_MAX; i++)
        used += (size_t)snprintf(
                text + used, SHAPE_TEXT_MAX - used, "%s%" PRId64, i > 0 ? ", " : "", shape[i]);
    if (used < SHAPE_TEXT_MAX)
        (void)snprintf(text + used, SHAPE_TEXT_MAX - used, "]");
    return text;
}

/* ---- names ---- */

static const char *kind_name(enum sl_kind kind)
{
    static const char *const names[] = {
            [SL_KIND_VIT] = "vit", [SL_KIND_BERT] = "bert", [SL_KIND_FEATURES] = "features"};
    return names[kind];
}

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* The parameter's name below the prefix: "vit.layernorm.weight". */
static const char *own_name(const struct loader *l, const struct sl_param *param)
{
    return param->name + strlen(l->prefix);
}

static bool is_extractor(const struct loader *l, const struct sl_param *param)
{
    return param->part == SL_PART_EXTRACTOR && param->modality == l->m;
}

static const struct sl_tensor *find_in_form(const struct loader *l, enum form form, const char *own)
{
    char name[PREFIX_MAX + SL_PARAM_NAME_MAX];
    const char *prefix = form == FORM_OURS ? l->prefix : "";
    const char *rest = form == FORM_BARE && begins(own, l->encoder) ? own + strlen(l->encoder) : own;
    (void)snprintf(name, sizeof(name), "%s%s", prefix, rest);
    const struct sl_tensor *tensor = sl_safetensors_find(l->file, name);
    static const char *const old[][2] = {
            {".LayerNorm.weight", ".LayerNorm.gamma"}, {".LayerNorm.bias", ".LayerNorm.beta"}};
    for (size_t i = 0; tensor == NULL && i < sizeof(old) / sizeof(old[0]); i++) {
        size_t size = strlen(name), end = strlen(old[i][0]);
        if (size < end || strcmp(name + size - end, old[i][0]) != 0)
            continue;
        (void)snprintf(name + size - end, sizeof(name) - (size - end), "%s", old[i][1]);
        tensor = sl_safetensors_find(l->file, name);
    }
    return tensor;
}

/* Finds the tensors of all parameters in the form that has most of them. Returns how many those are. */
static int find_tensors(struct loader *l)
{
    int most = 0;
    for (enum form form = 0; form < FORMS; form++) {
        int found = 0;
        for (int p = 0; p < l->layout->param_count; p++)
            if (is_extractor(l, &l->layout->params[p]))
                found += find_in_form(l, form, own_name(l, &l->layout->params[p])) != NULL ? 1 : 0;
        if (found > most) {
            most = found;
            l->form = form;
        }
    }
    for (int p = 0; most > 0 && p < l->layout->param_count; p++)
        if (is_extractor(l, &l->layout->params[p]))
            l->tensors[p] = find_in_form(l, l->form, own_name(l, &l->layout->params[p]));
    return most;
}

/* The file has not one tensor of such an encoder: probably another model's. */
static enum sl_status fail_foreign(const struct loader *l)
{
    struct list list = {.count = 0};
    for (int i = 0; i < sl_safetensors_count(l->file) && i < 4; i++)
        list_add(&list, "%.*s", SHOWN_NAME_MAX, shown(sl_safetensors_at(l->file, i)->name));
    const char *example = l->modality->kind == SL_KIND_VIT    ? "vit.embeddings.cls_token"
                          : l->modality->kind == SL_KIND_BERT ? "bert.embeddings.word_embeddings.weight"
                                                              : "fc1.weight";
    return sl_fail(l->err, SL_USAGE,
            "%s: none of its %d tensors (%s%s) belongs to an encoder of kind %s; expected names such as %s, "
            "with or "
            "without \"%s\" before them: choose a checkpoint of that kind",
            l->path, sl_safetensors_count(l->file), list.text, sl_safetensors_count(l->file) > 4 ? ", …" : "",
            kind_name(l->modality->kind), example, l->encoder[0] != 0 ? l->encoder : l->prefix);
}

/* ---- what the file holds, as the config says it ---- */

/* A key of the config that the shape of one tensor tells. */
struct fact {
    enum sl_kind kind;
    const char *key, *name; /* of the config; of the parameter, below the prefix */
    int axis;
    size_t offset; /* in struct sl_modality_config */
    bool at_least; /* the file may have more */
};

#define IN_MODALITY(member) offsetof(struct sl_modality_config, member)
static const struct fact facts[] = {
        {SL_KIND_VIT, "hidden", "vit.embeddings.cls_token", 2, IN_MODALITY(hidden), false},
        {SL_KIND_VIT, "mlp", "vit.encoder.layer.0.intermediate.dense.bias", 0, IN_MODALITY(mlp), false},
        {SL_KIND_VIT, "patch", "vit.embeddings.patch_embeddings.projection.weight", 2, IN_MODALITY(patch),
                false},
        {SL_KIND_BERT, "hidden", "bert.embeddings.word_embeddings.weight", 1, IN_MODALITY(hidden), false},
        {SL_KIND_BERT, "mlp", "bert.encoder.layer.0.intermediate.dense.bias", 0, IN_MODALITY(mlp), false},
        {SL_KIND_BERT, "vocab_size", "bert.embeddings.word_embeddings.weight", 0, IN_MODALITY(vocab_size),
                false},
        {SL_KIND_BERT, "max_position", "bert.embeddings.position_embeddings.weight", 0,
                IN_MODALITY(max_position), true},
        {SL_KIND_FEATURES, "hidden", "fc1.weight", 0, IN_MODALITY(hidden), false},
        {SL_KIND_FEATURES, "in", "fc1.weight", 1, IN_MODALITY(input), false},
};

static int count_layers(const struct loader *l)
{
    char start[PREFIX_MAX + 32];
    long layers = 0;
    (void)snprintf(start, sizeof(start), "%s%sencoder.layer.", l->form == FORM_OURS ? l->prefix : "",
            l->form == FORM_BARE ? "" : l->encoder);
    for (int i = 0; i < sl_safetensors_count(l->file); i++) {
        const char *name = sl_safetensors_at(l->file, i)->name, *number = name + strlen(start);
        if (!begins(name, start) || *number < '0' || *number > '9')
            continue;
        long layer = strtol(number, NULL, 10);
        layers = layer >= layers && layer < LAYERS_MAX ? layer + 1 : layers;
    }
    return (int)layers;
}

static void compare(struct list *list, const char *key, int64_t file, int config)
{
    list_add(list, "%s is %" PRId64 " in the file and %d in the config", key, file, config);
}

/* Compares what the config says with what the file holds: one clear line instead of a hundred shapes. */
static enum sl_status check_facts(const struct loader *l)
{
    struct list list = {.count = 0};
    const char *advice = "";
    int layers = l->modality->kind == SL_KIND_FEATURES ? 0 : count_layers(l);
    if (layers != 0 && layers != l->modality->layers)
        compare(&list, "layers", layers, l->modality->layers);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        const struct fact *fact = &facts[i];
        if (fact->kind != l->modality->kind)
            continue;
        const struct sl_tensor *tensor = find_in_form(l, l->form, fact->name);
        int config = 0;
        memcpy(&config, (const char *)l->modality + fact->offset, sizeof(config));
        if (tensor == NULL || tensor->rank <= fact->axis || tensor->shape[fact->axis] == config ||
                (fact->at_least && tensor->shape[fact->axis] > config))
            continue;
        compare(&list, fact->key, tensor->shape[fact->axis], config);
        if (strcmp(fact->key, "vocab_size") == 0)
            advice = "; the vocabulary must be the one that belongs to the checkpoint";
    }
    if (list.count == 0)
        return SL_OK;
    return sl_fail(l->err, SL_USAGE, "%s: %s: give modalities.%s the file's values, or choose another file%s",
            l->path, list.text, l->modality->name, advice);
}

/* ---- shapes ---- */

/* The side of a square grid with a [CLS] row before it, or 0. */
static int grid_side(int64_t rows)
{
    if (rows < 2)
        return 0;
    int64_t side = (int64_t)llround(sqrt((double)(rows - 1)));
    return side <= INT32_MAX / side && side * side == rows - 1 ? (int)side : 0;
}

/* Whether the shapes agree on all axes but one, which both have. */
static bool same_but(const struct sl_param *param, const struct sl_tensor *tensor, int axis)
{
    bool same = tensor->rank == param->rank;
    for (int i = 0; same && i < param->rank; i++)
        same = i == axis ? tensor->shape[i] >= 1 : tensor->shape[i] == param->shape[i];
    return same;
}

static enum fit find_fit(const struct loader *l, const struct sl_param *param, const struct sl_tensor *tensor)
{
    const char *own = own_name(l, param);
    if (same_but(param, tensor, -1))
        return FIT_EXACT;
    if (strcmp(own, "vit.embeddings.position_embeddings") == 0)
        return same_but(param, tensor, 1) && grid_side(tensor->shape[1]) > 0 ? FIT_RESIZED : FIT_NONE;
    if (strcmp(own, "temporal_embeddings") == 0)
        return same_but(param, tensor, 0) ? FIT_ROWS : FIT_NONE;
    if (strcmp(own, "bert.embeddings.position_embeddings.weight") == 0)
        return same_but(param, tensor, 0) && tensor->shape[0] > param->shape[0] ? FIT_ROWS : FIT_NONE;
    return FIT_NONE;
}

static bool is_optional(const struct loader *l, const struct sl_param *param)
{
    return strcmp(own_name(l, param), "temporal_embeddings") == 0;
}

static void add_misfit(const struct loader *l, const struct sl_param *param, const struct sl_tensor *tensor,
        struct list *missing, struct list *misfits)
{
    char got[SHAPE_TEXT_MAX], wanted[SHAPE_TEXT_MAX];
    if (tensor == NULL && !is_optional(l, param))
        list_add(missing, "%s", own_name(l, param));
    else if (tensor != NULL && find_fit(l, param, tensor) == FIT_NONE)
        list_add(misfits, "%.*s is %s instead of %s", SHOWN_NAME_MAX, tensor->name,
                shape_text(got, tensor->rank, tensor->shape), shape_text(wanted, param->rank, param->shape));
}

static enum sl_status check_shapes(const struct loader *l)
{
    struct list missing = {.count = 0}, misfits = {.count = 0};
    for (int p = 0; p < l->layout->param_count; p++)
        if (is_extractor(l, &l->layout->params[p]))
            add_misfit(l, &l->layout->params[p], l->tensors[p], &missing, &misfits);
    struct ps_names lacking = list_names(&missing), unfit = list_names(&misfits);
    if (lacking.count > 0)
        return sl_fail(l->err, SL_USAGE,
                "%s: lacks %d of the encoder's tensors: %s: the file is not whole, or of another model",
                l->path, lacking.count, lacking.text);
    if (unfit.count > 0)
        return sl_fail(l->err, SL_USAGE, "%s: has other shapes than modalities.%s gives (%d): %s", l->path,
                l->modality->name, unfit.count, unfit.text);
    return SL_OK;
}

/* ---- values ---- */

static enum sl_status read_finite(
        const struct loader *l, const struct sl_tensor *tensor, float *values, struct sl_error *err)
{
    enum sl_status status = sl_safetensors_read_f32(l->file, tensor, values, tensor->count, err);
    uint64_t bad = 0, first = 0;
    for (uint64_t i = 0; status == SL_OK && i < tensor->count; i++)
        if (!isfinite(values[i]) && bad++ == 0)
            first = i;
    if (bad > 0)
        return sl_fail(err, SL_BAD_DATA,
                "%s: %" PRIu64 " numbers of %s are not finite, the first at place %" PRIu64
                ": the file is damaged or comes from a run that diverged",
                l->path, bad, tensor->name, first);
    return status;
}

/* Reads a tensor of another shape into memory of its own and makes it fit. */
static enum sl_status read_converted(const struct loader *l, const struct sl_param *param,
        const struct sl_tensor *tensor, enum fit fit, float *to, struct ps_pretrained *done)
{
    SL_AUTO_FREE float *from = sl_alloc_aligned(tensor->count, sizeof(*from));
    if (from == NULL)
        return sl_fail(l->err, SL_NO_MEMORY, "out of memory for %" PRIu64 " numbers of %s", tensor->count,
                tensor->name);
    enum sl_status status = read_finite(l, tensor, from, l->err);
    if (status != SL_OK)
        return status;
    if (fit == FIT_ROWS) {
        size_t count = tensor->count < param->count ? tensor->count : param->count;
        memcpy(to, from, count * sizeof(*to));
        done->parameters += count;
        done->rows = (int64_t)count / param->shape[1];
        done->rows_of = tensor->shape[0];
        return SL_OK;
    }
    size_t dim = (size_t)param->shape[2];
    done->from_side = grid_side(tensor->shape[1]);
    done->to_side = grid_side(param->shape[1]);
    memcpy(to, from, dim * sizeof(*to)); /* [CLS] has no place in the image */
    ps_bicubic_resize(to + dim, done->to_side, from + dim, done->from_side, (int)dim);
    done->parameters += param->count;
    return SL_OK;
}

static enum sl_status read_all(const struct loader *l, float *params, struct ps_pretrained *done)
{
    struct list initial = {.count = 0};
    for (int p = 0; p < l->layout->param_count; p++) {
        const struct sl_param *param = &l->layout->params[p];
        const struct sl_tensor *tensor = l->tensors[p];
        enum fit fit = tensor == NULL ? FIT_NONE : find_fit(l, param, tensor);
        if (is_extractor(l, param) && (fit == FIT_NONE || (fit == FIT_ROWS && tensor->count < param->count)))
            list_add(&initial, "%s", param->name);
        if (fit == FIT_NONE)
            continue;
        enum sl_status status = SL_OK;
        if (fit == FIT_EXACT) {
            status = read_finite(l, tensor, params + param->offset, l->err);
            done->parameters += param->count;
        } else {
            status = read_converted(l, param, tensor, fit, params + param->offset, done);
        }
        if (status != SL_OK)
            return status;
        done->tensors++;
    }
    done->initial = list_names(&initial);
    return SL_OK;
}

/* ---- what is left over ---- */

static bool is_known_part(const struct loader *l, const char *name)
{
    static const char *const parts[] = {"pooler.", "classifier.", "cls.", "cls_classifier.",
            "distillation_classifier.", "decoder.", "qa_outputs.", "embeddings.position_ids",
            "embeddings.mask_token", "embeddings.token_type_ids"};
    if (l->form == FORM_OURS)
        return !begins(name, l->prefix);
    const char *rest = begins(name, l->encoder) ? name + strlen(l->encoder) : name;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (begins(rest, parts[i]))
            return true;
    return false;
}

static bool is_used(const struct loader *l, const struct sl_tensor *tensor)
{
    for (int p = 0; p < l->layout->param_count; p++)
        if (l->tensors[p] == tensor)
            return true;
    return false;
}

static void list_rest(const struct loader *l, struct ps_pretrained *done)
{
    struct list ignored = {.count = 0}, surplus = {.count = 0};
    for (int i = 0; i < sl_safetensors_count(l->file); i++) {
        const struct sl_tensor *tensor = sl_safetensors_at(l->file, i);
        if (!is_used(l, tensor))
            list_add(is_known_part(l, tensor->name) ? &ignored : &surplus, "%.*s", SHOWN_NAME_MAX,
                    shown(tensor->name));
    }
    done->ignored = list_names(&ignored);
    done->surplus = list_names(&surplus);
}

/* ---- one file, all files ---- */

enum sl_status ps_pretrained_load(const struct sl_config *config, int modality,
        const struct sl_layout *layout, const struct sl_safetensors *file, const char *path, float *params,
        struct ps_pretrained *ret_done, struct sl_error *err)
{
    assert(modality >= 0 && modality < config->modality_count);
    static const char *const encoders[] = {
            [SL_KIND_VIT] = "vit.", [SL_KIND_BERT] = "bert.", [SL_KIND_FEATURES] = ""};
    SL_AUTO_FREE const struct sl_tensor **tensors = sl_alloc((size_t)layout->param_count, sizeof(*tensors));
    if (tensors == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the tensors of %s", path);
    struct loader loader = {.modality = &config->modalities[modality],
            .m = modality,
            .layout = layout,
            .file = file,
            .path = path,
            .tensors = tensors,
            .err = err};
    loader.encoder = encoders[loader.modality->kind];
    (void)snprintf(loader.prefix, sizeof(loader.prefix), "extractor.%s.", loader.modality->name);
    if (find_tensors(&loader) == 0)
        return fail_foreign(&loader);
    struct ps_pretrained done = {.own = loader.form == FORM_OURS};
    enum sl_status status = check_facts(&loader);
    if (status == SL_OK)
        status = check_shapes(&loader);
    if (status == SL_OK)
        status = read_all(&loader, params, &done);
    if (status != SL_OK)
        return status;
    list_rest(&loader, &done);
    if (ret_done != NULL)
        *ret_done = done;
    return SL_OK;
}

static void log_names(
        enum sl_log_level level, const char *event, const char *modality, const struct ps_names *names)
{
    char quoted[2 * PS_NAMES_TEXT_MAX];
    if (names->count > 0)
        sl_log(level, "pretrained", event, "modality=%s tensors=%d names=%s", modality, names->count,
                sl_log_quote(quoted, sizeof(quoted), names->text));
}

static void log_done(const struct sl_modality_config *modality, const struct ps_pretrained *done)
{
    char quoted[2 * SL_PATH_MAX];
    sl_log(SL_LOG_INFO, "pretrained", "pretrained-loaded", "modality=%s tensors=%d parameters=%zu path=%s",
            modality->name, done->tensors, done->parameters,
            sl_log_quote(quoted, sizeof(quoted), modality->init));
    if (done->from_side != 0)
        sl_log(SL_LOG_INFO, "pretrained", "positions-resized", "modality=%s from=%dx%d to=%dx%d",
                modality->name, done->from_side, done->from_side, done->to_side, done->to_side);
    if (done->rows_of != 0)
        sl_log(SL_LOG_INFO, "pretrained", "rows-taken", "modality=%s rows=%" PRId64 " of=%" PRId64,
                modality->name, done->rows, done->rows_of);
    log_names(SL_LOG_INFO, "pretrained-initial", modality->name, &done->initial);
    log_names(SL_LOG_INFO, "pretrained-ignored", modality->name, &done->ignored);
    log_names(SL_LOG_WARN, "pretrained-surplus", modality->name, &done->surplus);
    /* no shape tells the number of heads: a wrong one loads and only learns badly */
    if (!done->own && modality->kind != SL_KIND_FEATURES &&
            modality->hidden != modality->heads * HEAD_FEATURES)
        sl_log(SL_LOG_WARN, "pretrained", "heads-unusual",
                "modality=%s heads=%d features_per_head=%d hint=\"most checkpoints have 64: compare "
                "num_attention_heads "
                "of its config.json\"",
                modality->name, modality->heads, modality->hidden / modality->heads);
}

static enum sl_status apply_one(const struct sl_config *config, int m, const struct sl_layout *layout,
        float *params, struct sl_error *err)
{
    const struct sl_modality_config *modality = &config->modalities[m];
    SL_AUTO(sl_safetensors_close_auto) struct sl_safetensors *file = NULL;
    struct ps_pretrained done;
    enum sl_status status = sl_safetensors_open(&file, modality->init, err);
    if (status == SL_NOT_FOUND)
        return sl_fail(err, SL_USAGE, "there is no file %s; paths are relative to the config's folder",
                modality->init);
    if (status == SL_OK)
        status = ps_pretrained_load(config, m, layout, file, modality->init, params, &done, err);
    if (status == SL_OK)
        log_done(modality, &done);
    return status;
}

enum sl_status ps_pretrained_apply(
        const struct sl_config *config, const struct sl_layout *layout, float *params, struct sl_error *err)
{
    for (int m = 0; m < config->modality_count; m++) {
        if (config->modalities[m].init[0] == 0)
            continue;
        enum sl_status status = apply_one(config, m, layout, params, err);
        if (status != SL_OK) {
            (void)sl_error_context(err, "modalities.%s.init", config->modalities[m].name);
            return status;
        }
    }
    return SL_OK;
}
