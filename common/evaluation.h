#pragma once
/* What validation and `evaluate` count, per branch (each modality's own prediction, then the fused one): accuracy, macro-F1, confusion
 * matrix, calibration, ordinal error. An evaluation holds sums only, so parts of a dataset add up.
 *
 *     s = sl_evaluation_create(&evaluation, config->modality_count + 1, config->label_count, err);
 *     s = sl_evaluation_add_logits(evaluation, branch, logits, label, err);
 *     s = sl_evaluation_merge(evaluation, part, err);           // in any order: losses and confidences are rounded to 2^-28, so sums are exact
 *     sl_evaluation_report(evaluation, branch, &report);
 *
 * Definitions. Prediction: the first class of the largest probability. Confidence: that probability. Macro-F1: mean of 2 TP / (2 TP + FP + FN) over
 * the classes that occur in truth or prediction (as scikit-learn's f1_score(average="macro")); a class that occurs in neither is left out, so
 * a small part of a dataset is not punished for what it does not hold. Precision of a class never predicted and recall of a class that
 * never occurs are NaN. Expected calibration error: Guo et al. 2017, 15 bins (i/15, (i+1)/15] of confidence, sum of n_bin/n * |accuracy - mean confidence|.
 * Class distance: mean of |predicted index - true index|, 0 to K-1: labels are in order of duration. Loss: mean of -ln p[label].
 * Thread: one owner at a time.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/json.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SL_EVALUATION_BINS 15

struct sl_evaluation; /* sums */

/* One branch in figures. Means over nothing are NaN. */
struct sl_evaluation_report {
    int64_t count; /* samples */
    int classes;   /* K */
    double loss, accuracy, macro_f1, calibration_error, class_distance;
    double precision[SL_LABELS_MAX], recall[SL_LABELS_MAX], f1[SL_LABELS_MAX]; /* (K,) */
    int64_t support[SL_LABELS_MAX];   /* (K,) samples whose true class it is */
    int64_t predicted[SL_LABELS_MAX]; /* (K,) samples that were said to be it */
    struct {
        int64_t count;
        double confidence, accuracy; /* means */
    } bins[SL_EVALUATION_BINS];
};

/* sl_evaluation_create makes one with all sums zero; branches 1..SL_BRANCHES_MAX, classes 1..SL_LABELS_MAX (asserted). Owns: *ret_evaluation. */
SL_MUST_USE enum sl_status sl_evaluation_create(
        struct sl_evaluation **ret_evaluation, int branches, int classes, struct sl_error *err);
void sl_evaluation_destroy(struct sl_evaluation *evaluation);
void sl_evaluation_destroy_auto(struct sl_evaluation **evaluation);
void sl_evaluation_clear(struct sl_evaluation *evaluation); /* all sums zero again */

/* sl_evaluation_add counts one sample. Shapes: probabilities (K,), which sum to 1. label 0..K-1. Errors: DIVERGED when a probability is not
 * finite or not within 0..1; then nothing is counted. */
SL_MUST_USE enum sl_status sl_evaluation_add(struct sl_evaluation *evaluation, int branch,
        const float *probabilities, int label, struct sl_error *err);
/* sl_evaluation_add_logits does the same from logits, with a softmax in double precision. Shapes: logits (K,). Errors: DIVERGED. */
SL_MUST_USE enum sl_status sl_evaluation_add_logits(
        struct sl_evaluation *evaluation, int branch, const float *logits, int label, struct sl_error *err);

/* sl_evaluation_merge adds other's sums. Errors: MISMATCH when branches or classes differ. */
SL_MUST_USE enum sl_status sl_evaluation_merge(
        struct sl_evaluation *evaluation, const struct sl_evaluation *other, struct sl_error *err);

/* The sums as plain arrays, for messages: sizes follow from branches and classes. Owns: the evaluation's. */
size_t sl_evaluation_int_count(int branches, int classes);
size_t sl_evaluation_double_count(int branches, int classes);
const int64_t *sl_evaluation_ints(const struct sl_evaluation *evaluation);
const double *sl_evaluation_doubles(const struct sl_evaluation *evaluation);
/* sl_evaluation_load replaces the sums by arrays from elsewhere. Errors: BAD_DATA when sizes differ or sums contradict each other; then nothing has changed. */
SL_MUST_USE enum sl_status sl_evaluation_load(struct sl_evaluation *evaluation, const int64_t *ints,
        size_t int_count, const double *doubles, size_t double_count, struct sl_error *err);

int sl_evaluation_branches(const struct sl_evaluation *evaluation);
int sl_evaluation_classes(const struct sl_evaluation *evaluation);
int64_t sl_evaluation_count(const struct sl_evaluation *evaluation, int branch); /* samples */
int64_t sl_evaluation_confusion(const struct sl_evaluation *evaluation, int branch, int label, int predicted);

/* sl_evaluation_report computes the figures of one branch. */
void sl_evaluation_report(
        const struct sl_evaluation *evaluation, int branch, struct sl_evaluation_report *ret_report);

/* sl_evaluation_metric gives the figure that snapshots.keep_best names. */
double sl_evaluation_metric(const struct sl_evaluation *evaluation, int branch, enum sl_metric metric);

/* sl_evaluation_print writes tables: figures per branch, then per class and the confusion matrix of the last branch.
 * Shapes: branch_names (branches,), class_names (K,). */
void sl_evaluation_print(const struct sl_evaluation *evaluation, FILE *stream,
        const char *const *branch_names, const char *const *class_names);

/* sl_evaluation_json writes one object: {"visual": {"count", "loss", "accuracy", "macro_f1", "calibration_error", "class_distance", "classes": [...],
 * "confusion": [[...]], "calibration": [...]}, …}. key as in json.h. */
void sl_evaluation_json(const struct sl_evaluation *evaluation, struct sl_json *json, const char *key,
        const char *const *branch_names, const char *const *class_names);
