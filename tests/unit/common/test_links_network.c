/* Links on a network that loses, doubles, delays, reorders and cuts, between a worker and a coordinator that begin anew when their link ends and are started again now and then; all from
 * a seed, in virtual time. At every delivery: the very next message of one and the same incarnation. In the end, on a network that is well again: everything arrives. */
#include "common/links.h"
#include "common/memory.h"
#include "common/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MS 1000
#define SECOND 1000000
#define SEEDS 30
#define PACKETS_MAX 20000
#define INCARNATIONS_MAX 4096
#define CHAOS_US (30 * (int64_t)SECOND)
#define HEAL_US (30 * (int64_t)SECOND)
#define STEP_US (2 * MS)
#define LATE_US (20 * (int64_t)SECOND) /* how late a few copies are */

struct packet {
    int64_t at_us;
    struct sl_address from, to;
    struct sl_message *message;
};

/* One side: its links, and what it has sent and received on the present one. */
struct side {
    struct sl_links *links;
    uint64_t incarnation;
    uint64_t sent, received; /* numbers of messages on the present link */
    uint64_t partner;        /* whose messages they are, 0 = none yet */
    uint64_t acknowledged;   /* the highest acknowledgement that came */
    struct sl_address peer;  /* of the present link; id 0 for the coordinator's side: none */
    bool linked;
    uint64_t delivered, ends; /* in all */
};

struct world {
    struct sl_random random;
    uint64_t draws, incarnations;
    int64_t now_us;
    double loss, doubling, late;
    int64_t delay_us, timeout_us;
    int64_t cut_until_us[2]; /* from worker, from coordinator */
    struct side worker, coordinator;
    uint64_t past[INCARNATIONS_MAX]; /* received of workers before the present one, by incarnation */
    struct packet packets[PACKETS_MAX];
    int packet_count;
};

static struct sl_error err;

static double draw(struct world *w)
{
    return (double)sl_random_float(&w->random, w->draws++);
}

static uint64_t below(struct world *w, uint64_t bound)
{
    return sl_random_below(&w->random, w->draws++, bound);
}

static void start(struct world *w, struct side *side, bool accept)
{
    struct sl_links_options options = {.incarnation = ++w->incarnations,
            .accept = accept,
            .links_max = 8,
            .heartbeat_us = 300 * MS,
            .timeout_us = w->timeout_us,
            .resend_us = 200 * MS,
            .unreachable_us = 1500 * MS,
            .queue_size_max = 16 << 20};
    assert_true(w->incarnations < INCARNATIONS_MAX);
    if (accept)
        memset(w->past, 0, sizeof(w->past));
    uint64_t delivered = side->delivered, ends = side->ends;
    sl_links_destroy(side->links);
    *side = (struct side){.incarnation = options.incarnation, .delivered = delivered, .ends = ends};
    assert_int_equal(sl_links_create(&side->links, &options, &err), SL_OK);
}

static void say(struct world *w, struct side *side)
{
    struct sl_message *m = sl_message_create(SL_MESSAGE_PULL);
    m->step = (int64_t)side->sent + 1;
    m->count = side->incarnation;
    enum sl_status status = sl_links_send(side->links, side->peer, &m, w->now_us, &err);
    if (status == SL_OK)
        side->sent++;
    else
        assert_int_equal(status, SL_NOT_FOUND);
}

static void join(struct world *w)
{
    start(w, &w->worker, false);
    w->worker.peer = SL_COORDINATOR;
    w->worker.linked = true;
    assert_int_equal(sl_links_open(w->worker.links, SL_COORDINATOR, w->now_us, &err), SL_OK);
    say(w, &w->worker);
}

/* ---- the network ---- */

static void put(struct world *w, struct sl_address from, struct sl_address to, const struct sl_message *m)
{
    if (w->packet_count == PACKETS_MAX)
        return; /* a full network loses */
    int64_t delay = 1 + (int64_t)below(w, (uint64_t)w->delay_us);
    if (draw(w) < w->late)
        delay += (int64_t)below(w, LATE_US);
    w->packets[w->packet_count++] = (struct packet){w->now_us + delay, from, to, sl_message_clone(m)};
}

static void give_out(struct world *w, struct side *side, struct sl_address name, int direction)
{
    struct sl_address to;
    const struct sl_message *m = NULL;
    while (sl_links_next_outgoing(side->links, w->now_us, &to, &m)) {
        assert_true(m->incarnation == side->incarnation);
        if (sl_address_equal(to, side->peer) && m->sequence > side->acknowledged + SL_LINKS_WINDOW_COUNT)
            fail_msg("%d leaves, but only %d was acknowledged", (int)m->sequence, (int)side->acknowledged);
        if (to.role == SL_ROLE_WORKER && to.id != w->worker.incarnation) {
            sl_links_unreachable(side->links, to, w->now_us);
            continue;
        }
        if (w->now_us < w->cut_until_us[direction] || draw(w) < w->loss)
            continue;
        put(w, name, to, m);
        if (draw(w) < w->doubling)
            put(w, name, to, m);
    }
}

static void bring(struct world *w)
{
    for (int i = 0; i < w->packet_count;) {
        struct packet p = w->packets[i];
        if (p.at_us > w->now_us) {
            i++;
            continue;
        }
        w->packets[i] = w->packets[--w->packet_count]; /* out of order, too */
        struct side *side = p.to.role == SL_ROLE_COORDINATOR ? &w->coordinator : &w->worker;
        bool there = p.to.role == SL_ROLE_COORDINATOR || p.to.id == side->incarnation;
        bool present = p.message->peer == side->incarnation && sl_address_equal(p.from, side->peer);
        if (there && present && p.message->ack > side->acknowledged)
            side->acknowledged = p.message->ack;
        if (there)
            assert_int_equal(sl_links_receive(side->links, p.from, &p.message, w->now_us, &err), SL_OK);
        sl_message_destroy(p.message);
    }
}

/* ---- the cores ---- */

static void took(struct side *side, const struct sl_message *m)
{
    if (side->partner == 0)
        side->partner = m->count;
    if (m->count != side->partner || (uint64_t)m->step != side->received + 1)
        fail_msg("message %d of %d comes after %d of %d", (int)m->step, (int)m->count, (int)side->received,
                (int)side->partner);
    assert_true(m->count == m->incarnation && m->peer != 0 ? m->peer == side->incarnation : true);
    side->received++;
    side->delivered++;
}

static void coordinate(struct world *w)
{
    struct side *c = &w->coordinator;
    struct sl_link_event event;
    while (sl_links_next_event(c->links, &event)) {
        bool present = c->linked && sl_address_equal(event.from, c->peer);
        if (event.kind == SL_LINK_GONE) {
            c->ends++;
            if (present)
                c->linked = false;
            continue;
        }
        if (event.from.id < c->peer.id) { /* late words of one before: in order, too, and nobody answers */
            uint64_t id = event.from.id;
            assert_true(event.message->count == id && (uint64_t)event.message->step == ++w->past[id]);
            sl_message_destroy(event.message);
            continue;
        }
        if (!present) { /* a newer worker; the one before may still have a link that is about to end */
            assert_int_equal(event.message->step, 1);
            w->past[c->peer.id] = c->received;
            c->peer = event.from;
            c->linked = true;
            c->sent = c->received = c->partner = c->acknowledged = 0;
        }
        took(c, event.message);
        if (draw(w) < 0.7)
            say(w, c);
        sl_message_destroy(event.message);
    }
}

static void work(struct world *w)
{
    struct sl_link_event event;
    while (w->worker.linked && sl_links_next_event(w->worker.links, &event)) {
        if (event.kind == SL_LINK_GONE) {
            w->worker.ends++;
            join(w);
            return;
        }
        took(&w->worker, event.message);
        sl_message_destroy(event.message);
    }
}

static void turn(struct world *w)
{
    w->now_us += STEP_US;
    bring(w);
    coordinate(w);
    work(w);
    assert_int_equal(sl_links_tick(w->worker.links, w->now_us, &err), SL_OK);
    assert_int_equal(sl_links_tick(w->coordinator.links, w->now_us, &err), SL_OK);
    coordinate(w);
    work(w);
    give_out(w, &w->worker, (struct sl_address){SL_ROLE_WORKER, w->worker.incarnation}, 0);
    give_out(w, &w->coordinator, SL_COORDINATOR, 1);
}

static void harm(struct world *w, bool restarts)
{
    if (draw(w) < 0.0005)
        w->cut_until_us[below(w, 2)] = w->now_us + (int64_t)below(w, 4 * SECOND);
    if (restarts && draw(w) < 0.0002)
        join(w); /* killed and started again */
    if (restarts && draw(w) < 0.0001)
        start(w, &w->coordinator, true);
    int burst = draw(w) < 0.002 ? (int)below(w, 600) : draw(w) < 0.1;
    for (int i = 0; i < burst; i++)
        say(w, draw(w) < 0.5 && w->coordinator.linked ? &w->coordinator : &w->worker);
}

static bool all_arrived(const struct world *w)
{
    const struct side *a = &w->worker, *b = &w->coordinator;
    return b->linked && b->peer.id == a->incarnation && a->received == b->sent && b->received == a->sent &&
           sl_links_totals(a->links).queued == 0 && sl_links_totals(b->links).queued == 0;
}

static struct world *run(uint64_t seed, bool restarts)
{
    struct world *w = sl_alloc(1, sizeof(*w));
    assert_non_null(w);
    w->random = sl_random_make(seed, SL_RANDOM_TEST, restarts, 0);
    w->loss = draw(w) < 0.3 ? 0 : draw(w) * 0.3;
    w->doubling = draw(w) * 0.2;
    w->late = restarts && draw(w) < 0.5 ? draw(w) * 0.05 : 0;
    w->delay_us = 1 + (int64_t)below(w, draw(w) < 0.5 ? 5 * MS : 300 * MS);
    w->timeout_us = (restarts ? 3 : 3600) * (int64_t)SECOND;
    start(w, &w->coordinator, true);
    join(w);
    while (w->now_us < CHAOS_US) {
        turn(w);
        harm(w, restarts);
    }
    w->loss = w->late = 0;
    w->cut_until_us[0] = w->cut_until_us[1] = 0;
    uint64_t before = w->coordinator.delivered;
    int64_t end_us = w->now_us + HEAL_US;
    if (w->coordinator.linked)
        say(w, &w->worker);
    while (w->now_us < end_us && !(all_arrived(w) && w->coordinator.delivered > before))
        turn(w);
    if (!all_arrived(w))
        fail_msg("seed %d: not healed: worker %d sent %d received %d, coordinator %d sent %d received %d",
                (int)seed, (int)w->worker.incarnation, (int)w->worker.sent, (int)w->worker.received,
                (int)w->coordinator.peer.id, (int)w->coordinator.sent, (int)w->coordinator.received);
    return w;
}

static void end(struct world *w)
{
    sl_links_destroy(w->worker.links);
    sl_links_destroy(w->coordinator.links);
    for (int i = 0; i < w->packet_count; i++)
        sl_message_destroy(w->packets[i].message);
    sl_free(w);
}

/* Nobody is given up: then what arrives is all that was sent, whatever the network does meanwhile. */
static void test_everything_arrives(void **unused)
{
    (void)unused;
    uint64_t delivered = 0, resent = 0, duplicates = 0, early = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = run(seed, false);
        struct sl_links_totals totals = sl_links_totals(w->coordinator.links);
        if (w->worker.ends > 0 || w->coordinator.ends > 0)
            fail_msg("seed %d: a link ended", (int)seed);
        delivered += w->coordinator.delivered + w->worker.delivered;
        resent += totals.resent;
        duplicates += totals.duplicates;
        early += totals.early;
        end(w);
    }
    /* the network was really bad */
    assert_true(delivered > 50000 && resent > 1000 && duplicates > 1000 && early > 1000);
}

static void test_links_end_and_begin_anew(void **unused)
{
    (void)unused;
    uint64_t ends = 0, delivered = 0, resets = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world *w = run(seed, true);
        ends += w->worker.ends + w->coordinator.ends;
        delivered += w->coordinator.delivered;
        resets += sl_links_totals(w->coordinator.links).resets;
        end(w);
    }
    if (ends < 100 || delivered < 20000 || resets < 50)
        fail_msg("too quiet: %d links ended, %d messages arrived, %d RESETs", (int)ends, (int)delivered,
                (int)resets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_everything_arrives),
            cmocka_unit_test(test_links_end_and_begin_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
