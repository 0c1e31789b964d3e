/* What the coordinator's core knows, for the status: see status_view.h. */
#include "ps/status_view.h"

#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

/* A worker's last report, for its share of waiting until the next. */
struct ps_member_memory {
    uint64_t id, busy_us;
    int64_t reported_us;
    uint32_t rank;
    double wait_share;
};

void ps_status_members_fini(struct ps_status_members *members)
{
    sl_free(members->workers);
    sl_free(members->servers);
    sl_free(members->now);
    sl_free(members->before);
    *members = (struct ps_status_members){0};
}

static enum ps_status_state state_of(const char *name)
{
    static const struct {
        const char *name;
        enum ps_status_state state;
    } states[] = {{"restoring", PS_STATUS_RESTORING}, {"loading", PS_STATUS_RESTORING},
            {"training", PS_STATUS_TRAINING}, {"validating", PS_STATUS_VALIDATING},
            {"saving", PS_STATUS_SAVING}};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(name, states[i].name) == 0)
            return states[i].state;
    return PS_STATUS_WAITING;
}

static bool reserve(struct ps_status_members *m, int workers, int servers)
{
    if (workers > m->worker_capacity) {
        struct ps_status_worker *list = sl_realloc(m->workers, (size_t)workers, sizeof(*list));
        struct ps_member_memory *now = sl_realloc(m->now, (size_t)workers, sizeof(*now)),
                                *before = sl_realloc(m->before, (size_t)workers, sizeof(*before));
        m->workers = list != NULL ? list : m->workers;
        m->now = now != NULL ? now : m->now;
        m->before = before != NULL ? before : m->before;
        if (list == NULL || now == NULL || before == NULL)
            return false;
        m->worker_capacity = workers;
    }
    if (servers > m->server_capacity) {
        struct ps_status_server *list = sl_realloc(m->servers, (size_t)servers, sizeof(*list));
        if (list == NULL)
            return false;
        m->servers = list;
        m->server_capacity = servers;
    }
    return true;
}

static int compare_ranks(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

static int by_rank(const void *a, const void *b)
{
    return compare_ranks(
            ((const struct ps_status_worker *)a)->rank, ((const struct ps_status_worker *)b)->rank);
}

static int by_memory_rank(const void *a, const void *b)
{
    return compare_ranks(
            ((const struct ps_member_memory *)a)->rank, ((const struct ps_member_memory *)b)->rank);
}

/* The share of the time between a worker's last two reports that it did not compute. */
static double wait_share(const struct ps_member_memory *before, const struct ps_member_memory *now)
{
    double passed = (double)(now->reported_us - before->reported_us);
    double busy = (double)now->busy_us - (double)before->busy_us;
    double share = passed > 0.0 ? 1.0 - busy / passed : before->wait_share;
    return share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
}

/* Both lists are in order of rank; who left is passed over. */
static void fill_wait_shares(struct ps_status_members *m, int count)
{
    for (int i = 0, j = 0; i < count; i++) {
        struct ps_member_memory *now = &m->now[i];
        while (j < m->before_count && m->before[j].rank < now->rank)
            j++;
        if (j < m->before_count && m->before[j].id == now->id)
            now->wait_share = wait_share(&m->before[j], now);
        m->workers[i].wait_share = now->wait_share;
    }
    struct ps_member_memory *spare = m->before;
    m->before = m->now;
    m->now = spare;
    m->before_count = count;
}

static void fill_workers(struct ps_status_view *view, struct ps_status_members *m,
        const struct ps_coordinator *coordinator, int slot_size)
{
    int count = ps_coordinator_worker_count(coordinator);
    for (int i = 0; i < count; i++) {
        struct ps_worker_view w = ps_coordinator_worker(coordinator, i);
        m->workers[i] = (struct ps_status_worker){.rank = w.rank,
                .pid = w.pid,
                .threads = w.threads,
                .host = w.host,
                .joined_us = w.joined_us,
                .heard_us = w.heard_us,
                .slots = w.slots,
                .samples_per_second = w.seconds_per_slot > 0.0 ? slot_size / w.seconds_per_slot : 0.0,
                .staleness = w.staleness,
                .memory = w.report.memory,
                .sent = w.report.sent,
                .received = w.report.received,
                .doing = w.busy ? "computing" : "idle"};
        m->now[i] = (struct ps_member_memory){
                .id = w.id, .busy_us = w.report.busy_us, .reported_us = w.reported_us, .rank = w.rank};
    }
    if (count > 0) { /* the core keeps them in no order */
        qsort(m->workers, (size_t)count, sizeof(*m->workers), by_rank);
        qsort(m->now, (size_t)count, sizeof(*m->now), by_memory_rank);
    }
    fill_wait_shares(m, count);
    view->workers = m->workers;
    view->worker_count = count;
}

static void fill_servers(
        struct ps_status_view *view, struct ps_status_members *m, const struct ps_coordinator *coordinator)
{
    int count = 0, all = ps_coordinator_server_count(coordinator);
    for (int rank = 0; rank < all; rank++) {
        struct ps_server_view s = ps_coordinator_server(coordinator, rank);
        if (!s.present)
            continue;
        m->servers[count++] = (struct ps_status_server){.rank = s.rank,
                .pid = s.pid,
                .host = s.host,
                .endpoint = s.endpoint,
                .heard_us = s.heard_us,
                .version = s.version,
                .queue = s.report.queued,
                .update_seconds = s.update_seconds,
                .memory = s.report.memory,
                .sent = s.report.sent,
                .received = s.report.received,
                .dropped = s.report.dropped};
    }
    view->servers = m->servers;
    view->server_count = count;
}

void ps_status_view(struct ps_status_view *ret_view, struct ps_status_members *members,
        const struct ps_coordinator *coordinator, int slot_size)
{
    const struct ps_training *training = ps_coordinator_training(coordinator);
    *ret_view = (struct ps_status_view){.state = state_of(ps_coordinator_state(coordinator)),
            .step = training->step,
            .total_steps = ps_coordinator_total_steps(coordinator),
            .steps_per_epoch = ps_coordinator_steps_per_epoch(coordinator),
            .best_value = training->best_value,
            .best_step = training->best_step,
            .lost_workers = ps_coordinator_lost(coordinator),
            .rollbacks = ps_coordinator_rollbacks(coordinator)};
    if (!reserve(members, ps_coordinator_worker_count(coordinator), ps_coordinator_server_count(coordinator)))
        return;
    fill_workers(ret_view, members, coordinator, slot_size);
    fill_servers(ret_view, members, coordinator);
}
