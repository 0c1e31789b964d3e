/* The worker's process: see loop.h. Nothing is decided here; core.c decides, this file carries out. */
#include "worker/loop.h"

#include "common/clock.h"
#include "common/keys.h"
#include "common/late.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/process.h"
#include "common/rejoin.h"
#include "common/shared_heap.h"
#include "common/signals.h"
#include "common/wire.h"
#include "worker/core.h"
#include "worker/executor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UNREACHABLE_US 500000
#define REPORT_US 2000000
#define CHECK_US 100000 /* between two looks at the handshakes */
#define RECEIVE_MAX 256 /* messages before what is due is looked at again */
#define QUEUE_SLACK (256U << 20)

struct worker {
    const struct wk_worker_options *options;
    struct sl_layout *layout;
    struct wk_model *model;
    struct wk_dataset *train, *validation;
    struct sl_plan_options plan_options;
    struct sl_plan *plan;
    unsigned char *readable; /* (shard_count,), NULL = locality samples */
    struct wk_executor *executor;
    bool busy;            /* the executor has not said IDLE since the last COMPUTE */
    struct sl_keys *keys; /* NULL = not encrypted */
    struct sl_transport *transport;
    struct sl_wire *wire;
    struct sl_rejoin rejoin;
    struct sl_late late;
    uint64_t config_hash;
    int64_t again_us, check_us; /* without a core: when to try again; when to look at handshakes */
    char handshake_text[SL_ERROR_TEXT_MAX]; /* why nobody lets us in so far, "" = they do or are not there */
    struct wk_core *core;                   /* NULL between two lives */
    float *params;
    struct wk_updates updates;
    uint64_t dropped;        /* messages */
    bool welcomed, finished; /* welcomed: in this life */
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
    bool local = config->dataset.locality == SL_LOCALITY_SHARDS;
    enum sl_status status = local ? wk_dataset_open_part(&w->train, config->dataset.train, config, err)
                                  : wk_dataset_open(&w->train, config->dataset.train, config, err);
    if (status == SL_OK && config->dataset.validation[0] != 0)
        status = wk_dataset_open(&w->validation, config->dataset.validation, config, err);
    return status;
}

/* How the training set is cut, and which of its shards are here when not all must be. */
static enum sl_status plan_data(struct worker *w, struct sl_error *err)
{
    const struct sl_config *config = w->options->config;
    w->plan_options = (struct sl_plan_options){.count = wk_dataset_count(w->train),
            .slots = config->batch.slots,
            .slot_size = config->batch.slot_size,
            .seed = config->seed};
    if (config->dataset.locality == SL_LOCALITY_SHARDS) {
        uint32_t shards = wk_dataset_shard_count(w->train);
        w->plan_options.shards = wk_dataset_shard_counts(w->train);
        w->plan_options.shard_count = shards;
        w->readable = sl_alloc(shards, 1);
        if (w->readable == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %u shards", shards);
        for (uint32_t s = 0; s < shards; s++)
            w->readable[s] = wk_dataset_has_shard(w->train, s);
    }
    return sl_plan_create(&w->plan, &w->plan_options, err);
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
    struct wk_executor_options options = {.config = config,
            .layout = w->layout,
            .model = w->model,
            .train = w->train,
            .validation = w->validation,
            .plan = &w->plan_options,
            .threads = w->options->threads};
    return wk_executor_create(&w->executor, &options, err);
}

static enum sl_status open_wire(struct worker *w, struct sl_error *err)
{
    const struct sl_config *config = w->options->config;
    struct sl_links_options links = {.links_max = SL_SERVERS_MAX + 1,
            .heartbeat_us = config->cluster.heartbeat_ms * 1000,
            .timeout_us = config->cluster.timeout_ms * 1000,
            .resend_us = config->cluster.resend_ms * 1000,
            .unreachable_us = UNREACHABLE_US,
            .queue_size_max = 4 * SL_TAGS * w->layout->count * sizeof(float) + QUEUE_SLACK};
    enum sl_status status = SL_OK;
    w->transport = w->options->transport;
    if (w->transport == NULL)
        status = sl_transport_create_secure(&w->transport, w->keys, err);
    if (status == SL_OK && w->options->transport == NULL && sl_shared_heap_fd() >= 0)
        sl_transport_share(w->transport);
    return status == SL_OK ? sl_wire_create(&w->wire, w->transport, SL_ROLE_WORKER, &links, err) : status;
}

/* The sockets and ZeroMQ's thread go first: they may still hold gradients of the executor's pool. */
static void close_worker(struct worker *w)
{
    sl_wire_destroy(w->wire);
    sl_outbox_fini(&w->updates.outbox);
    if (w->transport != w->options->transport)
        sl_transport_destroy(w->transport);
    sl_keys_destroy(w->keys);
    wk_core_destroy(w->core);
    wk_executor_destroy(w->executor);
    wk_model_destroy(w->model);
    sl_plan_destroy(w->plan);
    sl_free(w->readable);
    wk_dataset_close(w->train);
    wk_dataset_close(w->validation);
    sl_layout_destroy(w->layout);
    sl_free(w->params);
}

/* ---- what the core wants ---- */

static enum sl_status connect_servers(struct worker *w, const struct wk_action *action, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    enum sl_status status = SL_OK;
    for (int s = 1; s < action->server_count && status == SL_OK; s++) {
        const struct sl_server_entry *entry = &action->servers[s];
        struct sl_address address = {SL_ROLE_SERVER, entry->incarnation};
        status = sl_wire_connect(w->wire, entry->endpoint, address, now_us, err);
        if (status != SL_OK)
            (void)!sl_error_context(err, "server %d", s);
    }
    return status;
}

/* The cluster as we knew it is gone: whatever is being computed is for nobody. A new core joins again after a pause. */
static void begin_anew(struct worker *w, const char *reason)
{
    int64_t now_us = sl_clock_monotonic_us();
    wk_executor_cancel(w->executor);
    sl_wire_end(w->wire);
    wk_core_destroy(SL_TAKE(w->core));
    w->again_us = sl_rejoin_lost(&w->rejoin, w->welcomed, now_us);
    if (w->welcomed) {
        sl_late_begin(&w->late, w->options->config, w->config_hash, now_us);
        char quoted[SL_MESSAGE_TEXT_MAX * 2];
        sl_log(SL_LOG_WARN, "worker", "joining-again", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), reason));
    }
}

static enum sl_status finish(struct worker *w, const struct wk_action *action, struct sl_error *err)
{
    if (action->status == SL_AGAIN) {
        begin_anew(w, action->text);
        return SL_OK;
    }
    w->finished = true;
    if (action->status != SL_OK)
        return sl_fail(err, action->status, "%s", action->text);
    sl_log(SL_LOG_INFO, "worker", "finished", "reason=\"%s\"", action->text);
    return SL_OK;
}

static enum sl_status carry_out(struct worker *w, struct sl_error *err)
{
    const struct wk_action *action = &w->updates.action;
    struct sl_outbox *outbox = &w->updates.outbox;
    int64_t now_us = sl_clock_monotonic_us();
    enum sl_status status = SL_OK;
    if (action->kind == WK_ACTION_CONNECT)
        status = connect_servers(w, action, err);
    for (int i = 0; i < outbox->count && status == SL_OK; i++)
        status = sl_wire_send(w->wire, outbox->items[i].to, &outbox->items[i].message, now_us, err);
    sl_outbox_clear(outbox);
    if (status != SL_OK)
        return status;
    if (w->updates.arrived >= 0)
        wk_executor_arrived(w->executor, w->updates.arrived);
    switch (action->kind) {
    case WK_ACTION_COMPUTE:
        w->busy = true;
        wk_executor_submit(w->executor, action, w->params);
        return SL_OK;
    case WK_ACTION_CANCEL:
        wk_executor_cancel(w->executor);
        return SL_OK;
    case WK_ACTION_FINISH:
        return finish(w, action, err);
    case WK_ACTION_CONNECT:
    case WK_ACTION_NONE:
        break;
    }
    return SL_OK;
}

/* Without a core there is nobody to tell: the next one begins with what is then. */
static enum sl_status advance(struct worker *w, struct wk_event *event, struct sl_error *err)
{
    if (w->core == NULL || w->finished)
        return SL_OK;
    event->now_us = sl_clock_monotonic_us();
    enum sl_status status = wk_core_step(w->core, event, &w->updates, err);
    return status == SL_OK ? carry_out(w, err) : status;
}

/* ---- a life: from HELLO to FINISH ---- */

static void introduce(const struct worker *w, struct sl_hello *hello)
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
    sl_process_host(hello->host, sizeof(hello->host));
    hello->config_hash = w->config_hash;
}

static enum sl_status join(struct worker *w, struct sl_error *err)
{
    const struct sl_config *config = w->options->config;
    int64_t now_us = sl_clock_monotonic_us();
    sl_rejoin_again(&w->rejoin, now_us);
    w->welcomed = false;
    struct wk_core_options options = {.layout = w->layout,
            .plan = w->plan,
            .slot_size = (uint32_t)config->batch.slot_size,
            .shards = w->plan_options.shards,
            .readable = w->readable,
            .shard_count = w->plan_options.shard_count,
            .join_us = sl_rejoin_left_us(&w->rejoin, now_us),
            .report_us = REPORT_US,
            .pulls_ahead = config->consistency.mode == SL_CONSISTENCY_BSP,
            .rounds = config->cluster.wire == SL_WIRE_BF16,
            .busy = w->busy};
    introduce(w, &options.hello);
    enum sl_status status = sl_process_draw(&options.incarnation, err);
    if (status == SL_OK)
        status = wk_core_create(&w->core, &options, w->params, err);
    if (status == SL_OK)
        status = sl_wire_begin(w->wire, options.incarnation, err);
    if (status == SL_OK)
        status = sl_wire_connect(w->wire, w->options->coordinator, SL_COORDINATOR, now_us, err);
    struct wk_event start = {.kind = WK_EVENT_START};
    return status == SL_OK ? advance(w, &start, err) : status;
}

/* ---- events ---- */

static enum sl_status take_link_events(struct worker *w, struct sl_error *err)
{
    struct sl_link_event happened;
    enum sl_status status = SL_OK;
    while (status == SL_OK && sl_wire_next_event(w->wire, &happened)) {
        struct wk_event event = {.kind = happened.kind == SL_LINK_GONE ? WK_EVENT_GONE : WK_EVENT_MESSAGE,
                .from = happened.from,
                .message = happened.message,
                .text = happened.text};
        status = advance(w, &event, err);
        sl_message_destroy(happened.message);
    }
    w->welcomed = w->welcomed || (w->core != NULL && strcmp(wk_core_doing(w->core), "joining") != 0);
    return status;
}

static enum sl_status receive_all(struct worker *w, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int i = 0; i < RECEIVE_MAX && status == SL_OK && !w->finished; i++) {
        struct sl_error problem = {0};
        struct sl_address from;
        status = sl_wire_receive(w->wire, sl_clock_monotonic_us(), &from, &problem);
        if (status == SL_AGAIN)
            return SL_OK;
        if (status == SL_BAD_DATA || status == SL_MISMATCH) {
            char quoted[SL_ERROR_TEXT_MAX];
            w->dropped++;
            sl_log(SL_LOG_WARN, "worker", "message-dropped", "reason=%s",
                    sl_log_quote(quoted, sizeof(quoted), problem.text));
            status = SL_OK;
        }
        status = status == SL_OK ? take_link_events(w, err) : sl_fail(err, status, "%s", problem.text);
    }
    return status;
}

/* A failed run ends the worker: the coordinator is told, so that the slots go to another. */
static enum sl_status leave_failed(struct worker *w, const struct wk_result *result, struct sl_error *err)
{
    struct wk_event event = {.kind = WK_EVENT_LEAVE, .text = result->error.text};
    struct sl_error ignored = {0};
    (void)!advance(w, &event, &ignored);
    return sl_fail(err, result->status, "%s", result->error.text);
}

static enum sl_status take_result(struct worker *w, const struct wk_result *result, struct sl_error *err)
{
    struct wk_event event = {.run = result->run, .compute_us = result->compute_us};
    switch (result->kind) {
    case WK_RESULT_FAILED:
        return leave_failed(w, result, err);
    case WK_RESULT_IDLE:
        w->busy = false;
        event.kind = WK_EVENT_IDLE;
        break;
    case WK_RESULT_EVALUATION:
        event.kind = WK_EVENT_VALIDATION_DONE;
        event.evaluation = result->buffer;
        break;
    case WK_RESULT_BLOCKS:
        event.kind = WK_EVENT_BLOCKS_DONE;
        event.node = result->node;
        event.gradients = result->buffer;
        event.blocks = result->blocks->data;
        event.block_count = result->block_count;
        break;
    case WK_RESULT_NODE:
        event.kind = WK_EVENT_NODE_DONE;
        event.node = result->node;
        event.stats = &result->stats;
        event.spent = result->spent;
        event.gradients = result->buffer;
        event.hash = result->hash;
        break;
    }
    return advance(w, &event, err);
}

static enum sl_status take_results(struct worker *w, struct sl_error *err)
{
    struct wk_result result;
    enum sl_status status = SL_OK;
    while (status == SL_OK && !w->finished && wk_executor_take(w->executor, &result) == SL_OK) {
        status = take_result(w, &result, err);
        wk_result_fini(&result);
    }
    return status;
}

static enum sl_status take_signals(struct worker *w, struct sl_error *err)
{
    int number = w->options->signal_fd < 0 ? 0 : sl_signals_take(w->options->signal_fd);
    if (number == 0)
        return SL_OK;
    const char *text = NULL;
    (void)sl_signals_exit_code(number, &text);
    struct wk_event event = {.kind = WK_EVENT_LEAVE, .text = text};
    if (w->core != NULL)
        return advance(w, &event, err);
    return sl_fail(err, SL_STOPPED, "%s", text);
}

/* A server that will never let us in ends the worker at once. Broken-off handshakes may also be a proxy's before a server that is not up yet: they are
 * told, and remembered for the case that the core gives up. */
static enum sl_status check_handshakes(struct worker *w, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    if (now_us < w->check_us)
        return SL_OK;
    w->check_us = now_us + CHECK_US;
    sl_wire_tell_sharing(w->wire);
    struct sl_error problem = {0};
    enum sl_status status = sl_wire_check(w->wire, &problem);
    if (status != SL_OK && status != SL_AGAIN)
        return sl_fail(err, status, "%s", problem.text);
    if (status == SL_AGAIN && w->handshake_text[0] == 0) {
        char quoted[SL_ERROR_TEXT_MAX];
        sl_log(SL_LOG_WARN, "worker", "handshake-failed", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
    }
    if (status == SL_AGAIN || w->welcomed)
        memcpy(w->handshake_text, problem.text, sizeof(w->handshake_text)); /* "" when all is well */
    return SL_OK;
}

/* Nobody lets us in, and the run's folder says that it is over: then there is nothing to wait for. */
static void look_whether_late(struct worker *w)
{
    char reason[SL_ERROR_TEXT_MAX], quoted[SL_ERROR_TEXT_MAX];
    if (w->welcomed || !sl_late_over(&w->late, sl_clock_monotonic_us(), reason, sizeof(reason)))
        return;
    w->finished = true;
    sl_log(SL_LOG_INFO, "worker", "run-over", "folder=\"%s\" reason=%s", w->options->config->snapshots.dir,
            sl_log_quote(quoted, sizeof(quoted), reason));
}

/* What is due: a new life, or the core's tick with a report of how we are. */
static enum sl_status tick(struct worker *w, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    if (w->core == NULL)
        return now_us >= w->again_us ? join(w, err) : SL_OK;
    if (now_us < w->updates.wake_us)
        return SL_OK;
    struct sl_links_totals totals = sl_wire_totals(w->wire);
    struct wk_event event = {.kind = WK_EVENT_TICK,
            .report = {.memory = sl_process_memory(),
                    .sent = totals.sent,
                    .received = totals.received,
                    .queued = totals.queued,
                    .busy_us = wk_executor_busy_us(w->executor),
                    .dropped = w->dropped}};
    return advance(w, &event, err);
}

static enum sl_status turn(struct worker *w, struct sl_error *err)
{
    int fds[2] = {wk_executor_fd(w->executor), w->options->signal_fd};
    int64_t until_us = w->core != NULL ? w->updates.wake_us : w->again_us;
    if (w->core != NULL && !w->welcomed && w->check_us < until_us)
        until_us = w->check_us;
    enum sl_status status = sl_wire_wait(w->wire, fds, w->options->signal_fd >= 0 ? 2 : 1, until_us, err);
    if (status == SL_OK)
        status = check_handshakes(w, err);
    if (status == SL_OK)
        status = receive_all(w, err);
    if (status == SL_OK)
        status = take_results(w, err);
    if (status == SL_OK && !w->finished)
        status = take_signals(w, err);
    if (status == SL_OK && !w->finished)
        look_whether_late(w);
    if (status == SL_OK && !w->finished)
        status = tick(w, err);
    if (status == SL_OK && !w->finished)
        status = sl_wire_flush(w->wire, sl_clock_monotonic_us(), err);
    return status == SL_OK ? take_link_events(w, err) : status; /* ends that the flush found */
}

static enum sl_status loop(struct worker *w, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    enum sl_status status = sl_config_hash(&w->config_hash, w->options->config, err);
    sl_rejoin_begin(&w->rejoin, w->options->config->cluster.join_ms * 1000, now_us);
    sl_late_begin(&w->late, w->options->config, w->config_hash, now_us);
    if (status == SL_OK)
        status = join(w, err);
    while (status == SL_OK && !w->finished)
        status = turn(w, err);
    if (status == SL_TIMEOUT && w->handshake_text[0] != 0)
        return sl_fail(err, w->keys != NULL ? SL_KEYS : SL_FAILED, "%s", w->handshake_text);
    return status;
}

enum sl_status wk_worker_run(const struct wk_worker_options *options, struct sl_error *err)
{
    struct worker w = {.options = options};
    enum sl_status status = options->transport == NULL ? load_keys(&w, err) : SL_OK;
    if (status == SL_OK)
        status = open_data(&w, err);
    if (status == SL_OK)
        status = plan_data(&w, err);
    if (options->transport == NULL)
        sl_wire_share_memory(options->config);
    if (status == SL_OK)
        status = open_model(&w, err);
    if (status == SL_OK)
        status = open_wire(&w, err);
    if (status == SL_OK)
        status = loop(&w, err);
    close_worker(&w);
    return status;
}
