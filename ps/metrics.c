/* metrics.jsonl: see metrics.h. */
#include "ps/metrics.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX ((size_t)4 << 30) /* bytes of a metrics file that is read back */
#define LINE_MAX ((size_t)1 << 20)

struct ps_metrics {
    const struct sl_config *config;
    char *path;
    int fd;
    struct sl_json json;
};

/* The size of the part that is kept: whole lines whose step is at most `step`, up to the first other one. */
static size_t kept_size(const char *text, size_t size, int64_t step)
{
    size_t kept = 0;
    while (kept < size) {
        const char *end = memchr(text + kept, '\n', size - kept);
        if (end == NULL)
            return kept;
        size_t length = (size_t)(end - text) - kept;
        json_t *line = json_loadb(text + kept, length, 0, NULL);
        bool keep = line != NULL && json_integer_value(json_object_get(line, "step")) <= step;
        json_decref(line);
        if (!keep)
            return kept;
        kept += length + 1;
    }
    return kept;
}

static enum sl_status cut_back(const char *path, int64_t step, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum sl_status status = sl_file_read(&text, &size, path, FILE_MAX, err);
    if (status == SL_NOT_FOUND)
        return SL_OK;
    if (status != SL_OK)
        return status;
    size_t kept = step > 0 ? kept_size(text, size, step) : 0;
    if (kept < size && truncate(path, (off_t)kept) != 0)
        return sl_fail_errno(err, "cannot shorten %s", path);
    return SL_OK;
}

enum sl_status ps_metrics_open(
        struct ps_metrics **ret_metrics, const struct sl_config *config, int64_t step, struct sl_error *err)
{
    struct ps_metrics *metrics = sl_alloc(1, sizeof(*metrics));
    char *path = sl_path_join(config->snapshots.dir, "metrics.jsonl");
    if (metrics == NULL || path == NULL) {
        sl_free(metrics);
        sl_free(path);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the metrics");
    }
    *metrics = (struct ps_metrics){.config = config, .path = path, .fd = -1};
    sl_json_init(&metrics->json, LINE_MAX);
    enum sl_status status = cut_back(path, step, err);
    if (status == SL_OK) {
        metrics->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (metrics->fd < 0)
            status = sl_fail_errno(err, "cannot open %s", path);
    }
    if (status != SL_OK) {
        ps_metrics_close(metrics);
        return status;
    }
    *ret_metrics = metrics;
    return SL_OK;
}

void ps_metrics_close(struct ps_metrics *metrics)
{
    if (metrics == NULL)
        return;
    if (metrics->fd >= 0)
        (void)close(metrics->fd);
    sl_json_fini(&metrics->json);
    sl_free(metrics->path);
    sl_free(metrics);
}

static void begin_line(struct ps_metrics *metrics, const char *kind, int64_t step)
{
    char time[SL_TIME_TEXT_MAX];
    sl_time_format_us(time, sizeof(time), sl_clock_wall_us());
    sl_json_reset(&metrics->json);
    sl_json_object(&metrics->json, NULL);
    sl_json_string(&metrics->json, "kind", kind);
    sl_json_string(&metrics->json, "time", time);
    sl_json_int(&metrics->json, "step", step);
}

static enum sl_status end_line(struct ps_metrics *metrics, struct sl_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    sl_json_end(&metrics->json);
    enum sl_status status = sl_json_finish(&metrics->json, &text, &size, err);
    if (status != SL_OK)
        return status;
    char *line = sl_strdup_printf("%s\n", text);
    if (line == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a line of metrics");
    status = sl_file_write_all(metrics->fd, line, size + 1, metrics->path, err);
    sl_free(line);
    return status;
}

/* {"visual": x, …}: by modality, and with the fused branch when there are modality_count + 1 values. */
static void put_values(struct ps_metrics *metrics, const char *key, const double *values, int count)
{
    sl_json_object(&metrics->json, key);
    for (int i = 0; i < count; i++)
        sl_json_double(&metrics->json, sl_config_branch_name(metrics->config, i), values[i]);
    sl_json_end(&metrics->json);
}

static void put_profile(struct sl_json *json, const struct ps_step_record *r)
{
    sl_json_object(json, "profile");
#define X(kind, name, what) sl_json_double(json, name, r->spent[SL_SPENT_##kind]);
    SL_SPENT_KINDS(X)
#undef X
    sl_json_double(json, "update", r->update_seconds);
    sl_json_end(json);
}

enum sl_status ps_metrics_step(
        struct ps_metrics *metrics, const struct ps_step_record *r, struct sl_error *err)
{
    int modalities = metrics->config->modality_count;
    struct sl_json *json = &metrics->json;
    begin_line(metrics, "step", r->step);
    sl_json_int(json, "epoch", r->epoch);
    sl_json_int(json, "samples", r->samples);
    put_values(metrics, "loss", r->loss, modalities + 1);
    put_values(metrics, "accuracy", r->accuracy, modalities + 1);
    put_values(metrics, "score", r->score, modalities);
    put_values(metrics, "ratio", r->ratio, modalities);
    put_values(metrics, "coefficient", r->coefficient, modalities);
    put_values(metrics, "cosine", r->cosine, modalities);
    put_values(metrics, "update_norm", r->update_norm, modalities + 1);
    put_values(metrics, "parameter_norm", r->parameter_norm, modalities + 1);
    sl_json_double(json, "gradient_norm", r->norm);
    sl_json_double(json, "clip", r->clip);
    sl_json_double(json, "lr", r->rate);
    sl_json_double(json, "seconds", r->seconds);
    sl_json_double(json, "compute_seconds", r->compute_seconds);
    sl_json_double(json, "samples_per_second", r->seconds > 0.0 ? (double)r->samples / r->seconds : 0.0);
    sl_json_int(json, "workers", r->workers);
    if (metrics->config->snapshots.profile)
        put_profile(json, r);
    return end_line(metrics, err);
}

enum sl_status ps_metrics_validation(struct ps_metrics *metrics, int64_t step, int64_t epoch, double seconds,
        bool best, const struct sl_evaluation *evaluation, struct sl_error *err)
{
    const struct sl_config *config = metrics->config;
    const char *branches[SL_BRANCHES_MAX], *classes[SL_LABELS_MAX];
    for (int b = 0; b <= config->modality_count; b++)
        branches[b] = sl_config_branch_name(config, b);
    for (int k = 0; k < config->label_count; k++)
        classes[k] = config->labels[k].name;
    begin_line(metrics, "validation", step);
    sl_json_int(&metrics->json, "epoch", epoch);
    sl_json_double(&metrics->json, "seconds", seconds);
    sl_json_bool(&metrics->json, "best", best);
    sl_evaluation_json(evaluation, &metrics->json, "branches", branches, classes);
    return end_line(metrics, err);
}

enum sl_status ps_metrics_event(
        struct ps_metrics *metrics, int64_t step, const char *event, const char *text, struct sl_error *err)
{
    begin_line(metrics, "event", step);
    sl_json_string(&metrics->json, "event", event);
    sl_json_string(&metrics->json, "text", text);
    return end_line(metrics, err);
}
