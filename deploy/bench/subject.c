/* Config, model and files of a benchmark: see subject.h. */
#include "deploy/bench/subject.h"

#include "common/file.h"
#include "common/memory.h"
#include "deploy/bench/synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_BYTES_MAX ((size_t)1 << 20)

static const char small_shape[] = "labels: [{name: hours, duration: 6h}, {name: day, duration: 24h}, {name: "
                                  "three_days, duration: 72h},\n"
                                  "         {name: week, duration: 7d}, {name: evergreen, duration: inf}]\n"
                                  "dataset: {train: dataset}\n"
                                  "modalities:\n"
                                  "  - {name: visual, kind: vit, image: 64, patch: 8, frames: 4, hidden: "
                                  "192, layers: 6, heads: 3, mlp: 768}\n"
                                  "  - {name: text, kind: bert, vocab: vocab.txt, vocab_size: 8000, "
                                  "max_tokens: 32, max_position: 128,\n"
                                  "     hidden: 256, layers: 4, heads: 4, mlp: 1024}\n"
                                  "fusion: {dim: 256, heads: 4, layers: 2, mlp: 512}\n"
                                  "batch: {slots: 2, slot_size: 8}\n"
                                  "epochs: 1\n"
                                  "snapshots: {dir: run}\n";

static const char base_shape[] = "labels: [{name: hours, duration: 6h}, {name: day, duration: 24h}, {name: "
                                 "three_days, duration: 72h},\n"
                                 "         {name: week, duration: 7d}, {name: evergreen, duration: inf}]\n"
                                 "dataset: {train: dataset}\n"
                                 "modalities:\n"
                                 "  - {name: visual, kind: vit, image: 224, patch: 16, frames: 4, hidden: "
                                 "768, layers: 12, heads: 12, mlp: 3072}\n"
                                 "  - {name: text, kind: bert, vocab: vocab.txt, vocab_size: 21128, "
                                 "max_tokens: 64, max_position: 512,\n"
                                 "     hidden: 768, layers: 12, heads: 12, mlp: 3072}\n"
                                 "fusion: {dim: 768, heads: 12, layers: 2, mlp: 1536}\n"
                                 "batch: {slots: 2, slot_size: 1}\n"
                                 "epochs: 1\n"
                                 "snapshots: {dir: run}\n";

/* ---- the config ---- */

static enum sl_status parse_shape(
        struct dp_subject *subject, const struct dp_subject_options *options, struct sl_error *err)
{
    bool small = strcmp(options->shape, "small") == 0;
    if (!small && strcmp(options->shape, "base") != 0)
        return sl_fail(err, SL_USAGE, "--shape %s: expected small or base", options->shape);
    const char *text = small ? small_shape : base_shape;
    subject->name = sl_strdup(options->shape);
    if (subject->name == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    return sl_config_parse(&subject->config, text, strlen(text), subject->name, subject->dir,
            options->overrides->texts, options->overrides->count, false, err);
}

/* "quickstart" of "deploy/quickstart.yaml" */
static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash == NULL ? path : slash + 1,
               *dot = strrchr(base, '.');
    return sl_strdup_printf("%.*s", dot == NULL || dot == base ? SL_NAME_MAX : (int)(dot - base), base);
}

static enum sl_status read_config(
        struct dp_subject *subject, const struct dp_subject_options *options, struct sl_error *err)
{
    const struct dp_overrides *overrides = options->overrides;
    subject->name = name_of(options->config);
    if (subject->name == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (options->dataset != NULL)
        return sl_config_load(&subject->config, options->config, overrides->texts, overrides->count, err);
    /* samples will be synthetic, so that neither datasets nor vocabularies need to be there */
    SL_AUTO_FREE char *text = NULL;
    SL_AUTO_FREE char *base = sl_path_directory(options->config);
    size_t size = 0;
    if (base == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_file_read(&text, &size, options->config, CONFIG_BYTES_MAX, err);
    if (status != SL_OK)
        return sl_fail(err, SL_USAGE, "%s cannot be read as a config", options->config);
    return sl_config_parse(&subject->config, text, size, options->config, base, overrides->texts,
            overrides->count, false, err);
}

/* ---- create and destroy ---- */

static enum sl_status make_folder(struct dp_subject *subject, const char *dir, struct sl_error *err)
{
    subject->dir = sl_strdup_printf("%s/shelflife-bench-XXXXXX", dir);
    if (subject->dir == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (mkdtemp(subject->dir) != NULL)
        return SL_OK;
    enum sl_status status = sl_fail_errno(err, "cannot make a folder in %s", dir);
    sl_free(SL_TAKE(subject->dir)); /* it is not ours to remove */
    return status;
}

static enum sl_status plan_model(struct dp_subject *subject, struct sl_error *err)
{
    enum sl_status status = sl_layout_create(&subject->layout, subject->config, SL_BLOCK_FLOATS, err);
    if (status == SL_OK)
        status = wk_model_create(&subject->model, subject->config, subject->layout, err);
    if (status != SL_OK)
        return status;
    subject->params = sl_alloc_aligned(subject->layout->count, sizeof(float));
    if (subject->params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters", subject->layout->count);
    sl_layout_initialise(subject->layout, subject->config->seed, subject->params);
    return SL_OK;
}

enum sl_status dp_subject_create(
        struct dp_subject **ret_subject, const struct dp_subject_options *options, struct sl_error *err)
{
    SL_AUTO(dp_subject_destroy_auto) struct dp_subject *subject = sl_alloc(1, sizeof(*subject));
    if (subject == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = make_folder(subject, options->dir, err);
    if (status == SL_OK)
        status = options->config != NULL ? read_config(subject, options, err)
                                         : parse_shape(subject, options, err);
    subject->synthetic = options->dataset == NULL;
    if (status == SL_OK && subject->synthetic)
        status = dp_synthetic_vocabularies(subject->config, subject->dir, err);
    if (status == SL_OK && !subject->synthetic &&
            (subject->dataset_path = sl_strdup(options->dataset)) == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (status == SL_OK)
        status = plan_model(subject, err);
    if (status == SL_OK)
        *ret_subject = SL_TAKE(subject);
    return status;
}

void dp_subject_destroy(struct dp_subject *subject)
{
    if (subject == NULL)
        return;
    struct sl_error ignored = {0};
    wk_dataset_close(subject->dataset);
    wk_model_destroy(subject->model);
    sl_layout_destroy(subject->layout);
    sl_config_destroy(subject->config);
    if (subject->dir != NULL && sl_file_remove_tree(subject->dir, &ignored) != SL_OK)
        fprintf(stderr, "shelflife bench: %s\n", ignored.text);
    sl_free(subject->params);
    sl_free(subject->dataset_path);
    sl_free(subject->dir);
    sl_free(subject->name);
    sl_free(subject);
}

void dp_subject_destroy_auto(struct dp_subject **subject)
{
    dp_subject_destroy(*subject);
}

/* ---- a twin ---- */

void dp_subject_twin_destroy(struct dp_subject *twin)
{
    if (twin == NULL)
        return;
    wk_model_destroy(twin->model);
    sl_layout_destroy(twin->layout);
    sl_free(twin->config);
    sl_free(twin);
}

enum sl_status dp_subject_twin_early(
        struct dp_subject **ret_twin, struct dp_subject *subject, struct sl_error *err)
{
    struct wk_dataset *dataset = NULL;
    enum sl_status status = dp_subject_dataset(subject, &dataset, err);
    if (status != SL_OK)
        return status;
    struct dp_subject *twin = sl_alloc(1, sizeof(*twin));
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    if (twin == NULL || config == NULL) {
        sl_free(twin);
        sl_free(config);
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    }
    *config = *subject->config;
    config->modulation.exchange = SL_EXCHANGE_EARLY;
    config->modulation.scale = SL_SCALE_UNIMODAL;
    if (config->modulation.form == SL_FORM_PARETO || config->modulation.form == SL_FORM_REPLAY)
        config->modulation.form = SL_FORM_EXCESS; /* of another form the cost is the same */
    config->optimiser.second_moment = SL_SECOND_MODULATED;
    config->optimiser.clip_by = SL_CLIP_BY_MODULATED;
    *twin = *subject;
    twin->config = config;
    twin->layout = NULL;
    twin->model = NULL;
    status = sl_layout_create(&twin->layout, config, SL_BLOCK_FLOATS, err);
    if (status == SL_OK)
        status = wk_model_create(&twin->model, config, twin->layout, err);
    if (status != SL_OK) {
        dp_subject_twin_destroy(twin);
        return status;
    }
    *ret_twin = twin;
    return SL_OK;
}

/* ---- samples ---- */

enum sl_status dp_subject_dataset(
        struct dp_subject *subject, struct wk_dataset **ret_dataset, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    if (subject->dataset_path == NULL) {
        SL_AUTO_FREE char *path = sl_path_join(subject->dir, "dataset");
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        status = dp_synthetic_dataset(subject->config, path, err);
        if (status == SL_OK)
            subject->dataset_path = SL_TAKE(path);
    }
    if (status == SL_OK && subject->dataset == NULL)
        status = wk_dataset_open(&subject->dataset, subject->dataset_path, subject->config, err);
    if (status == SL_OK)
        *ret_dataset = subject->dataset;
    return status;
}

enum sl_status dp_subject_fill(
        struct dp_subject *subject, struct wk_batch *batch, int count, struct sl_error *err)
{
    struct wk_dataset *dataset = NULL;
    enum sl_status status = subject->synthetic ? SL_OK : dp_subject_dataset(subject, &dataset, err);
    wk_batch_clear(batch);
    for (int i = 0; i < count && status == SL_OK; i++) {
        struct wk_sample sample = {0};
        if (subject->synthetic)
            status = dp_synthetic_sample(&sample, subject->config, (uint64_t)i, err);
        else
            status = wk_dataset_read(dataset, (uint64_t)i % wk_dataset_count(dataset), &sample, err);
        if (status == SL_OK)
            status = wk_batch_add(batch, subject->config, &sample, err);
        wk_sample_fini(&sample);
    }
    return status;
}
