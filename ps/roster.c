/* Workers and servers of a run: see roster.h. */
#include "ps/roster.h"

#include "common/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum sl_status ps_roster_init(struct ps_roster *roster, int servers, struct sl_error *err)
{
    *roster = (struct ps_roster){.server_count = servers};
    roster->servers = sl_alloc((size_t)servers, sizeof(*roster->servers));
    return roster->servers == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for %d servers", servers)
                                   : SL_OK;
}

void ps_roster_fini(struct ps_roster *roster)
{
    for (int w = 0; w < roster->worker_end; w++)
        sl_free(roster->workers[w].readable);
    sl_free(roster->workers);
    sl_free(roster->servers);
}

void ps_roster_clear(struct ps_roster *roster)
{
    for (int w = 0; w < roster->worker_end; w++) {
        sl_free(SL_TAKE(roster->workers[w].readable));
        roster->workers[w].present = false;
    }
    roster->worker_count = 0;
    roster->worker_end = 0;
    roster->weight_sum = 0.0;
    roster->weight_count = 0;
    memset(roster->servers, 0, (size_t)roster->server_count * sizeof(*roster->servers));
}

/* ---- workers ---- */

int ps_roster_find_worker(const struct ps_roster *roster, uint64_t id)
{
    for (int w = 0; w < roster->worker_end; w++)
        if (roster->workers[w].present && roster->workers[w].id == id)
            return w;
    return -1;
}

static enum sl_status grow(struct ps_roster *roster, struct sl_error *err)
{
    int capacity = roster->worker_capacity == 0 ? 16 : 2 * roster->worker_capacity;
    struct ps_worker *workers = sl_realloc(roster->workers, (size_t)capacity, sizeof(*workers));
    if (workers == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d workers", capacity);
    roster->workers = workers;
    roster->worker_capacity = capacity;
    return SL_OK;
}

enum sl_status ps_roster_add_worker(struct ps_roster *roster, uint64_t id, const struct sl_hello *hello,
        int64_t now_us, int *ret_index, struct sl_error *err)
{
    assert(roster->worker_count < PS_WORKERS_MAX);
    int index = 0;
    while (index < roster->worker_end && roster->workers[index].present)
        index++;
    if (index == roster->worker_capacity) {
        enum sl_status status = grow(roster, err);
        if (status != SL_OK)
            return status;
    }
    struct ps_worker *worker = &roster->workers[index];
    *worker = (struct ps_worker){.present = true,
            .id = id,
            .rank = roster->next_rank++,
            .threads = hello->threads,
            .pid = hello->pid,
            .joined_us = now_us,
            .heard_us = now_us,
            .run = {.at = -1, .shadow = -1}};
    (void)snprintf(worker->host, sizeof(worker->host), "%s", hello->host);
    (void)snprintf(worker->name, sizeof(worker->name), "w%u %s:%u", worker->rank, hello->host, hello->pid);
    roster->worker_count++;
    if (index == roster->worker_end)
        roster->worker_end++;
    *ret_index = index;
    return SL_OK;
}

static void forget_speed(struct ps_roster *roster, int index)
{
    double *seconds = &roster->workers[index].seconds_per_slot;
    if (*seconds <= 0.0)
        return;
    roster->weight_count--;
    roster->weight_sum = roster->weight_count > 0 ? roster->weight_sum - 1.0 / *seconds : 0.0;
    *seconds = 0.0;
}

void ps_roster_set_speed(struct ps_roster *roster, int index, double seconds)
{
    assert(seconds > 0.0);
    forget_speed(roster, index);
    roster->workers[index].seconds_per_slot = seconds;
    roster->weight_sum += 1.0 / seconds;
    roster->weight_count++;
    roster->known_weight = roster->weight_sum / roster->weight_count;
}

void ps_roster_remove_worker(struct ps_roster *roster, int index)
{
    forget_speed(roster, index);
    sl_free(SL_TAKE(roster->workers[index].readable));
    roster->workers[index].present = false;
    roster->worker_count--;
    while (roster->worker_end > 0 && !roster->workers[roster->worker_end - 1].present)
        roster->worker_end--;
}

double ps_roster_weight(const struct ps_roster *roster, int index)
{
    double own = roster->workers[index].seconds_per_slot;
    if (own > 0.0)
        return 1.0 / own;
    if (roster->weight_count > 0)
        return roster->weight_sum / roster->weight_count;
    return roster->known_weight > 0.0 ? roster->known_weight : 1.0;
}

/* ---- servers ---- */

int ps_roster_find_server(const struct ps_roster *roster, uint64_t id)
{
    for (int s = 0; s < roster->server_count; s++)
        if (roster->servers[s].present && roster->servers[s].id == id)
            return s;
    return -1;
}

void ps_roster_set_server(struct ps_roster *roster, uint64_t id, const struct sl_hello *hello, int64_t now_us)
{
    assert(hello->rank < (uint32_t)roster->server_count);
    struct ps_server_member *server = &roster->servers[hello->rank];
    *server = (struct ps_server_member){
            .present = true, .id = id, .pid = hello->pid, .heard_us = now_us, .version = -1};
    (void)snprintf(server->host, sizeof(server->host), "%s", hello->host);
    (void)snprintf(server->endpoint, sizeof(server->endpoint), "%s", hello->endpoint);
    (void)snprintf(server->name, sizeof(server->name), "s%u %s:%u", hello->rank, hello->host, hello->pid);
}

int ps_roster_servers_present(const struct ps_roster *roster)
{
    int count = 0;
    for (int s = 0; s < roster->server_count; s++)
        count += roster->servers[s].present;
    return count;
}

int ps_roster_servers_loaded(const struct ps_roster *roster)
{
    int count = 0;
    for (int s = 0; s < roster->server_count; s++)
        count += roster->servers[s].present && roster->servers[s].loaded;
    return count;
}
