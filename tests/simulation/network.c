/* The virtual network: see network.h. */
#include "tests/simulation/network.h"

#include "common/codec.h"
#include "common/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* A message on its way, whole or as a packed header and its frames. */
struct sim_flight {
    struct sl_address from; /* as the receiver's transport will name the sender */
    uint64_t incarnation;   /* whom it is for, 0 = whoever is at the door */
    int process;
    struct sl_message *message; /* with bytes: only its frames count */
    unsigned char *bytes;
    size_t size;
};

void sim_flight_free(struct sim_flight *flight)
{
    if (flight == NULL)
        return;
    sl_message_destroy(flight->message);
    sl_free(flight->bytes);
    sl_free(flight);
}

/* An incarnation has its process's index in it: process.c. */
static int process_of(const struct sim_world *w, uint64_t incarnation)
{
    int index = (int)(incarnation & 0xffff) - 1;
    return index >= 0 && index < w->process_count ? index : -1;
}

/* Finds the receiver and how it will see the sender. False: no way to it. */
static bool route(
        struct sim_world *w, const struct sim_process *from, struct sl_address to, struct sim_flight *flight)
{
    flight->from = (struct sl_address){from->role, from->incarnation};
    if (to.role == SL_ROLE_COORDINATOR) { /* a connection to a door, whoever sits behind it */
        flight->process = 0;
        return true;
    }
    if (from->role == SL_ROLE_WORKER) {
        for (int s = 1; s < from->socket_count; s++)
            if (from->sockets[s].incarnation == to.id) {
                flight->process = s;
                return true;
            }
        return false;
    }
    int index = process_of(w, to.id);
    const struct sim_process *p = index >= 0 ? &w->processes[index] : NULL;
    if (p == NULL || !p->up || p->incarnation != to.id)
        return false;
    flight->process = index;
    flight->incarnation = to.id;
    if (from->index == 0) {
        flight->from = SL_COORDINATOR;
        return true;
    }
    /* back to a worker that is connected to this server: it knows it by the address that it was given */
    if ((int)from->rank >= p->socket_count)
        return false;
    flight->from.id = p->sockets[from->rank].incarnation;
    return true;
}

static struct sim_flight *copy_flight(const struct sim_flight *flight)
{
    struct sim_flight *copy = sl_alloc(1, sizeof(*copy));
    assert(copy != NULL);
    *copy = *flight;
    copy->message = sl_message_clone(flight->message);
    if (flight->bytes != NULL) {
        copy->bytes = sl_alloc(flight->size, 1);
        assert(copy->bytes != NULL);
        memcpy(copy->bytes, flight->bytes, flight->size);
    }
    assert(copy->message != NULL);
    return copy;
}

static struct sim_flight *pack(
        struct sim_world *w, const struct sim_flight *route_to, const struct sl_message *message)
{
    struct sim_flight *flight = sl_alloc(1, sizeof(*flight));
    assert(flight != NULL);
    *flight = *route_to;
    flight->message = sl_message_clone(message);
    assert(flight->message != NULL);
    if (!w->plan->codec)
        return flight;
    unsigned char bytes[SL_HEADER_SIZE_MAX];
    struct sl_error err = {0};
    if (sl_codec_encode(message, bytes, &flight->size, &err) != SL_OK) {
        sim_fail(w, "codec: %s", err.text);
        return flight;
    }
    flight->bytes = sl_alloc(flight->size, 1);
    assert(flight->bytes != NULL);
    memcpy(flight->bytes, bytes, flight->size);
    return flight;
}

static struct sl_message *unpack(struct sim_world *w, struct sim_flight *flight)
{
    if (flight->bytes == NULL)
        return SL_TAKE(flight->message);
    struct sl_message *message = NULL;
    struct sl_error err = {0};
    enum sl_status status = sl_codec_decode(&message, flight->bytes, flight->size, &err);
    for (int i = 0; status == SL_OK && i < flight->message->frame_count; i++) {
        const struct sl_frame *frame = &flight->message->frames[i];
        sl_message_add_frame(message, frame->buffer, frame->data, frame->size);
    }
    if (status == SL_OK)
        status = sl_codec_check_frames(message, &err);
    if (status != SL_OK)
        sim_fail(w, "codec: %s is refused: %s", sl_message_name(flight->message->kind), err.text);
    return message;
}

/* ---- the weather ---- */

static int64_t *between(const struct sim_world *w, int64_t *matrix, int from, int to)
{
    return &matrix[(size_t)from * (size_t)w->process_count + (size_t)to];
}

static int64_t arrival(struct sim_world *w, int from, int to)
{
    const struct sim_plan *plan = w->plan;
    int64_t at = w->now_us + plan->delay_us;
    if (plan->jitter_us > 0)
        at += sim_between(&w->dice, 0, plan->jitter_us);
    if (!w->healed && sim_chance(&w->dice, plan->late))
        at += sim_between(&w->dice, 0, plan->tail_us);
    if (w->cut_until == NULL)
        return at;
    int64_t clog = *between(w, w->clog_until, from, to), *last = between(w, w->arrived, from, to);
    if (at < clog)
        at = clog + sim_between(&w->dice, 0, 1000);
    if ((plan->in_order || w->healed) && at <= *last) /* a sound network is one of TCP connections */
        at = *last + 1;
    if (at > *last)
        *last = at;
    return at;
}

/* Copies that a network keeps for long, and brings again. */
static void keep_for_replay(struct sim_world *w, const struct sim_flight *flight)
{
    if (w->healed || w->plan->replayed == 0)
        return;
    if (sim_chance(&w->dice, 50000)) {
        struct sim_flight **place = &w->replay[w->replay_count++ % SIM_REPLAY_MAX];
        sim_flight_free(*place);
        *place = copy_flight(flight);
    }
    uint64_t kept = w->replay_count < SIM_REPLAY_MAX ? w->replay_count : SIM_REPLAY_MAX;
    if (kept > 0 && sim_chance(&w->dice, w->plan->replayed)) {
        struct sim_flight *again = copy_flight(w->replay[sim_below(&w->dice, kept)]);
        sim_schedule(w, w->now_us + sim_between(&w->dice, 1, 5000000), SIM_EVENT_ARRIVAL, again->process, 0,
                again);
    }
}

static void trace_message(struct sim_world *w, const struct sim_process *from, const struct sim_flight *to,
        const struct sl_message *m, const char *fate)
{
    if (m->kind == SL_MESSAGE_ALIVE)
        return;
    sim_trace(w, from,
            "%s to %d: %s seq %" PRIu64 " step %" PRId64 " version %" PRId64
            " node %u/%u [%u, %u) block %u mark %" PRIx64,
            fate, to->process, sl_message_name(m->kind), m->sequence, m->step, m->version, m->node.level,
            m->node.index, m->begin, m->end, m->block, m->cluster);
}

bool sim_network_send(
        struct sim_world *w, struct sim_process *from, struct sl_address to, const struct sl_message *message)
{
    struct sim_flight template = {0};
    const struct sim_plan *plan = w->plan;
    if (!route(w, from, to, &template))
        return false;
    w->totals.sent++;
    w->totals.bytes += sl_message_size(message);
    bool cut = w->cut_until != NULL && *between(w, w->cut_until, from->index, template.process) > w->now_us;
    if (cut || (!w->healed && sim_chance(&w->dice, plan->loss))) {
        w->totals.lost++;
        if (w->trace != NULL)
            trace_message(w, from, &template, message, "loses");
        return true;
    }
    if (w->trace != NULL)
        trace_message(w, from, &template, message, "sends");
    struct sim_flight *flight = pack(w, &template, message);
    keep_for_replay(w, flight);
    if (!w->healed && sim_chance(&w->dice, plan->doubled)) {
        w->totals.doubled++;
        sim_schedule(w, arrival(w, from->index, template.process), SIM_EVENT_ARRIVAL, template.process, 0,
                copy_flight(flight));
    }
    sim_schedule(
            w, arrival(w, from->index, template.process), SIM_EVENT_ARRIVAL, template.process, 0, flight);
    return true;
}

void sim_network_arrive(struct sim_world *w, struct sim_flight *flight, struct sl_address *ret_from,
        struct sl_message **ret_message)
{
    const struct sim_process *p = &w->processes[flight->process];
    *ret_message = NULL;
    *ret_from = flight->from;
    if (p->up && (flight->incarnation == 0 || flight->incarnation == p->incarnation))
        *ret_message = unpack(w, flight);
    sim_flight_free(flight);
}

/* ---- cuts ---- */

static void cut(struct sim_world *w, int from, int to, int64_t until_us)
{
    int64_t *place = between(w, w->cut_until, from, to);
    if (*place < until_us)
        *place = until_us;
}

void sim_network_cut(struct sim_world *w, int64_t until_us)
{
    int way = (int)sim_below(&w->dice, 3); /* both ways, out of the group, into it */
    uint64_t share = 200000 + sim_below(&w->dice, 600000);
    bool inside[65536 / 64] = {0};
    assert(w->process_count <= (int)(sizeof(inside) / sizeof(inside[0])));
    for (int i = 0; i < w->process_count; i++)
        inside[i] = sim_chance(&w->dice, share);
    SIM_TRACE(w, NULL, "network: cut %d until %" PRId64, way, until_us);
    for (int a = 0; a < w->process_count; a++) {
        for (int b = 0; b < w->process_count; b++) {
            if (!inside[a] || inside[b])
                continue;
            if (way != 2)
                cut(w, a, b, until_us);
            if (way != 1)
                cut(w, b, a, until_us);
        }
    }
}

void sim_network_clog(struct sim_world *w, int64_t until_us)
{
    int p = (int)sim_below(&w->dice, (uint64_t)w->process_count);
    SIM_TRACE(w, &w->processes[p], "is held up until %" PRId64, until_us);
    for (int other = 0; other < w->process_count; other++) {
        if (sim_chance(&w->dice, 700000))
            *between(w, w->clog_until, p, other) = until_us;
        if (sim_chance(&w->dice, 700000))
            *between(w, w->clog_until, other, p) = until_us;
    }
}

void sim_network_heal(struct sim_world *w)
{
    size_t pairs = (size_t)w->process_count * (size_t)w->process_count;
    if (w->cut_until == NULL)
        return;
    memset(w->cut_until, 0, pairs * sizeof(int64_t));
    memset(w->clog_until, 0, pairs * sizeof(int64_t));
}
