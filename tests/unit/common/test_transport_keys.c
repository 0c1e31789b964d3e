/* Encrypted sockets on loopback: who has the right keys talks as without them, everybody else gets nowhere, and both sides can say why. */
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#define FOLDER "test_transport_keys.d"
#define OURS FOLDER "/ours"
#define OTHERS FOLDER "/others"
#define WAIT_MS 10000
#define LOOK_MS 10 /* between looks at what has no event */

struct side {
    struct sl_keys *keys;
    struct sl_transport *transport;
    struct sl_socket *socket;
};

static struct sl_error err;

static int set_up(void **state)
{
    (void)state;
    if (sl_file_remove_tree(FOLDER, &err) != SL_OK || sl_keys_generate(OURS, &err) != SL_OK)
        return -1;
    return sl_keys_generate(OTHERS, &err) == SL_OK && sl_keys_add_client(OURS, "second", &err) == SL_OK ? 0
                                                                                                        : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK ? 0 : -1;
}

static void open_side(struct side *side, const char *keys, enum sl_keys_role role)
{
    *side = (struct side){0};
    if (keys != NULL)
        assert_int_equal(sl_keys_load(&side->keys, keys, role, &err), SL_OK);
    assert_int_equal(sl_transport_create_secure(&side->transport, side->keys, &err), SL_OK);
}

static void serve(struct side *server, const char *keys, const char *endpoint)
{
    open_side(server, keys, SL_KEYS_SERVER);
    assert_int_equal(sl_socket_bind(&server->socket, server->transport, endpoint, &err), SL_OK);
}

static void join(struct side *client, const char *keys, const struct side *server, uint64_t incarnation)
{
    open_side(client, keys, SL_KEYS_CLIENT);
    assert_int_equal(sl_socket_connect(&client->socket, client->transport, sl_socket_endpoint(server->socket),
                             SL_ROLE_WORKER, incarnation, SL_COORDINATOR, &err),
            SL_OK);
}

static void close_side(struct side *side)
{
    sl_socket_close(side->socket);
    sl_transport_destroy(side->transport);
    sl_keys_destroy(side->keys);
}

static enum sl_status receive(struct sl_socket *socket, int64_t timeout_ms, struct sl_address *ret_peer,
        struct sl_message **ret_message)
{
    for (;;) {
        uint64_t ready = 0;
        assert_int_equal(sl_transport_wait(&socket, 1, NULL, 0, timeout_ms, &ready, &err), SL_OK);
        if (ready == 0)
            return SL_TIMEOUT;
        enum sl_status status = sl_socket_receive(socket, ret_peer, ret_message, &err);
        if (status != SL_AGAIN)
            return status;
    }
}

static void send_from(struct side *client, uint64_t incarnation)
{
    struct sl_message *m = sl_message_create(SL_MESSAGE_ALIVE);
    m->incarnation = incarnation;
    assert_int_equal(sl_socket_send(client->socket, SL_COORDINATOR, m, &err), SL_OK);
    sl_message_destroy(m);
}

static void expect_from(struct side *server, uint64_t incarnation)
{
    struct sl_message *m = NULL;
    struct sl_address peer = {0};
    assert_int_equal(receive(server->socket, WAIT_MS, &peer, &m), SL_OK);
    assert_true(peer.role == SL_ROLE_WORKER && peer.id == incarnation);
    sl_message_destroy(m);
}

/* Until the client knows what became of its handshake. Meanwhile nothing may arrive at the server. Which side hangs up first is chance: a broken-off
 * handshake may come before the one that says why. */
static enum sl_status outcome(struct side *client, struct side *server, enum sl_status expected)
{
    int64_t end_us = sl_clock_monotonic_us() + WAIT_MS * 1000;
    enum sl_status status = SL_OK;
    while (status != expected && sl_clock_monotonic_us() < end_us) {
        struct sl_message *m = NULL;
        struct sl_address peer = {0};
        assert_int_equal(receive(server->socket, LOOK_MS, &peer, &m), SL_TIMEOUT);
        status = sl_socket_check(client->socket, &err);
    }
    while (sl_socket_refused(server->socket) == 0 && sl_clock_monotonic_us() < end_us)
        (void)usleep(LOOK_MS * 1000);
    assert_true(sl_socket_refused(server->socket) > 0);
    return status;
}

/* chance: what is said when every handshake was broken off by the other side first, NULL = that cannot be. */
static void gets_nowhere(const char *server_keys, const char *client_keys, enum sl_status expected,
        const char *words, const char *chance)
{
    struct side server, client;
    serve(&server, server_keys, "tcp://127.0.0.1:0");
    join(&client, client_keys, &server, 42);
    send_from(&client, 42);
    enum sl_status status = outcome(&client, &server, expected);
    if (status == SL_AGAIN && chance != NULL)
        words = chance;
    else
        assert_int_equal(status, expected);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, words);
    close_side(&client);
    close_side(&server);
}

/* The same bytes as without keys, in both directions, small and large frames; two clients with keys of their own; a server that connects to another. */
static void exchange(const char *endpoint)
{
    struct side server, clients[3];
    serve(&server, OURS, endpoint);
    join(&clients[0], OURS, &server, 1);
    join(&clients[1], OURS "/clients/second", &server, 2);
    open_side(&clients[2], OURS, SL_KEYS_SERVER);
    assert_int_equal(sl_socket_connect(&clients[2].socket, clients[2].transport,
                             sl_socket_endpoint(server.socket), SL_ROLE_WORKER, 3, SL_COORDINATOR, &err),
            SL_OK);
    for (uint64_t c = 0; c < 3; c++)
        for (size_t size = 4; size <= (4U << 20); size *= 32) {
            struct sl_buffer *buffer = sl_buffer_create(size);
            for (size_t i = 0; i < size; i++)
                ((unsigned char *)buffer->data)[i] = (unsigned char)(i * 7 + size + c);
            struct sl_message *push = sl_message_create(SL_MESSAGE_PUSH),
                              *params = sl_message_create(SL_MESSAGE_PARAMS), *got = NULL;
            push->incarnation = c + 1;
            push->slots = 1;
            sl_message_add_frame(push, buffer, buffer->data, size);
            sl_message_add_frame(params, buffer, buffer->data, size);
            struct sl_address peer = {0};
            assert_int_equal(sl_socket_send(clients[c].socket, SL_COORDINATOR, push, &err), SL_OK);
            assert_int_equal(receive(server.socket, WAIT_MS, &peer, &got), SL_OK);
            assert_true(peer.id == c + 1 && got->frame_count == 1 && got->frames[0].size == size);
            assert_memory_equal(got->frames[0].data, buffer->data, size);
            sl_message_destroy(got);
            assert_int_equal(sl_socket_send(server.socket, peer, params, &err), SL_OK);
            assert_int_equal(receive(clients[c].socket, WAIT_MS, &peer, &got), SL_OK);
            assert_memory_equal(got->frames[0].data, buffer->data, size);
            sl_message_destroy(got);
            sl_message_destroy(push);
            sl_message_destroy(params);
            sl_buffer_release(buffer);
        }
    for (int c = 0; c < 3; c++) {
        assert_int_equal(sl_socket_check(clients[c].socket, &err), SL_OK);
        close_side(&clients[c]);
    }
    assert_int_equal(sl_socket_refused(server.socket), 0);
    close_side(&server);
}

static void test_the_right_keys(void **state)
{
    (void)state;
    exchange("tcp://127.0.0.1:0");
    exchange("ipc://" FOLDER "/socket");
}

static void test_a_key_that_is_not_allowed(void **state)
{
    (void)state;
    assert_int_equal(unlink(OURS "/allowed/second.pub"), 0);
    gets_nowhere(OURS, OURS "/clients/second", SL_KEYS, "allowed", NULL);
}

static void test_the_server_is_another(void **state)
{
    (void)state;
    gets_nowhere(OURS, OTHERS, SL_AGAIN, "server.pub", NULL);
}

static void test_a_client_without_keys(void **state)
{
    (void)state;
    gets_nowhere(OURS, NULL, SL_KEYS, "cluster.keys", "if it wants keys, set cluster.keys");
}

static void test_a_server_without_keys(void **state)
{
    (void)state;
    gets_nowhere(NULL, OURS, SL_KEYS, "does not use keys", "does it use keys?");
}

static void test_a_client_s_keys_cannot_listen(void **state)
{
    (void)state;
    struct side side;
    open_side(&side, OURS, SL_KEYS_CLIENT);
    assert_int_equal(sl_socket_bind(&side.socket, side.transport, "tcp://127.0.0.1:0", &err), SL_KEYS);
    assert_null(side.socket);
    close_side(&side);
}

static void test_a_server_needs_the_folder_allowed(void **state)
{
    (void)state;
    struct side side = {0};
    assert_int_equal(rename(OURS "/allowed", OURS "/gone"), 0);
    assert_int_equal(sl_keys_load(&side.keys, OURS, SL_KEYS_SERVER, &err), SL_OK);
    assert_int_equal(sl_transport_create_secure(&side.transport, side.keys, &err), SL_KEYS);
    assert_null(side.transport);
    assert_non_null(strstr(err.text, "allowed"));
    close_side(&side);
}

/* Allowing somebody needs no restart of the server, nor does locking him out. */
static void test_the_list_changes_while_the_server_runs(void **state)
{
    (void)state;
    struct side server, client;
    serve(&server, OURS, "tcp://127.0.0.1:0");
    assert_int_equal(sl_keys_add_client(OURS, "late", &err), SL_OK);
    join(&client, OURS "/clients/late", &server, 5);
    send_from(&client, 5);
    expect_from(&server, 5);
    assert_int_equal(unlink(OURS "/allowed/late.pub"), 0);
    close_side(&client);
    join(&client, OURS "/clients/late", &server, 6);
    assert_int_equal(outcome(&client, &server, SL_KEYS), SL_KEYS);
    close_side(&client);
    close_side(&server);
}

/* A peer that was let in and sends garbage: dropped, with its address, its key's name and its incarnation. */
static void test_garbage_names_its_sender(void **state)
{
    (void)state;
    struct side server, client;
    struct sl_message *m = NULL;
    struct sl_address peer = {0};
    serve(&server, OURS, "tcp://127.0.0.1:0");
    join(&client, OURS "/clients/second", &server, 42);
    struct sl_message *liar = sl_message_create(SL_MESSAGE_ALIVE);
    liar->incarnation = 43;
    assert_int_equal(sl_socket_send(client.socket, SL_COORDINATOR, liar, &err), SL_OK);
    sl_message_destroy(liar);
    assert_int_equal(receive(server.socket, WAIT_MS, &peer, &m), SL_BAD_DATA);
    assert_true(peer.role == SL_ROLE_WORKER && peer.id == 42);
    if (strstr(err.text, "from 127.0.0.1 with the key of second: ") == NULL)
        fail_msg("'%s' does not name the sender", err.text);
    send_from(&client, 42);
    expect_from(&server, 42);
    close_side(&client);
    close_side(&server);
}

/* What has no handshake at all ends in the server's counts, and the others go on. */
static void test_no_zeromq_at_all(void **state)
{
    (void)state;
    struct side server, client;
    serve(&server, OURS, "tcp://127.0.0.1:0");
    void *context = zmq_ctx_new(), *raw = zmq_socket(context, ZMQ_STREAM);
    int linger = 0;
    unsigned char id[256];
    zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof(linger));
    assert_int_equal(zmq_connect(raw, sl_socket_endpoint(server.socket)), 0);
    int size = zmq_recv(raw, id, sizeof(id), 0); /* the connection stands */
    assert_true(size > 0);
    (void)zmq_recv(raw, NULL, 0, 0);
    static const char http[] =
            "GET / HTTP/1.1\r\nHost: a very long line that is more than a greeting of ZeroMQ has\r\n\r\n";
    assert_int_equal(zmq_send(raw, id, (size_t)size, ZMQ_SNDMORE), size);
    assert_true(zmq_send(raw, http, sizeof(http) - 1, 0) > 0);
    join(&client, OURS, &server, 9);
    send_from(&client, 9);
    expect_from(&server, 9);
    zmq_close(raw);
    zmq_ctx_term(context);
    close_side(&client);
    close_side(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_the_right_keys, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_key_that_is_not_allowed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_the_server_is_another, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_client_without_keys, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_server_without_keys, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_client_s_keys_cannot_listen, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_server_needs_the_folder_allowed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_the_list_changes_while_the_server_runs, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_garbage_names_its_sender, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_no_zeromq_at_all, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
