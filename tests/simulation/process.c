/* What all processes share: see process.h. */
#include "tests/simulation/process.h"

#include "common/memory.h"
#include "tests/simulation/network.h"
#include "tests/simulation/world.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int64_t sim_process_now(const struct sim_world *w, const struct sim_process *p)
{
    return w->now_us + p->clock_us;
}

/* An incarnation tells whose it is (network.c reads that), and never comes again. */
static uint64_t next_incarnation(struct sim_process *p)
{
    p->incarnations++;
    return p->incarnations << 16 | (uint64_t)(p->index + 1);
}

static void open_links(struct sim_world *w, struct sim_process *p)
{
    const struct sl_config *config = &w->config;
    struct sl_error err = {0};
    struct sl_links_options options = {.incarnation = p->incarnation,
            .accept = p->role == SL_ROLE_SERVER,
            .links_max = 8192,
            .heartbeat_us = config->cluster.heartbeat_ms * 1000,
            .timeout_us = config->cluster.timeout_ms * 1000,
            .resend_us = config->cluster.resend_ms * 1000,
            .unreachable_us = 500000,
            .queue_size_max = 64U << 20};
    if (sl_links_create(&p->links, &options, &err) != SL_OK)
        sim_fail(w, "links: %s", err.text);
    if (p->index != 0 && sl_links_open(p->links, SL_COORDINATOR, sim_process_now(w, p), &err) != SL_OK)
        sim_fail(w, "links: %s", err.text);
}

/* Lets go of everything that ends with an incarnation. */
static void end_incarnation(struct sim_process *p)
{
    sl_links_destroy(p->links);
    p->links = NULL;
    sim_server_end(p);
    sim_worker_end(p);
}

void sim_process_start(struct sim_world *w, struct sim_process *p)
{
    end_incarnation(p);
    p->up = true;
    p->life++;
    p->incarnation = next_incarnation(p);
    p->crashing = p->leaving = false;
    p->mark = 0;
    p->window_count = 0;
    p->tick_us = INT64_MAX;
    SIM_TRACE(w, p, "begins as %" PRIx64, p->incarnation);
    open_links(w, p);
    if (p->role == SL_ROLE_SERVER)
        sim_server_start(w, p);
    else
        sim_worker_start(w, p);
    sim_process_pump(w, p);
}

void sim_process_fini(struct sim_process *p)
{
    end_incarnation(p);
    sl_outbox_fini(&p->server_updates.outbox);
    ps_updates_fini(&p->updates);
    sl_outbox_fini(&p->worker_updates.outbox);
    sl_free(p->windows);
    sl_free(p->local);
    sl_free(p->params);
    sl_free(p->sockets);
}

void sim_process_kill(struct sim_world *w, struct sim_process *p, int64_t restart_us)
{
    SIM_TRACE(w, p, "is down");
    end_incarnation(p);
    p->up = false;
    p->life++;
    p->paused_us = 0;
    p->job.active = false;
    if (p->index == 0)
        sim_disk_crash(&w->disk);
    if (restart_us >= 0)
        sim_schedule(w, w->now_us + restart_us, SIM_EVENT_START, p->index, p->life, NULL);
}

/* ---- when to wake ---- */

static void plan_tick(struct sim_world *w, struct sim_process *p)
{
    int64_t wake = sl_links_wake_us(p->links);
    if (p->server != NULL && p->server_wake_us < wake)
        wake = p->server_wake_us;
    if (p->coordinator != NULL && p->coordinator_wake_us < wake)
        wake = p->coordinator_wake_us;
    if (p->core != NULL && p->worker_wake_us < wake)
        wake = p->worker_wake_us;
    if (wake == INT64_MAX)
        return;
    int64_t at = wake - p->clock_us;
    if (at < w->now_us + 1000)
        at = w->now_us + 1000; /* poll waits for whole milliseconds */
    if (at >= p->tick_us && p->tick_us > w->now_us)
        return;
    p->tick_us = at;
    sim_schedule(w, at, SIM_EVENT_TICK, p->index, p->life, NULL);
}

/* ---- in and out ---- */

void sim_process_flush(struct sim_world *w, struct sim_process *p)
{
    struct sl_address to;
    const struct sl_message *message = NULL;
    while (!p->crashing && sl_links_next_outgoing(p->links, sim_process_now(w, p), &to, &message)) {
        sim_check_window(w, p, to, message);
        if (!sim_network_send(w, p, to, message))
            sl_links_unreachable(p->links, to, sim_process_now(w, p));
        if (!w->healed && sim_chance(&w->dice, w->plan->crash_sending))
            p->crashing = true;
    }
}

static void check_bounds(struct sim_world *w, const struct sim_process *p)
{
    struct sl_links_totals totals = sl_links_totals(p->links);
    if (totals.open > w->process_count * 8 + 64)
        sim_fail(w, "process %d has %d links", p->index, totals.open);
}

/* A core that has finished: with AGAIN the process joins anew; a stop or the end of training ends it; all else is for a launcher to start again. */
static void leave(struct sim_world *w, struct sim_process *p)
{
    p->leaving = false;
    if (p->leave_status == SL_AGAIN) {
        w->totals.rejoins++;
        p->up = false; /* until it begins anew; its executor works on */
        p->life++;
        sl_links_destroy(p->links);
        p->links = NULL;
        sim_schedule(
                w, w->now_us + sim_between(&w->dice, 0, 200000), SIM_EVENT_START, p->index, p->life, NULL);
        return;
    }
    if (p->leave_status == SL_MISMATCH)
        sim_fail(w, "process %d was told that it does not fit", p->index);
    bool ended = p->leave_status == SL_OK || p->leave_status == SL_STOPPED;
    sim_process_kill(w, p, ended && (!w->healed || p->index == 0) ? -1 : 1000000);
}

void sim_process_pump(struct sim_world *w, struct sim_process *p)
{
    for (bool more = true; more && !p->leaving && w->failure[0] == 0;) {
        struct sl_link_event event;
        more = p->index == 0 && sim_server_local(w, p);
        while (!p->leaving && p->links != NULL && sl_links_next_event(p->links, &event)) {
            more = true;
            if (event.kind == SL_LINK_GONE)
                SIM_TRACE(w, p, "link to %d:%" PRIx64 " is gone: %s", event.from.role, event.from.id,
                        event.text);
            sim_check_delivered(w, p, &event);
            if (p->role == SL_ROLE_SERVER)
                sim_server_event(w, p, &event);
            else
                sim_worker_event(w, p, &event);
            sl_message_destroy(event.message);
            while (p->index == 0 && sim_server_local(w, p)) {
            }
        }
    }
    if (w->failure[0] != 0 || !p->up)
        return;
    sim_process_flush(w, p);
    if (p->crashing) {
        w->totals.crashes++;
        sim_process_kill(w, p, sim_between(&w->dice, 50000, 8000000));
        return;
    }
    if (p->leaving) {
        leave(w, p);
        return;
    }
    plan_tick(w, p);
}

void sim_process_receive(
        struct sim_world *w, struct sim_process *p, struct sl_address from, struct sl_message *message)
{
    struct sl_error err = {0};
    bool reset = message->kind == SL_MESSAGE_RESET && message->peer == p->incarnation &&
                 from.role == SL_ROLE_COORDINATOR;
    uint32_t life = p->life;
    sim_check_arrived(w, p, from, message);
    if (sl_links_receive(p->links, from, &message, sim_process_now(w, p), &err) != SL_OK)
        sim_fail(w, "links: %s", err.text);
    sim_process_pump(w, p);
    if (reset && p->life == life && w->failure[0] == 0)
        sim_fail(w, "process %d goes on, although the coordinator does not know it any more", p->index);
}

void sim_process_tick(struct sim_world *w, struct sim_process *p)
{
    struct sl_error err = {0};
    p->tick_us = INT64_MAX;
    if (sl_links_tick(p->links, sim_process_now(w, p), &err) != SL_OK)
        sim_fail(w, "links: %s", err.text);
    check_bounds(w, p);
    if (p->role == SL_ROLE_SERVER)
        sim_server_tick(w, p);
    else
        sim_worker_tick(w, p);
    sim_process_pump(w, p);
}
