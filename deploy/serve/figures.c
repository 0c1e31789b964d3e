/* What the server counts: see figures.h. */
#include "deploy/serve/figures.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const outcome_names[DP_OUTCOMES] = {[DP_OUTCOME_OK] = "ok",
        [DP_OUTCOME_REFUSED] = "refused",
        [DP_OUTCOME_BUSY] = "busy",
        [DP_OUTCOME_FAILED] = "failed"};
static const char *const stage_names[DP_STAGES] = {[DP_STAGE_TOTAL] = "total",
        [DP_STAGE_PREPARE] = "prepare",
        [DP_STAGE_WAIT] = "wait",
        [DP_STAGE_COMPUTE] = "compute"};
static const double quantiles[] = {0.5, 0.9, 0.99};
static const char *const quantile_names[] = {"p50", "p90", "p99"};
#define QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

enum dp_outcome dp_figures_outcome(enum sl_status status)
{
    switch (status) {
    case SL_OK:
        return DP_OUTCOME_OK;
    case SL_USAGE:
    case SL_BAD_DATA:
    case SL_MISMATCH:
        return DP_OUTCOME_REFUSED;
    case SL_AGAIN:
    case SL_STOPPED:
        return DP_OUTCOME_BUSY;
    default:
        return DP_OUTCOME_FAILED;
    }
}

void dp_figures_answer(struct dp_figures *figures, enum sl_status status, const struct dp_times *times)
{
    figures->answers[dp_figures_outcome(status)]++;
    if (status != SL_OK)
        return;
    figures->window[figures->window_next] = *times;
    figures->window_next = (figures->window_next + 1) % DP_FIGURES_WINDOW;
    figures->window_count += figures->window_count < DP_FIGURES_WINDOW;
    for (int s = 0; s < DP_STAGES; s++)
        figures->sum[s] += (double)times->seconds[s];
}

void dp_figures_batch(struct dp_figures *figures, int size)
{
    int bucket = 0;
    while (bucket < DP_FIGURES_BUCKETS && size > 1 << bucket)
        bucket++;
    figures->batches[bucket]++;
    figures->batch_samples += (uint64_t)size;
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Shapes: ret_seconds (QUANTILES,). One sort for all of them. */
static void quantiles_of(const struct dp_figures *figures, enum dp_stage stage, const double *q, size_t count,
        double *ret_seconds)
{
    float sorted[DP_FIGURES_WINDOW];
    int n = figures->window_count;
    for (int i = 0; i < n; i++)
        sorted[i] = figures->window[i].seconds[stage];
    qsort(sorted, (size_t)n, sizeof(sorted[0]), compare);
    for (size_t i = 0; i < count; i++) {
        int rank = (int)(q[i] * n);
        rank += rank < q[i] * n; /* upwards: the nearest-rank definition */
        ret_seconds[i] = n == 0 ? 0.0 : (double)sorted[rank < 1 ? 0 : rank - 1];
    }
}

double dp_figures_quantile(const struct dp_figures *figures, enum dp_stage stage, double q)
{
    double seconds = 0.0;
    quantiles_of(figures, stage, &q, 1, &seconds);
    return seconds;
}

static uint64_t batch_count(const struct dp_figures *figures)
{
    uint64_t count = 0;
    for (int i = 0; i <= DP_FIGURES_BUCKETS; i++)
        count += figures->batches[i];
    return count;
}

/* ---- JSON ---- */

static void stage_json(const struct dp_figures *figures, enum dp_stage stage, struct sl_json *json)
{
    double seconds[QUANTILES];
    quantiles_of(figures, stage, quantiles, QUANTILES, seconds);
    sl_json_object(json, stage_names[stage]);
    for (size_t i = 0; i < QUANTILES; i++)
        sl_json_double(json, quantile_names[i], seconds[i] * 1e3);
    sl_json_end(json);
}

void dp_figures_json(const struct dp_figures *figures, const struct dp_figures_now *now, struct sl_json *json)
{
    uint64_t batches = batch_count(figures);
    sl_json_object(json, "requests");
    for (int o = 0; o < DP_OUTCOMES; o++)
        sl_json_uint(json, outcome_names[o], figures->answers[o]);
    sl_json_int(json, "in_flight", now->in_flight);
    sl_json_int(json, "queue", now->queue);
    sl_json_end(json);
    sl_json_object(json, "latency_ms");
    for (int s = 0; s < DP_STAGES; s++)
        stage_json(figures, (enum dp_stage)s, json);
    sl_json_end(json);
    sl_json_object(json, "batches");
    sl_json_uint(json, "count", batches);
    sl_json_double(json, "mean_size", batches == 0 ? 0.0 : (double)figures->batch_samples / (double)batches);
    sl_json_end(json);
    sl_json_object(json, "reloads");
    sl_json_uint(json, "done", figures->reloads);
    sl_json_uint(json, "refused", figures->reloads_refused);
    sl_json_end(json);
}

/* ---- Prometheus ---- */

static void family(struct sl_text *text, const char *name, const char *type, const char *help)
{
    sl_text_printf(
            text, "# HELP shelflife_serve_%s %s\n# TYPE shelflife_serve_%s %s\n", name, help, name, type);
}

static void number(struct sl_text *text, const char *name, double value)
{
    char shown[SL_JSON_NUMBER_MAX];
    sl_text_printf(text, "shelflife_serve_%s %s\n", name, sl_format_double(shown, value));
}

static void latencies(const struct dp_figures *figures, struct sl_text *text)
{
    char shown[SL_JSON_NUMBER_MAX];
    double seconds[QUANTILES];
    family(text, "latency_seconds", "summary",
            "From the whole request to its answer, of those that were answered; quantiles over the last "
            "2048.");
    for (int s = 0; s < DP_STAGES; s++) {
        quantiles_of(figures, (enum dp_stage)s, quantiles, QUANTILES, seconds);
        for (size_t i = 0; i < QUANTILES; i++)
            sl_text_printf(text, "shelflife_serve_latency_seconds{stage=\"%s\",quantile=\"%g\"} %s\n",
                    stage_names[s], quantiles[i], sl_format_double(shown, seconds[i]));
        sl_text_printf(text, "shelflife_serve_latency_seconds_sum{stage=\"%s\"} %s\n", stage_names[s],
                sl_format_double(shown, figures->sum[s]));
        sl_text_printf(text, "shelflife_serve_latency_seconds_count{stage=\"%s\"} %" PRIu64 "\n",
                stage_names[s], figures->answers[DP_OUTCOME_OK]);
    }
}

static void batches(const struct dp_figures *figures, struct sl_text *text)
{
    uint64_t sum = 0;
    family(text, "batch_size", "histogram", "Requests that were taken together.");
    for (int i = 0; i < DP_FIGURES_BUCKETS; i++) {
        sum += figures->batches[i];
        sl_text_printf(text, "shelflife_serve_batch_size_bucket{le=\"%d\"} %" PRIu64 "\n", 1 << i, sum);
    }
    sum += figures->batches[DP_FIGURES_BUCKETS];
    sl_text_printf(text, "shelflife_serve_batch_size_bucket{le=\"+Inf\"} %" PRIu64 "\n", sum);
    sl_text_printf(text, "shelflife_serve_batch_size_sum %" PRIu64 "\n", figures->batch_samples);
    sl_text_printf(text, "shelflife_serve_batch_size_count %" PRIu64 "\n", sum);
}

void dp_figures_prometheus(
        const struct dp_figures *figures, const struct dp_figures_now *now, struct sl_text *text)
{
    family(text, "requests_total", "counter",
            "Requests by outcome: ok, refused (malformed, or cannot be scored), busy (full or stopping), "
            "failed.");
    for (int o = 0; o < DP_OUTCOMES; o++)
        sl_text_printf(text, "shelflife_serve_requests_total{outcome=\"%s\"} %" PRIu64 "\n", outcome_names[o],
                figures->answers[o]);
    family(text, "in_flight", "gauge", "Requests that were taken and not answered yet.");
    number(text, "in_flight", now->in_flight);
    family(text, "queue_limit", "gauge", "The largest number of these.");
    number(text, "queue_limit", now->queue);
    latencies(figures, text);
    batches(figures, text);
    family(text, "reloads_total", "counter", "Newer snapshots that were taken.");
    number(text, "reloads_total", (double)figures->reloads);
    family(text, "reloads_refused_total", "counter", "Newer snapshots that were damaged or did not fit.");
    number(text, "reloads_refused_total", (double)figures->reloads_refused);
    family(text, "snapshot_step", "gauge", "The training step of the snapshot that answers.");
    number(text, "snapshot_step", (double)now->step);
    family(text, "snapshot_loaded_timestamp_seconds", "gauge", "When it was loaded, Unix time.");
    number(text, "snapshot_loaded_timestamp_seconds", now->loaded);
}
