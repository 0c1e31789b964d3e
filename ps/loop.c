/* A server's process: see loop.h. Nothing is decided here; the cores decide, this file carries out: messages to the wire or to the other core, an end of this life and
 * the beginning of the next. leader.c has what rank 0 does besides. */
#include "ps/loop.h"

#include "common/clock.h"
#include "common/cpu.h"
#include "common/file.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/placement.h"
#include "common/process.h"
#include "common/shared_heap.h"
#include "common/signals.h"
#include "common/team.h"
#include "ps/endpoint.h"
#include "ps/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define UNREACHABLE_US 500000
#define REPORT_US 2000000
#define TEAM_ENOUGH 8   /* threads that are more than enough for a machine's memory bandwidth */
#define CHECK_US 100000 /* between two looks at the handshakes */
#define STAY_TURN_US 1000000
#define RECEIVE_MAX 256 /* messages before what is due is looked at again */
#define LINKS_MAX 8192  /* more than the coordinator takes peers */
#define QUEUE_SLACK (256U << 20)
#define DRAIN_US 2000000 /* at the end, for the last messages */

/* ---- open and close ---- */

static const char *bind_endpoint(const struct ps_process *p)
{
    const struct sl_config *config = p->options->config;
    if (p->options->bind != NULL)
        return p->options->bind;
    return p->options->rank == 0 ? config->cluster.coordinator : config->cluster.bind;
}

static enum sl_status check_options(const struct ps_process *p, struct sl_error *err)
{
    const struct sl_config *config = p->options->config;
    if (p->options->rank == 0 && config->cluster.status[0] != 0) {
        enum sl_status status = ps_endpoint_check(config, "cluster.status", config->cluster.status, err);
        if (status != SL_OK)
            return status;
    }
    if (p->options->rank < 0 || p->options->rank >= config->cluster.servers)
        return sl_fail(err, SL_USAGE,
                "there is no server of rank %d: cluster.servers is %d, ranks begin with 0; give the same "
                "cluster.servers to every process",
                p->options->rank, config->cluster.servers);
    return ps_endpoint_check(config,
            p->options->bind != NULL ? "--bind"
            : p->options->rank == 0  ? "cluster.coordinator"
                                     : "cluster.bind",
            bind_endpoint(p), err);
}

static enum sl_status load_keys(struct ps_process *p, struct sl_error *err)
{
    const char *dir = p->options->config->cluster.keys;
    return dir[0] != 0 ? sl_keys_load(&p->keys, dir, SL_KEYS_SERVER, err) : SL_OK;
}

/* Memory for the blocks of this rank alone. */
static enum sl_status open_table(struct ps_process *p, struct sl_error *err)
{
    const struct sl_config *config = p->options->config;
    struct ps_optimiser optimiser = ps_optimiser_from_config(config);
    size_t blocks = (size_t)p->layout->block_count;
    SL_AUTO_FREE int *owners = sl_alloc(blocks, sizeof(*owners));
    SL_AUTO_FREE int *own = sl_alloc(blocks, sizeof(*own));
    int count = 0;
    if (owners == NULL || own == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the placement of blocks");
    sl_placement_make(p->layout, config->cluster.servers, owners);
    for (int b = 0; b < p->layout->block_count; b++)
        if (owners[b] == p->options->rank)
            own[count++] = b;
    if (count == 0)
        return sl_fail(err, SL_USAGE,
                "cluster.servers is %d, but the model has only %d blocks: server %d would own nothing; use "
                "fewer servers",
                config->cluster.servers, p->layout->block_count, p->options->rank);
    return ps_table_create(&p->table, p->layout, &optimiser, own, count, err);
}

static enum sl_status introduce(struct ps_process *p, struct sl_error *err)
{
    p->hello = (struct sl_hello){.role = SL_ROLE_SERVER,
            .layout_hash = p->layout->hash,
            .threads = 1,
            .pid = (uint32_t)getpid(),
            .rank = (uint32_t)p->options->rank,
            .servers = (uint32_t)p->options->config->cluster.servers};
    sl_process_host(p->hello.host, sizeof(p->hello.host));
    return sl_config_hash(&p->hello.config_hash, p->options->config, err);
}

/* Where workers reach this server: what --advertise says, else what is bound; a host that means any address is replaced by the machine's name, port 0 by the bound one. */
static enum sl_status choose_endpoint(struct ps_process *p, struct sl_error *err)
{
    static const char *const any[] = {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"};
    const char *bound = sl_socket_endpoint(sl_wire_bound(p->wire)), *port = strrchr(bound, ':');
    char *endpoint = p->hello.endpoint;
    size_t size = sizeof(p->hello.endpoint);
    int used = 0;
    if (p->options->advertise != NULL) {
        const char *wanted = p->options->advertise, *colon = strrchr(wanted, ':');
        bool open = colon != NULL && (strcmp(colon, ":0") == 0 || strcmp(colon, ":*") == 0);
        used = open ? snprintf(endpoint, size, "%.*s%s", (int)(colon - wanted), wanted, port)
                    : snprintf(endpoint, size, "%s", wanted);
    } else {
        used = snprintf(endpoint, size, "%s", bound);
        for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++)
            if (strncmp(bound, any[i], strlen(any[i])) == 0)
                used = snprintf(endpoint, size, "tcp://%s%s", p->hello.host, port);
    }
    if (used < 0 || (size_t)used >= size)
        return sl_fail(err, SL_USAGE, "the endpoint that workers are told has more than %zu bytes", size - 1);
    return SL_OK;
}

static enum sl_status tell_launcher(const struct ps_process *p, struct sl_error *err)
{
    char line[512];
    if (p->options->ready_fd < 0)
        return SL_OK;
    int size = snprintf(line, sizeof(line), "%s\n", sl_socket_endpoint(sl_wire_bound(p->wire)));
    return sl_file_write_all(p->options->ready_fd, line, (size_t)size, "the launcher's pipe", err);
}

static enum sl_status open_wire(struct ps_process *p, struct sl_error *err)
{
    const struct sl_config *config = p->options->config;
    struct sl_links_options links = {.accept = true,
            .links_max = LINKS_MAX,
            .heartbeat_us = config->cluster.heartbeat_ms * 1000,
            .timeout_us = config->cluster.timeout_ms * 1000,
            .resend_us = config->cluster.resend_ms * 1000,
            .unreachable_us = UNREACHABLE_US,
            .queue_size_max = 4 * SL_TAGS * p->layout->count * sizeof(float) + QUEUE_SLACK};
    enum sl_status status = SL_OK;
    p->transport = p->options->transport;
    if (p->transport == NULL)
        status = sl_transport_create_secure(&p->transport, p->keys, err);
    if (status == SL_OK && p->options->transport == NULL && sl_shared_heap_fd() >= 0)
        sl_transport_share(p->transport);
    if (status == SL_OK)
        status = sl_wire_create(&p->wire, p->transport, SL_ROLE_SERVER, &links, err);
    if (status == SL_OK)
        status = sl_wire_bind(p->wire, bind_endpoint(p), err);
    if (status == SL_OK && p->options->rank > 0)
        status = choose_endpoint(p, err);
    if (status != SL_OK)
        return status;
    sl_log(SL_LOG_INFO, "server", "listening", "endpoint=%s rank=%d encrypted=%s parameters=%zu blocks=%d",
            sl_socket_endpoint(sl_wire_bound(p->wire)), p->options->rank, p->keys != NULL ? "yes" : "no",
            p->layout->trained, p->layout->block_count);
    return SL_OK;
}

static void close_process(struct ps_process *p)
{
    sl_wire_destroy(p->wire);
    sl_outbox_fini(&p->answers.outbox);
    ps_leader_close(p);
    if (p->transport != p->options->transport)
        sl_transport_destroy(p->transport); /* after it nothing of ZeroMQ holds parameters any more */
    sl_keys_destroy(p->keys);
    ps_server_destroy(p->server);
    sl_team_destroy(p->team);
    ps_table_destroy(p->table);
    sl_layout_destroy(p->layout);
}

/* ---- the server's core ---- */

static enum sl_status start_team(struct ps_process *p, struct sl_error *err)
{
    int wanted = p->options->config->cluster.server_threads, cores = sl_cpu_count();
    int most = cores < TEAM_ENOUGH ? cores : TEAM_ENOUGH;
    return sl_team_create(&p->team, wanted > 0 ? wanted : most, err);
}

enum sl_status ps_process_serve(struct ps_process *p, int64_t join_us, struct sl_error *err)
{
    struct ps_server_options options = {.config = p->options->config,
            .layout = p->layout,
            .table = p->table,
            .hello = p->hello,
            .incarnation = p->incarnation,
            .join_us = join_us,
            .report_us = REPORT_US};
    ps_server_destroy(SL_TAKE(p->server));
    enum sl_status status = ps_server_create(&p->server, &options, err);
    if (status == SL_OK)
        ps_server_use_team(p->server, p->team);
    return status;
}

enum sl_status ps_process_send(
        struct ps_process *p, struct sl_address to, struct sl_message **message, struct sl_error *err)
{
    bool beside = to.role == SL_ROLE_COORDINATOR || (to.role == SL_ROLE_SERVER && to.id == p->incarnation);
    if (beside && p->coordinator != NULL)
        return sl_outbox_add(&p->local, to, SL_TAKE(*message), err);
    return sl_wire_send(p->wire, to, message, sl_clock_monotonic_us(), err);
}

void ps_process_finish(struct ps_process *p, enum sl_status status, const char *text)
{
    if (p->finished)
        return;
    p->finished = true;
    p->finish_status = status;
    (void)snprintf(p->finish_text, sizeof(p->finish_text), "%s", text);
}

/* The coordinator is lost, or has rolled back: a new core joins again after a pause. The endpoint stays, so do the table's buffers. */
static void begin_anew(struct ps_process *p, const char *reason)
{
    int64_t now_us = sl_clock_monotonic_us();
    char quoted[SL_MESSAGE_TEXT_MAX * 2];
    sl_wire_end(p->wire);
    ps_server_destroy(SL_TAKE(p->server));
    p->again_us = sl_rejoin_lost(&p->rejoin, p->welcomed, now_us);
    if (!p->welcomed)
        return;
    sl_late_begin(&p->late, p->options->config, p->hello.config_hash, now_us);
    sl_log(SL_LOG_WARN, "server", "joining-again", "reason=%s", sl_log_quote(quoted, sizeof(quoted), reason));
}

enum sl_status ps_process_server(struct ps_process *p, struct ps_server_event *event, struct sl_error *err)
{
    if (p->server == NULL || p->finished)
        return SL_OK;
    event->now_us = sl_clock_monotonic_us();
    struct sl_outbox *outbox = &p->answers.outbox;
    enum sl_status status = ps_server_step(p->server, event, &p->answers, err);
    p->busy_us += (uint64_t)(sl_clock_monotonic_us() - event->now_us);
    for (int i = 0; i < outbox->count && status == SL_OK; i++)
        status = ps_process_send(p, outbox->items[i].to, &outbox->items[i].message, err);
    sl_outbox_clear(outbox);
    if (status != SL_OK || !p->answers.finished)
        return status;
    if (p->coordinator != NULL)
        return SL_OK; /* the coordinator beside it says how this process ends */
    if (p->answers.status == SL_AGAIN)
        begin_anew(p, p->answers.text);
    else
        ps_process_finish(p, p->answers.status, p->answers.text);
    return SL_OK;
}

/* A life of a process of rank >= 1: from HELLO until the coordinator is lost. */
static enum sl_status join(struct ps_process *p, struct sl_error *err)
{
    const char *coordinator = p->options->coordinator != NULL ? p->options->coordinator
                                                              : p->options->config->cluster.coordinator;
    int64_t now_us = sl_clock_monotonic_us();
    sl_rejoin_again(&p->rejoin, now_us);
    p->welcomed = false;
    enum sl_status status = sl_process_draw(&p->incarnation, err);
    if (status == SL_OK)
        status = sl_wire_begin(p->wire, p->incarnation, err);
    if (status == SL_OK)
        status = sl_wire_connect(p->wire, coordinator, SL_COORDINATOR, now_us, err);
    if (status == SL_OK)
        status = ps_process_serve(p, sl_rejoin_left_us(&p->rejoin, now_us), err);
    struct ps_server_event start = {.kind = PS_SERVER_START};
    return status == SL_OK ? ps_process_server(p, &start, err) : status;
}

/* ---- events ---- */

/* Workers' pushes and pulls are the server's; all else that comes to rank 0 is the coordinator's. To the other ranks the coordinator and workers talk to the server alone. */
static enum sl_status deliver(struct ps_process *p, struct sl_link_event *happened, struct sl_error *err)
{
    struct sl_message *m = happened->message;
    bool gone = happened->kind == SL_LINK_GONE;
    bool data = !gone && (m->kind == SL_MESSAGE_PUSH || m->kind == SL_MESSAGE_PULL);
    enum sl_status status = SL_OK;
    p->welcomed = p->welcomed || (!gone && m->kind == SL_MESSAGE_WELCOME);
    if (gone || data || p->coordinator == NULL) {
        struct ps_server_event event = {.kind = gone ? PS_SERVER_GONE : PS_SERVER_MESSAGE,
                .from = happened->from,
                .message = m,
                .text = happened->text};
        status = ps_process_server(p, &event, err);
    }
    if (status == SL_OK && p->coordinator != NULL && !data) {
        struct ps_event event = {.kind = gone ? PS_EVENT_GONE : PS_EVENT_MESSAGE,
                .from = happened->from,
                .message = m,
                .text = happened->text};
        status = ps_leader_step(p, &event, err);
    }
    return status == SL_OK && p->coordinator != NULL ? ps_leader_settle(p, err) : status;
}

static enum sl_status take_link_events(struct ps_process *p, struct sl_error *err)
{
    struct sl_link_event happened;
    enum sl_status status = SL_OK;
    while (status == SL_OK && !p->finished && sl_wire_next_event(p->wire, &happened)) {
        status = deliver(p, &happened, err);
        sl_message_destroy(happened.message);
    }
    return status;
}

/* A message was dropped. Whoever sends many such is taken for gone, and its link does not come back. */
static enum sl_status drop(
        struct ps_process *p, struct sl_address from, const char *reason, struct sl_error *err)
{
    char quoted[SL_ERROR_TEXT_MAX];
    if (ps_offenders_ignored(&p->offenders, from.id))
        return SL_OK;
    sl_log(SL_LOG_WARN, "server", "message-dropped", "total=%" PRIu64 " reason=%s", p->offenders.total + 1,
            sl_log_quote(quoted, sizeof(quoted), reason));
    if (!ps_offenders_note(&p->offenders, from.id))
        return SL_OK;
    sl_log(SL_LOG_WARN, "server", "peer-ignored", "incarnation=%016" PRIx64 " bad_messages=%d last=%s",
            from.id, PS_OFFENCES_MAX, quoted);
    enum sl_status status = sl_wire_close(p->wire, from, sl_clock_monotonic_us(), err);
    struct sl_link_event gone = {.kind = SL_LINK_GONE, .from = from};
    (void)snprintf(gone.text, sizeof(gone.text), "it sent %d bad messages", PS_OFFENCES_MAX);
    return status == SL_OK ? deliver(p, &gone, err) : status;
}

static enum sl_status receive_all(struct ps_process *p, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int i = 0; i < RECEIVE_MAX && status == SL_OK && !p->finished; i++) {
        struct sl_error problem = {0};
        struct sl_address from = {0};
        status = sl_wire_receive(p->wire, sl_clock_monotonic_us(), &from, &problem);
        if (status == SL_AGAIN)
            return SL_OK;
        if (status == SL_BAD_DATA || status == SL_MISMATCH)
            status = drop(p, from, problem.text, err);
        else if (status != SL_OK)
            return sl_fail(err, status, "%s", problem.text);
        if (status == SL_OK)
            status = take_link_events(p, err);
    }
    return status;
}

/* Handshakes fail inside ZeroMQ; here is where the operator hears of it. Keys that are not allowed were logged one by one. */
static void tell_refused(struct ps_process *p)
{
    uint64_t refused = sl_socket_refused(sl_wire_bound(p->wire));
    if (refused != p->refused)
        sl_log(SL_LOG_WARN, "server", "handshakes-refused", "count=%" PRIu64 " total=%" PRIu64 " hint=\"%s\"",
                refused - p->refused, refused,
                p->keys != NULL ? "peers without keys, with another server's server.pub, or not in allowed"
                                : "peers with keys; this server has none");
    p->refused = refused;
}

/* A coordinator that will never let us in ends the process at once; see the worker's loop. */
static enum sl_status check_handshakes(struct ps_process *p, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    if (now_us < p->check_us)
        return SL_OK;
    p->check_us = now_us + CHECK_US;
    tell_refused(p);
    sl_wire_tell_sharing(p->wire);
    struct sl_error problem = {0};
    enum sl_status status = sl_wire_check(p->wire, &problem);
    if (status != SL_OK && status != SL_AGAIN)
        return sl_fail(err, status, "%s", problem.text);
    if (status == SL_AGAIN && p->handshake_text[0] == 0) {
        char quoted[SL_ERROR_TEXT_MAX];
        sl_log(SL_LOG_WARN, "server", "handshake-failed", "reason=%s",
                sl_log_quote(quoted, sizeof(quoted), problem.text));
    }
    if (status == SL_AGAIN || p->welcomed)
        memcpy(p->handshake_text, problem.text, sizeof(p->handshake_text)); /* "" when all is well */
    return SL_OK;
}

/* Rank 0 stops training, with a snapshot. Another one leaves alone: the rest rolls back and waits for it. */
static enum sl_status take_signal(struct ps_process *p, struct sl_error *err)
{
    int number = p->options->signal_fd >= 0 ? sl_signals_take(p->options->signal_fd) : 0;
    if (number == 0)
        return SL_OK;
    const char *text = NULL;
    p->signal_number = number;
    (void)sl_signals_exit_code(number, &text);
    sl_log(SL_LOG_INFO, "server", "stopping", "signal=%s", text);
    if (p->coordinator != NULL) {
        struct ps_event event = {.kind = PS_EVENT_STOP, .status = SL_STOPPED, .text = text};
        enum sl_status status = ps_leader_step(p, &event, err);
        return status == SL_OK ? ps_leader_settle(p, err) : status;
    }
    if (p->server == NULL)
        ps_process_finish(p, SL_STOPPED, text);
    struct ps_server_event leave = {.kind = PS_SERVER_LEAVE, .text = text};
    return ps_process_server(p, &leave, err);
}

static enum sl_status tick_server(struct ps_process *p, struct sl_error *err)
{
    int64_t now_us = sl_clock_monotonic_us();
    if (p->server == NULL)
        return now_us >= p->again_us ? join(p, err) : SL_OK;
    if (now_us < p->answers.wake_us)
        return SL_OK;
    struct sl_links_totals totals = sl_wire_totals(p->wire);
    struct ps_server_event event = {.kind = PS_SERVER_TICK,
            .report = {.memory = sl_process_memory(),
                    .sent = totals.sent,
                    .received = totals.received,
                    .queued = totals.queued,
                    .busy_us = p->busy_us}};
    return ps_process_server(p, &event, err);
}

/* Nobody lets us in, and the run's folder says that it is over: then there is nothing to wait for. */
static void look_whether_late(struct ps_process *p)
{
    char reason[SL_MESSAGE_TEXT_MAX];
    if (p->coordinator == NULL && !p->welcomed &&
            sl_late_over(&p->late, sl_clock_monotonic_us(), reason, sizeof(reason)))
        ps_process_finish(p, SL_OK, reason);
}

/* ---- the loop ---- */

static bool has_work(const struct ps_process *p)
{
    return p->server != NULL && p->answers.more && !p->finished;
}

/* The next piece of a commit. What it makes ready is sent before the one after it. */
static enum sl_status work(struct ps_process *p, struct sl_error *err)
{
    struct ps_server_event event = {.kind = PS_SERVER_WORK};
    if (!has_work(p))
        return SL_OK;
    enum sl_status status = ps_process_server(p, &event, err);
    return status == SL_OK && p->coordinator != NULL ? ps_leader_settle(p, err) : status;
}

static enum sl_status wait(struct ps_process *p, struct sl_error *err)
{
    int fds[2], count = 0;
    int64_t until_us = p->server != NULL ? p->answers.wake_us : p->again_us;
    if (p->coordinator != NULL && p->updates.wake_us < until_us)
        until_us = p->updates.wake_us;
    if (has_work(p))
        until_us = 0;
    if (p->coordinator == NULL && !p->welcomed && p->check_us < until_us)
        until_us = p->check_us;
    if (p->archive != NULL)
        fds[count++] = ps_archive_fd(p->archive);
    if (p->options->signal_fd >= 0)
        fds[count++] = p->options->signal_fd;
    return sl_wire_wait(p->wire, fds, count, until_us, err);
}

static enum sl_status turn(struct ps_process *p, struct sl_error *err)
{
    enum sl_status status = wait(p, err);
    if (status == SL_OK)
        status = check_handshakes(p, err);
    if (status == SL_OK)
        status = receive_all(p, err);
    if (status == SL_OK)
        status = work(p, err);
    if (status == SL_OK && !p->finished)
        status = take_signal(p, err);
    if (status == SL_OK && !p->finished)
        look_whether_late(p);
    if (status == SL_OK && !p->finished)
        status = tick_server(p, err);
    if (status == SL_OK && !p->finished && p->coordinator != NULL)
        status = ps_leader_tick(p, err);
    if (status == SL_OK && !p->finished)
        status = sl_wire_flush(p->wire, sl_clock_monotonic_us(), err);
    return status == SL_OK ? take_link_events(p, err) : status; /* ends that the flush found */
}

/* The last messages (STOP, BYE) are resent until they arrive or their receivers are gone. */
static void drain(struct ps_process *p)
{
    int64_t end_us = sl_clock_monotonic_us() + DRAIN_US;
    enum sl_status status = SL_OK;
    while (status == SL_OK && sl_wire_totals(p->wire).queued > 0 && sl_clock_monotonic_us() < end_us) {
        struct sl_error ignored = {0};
        struct sl_address from;
        struct sl_link_event event;
        status = sl_wire_wait(p->wire, NULL, 0, end_us, &ignored);
        while (sl_wire_receive(p->wire, sl_clock_monotonic_us(), &from, &ignored) != SL_AGAIN &&
                sl_clock_monotonic_us() < end_us)
            while (sl_wire_next_event(p->wire, &event))
                sl_message_destroy(event.message);
        if (status == SL_OK)
            status = sl_wire_flush(p->wire, sl_clock_monotonic_us(), &ignored);
        while (sl_wire_next_event(p->wire, &event))
            sl_message_destroy(event.message);
    }
}

static enum sl_status finish(struct ps_process *p, struct sl_error *err)
{
    ps_console_end(&p->console);
    sl_wire_tell_sharing(p->wire);      /* a short run may be over before the first look */
    if (p->finish_status != SL_TIMEOUT) /* nobody is there to take it */
        drain(p);
    char quoted[SL_MESSAGE_TEXT_MAX * 2];
    sl_log(p->finish_status == SL_OK || p->finish_status == SL_STOPPED ? SL_LOG_INFO : SL_LOG_ERROR, "server",
            "finished", "status=%s reason=%s", sl_status_name(p->finish_status),
            sl_log_quote(quoted, sizeof(quoted), p->finish_text));
    if (p->finish_status == SL_OK)
        return SL_OK;
    if (p->finish_status == SL_TIMEOUT && p->handshake_text[0] != 0)
        return sl_fail(err, p->keys != NULL ? SL_KEYS : SL_FAILED, "%s", p->handshake_text);
    return sl_fail(err, p->finish_status, "%s", p->finish_text);
}

/* Takes what came; a HELLO goes to the coordinator's core, which says that training is over. */
static enum sl_status answer_late(struct ps_process *p, struct sl_error *err)
{
    struct sl_error problem = {0};
    struct sl_address from;
    struct sl_link_event happened;
    enum sl_status status = SL_OK;
    for (int i = 0; i < RECEIVE_MAX && status == SL_OK; i++) {
        if (sl_wire_receive(p->wire, sl_clock_monotonic_us(), &from, &problem) == SL_AGAIN)
            break; /* what is senseless is for nobody */
        while (status == SL_OK && sl_wire_next_event(p->wire, &happened)) {
            struct ps_event event = {.kind = happened.kind == SL_LINK_GONE ? PS_EVENT_GONE : PS_EVENT_MESSAGE,
                    .from = happened.from,
                    .message = happened.message,
                    .text = happened.text};
            if (p->coordinator != NULL)
                status = ps_leader_step(p, &event, err);
            sl_message_destroy(happened.message);
        }
    }
    return status == SL_OK ? sl_wire_flush(p->wire, sl_clock_monotonic_us(), err) : status;
}

/* Training is over, and somebody would start this process again if it ended: it stays until a signal comes, and tells whoever is late. */
static enum sl_status stay(struct ps_process *p, struct sl_error *err)
{
    int fds[1] = {p->options->signal_fd}, count = p->options->signal_fd >= 0 ? 1 : 0;
    enum sl_status status = SL_OK;
    sl_log(SL_LOG_INFO, "server", "staying", "hint=\"training is over; SIGTERM ends this process\"");
    while (status == SL_OK && (count == 0 || sl_signals_take(fds[0]) == 0)) {
        status = sl_wire_wait(p->wire, fds, count, sl_clock_monotonic_us() + STAY_TURN_US, err);
        if (status == SL_OK)
            status = answer_late(p, err);
    }
    return status;
}

static enum sl_status open_all(struct ps_process *p, struct sl_error *err)
{
    const struct sl_config *config = p->options->config;
    enum sl_status status = check_options(p, err);
    if (status == SL_OK) /* within one process they are for the status socket alone */
        status = load_keys(p, err);
    if (p->options->transport == NULL)
        sl_wire_share_memory(config);
    if (status == SL_OK)
        status = sl_process_draw(&p->incarnation, err);
    if (status == SL_OK)
        status = sl_layout_create(&p->layout, config, SL_BLOCK_FLOATS, err);
    if (status == SL_OK)
        status = introduce(p, err);
    if (status == SL_OK)
        status = open_table(p, err);
    if (status == SL_OK)
        status = start_team(p, err);
    if (status == SL_OK && p->options->rank == 0)
        status = ps_leader_open(p, err);
    if (status == SL_OK)
        status = open_wire(p, err);
    return status;
}

enum sl_status ps_run(const struct ps_run_options *options, int *ret_signal, struct sl_error *err)
{
    struct ps_process p = {.options = options, .lock = -1};
    enum sl_status status = open_all(&p, err);
    if (status == SL_OK && options->rank == 0)
        status = sl_wire_begin(p.wire, p.incarnation, err);
    if (status == SL_OK)
        status = tell_launcher(&p, err);
    if (options->ready_fd >= 0)
        (void)close(options->ready_fd);
    int64_t now_us = sl_clock_monotonic_us();
    sl_rejoin_begin(&p.rejoin, options->config->cluster.join_ms * 1000, now_us);
    sl_late_begin(&p.late, options->config, p.hello.config_hash, now_us);
    if (status == SL_OK)
        status = options->rank == 0 ? ps_leader_start(&p, err) : join(&p, err);
    while (status == SL_OK && !p.finished)
        status = turn(&p, err);
    if (status == SL_OK)
        status = finish(&p, err);
    ps_leader_close_status(&p, status, err);
    if (status == SL_OK && options->stay)
        status = stay(&p, err);
    *ret_signal = p.signal_number;
    close_process(&p);
    return status;
}
