/* Filling messages: see status_pack.h. */
#include "ps/status_pack.h"

#include "common/memory.h"

#include <math.h>

#define SET(object, field, value) ((object)->has_##field = 1, (object)->field = (value))

double ps_clock_unix(const struct ps_clock_pair *clock, int64_t monotonic_us)
{
    return monotonic_us == 0 ? 0.0 : (double)(clock->wall_us - (clock->monotonic_us - monotonic_us)) * 1e-6;
}

size_t ps_pack(void **ret_bytes, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    void *bytes = sl_alloc(size > 0 ? size : 1, 1);
    if (bytes == NULL)
        return 0;
    *ret_bytes = bytes;
    return protobuf_c_message_pack(message, bytes);
}

const char *ps_status_state_name(enum ps_status_state state)
{
    static const char *const names[] = {[PS_STATUS_WAITING] = "waiting",
            [PS_STATUS_RESTORING] = "restoring",
            [PS_STATUS_TRAINING] = "training",
            [PS_STATUS_VALIDATING] = "validating",
            [PS_STATUS_SAVING] = "saving"};
    return (unsigned)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

void ps_fill_step(struct ps_status_step_message *to, const struct sl_config *config,
        const struct ps_step_record *record, int64_t flips, double time)
{
    Shelflife__Status__Step *m = &to->message;
    size_t modalities = (size_t)config->modality_count;
    to->record = *record;
    shelflife__status__step__init(m);
    SET(m, step, record->step);
    SET(m, epoch, record->epoch);
    SET(m, time, time);
    SET(m, samples, record->samples);
    m->n_loss = m->n_accuracy = modalities + 1;
    m->loss = to->record.loss;
    m->accuracy = to->record.accuracy;
    m->n_score = m->n_ratio = m->n_coefficient = m->n_cosine = modalities;
    m->score = to->record.score;
    m->ratio = to->record.ratio;
    m->coefficient = to->record.coefficient;
    m->cosine = to->record.cosine;
    m->n_branch_update_norm = m->n_branch_parameter_norm = modalities + 1;
    m->branch_update_norm = to->record.update_norm;
    m->branch_parameter_norm = to->record.parameter_norm;
    double update2 = 0.0;
    for (size_t b = 0; b <= modalities; b++)
        update2 += record->update_norm[b] * record->update_norm[b];
    SET(m, update_norm, sqrt(update2));
    SET(m, norm, record->norm);
    SET(m, clip, record->clip);
    SET(m, rate, record->rate);
    SET(m, seconds, record->seconds);
    SET(m, compute_seconds, record->compute_seconds);
    SET(m, workers, record->workers);
    SET(m, flips, flips);
}

/* ---- validation ---- */

static void fill_branch(
        Shelflife__Status__Branch *to, int64_t *confusion, const struct sl_evaluation *evaluation, int branch)
{
    struct sl_evaluation_report report;
    sl_evaluation_report(evaluation, branch, &report);
    shelflife__status__branch__init(to);
    SET(to, loss, report.loss);
    SET(to, accuracy, report.accuracy);
    SET(to, macro_f1, report.macro_f1);
    SET(to, ece, report.calibration_error);
    SET(to, ordinal_error, report.class_distance);
    int classes = sl_evaluation_classes(evaluation);
    for (int truth = 0; truth < classes; truth++)
        for (int said = 0; said < classes; said++)
            confusion[truth * classes + said] = sl_evaluation_confusion(evaluation, branch, truth, said);
    to->n_confusion = (size_t)classes * (size_t)classes;
    to->confusion = confusion;
}

void ps_free_validation(struct ps_status_validation_message *validation)
{
    sl_free(validation->confusion);
    validation->confusion = NULL;
}

bool ps_fill_validation(struct ps_status_validation_message *to, const struct sl_evaluation *evaluation)
{
    size_t branches = (size_t)sl_evaluation_branches(evaluation),
           size = (size_t)sl_evaluation_classes(evaluation) * (size_t)sl_evaluation_classes(evaluation);
    ps_free_validation(to);
    shelflife__status__validation__init(&to->message);
    to->confusion = sl_alloc(branches * size, sizeof(*to->confusion));
    if (to->confusion == NULL)
        return false;
    for (size_t b = 0; b < branches; b++) {
        fill_branch(&to->branches[b], to->confusion + b * size, evaluation, (int)b);
        to->pointers[b] = &to->branches[b];
    }
    to->message.n_branch = branches;
    to->message.branch = to->pointers;
    SET(&to->message, samples, sl_evaluation_count(evaluation, (int)branches - 1));
    return true;
}

/* ---- members ---- */

static void fill_worker(
        Shelflife__Status__Worker *to, const struct ps_status_worker *from, const struct ps_clock_pair *clock)
{
    shelflife__status__worker__init(to);
    SET(to, rank, from->rank);
    SET(to, pid, from->pid);
    SET(to, threads, from->threads);
    to->host = (char *)from->host; /* packing only reads it */
    to->doing = (char *)from->doing;
    SET(to, joined, ps_clock_unix(clock, from->joined_us));
    SET(to, heard, ps_clock_unix(clock, from->heard_us));
    SET(to, slots, from->slots);
    SET(to, samples_per_second, from->samples_per_second);
    SET(to, staleness, from->staleness);
    SET(to, memory, from->memory);
    SET(to, sent, from->sent);
    SET(to, received, from->received);
    SET(to, wait_share, from->wait_share);
}

static void fill_server(
        Shelflife__Status__Server *to, const struct ps_status_server *from, const struct ps_clock_pair *clock)
{
    shelflife__status__server__init(to);
    SET(to, rank, from->rank);
    SET(to, pid, from->pid);
    to->host = (char *)from->host;
    to->endpoint = (char *)from->endpoint;
    SET(to, heard, ps_clock_unix(clock, from->heard_us));
    SET(to, blocks, from->blocks);
    SET(to, parameter_bytes, from->parameter_bytes);
    SET(to, version, from->version);
    SET(to, queue, from->queue);
    SET(to, update_seconds, from->update_seconds);
    SET(to, memory, from->memory);
    SET(to, sent, from->sent);
    SET(to, received, from->received);
    SET(to, dropped, from->dropped);
}

void *ps_fill_members(
        Shelflife__Status__Status *to, const struct ps_status_view *view, const struct ps_clock_pair *clock)
{
    struct part {
        union {
            Shelflife__Status__Worker worker;
            Shelflife__Status__Server server;
        } message;
    };
    size_t workers = (size_t)view->worker_count, count = workers + (size_t)view->server_count;
    struct part *parts = sl_alloc(count > 0 ? count : 1, sizeof(struct part) + sizeof(void *));
    if (parts == NULL)
        return NULL;
    void **pointers = (void **)(parts + count);
    for (size_t i = 0; i < count; i++) {
        pointers[i] = &parts[i].message;
        if (i < workers)
            fill_worker(&parts[i].message.worker, &view->workers[i], clock);
        else
            fill_server(&parts[i].message.server, &view->servers[i - workers], clock);
    }
    to->n_workers = workers;
    to->workers = (Shelflife__Status__Worker **)pointers;
    to->n_servers = count - workers;
    to->servers = (Shelflife__Status__Server **)(pointers + workers);
    return parts;
}
