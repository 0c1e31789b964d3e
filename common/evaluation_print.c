/* Evaluation figures for people (tables) and for programs (JSON): see evaluation.h. */
#include "common/evaluation.h"
#include "common/utf8.h"

#include <math.h>

#define NAME_COLUMNS_MAX 24

/* a name in `columns` terminal columns, cut or padded: printf's width counts bytes */
static void print_name(FILE *stream, const char *name, int columns)
{
    size_t bytes = sl_utf8_cut(name, columns);
    (void)fprintf(stream, "%.*s", (int)bytes, name);
    for (int used = sl_utf8_columns(name); used < columns; used++)
        (void)fputc(' ', stream);
}

static int widest(const char *const *names, int count, int least)
{
    int columns = least;
    for (int i = 0; i < count; i++) {
        int wide = sl_utf8_columns(names[i]);
        columns = wide > columns ? wide : columns;
    }
    return columns > NAME_COLUMNS_MAX ? NAME_COLUMNS_MAX : columns;
}

/* a figure in 10 columns, "-" where there is none */
static void print_figure(FILE *stream, double value)
{
    if (isnan(value))
        (void)fprintf(stream, "%10s", "-");
    else
        (void)fprintf(stream, "%10.4f", value);
}

static void print_branches(const struct sl_evaluation *evaluation, FILE *stream, const char *const *names)
{
    int branches = sl_evaluation_branches(evaluation), columns = widest(names, branches, 10);
    print_name(stream, "branch", columns);
    (void)fprintf(stream, "%10s%10s%10s%10s%10s%10s\n", "samples", "accuracy", "macro-F1", "loss", "ECE",
            "distance");
    for (int branch = 0; branch < branches; branch++) {
        struct sl_evaluation_report report;
        sl_evaluation_report(evaluation, branch, &report);
        print_name(stream, names[branch], columns);
        (void)fprintf(stream, "%10lld", (long long)report.count);
        print_figure(stream, report.accuracy);
        print_figure(stream, report.macro_f1);
        print_figure(stream, report.loss);
        print_figure(stream, report.calibration_error);
        print_figure(stream, report.class_distance);
        (void)fputc('\n', stream);
    }
}

static void print_classes(
        const struct sl_evaluation_report *report, FILE *stream, const char *const *names, int columns)
{
    print_name(stream, "class", columns);
    (void)fprintf(stream, "%10s%10s%10s%10s\n", "samples", "precision", "recall", "F1");
    for (int k = 0; k < report->classes; k++) {
        print_name(stream, names[k], columns);
        (void)fprintf(stream, "%10lld", (long long)report->support[k]);
        print_figure(stream, report->precision[k]);
        print_figure(stream, report->recall[k]);
        print_figure(stream, report->f1[k]);
        (void)fputc('\n', stream);
    }
}

static int digits_of(int64_t value)
{
    int digits = 1;
    for (; value >= 10; value /= 10)
        digits++;
    return digits;
}

static void print_confusion(const struct sl_evaluation *evaluation, const struct sl_evaluation_report *report,
        FILE *stream, const char *const *names, int columns)
{
    int last = sl_evaluation_branches(evaluation) - 1, width = digits_of(report->count) + 2;
    width = width < 7 ? 7 : width;
    print_name(stream, "true \\ said", columns);
    for (int p = 0; p < report->classes; p++) {
        (void)fputc(' ', stream);
        print_name(stream, names[p], width - 1);
    }
    (void)fputc('\n', stream);
    for (int t = 0; t < report->classes; t++) {
        print_name(stream, names[t], columns);
        for (int p = 0; p < report->classes; p++)
            (void)fprintf(stream, "%*lld", width, (long long)sl_evaluation_confusion(evaluation, last, t, p));
        (void)fputc('\n', stream);
    }
}

void sl_evaluation_print(const struct sl_evaluation *evaluation, FILE *stream,
        const char *const *branch_names, const char *const *class_names)
{
    int last = sl_evaluation_branches(evaluation) - 1;
    int columns = widest(class_names, sl_evaluation_classes(evaluation), 12);
    struct sl_evaluation_report report;
    sl_evaluation_report(evaluation, last, &report);
    print_branches(evaluation, stream, branch_names);
    (void)fprintf(stream, "\n%s\n", branch_names[last]);
    print_classes(&report, stream, class_names, columns);
    (void)fputc('\n', stream);
    print_confusion(evaluation, &report, stream, class_names, columns);
}

static void json_classes(
        const struct sl_evaluation_report *report, struct sl_json *json, const char *const *names)
{
    sl_json_array(json, "classes");
    for (int k = 0; k < report->classes; k++) {
        sl_json_object(json, NULL);
        sl_json_string(json, "name", names[k]);
        sl_json_int(json, "count", report->support[k]);
        sl_json_int(json, "predicted", report->predicted[k]);
        sl_json_double(json, "precision", report->precision[k]);
        sl_json_double(json, "recall", report->recall[k]);
        sl_json_double(json, "f1", report->f1[k]);
        sl_json_end(json);
    }
    sl_json_end(json);
}

static void json_confusion(const struct sl_evaluation *evaluation, int branch, struct sl_json *json)
{
    int classes = sl_evaluation_classes(evaluation);
    sl_json_array(json, "confusion");
    for (int t = 0; t < classes; t++) {
        sl_json_array(json, NULL);
        for (int p = 0; p < classes; p++)
            sl_json_int(json, NULL, sl_evaluation_confusion(evaluation, branch, t, p));
        sl_json_end(json);
    }
    sl_json_end(json);
}

static void json_calibration(const struct sl_evaluation_report *report, struct sl_json *json)
{
    sl_json_array(json, "calibration");
    for (int b = 0; b < SL_EVALUATION_BINS; b++) {
        sl_json_object(json, NULL);
        sl_json_int(json, "count", report->bins[b].count);
        sl_json_double(json, "confidence", report->bins[b].confidence);
        sl_json_double(json, "accuracy", report->bins[b].accuracy);
        sl_json_end(json);
    }
    sl_json_end(json);
}

void sl_evaluation_json(const struct sl_evaluation *evaluation, struct sl_json *json, const char *key,
        const char *const *branch_names, const char *const *class_names)
{
    sl_json_object(json, key);
    for (int branch = 0; branch < sl_evaluation_branches(evaluation); branch++) {
        struct sl_evaluation_report report;
        sl_evaluation_report(evaluation, branch, &report);
        sl_json_object(json, branch_names[branch]);
        sl_json_int(json, "count", report.count);
        sl_json_double(json, "loss", report.loss);
        sl_json_double(json, "accuracy", report.accuracy);
        sl_json_double(json, "macro_f1", report.macro_f1);
        sl_json_double(json, "calibration_error", report.calibration_error);
        sl_json_double(json, "class_distance", report.class_distance);
        json_classes(&report, json, class_names);
        json_confusion(evaluation, branch, json);
        json_calibration(&report, json);
        sl_json_end(json);
    }
    sl_json_end(json);
}
