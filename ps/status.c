/* The run's figures for whoever watches: see status.h. Here they are collected; status_pack.c fills messages, status_figures.c computes, status_publisher.c sends. */
#include "ps/status.h"

#include "common/clock.h"
#include "common/memory.h"
#include "ps/endpoint.h"
#include "ps/status_figures.h"
#include "ps/status_pack.h"
#include "ps/status_publisher.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENT_NAME_MAX 48
#define EVENT_TEXT_MAX 512
#define LEAST_INTERVAL_US 200000

#define SET(object, field, value) ((object)->has_##field = 1, (object)->field = (value))

struct event {
    Shelflife__Status__Event message;
    char name[EVENT_NAME_MAX], text[EVENT_TEXT_MAX];
};

struct ps_status {
    const struct sl_config *config;
    struct ps_publisher *publisher;
    /* what does not change */
    char folder[PATH_MAX];
    double started;
    uint64_t config_hash, parameters;
    char *branches[SL_BRANCHES_MAX], *labels[SL_LABELS_MAX]; /* borrow from config */
    /* what happened; lists are rings, `next` is where the oldest is once they are full */
    struct ps_pace pace;
    struct ps_lead lead;
    struct ps_rate bytes;
    bool stepped, validated;
    struct ps_status_step_message step;
    struct ps_status_validation_message validation;
    Shelflife__Status__Snapshot snapshots[PS_STATUS_SNAPSHOTS_MAX];
    int snapshot_count, snapshot_next;
    struct event events[PS_STATUS_EVENTS_MAX];
    int event_count, event_next;
    /* the last view, without its lists: for the last Status */
    struct ps_status_view view;
    int64_t due_us, updated_us;
};

static struct ps_clock_pair read_clocks(void)
{
    return (struct ps_clock_pair){.monotonic_us = sl_clock_monotonic_us(), .wall_us = sl_clock_wall_us()};
}

static double wall_seconds(void)
{
    return (double)sl_clock_wall_us() * 1e-6;
}

/* The next Status comes at once, unless there was one just now: an epoch may be three steps. */
static void hurry(struct ps_status *s)
{
    int64_t soon_us = s->updated_us + LEAST_INTERVAL_US;
    s->due_us = soon_us < s->due_us ? soon_us : s->due_us;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != 0 ? slash + 1 : path;
}

/* Packs and hands over. What does not fit into memory is lost: training goes on. */
static void publish(struct ps_status *s, enum ps_topic topic, const ProtobufCMessage *message)
{
    void *bytes = NULL;
    size_t size = ps_pack(&bytes, message);
    if (bytes != NULL)
        ps_publisher_put(s->publisher, topic, bytes, size);
}

/* ---- open and close ---- */

static void fill_constants(struct ps_status *s, const struct ps_status_options *options)
{
    const struct sl_config *config = options->config;
    s->config = config;
    s->config_hash = options->config_hash;
    s->parameters = options->parameters;
    s->started = wall_seconds();
    s->view.best_value = NAN;
    for (int b = 0; b <= config->modality_count; b++)
        s->branches[b] = (char *)sl_config_branch_name(config, b);
    for (int k = 0; k < config->label_count; k++)
        s->labels[k] = (char *)config->labels[k].name;
    if (realpath(config->snapshots.dir, s->folder) == NULL)
        (void)snprintf(s->folder, sizeof(s->folder), "%s", config->snapshots.dir);
}

enum sl_status ps_status_open(
        struct ps_status **ret_status, const struct ps_status_options *options, struct sl_error *err)
{
    const struct sl_config *config = options->config;
    if (config->cluster.status[0] == 0) {
        *ret_status = NULL;
        return SL_OK;
    }
    enum sl_status status = ps_endpoint_check(config, "cluster.status", config->cluster.status, err);
    if (status != SL_OK)
        return status;
    struct ps_status *s = sl_alloc(1, sizeof(*s));
    if (s == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the status");
    fill_constants(s, options);
    struct sl_status_place place = {
            .pid = getpid(), .started = s->started, .config_hash = options->config_hash};
    (void)snprintf(place.folder, sizeof(place.folder), "%s", config->snapshots.dir);
    (void)gethostname(place.host, sizeof(place.host) - 1);
    struct ps_publisher_options publishing = {
            .endpoint = config->cluster.status, .keys = options->keys, .place = &place};
    status = ps_publisher_open(&s->publisher, &publishing, err);
    if (status != SL_OK) {
        sl_free(s);
        return status;
    }
    *ret_status = s;
    return SL_OK;
}

static void publish_status(struct ps_status *s, const struct ps_status_view *view, const char *state,
        const struct ps_clock_pair *clock, const char *finished, int exit_code);

void ps_status_close(struct ps_status *s, int exit_code, const char *reason)
{
    if (s == NULL)
        return;
    struct ps_clock_pair clock = read_clocks();
    struct sl_status_place place = *ps_publisher_place(s->publisher);
    publish_status(s, &s->view, "finished", &clock, reason, exit_code);
    ps_publisher_close(s->publisher);
    place.ended = true;
    place.ended_at = (double)clock.wall_us * 1e-6;
    place.step = s->view.step;
    place.exit_code = exit_code;
    (void)snprintf(place.reason, sizeof(place.reason), "%s", reason);
    struct sl_error problem = {0};
    if (sl_status_place_write(&place, &problem) != SL_OK) {
        char quoted[SL_ERROR_TEXT_MAX];
        sl_log(SL_LOG_WARN, "status", "status-file-failed", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
    }
    ps_free_validation(&s->validation);
    sl_free(s);
}

const char *ps_status_endpoint(const struct ps_status *s)
{
    return s != NULL ? ps_publisher_place(s->publisher)->endpoint : "";
}

/* ---- what happens ---- */

void ps_status_step(struct ps_status *s, const struct ps_step_record *record)
{
    if (s == NULL)
        return;
    struct ps_clock_pair clock = read_clocks();
    ps_pace_step(&s->pace, clock.monotonic_us, record->seconds, record->samples);
    int64_t flips = ps_lead_step(&s->lead, record->score, s->config->modality_count);
    ps_fill_step(&s->step, s->config, record, flips, (double)clock.wall_us * 1e-6);
    s->stepped = true;
    s->view.step = record->step;
    publish(s, PS_TOPIC_STEP, &s->step.message.base);
}

void ps_status_validation(struct ps_status *s, int64_t step, int64_t epoch, double seconds, bool best,
        const struct sl_evaluation *evaluation)
{
    if (s == NULL)
        return;
    ps_pace_validation(&s->pace, seconds);
    s->validated = ps_fill_validation(&s->validation, evaluation);
    if (!s->validated)
        return;
    Shelflife__Status__Validation *m = &s->validation.message;
    SET(m, step, step);
    SET(m, epoch, epoch);
    SET(m, time, wall_seconds());
    SET(m, seconds, seconds);
    SET(m, best, best);
    hurry(s);
    publish(s, PS_TOPIC_VALIDATION, &m->base);
}

void ps_status_snapshot(struct ps_status *s, int64_t step, uint64_t size, bool best, double seconds)
{
    if (s == NULL)
        return;
    Shelflife__Status__Snapshot *m = &s->snapshots[s->snapshot_next];
    s->snapshot_next = (s->snapshot_next + 1) % PS_STATUS_SNAPSHOTS_MAX;
    s->snapshot_count += s->snapshot_count < PS_STATUS_SNAPSHOTS_MAX;
    shelflife__status__snapshot__init(m);
    SET(m, step, step);
    SET(m, time, wall_seconds());
    SET(m, size, size);
    SET(m, best, best);
    SET(m, seconds, seconds);
    hurry(s);
}

void ps_status_event(
        struct ps_status *s, int64_t step, enum sl_log_level level, const char *name, const char *text)
{
    if (s == NULL)
        return;
    struct event *e = &s->events[s->event_next];
    s->event_next = (s->event_next + 1) % PS_STATUS_EVENTS_MAX;
    s->event_count += s->event_count < PS_STATUS_EVENTS_MAX;
    (void)snprintf(e->name, sizeof(e->name), "%s", name);
    (void)snprintf(e->text, sizeof(e->text), "%s", text);
    shelflife__status__event__init(&e->message);
    SET(&e->message, time, wall_seconds());
    SET(&e->message, step, step);
    e->message.level = level == SL_LOG_ERROR ? "error" : level == SL_LOG_WARN ? "warning" : "info";
    e->message.name = e->name;
    e->message.text = e->text;
    publish(s, PS_TOPIC_EVENT, &e->message.base);
}

/* ---- all of it ---- */

static void fill_run(const struct ps_status *s, Shelflife__Status__Run *to, const struct ps_status_view *view)
{
    static char *const modes[] = {"bsp", "ssp", "asp"};
    const struct sl_config *config = s->config;
    shelflife__status__run__init(to);
    to->name = (char *)last_part(s->folder);
    to->folder = (char *)s->folder;
    to->version = SHELFLIFE_VERSION;
    SET(to, config_hash, s->config_hash);
    SET(to, started, s->started);
    to->n_branches = (size_t)config->modality_count + 1;
    to->branches = (char **)s->branches;
    to->n_labels = (size_t)config->label_count;
    to->labels = (char **)s->labels;
    SET(to, total_steps, view->total_steps);
    SET(to, steps_per_epoch, view->steps_per_epoch);
    SET(to, epochs, config->epochs);
    SET(to, batch, (int64_t)config->batch.slots * config->batch.slot_size);
    to->mode = modes[config->consistency.mode];
    SET(to, parameters, s->parameters);
}

/* Bytes of both ways, as the servers count them: each byte between a worker and a server once. */
static uint64_t total_bytes(const struct ps_status_view *view)
{
    uint64_t total = 0;
    for (int i = 0; i < view->server_count; i++)
        total += view->servers[i].sent + view->servers[i].received;
    return total;
}

static void fill_figures(
        struct ps_status *s, Shelflife__Status__Status *to, const struct ps_status_view *view, int64_t now_us)
{
    double eta = ps_pace_eta(&s->pace, view->step, view->total_steps, view->steps_per_epoch);
    if (eta >= 0.0)
        SET(to, eta_seconds, eta);
    SET(to, samples_per_second, ps_pace_samples_per_second(&s->pace));
    uint64_t bytes = total_bytes(view);
    double rate = ps_rate_reading(&s->bytes, now_us, bytes);
    if (bytes > 0 && rate >= 0.0)
        SET(to, bytes_per_second, rate);
    if (!isnan(view->best_value)) {
        SET(to, best_value, view->best_value);
        SET(to, best_step, view->best_step);
    }
    SET(to, lost_workers, view->lost_workers);
    SET(to, rollbacks, view->rollbacks);
    SET(to, refused, view->refused);
}

/* Pointers to a ring's items, the oldest first. */
#define FILL_RING(pointers, items, member, count, next, most)                                                \
    for (int i_ = 0; i_ < (count); i_++)                                                                     \
    (pointers)[i_] = &(items)[((next) - (count) + i_ + (most)) % (most)] member

static void publish_status(struct ps_status *s, const struct ps_status_view *view, const char *state,
        const struct ps_clock_pair *clock, const char *finished, int exit_code)
{
    Shelflife__Status__Status m = SHELFLIFE__STATUS__STATUS__INIT;
    Shelflife__Status__Run run;
    Shelflife__Status__Snapshot *snapshots[PS_STATUS_SNAPSHOTS_MAX];
    Shelflife__Status__Event *events[PS_STATUS_EVENTS_MAX];
    fill_run(s, &run, view);
    SET(&m, time, (double)clock->wall_us * 1e-6);
    m.state = (char *)state;
    m.run = &run;
    SET(&m, step, view->step);
    fill_figures(s, &m, view, clock->monotonic_us);
    m.last_step = s->stepped ? &s->step.message : NULL;
    m.last_validation = s->validated ? &s->validation.message : NULL;
    SL_AUTO_FREE void *members = ps_fill_members(&m, view, clock);
    (void)members; /* freed when the message is sent; clang takes it for unused */
    FILL_RING(snapshots, s->snapshots, , s->snapshot_count, s->snapshot_next, PS_STATUS_SNAPSHOTS_MAX);
    m.n_snapshots = (size_t)s->snapshot_count;
    m.snapshots = snapshots;
    FILL_RING(events, s->events, .message, s->event_count, s->event_next, PS_STATUS_EVENTS_MAX);
    m.n_events = (size_t)s->event_count;
    m.events = events;
    if (finished != NULL) {
        m.finished = (char *)finished;
        SET(&m, exit_code, exit_code);
    }
    publish(s, PS_TOPIC_STATUS, &m.base);
}

void ps_status_update(struct ps_status *s, const struct ps_status_view *view, int64_t now_us)
{
    if (s == NULL)
        return;
    struct ps_clock_pair clock = {.monotonic_us = now_us, .wall_us = sl_clock_wall_us()};
    if (view->state != PS_STATUS_TRAINING)
        ps_pace_pause(&s->pace);
    publish_status(s, view, ps_status_state_name(view->state), &clock, NULL, 0);
    s->view = *view;
    s->view.workers = NULL;
    s->view.servers = NULL;
    s->view.worker_count = s->view.server_count = 0;
    s->updated_us = now_us;
    s->due_us = now_us + PS_STATUS_INTERVAL_US;
}

int64_t ps_status_due_us(const struct ps_status *s)
{
    return s != NULL ? s->due_us : INT64_MAX;
}
