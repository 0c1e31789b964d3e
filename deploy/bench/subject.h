#pragma once
/* What is measured: a model's config with its layout, plan and initial parameters, samples to feed it, and a folder for
 * files that is removed in the end.
 *
 *     s = dp_subject_create(&subject, &options, err);
 *     s = dp_subject_dataset(subject, &dataset, err);       // made at the first call
 *     dp_subject_destroy(subject);
 *
 * The built-in shapes `small` and `base` are those of a ViT and a BERT that are often compared: 16 and 2 samples a step.
 * Without a dataset the samples are synthetic, each as large as the config allows, and written as `import` writes them.
 */
#include "common/config.h"
#include "common/layout.h"
#include "deploy/command.h"
#include "worker/dataset/dataset.h"
#include "worker/model/model.h"

struct dp_subject_options {
    const char *shape;                    /* "small" or "base"; not looked at with config */
    const char *config;                   /* path, or NULL */
    const char *dataset;                  /* a split to read samples from; NULL = synthetic. Needs config */
    const char *dir;                      /* where the folder for files is made */
    const struct dp_overrides *overrides; /* of the config's or the shape's values */
};

struct dp_subject {
    char *name;         /* shape or config, for rows */
    char *dir;          /* the folder for files */
    char *dataset_path; /* the split, once it stands */
    struct sl_config *config;
    struct sl_layout *layout;
    struct wk_model *model;
    float *params; /* (layout->count,) */
    struct wk_dataset *dataset;
    bool synthetic;
};

/* dp_subject_create reads the config and makes the rest but for the dataset. Owns: *ret_subject; borrows what options point to. Errors: USAGE,
 * BAD_DATA, DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_subject_create(
        struct dp_subject **ret_subject, const struct dp_subject_options *options, struct sl_error *err);
void dp_subject_destroy(struct dp_subject *subject); /* removes the folder */
void dp_subject_destroy_auto(struct dp_subject **subject);

/* dp_subject_twin_early gives the same model, parameters and samples with modulation.exchange early and what that needs. Owns: *ret_twin, dp_subject_twin_destroy it, before the
 * subject. Errors: BAD_DATA, DISK for the samples, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_subject_twin_early(
        struct dp_subject **ret_twin, struct dp_subject *subject, struct sl_error *err);
void dp_subject_twin_destroy(struct dp_subject *twin); /* NULL is fine */

/* dp_subject_dataset gives the samples. Owns: the subject keeps it. Errors: BAD_DATA, DISK, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_subject_dataset(
        struct dp_subject *subject, struct wk_dataset **ret_dataset, struct sl_error *err);

/* dp_subject_fill puts the first `count` samples into an empty batch. */
SL_MUST_USE enum sl_status dp_subject_fill(
        struct dp_subject *subject, struct wk_batch *batch, int count, struct sl_error *err);
