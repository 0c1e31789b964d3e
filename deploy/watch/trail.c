/* The latest steps: see trail.h. */
#include "deploy/watch/trail.h"

#include "common/file.h"
#include "common/memory.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void dp_trail_fini(struct dp_trail *trail)
{
    sl_free(trail->steps);
    *trail = (struct dp_trail){0};
}

void dp_trail_clear(struct dp_trail *trail)
{
    trail->first = trail->count = 0;
}

static struct dp_trail_step *step_at(const struct dp_trail *trail, int index)
{
    return &trail->steps[(trail->first + index) % DP_TRAIL_STEPS];
}

static void add_step(struct dp_trail *h, const struct dp_trail_step *step)
{
    if (h->steps == NULL)
        h->steps = sl_alloc(DP_TRAIL_STEPS, sizeof(*h->steps));
    if (h->steps == NULL)
        return;
    while (h->count > 0 && step_at(h, h->count - 1)->step >= step->step)
        h->count--;
    if (h->count == DP_TRAIL_STEPS) {
        h->first = (h->first + 1) % DP_TRAIL_STEPS;
        h->count--;
    }
    *step_at(h, h->count++) = *step;
}

static void fill(float *to, const double *values, size_t count)
{
    for (size_t b = 0; b < SL_BRANCHES_MAX; b++)
        to[b] = b < count ? (float)values[b] : NAN;
}

static void divide(float *values, const float *by)
{
    for (size_t b = 0; b < SL_BRANCHES_MAX; b++)
        values[b] /= by[b];
}

void dp_trail_add(struct dp_trail *trail, const Shelflife__Status__Step *step)
{
    struct dp_trail_step entry = {.step = step->step};
    float sizes[SL_BRANCHES_MAX];
    fill(entry.values[DP_TRAIL_LOSS], step->loss, step->n_loss);
    fill(entry.values[DP_TRAIL_RATIO], step->ratio, step->n_ratio);
    fill(entry.values[DP_TRAIL_COEFFICIENT], step->coefficient, step->n_coefficient);
    fill(entry.values[DP_TRAIL_UPDATE], step->branch_update_norm, step->n_branch_update_norm);
    fill(sizes, step->branch_parameter_norm, step->n_branch_parameter_norm);
    divide(entry.values[DP_TRAIL_UPDATE], sizes);
    add_step(trail, &entry);
}

/* ---- metrics.jsonl ---- */

static void fill_json(float *to, const json_t *line, const char *key, const Shelflife__Status__Run *run)
{
    const json_t *object = json_object_get(line, key);
    for (size_t b = 0; b < SL_BRANCHES_MAX; b++) {
        const json_t *value = b < run->n_branches ? json_object_get(object, run->branches[b]) : NULL;
        to[b] = json_is_number(value) ? (float)json_number_value(value) : NAN;
    }
}

static void add_line(struct dp_trail *trail, const char *text, size_t size, const Shelflife__Status__Run *run)
{
    json_t *line = json_loadb(text, size, 0, NULL);
    const char *kind = json_string_value(json_object_get(line, "kind"));
    if (kind != NULL && strcmp(kind, "step") == 0) {
        float sizes[SL_BRANCHES_MAX];
        struct dp_trail_step entry = {.step = json_integer_value(json_object_get(line, "step"))};
        fill_json(entry.values[DP_TRAIL_LOSS], line, "loss", run);
        fill_json(entry.values[DP_TRAIL_RATIO], line, "ratio", run);
        fill_json(entry.values[DP_TRAIL_COEFFICIENT], line, "coefficient", run);
        fill_json(entry.values[DP_TRAIL_UPDATE], line, "update_norm", run);
        fill_json(sizes, line, "parameter_norm", run);
        divide(entry.values[DP_TRAIL_UPDATE], sizes);
        add_step(trail, &entry);
    }
    json_decref(line);
}

void dp_trail_read(struct dp_trail *trail, const char *path, const Shelflife__Status__Run *run)
{
    int64_t size = sl_file_size(path);
    SL_AUTO_CLOSE int fd = size > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    int64_t taken = size < DP_TRAIL_TAIL ? size : DP_TRAIL_TAIL;
    if (fd < 0)
        return;
    SL_AUTO_FREE char *text = sl_alloc((size_t)taken, 1);
    if (text == NULL || sl_file_read_at(fd, text, (size_t)taken, size - taken, path, NULL) != SL_OK)
        return;
    const char *at = text, *end = text + taken;
    if (taken < size) { /* the first line is cut */
        const char *line = memchr(at, '\n', (size_t)(end - at));
        at = line != NULL ? line + 1 : end;
    }
    for (const char *line; at < end && (line = memchr(at, '\n', (size_t)(end - at))) != NULL; at = line + 1)
        add_line(trail, at, (size_t)(line - at), run);
}

/* ---- curves ---- */

void dp_trail_curve(
        const struct dp_trail *h, enum dp_trail_kind kind, int branch, int places, double *ret_values)
{
    for (int p = 0; p < places; p++)
        ret_values[p] = NAN;
    if (places <= 0 || h->count == 0)
        return;
    int last = -1, counted = 0;
    double sum = 0.0;
    for (int i = 0; i < h->count; i++) {
        int place = h->count > places ? (int)((int64_t)i * places / h->count) : i;
        float value = step_at(h, i)->values[kind][branch];
        if (place != last) {
            sum = 0.0;
            counted = 0;
        }
        last = place;
        if (!isfinite(value))
            continue;
        sum += (double)value;
        ret_values[place] = sum / ++counted;
    }
}

bool dp_trail_range(
        const struct dp_trail *h, enum dp_trail_kind kind, int branches, double *ret_low, double *ret_high)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < h->count; i++)
        for (int b = 0; b < branches; b++) {
            double value = (double)step_at(h, i)->values[kind][b];
            if (!isfinite(value))
                continue;
            low = value < low ? value : low;
            high = value > high ? value : high;
        }
    if (!(low <= high))
        return false;
    *ret_low = low;
    *ret_high = high;
    return true;
}
