/* The worker's process: see loop.h. Nothing is decided here; core.c decides, this file carries out. */
#include "worker/loop.h"

#include "common/clock.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/signals.h"
#include "common/transport.h"
#include "worker/core.h"
#include "worker/executor.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

struct worker {
    const struct wk_worker_options *options;
    struct sl_layout *layout;
    struct wk_model *model;
    struct wk_dataset *train, *validation;
    struct wk_executor *executor;
    struct sl_keys *keys; /* NULL = not encrypted */
    struct sl_transport *transport;
    struct sl_socket *socket;
    char handshake_text
            [SL_ERROR_TEXT_MAX]; /* why the server does not let us in so far, "" = it does or is not there */
    struct wk_core *core;
    float *params;
    struct wk_updates updates;
    bool finished;
    enum sl_status finish_status;
};

/* ---- open and close ---- */

static enum sl_status load_keys(struct worker *w, struct sl_error *err)
{
    const char *dir = w->options->config->cluster.keys;
    return dir[0] != 0 ? sl_keys_load(&w->keys, dir, SL_KEYS_CLIENT, err) : SL_OK;
}

static enum sl_status open_data(struct worker *w, struct sl_error *err)
{
    const struct sl_config *config = w->options->config;
    enum sl_status status = wk_dataset_open(&w->train, config->dataset.train, config, err);
    if (status == SL_OK && config->dataset.validation[0] != 0)
        status = wk_dataset_open(&w->validation, config->dataset.validation, config, err);
    return status;
}

static enum sl_status open_model(struct worker *w, struct sl_error *err)
{
    const struct sl_config *config = w->options->config;
    enum sl_status status = sl_layout_create(&w->layout, config, SL_BLOCK_FLOATS, err);
    if (status == SL_OK)
        status = wk_model_create(&w->model, config, w->layout, err);
    if (status != SL_OK)
        return status;
    w->params = sl_alloc_aligned(w->layout->count, sizeof(*w->params));
    if (w->params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters", w->layout->count);
    struct wk_executor_options options = {
            config, w->layout, w->model, w->train, w->validation, w->options->threads};
    return wk_executor_create(&w->executor, &options, err);
}

static enum sl_status introduce(struct worker *w, struct sl_hello *hello, struct sl_error *err)
{
    *hello = (struct sl_hello){.role = SL_ROLE_WORKER,
            .layout_hash = w->layout->hash,
            .threads = (uint32_t)w->options->threads,
            .pid = (uint32_t)getpid()};
    hello->train_count = wk_dataset_count(w->train);
    hello->train_fingerprint = wk_dataset_fingerprint(w->train);
    if (w->validation != NULL) {
        hello->validation_count = wk_dataset_count(w->validation);
        hello->validation_fingerprint = wk_dataset_fingerprint(w->validation);
    }
    if (gethostname(hello->host, sizeof(hello->host) - 1) != 0)
        (void)snprintf(hello->host, sizeof(hello->host), "unknown");
    return sl_config_hash(&hello->config_hash, w->options->config, err);
}

static enum sl_status open_core(struct worker *w, struct sl_error *err)
{
    const struct sl_config *config = w->options->config;
    struct wk_core_options options = {.layout = w->layout,
            .slots = (uint32_t)config->batch.slots,
            .slot_size = (uint32_t)config->batch.slot_size,
            .heartbeat_us = config->cluster.heartbeat_ms * 1000,
            .timeout_us = config->cluster.timeout_ms * 1000};
    if (getrandom(&options.incarnation, sizeof(options.incarnation), 0) != sizeof(options.incarnation))
        return sl_fail_errno(err, "cannot draw a random number");
    enum sl_status status = introduce(w, &options.hello, err);
    if (status == SL_OK)
        status = wk_core_create(&w->core, &options, w->params, err);
    if (status == SL_OK)
        status = sl_transport_create_secure(&w->transport, w->keys, err);
    if (status == SL_OK)
        status = sl_socket_connect(
                &w->socket, w->transport, w->options->coordinator, options.incarnation, err);
    return status;
}

/* The socket and ZeroMQ's thread go first: they may still hold gradients of the executor's pool. */
static void close_worker(struct worker *w)
{
    sl_socket_close(w->socket);
    sl_outbox_fini(&w->updates.outbox);
    sl_transport_destroy(w->transport);
    sl_keys_destroy(w->keys);
    wk_core_destroy(w->core);
    wk_executor_destroy(w->executor);
    wk_model_destroy(w->model);
    wk_dataset_close(w->train);
    wk_dataset_close(w->validation);
    sl_layout_destroy(w->layout);
    sl_free(w->params);
}

/* ---- the loop ---- */

static enum sl_status carry_out(struct worker *w, struct sl_error *err)
{
    for (int i = 0; i < w->updates.outbox.count; i++) {
        enum sl_status status = sl_socket_send(w->socket, 0, w->updates.outbox.items[i].message, err);
        if (status != SL_OK)
            return status;
    }
    sl_outbox_clear(&w->updates.outbox);
    const struct wk_action *action = &w->updates.action;
    if (action->kind == WK_ACTION_COMPUTE)
        wk_executor_submit(w->executor, action, w->params);
    if (action->kind == WK_ACTION_FINISH) {
        w->finished = true;
        w->finish_status = action->status;
        if (action->status != SL_OK)
            return sl_fail(err, action->status, "%s", action->text);
        sl_log(SL_LOG_INFO, "worker", "finished", "reason=\"%s\"", action->text);
    }
    return SL_OK;
}

static enum sl_status advance(struct worker *w, struct wk_event *event, struct sl_error *err)
{
    event->now_us = sl_clock_monotonic_us();
    enum sl_status status = wk_core_step(w->core, event, &w->updates, err);
    return status == SL_OK ? carry_out(w, err) : status;
}

static enum sl_status receive_all(struct worker *w, struct sl_error *err)
{
    for (;;) {
        SL_AUTO(sl_message_destroy_auto) struct sl_message *message = NULL;
        struct sl_error problem = {0};
        uint64_t peer = 0;
        enum sl_status status = sl_socket_receive(w->socket, &peer, &message, &problem);
        if (status == SL_AGAIN || w->finished)
            return SL_OK;
        if (status == SL_OK) {
            struct wk_event event = {
                    .kind = WK_EVENT_MESSAGE, .from = {SL_ROLE_SERVER, 0}, .message = message};
            status = advance(w, &event, err);
            if (status != SL_OK)
                return status;
        } else if (status == SL_BAD_DATA || status == SL_MISMATCH) {
            sl_log(SL_LOG_WARN, "worker", "message-dropped", "reason=\"%s\"", problem.text);
        } else {
            return sl_fail(err, status, "%s", problem.text);
        }
    }
}

/* A failed run ends the worker: the coordinator is told, so that the slots go to another. */
static enum sl_status leave_failed(struct worker *w, const struct wk_result *result, struct sl_error *err)
{
    struct wk_event event = {.kind = WK_EVENT_LEAVE, .text = result->error.text};
    struct sl_error ignored = {0};
    (void)!advance(w, &event, &ignored);
    return sl_fail(err, result->status, "%s", result->error.text);
}

static enum sl_status take_results(struct worker *w, struct sl_error *err)
{
    struct wk_result result;
    while (!w->finished && wk_executor_take(w->executor, &result) == SL_OK) {
        if (result.status != SL_OK)
            return leave_failed(w, &result, err);
        struct wk_event event = {.kind = WK_EVENT_NODE_DONE,
                .node = result.node,
                .stats = &result.stats,
                .gradients = result.buffer,
                .compute_us = result.compute_us};
        if (result.phase == SL_PHASE_VALIDATE)
            event = (struct wk_event){.kind = WK_EVENT_VALIDATION_DONE,
                    .evaluation = result.buffer,
                    .compute_us = result.compute_us};
        enum sl_status status = advance(w, &event, err);
        sl_buffer_release(result.buffer);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status take_signals(struct worker *w, struct sl_error *err)
{
    if (w->options->signal_fd < 0)
        return SL_OK;
    int number = sl_signals_take(w->options->signal_fd);
    if (number == 0)
        return SL_OK;
    const char *text = NULL;
    (void)sl_signals_exit_code(number, &text);
    struct wk_event event = {.kind = WK_EVENT_LEAVE, .text = text};
    return advance(w, &event, err);
}

/* A server that will never let us in ends the worker at once. Broken-off handshakes may also be a proxy's before a server that is not up yet: they are
 * told, and remembered for the case that the core gives up. */
static enum sl_status check_handshake(struct worker *w, struct sl_error *err)
{
    struct sl_error problem = {0};
    enum sl_status status = sl_socket_check(w->socket, &problem);
    if (status != SL_OK && status != SL_AGAIN)
        return sl_fail(err, status, "%s", problem.text);
    if (status == SL_AGAIN && w->handshake_text[0] == 0) {
        char quoted[SL_ERROR_TEXT_MAX];
        sl_log(SL_LOG_WARN, "worker", "handshake-failed", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
    }
    memcpy(w->handshake_text, problem.text, sizeof(w->handshake_text)); /* "" when all is well */
    return SL_OK;
}

static enum sl_status loop(struct worker *w, struct sl_error *err)
{
    struct wk_event start = {.kind = WK_EVENT_START};
    enum sl_status status = advance(w, &start, err);
    while (status == SL_OK && !w->finished) {
        int fds[2] = {wk_executor_fd(w->executor), w->options->signal_fd};
        int64_t left_ms = (w->updates.wake_us - sl_clock_monotonic_us()) / 1000 + 1;
        uint64_t ready = 0;
        status = sl_transport_wait(&w->socket, 1, fds, w->options->signal_fd >= 0 ? 2 : 1,
                left_ms < 0 ? 0 : left_ms, &ready, err);
        if (status == SL_OK)
            status = check_handshake(w, err);
        if (status == SL_OK)
            status = receive_all(w, err);
        if (status == SL_OK)
            status = take_results(w, err);
        if (status == SL_OK && !w->finished)
            status = take_signals(w, err);
        struct wk_event tick = {.kind = WK_EVENT_TICK};
        if (status == SL_OK && !w->finished)
            status = advance(w, &tick, err);
    }
    if (status == SL_TIMEOUT && w->handshake_text[0] != 0)
        return sl_fail(err, w->keys != NULL ? SL_KEYS : SL_FAILED, "%s", w->handshake_text);
    return status;
}

enum sl_status wk_worker_run(const struct wk_worker_options *options, struct sl_error *err)
{
    struct worker w = {.options = options};
    enum sl_status status = load_keys(&w, err);
    if (status == SL_OK)
        status = open_data(&w, err);
    if (status == SL_OK)
        status = open_model(&w, err);
    if (status == SL_OK)
        status = open_core(&w, err);
    if (status == SL_OK)
        status = loop(&w, err);
    close_worker(&w);
    return status;
}
