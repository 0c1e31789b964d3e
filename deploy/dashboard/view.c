/* Status messages as JSON: see view.h. */
#include "deploy/dashboard/view.h"

#include <inttypes.h>
#include <stdio.h>

/* A field that was not sent is left out. The key in JSON is the field's name. */
#define PUT_INT(message, field)                                                                              \
    if ((message)->has_##field)                                                                              \
    sl_json_int(json, #field, (int64_t)(message)->field)
#define PUT_UINT(message, field)                                                                             \
    if ((message)->has_##field)                                                                              \
    sl_json_uint(json, #field, (uint64_t)(message)->field)
#define PUT_DOUBLE(message, field)                                                                           \
    if ((message)->has_##field)                                                                              \
    sl_json_double(json, #field, (message)->field)
#define PUT_BOOL(message, field)                                                                             \
    if ((message)->has_##field)                                                                              \
    sl_json_bool(json, #field, (message)->field != 0)
#define PUT_TEXT(message, field)                                                                             \
    if ((message)->field != NULL)                                                                            \
    sl_json_string(json, #field, (message)->field)
#define PUT_DOUBLES(message, field) put_doubles(json, #field, (message)->field, (message)->n_##field)
#define PUT_TEXTS(message, field) put_texts(json, #field, (message)->field, (message)->n_##field)

static size_t at_most(size_t count, size_t most)
{
    return count < most ? count : most;
}

static void put_doubles(struct sl_json *json, const char *key, const double *values, size_t count)
{
    sl_json_array(json, key);
    for (size_t i = 0; i < at_most(count, DP_VIEW_NUMBERS_MAX); i++)
        sl_json_double(json, NULL, values[i]);
    sl_json_end(json);
}

static void put_texts(struct sl_json *json, const char *key, char *const *texts, size_t count)
{
    sl_json_array(json, key);
    for (size_t i = 0; i < at_most(count, DP_VIEW_LIST_MAX); i++)
        sl_json_string(json, NULL, texts[i]);
    sl_json_end(json);
}

static void put_run(struct sl_json *json, const Shelflife__Status__Run *run)
{
    sl_json_object(json, "run");
    PUT_TEXT(run, name);
    PUT_TEXT(run, folder);
    PUT_TEXT(run, version);
    if (run->has_config_hash) { /* as text: JavaScript's numbers end at 53 bits */
        char hash[17];
        (void)snprintf(hash, sizeof(hash), "%016" PRIx64, run->config_hash);
        sl_json_string(json, "config_hash", hash);
    }
    PUT_DOUBLE(run, started);
    PUT_TEXTS(run, branches);
    PUT_TEXTS(run, labels);
    PUT_INT(run, total_steps);
    PUT_INT(run, steps_per_epoch);
    PUT_INT(run, epochs);
    PUT_INT(run, batch);
    PUT_TEXT(run, mode);
    PUT_UINT(run, parameters);
    sl_json_end(json);
}

void dp_view_step(struct sl_json *json, const char *key, const Shelflife__Status__Step *step)
{
    sl_json_object(json, key);
    PUT_INT(step, step);
    PUT_INT(step, epoch);
    PUT_DOUBLE(step, time);
    PUT_INT(step, samples);
    PUT_DOUBLES(step, loss);
    PUT_DOUBLES(step, accuracy);
    PUT_DOUBLES(step, score);
    PUT_DOUBLES(step, ratio);
    PUT_DOUBLES(step, coefficient);
    PUT_DOUBLES(step, cosine);
    PUT_DOUBLE(step, norm);
    PUT_DOUBLE(step, clip);
    PUT_DOUBLE(step, rate);
    PUT_DOUBLE(step, seconds);
    PUT_DOUBLE(step, compute_seconds);
    PUT_INT(step, workers);
    PUT_INT(step, flips);
    PUT_DOUBLE(step, update_norm);
    sl_json_end(json);
}

static void put_branch(struct sl_json *json, const Shelflife__Status__Branch *branch)
{
    sl_json_object(json, NULL);
    PUT_DOUBLE(branch, loss);
    PUT_DOUBLE(branch, accuracy);
    PUT_DOUBLE(branch, macro_f1);
    PUT_DOUBLE(branch, ece);
    PUT_DOUBLE(branch, ordinal_error);
    sl_json_array(json, "confusion");
    for (size_t i = 0; i < at_most(branch->n_confusion, DP_VIEW_NUMBERS_MAX); i++)
        sl_json_int(json, NULL, branch->confusion[i]);
    sl_json_end(json);
    sl_json_end(json);
}

void dp_view_validation(
        struct sl_json *json, const char *key, const Shelflife__Status__Validation *validation)
{
    sl_json_object(json, key);
    PUT_INT(validation, step);
    PUT_INT(validation, epoch);
    PUT_DOUBLE(validation, time);
    PUT_DOUBLE(validation, seconds);
    PUT_BOOL(validation, best);
    PUT_INT(validation, samples);
    sl_json_array(json, "branch");
    for (size_t b = 0; b < at_most(validation->n_branch, DP_VIEW_LIST_MAX); b++)
        put_branch(json, validation->branch[b]);
    sl_json_end(json);
    sl_json_end(json);
}

static void put_worker(struct sl_json *json, const Shelflife__Status__Worker *worker)
{
    sl_json_object(json, NULL);
    PUT_UINT(worker, rank);
    PUT_TEXT(worker, host);
    PUT_UINT(worker, pid);
    PUT_UINT(worker, threads);
    PUT_DOUBLE(worker, joined);
    PUT_DOUBLE(worker, heard);
    PUT_UINT(worker, slots);
    PUT_DOUBLE(worker, samples_per_second);
    PUT_INT(worker, staleness);
    PUT_UINT(worker, memory);
    PUT_UINT(worker, sent);
    PUT_UINT(worker, received);
    PUT_TEXT(worker, doing);
    PUT_DOUBLE(worker, wait_share);
    sl_json_end(json);
}

static void put_server(struct sl_json *json, const Shelflife__Status__Server *server)
{
    sl_json_object(json, NULL);
    PUT_UINT(server, rank);
    PUT_TEXT(server, host);
    PUT_UINT(server, pid);
    PUT_TEXT(server, endpoint);
    PUT_DOUBLE(server, heard);
    PUT_UINT(server, blocks);
    PUT_UINT(server, parameter_bytes);
    PUT_INT(server, version);
    PUT_UINT(server, queue);
    PUT_DOUBLE(server, update_seconds);
    PUT_UINT(server, memory);
    PUT_UINT(server, sent);
    PUT_UINT(server, received);
    PUT_UINT(server, dropped);
    sl_json_end(json);
}

static void put_snapshot(struct sl_json *json, const Shelflife__Status__Snapshot *snapshot)
{
    sl_json_object(json, NULL);
    PUT_INT(snapshot, step);
    PUT_DOUBLE(snapshot, time);
    PUT_UINT(snapshot, size);
    PUT_BOOL(snapshot, best);
    PUT_DOUBLE(snapshot, seconds);
    sl_json_end(json);
}

void dp_view_event(struct sl_json *json, const char *key, const Shelflife__Status__Event *event)
{
    sl_json_object(json, key);
    PUT_DOUBLE(event, time);
    PUT_INT(event, step);
    PUT_TEXT(event, level);
    PUT_TEXT(event, name);
    PUT_TEXT(event, text);
    sl_json_end(json);
}

static void put_lists(struct sl_json *json, const Shelflife__Status__Status *status)
{
    sl_json_array(json, "workers");
    for (size_t i = 0; i < at_most(status->n_workers, DP_VIEW_LIST_MAX); i++)
        put_worker(json, status->workers[i]);
    sl_json_end(json);
    sl_json_array(json, "servers");
    for (size_t i = 0; i < at_most(status->n_servers, DP_VIEW_LIST_MAX); i++)
        put_server(json, status->servers[i]);
    sl_json_end(json);
    sl_json_array(json, "snapshots");
    for (size_t i = 0; i < at_most(status->n_snapshots, DP_VIEW_LIST_MAX); i++)
        put_snapshot(json, status->snapshots[i]);
    sl_json_end(json);
    sl_json_array(json, "events");
    for (size_t i = 0; i < at_most(status->n_events, DP_VIEW_LIST_MAX); i++)
        dp_view_event(json, NULL, status->events[i]);
    sl_json_end(json);
}

void dp_view_status(struct sl_json *json, const char *key, const Shelflife__Status__Status *status)
{
    sl_json_object(json, key);
    PUT_DOUBLE(status, time);
    PUT_TEXT(status, state);
    if (status->run != NULL)
        put_run(json, status->run);
    PUT_INT(status, step);
    PUT_DOUBLE(status, eta_seconds);
    PUT_DOUBLE(status, samples_per_second);
    PUT_DOUBLE(status, bytes_per_second);
    if (status->last_step != NULL)
        dp_view_step(json, "last_step", status->last_step);
    if (status->last_validation != NULL)
        dp_view_validation(json, "last_validation", status->last_validation);
    PUT_DOUBLE(status, best_value);
    PUT_INT(status, best_step);
    put_lists(json, status);
    PUT_TEXT(status, finished);
    PUT_INT(status, exit_code);
    PUT_UINT(status, lost_workers);
    PUT_UINT(status, rollbacks);
    PUT_UINT(status, refused);
    sl_json_end(json);
}
