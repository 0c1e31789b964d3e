/* The cluster's world: see world.h. */
#include "tests/simulation/world.h"

#include "common/memory.h"
#include "tests/simulation/network.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 5000000 /* a run that needs more does not end */
#define PAIRS_MAX 300 /* processes; more only in undisturbed worlds, where all messages take equally long */
#define HEALED_US 240000000 /* virtual time in which a healed cluster must finish */

/* ---- telling ---- */

void sim_trace(struct sim_world *w, const struct sim_process *p, const char *format, ...)
{
    va_list arguments;
    (void)fprintf(w->trace, "%12.6f ", (double)w->now_us / 1e6);
    if (p == NULL)
        (void)fprintf(w->trace, "world    ");
    else
        (void)fprintf(w->trace, "%s %-3d ", p->role == SL_ROLE_SERVER ? "server" : "worker", p->index);
    va_start(arguments, format);
    (void)vfprintf(w->trace, format, arguments);
    va_end(arguments);
    (void)fputc('\n', w->trace);
}

void sim_fail(struct sim_world *w, const char *format, ...)
{
    if (w->failure[0] != 0)
        return;
    va_list arguments;
    int length = snprintf(w->failure, sizeof(w->failure), "%.6f s: ", (double)w->now_us / 1e6);
    va_start(arguments, format);
    (void)vsnprintf(w->failure + length, sizeof(w->failure) - (size_t)length, format, arguments);
    va_end(arguments);
    SIM_TRACE(w, NULL, "BROKEN %s", w->failure);
}

/* ---- events: a heap by time, then by order of scheduling ---- */

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void push_event(struct sim_world *w, struct sim_event event)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity == 0 ? 256 : 2 * w->heap_capacity;
        w->heap = sl_realloc(w->heap, (size_t)w->heap_capacity, sizeof(*w->heap));
        assert(w->heap != NULL);
    }
    int i = w->heap_count++;
    for (; i > 0 && earlier(&event, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = event;
}

static struct sim_event pop_event(struct sim_world *w)
{
    struct sim_event top = w->heap[0], last = w->heap[--w->heap_count];
    int i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= w->heap_count)
            break;
        child += child + 1 < w->heap_count && earlier(&w->heap[child + 1], &w->heap[child]);
        if (!earlier(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

void sim_schedule(struct sim_world *w, int64_t at_us, enum sim_event_kind kind, int process, uint32_t life,
        struct sim_flight *flight)
{
    /* a restore stops its process: nothing comes before it */
    uint64_t order = kind == SIM_EVENT_RESTORED ? 0 : ++w->order;
    push_event(w, (struct sim_event){at_us, order, kind, process, life, flight});
}

/* ---- faults ---- */

static struct sim_process *any_process(struct sim_world *w)
{
    int at = (int)sim_below(&w->dice, (uint64_t)(w->servers + w->workers));
    return &w->processes[at < w->servers ? at : w->plan->servers_max + at - w->servers];
}

static void crash(struct sim_world *w, struct sim_process *p)
{
    if (!p->up)
        return;
    w->totals.crashes++;
    bool quick = sim_chance(&w->dice, 700000);
    sim_process_kill(
            w, p, quick ? sim_between(&w->dice, 1000, 2000000) : sim_between(&w->dice, 1000000, 20000000));
}

static void pause_process(struct sim_world *w, struct sim_process *p)
{
    int64_t until = w->now_us + (sim_chance(&w->dice, 600000) ? sim_between(&w->dice, 10000, 2000000)
                                                              : sim_between(&w->dice, 2000000, 40000000));
    w->totals.pauses++;
    SIM_TRACE(w, p, "is paused until %" PRId64, until);
    if (p->paused_us < until)
        p->paused_us = until;
}

static void stop(struct sim_world *w)
{
    struct sim_process *p = &w->processes[0];
    if (w->stops_left == 0 || !p->up || p->paused_us > w->now_us)
        return;
    w->stops_left--;
    w->totals.stops++;
    SIM_TRACE(w, p, "is asked to stop");
    sim_server_stop(w, p);
}

static void fault(struct sim_world *w)
{
    struct sim_process *p = any_process(w);
    int64_t soon = w->now_us + sim_between(&w->dice, 100000, 3000000),
            late = w->now_us + sim_between(&w->dice, 1000000, 30000000);
    switch (sim_below(&w->dice, 16)) {
    case 0:
    case 1:
    case 2:
        crash(w, p);
        break;
    case 3:
        crash(w, &w->processes[0]);
        break;
    case 4:
    case 5:
        if (p->up)
            pause_process(w, p);
        break;
    case 6:
    case 7:
        w->totals.cuts++;
        sim_network_cut(w, sim_chance(&w->dice, 600000) ? soon : late);
        break;
    case 8:
    case 9:
        sim_network_clog(w, soon);
        break;
    case 10:
        sim_network_clog(w, late);
        break;
    case 11:
    case 12:
        p->slow_until_us = late;
        break;
    case 13:
        SIM_TRACE(w, p, "its clock jumps");
        p->clock_us += sim_between(&w->dice, 1000, 20000000);
        break;
    case 14:
        if (p->role == SL_ROLE_WORKER && p->up && p->paused_us <= w->now_us && p->core != NULL) {
            int index = p->index;
            sim_worker_leave(w, p);
            sim_schedule(w, late, SIM_EVENT_START, index, w->processes[index].life, NULL);
        }
        break;
    default:
        stop(w);
        break;
    }
    if (w->now_us < w->plan->chaos_us)
        sim_schedule(
                w, w->now_us + sim_between(&w->dice, 1, 2 * w->plan->fault_us), SIM_EVENT_FAULT, -1, 0, NULL);
}

static void start_all(struct sim_world *w, bool again)
{
    for (int i = 0; i < w->process_count; i++) {
        struct sim_process *p = &w->processes[i];
        bool takes_part = i < w->plan->servers_max ? i < w->servers : i - w->plan->servers_max < w->workers;
        p->slow_until_us = 0;
        if (p->up && (again || !takes_part))
            sim_process_kill(w, p, -1);
        p->life++; /* starts that are due are void */
        if (p->up)
            p->life--;
        if (takes_part && !p->up)
            sim_schedule(w, w->now_us + sim_between(&w->dice, 0, 1000000), SIM_EVENT_START, i, p->life, NULL);
    }
}

/* From now on nothing goes wrong any more. */
static void heal(struct sim_world *w)
{
    SIM_TRACE(w, NULL, "everything heals");
    w->healed = true;
    w->give_up_us = w->now_us + HEALED_US;
    sim_network_heal(w);
    start_all(w, w->plan->restart_all);
}

/* ---- ends ---- */

void sim_world_finished(struct sim_world *w, enum sl_status status, const char *text)
{
    if (status == SL_OK) {
        w->finished = true;
    } else if (status == SL_STOPPED || (status == SL_DISK && w->disk.failed > 0)) {
        /* started again by a user later, with other numbers of servers and workers */
        for (int i = 1; i < w->process_count; i++)
            if (w->processes[i].up && sim_chance(&w->dice, 700000))
                sim_schedule(w, w->now_us + sim_between(&w->dice, 0, 1000000), SIM_EVENT_FAULT, i,
                        w->processes[i].life, NULL);
        sim_schedule(w, w->now_us + sim_between(&w->dice, 1000000, 5000000), SIM_EVENT_RESUME, -1, 0, NULL);
    } else {
        sim_fail(w, "the coordinator ends with %s: %s", sl_status_name(status), text);
    }
}

static void resume(struct sim_world *w)
{
    w->resumes++;
    w->servers = 1 + (int)sim_below(&w->dice, (uint64_t)w->plan->servers_max);
    w->workers = 1 + (int)sim_below(&w->dice, (uint64_t)w->plan->workers_max);
    SIM_TRACE(w, NULL, "resumes with %d servers and %d workers", w->servers, w->workers);
    for (int i = 0; i < w->process_count; i++)
        if (w->processes[i].up)
            sim_process_kill(w, &w->processes[i], -1);
    start_all(w, false);
}

/* ---- the run ---- */

static void arrive(struct sim_world *w, struct sim_event *event)
{
    struct sl_address from;
    struct sl_message *message = NULL;
    sim_network_arrive(w, event->flight, &from, &message);
    if (message != NULL && w->failure[0] == 0)
        sim_process_receive(w, &w->processes[event->process], from, message);
    else
        sl_message_destroy(message);
}

static void happen(struct sim_world *w, struct sim_event *event)
{
    struct sim_process *p = event->process >= 0 ? &w->processes[event->process] : NULL;
    bool same_life = p != NULL && p->life == event->life;
    switch (event->kind) {
    case SIM_EVENT_ARRIVAL:
        arrive(w, event);
        break;
    case SIM_EVENT_TICK:
        if (same_life && p->up && p->tick_us == event->at_us)
            sim_process_tick(w, p);
        break;
    case SIM_EVENT_COMPUTED:
        sim_worker_computed(w, p, event->life);
        break;
    case SIM_EVENT_WRITTEN:
        if (same_life && p->up)
            sim_server_written(w, p);
        break;
    case SIM_EVENT_RESTORED:
        if (same_life && p->up)
            sim_server_restored(w, p);
        break;
    case SIM_EVENT_START:
        if (same_life && !p->up)
            sim_process_start(w, p);
        break;
    case SIM_EVENT_FAULT:
        if (p == NULL && !w->healed)
            fault(w);
        else if (same_life)
            crash(w, p);
        break;
    case SIM_EVENT_HEAL:
        heal(w);
        break;
    case SIM_EVENT_RESUME:
        resume(w);
        break;
    }
}

/* A paused process sleeps through what comes to it; all of it waits, in order. */
static bool sleeps_through(struct sim_world *w, const struct sim_event *event)
{
    if (event->process < 0 || event->kind == SIM_EVENT_FAULT || event->kind == SIM_EVENT_START)
        return false;
    const struct sim_process *p = &w->processes[event->process];
    if (p->paused_us <= w->now_us)
        return false;
    struct sim_event later = *event;
    later.at_us = p->paused_us;
    push_event(w, later);
    return true;
}

void sim_world_run(struct sim_world *w)
{
    while (!w->finished && w->failure[0] == 0 && w->heap_count > 0) {
        struct sim_event event = pop_event(w);
        w->now_us = event.at_us;
        if (++w->totals.events > EVENTS_MAX)
            sim_fail(w, "no end after %d events", EVENTS_MAX);
        if (w->healed && w->now_us > w->give_up_us)
            sim_fail(w, "not finished %d s after everything was healed: %s at step %" PRId64 " of %" PRId64,
                    HEALED_US / 1000000,
                    w->processes[0].coordinator != NULL ? ps_coordinator_state(w->processes[0].coordinator)
                                                        : "no coordinator",
                    w->processes[0].coordinator != NULL
                            ? ps_coordinator_training(w->processes[0].coordinator)->step
                            : -1,
                    w->model->total_steps);
        struct sim_process *p = event.process >= 0 ? &w->processes[event.process] : NULL;
        if (event.kind == SIM_EVENT_TICK && p->tick_us == event.at_us && p->paused_us > w->now_us)
            p->tick_us = p->paused_us; /* sleeps_through moves it there */
        if (!sleeps_through(w, &event))
            happen(w, &event);
    }
    if (!w->finished && w->failure[0] == 0)
        sim_fail(w, "nothing happens any more");
    w->totals.virtual_us = w->now_us;
}

/* ---- create ---- */

static void configure(struct sim_world *w)
{
    struct sl_config *config = &w->config;
    *config = w->model->config;
    config->cluster.servers = w->servers;
    config->cluster.workers = w->workers;
    config->cluster.heartbeat_ms = 500;
    config->cluster.timeout_ms = 5000;
    config->cluster.resend_ms = 200;
    config->cluster.join_ms = 60000;
    config->cluster.straggler = w->plan->straggler;
    config->cluster.audit = w->plan->audit;
    config->snapshots.every_steps = w->plan->every_steps;
    config->snapshots.keep = 3;
}

struct sim_world *sim_world_create(struct sim_model *model, const struct sim_plan *plan, FILE *trace)
{
    struct sim_world *w = sl_alloc(1, sizeof(*w));
    assert(w != NULL);
    w->plan = plan;
    w->model = model;
    w->trace = trace;
    w->dice.state = sim_mix(plan->seed * 2 + 1);
    w->servers = plan->servers;
    w->workers = plan->workers;
    w->stops_left = plan->stops;
    w->process_count = plan->servers_max + plan->workers_max;
    w->processes = sl_alloc((size_t)w->process_count, sizeof(*w->processes));
    size_t pairs = (size_t)w->process_count * (size_t)w->process_count;
    assert(w->processes != NULL);
    if (w->process_count <= PAIRS_MAX) {
        w->cut_until = sl_alloc(pairs, sizeof(int64_t));
        w->clog_until = sl_alloc(pairs, sizeof(int64_t));
        w->arrived = sl_alloc(pairs, sizeof(int64_t));
        assert(w->cut_until != NULL && w->clog_until != NULL && w->arrived != NULL);
    }
    configure(w);
    sim_disk_init(&w->disk, model);
    for (int i = 0; i < w->process_count; i++) {
        struct sim_process *p = &w->processes[i];
        p->index = i;
        p->role = i < plan->servers_max ? SL_ROLE_SERVER : SL_ROLE_WORKER;
        p->rank = i < plan->servers_max ? (uint32_t)i : 0;
        p->clock_us = plan->fault_us > 0 ? sim_between(&w->dice, 0, 1000000000) : 0;
    }
    start_all(w, false);
    sim_schedule(w, plan->chaos_us, SIM_EVENT_HEAL, -1, 0, NULL);
    if (plan->fault_us > 0)
        sim_schedule(w, sim_between(&w->dice, 1, 2 * plan->fault_us), SIM_EVENT_FAULT, -1, 0, NULL);
    return w;
}

void sim_world_destroy(struct sim_world *w)
{
    if (w == NULL)
        return;
    for (int i = 0; i < w->process_count; i++)
        sim_process_fini(&w->processes[i]);
    for (int i = 0; i < w->heap_count; i++)
        sim_flight_free(w->heap[i].flight);
    for (int i = 0; i < SIM_REPLAY_MAX; i++)
        sim_flight_free(w->replay[i]);
    sim_check_fini(w);
    sim_disk_fini(&w->disk);
    sl_free(w->processes);
    sl_free(w->heap);
    sl_free(w->cut_until);
    sl_free(w->clog_until);
    sl_free(w->arrived);
    sl_free(w);
}

bool sim_learn(struct sim_model *model, char *ret_failure)
{
    if (model->known)
        return true;
    struct sim_plan plan = sim_plan_quiet(model->kind, 1, 1);
    struct sim_world *w = sim_world_create(model, &plan, NULL);
    w->learn = true;
    sim_world_run(w);
    model->known = w->failure[0] == 0;
    memcpy(ret_failure, w->failure, sizeof(w->failure));
    sim_world_destroy(w);
    return model->known;
}
