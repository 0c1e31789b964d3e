/* The text format of Prometheus: see prometheus.h. */
#include "deploy/dashboard/prometheus.h"

#include "common/json.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One sample under way: the family's name, the run, and the text. */
struct pen {
    struct sl_text *text;
    const char *family;
    const struct dp_scraped *run;
};

/* A label's value: backslash, quote and newline escaped, as UTF-8 (other bytes become U+FFFD, as the format demands UTF-8), cut at 256 bytes. */
static void put_value(struct sl_text *text, const char *value)
{
    size_t size = strnlen(value, 256);
    for (size_t i = 0; i < size;) {
        size_t length = sl_utf8_next(value + i, size - i, NULL);
        if (length == 0) {
            sl_text_put(text, "\xef\xbf\xbd", 3);
            i++;
            continue;
        }
        if (value[i] == '\\' || value[i] == '"')
            sl_text_put(text, "\\", 1);
        if (value[i] == '\n')
            sl_text_put(text, "\\n", 2);
        else
            sl_text_put(text, value + i, length);
        i += length;
    }
}

static void put_label(struct sl_text *text, const char *name, const char *value)
{
    sl_text_printf(text, ",%s=\"", name);
    put_value(text, value);
    sl_text_put(text, "\"", 1);
}

static void begin_sample(const struct pen *pen)
{
    sl_text_printf(pen->text, "%s{run=\"", pen->family);
    put_value(pen->text, pen->run->name);
    sl_text_put(pen->text, "\"", 1);
}

static void end_sample(const struct pen *pen, double value)
{
    char number[SL_JSON_NUMBER_MAX];
    const char *shown = isnan(value)   ? "NaN"
                        : isinf(value) ? (value > 0 ? "+Inf" : "-Inf")
                                       : sl_format_double(number, value);
    sl_text_printf(pen->text, "} %s\n", shown);
}

static void sample(const struct pen *pen, double value)
{
    begin_sample(pen);
    end_sample(pen, value);
}

static void labelled(const struct pen *pen, const char *label, const char *label_value, double value)
{
    begin_sample(pen);
    put_label(pen->text, label, label_value);
    end_sample(pen, value);
}

/* Values by branch or modality; names beyond those of the run have no sample. */
static void by_branch(const struct pen *pen, const double *values, size_t count)
{
    const Shelflife__Status__Run *run = pen->run->status->run;
    for (size_t b = 0; run != NULL && b < count && b < run->n_branches; b++)
        labelled(pen, "branch", run->branches[b], values[b]);
}

static void ranked(const struct pen *pen, uint32_t rank, const char *host, double value)
{
    char number[16];
    (void)snprintf(number, sizeof(number), "%" PRIu32, rank);
    begin_sample(pen);
    put_label(pen->text, "rank", number);
    put_label(pen->text, "host", host == NULL ? "" : host);
    end_sample(pen, value);
}

/* ---- families: each writes its samples of one run ---- */

typedef const Shelflife__Status__Status status_t;

#define SIMPLE(function, field)                                                                              \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        if (s->has_##field)                                                                                  \
            sample(pen, (double)s->field);                                                                   \
    }
SIMPLE(steps, step)
SIMPLE(eta, eta_seconds)
SIMPLE(throughput, samples_per_second)
SIMPLE(traffic, bytes_per_second)
SIMPLE(lost, lost_workers)
SIMPLE(rollbacks, rollbacks)
SIMPLE(refused, refused)
SIMPLE(reported, time)

#define OF_RUN(function, field)                                                                              \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        if (s->run != NULL && s->run->has_##field)                                                           \
            sample(pen, (double)s->run->field);                                                              \
    }
OF_RUN(started, started)
OF_RUN(planned, total_steps)
OF_RUN(parameters, parameters)

#define OF_STEP(function, field)                                                                             \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        if (s->last_step != NULL && s->last_step->has_##field)                                               \
            sample(pen, (double)s->last_step->field);                                                        \
    }
OF_STEP(epoch, epoch)
OF_STEP(gradient_norm, norm)
OF_STEP(clip, clip)
OF_STEP(rate, rate)
OF_STEP(step_seconds, seconds)
OF_STEP(step_compute, compute_seconds)
OF_STEP(flips, flips)
OF_STEP(update_norm, update_norm)

#define OF_BRANCHES(function, field)                                                                         \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        if (s->last_step != NULL)                                                                            \
            by_branch(pen, s->last_step->field, s->last_step->n_##field);                                    \
    }
OF_BRANCHES(loss, loss)
OF_BRANCHES(accuracy, accuracy)
OF_BRANCHES(score, score)
OF_BRANCHES(ratio, ratio)
OF_BRANCHES(coefficient, coefficient)
OF_BRANCHES(cosine, cosine)
OF_BRANCHES(branch_update, branch_update_norm)
OF_BRANCHES(branch_parameters, branch_parameter_norm)

#define OF_VALIDATION(function, field)                                                                       \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        const Shelflife__Status__Validation *v = s->last_validation;                                         \
        for (size_t b = 0; v != NULL && s->run != NULL && b < v->n_branch && b < s->run->n_branches; b++)    \
            if (v->branch[b]->has_##field)                                                                   \
                labelled(pen, "branch", s->run->branches[b], v->branch[b]->field);                           \
    }
OF_VALIDATION(validation_loss, loss)
OF_VALIDATION(validation_accuracy, accuracy)
OF_VALIDATION(validation_f1, macro_f1)
OF_VALIDATION(validation_ece, ece)
OF_VALIDATION(validation_ordinal, ordinal_error)

static void validation_step(const struct pen *pen, status_t *s)
{
    if (s->last_validation != NULL)
        sample(pen, (double)s->last_validation->step);
}

#define OF_WORKERS(function, field)                                                                          \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        for (size_t i = 0; i < s->n_workers; i++)                                                            \
            if (s->workers[i]->has_##field)                                                                  \
                ranked(pen, s->workers[i]->rank, s->workers[i]->host, (double)s->workers[i]->field);         \
    }
OF_WORKERS(worker_heard, heard)
OF_WORKERS(worker_slots, slots)
OF_WORKERS(worker_throughput, samples_per_second)
OF_WORKERS(worker_staleness, staleness)
OF_WORKERS(worker_memory, memory)
OF_WORKERS(worker_sent, sent)
OF_WORKERS(worker_received, received)
OF_WORKERS(worker_wait, wait_share)

#define OF_SERVERS(function, field)                                                                          \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        for (size_t i = 0; i < s->n_servers; i++)                                                            \
            if (s->servers[i]->has_##field)                                                                  \
                ranked(pen, s->servers[i]->rank, s->servers[i]->host, (double)s->servers[i]->field);         \
    }
OF_SERVERS(server_heard, heard)
OF_SERVERS(server_version, version)
OF_SERVERS(server_queue, queue)
OF_SERVERS(server_update, update_seconds)
OF_SERVERS(server_parameters, parameter_bytes)
OF_SERVERS(server_memory, memory)
OF_SERVERS(server_sent, sent)
OF_SERVERS(server_received, received)
OF_SERVERS(server_dropped, dropped)

static void workers(const struct pen *pen, status_t *s)
{
    sample(pen, (double)s->n_workers);
}

static const Shelflife__Status__Snapshot *newest(status_t *s)
{
    return s->n_snapshots == 0 ? NULL : s->snapshots[s->n_snapshots - 1];
}

#define OF_SNAPSHOT(function, field)                                                                         \
    static void function(const struct pen *pen, status_t *s)                                                 \
    {                                                                                                        \
        if (newest(s) != NULL && newest(s)->has_##field)                                                     \
            sample(pen, (double)newest(s)->field);                                                           \
    }
OF_SNAPSHOT(snapshot_step, step)
OF_SNAPSHOT(snapshot_time, time)
OF_SNAPSHOT(snapshot_size, size)
OF_SNAPSHOT(snapshot_seconds, seconds)

static void info(const struct pen *pen, status_t *s)
{
    if (s->run == NULL)
        return;
    begin_sample(pen);
    put_label(pen->text, "version", s->run->version == NULL ? "" : s->run->version);
    put_label(pen->text, "mode", s->run->mode == NULL ? "" : s->run->mode);
    end_sample(pen, 1.0);
}

static void state(const struct pen *pen, status_t *s)
{
    static const char *const states[] = {
            "waiting", "restoring", "training", "validating", "saving", "finished"};
    for (size_t i = 0; s->state != NULL && i < sizeof(states) / sizeof(states[0]); i++)
        labelled(pen, "state", states[i], strcmp(states[i], s->state) == 0 ? 1.0 : 0.0);
}

struct family {
    const char *name, *type, *help;
    void (*write)(const struct pen *pen, status_t *status);
};

static const struct family families[] = {
        {"shelflife_run_info", "gauge", "Version and consistency mode of the run, always 1.", info},
        {"shelflife_run_state", "gauge", "1 for the state that the run is in.", state},
        {"shelflife_run_start_time_seconds", "gauge", "When the coordinator's process started, Unix time.",
                started},
        {"shelflife_run_report_time_seconds", "gauge", "When the run last said how it is, Unix time.",
                reported},
        {"shelflife_run_parameters", "gauge", "Parameters of the model.", parameters},
        {"shelflife_train_steps_total", "counter", "Steps applied.", steps},
        {"shelflife_train_planned_steps", "gauge", "Steps of the whole run; 0 while unknown.", planned},
        {"shelflife_train_epoch", "gauge", "Epoch of the last step, from 0.", epoch},
        {"shelflife_train_remaining_seconds", "gauge", "Time that the rest of the run will take.", eta},
        {"shelflife_train_samples_per_second", "gauge", "Samples trained on per second.", throughput},
        {"shelflife_train_bytes_per_second", "gauge", "Bytes per second between workers and servers.",
                traffic},
        {"shelflife_train_loss", "gauge", "Mean loss of the last step's samples.", loss},
        {"shelflife_train_accuracy", "gauge", "Share of the last step's samples that were right.", accuracy},
        {"shelflife_modality_score", "gauge", "Mean probability of the true class.", score},
        {"shelflife_modality_ratio", "gauge", "Score against the mean of the other modalities.", ratio},
        {"shelflife_modality_coefficient", "gauge", "Factor on the unimodal gradient: below 1, held back.",
                coefficient},
        {"shelflife_modality_cosine", "gauge", "Cosine of the unimodal and fused gradients.", cosine},
        {"shelflife_modality_flips_total", "counter", "How often the leading modality has changed.", flips},
        {"shelflife_gradient_norm", "gauge", "Norm of the unmodulated gradient.", gradient_norm},
        {"shelflife_gradient_clip_factor", "gauge", "Factor that clipping applied.", clip},
        {"shelflife_update_norm", "gauge", "Norm of the last step's change of all trained parameters.",
                update_norm},
        {"shelflife_branch_update_norm", "gauge",
                "The same of the branch's own parameters: extractor and head, or the fusion.", branch_update},
        {"shelflife_branch_parameter_norm", "gauge", "Norm of the branch's own trained parameters.",
                branch_parameters},
        {"shelflife_learning_rate", "gauge", "Learning rate of the last step.", rate},
        {"shelflife_step_duration_seconds", "gauge", "Time of the last step, from opening to commit.",
                step_seconds},
        {"shelflife_step_compute_seconds", "gauge", "Computing time of the last step, summed over workers.",
                step_compute},
        {"shelflife_validation_step", "gauge", "Step of the last validation.", validation_step},
        {"shelflife_validation_loss", "gauge", "Loss in the last validation.", validation_loss},
        {"shelflife_validation_accuracy", "gauge", "Accuracy in the last validation.", validation_accuracy},
        {"shelflife_validation_macro_f1", "gauge", "Macro-averaged F1 in the last validation.",
                validation_f1},
        {"shelflife_validation_calibration_error", "gauge", "Expected calibration error.", validation_ece},
        {"shelflife_validation_ordinal_error", "gauge", "Mean distance from the true label, in labels.",
                validation_ordinal},
        {"shelflife_workers", "gauge", "Workers that take part.", workers},
        {"shelflife_workers_lost_total", "counter", "Workers that were lost.", lost},
        {"shelflife_rollbacks_total", "counter", "Returns to an earlier snapshot.", rollbacks},
        {"shelflife_refused_total", "counter", "Handshakes and messages that were refused.", refused},
        {"shelflife_worker_heard_time_seconds", "gauge", "When the worker was last heard, Unix time.",
                worker_heard},
        {"shelflife_worker_slots_total", "counter", "Slots computed and counted.", worker_slots},
        {"shelflife_worker_samples_per_second", "gauge", "Samples of this worker per second.",
                worker_throughput},
        {"shelflife_worker_staleness_steps", "gauge", "Steps between its parameters and the newest.",
                worker_staleness},
        {"shelflife_worker_resident_memory_bytes", "gauge", "Resident memory.", worker_memory},
        {"shelflife_worker_sent_bytes_total", "counter", "Bytes sent.", worker_sent},
        {"shelflife_worker_received_bytes_total", "counter", "Bytes received.", worker_received},
        {"shelflife_worker_wait_ratio", "gauge", "Share of its time that it waited for others.", worker_wait},
        {"shelflife_server_heard_time_seconds", "gauge", "When the server was last heard, Unix time.",
                server_heard},
        {"shelflife_server_applied_steps", "gauge", "Steps that this server has applied.", server_version},
        {"shelflife_server_queued_messages", "gauge", "Messages that wait to be sent.", server_queue},
        {"shelflife_server_update_seconds", "gauge", "Time of the last update.", server_update},
        {"shelflife_server_parameter_bytes", "gauge", "Bytes of the parameters it holds.", server_parameters},
        {"shelflife_server_resident_memory_bytes", "gauge", "Resident memory.", server_memory},
        {"shelflife_server_sent_bytes_total", "counter", "Bytes sent.", server_sent},
        {"shelflife_server_received_bytes_total", "counter", "Bytes received.", server_received},
        {"shelflife_server_dropped_messages_total", "counter", "Messages that did not count.",
                server_dropped},
        {"shelflife_snapshot_step", "gauge", "Step of the newest snapshot.", snapshot_step},
        {"shelflife_snapshot_last_success_timestamp_seconds", "gauge", "When it was written, Unix time.",
                snapshot_time},
        {"shelflife_snapshot_size_bytes", "gauge", "Size of the newest snapshot.", snapshot_size},
        {"shelflife_snapshot_write_seconds", "gauge", "Time to write it.", snapshot_seconds},
};

static void head(struct sl_text *text, const char *name, const char *type, const char *help)
{
    sl_text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void dp_prometheus_write(struct sl_text *text, const struct dp_scraped *runs, int count)
{
    head(text, "shelflife_build_info", "gauge", "Version of the dashboard, always 1.");
    sl_text_printf(text, "shelflife_build_info{version=\"%s\"} 1\n", SHELFLIFE_VERSION);
    head(text, "shelflife_run_up", "gauge", "1 when the run was heard within the last seconds.");
    for (int r = 0; r < count; r++) {
        struct pen pen = {.text = text, .family = "shelflife_run_up", .run = &runs[r]};
        sample(&pen, runs[r].up ? 1.0 : 0.0);
    }
    for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
        head(text, families[f].name, families[f].type, families[f].help);
        for (int r = 0; r < count; r++) {
            struct pen pen = {.text = text, .family = families[f].name, .run = &runs[r]};
            if (runs[r].up && runs[r].status != NULL)
                families[f].write(&pen, runs[r].status);
        }
    }
}
