/* Sockets on loopback: messages and frames arrive whole, in order and unchanged; strangers and senseless bytes are dropped; a missing peer is known. */
#include "common/clock.h"
#include "common/memory.h"
#include "common/transport.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>
#include <zmq.h>

#define WAIT_MS 10000
#define WORKER(id) ((struct sl_address){SL_ROLE_WORKER, id})

struct pair {
    struct sl_transport *transport;
    struct sl_socket *server, *client;
};

static void open_pair(struct pair *p, const char *endpoint)
{
    struct sl_error err = {0};
    assert_int_equal(sl_transport_create(&p->transport, &err), SL_OK);
    assert_int_equal(sl_socket_bind(&p->server, p->transport, endpoint, &err), SL_OK);
    assert_int_equal(sl_socket_connect(&p->client, p->transport, sl_socket_endpoint(p->server),
                             SL_ROLE_WORKER, 42, SL_COORDINATOR, &err),
            SL_OK);
}

static void close_pair(struct pair *p)
{
    sl_socket_close(p->client);
    sl_socket_close(p->server);
    sl_transport_destroy(p->transport);
}

static enum sl_status receive(struct sl_socket *socket, struct sl_address *ret_peer,
        struct sl_message **ret_message, struct sl_error *err)
{
    for (;;) {
        uint64_t ready = 0;
        assert_int_equal(sl_transport_wait(&socket, 1, NULL, 0, WAIT_MS, &ready, err), SL_OK);
        if (ready == 0)
            return SL_TIMEOUT;
        enum sl_status status = sl_socket_receive(socket, ret_peer, ret_message, err);
        if (status != SL_AGAIN)
            return status;
    }
}

static void exchange(const char *endpoint)
{
    struct pair p;
    struct sl_error err = {0};
    open_pair(&p, endpoint);
    for (size_t size = 4; size <= (4U << 20); size *= 32) {
        struct sl_buffer *buffer = sl_buffer_create(size);
        for (size_t i = 0; i < size; i++)
            ((unsigned char *)buffer->data)[i] = (unsigned char)(i * 7 + size);
        struct sl_message *push = sl_message_create(SL_MESSAGE_PUSH), *got = NULL;
        push->incarnation = 42;
        push->slots = 1;
        push->step = (int64_t)size;
        sl_message_add_frame(push, buffer, buffer->data, size);
        sl_message_add_frame(push, buffer, (char *)buffer->data + size / 2, size / 2);
        assert_int_equal(sl_socket_send(p.client, SL_COORDINATOR, push, &err), SL_OK);
        struct sl_address peer = {0};
        assert_int_equal(receive(p.server, &peer, &got, &err), SL_OK);
        assert_true(peer.role == SL_ROLE_WORKER && peer.id == 42 && got->step == (int64_t)size &&
                    got->frame_count == 2);
        assert_true(got->frames[0].size == size && got->frames[1].size == size / 2);
        assert_true((uintptr_t)got->frames[0].data % sizeof(double) == 0);
        assert_memory_equal(got->frames[0].data, buffer->data, size);
        assert_memory_equal(got->frames[1].data, (char *)buffer->data + size / 2, size / 2);
        sl_message_destroy(got);
        struct sl_message *params = sl_message_create(SL_MESSAGE_PARAMS);
        sl_message_add_frame(params, buffer, buffer->data, size);
        assert_int_equal(sl_socket_send(p.server, WORKER(42), params, &err), SL_OK);
        assert_int_equal(receive(p.client, &peer, &got, &err), SL_OK);
        assert_memory_equal(got->frames[0].data, buffer->data, size);
        sl_message_destroy(got);
        sl_message_destroy(push);
        sl_message_destroy(params);
        sl_buffer_release(buffer);
    }
    close_pair(&p);
}

static void test_tcp(void **unused)
{
    (void)unused;
    exchange("tcp://127.0.0.1:0");
}

static void test_inproc(void **unused)
{
    (void)unused;
    exchange("inproc://test");
}

static void test_a_missing_peer_is_known(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    struct sl_message *m = sl_message_create(SL_MESSAGE_ALIVE);
    open_pair(&p, "tcp://127.0.0.1:0");
    assert_int_equal(sl_socket_send(p.server, WORKER(7), m, &err), SL_NOT_FOUND);
    sl_message_destroy(m);
    close_pair(&p);
}

/* Over inproc a connection ends with the other side: whoever comes too late must hear that nobody is there, not fail. */
static void test_who_comes_after_the_end_is_told(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    struct sl_message *m = sl_message_create(SL_MESSAGE_ALIVE);
    open_pair(&p, "inproc://end");
    sl_socket_close(SL_TAKE(p.server));
    enum sl_status status = SL_OK;
    for (int64_t end_us = sl_clock_monotonic_us() + WAIT_MS * INT64_C(1000);
            status == SL_OK && sl_clock_monotonic_us() < end_us;) { /* until ZeroMQ has noticed */
        uint64_t ready = 0;
        status = sl_socket_send(p.client, SL_COORDINATOR, m, &err);
        assert_int_equal(sl_transport_wait(&p.client, 1, NULL, 0, 1, &ready, &err), SL_OK);
    }
    assert_int_equal(status, SL_NOT_FOUND);
    sl_message_destroy(m);
    close_pair(&p);
}

static void test_bad_endpoints(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    struct sl_socket *second = NULL;
    open_pair(&p, "tcp://127.0.0.1:0");
    assert_int_equal(sl_socket_bind(&second, p.transport, sl_socket_endpoint(p.server), &err), SL_FAILED);
    assert_non_null(strstr(err.text, "in use"));
    assert_int_equal(sl_socket_bind(&second, p.transport, "nonsense", &err), SL_FAILED);
    assert_int_equal(
            sl_socket_connect(&second, p.transport, "tcp://:x", SL_ROLE_WORKER, 1, SL_COORDINATOR, &err),
            SL_FAILED);
    assert_null(second);
    close_pair(&p);
}

/* Worker and server of the same incarnation are two peers, and a connected socket names whom it was connected to. */
static void test_roles_are_told_apart(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    struct sl_socket *second = NULL;
    const struct sl_address roles[] = {WORKER(42), {SL_ROLE_SERVER, 42}};
    const struct sl_address coordinator = {SL_ROLE_SERVER, 77};
    open_pair(&p, "tcp://127.0.0.1:0");
    assert_int_equal(sl_socket_connect(&second, p.transport, sl_socket_endpoint(p.server), SL_ROLE_SERVER, 42,
                             coordinator, &err),
            SL_OK);
    struct sl_socket *sockets[] = {p.client, second};
    for (int i = 0; i < 2; i++) {
        struct sl_message *m = sl_message_create(SL_MESSAGE_ALIVE), *got = NULL;
        struct sl_address from = {0};
        m->incarnation = 42;
        assert_int_equal(sl_socket_send(sockets[i], SL_COORDINATOR, m, &err), SL_OK);
        assert_int_equal(receive(p.server, &from, &got, &err), SL_OK);
        assert_true(sl_address_equal(from, roles[i]));
        sl_message_destroy(got);
        m->incarnation = 99;
        assert_int_equal(sl_socket_send(p.server, roles[i], m, &err), SL_OK);
        assert_int_equal(receive(sockets[i], &from, &got, &err), SL_OK);
        assert_true(sl_address_equal(from, i == 0 ? SL_COORDINATOR : coordinator) && got->incarnation == 99);
        sl_message_destroy(got);
        sl_message_destroy(m);
    }
    sl_socket_close(second);
    close_pair(&p);
}

/* A peer that was there and is not any more: known as soon as its connection has ended. */
static void test_a_dead_peer_is_known(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    struct sl_message *m = sl_message_create(SL_MESSAGE_ALIVE), *got = NULL;
    struct sl_address from = {0};
    open_pair(&p, "tcp://127.0.0.1:0");
    m->incarnation = 42;
    assert_int_equal(sl_socket_send(p.client, SL_COORDINATOR, m, &err), SL_OK);
    assert_int_equal(receive(p.server, &from, &got, &err), SL_OK);
    sl_message_destroy(got);
    assert_int_equal(sl_socket_send(p.server, from, m, &err), SL_OK);
    sl_socket_close(SL_TAKE(p.client));
    int64_t end_us = sl_clock_monotonic_us() + WAIT_MS * 1000;
    enum sl_status status = SL_OK;
    while (status == SL_OK && sl_clock_monotonic_us() < end_us) {
        uint64_t ready = 0;
        assert_int_equal(sl_transport_wait(&p.server, 1, NULL, 0, 10, &ready, &err), SL_OK);
        status = sl_socket_send(p.server, from, m, &err);
    }
    assert_int_equal(status, SL_NOT_FOUND);
    sl_message_destroy(m);
    close_pair(&p);
}

/* ---- threads ---- */

#define ROUNDS 200
#define FLOATS (64U << 10)

struct worker_thread {
    struct sl_transport *transport;
    const char *endpoint;
    uint64_t incarnation;
    int good;
};

/* Sends what it has just written and checks what comes back; the buffer is used again once nobody else holds it. */
static int one_round(struct worker_thread *t, struct sl_socket *socket, int round)
{
    struct sl_error err = {0};
    SL_AUTO(sl_message_destroy_auto) struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
    SL_AUTO(sl_message_destroy_auto) struct sl_message *got = NULL;
    struct sl_address from = {0};
    size_t count = round % 2 == 0 ? FLOATS : 10; /* referred to, copied */
    struct sl_buffer *buffer = sl_buffer_create(count * sizeof(float));
    if (m == NULL || buffer == NULL)
        return 0;
    float *values = buffer->data;
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(t->incarnation * ROUNDS) + (float)round;
    m->incarnation = t->incarnation;
    m->slots = 1;
    m->step = round;
    sl_message_add_frame(m, buffer, values, count * sizeof(float));
    sl_buffer_release(buffer);
    if (sl_socket_send(socket, SL_COORDINATOR, m, &err) != SL_OK)
        return 0;
    uint64_t ready = 0;
    enum sl_status status = SL_AGAIN;
    while ((status = sl_socket_receive(socket, &from, &got, &err)) == SL_AGAIN)
        if (sl_transport_wait(&socket, 1, NULL, 0, WAIT_MS, &ready, &err) != SL_OK || ready == 0)
            return 0;
    if (status != SL_OK || got->frame_count != 1 || got->frames[0].size != sizeof(double))
        return 0;
    double sum = 0;
    memcpy(&sum, got->frames[0].data, sizeof(sum));
    return sum == (double)values[0] * (double)count;
}

static void *work(void *argument)
{
    struct worker_thread *t = argument;
    struct sl_error err = {0};
    struct sl_socket *socket = NULL;
    if (sl_socket_connect(&socket, t->transport, t->endpoint, SL_ROLE_WORKER, t->incarnation, SL_COORDINATOR,
                &err) != SL_OK)
        return NULL;
    for (int i = 0; i < ROUNDS; i++)
        t->good += one_round(t, socket, i);
    sl_socket_close(socket);
    return NULL;
}

static void answer_sum(struct sl_socket *server)
{
    struct sl_error err = {0};
    struct sl_message *got = NULL, *sum = sl_message_create(SL_MESSAGE_PARAMS);
    struct sl_buffer *buffer = sl_buffer_create(sizeof(double));
    struct sl_address from = {0};
    assert_int_equal(receive(server, &from, &got, &err), SL_OK);
    const float *values = got->frames[0].data;
    for (size_t i = 0; i < got->frames[0].size / sizeof(float); i++)
        *(double *)buffer->data += (double)values[i];
    sl_message_add_frame(sum, buffer, buffer->data, sizeof(double));
    assert_int_equal(sl_socket_send(server, from, sum, &err), SL_OK);
    sl_buffer_release(buffer);
    sl_message_destroy(sum);
    sl_message_destroy(got);
}

/* Threads of one process share a transport; over inproc their frames are the same memory. */
static void share(const char *endpoint)
{
    struct sl_error err = {0};
    struct sl_transport *transport = NULL;
    struct sl_socket *server = NULL;
    pthread_t threads[3];
    struct worker_thread workers[3];
    assert_int_equal(sl_transport_create(&transport, &err), SL_OK);
    assert_int_equal(sl_socket_bind(&server, transport, endpoint, &err), SL_OK);
    for (uint64_t w = 0; w < 3; w++) {
        workers[w] = (struct worker_thread){transport, sl_socket_endpoint(server), w + 1, 0};
        assert_int_equal(pthread_create(&threads[w], NULL, work, &workers[w]), 0);
    }
    for (int i = 0; i < 3 * ROUNDS; i++)
        answer_sum(server);
    for (int w = 0; w < 3; w++) {
        assert_int_equal(pthread_join(threads[w], NULL), 0);
        assert_int_equal(workers[w].good, ROUNDS);
    }
    sl_socket_close(server);
    sl_transport_destroy(transport);
}

static void test_threads_share_a_transport(void **unused)
{
    (void)unused;
    share("inproc://shared");
    share("tcp://127.0.0.1:0");
}

/* What a stranger may send: no header, half a header, too many frames, another's name. The connection of others goes on. */
static void test_garbage_is_dropped(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    open_pair(&p, "tcp://127.0.0.1:0");
    void *context = zmq_ctx_new(), *stranger = zmq_socket(context, ZMQ_DEALER);
    int linger = 0;
    zmq_setsockopt(stranger, ZMQ_LINGER, &linger, sizeof(linger));
    assert_int_equal(zmq_connect(stranger, sl_socket_endpoint(p.server)), 0);
    struct sl_message *got = NULL;
    struct sl_address peer = {0};
    assert_int_equal(zmq_send(stranger, "hello", 5, 0), 5);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_BAD_DATA);
    for (int i = 0; i < 9; i++)
        assert_int_equal(zmq_send(stranger, "x", 1, i < 8 ? ZMQ_SNDMORE : 0), 1);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_BAD_DATA);
    struct sl_message *liar = sl_message_create(SL_MESSAGE_ALIVE);
    liar->incarnation = 43;
    assert_int_equal(sl_socket_send(p.client, SL_COORDINATOR, liar, &err), SL_OK);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_BAD_DATA);
    liar->incarnation = 42;
    assert_int_equal(sl_socket_send(p.client, SL_COORDINATOR, liar, &err), SL_OK);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_OK);
    assert_true(peer.role == SL_ROLE_WORKER && peer.id == 42);
    sl_message_destroy(got);
    sl_message_destroy(liar);
    zmq_close(stranger);
    zmq_ctx_term(context);
    close_pair(&p);
}

static void test_the_wait_has_a_deadline(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    uint64_t ready = 1;
    struct sl_address peer = {0};
    struct sl_message *got = NULL;
    open_pair(&p, "tcp://127.0.0.1:0");
    assert_int_equal(sl_transport_wait(&p.server, 1, NULL, 0, 10, &ready, &err), SL_OK);
    assert_int_equal(ready, 0);
    assert_int_equal(sl_socket_receive(p.server, &peer, &got, &err), SL_AGAIN);
    close_pair(&p);
}

/* What the kernel may hold of what either side of a connection has sent: with megabytes of it every byte would be read from memory instead of the cache. */
static void test_loopback_sends_in_small_pieces(void **unused)
{
    (void)unused;
    struct pair p;
    struct sl_error err = {0};
    struct sl_address peer = {0};
    struct sl_message *alive = sl_message_create(SL_MESSAGE_ALIVE), *got = NULL;
    open_pair(&p, "tcp://127.0.0.1:0");
    alive->incarnation = 42;
    assert_int_equal(sl_socket_send(p.client, SL_COORDINATOR, alive, &err), SL_OK);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_OK);
    int connected = 0;
    for (int fd = 0; fd < 256; fd++) {
        struct sockaddr_storage address;
        socklen_t address_size = sizeof(address), size = sizeof(int);
        int bytes = 0;
        if (getpeername(fd, (struct sockaddr *)&address, &address_size) != 0 || address.ss_family != AF_INET)
            continue;
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size), 0);
        assert_in_range(bytes, 1, 512 << 10); /* twice of what was asked for, as Linux counts */
        connected++;
    }
    assert_int_equal(connected, 2);
    sl_message_destroy(got);
    sl_message_destroy(alive);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_tcp),
            cmocka_unit_test(test_inproc),
            cmocka_unit_test(test_a_missing_peer_is_known),
            cmocka_unit_test(test_roles_are_told_apart),
            cmocka_unit_test(test_a_dead_peer_is_known),
            cmocka_unit_test(test_threads_share_a_transport),
            cmocka_unit_test(test_who_comes_after_the_end_is_told),
            cmocka_unit_test(test_bad_endpoints),
            cmocka_unit_test(test_garbage_is_dropped),
            cmocka_unit_test(test_the_wait_has_a_deadline),
            cmocka_unit_test(test_loopback_sends_in_small_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
