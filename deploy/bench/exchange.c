/* Push + pull over processes: see exchange.h. The parent tells the children when to go and adds up their CPU time; it is idle meanwhile. */
#include "deploy/bench/exchange.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/shared_heap.h"
#include "common/wire.h"
#include "deploy/bench/local_server.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* for one step of all workers: far beyond any machine */
#define CLUSTER 1         /* as local_server.c */
#define LINKS_MAX 8
#define HEARTBEAT_US 500000
#define RESEND_US 1000000
#define QUEUE_SIZE ((uint64_t)4 << 30)

/* What goes between the parent and a child, as one packet. */
struct order {
    uint64_t steps; /* of a worker; a server answers with its CPU time at once */
};

struct answer {
    enum sl_status status;
    int64_t cpu_ns; /* since the child began */
    char text[SL_ERROR_TEXT_MAX];
    char endpoint[SL_ENDPOINT_MAX]; /* of the server, in its first answer */
};

struct child {
    pid_t pid;
    int fd;
    int64_t cpu_ns;
};

struct dp_exchange {
    struct dp_exchange_options options;
    struct sl_config config;
    struct sl_layout layout;
    struct sl_param param; /* all blocks are one parameter */
    struct sl_block *blocks;
    char endpoint[SL_ENDPOINT_MAX];
    struct child server, workers[DP_EXCHANGE_WORKERS_MAX];
};

double dp_exchange_bytes(const struct dp_exchange *exchange)
{
    const struct dp_exchange_options *o = &exchange->options;
    return (double)o->size * o->blocks * o->workers;
}

/* ---- what both kinds of children do ---- */

static enum sl_status open_wire(struct sl_wire **ret_wire, struct sl_transport **ret_transport,
        enum sl_role role, uint64_t incarnation, bool shared, struct sl_error *err)
{
    struct sl_links_options links = {.accept = role == SL_ROLE_SERVER,
            .links_max = LINKS_MAX,
            .heartbeat_us = HEARTBEAT_US,
            .timeout_us = (int64_t)PATIENCE_MS * 1000,
            .resend_us = RESEND_US,
            .unreachable_us = (int64_t)PATIENCE_MS * 1000,
            .queue_size_max = QUEUE_SIZE};
    enum sl_status status = sl_transport_create(ret_transport, err);
    if (status == SL_OK && shared)
        sl_transport_share(*ret_transport);
    if (status == SL_OK)
        status = sl_wire_create(ret_wire, *ret_transport, role, &links, err);
    return status == SL_OK ? sl_wire_begin(*ret_wire, incarnation, err) : status;
}

static void say(int fd, struct answer *answer)
{
    answer->cpu_ns = sl_clock_cpu_ns();
    ssize_t sent = send(fd, answer, sizeof(*answer), MSG_NOSIGNAL);
    (void)sent; /* a parent that is gone ends us when we listen to it next */
}

/* AGAIN: nothing there. STOPPED: the parent has closed its end. */
static enum sl_status listen_to(int fd, struct order *ret_order)
{
    ssize_t size = recv(fd, ret_order, sizeof(*ret_order), MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return SL_AGAIN;
    return size == sizeof(*ret_order) ? SL_OK : SL_STOPPED;
}

static int64_t soon_us(void)
{
    return sl_clock_monotonic_us() + (int64_t)PATIENCE_MS * 1000;
}

/* ---- the server ---- */

static enum sl_status send_answers(
        struct sl_wire *wire, struct ps_server_updates *updates, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    for (int i = 0; i < updates->outbox.count && status == SL_OK; i++)
        if (updates->outbox.items[i].to.role != SL_ROLE_COORDINATOR)
            status = sl_wire_send(wire, updates->outbox.items[i].to, &updates->outbox.items[i].message,
                    sl_clock_monotonic_us(), err);
    sl_outbox_clear(&updates->outbox);
    return status;
}

/* A step that is reduced is committed at once: the coordinator's part takes no time here. */
static enum sl_status serve_event(
        struct dp_server *server, struct sl_wire *wire, struct sl_link_event *event, struct sl_error *err)
{
    struct sl_step_stats stats = {.count = 1, .weight_sum = 1.0};
    for (int m = 0; m < SL_MODALITIES_MAX; m++)
        stats.score[m] = 0.5;
    if (event->kind == SL_LINK_GONE)
        return sl_fail(err, SL_FAILED, "a worker is gone: %s", event->text);
    enum sl_status status = dp_server_take(server, event->from, &event->message, err);
    bool reduced = server->reduced;
    if (status == SL_OK)
        status = send_answers(wire, &server->updates, err);
    if (status == SL_OK && reduced) {
        status = dp_server_commit(server, &stats, err);
        if (status == SL_OK)
            status = send_answers(wire, &server->updates, err);
    }
    return status;
}

/* A server that copies: what training's does without its arithmetic. */
struct copier {
    const struct dp_exchange *exchange;
    struct sl_buffer *blocks; /* that are pulled */
    float *store;             /* of what was pushed */
};

static enum sl_status answer_with(struct sl_wire *wire, struct sl_address to, const struct sl_message *m,
        enum sl_message_kind kind, uint32_t block, const struct copier *c, struct sl_error *err)
{
    const struct dp_exchange *exchange = c->exchange;
    struct sl_message *answer = sl_message_create(kind);
    if (answer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an answer");
    answer->version = m->version;
    answer->block = block;
    if (kind == SL_MESSAGE_PARAMS)
        sl_message_add_frame(answer, c->blocks,
                (const float *)c->blocks->data + exchange->blocks[block].offset, exchange->options.size);
    return sl_wire_send(wire, to, &answer, sl_clock_monotonic_us(), err);
}

static enum sl_status copy_event(
        struct copier *c, struct sl_wire *wire, struct sl_link_event *event, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *m = event->message;
    const struct dp_exchange *exchange = c->exchange;
    enum sl_status status = SL_OK;
    if (event->kind == SL_LINK_GONE)
        return sl_fail(err, SL_FAILED, "a worker is gone: %s", event->text);
    for (uint32_t b = 0;
            m->kind == SL_MESSAGE_PULL && b < (uint32_t)exchange->options.blocks && status == SL_OK; b++)
        status = answer_with(wire, event->from, m, SL_MESSAGE_PARAMS, b, c, err);
    if (m->kind != SL_MESSAGE_PUSH || m->block >= (uint32_t)exchange->options.blocks ||
            m->frames[0].size != exchange->options.size)
        return status;
    memcpy(c->store + exchange->blocks[m->block].offset, m->frames[0].data, m->frames[0].size);
    return answer_with(wire, event->from, m, SL_MESSAGE_ACK, m->block, c, err);
}

static enum sl_status serve_all(
        struct dp_server *server, struct copier *copier, struct sl_wire *wire, struct sl_error *err)
{
    struct sl_address from;
    struct sl_link_event event;
    enum sl_status status = SL_OK;
    while (status == SL_OK && (status = sl_wire_receive(wire, sl_clock_monotonic_us(), &from, err)) == SL_OK)
        while (status == SL_OK && sl_wire_next_event(wire, &event))
            status = copier->store != NULL ? copy_event(copier, wire, &event, err)
                                           : serve_event(server, wire, &event, err);
    return status == SL_AGAIN ? SL_OK : status;
}

static enum sl_status serve(const struct dp_exchange *exchange, struct dp_server *server,
        struct copier *copier, int fd, struct sl_error *err)
{
    struct sl_transport *transport = NULL;
    struct sl_wire *wire = NULL;
    struct order order;
    enum sl_status status = open_wire(&wire, &transport, SL_ROLE_SERVER, 1, exchange->options.shared, err);
    if (status == SL_OK)
        status = sl_wire_bind(wire, exchange->options.endpoint, err);
    if (status == SL_OK) {
        struct answer ready = {.status = SL_OK};
        (void)snprintf(ready.endpoint, sizeof(ready.endpoint), "%s", sl_socket_endpoint(sl_wire_bound(wire)));
        say(fd, &ready);
    }
    while (status == SL_OK) {
        status = sl_wire_wait(wire, &fd, 1, soon_us(), err);
        if (status == SL_OK)
            status = serve_all(server, copier, wire, err);
        if (status == SL_OK)
            status = sl_wire_flush(wire, sl_clock_monotonic_us(), err);
        enum sl_status heard = status == SL_OK ? listen_to(fd, &order) : SL_AGAIN;
        if (heard == SL_OK)
            say(fd, &(struct answer){.status = SL_OK});
        if (heard == SL_STOPPED)
            break;
    }
    sl_wire_destroy(wire);
    sl_transport_destroy(transport);
    return status;
}

static enum sl_status run_server(const struct dp_exchange *exchange, int fd, struct sl_error *err)
{
    struct dp_subject subject = {.config = (struct sl_config *)&exchange->config,
            .layout = (struct sl_layout *)&exchange->layout,
            .params = sl_alloc_aligned(exchange->layout.count, sizeof(float))};
    struct dp_server server = {0};
    if (subject.params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for parameters");
    struct copier copier = {.exchange = exchange};
    enum sl_status status = SL_OK;
    if (exchange->options.copies) {
        copier.blocks = sl_buffer_create(exchange->layout.count * sizeof(float));
        copier.store = sl_alloc_aligned(exchange->layout.count, sizeof(float));
        if (copier.blocks == NULL || copier.store == NULL)
            status = sl_fail(err, SL_NO_MEMORY, "out of memory for blocks");
    } else {
        status = dp_server_init(&server, &subject, (uint32_t)exchange->options.workers, err);
    }
    sl_free(SL_TAKE(subject.params));
    if (status == SL_OK)
        status = serve(exchange, &server, &copier, fd, err);
    dp_server_fini(&server);
    sl_buffer_release(copier.blocks);
    sl_free(copier.store);
    return status;
}

/* ---- a worker ---- */

struct pusher {
    const struct dp_exchange *exchange;
    struct sl_wire *wire;
    struct sl_buffer *gradients; /* every step's */
    float *params;
    uint32_t slot;
    int64_t step;
    int missing; /* blocks and acknowledgements of this step */
};

static enum sl_status push_step(struct pusher *p, struct sl_error *err)
{
    const struct sl_layout *layout = &p->exchange->layout;
    enum sl_status status = SL_OK;
    for (int b = 0; b <= layout->block_count && status == SL_OK; b++) {
        bool push = b < layout->block_count;
        struct sl_message *m = sl_message_create(push ? SL_MESSAGE_PUSH : SL_MESSAGE_PULL);
        if (m == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a message");
        m->cluster = CLUSTER;
        m->step = p->step;
        m->version = push ? p->step : p->step + 1;
        m->slots = (uint32_t)p->exchange->options.workers;
        m->node = (struct sl_node){0, p->slot};
        if (push) {
            m->block = (uint32_t)b;
            sl_message_add_frame(m, p->gradients,
                    (const float *)p->gradients->data + layout->blocks[b].offset, p->exchange->options.size);
        }
        status = sl_wire_send(p->wire, SL_COORDINATOR, &m, sl_clock_monotonic_us(), err);
    }
    p->missing = 2 * layout->block_count;
    return status;
}

static enum sl_status take_event(struct pusher *p, struct sl_link_event *event, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *m = event->message;
    const struct sl_layout *layout = &p->exchange->layout;
    if (event->kind == SL_LINK_GONE)
        return sl_fail(err, SL_FAILED, "the server is gone: %s", event->text);
    if (m->block >= (uint32_t)layout->block_count)
        return sl_fail(err, SL_FAILED, "the server names block %u", m->block);
    if (m->kind == SL_MESSAGE_PARAMS && m->version == p->step + 1 &&
            m->frames[0].size == p->exchange->options.size)
        memcpy(p->params + layout->blocks[m->block].offset, m->frames[0].data, m->frames[0].size);
    else if (m->kind != SL_MESSAGE_ACK)
        return sl_fail(err, SL_FAILED, "the server answers with %s of version %lld", sl_message_name(m->kind),
                (long long)m->version);
    p->missing--;
    return SL_OK;
}

static enum sl_status one_step(struct pusher *p, struct sl_error *err)
{
    int64_t end_us = soon_us();
    enum sl_status status = push_step(p, err);
    while (status == SL_OK && p->missing > 0) {
        struct sl_address from;
        struct sl_link_event event;
        status = sl_wire_wait(p->wire, NULL, 0, end_us, err);
        while (status == SL_OK &&
                (status = sl_wire_receive(p->wire, sl_clock_monotonic_us(), &from, err)) == SL_OK)
            while (status == SL_OK && sl_wire_next_event(p->wire, &event))
                status = take_event(p, &event, err);
        if (status == SL_AGAIN)
            status = sl_wire_flush(p->wire, sl_clock_monotonic_us(), err);
        if (status == SL_OK && p->missing > 0 && sl_clock_monotonic_us() > end_us)
            status = sl_fail(err, SL_TIMEOUT, "%d messages of a step are missing after %d s", p->missing,
                    PATIENCE_MS / 1000);
    }
    p->step++;
    return status;
}

/* Between two orders the links live on: signs of life are sent and taken. */
static enum sl_status obey(struct pusher *p, int fd, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    while (status == SL_OK) {
        struct order order = {0};
        struct sl_address from;
        struct sl_link_event event;
        status = sl_wire_wait(p->wire, &fd, 1, soon_us(), err);
        while (status == SL_OK)
            status = sl_wire_receive(p->wire, sl_clock_monotonic_us(), &from, err);
        if (status == SL_AGAIN)
            status = sl_wire_flush(p->wire, sl_clock_monotonic_us(), err);
        while (status == SL_OK && sl_wire_next_event(p->wire, &event))
            status = take_event(p, &event, err);
        enum sl_status heard = status == SL_OK ? listen_to(fd, &order) : SL_AGAIN;
        if (heard == SL_STOPPED)
            return SL_OK;
        for (uint64_t i = 0; i < order.steps && status == SL_OK; i++)
            status = one_step(p, err);
        if (heard == SL_OK && status == SL_OK)
            say(fd, &(struct answer){.status = SL_OK});
    }
    return status;
}

static enum sl_status run_worker(
        const struct dp_exchange *exchange, int fd, uint32_t slot, struct sl_error *err)
{
    struct pusher p = {.exchange = exchange, .slot = slot};
    struct sl_transport *transport = NULL;
    size_t count = exchange->layout.count;
    p.gradients = sl_buffer_create(count * sizeof(float));
    p.params = sl_alloc_aligned(count, sizeof(float));
    enum sl_status status = p.gradients == NULL || p.params == NULL
                                    ? sl_fail(err, SL_NO_MEMORY, "out of memory for a worker's blocks")
                                    : open_wire(&p.wire, &transport, SL_ROLE_WORKER, 100 + slot,
                                              exchange->options.shared, err);
    for (size_t i = 0; status == SL_OK && i < count; i++)
        ((float *)p.gradients->data)[i] = (float)(i % 251) * 0x1p-20F;
    if (status == SL_OK)
        status = sl_wire_connect(p.wire, exchange->endpoint, SL_COORDINATOR, sl_clock_monotonic_us(), err);
    if (status == SL_OK)
        status = obey(&p, fd, err);
    sl_wire_destroy(p.wire);
    sl_transport_destroy(transport);
    sl_buffer_release(p.gradients);
    sl_free(p.params);
    return status;
}

/* ---- the parent ---- */

/* slot < 0: the server. */
static void run_child(const struct dp_exchange *exchange, int fd, int slot, pid_t parent)
{
    struct answer answer = {0};
    struct sl_error err = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (exchange->options.shared)
        answer.status = sl_shared_heap_open(0, &err);
    if (answer.status == SL_OK)
        answer.status =
                slot < 0 ? run_server(exchange, fd, &err) : run_worker(exchange, fd, (uint32_t)slot, &err);
    (void)snprintf(answer.text, sizeof(answer.text), "%s", err.text);
    if (answer.status != SL_OK)
        say(fd, &answer);
    _exit(answer.status == SL_OK ? 0 : 1);
}

static enum sl_status start_child(
        struct dp_exchange *exchange, struct child *child, int slot, struct sl_error *err)
{
    int fds[2];
    pid_t parent = getpid();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return sl_fail(err, SL_FAILED, "cannot make a pair of sockets: %s", strerror(errno));
    child->pid = fork();
    if (child->pid == 0) {
        (void)close(fds[0]);
        if (slot >= 0)
            (void)close(exchange->server.fd);
        for (int w = 0; w < slot; w++)
            (void)close(exchange->workers[w].fd);
        run_child(exchange, fds[1], slot, parent);
    }
    (void)close(fds[1]);
    if (child->pid < 0) {
        child->pid = 0;
        (void)close(fds[0]);
        return sl_fail(err, SL_FAILED, "cannot start a process: %s", strerror(errno));
    }
    child->fd = fds[0];
    return SL_OK;
}

static enum sl_status hear(
        struct child *child, const char *who, struct answer *ret_answer, struct sl_error *err)
{
    struct pollfd poll_fd = {.fd = child->fd, .events = POLLIN};
    int64_t end_us = soon_us();
    int ready = 0;
    do
        ready = poll(&poll_fd, 1, PATIENCE_MS);
    while (ready < 0 && errno == EINTR && sl_clock_monotonic_us() < end_us);
    if (ready <= 0)
        return sl_fail(err, SL_TIMEOUT, "%s says nothing for %d s", who, PATIENCE_MS / 1000);
    if (recv(child->fd, ret_answer, sizeof(*ret_answer), 0) != (ssize_t)sizeof(*ret_answer))
        return sl_fail(err, SL_FAILED, "%s is gone", who);
    if (ret_answer->status != SL_OK)
        return sl_fail(err, ret_answer->status, "%s: %s", who, ret_answer->text);
    return SL_OK;
}

static enum sl_status tell(const struct child *child, uint64_t steps, struct sl_error *err)
{
    struct order order = {steps};
    if (send(child->fd, &order, sizeof(order), MSG_NOSIGNAL) != (ssize_t)sizeof(order))
        return sl_fail(err, SL_FAILED, "a process of the benchmark is gone");
    return SL_OK;
}

/* CPU time since the last answer, in seconds. */
static double spent(struct child *child, const struct answer *answer)
{
    double seconds = (double)(answer->cpu_ns - child->cpu_ns) * 1e-9;
    child->cpu_ns = answer->cpu_ns;
    return seconds;
}

enum sl_status dp_exchange_work(struct dp_item *item, struct sl_error *err)
{
    struct dp_exchange *exchange = item->context;
    struct answer answer;
    enum sl_status status = SL_OK;
    for (int w = 0; w < exchange->options.workers && status == SL_OK; w++)
        status = tell(&exchange->workers[w], 1, err);
    for (int w = 0; w < exchange->options.workers && status == SL_OK; w++) {
        status = hear(&exchange->workers[w], "a worker", &answer, err);
        if (status == SL_OK)
            item->part[DP_EXCHANGE_CPU] += spent(&exchange->workers[w], &answer);
    }
    if (status == SL_OK)
        status = tell(&exchange->server, 0, err);
    if (status == SL_OK)
        status = hear(&exchange->server, "the server", &answer, err);
    if (status == SL_OK)
        item->part[DP_EXCHANGE_CPU] += spent(&exchange->server, &answer);
    return status;
}

static enum sl_status plan(struct dp_exchange *exchange, const struct sl_config *config, struct sl_error *err)
{
    const struct dp_exchange_options *o = &exchange->options;
    size_t floats = o->size / sizeof(float);
    exchange->config = *config;
    exchange->config.optimiser.kind = SL_OPTIMISER_SGD;
    exchange->config.optimiser.momentum = 0.0F;
    exchange->config.optimiser.clip_norm = 0.0F;
    exchange->config.batch.slots = DP_EXCHANGE_WORKERS_MAX;
    exchange->config.consistency.mode = SL_CONSISTENCY_BSP;
    exchange->blocks = sl_alloc((size_t)o->blocks, sizeof(*exchange->blocks));
    if (exchange->blocks == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a layout");
    for (int b = 0; b < o->blocks; b++)
        exchange->blocks[b] = (struct sl_block){.offset = (size_t)b * floats,
                .count = floats,
                .part = SL_PART_FUSION,
                .modality = -1,
                .tagged = {[SL_TAG_FUSED] = true}};
    exchange->param = (struct sl_param){.name = "fusion.blocks",
            .rank = 1,
            .count = floats * (size_t)o->blocks,
            .part = SL_PART_FUSION,
            .modality = -1,
            .lr_scale = 1.0F};
    exchange->param.shape[0] = (int64_t)exchange->param.count;
    exchange->layout = (struct sl_layout){.params = &exchange->param,
            .param_count = 1,
            .blocks = exchange->blocks,
            .block_count = o->blocks,
            .count = exchange->param.count,
            .trained = exchange->param.count,
            .modality_count = config->modality_count};
    return SL_OK;
}

enum sl_status dp_exchange_open(struct dp_exchange **ret_exchange, const struct sl_config *config,
        const struct dp_exchange_options *options, struct sl_error *err)
{
    struct dp_exchange *exchange = sl_alloc(1, sizeof(*exchange));
    struct answer answer = {0};
    if (exchange == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    exchange->options = *options;
    enum sl_status status = plan(exchange, config, err);
    if (status == SL_OK)
        status = start_child(exchange, &exchange->server, -1, err);
    if (status == SL_OK)
        status = hear(&exchange->server, "the server", &answer, err);
    if (status == SL_OK)
        memcpy(exchange->endpoint, answer.endpoint, sizeof(exchange->endpoint));
    for (int w = 0; w < options->workers && status == SL_OK; w++)
        status = start_child(exchange, &exchange->workers[w], w, err);
    struct dp_item first = {.context = exchange};
    if (status == SL_OK)
        status = dp_exchange_work(&first, err);
    if (status == SL_OK)
        *ret_exchange = exchange;
    else
        dp_exchange_close(exchange);
    return status;
}

/* A closed socket ends a child; one that does not hear is at the end of its own patience, so it is killed: it holds nothing but memory. */
static void end_child(struct child *child)
{
    if (child->pid <= 0)
        return;
    (void)close(child->fd);
    (void)kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    child->pid = 0;
}

void dp_exchange_close(struct dp_exchange *exchange)
{
    if (exchange == NULL)
        return;
    for (int w = 0; w < exchange->options.workers; w++)
        end_child(&exchange->workers[w]);
    end_child(&exchange->server);
    sl_free(exchange->blocks);
    sl_free(exchange);
}
