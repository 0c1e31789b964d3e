/* A worker's process: links, core, and an executor that takes virtual time. */
#include "common/memory.h"
#include "common/random.h"
#include "tests/simulation/network.h"
#include "tests/simulation/world.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void step_worker(struct sim_world *w, struct sim_process *p, struct wk_event *event);

/* ---- the executor ---- */

static uint64_t hash_all(const struct sim_world *w, const struct sim_process *p)
{
    return sl_hash64(p->params, w->model->layout->count * sizeof(float), 7);
}

static struct sl_node next_node(const struct sim_job *job)
{
    return sl_tree_cover(job->run.slots, job->at, job->run.end);
}

static uint32_t next_end(const struct sim_job *job)
{
    return job->run.phase == SL_PHASE_VALIDATE ? job->run.end : sl_tree_end(job->run.slots, next_node(job));
}

/* A node is computed piece by piece, and a piece of its blocks leaves after each, the last ones first. */
static int64_t pieces_of(const struct sim_world *w, const struct sim_job *job)
{
    return job->run.phase == SL_PHASE_TRAIN ? 1 + (int64_t)(w->plan->seed + job->at) % 3 : 1;
}

static void compute_on(struct sim_world *w, struct sim_process *p)
{
    int64_t each = w->plan->slot_us / 2 + sim_between(&w->dice, 0, w->plan->slot_us);
    int64_t takes = each * (next_end(&p->job) - p->job.at) / pieces_of(w, &p->job),
            slow = p->slow_until_us - w->now_us;
    if (slow > 0) /* as long as that lasts */
        takes += 29 * takes < slow ? 29 * takes : slow;
    /* the executor outlives incarnations: its results come to whatever core is there then */
    sim_schedule(w, w->now_us + takes, SIM_EVENT_COMPUTED, p->index, p->job.id, NULL);
}

/* Activations that are kept under a name are used with it, so the name must never stand for other parameters. */
static void check_kept(struct sim_world *w, struct sim_process *p)
{
    const struct wk_action *run = &p->job.run;
    if (p->kept.parameters == run->parameters && p->kept.params_hash != p->job.params_hash)
        sim_fail(w, "worker %d is to go on from activations of other parameters in step %" PRId64, p->index,
                run->step);
    if (run->phase == SL_PHASE_SCORE)
        p->kept = (struct sim_kept){run->parameters, p->job.params_hash};
}

/* All parameters are there: what they are, and how long it takes. */
static void begin_computing(struct sim_world *w, struct sim_process *p)
{
    const struct wk_action *run = &p->job.run;
    p->job.params_hash = hash_all(w, p);
    check_kept(w, p);
    p->job.base = sim_check_base(w, p);
    SIM_TRACE(w, p,
            "computes [%u, %u) of step %" PRId64 " phase %d on version %" PRId64 " (wanted %" PRId64 ")",
            run->begin, run->end, run->step, (int)run->phase, p->job.base, run->version);
    for (uint32_t s = run->begin;
            run->phase != SL_PHASE_VALIDATE && w->model->shard_count > 0 && s < run->end; s++)
        if (!p->readable[sl_plan_shard(w->model->plan, run->step, s)])
            sim_fail(w, "worker %d is to compute slot %u of step %" PRId64 ", whose shard it does not have",
                    p->index, s, run->step);
    if (p->job.base >= 0 && p->job.base < run->version)
        sim_fail(w, "worker %d computes on version %" PRId64 " where at least %" PRId64 " was wanted",
                p->index, p->job.base, run->version);
    compute_on(w, p);
}

static void submit(struct sim_world *w, struct sim_process *p, const struct wk_action *run)
{
    if (p->job.active) {
        sim_fail(w, "worker %d was given a run while its executor was at another one", p->index);
        return;
    }
    p->job = (struct sim_job){
            .active = true, .id = p->job.id + 1, .run = *run, .at = run->begin, .mark = p->mark};
    p->job.blocks = w->model->layout->block_count;
    for (int b = 0; run->arriving && b < w->model->layout->block_count; b++)
        p->job.missing += !run->here[b];
    w->totals.audits += run->phase == SL_PHASE_AUDIT;
    if (p->job.missing == 0)
        begin_computing(w, p);
}

/* The forward pass gets on as blocks come; the simulated one begins with the last. */
static void arrived(struct sim_world *w, struct sim_process *p, int block)
{
    if (!p->job.active || p->job.cancelled || p->job.missing == 0) {
        sim_fail(w, "worker %d is told of block %d that no run of it waits for", p->index, block);
        return;
    }
    if (--p->job.missing == 0)
        begin_computing(w, p);
}

/* Whoever waits for parameters is woken, and computes on what is there: for nobody, but nobody may write it meanwhile. */
static void cancel(struct sim_world *w, struct sim_process *p)
{
    if (p->job.active && !p->job.cancelled && p->job.missing > 0) {
        p->job.params_hash = hash_all(w, p);
        compute_on(w, p);
    }
    p->job.cancelled = true;
}

/* Sums of the next node; of a forward pass the statistics alone (NULL). The same bits whenever they are asked for. */
static struct sl_buffer *node_sums(struct sim_world *w, struct sim_process *p, struct sl_step_stats *stats)
{
    struct sim_job *job = &p->job;
    size_t size = sl_layout_gradient_floats(w->model->layout) * sizeof(float);
    bool scoring = job->run.phase == SL_PHASE_SCORE;
    struct sl_buffer *buffer = scoring ? NULL : sl_buffer_create(size);
    assert(scoring || buffer != NULL);
    if (job->run.phase != SL_PHASE_SKIP)
        sim_model_node(w->model, p->params, job->run.step, next_node(job), job->run.coefficient,
                scoring ? NULL : buffer->data, stats);
    return buffer;
}

/* The next piece of the node's blocks; false: the rest, which may be nothing, goes with the node. */
static bool give_blocks(struct sim_world *w, struct sim_process *p)
{
    struct sim_job *job = &p->job;
    int blocks = w->model->layout->block_count, piece = blocks / (int)pieces_of(w, job);
    if (piece == blocks || job->blocks < piece)
        return false;
    struct sl_step_stats stats = {0};
    struct sl_buffer *buffer = node_sums(w, p, &stats);
    SL_AUTO_FREE int *list = sl_alloc((size_t)piece, sizeof(*list));
    assert(list != NULL);
    for (int i = 0; i < piece; i++)
        list[i] = --job->blocks;
    struct wk_event event = {.kind = WK_EVENT_BLOCKS_DONE,
            .run = job->run.run,
            .node = next_node(job),
            .blocks = list,
            .block_count = piece,
            .gradients = buffer};
    step_worker(w, p, &event);
    sl_buffer_release(buffer);
    return true;
}

static void give_node(struct sim_world *w, struct sim_process *p)
{
    struct sim_job *job = &p->job;
    struct sl_node node = next_node(job);
    size_t size = sl_layout_gradient_floats(w->model->layout) * sizeof(float);
    struct sl_step_stats stats = {0};
    struct sl_buffer *buffer = node_sums(w, p, &stats);
    struct wk_event event = {.kind = WK_EVENT_NODE_DONE,
            .run = job->run.run,
            .node = node,
            .stats = &stats,
            .gradients = buffer,
            .compute_us = (uint64_t)w->plan->slot_us};
    if (job->run.hash)
        event.hash = sl_hash64(&stats.weight_sum, sizeof(stats.weight_sum), sl_hash64(buffer->data, size, 0));
    job->at = sl_tree_end(job->run.slots, node);
    job->blocks = w->model->layout->block_count;
    step_worker(w, p, &event);
    sl_buffer_release(buffer);
}

static void give_validation(struct sim_world *w, struct sim_process *p)
{
    struct sim_job *job = &p->job;
    struct sl_evaluation *evaluation = NULL;
    struct sl_error err = {0};
    if (sl_evaluation_create(&evaluation, SIM_BRANCHES, SIM_LABELS, &err) != SL_OK) {
        sim_fail(w, "evaluation: %s", err.text);
        return;
    }
    sim_model_validate(w->model, p->params, job->run.begin, job->run.end, evaluation);
    size_t ints = sl_evaluation_int_count(SIM_BRANCHES, SIM_LABELS) * sizeof(int64_t),
           doubles = sl_evaluation_double_count(SIM_BRANCHES, SIM_LABELS) * sizeof(double);
    struct sl_buffer *buffer = sl_buffer_create(ints + doubles);
    assert(buffer != NULL);
    memcpy(buffer->data, sl_evaluation_ints(evaluation), ints);
    memcpy((char *)buffer->data + ints, sl_evaluation_doubles(evaluation), doubles);
    sl_evaluation_destroy(evaluation);
    job->at = job->run.end;
    struct wk_event event = {.kind = WK_EVENT_VALIDATION_DONE,
            .run = job->run.run,
            .evaluation = buffer,
            .compute_us = (uint64_t)w->plan->slot_us};
    step_worker(w, p, &event);
    sl_buffer_release(buffer);
}

/* What was begun before a cancel may still be given, or not. */
void sim_worker_computed(struct sim_world *w, struct sim_process *p, uint32_t id)
{
    struct sim_job *job = &p->job;
    if (!job->active || job->id != id)
        return; /* the process was started again meanwhile */
    if (hash_all(w, p) != job->params_hash) {
        sim_fail(w, "the parameters of worker %d changed while it computed on them", p->index);
        return;
    }
    bool heard = p->core != NULL && p->up && !p->leaving;
    if (!heard)
        job->cancelled = true; /* the loop cancels when its core has finished */
    else if (!job->cancelled || (job->missing == 0 && sim_chance(&w->dice, 500000))) {
        if (job->run.phase == SL_PHASE_VALIDATE)
            give_validation(w, p);
        else if (!give_blocks(w, p))
            give_node(w, p);
    }
    if (!job->cancelled && job->at < job->run.end) {
        compute_on(w, p);
    } else {
        job->active = false;
        struct wk_event idle = {.kind = WK_EVENT_IDLE};
        if (p->core != NULL && p->up)
            step_worker(w, p, &idle);
    }
    if (p->up && p->links != NULL)
        sim_process_pump(w, p);
}

/* ---- the core ---- */

static void connect_servers(struct sim_world *w, struct sim_process *p, const struct wk_action *action)
{
    struct sl_error err = {0};
    sl_free(p->sockets);
    p->sockets = sl_alloc((size_t)action->server_count, sizeof(*p->sockets));
    assert(p->sockets != NULL);
    p->socket_count = action->server_count;
    memcpy(p->sockets, action->servers, (size_t)action->server_count * sizeof(*p->sockets));
    for (int s = 1; s < p->socket_count; s++) {
        struct sl_address server = {SL_ROLE_SERVER, p->sockets[s].incarnation};
        if (sl_links_open(p->links, server, sim_process_now(w, p), &err) != SL_OK)
            sim_fail(w, "links: %s", err.text);
    }
}

static void take_updates(struct sim_world *w, struct sim_process *p)
{
    struct sl_outbox *outbox = &p->worker_updates.outbox;
    struct sl_error err = {0};
    const struct wk_action action = p->worker_updates.action;
    p->worker_wake_us = p->worker_updates.wake_us;
    if (action.kind == WK_ACTION_CONNECT)
        connect_servers(w, p, &action);
    for (int i = 0; i < outbox->count; i++) {
        if (outbox->items[i].message->kind == SL_MESSAGE_PUSH) /* of the node that was just given */
            sim_origin_put(
                    outbox->items[i].message, (struct sim_origin){p->job.mark, p->job.base, p->job.run.step});
        enum sl_status status = sl_links_send(
                p->links, outbox->items[i].to, &outbox->items[i].message, sim_process_now(w, p), &err);
        if (status != SL_OK && status != SL_NOT_FOUND)
            sim_fail(w, "links: %s", err.text);
    }
    outbox->count = 0;
    if (action.kind == WK_ACTION_COMPUTE)
        submit(w, p, &action);
    if (p->worker_updates.arrived >= 0)
        arrived(w, p, p->worker_updates.arrived);
    if (action.kind == WK_ACTION_CANCEL)
        cancel(w, p);
    if (action.kind == WK_ACTION_FINISH) {
        SIM_TRACE(w, p, "finishes with %s: %s", sl_status_name(action.status), action.text);
        cancel(w, p);
        p->leaving = true;
        p->leave_status = action.status;
    }
}

static void step_worker(struct sim_world *w, struct sim_process *p, struct wk_event *event)
{
    struct sl_error err = {0};
    if (p->leaving || w->failure[0] != 0)
        return;
    event->now_us = sim_process_now(w, p);
    if (wk_core_step(p->core, event, &p->worker_updates, &err) != SL_OK)
        sim_fail(w, "worker %d: %s", p->index, err.text);
    take_updates(w, p);
}

void sim_worker_start(struct sim_world *w, struct sim_process *p)
{
    const struct sim_model *model = w->model;
    struct sl_error err = {0};
    if (p->params == NULL)
        p->params = sl_alloc_aligned(model->layout->count, sizeof(float));
    assert(p->params != NULL);
    /* the first worker can read all shards, so that training can always go on once it is there */
    for (uint32_t s = 0; s < model->shard_count; s++)
        p->readable[s] = p->index == w->plan->servers_max ||
                         (sim_mix(w->plan->seed + (uint64_t)p->index * 8 + s) & 1) != 0;
    struct wk_core_options options = {.layout = model->layout,
            .incarnation = p->incarnation,
            .plan = model->plan,
            .shards = model->shard_count > 0 ? model->shards : NULL,
            .readable = model->shard_count > 0 ? p->readable : NULL,
            .shard_count = model->shard_count,
            .slot_size = (uint32_t)w->config.batch.slot_size,
            .join_us = 60000000,
            .report_us = 5000000,
            .pulls_ahead = w->config.consistency.mode == SL_CONSISTENCY_BSP,
            .rounds = w->config.cluster.wire == SL_WIRE_BF16,
            .busy = p->job.active};
    options.hello = (struct sl_hello){.role = SL_ROLE_WORKER,
            .config_hash = 5,
            .layout_hash = model->layout->hash,
            .train_count = model->train_count,
            .validation_count = model->validation_count,
            .train_fingerprint = 8,
            .validation_fingerprint = 9,
            .threads = 1,
            .pid = (uint32_t)p->incarnations};
    (void)snprintf(options.hello.host, sizeof(options.hello.host), "worker%d", p->index);
    if (wk_core_create(&p->core, &options, p->params, &err) != SL_OK) {
        sim_fail(w, "worker: %s", err.text);
        return;
    }
    struct wk_event start = {.kind = WK_EVENT_START};
    step_worker(w, p, &start);
}

void sim_worker_end(struct sim_process *p)
{
    wk_core_destroy(p->core);
    p->core = NULL;
    p->socket_count = 0;
}

void sim_worker_event(struct sim_world *w, struct sim_process *p, struct sl_link_event *event)
{
    struct wk_event to_core = {.kind = event->kind == SL_LINK_GONE ? WK_EVENT_GONE : WK_EVENT_MESSAGE,
            .from = event->from,
            .message = event->message,
            .text = event->text};
    if (event->kind == SL_LINK_MESSAGE && event->message->kind == SL_MESSAGE_WELCOME)
        p->mark = event->message->cluster;
    step_worker(w, p, &to_core);
}

void sim_worker_tick(struct sim_world *w, struct sim_process *p)
{
    struct wk_event tick = {.kind = WK_EVENT_TICK};
    step_worker(w, p, &tick);
}

void sim_worker_leave(struct sim_world *w, struct sim_process *p)
{
    struct wk_event event = {.kind = WK_EVENT_LEAVE, .text = "a signal"};
    step_worker(w, p, &event);
    sim_process_pump(w, p);
}
