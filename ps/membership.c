/* Who takes part: workers and servers join, do not fit, leave, are lost; a server's loss rolls back. */
#include "ps/coordinator_parts.h"

#include "common/memory.h"
#include "common/mutant.h"
#include "common/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- workers come and go ---- */

enum sl_status ps_coordinator_stop_without_workers(struct ps_coordinator *c, struct sl_error *err)
{
    bool in_order = true, under_way = false;
    for (int i = 0; i < c->open_max; i++) {
        under_way |= c->steps[i].open && c->steps[i].committing;
        in_order &= !c->steps[i].open || c->steps[i].committing || c->steps[i].step >= c->ordered;
    }
    if (!in_order)
        return ps_coordinator_begin_finish(c, c->finish_status,
                "stopped while later steps were applied before an earlier one, and no worker is left to "
                "compute "
                "that: the last snapshot is where it goes on",
                err);
    for (int i = 0; i < c->open_max; i++)
        if (c->steps[i].open && !c->steps[i].committing)
            ps_coordinator_abandon(c, i);
    if (under_way)
        return SL_OK; /* APPLIED comes */
    return ps_coordinator_proceed(c, err);
}

enum sl_status ps_coordinator_lose_worker(
        struct ps_coordinator *c, int w, const char *why, struct sl_error *err)
{
    ps_coordinator_add_note(c, PS_ACTION_LOST, "%s: %s", c->roster.workers[w].name, why);
    c->lost++;
    ps_coordinator_free_units(c, w);
    ps_roster_remove_worker(&c->roster, w);
    if (c->stopping && c->roster.worker_count == 0 && c->state == STATE_TRAINING)
        return ps_coordinator_stop_without_workers(c, err);
    enum sl_status status = ps_coordinator_assign_work(c, err);
    return status == SL_OK ? ps_coordinator_commit_whole_steps(c, err) : status; /* an audit may pass now */
}

static enum sl_status refuse(
        struct ps_coordinator *c, struct sl_address to, const char *text, struct sl_error *err)
{
    struct sl_message *m = ps_coordinator_message_to_send(c, SL_MESSAGE_REFUSE);
    if (m != NULL)
        (void)snprintf(m->text, sizeof(m->text), "%.*s", SL_MESSAGE_TEXT_MAX - 1, text);
    ps_coordinator_add_note(c, PS_ACTION_REFUSED, "%s", text);
    return sl_outbox_add(&c->updates->outbox, to, m, err);
}

enum sl_status ps_coordinator_expel_worker(
        struct ps_coordinator *c, int w, const char *why, struct sl_error *err)
{
    struct sl_address to = {SL_ROLE_WORKER, c->roster.workers[w].id};
    enum sl_status status = refuse(c, to, why, err);
    return status == SL_OK ? ps_coordinator_lose_worker(c, w, why, err) : status;
}

/* What does not fit between a peer's program and this run, or false. */
static bool program_differs(
        const struct ps_coordinator *c, const struct sl_hello *hello, char *text, size_t size)
{
    const char *role = hello->role == SL_ROLE_SERVER ? "server" : "worker";
    if (hello->config_hash != c->options.config_hash)
        (void)snprintf(text, size,
                "%s %s:%u has another config (hash %016" PRIx64 ", the run's is %016" PRIx64
                "): start it with the run's config file",
                role, hello->host, hello->pid, hello->config_hash, c->options.config_hash);
    else if (hello->layout_hash != c->options.layout->hash)
        (void)snprintf(text, size,
                "%s %s:%u lays out parameters differently (hash %016" PRIx64 ", the run's is %016" PRIx64
                "): is its vocabulary the same?",
                role, hello->host, hello->pid, hello->layout_hash, c->options.layout->hash);
    else
        return false;
    return true;
}

/* What does not fit between a worker's data and this run's, or false. */
static bool data_differs(
        const struct ps_coordinator *c, const struct sl_hello *hello, char *text, size_t size)
{
    const struct ps_training *t = &c->training;
    if (t->train_count != 0 &&
            (hello->train_count != t->train_count || hello->train_fingerprint != t->train_fingerprint))
        (void)snprintf(text, size,
                "worker %s:%u has other training data (%" PRIu64 " samples, fingerprint %016" PRIx64
                "; the run's: %" PRIu64 ", %016" PRIx64 ")",
                hello->host, hello->pid, hello->train_count, hello->train_fingerprint, t->train_count,
                t->train_fingerprint);
    else if (t->train_count != 0 && (hello->validation_count != t->validation_count ||
                                            hello->validation_fingerprint != t->validation_fingerprint))
        (void)snprintf(text, size,
                "worker %s:%u has other validation data (%" PRIu64 " samples, fingerprint %016" PRIx64
                "; the run's: %" PRIu64 ", %016" PRIx64 ")",
                hello->host, hello->pid, hello->validation_count, hello->validation_fingerprint,
                t->validation_count, t->validation_fingerprint);
    else if (hello->train_count == 0 || hello->train_count > UINT32_MAX)
        (void)snprintf(text, size,
                "worker %s:%u has a training set of %" PRIu64 " samples; 1 to %u can be used", hello->host,
                hello->pid, hello->train_count, UINT32_MAX);
    else if (hello->validation_count > UNITS_MAX)
        (void)snprintf(text, size,
                "worker %s:%u has a validation set of %" PRIu64 " samples; at most %u can be used",
                hello->host, hello->pid, hello->validation_count, UNITS_MAX);
    else
        return false;
    return true;
}

/* The list of servers, with which a worker can begin; only when all of them are known. */
static enum sl_status welcome_worker(
        struct ps_coordinator *c, const struct ps_worker *worker, struct sl_error *err)
{
    size_t size = (size_t)c->roster.server_count * sizeof(struct sl_server_entry);
    struct sl_message *m = ps_coordinator_message_to_send(c, SL_MESSAGE_WELCOME);
    struct sl_buffer *list = sl_buffer_create(size);
    if (m == NULL || list == NULL) {
        sl_message_destroy(m);
        sl_buffer_release(list);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a list of servers");
    }
    struct sl_server_entry *entries = list->data;
    for (int s = 0; s < c->roster.server_count; s++) {
        entries[s].incarnation = c->roster.servers[s].id;
        if (s > 0) /* the first is reached through the coordinator */
            (void)snprintf(
                    entries[s].endpoint, sizeof(entries[s].endpoint), "%s", c->roster.servers[s].endpoint);
    }
    m->rank = worker->rank;
    m->count = (uint64_t)c->roster.server_count;
    sl_message_add_frame(m, list, list->data, size);
    sl_buffer_release(list);
    return ps_coordinator_send_worker(c, worker->id, m, err);
}

static bool loading_or_later(const struct ps_coordinator *c)
{
    return c->state != STATE_GATHERING && c->state != STATE_RESTORING;
}

enum sl_status ps_coordinator_load_if_gathered(struct ps_coordinator *c, struct sl_error *err)
{
    if (c->state != STATE_GATHERING || c->plan == NULL ||
            ps_roster_servers_present(&c->roster) < c->roster.server_count)
        return SL_OK;
    c->state = STATE_LOADING;
    for (int s = 0; s < c->roster.server_count; s++) {
        struct ps_action *action = ps_coordinator_add_action(c, PS_ACTION_LOAD);
        action->to = (struct sl_address){SL_ROLE_SERVER, c->roster.servers[s].id};
        action->rank = (uint32_t)s;
        action->cluster = c->cluster;
        action->count = sl_plan_epoch_slots(c->plan);
    }
    for (int w = 0; w < c->roster.worker_end; w++) {
        enum sl_status status =
                c->roster.workers[w].present ? welcome_worker(c, &c->roster.workers[w], err) : SL_OK;
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

/* How a worker's shards do not fit, or false. Frames: samples of each shard, and which it has; none of both when samples may lie anywhere. */
static bool shards_differ(const struct ps_coordinator *c, const struct sl_message *m, char *text, size_t size)
{
    bool local = c->options.config->dataset.locality == SL_LOCALITY_SHARDS;
    size_t shards = m->frame_count == 2 ? m->frames[1].size : 0;
    if (m->frame_count != (local ? 2 : 0) || (local && (shards == 0 || shards > SL_PLAN_SHARDS_MAX)) ||
            (local && m->frames[0].size != shards * sizeof(uint64_t)))
        (void)snprintf(text, size, "worker %s:%u does not tell its shards as dataset.locality wants it",
                m->hello.host, m->hello.pid);
    else if (local && c->plan != NULL &&
             (shards != c->shard_count ||
                     sl_hash64(m->frames[0].data, m->frames[0].size, 0) != c->shards_hash))
        (void)snprintf(text, size,
                "worker %s:%u has a training set that is cut into other shards than the run's: copy the same "
                "import to every machine",
                m->hello.host, m->hello.pid);
    else
        return false;
    return true;
}

/* The first worker of a run tells what there is to learn from. */
static enum sl_status learn_data(struct ps_coordinator *c, const struct sl_message *m, struct sl_error *err)
{
    bool fresh = c->training.train_count == 0;
    if (fresh) {
        c->training.train_count = m->hello.train_count;
        c->training.validation_count = m->hello.validation_count;
        c->training.train_fingerprint = m->hello.train_fingerprint;
        c->training.validation_fingerprint = m->hello.validation_fingerprint;
    }
    bool local = m->frame_count == 2;
    enum sl_status status = ps_coordinator_plan_steps(
            c, local ? m->frames[0].data : NULL, local ? (uint32_t)m->frames[1].size : 0, err);
    if (status != SL_OK && fresh)
        c->training.train_count = 0; /* the next one may make sense */
    return status;
}

/* Which shards it has, for assignment. */
static enum sl_status keep_readable(
        struct ps_coordinator *c, struct ps_worker *worker, const struct sl_message *m, struct sl_error *err)
{
    if (c->shard_count == 0)
        return SL_OK;
    worker->readable = sl_alloc(c->shard_count, 1);
    if (worker->readable == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u shards", c->shard_count);
    memcpy(worker->readable, m->frames[1].data, c->shard_count);
    return SL_OK;
}

enum sl_status ps_coordinator_on_worker_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    struct sl_address from = {SL_ROLE_WORKER, id};
    struct sl_error problem = {0};
    int index = -1;
    if (m->hello.role != SL_ROLE_WORKER || ps_roster_find_worker(&c->roster, id) >= 0)
        return SL_OK;
    if (program_differs(c, &m->hello, text, sizeof(text)) || data_differs(c, &m->hello, text, sizeof(text)) ||
            shards_differ(c, m, text, sizeof(text)))
        return refuse(c, from, text, err);
    if (c->roster.worker_count == PS_WORKERS_MAX)
        return refuse(c, from, "this run has as many workers as it can take", err);
    enum sl_status status = learn_data(c, m, &problem);
    if (status == SL_BAD_DATA)
        return refuse(c, from, problem.text, err);
    if (status != SL_OK)
        return sl_fail(err, status, "%s", problem.text);
    status = ps_roster_add_worker(&c->roster, id, &m->hello, c->now_us, &index, err);
    if (status == SL_OK)
        status = keep_readable(c, &c->roster.workers[index], m, err);
    if (status != SL_OK)
        return status;
    ps_coordinator_add_note(
            c, PS_ACTION_JOINED, "%s with %u threads", c->roster.workers[index].name, m->hello.threads);
    if (!loading_or_later(c))
        return ps_coordinator_load_if_gathered(c, err);
    status = welcome_worker(c, &c->roster.workers[index], err);
    return status == SL_OK ? ps_coordinator_assign_work(c, err) : status;
}

/* ---- servers come and go ---- */

/* Everybody begins anew where the newest whole snapshot stands. A cluster that never gets further than this gives up. */
static enum sl_status roll_back(struct ps_coordinator *c, const char *why, struct sl_error *err)
{
    ps_coordinator_add_note(c, PS_ACTION_WARN, "%s: going back to the newest snapshot", why);
    if (c->blocks_missing > 0) {
        ps_coordinator_add_action(c, PS_ACTION_SNAPSHOT_DROP);
        c->blocks_missing = 0;
        c->snapshot_busy = false;
    }
    c->rollbacks++;
    c->fruitless = c->training.step > c->rolled_back_step ? 0 : c->fruitless + 1;
    c->rolled_back_step = c->training.step > c->rolled_back_step ? c->training.step : c->rolled_back_step;
    if (c->fruitless > FRUITLESS_MAX)
        return ps_coordinator_begin_finish(c, SL_GAVE_UP,
                "servers keep failing: not one step was made between the last rollbacks; see the servers' "
                "logs",
                err);
    for (int i = 0; i <= PS_OPEN_MAX; i++)
        if (c->steps[i].open)
            ps_coordinator_abandon(c, i);
    ps_roster_clear(&c->roster);
    c->cluster += !sl_mutant("coordinator: a rollback keeps the mark");
    c->snapshot_wanted = false;
    c->snapshot_best = false;
    if (!c->stopping &&
            !sl_mutant(
                    "coordinator: the end survives a rollback")) { /* what seemed to be the end is ahead again */
        c->finish_after_save = false;
        c->finish_status = SL_OK;
        c->finish_text[0] = 0;
    }
    c->state = STATE_RESTORING;
    ps_coordinator_add_action(c, PS_ACTION_RESTORE);
    return SL_OK;
}

enum sl_status ps_coordinator_lose_server(
        struct ps_coordinator *c, int rank, const char *why, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    (void)snprintf(
            text, sizeof(text), "%s: %.*s", c->roster.servers[rank].name, SL_MESSAGE_TEXT_MAX / 2, why);
    ps_coordinator_add_note(c, PS_ACTION_LOST, "%s", text)->to.role = SL_ROLE_SERVER;
    if (!loading_or_later(c)) { /* nothing was built on it yet */
        c->roster.servers[rank].present = false;
        return SL_OK;
    }
    return roll_back(c, text, err);
}

enum sl_status ps_coordinator_on_server_hello(
        struct ps_coordinator *c, uint64_t id, const struct sl_message *m, struct sl_error *err)
{
    char text[SL_MESSAGE_TEXT_MAX];
    const struct sl_hello *hello = &m->hello;
    struct sl_address from = {SL_ROLE_SERVER, id};
    if (hello->role != SL_ROLE_SERVER || ps_roster_find_server(&c->roster, id) >= 0)
        return SL_OK;
    if (program_differs(c, hello, text, sizeof(text)))
        return refuse(c, from, text, err);
    if (hello->servers != (uint32_t)c->roster.server_count || hello->rank >= hello->servers ||
            (hello->rank == 0) != (id == c->options.incarnation) ||
            (hello->rank > 0 && hello->endpoint[0] == 0)) {
        (void)snprintf(text, sizeof(text),
                "server %s:%u was started as number %u of %u servers; this run has %d, numbered from 0, and "
                "0 is "
                "the coordinator's own",
                hello->host, hello->pid, hello->rank, hello->servers, c->roster.server_count);
        return refuse(c, from, text, err);
    }
    if (c->roster.servers[hello->rank].present) {
        struct sl_address before = {SL_ROLE_SERVER, c->roster.servers[hello->rank].id};
        (void)snprintf(text, sizeof(text), "it was started again as %s:%u", hello->host, hello->pid);
        bool rolls_back = loading_or_later(c);
        enum sl_status status = ps_coordinator_lose_server(c, (int)hello->rank, text, err);
        if (status != SL_OK || rolls_back)
            return status; /* links are closed by the rollback: it says hello again */
        /* this hello may be an old one that was late: then the one that lives must hear that it is out, and begins anew */
        if (!sl_mutant("coordinator: a replaced server is not told"))
            ps_coordinator_add_action(c, PS_ACTION_CLOSE)->to = before;
    }
    ps_roster_set_server(&c->roster, id, hello, c->now_us);
    ps_coordinator_add_note(c, PS_ACTION_JOINED, "%s", c->roster.servers[hello->rank].name)->to = from;
    struct sl_message *welcome = ps_coordinator_message_to_send(c, SL_MESSAGE_WELCOME);
    if (welcome != NULL) {
        welcome->rank = hello->rank;
        welcome->count = hello->servers;
    }
    enum sl_status status = sl_outbox_add(&c->updates->outbox, from, welcome, err);
    return status == SL_OK ? ps_coordinator_load_if_gathered(c, err) : status;
}

enum sl_status ps_coordinator_on_loaded(
        struct ps_coordinator *c, int rank, const struct sl_message *m, struct sl_error *err)
{
    struct ps_server_member *server = &c->roster.servers[rank];
    if (c->state != STATE_LOADING || server->loaded || m->version != c->training.step)
        return SL_OK;
    server->loaded = true;
    server->version = m->version;
    if (ps_roster_servers_loaded(&c->roster) < c->roster.server_count)
        return SL_OK;
    ps_coordinator_add_action(c, PS_ACTION_READY);
    c->state = STATE_TRAINING;
    return ps_coordinator_proceed(c, err);
}
