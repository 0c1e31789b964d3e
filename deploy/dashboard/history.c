/* A run's past in bounded memory: see history.h. */
#include "deploy/dashboard/history.h"

#include "common/clock.h"
#include "common/memory.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 512 /* bytes of an event's text, with its 0 */

/* One list makes the columns that have a value for each branch or modality, and one those that have one value. X(name here and in metrics.jsonl, field of a Step). Ours are
 * held, the share of steps with k < 1, and relative_update, what a step changes of the parameters as a share of them. */
#define WIDE_COLUMNS(X)                                                                                      \
    X(loss, loss)                                                                                            \
    X(accuracy, accuracy)                                                                                    \
    X(score, score)                                                                                          \
    X(ratio, ratio)                                                                                          \
    X(coefficient, coefficient)                                                                              \
    X(cosine, cosine)                                                                                        \
    X(update_norm, branch_update_norm)                                                                       \
    X(parameter_norm, branch_parameter_norm)
enum wide {
#define X(name, field) WIDE_##name,
    WIDE_COLUMNS(X)
#undef X
            WIDE_held,
    WIDE_relative_update,
    WIDE_COUNT
};
static const char *const wide_names[WIDE_COUNT] = {
#define X(name, field) #name,
        WIDE_COLUMNS(X)
#undef X
                "held",
        "relative_update"};

enum narrow { NORM, CLIP, RATE, SECONDS, THROUGHPUT, WORKERS, NARROW_COUNT };
static const char *const narrow_names[NARROW_COUNT] = {
        "norm", "clip", "rate", "seconds", "throughput", "workers"};

/* Means of `count` steps that end with `step`. NaN: no value. */
struct point {
    int64_t step, epoch, count;
    double time;
    double wide[WIDE_COUNT][SL_BRANCHES_MAX];
    double narrow[NARROW_COUNT];
};

struct validation {
    int64_t step, epoch, samples;
    double time, seconds;
    bool best;
    double figures[SL_BRANCHES_MAX][5];
};

static const char *const figure_names[5] = {"loss", "accuracy", "macro_f1", "ece", "ordinal_error"};
/* as metrics.jsonl has them */
static const char *const figure_keys[5] = {
        "loss", "accuracy", "macro_f1", "calibration_error", "class_distance"};

struct event {
    int64_t step;
    double time;
    char name[SL_NAME_MAX], text[TEXT_MAX];
};

struct dp_history {
    int branch_count, label_count;
    char branches[SL_BRANCHES_MAX][SL_NAME_MAX];
    char labels[SL_LABELS_MAX][SL_NAME_MAX];
    int64_t stride;
    int point_count, validation_count, event_count;
    struct point points[DP_HISTORY_POINTS];
    struct validation validations[DP_HISTORY_VALIDATIONS];
    int64_t *confusion; /* (branches, labels, labels) of the last validation, NULL = unknown */
    struct event events[DP_HISTORY_EVENTS];
    double last_time;
};

enum sl_status dp_history_create(struct dp_history **ret_history, struct sl_error *err)
{
    struct dp_history *history = sl_alloc(1, sizeof(*history));
    if (history == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the history of a run");
    history->stride = 1;
    *ret_history = history;
    return SL_OK;
}

void dp_history_destroy(struct dp_history *history)
{
    if (history != NULL)
        sl_free(history->confusion);
    sl_free(history);
}

void dp_history_clear(struct dp_history *history)
{
    sl_free(history->confusion);
    memset(history, 0, sizeof(*history));
    history->stride = 1;
}

/* ---- points ---- */

static void mean_in(double *mean, double value, int64_t old, int64_t added)
{
    if (isnan(*mean))
        *mean = value;
    else if (!isnan(value))
        *mean += (value - *mean) * (double)added / (double)(old + added);
}

static void join(struct point *into, const struct point *later)
{
    for (int c = 0; c < WIDE_COUNT; c++)
        for (int b = 0; b < SL_BRANCHES_MAX; b++)
            mean_in(&into->wide[c][b], later->wide[c][b], into->count, later->count);
    for (int c = 0; c < NARROW_COUNT; c++)
        mean_in(&into->narrow[c], later->narrow[c], into->count, later->count);
    into->count += later->count;
    into->step = later->step;
    into->epoch = later->epoch;
    into->time = later->time;
}

static void join_neighbours(struct dp_history *history)
{
    for (int i = 0; i < DP_HISTORY_POINTS / 2; i++) {
        struct point pair = history->points[2 * i];
        join(&pair, &history->points[2 * i + 1]);
        history->points[i] = pair;
    }
    history->point_count = DP_HISTORY_POINTS / 2;
    history->stride *= 2;
}

/* The run went back: what was at `step` or later did not happen. A point that holds steps of both sides goes too. */
static void forget_from(struct dp_history *history, int64_t step)
{
    while (history->point_count > 0 && history->points[history->point_count - 1].step >= step)
        history->point_count--;
    while (history->validation_count > 0 && history->validations[history->validation_count - 1].step >= step)
        history->validation_count--;
}

static void add_point(struct dp_history *history, const struct point *point)
{
    if (point->step <= dp_history_last_step(history))
        forget_from(history, point->step);
    struct point *last = history->point_count > 0 ? &history->points[history->point_count - 1] : NULL;
    if (last != NULL && last->count < history->stride) {
        join(last, point);
        return;
    }
    if (history->point_count == DP_HISTORY_POINTS)
        join_neighbours(history);
    history->points[history->point_count++] = *point;
}

static void empty_point(struct point *point)
{
    *point = (struct point){.count = 1};
    for (int c = 0; c < WIDE_COUNT; c++)
        for (int b = 0; b < SL_BRANCHES_MAX; b++)
            point->wide[c][b] = NAN;
    for (int c = 0; c < NARROW_COUNT; c++)
        point->narrow[c] = NAN;
}

static void finish_point(struct point *point)
{
    for (int m = 0; m < SL_BRANCHES_MAX; m++) {
        double k = point->wide[WIDE_coefficient][m];
        point->wide[WIDE_held][m] = isnan(k) ? NAN : k < 1.0 ? 1.0 : 0.0;
        point->wide[WIDE_relative_update][m] =
                point->wide[WIDE_update_norm][m] / point->wide[WIDE_parameter_norm][m];
    }
}

static void add_validation(struct dp_history *history, const struct validation *validation)
{
    while (history->validation_count > 0 &&
            history->validations[history->validation_count - 1].step >= validation->step)
        history->validation_count--;
    if (history->validation_count == DP_HISTORY_VALIDATIONS) {
        for (int i = 0; i < DP_HISTORY_VALIDATIONS / 2; i++)
            history->validations[i] = history->validations[2 * i + 1];
        history->validation_count = DP_HISTORY_VALIDATIONS / 2;
    }
    history->validations[history->validation_count++] = *validation;
}

static void add_event(struct dp_history *history, const struct event *event)
{
    if (history->event_count == DP_HISTORY_EVENTS) {
        memmove(&history->events[0], &history->events[1],
                (DP_HISTORY_EVENTS - 1) * sizeof(history->events[0]));
        history->event_count--;
    }
    history->events[history->event_count++] = *event;
}

/* ---- lines of metrics.jsonl ---- */

static double number(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Seconds with their fraction of "2026-11-23T08:31:02.123Z"; 0 when it is no time. */
static double parse_time(const json_t *value)
{
    const char *text = json_string_value(value);
    int64_t seconds = 0;
    if (text == NULL || sl_time_parse_rfc3339(&seconds, text, NULL) != SL_OK)
        return 0.0;
    const char *dot = strchr(text, '.');
    double fraction = 0.0, unit = 0.1;
    for (const char *c = dot == NULL ? "" : dot + 1; *c >= '0' && *c <= '9'; c++, unit /= 10.0)
        fraction += unit * (*c - '0');
    return (double)seconds + fraction;
}

/* The names of the branches are the keys of the first object by branch, in its order. */
static enum sl_status learn_branches(struct dp_history *history, json_t *by_branch, struct sl_error *err)
{
    size_t count = json_object_size(by_branch);
    if (history->branch_count > 0 || count == 0)
        return SL_OK;
    if (count > SL_BRANCHES_MAX)
        return sl_fail(err, SL_BAD_DATA, "%zu branches: a model has at most %d", count, SL_BRANCHES_MAX);
    sl_free(history->confusion); /* it had the shape of no branches */
    history->confusion = NULL;
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(by_branch, name, value)
    {
        (void)snprintf(history->branches[history->branch_count], SL_NAME_MAX, "%s", name);
        history->branch_count++;
    }
    return SL_OK;
}

static enum sl_status step_line(struct dp_history *history, json_t *line, struct sl_error *err)
{
    enum sl_status status = learn_branches(history, json_object_get(line, "loss"), err);
    if (status != SL_OK)
        return status;
    struct point point;
    empty_point(&point);
    point.step = integer(line, "step");
    point.epoch = integer(line, "epoch");
    point.time = history->last_time;
    for (int c = 0; c < WIDE_held; c++) {
        json_t *by_branch = json_object_get(line, wide_names[c]);
        for (int b = 0; b < history->branch_count; b++)
            point.wide[c][b] = number(json_object_get(by_branch, history->branches[b]));
    }
    static const char *const keys[NARROW_COUNT] = {
            "gradient_norm", "clip", "lr", "seconds", "samples_per_second", "workers"};
    for (int c = 0; c < NARROW_COUNT; c++)
        point.narrow[c] = number(json_object_get(line, keys[c]));
    finish_point(&point);
    add_point(history, &point);
    return SL_OK;
}

static void learn_labels(struct dp_history *history, const json_t *classes)
{
    size_t count = json_array_size(classes);
    if (history->label_count > 0 || count > SL_LABELS_MAX)
        return;
    for (size_t k = 0; k < count; k++) {
        const char *name = json_string_value(json_object_get(json_array_get(classes, k), "name"));
        (void)snprintf(history->labels[k], SL_NAME_MAX, "%s", name == NULL ? "?" : name);
    }
    history->label_count = (int)count;
}

static enum sl_status renew_confusion(struct dp_history *history, struct sl_error *err)
{
    sl_free(history->confusion);
    size_t k = (size_t)history->label_count;
    history->confusion = sl_alloc((size_t)history->branch_count * k * k + 1, sizeof(int64_t));
    return history->confusion != NULL ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory for a validation");
}

static int64_t *confusion_of(const struct dp_history *history, int branch)
{
    size_t k = (size_t)history->label_count;
    return history->confusion + (size_t)branch * k * k;
}

static enum sl_status validation_line(struct dp_history *history, json_t *line, struct sl_error *err)
{
    json_t *branches = json_object_get(line, "branches");
    enum sl_status status = learn_branches(history, branches, err);
    if (status != SL_OK)
        return status;
    struct validation validation = {.step = integer(line, "step"),
            .epoch = integer(line, "epoch"),
            .time = history->last_time,
            .seconds = number(json_object_get(line, "seconds")),
            .best = json_is_true(json_object_get(line, "best"))};
    json_t *first = json_object_get(branches, history->branch_count > 0 ? history->branches[0] : "");
    validation.samples = integer(first, "count");
    learn_labels(history, json_object_get(first, "classes"));
    status = renew_confusion(history, err);
    for (int b = 0; b < history->branch_count && status == SL_OK; b++) {
        json_t *branch = json_object_get(branches, history->branches[b]);
        for (int f = 0; f < 5; f++)
            validation.figures[b][f] = number(json_object_get(branch, figure_keys[f]));
        json_t *rows = json_object_get(branch, "confusion");
        for (int t = 0; t < history->label_count; t++)
            for (int p = 0; p < history->label_count; p++)
                confusion_of(history, b)[t * history->label_count + p] =
                        json_integer_value(json_array_get(json_array_get(rows, (size_t)t), (size_t)p));
    }
    if (status == SL_OK)
        add_validation(history, &validation);
    return status;
}

static void event_line(struct dp_history *history, const json_t *line)
{
    struct event event = {.step = integer(line, "step"), .time = history->last_time};
    const char *name = json_string_value(json_object_get(line, "event"));
    const char *text = json_string_value(json_object_get(line, "text"));
    (void)snprintf(event.name, sizeof(event.name), "%s", name == NULL ? "event" : name);
    (void)snprintf(event.text, sizeof(event.text), "%s", text == NULL ? "" : text);
    add_event(history, &event);
}

enum sl_status dp_history_line(
        struct dp_history *history, const char *line, size_t size, struct sl_error *err)
{
    json_t *root = json_loadb(line, size, 0, NULL);
    const char *kind = json_string_value(json_object_get(root, "kind"));
    enum sl_status status = SL_OK;
    if (kind == NULL)
        status = sl_fail(err, SL_BAD_DATA, "a line of metrics is no JSON object with a kind");
    else
        history->last_time = parse_time(json_object_get(root, "time"));
    if (kind != NULL && strcmp(kind, "step") == 0)
        status = step_line(history, root, err);
    else if (kind != NULL && strcmp(kind, "validation") == 0)
        status = validation_line(history, root, err);
    else if (kind != NULL && strcmp(kind, "event") == 0)
        event_line(history, root);
    json_decref(root);
    return status;
}

/* ---- messages ---- */

enum sl_status dp_history_run(
        struct dp_history *history, const Shelflife__Status__Run *run, struct sl_error *err)
{
    if (run->n_branches > SL_BRANCHES_MAX || run->n_labels > SL_LABELS_MAX)
        return sl_fail(err, SL_BAD_DATA, "the run has %zu branches and %zu labels: at most %d and %d",
                run->n_branches, run->n_labels, SL_BRANCHES_MAX, SL_LABELS_MAX);
    bool other_size =
            history->label_count != (int)run->n_labels || history->branch_count != (int)run->n_branches;
    if (other_size) { /* a matrix of another shape is not shown */
        sl_free(history->confusion);
        history->confusion = NULL;
    }
    history->branch_count = (int)run->n_branches;
    history->label_count = (int)run->n_labels;
    for (size_t b = 0; b < run->n_branches; b++)
        (void)snprintf(history->branches[b], SL_NAME_MAX, "%s", run->branches[b]);
    for (size_t k = 0; k < run->n_labels; k++)
        (void)snprintf(history->labels[k], SL_NAME_MAX, "%s", run->labels[k]);
    return SL_OK;
}

static enum sl_status copy_wide(
        struct point *point, enum wide column, const double *values, size_t count, struct sl_error *err)
{
    if (count > SL_BRANCHES_MAX)
        return sl_fail(err, SL_BAD_DATA, "%zu values of %s: a model has at most %d branches", count,
                wide_names[column], SL_BRANCHES_MAX);
    for (size_t b = 0; b < count; b++)
        point->wide[column][b] = values[b];
    return SL_OK;
}

enum sl_status dp_history_step(
        struct dp_history *history, const Shelflife__Status__Step *step, struct sl_error *err)
{
    struct point point;
    empty_point(&point);
    point.step = step->step;
    point.epoch = step->epoch;
    point.time = history->last_time = step->time;
    enum sl_status status = SL_OK;
#define X(name, field)                                                                                       \
    if (status == SL_OK)                                                                                     \
        status = copy_wide(&point, WIDE_##name, step->field, step->n_##field, err);
    WIDE_COLUMNS(X)
#undef X
    if (status != SL_OK)
        return status;
    point.narrow[NORM] = step->norm;
    point.narrow[CLIP] = step->clip;
    point.narrow[RATE] = step->rate;
    point.narrow[SECONDS] = step->seconds;
    point.narrow[THROUGHPUT] = step->seconds > 0.0 ? (double)step->samples / step->seconds : NAN;
    point.narrow[WORKERS] = (double)step->workers;
    finish_point(&point);
    add_point(history, &point);
    return SL_OK;
}

enum sl_status dp_history_validation(
        struct dp_history *history, const Shelflife__Status__Validation *message, struct sl_error *err)
{
    if (message->n_branch > SL_BRANCHES_MAX)
        return sl_fail(err, SL_BAD_DATA, "a validation of %zu branches: a model has at most %d",
                message->n_branch, SL_BRANCHES_MAX);
    enum sl_status status = renew_confusion(history, err);
    if (status != SL_OK)
        return status;
    struct validation validation = {.step = message->step,
            .epoch = message->epoch,
            .samples = message->samples,
            .time = message->time,
            .seconds = message->seconds,
            .best = message->best != 0};
    size_t cells = (size_t)history->label_count * (size_t)history->label_count;
    for (size_t b = 0; b < message->n_branch; b++) {
        const Shelflife__Status__Branch *branch = message->branch[b];
        const double figures[5] = {
                branch->loss, branch->accuracy, branch->macro_f1, branch->ece, branch->ordinal_error};
        memcpy(validation.figures[b], figures, sizeof(figures));
        if (b < (size_t)history->branch_count && branch->n_confusion == cells && cells > 0)
            memcpy(confusion_of(history, (int)b), branch->confusion, cells * sizeof(int64_t));
    }
    add_validation(history, &validation);
    return SL_OK;
}

/* ---- out ---- */

/* Whether a column has a value for the fused branch too. */
static bool has_fused(int column)
{
    return column == WIDE_loss || column == WIDE_accuracy || column == WIDE_update_norm ||
           column == WIDE_parameter_norm || column == WIDE_relative_update;
}

static void put_wide(const struct dp_history *history, struct sl_json *json, int column)
{
    int width = has_fused(column) ? history->branch_count : history->branch_count - 1;
    sl_json_array(json, wide_names[column]);
    for (int b = 0; b < width; b++) {
        sl_json_array(json, NULL);
        for (int i = 0; i < history->point_count;
                i++) /* as float: a line on a screen needs no more, and it is half the text */
            sl_json_float(json, NULL, (float)history->points[i].wide[column][b]);
        sl_json_end(json);
    }
    sl_json_end(json);
}

static void put_points(const struct dp_history *history, struct sl_json *json)
{
    sl_json_array(json, "step");
    for (int i = 0; i < history->point_count; i++)
        sl_json_int(json, NULL, history->points[i].step);
    sl_json_end(json);
    sl_json_array(json, "epoch");
    for (int i = 0; i < history->point_count; i++)
        sl_json_int(json, NULL, history->points[i].epoch);
    sl_json_end(json);
    sl_json_array(json, "time");
    for (int i = 0; i < history->point_count; i++)
        sl_json_double(json, NULL, history->points[i].time);
    sl_json_end(json);
    for (int c = 0; c < WIDE_COUNT; c++)
        put_wide(history, json, c);
    for (int c = 0; c < NARROW_COUNT; c++) {
        sl_json_array(json, narrow_names[c]);
        for (int i = 0; i < history->point_count; i++)
            sl_json_float(json, NULL, (float)history->points[i].narrow[c]);
        sl_json_end(json);
    }
}

static void put_validation(const struct dp_history *history, struct sl_json *json, int index)
{
    const struct validation *v = &history->validations[index];
    bool last = index == history->validation_count - 1;
    sl_json_object(json, NULL);
    sl_json_int(json, "step", v->step);
    sl_json_int(json, "epoch", v->epoch);
    sl_json_double(json, "time", v->time);
    sl_json_double(json, "seconds", v->seconds);
    sl_json_bool(json, "best", v->best);
    sl_json_int(json, "samples", v->samples);
    sl_json_array(json, "branch");
    for (int b = 0; b < history->branch_count; b++) {
        sl_json_object(json, NULL);
        for (int f = 0; f < 5; f++)
            sl_json_double(json, figure_names[f], v->figures[b][f]);
        if (last && history->confusion != NULL) {
            sl_json_array(json, "confusion");
            for (int i = 0; i < history->label_count * history->label_count; i++)
                sl_json_int(json, NULL, confusion_of(history, b)[i]);
            sl_json_end(json);
        }
        sl_json_end(json);
    }
    sl_json_end(json);
    sl_json_end(json);
}

void dp_history_json(const struct dp_history *history, struct sl_json *json, const char *key)
{
    sl_json_object(json, key);
    sl_json_array(json, "branches");
    for (int b = 0; b < history->branch_count; b++)
        sl_json_string(json, NULL, history->branches[b]);
    sl_json_end(json);
    sl_json_array(json, "labels");
    for (int k = 0; k < history->label_count; k++)
        sl_json_string(json, NULL, history->labels[k]);
    sl_json_end(json);
    sl_json_int(json, "stride", history->stride);
    put_points(history, json);
    sl_json_array(json, "validations");
    for (int i = 0; i < history->validation_count; i++)
        put_validation(history, json, i);
    sl_json_end(json);
    sl_json_array(json, "events");
    for (int i = 0; i < history->event_count; i++) {
        sl_json_object(json, NULL);
        sl_json_double(json, "time", history->events[i].time);
        sl_json_int(json, "step", history->events[i].step);
        sl_json_string(json, "name", history->events[i].name);
        sl_json_string(json, "text", history->events[i].text);
        sl_json_end(json);
    }
    sl_json_end(json);
    sl_json_end(json);
}

int64_t dp_history_last_step(const struct dp_history *history)
{
    return history->point_count == 0 ? 0 : history->points[history->point_count - 1].step;
}

double dp_history_last_time(const struct dp_history *history)
{
    return history->last_time;
}

int dp_history_points(const struct dp_history *history)
{
    return history->point_count;
}

double dp_history_accuracy(const struct dp_history *history, bool best)
{
    double found = NAN;
    for (int i = 0; i < history->validation_count && history->branch_count > 0; i++) {
        double accuracy = history->validations[i].figures[history->branch_count - 1][1];
        if (!best || isnan(found) || accuracy > found)
            found = accuracy;
    }
    return found;
}
