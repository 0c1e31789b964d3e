/* A peer that says anything at all, in any order, to links: no assert, no overflow, and what is promised to the cores holds: each peer's messages come in the order of their sequence without a
 * gap, no RESET or ALIVE among them, none after its GONE and none for another incarnation; what goes out is complete; time that is due is dealt with.
 *
 * The input is a list of events of five bytes: what (1), who (1), three numbers. They are drawn from few values around what is right. */
#include "common/links.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OURS 100
#define PEERS 8
#define EVENTS_MAX 600
#define EVENT_SIZE 5

struct peer {
    struct sl_address address;
    uint64_t sequence; /* of the last message that the core took */
    bool gone;
};

struct world {
    struct sl_links *links;
    struct peer peers[PEERS];
    int64_t now_us;
};

static void must(bool good)
{
    if (!good)
        abort();
}

static struct sl_address address_of(uint8_t who)
{
    static const enum sl_role roles[PEERS] = {SL_ROLE_COORDINATOR, SL_ROLE_SERVER, SL_ROLE_SERVER,
            SL_ROLE_WORKER, SL_ROLE_WORKER, SL_ROLE_WORKER, SL_ROLE_WORKER, SL_ROLE_WORKER};
    return (struct sl_address){roles[who % PEERS], who % PEERS};
}

static void take_event(struct world *w, struct sl_link_event *event)
{
    struct peer *peer = &w->peers[event->from.id % PEERS];
    must(sl_address_equal(event->from, peer->address) && !peer->gone);
    if (event->kind == SL_LINK_GONE) {
        must(event->message == NULL && event->text[0] != 0 && strlen(event->text) < SL_MESSAGE_TEXT_MAX);
        peer->gone = true;
        return;
    }
    const struct sl_message *m = event->message;
    must(m->kind != SL_MESSAGE_RESET && m->kind != SL_MESSAGE_ALIVE);
    must(m->sequence == ++peer->sequence && (m->peer == 0 || m->peer == OURS));
    sl_message_destroy(event->message);
}

static void take_events(struct world *w)
{
    struct sl_link_event event;
    while (sl_links_next_event(w->links, &event))
        take_event(w, &event);
}

static void take_outgoing(struct world *w, uint8_t unreachable)
{
    struct sl_address to;
    const struct sl_message *m = NULL;
    for (int i = 0; i < EVENTS_MAX && sl_links_next_outgoing(w->links, w->now_us, &to, &m); i++) {
        must(m->incarnation == OURS && m->kind > SL_MESSAGE_NONE && m->kind < SL_MESSAGE_KIND_COUNT);
        must((m->kind == SL_MESSAGE_RESET || m->kind == SL_MESSAGE_ALIVE) == (m->sequence == 0));
        must(m->kind != SL_MESSAGE_RESET || m->peer != 0);
        if (unreachable != 0 && to.id % PEERS == unreachable % PEERS)
            sl_links_unreachable(w->links, to, w->now_us);
    }
}

static uint64_t near(uint8_t number, uint64_t right)
{
    if (number < 128)
        return right;
    return number < 240 ? number % 16 : UINT64_MAX - number % 4 * (UINT64_MAX / 4);
}

static void hear(struct world *w, const uint8_t *e)
{
    static const enum sl_message_kind kinds[] = {SL_MESSAGE_PUSH, SL_MESSAGE_PULL, SL_MESSAGE_HELLO,
            SL_MESSAGE_ALIVE, SL_MESSAGE_ALIVE, SL_MESSAGE_RESET, SL_MESSAGE_PUSH, SL_MESSAGE_PUSH};
    struct sl_message *m = sl_message_create(kinds[e[1] / PEERS % 8]);
    struct sl_error err = {0};
    struct sl_address from = address_of(e[1]);
    must(m != NULL);
    m->incarnation = near(e[2] & 0x80 ? e[4] : 0, from.id == 0 ? 50 : from.id);
    m->peer = e[2] & 0x40 ? near(e[3], OURS) : 0;
    m->sequence = near(e[2] & 0x20 ? e[3] : 0, w->peers[from.id].sequence + 1 + e[2] % 8);
    m->ack = near(e[4], e[4] % 4);
    must(sl_links_receive(w->links, from, &m, w->now_us, &err) == SL_OK && m == NULL);
}

static void say(struct world *w, const uint8_t *e)
{
    struct sl_error err = {0};
    struct sl_buffer *buffer = sl_buffer_create((size_t)e[3] * 64);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PARAMS);
    must(m != NULL && buffer != NULL);
    sl_message_add_frame(m, buffer, buffer->data, buffer->size);
    sl_buffer_release(buffer);
    enum sl_status status = sl_links_send(w->links, address_of(e[1]), &m, w->now_us, &err);
    must((status == SL_OK || status == SL_NOT_FOUND) && m == NULL);
}

static void tick(struct world *w, const uint8_t *e)
{
    struct sl_error err = {0};
    w->now_us += (int64_t)e[1] << (e[2] % 20);
    must(sl_links_tick(w->links, w->now_us, &err) == SL_OK);
    must(sl_links_wake_us(w->links) > w->now_us);
}

static void happen(struct world *w, const uint8_t *e)
{
    struct sl_error err = {0};
    switch (e[0] % 16) {
    case 0:
        take_events(w);
        if (e[1] % PEERS < 3) /* those that one connects to */
            must(sl_links_open(w->links, address_of(e[1]), w->now_us, &err) == SL_OK);
        w->peers[e[1] % PEERS].gone = false; /* told again that it has ended */
        break;
    case 1:
        sl_links_close(w->links, address_of(e[1]));
        break;
    case 2:
        if (e[1] == 7)
            sl_links_close_all(w->links);
        break;
    case 3:
    case 4:
        say(w, e);
        break;
    case 5:
    case 6:
        tick(w, e);
        break;
    case 7:
        take_outgoing(w, e[1]);
        break;
    case 8:
        take_events(w);
        break;
    default:
        hear(w, e);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.now_us = 1};
    struct sl_error err = {0};
    struct sl_links_options options = {.incarnation = OURS,
            .accept = true,
            .links_max = 6,
            .heartbeat_us = 500,
            .timeout_us = 10000,
            .resend_us = 1000,
            .unreachable_us = 3000,
            .queue_size_max = 1 << 16};
    for (uint8_t i = 0; i < PEERS; i++)
        w.peers[i].address = address_of(i);
    must(sl_links_create(&w.links, &options, &err) == SL_OK);
    for (int i = 0; i < EVENTS_MAX && size >= EVENT_SIZE; i++, data += EVENT_SIZE, size -= EVENT_SIZE)
        happen(&w, data);
    take_events(&w);
    take_outgoing(&w, 0);
    must(sl_links_totals(w.links).open <= options.links_max + 3);
    sl_links_destroy(w.links);
    return 0;
}
