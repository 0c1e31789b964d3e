/* Sockets on loopback: messages and frames arrive whole, in order and unchanged; strangers and senseless bytes are dropped; a missing peer is known. */
#include "common/memory.h"
#include "common/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zmq.h>

#define WAIT_MS 10000

struct pair {
    struct sl_transport *transport;
    struct sl_socket *server, *client;
};

static void open_pair(struct pair *p, const char *endpoint)
{
    struct sl_error err = {0};
    assert_int_equal(sl_transport_create(&p->transport, &err), SL_OK);
    assert_int_equal(sl_socket_bind(&p->server, p->transport, endpoint, &err), SL_OK);
    assert_int_equal(
            sl_socket_connect(&p->client, p->transport, sl_socket_endpoint(p->server), 42, &err), SL_OK);
}

static void close_pair(struct pair *p)
{
    sl_socket_close(p->client);
    sl_socket_close(p->server);
    sl_transport_destroy(p->transport);
}

static enum sl_status receive(
        struct sl_socket *socket, uint64_t *ret_peer, struct sl_message **ret_message, struct sl_error *err)
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
        assert_int_equal(sl_socket_send(p.client, 0, push, &err), SL_OK);
        uint64_t peer = 0;
        assert_int_equal(receive(p.server, &peer, &got, &err), SL_OK);
        assert_true(peer == 42 && got->step == (int64_t)size && got->frame_count == 2);
        assert_true(got->frames[0].size == size && got->frames[1].size == size / 2);
        assert_true((uintptr_t)got->frames[0].data % sizeof(double) == 0);
        assert_memory_equal(got->frames[0].data, buffer->data, size);
        assert_memory_equal(got->frames[1].data, (char *)buffer->data + size / 2, size / 2);
        sl_message_destroy(got);
        struct sl_message *params = sl_message_create(SL_MESSAGE_PARAMS);
        sl_message_add_frame(params, buffer, buffer->data, size);
        assert_int_equal(sl_socket_send(p.server, 42, params, &err), SL_OK);
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
    struct sl_message *m = sl_message_create(SL_MESSAGE_HEARTBEAT);
    open_pair(&p, "tcp://127.0.0.1:0");
    assert_int_equal(sl_socket_send(p.server, 7, m, &err), SL_NOT_FOUND);
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
    assert_int_equal(sl_socket_connect(&second, p.transport, "tcp://:x", 1, &err), SL_FAILED);
    assert_null(second);
    close_pair(&p);
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
    uint64_t peer = 0;
    assert_int_equal(zmq_send(stranger, "hello", 5, 0), 5);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_BAD_DATA);
    for (int i = 0; i < 9; i++)
        assert_int_equal(zmq_send(stranger, "x", 1, i < 8 ? ZMQ_SNDMORE : 0), 1);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_BAD_DATA);
    struct sl_message *liar = sl_message_create(SL_MESSAGE_HEARTBEAT);
    liar->incarnation = 43;
    assert_int_equal(sl_socket_send(p.client, 0, liar, &err), SL_OK);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_BAD_DATA);
    liar->incarnation = 42;
    assert_int_equal(sl_socket_send(p.client, 0, liar, &err), SL_OK);
    assert_int_equal(receive(p.server, &peer, &got, &err), SL_OK);
    assert_true(peer == 42);
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
    uint64_t ready = 1, peer = 0;
    struct sl_message *got = NULL;
    open_pair(&p, "tcp://127.0.0.1:0");
    assert_int_equal(sl_transport_wait(&p.server, 1, NULL, 0, 10, &ready, &err), SL_OK);
    assert_int_equal(ready, 0);
    assert_int_equal(sl_socket_receive(p.server, &peer, &got, &err), SL_AGAIN);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_tcp),
            cmocka_unit_test(test_inproc),
            cmocka_unit_test(test_a_missing_peer_is_known),
            cmocka_unit_test(test_bad_endpoints),
            cmocka_unit_test(test_garbage_is_dropped),
            cmocka_unit_test(test_the_wait_has_a_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
