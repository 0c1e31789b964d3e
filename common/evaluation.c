/* Evaluation sums and the figures from them: see evaluation.h.
 *
 * Integers of a branch: confusion (K, K) by true class and prediction, then per bin the count, then per bin the correct ones.
 * Doubles of a branch: the loss sum, then per bin the confidence sum. */
#include "common/evaluation.h"

#include "common/memory.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define BINS SL_EVALUATION_BINS

struct sl_evaluation {
    int branches, classes;
    int64_t *ints;
    double *doubles;
};

static size_t branch_ints(int classes)
{
    return (size_t)classes * (size_t)classes + 2 * BINS;
}

static size_t branch_doubles(void)
{
    return 1 + BINS;
}

size_t sl_evaluation_int_count(int branches, int classes)
{
    return (size_t)branches * branch_ints(classes);
}

size_t sl_evaluation_double_count(int branches, int classes)
{
    (void)classes; /* the same for any number of classes today; callers need not know */
    return (size_t)branches * branch_doubles();
}

/* Where the sums of one branch lie. */
struct view {
    int64_t *confusion;   /* (K, K) true class, prediction */
    int64_t *bin_count;   /* (BINS,) */
    int64_t *bin_correct; /* (BINS,) */
    double *loss;
    double *bin_confidence; /* (BINS,) */
};

static struct view view_arrays(int64_t *ints, double *doubles, int classes, int branch)
{
    int64_t *i = ints + (size_t)branch * branch_ints(classes);
    double *d = doubles + (size_t)branch * branch_doubles();
    size_t cells = (size_t)classes * (size_t)classes;
    return (struct view){i, i + cells, i + cells + BINS, d, d + 1};
}

static struct view view_of(const struct sl_evaluation *evaluation, int branch)
{
    assert(branch >= 0 && branch < evaluation->branches);
    return view_arrays(evaluation->ints, evaluation->doubles, evaluation->classes, branch);
}

enum sl_status sl_evaluation_create(
        struct sl_evaluation **ret_evaluation, int branches, int classes, struct sl_error *err)
{
    assert(branches >= 1 && branches <= SL_BRANCHES_MAX && classes >= 1 && classes <= SL_LABELS_MAX);
    SL_AUTO(sl_evaluation_destroy_auto) struct sl_evaluation *evaluation = sl_alloc(1, sizeof(*evaluation));
    if (evaluation == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the evaluation");
    evaluation->branches = branches;
    evaluation->classes = classes;
    evaluation->ints = sl_alloc(sl_evaluation_int_count(branches, classes), sizeof(int64_t));
    evaluation->doubles = sl_alloc(sl_evaluation_double_count(branches, classes), sizeof(double));
    if (evaluation->ints == NULL || evaluation->doubles == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the evaluation of %d classes", classes);
    *ret_evaluation = SL_TAKE(evaluation);
    return SL_OK;
}

void sl_evaluation_destroy(struct sl_evaluation *evaluation)
{
    if (evaluation == NULL)
        return;
    sl_free(evaluation->ints);
    sl_free(evaluation->doubles);
    sl_free(evaluation);
}

void sl_evaluation_destroy_auto(struct sl_evaluation **evaluation)
{
    sl_evaluation_destroy(*evaluation);
}

void sl_evaluation_clear(struct sl_evaluation *evaluation)
{
    memset(evaluation->ints, 0,
            sl_evaluation_int_count(evaluation->branches, evaluation->classes) * sizeof(int64_t));
    memset(evaluation->doubles, 0,
            sl_evaluation_double_count(evaluation->branches, evaluation->classes) * sizeof(double));
}

static int bin_of(double confidence)
{
    int bin = (int)ceil(confidence * BINS) - 1;
    if (bin < 0)
        return 0;
    return bin < BINS ? bin : BINS - 1;
}

/* Sums of multiples of 2^-28 are exact up to 2^25 (a million samples of loss 30), and exact sums do not depend on the order of merging. */
static double on_grid(double x)
{
    return nearbyint(x * 0x1p28) * 0x1p-28;
}

/* counts one sample whose probabilities are known to be sound */
static void count_sample(struct sl_evaluation *evaluation, int branch, int label, int predicted,
        double confidence, double loss)
{
    struct view v = view_of(evaluation, branch);
    int bin = bin_of(confidence);
    v.confusion[label * evaluation->classes + predicted] += 1;
    v.bin_count[bin] += 1;
    v.bin_correct[bin] += predicted == label ? 1 : 0;
    v.bin_confidence[bin] += confidence;
    *v.loss += loss;
}

enum sl_status sl_evaluation_add(struct sl_evaluation *evaluation, int branch, const float *probabilities,
        int label, struct sl_error *err)
{
    assert(label >= 0 && label < evaluation->classes);
    int best = 0;
    for (int k = 0; k < evaluation->classes; k++) {
        if (!(probabilities[k] >= 0.0F && probabilities[k] <= 1.0F))
            return sl_fail(err, SL_DIVERGED, "probability %g of class %d is not within 0 and 1",
                    (double)probabilities[k], k);
        if (probabilities[k] > probabilities[best])
            best = k;
    }
    /* a float probability underflows to 0 before its logit is extreme: the loss stays finite, about 103 at most */
    double p = probabilities[label] > 0.0F ? (double)probabilities[label] : 0x1p-149;
    count_sample(evaluation, branch, label, best, on_grid((double)probabilities[best]), on_grid(-log(p)));
    return SL_OK;
}

enum sl_status sl_evaluation_add_logits(
        struct sl_evaluation *evaluation, int branch, const float *logits, int label, struct sl_error *err)
{
    assert(label >= 0 && label < evaluation->classes);
    int best = 0;
    for (int k = 0; k < evaluation->classes; k++) {
        if (!isfinite(logits[k]))
            return sl_fail(err, SL_DIVERGED, "logit %g of class %d is not finite", (double)logits[k], k);
        if (logits[k] > logits[best])
            best = k;
    }
    double sum = 0.0;
    for (int k = 0; k < evaluation->classes; k++)
        sum += exp((double)logits[k] - (double)logits[best]);
    double loss = log(sum) - ((double)logits[label] - (double)logits[best]);
    count_sample(evaluation, branch, label, best, on_grid(1.0 / sum), on_grid(loss));
    return SL_OK;
}

enum sl_status sl_evaluation_merge(
        struct sl_evaluation *evaluation, const struct sl_evaluation *other, struct sl_error *err)
{
    if (evaluation->branches != other->branches || evaluation->classes != other->classes)
        return sl_fail(err, SL_MISMATCH,
                "cannot add an evaluation of %d branches and %d classes to one of %d and %d", other->branches,
                other->classes, evaluation->branches, evaluation->classes);
    size_t ints = sl_evaluation_int_count(evaluation->branches, evaluation->classes);
    for (size_t i = 0; i < ints; i++)
        evaluation->ints[i] += other->ints[i];
    size_t doubles = sl_evaluation_double_count(evaluation->branches, evaluation->classes);
    for (size_t i = 0; i < doubles; i++)
        evaluation->doubles[i] += other->doubles[i];
    return SL_OK;
}

const int64_t *sl_evaluation_ints(const struct sl_evaluation *evaluation)
{
    return evaluation->ints;
}

const double *sl_evaluation_doubles(const struct sl_evaluation *evaluation)
{
    return evaluation->doubles;
}

/* a single count above this is no count: sums of 2^16 such cells still fit */
#define COUNT_MAX ((int64_t)1 << 46)

/* counts within range, and the bins hold the same samples as the confusion matrix */
static bool branch_is_sound(const struct view *v, int classes)
{
    int64_t total = 0, correct = 0, bins = 0, bins_correct = 0;
    for (int i = 0; i < classes * classes; i++) {
        if (v->confusion[i] < 0 || v->confusion[i] > COUNT_MAX)
            return false;
        total += v->confusion[i];
        correct += i / classes == i % classes ? v->confusion[i] : 0;
    }
    for (int b = 0; b < BINS; b++) {
        if (v->bin_count[b] < 0 || v->bin_count[b] > total || v->bin_correct[b] < 0 ||
                v->bin_correct[b] > v->bin_count[b])
            return false;
        double most = (double)v->bin_count[b] * (1.0 + 1e-6);
        if (!(v->bin_confidence[b] >= 0.0 && v->bin_confidence[b] <= most))
            return false;
        bins += v->bin_count[b];
        bins_correct += v->bin_correct[b];
    }
    return bins == total && bins_correct == correct && isfinite(*v->loss);
}

enum sl_status sl_evaluation_load(struct sl_evaluation *evaluation, const int64_t *ints, size_t int_count,
        const double *doubles, size_t double_count, struct sl_error *err)
{
    size_t want_ints = sl_evaluation_int_count(evaluation->branches, evaluation->classes);
    size_t want_doubles = sl_evaluation_double_count(evaluation->branches, evaluation->classes);
    if (int_count != want_ints || double_count != want_doubles)
        return sl_fail(err, SL_BAD_DATA,
                "evaluation has %zu integers and %zu numbers; expected %zu and %zu for %d classes", int_count,
                double_count, want_ints, want_doubles, evaluation->classes);
    for (int branch = 0; branch < evaluation->branches; branch++) {
        /* the view only reads here; it has no const twin */
        struct view v = view_arrays((int64_t *)ints, (double *)doubles, evaluation->classes, branch);
        if (!branch_is_sound(&v, evaluation->classes))
            return sl_fail(err, SL_BAD_DATA, "evaluation sums of branch %d contradict each other", branch);
    }
    memcpy(evaluation->ints, ints, int_count * sizeof(*ints));
    memcpy(evaluation->doubles, doubles, double_count * sizeof(*doubles));
    return SL_OK;
}

int sl_evaluation_branches(const struct sl_evaluation *evaluation)
{
    return evaluation->branches;
}

int sl_evaluation_classes(const struct sl_evaluation *evaluation)
{
    return evaluation->classes;
}

int64_t sl_evaluation_count(const struct sl_evaluation *evaluation, int branch)
{
    struct view v = view_of(evaluation, branch);
    int64_t count = 0;
    for (int b = 0; b < BINS; b++)
        count += v.bin_count[b];
    return count;
}

int64_t sl_evaluation_confusion(const struct sl_evaluation *evaluation, int branch, int label, int predicted)
{
    assert(label >= 0 && label < evaluation->classes && predicted >= 0 && predicted < evaluation->classes);
    return view_of(evaluation, branch).confusion[label * evaluation->classes + predicted];
}

static double ratio(double numerator, int64_t denominator)
{
    return denominator > 0 ? numerator / (double)denominator : NAN;
}

static void report_classes(const struct view *v, int classes, struct sl_evaluation_report *report)
{
    int64_t distance = 0, correct = 0;
    for (int t = 0; t < classes; t++) {
        for (int p = 0; p < classes; p++) {
            int64_t n = v->confusion[t * classes + p];
            report->support[t] += n;
            report->predicted[p] += n;
            distance += n * (t > p ? t - p : p - t);
            correct += t == p ? n : 0;
        }
    }
    double f1_sum = 0.0;
    int present = 0;
    for (int k = 0; k < classes; k++) {
        double hits = (double)v->confusion[k * classes + k];
        report->precision[k] = ratio(hits, report->predicted[k]);
        report->recall[k] = ratio(hits, report->support[k]);
        report->f1[k] = ratio(2.0 * hits, report->predicted[k] + report->support[k]);
        if (report->predicted[k] + report->support[k] > 0) {
            f1_sum += report->f1[k];
            present++;
        }
    }
    report->accuracy = ratio((double)correct, report->count);
    report->class_distance = ratio((double)distance, report->count);
    report->macro_f1 = ratio(f1_sum, present);
}

static void report_calibration(const struct view *v, struct sl_evaluation_report *report)
{
    double error = 0.0;
    for (int b = 0; b < BINS; b++) {
        report->bins[b].count = v->bin_count[b];
        report->bins[b].confidence = ratio(v->bin_confidence[b], v->bin_count[b]);
        report->bins[b].accuracy = ratio((double)v->bin_correct[b], v->bin_count[b]);
        error += fabs((double)v->bin_correct[b] - v->bin_confidence[b]);
    }
    report->calibration_error = ratio(error, report->count);
}

void sl_evaluation_report(
        const struct sl_evaluation *evaluation, int branch, struct sl_evaluation_report *ret_report)
{
    struct view v = view_of(evaluation, branch);
    memset(ret_report, 0, sizeof(*ret_report));
    ret_report->count = sl_evaluation_count(evaluation, branch);
    ret_report->classes = evaluation->classes;
    ret_report->loss = ratio(*v.loss, ret_report->count);
    report_classes(&v, evaluation->classes, ret_report);
    report_calibration(&v, ret_report);
}

double sl_evaluation_metric(const struct sl_evaluation *evaluation, int branch, enum sl_metric metric)
{
    struct sl_evaluation_report report;
    sl_evaluation_report(evaluation, branch, &report);
    switch (metric) {
    case SL_METRIC_ACCURACY:
        return report.accuracy;
    case SL_METRIC_MACRO_F1:
        return report.macro_f1;
    case SL_METRIC_LOSS:
        return report.loss;
    }
    return NAN;
}
