/* Rows of figures: see report.h. */
#include "deploy/bench/report.h"

#include "common/cpu.h"
#include "common/json.h"
#include "common/memory.h"
#include "deploy/bench/measure.h"
#include "worker/model/blas.h"
#include "worker/model/vector.h"

#include <stdlib.h>

#define LINE_MAX_BYTES 4096

/* Four digits that count, without an exponent. */
static void format_number(char *text, size_t size, double value)
{
    int digits = value >= 1000.0 ? 0 : value >= 100.0 ? 1 : value >= 10.0 ? 2 : value >= 1.0 ? 3 : 4;
    (void)snprintf(text, size, "%.*f", digits, value);
}

static void print_json(struct dp_report *report, struct sl_json *json)
{
    const char *text = NULL;
    struct sl_error err = {0};
    if (sl_json_finish(json, &text, NULL, &err) == SL_OK)
        fprintf(report->stream, "%s\n", text);
    else
        fprintf(report->stream, "{\"error\":\"%s\"}\n", sl_status_name(err.status));
    (void)fflush(report->stream);
}

static void row_as_json(struct dp_report *report, const struct dp_row *row)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, LINE_MAX_BYTES);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "benchmark", row->benchmark);
    sl_json_string(&json, "subject", row->subject);
    sl_json_string(&json, "figure", row->figure);
    sl_json_double(&json, "value", row->value);
    sl_json_string(&json, "unit", row->unit);
    if (row->limit > 0.0) {
        sl_json_double(&json, "limit", row->limit);
        sl_json_string(&json, "limit_of", row->limit_of);
        sl_json_double(&json, "ratio", row->value / row->limit);
    }
    sl_json_end(&json);
    print_json(report, &json);
}

static void row_as_text(struct dp_report *report, const struct dp_row *row)
{
    char value[48], limit[48] = "", ratio[48] = "";
    if (!report->begun)
        fprintf(report->stream, "%-10s %-13s %-40s %12s %-10s %10s %8s  %s\n", "benchmark", "subject",
                "figure", "value", "unit", "limit", "ratio", "limit of");
    report->begun = true;
    format_number(value, sizeof(value), row->value);
    if (row->limit > 0.0) {
        format_number(limit, sizeof(limit), row->limit);
        (void)snprintf(ratio, sizeof(ratio), "%.2f", row->value / row->limit);
    }
    fprintf(report->stream, "%-10s %-13s %-40s %12s %-10s %10s %8s  %s\n", row->benchmark, row->subject,
            row->figure, value, row->unit, limit, ratio, row->limit > 0.0 ? row->limit_of : "");
    (void)fflush(report->stream);
}

void dp_report_row(struct dp_report *report, const struct dp_row *row)
{
    if (report->json)
        row_as_json(report, row);
    else
        row_as_text(report, row);
}

void dp_report_machine(struct dp_report *report)
{
    double load = 0.0;
    if (getloadavg(&load, 1) != 1)
        load = 0.0;
    if (!report->json) {
        fprintf(report->stream,
                "%d cores, kernels %s, OpenBLAS %s on one thread, load %.2f, medians of %d rounds\n\n",
                sl_cpu_count(), wk_vector()->name, wk_blas_core(), load, DP_ROUNDS);
        (void)fflush(report->stream);
        return;
    }
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, LINE_MAX_BYTES);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "benchmark", "machine");
    sl_json_int(&json, "cores", sl_cpu_count());
    sl_json_string(&json, "kernels", wk_vector()->name);
    sl_json_string(&json, "openblas", wk_blas_core());
    sl_json_double(&json, "load", load);
    sl_json_int(&json, "rounds", DP_ROUNDS);
    sl_json_end(&json);
    print_json(report, &json);
}
