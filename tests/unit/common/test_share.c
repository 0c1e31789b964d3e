/* Frames that stay where they are: they arrive unchanged and read-only, come back however their reader ends, and whatever a peer writes is an error at worst. */
#include "common/clock.h"
#include "common/memory.h"
#include "common/share.h"
#include "common/shared_heap.h"
#include "common/transport.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 10000
#define SIZE ((size_t)256 << 10)
#define ENDPOINT "tcp://127.0.0.1:0"
#define WORKER ((struct sl_address){SL_ROLE_WORKER, 42})

struct pair {
    struct sl_transport *server_side, *client_side;
    struct sl_socket *server, *client;
};

static void open_pair(struct pair *p, bool server_shares, bool client_shares)
{
    struct sl_error err = {0};
    *p = (struct pair){0};
    assert_int_equal(sl_transport_create(&p->server_side, &err), SL_OK);
    assert_int_equal(sl_transport_create(&p->client_side, &err), SL_OK);
    if (server_shares)
        sl_transport_share(p->server_side);
    if (client_shares)
        sl_transport_share(p->client_side);
    assert_int_equal(sl_socket_bind(&p->server, p->server_side, ENDPOINT, &err), SL_OK);
    assert_int_equal(sl_socket_connect(&p->client, p->client_side, sl_socket_endpoint(p->server),
                             SL_ROLE_WORKER, WORKER.id, SL_COORDINATOR, &err),
            SL_OK);
}

static void close_pair(struct pair *p)
{
    sl_socket_close(p->client);
    sl_socket_close(p->server);
    sl_transport_destroy(p->client_side);
    sl_transport_destroy(p->server_side);
}

static enum sl_status receive(struct sl_socket *socket, struct sl_message **ret_message, struct sl_error *err)
{
    int64_t end_us = sl_clock_monotonic_us() + (int64_t)WAIT_MS * 1000;
    while (sl_clock_monotonic_us() < end_us) {
        uint64_t ready = 0;
        struct sl_address from;
        assert_int_equal(sl_transport_wait(&socket, 1, NULL, 0, 100, &ready, err), SL_OK);
        enum sl_status status = sl_socket_receive(socket, &from, ret_message, err);
        if (status != SL_AGAIN)
            return status;
    }
    return SL_TIMEOUT;
}

static void tend(struct sl_socket *socket)
{
    struct sl_error err = {0};
    uint64_t ready = 0;
    assert_int_equal(sl_transport_wait(&socket, 1, NULL, 0, 0, &ready, &err), SL_OK);
}

static void say_alive(struct sl_socket *from, struct sl_socket *to, struct sl_address address)
{
    struct sl_error err = {0};
    struct sl_message *alive = sl_message_create(SL_MESSAGE_ALIVE), *got = NULL;
    alive->incarnation = WORKER.id;
    assert_int_equal(sl_socket_send(from, address, alive, &err), SL_OK);
    assert_int_equal(receive(to, &got, &err), SL_OK);
    sl_message_destroy(alive);
    sl_message_destroy(got);
}

/* Talks until both have found each other, or `rounds` words were said. */
static bool meet(struct pair *p, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        say_alive(p->client, p->server, SL_COORDINATOR);
        say_alive(p->server, p->client, WORKER);
        tend(p->server);
        tend(p->client);
        if (sl_socket_sharing(p->client) == 1 && sl_socket_sharing(p->server) == 1)
            return true;
    }
    return false;
}

/* Both share, and have found each other. */
static void open_sharing_pair(struct pair *p)
{
    open_pair(p, true, true);
    assert_true(meet(p, 50));
}

static struct sl_message *push_of(struct sl_buffer *buffer, size_t offset, size_t size)
{
    struct sl_message *push = sl_message_create(SL_MESSAGE_PUSH);
    push->incarnation = WORKER.id;
    push->slots = 1;
    sl_message_add_frame(push, buffer, (char *)buffer->data + offset, size);
    return push;
}

static struct sl_buffer *filled(size_t size)
{
    struct sl_buffer *buffer = sl_buffer_create(size);
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)buffer->data)[i] = (unsigned char)(i * 7 + i / 251);
    return buffer;
}

static struct sl_message *carry(struct pair *p, struct sl_message *push)
{
    struct sl_error err = {0};
    struct sl_message *got = NULL;
    assert_int_equal(sl_socket_send(p->client, SL_COORDINATOR, push, &err), SL_OK);
    assert_int_equal(receive(p->server, &got, &err), SL_OK);
    return got;
}

/* What came of a push whose one frame is the buffer; the sender's message is gone. */
static struct sl_message *lend(struct pair *p, struct sl_buffer *buffer)
{
    struct sl_message *push = push_of(buffer, 0, SIZE), *got = carry(p, push);
    sl_message_destroy(push);
    return got;
}

static void test_frames_stay_where_they_are(void **state)
{
    (void)state;
    struct pair p;
    open_sharing_pair(&p);
    struct sl_buffer *buffer = filled(2 * SIZE);
    struct sl_message *push = push_of(buffer, SIZE, SIZE), *got = NULL;
    sl_message_add_frame(push, buffer, buffer->data, 1000); /* small: its bytes are sent */
    got = carry(&p, push);
    assert_int_equal(got->frame_count, 2);
    assert_true(got->frames[0].buffer->read_only && !got->frames[1].buffer->read_only);
    assert_int_equal(got->frames[0].size, SIZE);
    assert_memory_equal(got->frames[0].data, (char *)buffer->data + SIZE, SIZE);
    assert_memory_equal(got->frames[1].data, buffer->data, 1000);
    assert_true(got->proof == 0 && got->shared == 0); /* the transport's alone */
    sl_message_destroy(push);
    tend(p.client);
    assert_int_equal(sl_socket_lent(p.client), 1);
    ((unsigned char *)buffer->data)[SIZE] ^= 1; /* seen at once: it is the same memory */
    assert_memory_equal(got->frames[0].data, (char *)buffer->data + SIZE, SIZE);
    sl_message_destroy(got);
    tend(p.client);
    assert_int_equal(sl_socket_lent(p.client), 0);
    assert_int_equal(buffer->references, 1);
    sl_buffer_release(buffer);
    close_pair(&p);
}

/* There and back, more often than there are numbers at a time. */
static void test_numbers_go_round(void **state)
{
    (void)state;
    struct pair p;
    open_sharing_pair(&p);
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_error err = {0};
    for (int i = 0; i < SL_SHARE_LOANS_MAX + 100; i++) {
        struct sl_message *params = sl_message_create(SL_MESSAGE_PARAMS), *got = NULL;
        sl_message_add_frame(params, buffer, buffer->data, SIZE);
        assert_int_equal(sl_socket_send(p.server, WORKER, params, &err), SL_OK);
        assert_int_equal(receive(p.client, &got, &err), SL_OK);
        assert_true(got->frames[0].buffer->read_only);
        sl_message_destroy(params);
        sl_message_destroy(got);
    }
    tend(p.server);
    assert_int_equal(sl_socket_lent(p.server), 0);
    sl_buffer_release(buffer);
    close_pair(&p);
}

static void test_only_one_side_shares(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        struct pair p;
        open_pair(&p, side == 0, side == 1);
        assert_false(meet(&p, 3));
        struct sl_buffer *buffer = filled(SIZE);
        struct sl_message *push = push_of(buffer, 0, SIZE), *got = carry(&p, push);
        assert_false(got->frames[0].buffer->read_only);
        assert_memory_equal(got->frames[0].data, buffer->data, SIZE);
        sl_message_destroy(push);
        sl_message_destroy(got);
        sl_buffer_release(buffer);
        close_pair(&p);
    }
}

/* What is read by its structure, and what lies in other memory, is sent as bytes. */
static void test_what_is_not_lent(void **state)
{
    (void)state;
    struct pair p;
    open_sharing_pair(&p);
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_message *push = push_of(buffer, 0, SIZE), *got = NULL;
    push->kind = SL_MESSAGE_REDUCED;
    got = carry(&p, push);
    assert_false(got->frames[0].buffer->read_only);
    sl_message_destroy(got);
    sl_message_destroy(push);
    sl_buffer_release(buffer);
    void *bytes = sl_alloc_aligned(SIZE, 1);
    buffer = sl_buffer_adopt(bytes, SIZE, sl_free, bytes);
    push = push_of(buffer, 0, SIZE);
    got = carry(&p, push);
    assert_false(got->frames[0].buffer->read_only);
    sl_message_destroy(got);
    sl_message_destroy(push);
    sl_buffer_release(buffer);
    close_pair(&p);
}

/* A socket that is closed leaves what it lent to those who still read it. */
static void test_lender_closes_first(void **state)
{
    (void)state;
    struct pair p;
    open_sharing_pair(&p);
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_message *got = lend(&p, buffer);
    sl_socket_close(SL_TAKE(p.client));
    tend(p.server);
    assert_int_equal(buffer->references, 2);
    assert_memory_equal(got->frames[0].data, buffer->data, SIZE);
    sl_message_destroy(got);
    sl_share_collect_abandoned();
    assert_int_equal(buffer->references, 1);
    sl_buffer_release(buffer);
    close_pair(&p);
}

static void test_reader_closes_first(void **state)
{
    (void)state;
    struct pair p;
    open_sharing_pair(&p);
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_message *got = lend(&p, buffer);
    sl_socket_close(SL_TAKE(p.server));
    tend(p.client);
    assert_int_equal(buffer->references, 2); /* the frame is still read */
    sl_message_destroy(got);
    tend(p.client);
    assert_int_equal(buffer->references, 1);
    assert_int_equal(sl_socket_sharing(p.client), 0);
    sl_buffer_release(buffer);
    close_pair(&p);
}

/* ---- whatever a peer writes ---- */

static enum sl_status borrow(
        struct sl_share *share, uint64_t number, uint64_t offset, uint64_t size, struct sl_frame *ret_frame)
{
    struct sl_error err = {0};
    uint64_t words[3] = {number, offset, size};
    unsigned char bytes[SL_REFERENCE_SIZE];
    memcpy(bytes, words, sizeof(bytes));
    return sl_share_borrow(share, WORKER, bytes, sizeof(bytes), ret_frame, &err);
}

/* A name that no other process has; the share never looks for the port. */
static const char *endpoint_of(const char *host)
{
    static char endpoint[64];
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://%s:test-%d", host, (int)getpid());
    return endpoint;
}

/* Two shares without ZeroMQ. */
static void open_shares(struct sl_share **server, struct sl_share **client, const char *endpoint)
{
    *server = sl_share_listen(endpoint);
    *client = sl_share_connect(endpoint, SL_ROLE_WORKER, WORKER.id);
    assert_true(*server != NULL && *client != NULL);
    sl_share_heard(*client, SL_COORDINATOR, 0); /* greets */
    sl_share_tend(*server);
    sl_share_tend(*client);
    assert_true(sl_share_proof(*client, SL_COORDINATOR) != 0 && sl_share_proof(*server, WORKER) != 0);
}

static void test_proof_comes_before_loans(void **state)
{
    (void)state;
    struct sl_share *server = NULL, *client = NULL;
    unsigned char reference[SL_REFERENCE_SIZE];
    struct sl_frame frame = {0};
    open_shares(&server, &client, endpoint_of("127.0.0.1"));
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_frame lent = {buffer, buffer->data, SIZE};
    assert_false(sl_share_lend(client, SL_COORDINATOR, &lent, reference));
    sl_share_heard(client, SL_COORDINATOR, 12345); /* somebody else's number */
    assert_false(sl_share_lend(client, SL_COORDINATOR, &lent, reference));
    sl_share_heard(client, SL_COORDINATOR, sl_share_proof(server, WORKER));
    assert_true(sl_share_lend(client, SL_COORDINATOR, &lent, reference));
    struct sl_error err = {0};
    assert_int_equal(sl_share_borrow(server, WORKER, reference, SL_REFERENCE_SIZE, &frame, &err), SL_OK);
    assert_memory_equal(frame.data, buffer->data, SIZE);
    sl_buffer_release(frame.buffer);
    sl_share_collect(client);
    assert_int_equal(sl_share_lent(client), 0);
    sl_buffer_release(buffer);
    sl_share_close(client);
    sl_share_close(server);
}

static void test_references_that_lie(void **state)
{
    (void)state;
    struct sl_share *server = NULL, *client = NULL;
    struct sl_frame frame = {0};
    struct sl_error err = {0};
    uint64_t end = sl_shared_heap_size();
    open_shares(&server, &client, endpoint_of("127.0.0.1"));
    unsigned char bytes[SL_REFERENCE_SIZE + 1] = {1};
    assert_int_equal(borrow(server, 1, 0, 8, &frame), SL_BAD_DATA); /* not offered yet */
    sl_share_heard(client, SL_COORDINATOR, sl_share_proof(server, WORKER));
    assert_int_equal(sl_share_borrow(server, WORKER, bytes, 0, &frame, &err), SL_BAD_DATA);
    assert_int_equal(sl_share_borrow(server, WORKER, bytes, sizeof(bytes), &frame, &err), SL_BAD_DATA);
    assert_int_equal(borrow(server, 0, 0, 8, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, UINT64_MAX, 0, 8, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, 1, end, 8, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, 2, end - 8, 9, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, 3, 8, end, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, 4, UINT64_MAX - 7, 16, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, 5, 8, UINT64_MAX, &frame), SL_BAD_DATA);
    assert_int_equal(borrow(server, 6, 4, 8, &frame), SL_BAD_DATA); /* not aligned */
    assert_int_equal(borrow(server, 7, end - 8, 8, &frame), SL_OK);
    assert_int_equal(*(const uint64_t *)frame.data, 0);
    sl_buffer_release(frame.buffer);
    assert_int_equal(borrow(server, 7, 0, 8, &frame), SL_BAD_DATA); /* again */
    assert_int_equal(borrow(server, 1, 0, 8, &frame), SL_BAD_DATA);
    assert_int_equal(
            borrow(server, UINT64_MAX / 2, 0, 8, &frame), SL_OK); /* far ahead: the rest is passed over */
    sl_buffer_release(frame.buffer);
    assert_int_equal(sl_share_borrow(server, SL_COORDINATOR, bytes, SL_REFERENCE_SIZE, &frame, &err),
            SL_BAD_DATA); /* a stranger */
    assert_int_equal(sl_share_borrow(NULL, WORKER, bytes, SL_REFERENCE_SIZE, &frame, &err), SL_BAD_DATA);
    sl_memory_fail_after(1);
    assert_int_equal(borrow(server, UINT64_MAX / 2, 0, 8, &frame), SL_BAD_DATA);
    sl_memory_fail_after(0);
    sl_share_close(client);
    sl_share_close(server);
}

/* Messages that are lost on the way do not keep their frames. */
static void test_lost_references_come_back(void **state)
{
    (void)state;
    struct sl_share *server = NULL, *client = NULL;
    struct sl_error err = {0};
    unsigned char reference[SL_REFERENCE_SIZE];
    open_shares(&server, &client, endpoint_of("127.0.0.1"));
    sl_share_heard(client, SL_COORDINATOR, sl_share_proof(server, WORKER));
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_frame lent = {buffer, buffer->data, SIZE}, frame = {0};
    for (int i = 0; i < 10; i++)
        assert_true(sl_share_lend(client, SL_COORDINATOR, &lent, reference));
    assert_int_equal(sl_share_borrow(server, WORKER, reference, SL_REFERENCE_SIZE, &frame, &err), SL_OK);
    sl_share_collect(client);
    assert_int_equal(sl_share_lent(client), 1);
    sl_buffer_release(frame.buffer);
    sl_share_collect(client);
    assert_int_equal(sl_share_lent(client), 0);
    for (int i = 0; i < SL_SHARE_LOANS_MAX; i++)
        assert_true(sl_share_lend(client, SL_COORDINATOR, &lent, reference));
    assert_false(sl_share_lend(client, SL_COORDINATOR, &lent, reference)); /* enough: the bytes are sent */
    sl_share_close(client);
    assert_true(buffer->references > 1); /* somebody may read it */
    sl_share_close(server);
    sl_share_collect_abandoned();
    assert_int_equal(buffer->references, 1);
    sl_buffer_release(buffer);
}

/* What connects to the name and says something else, and segments that could shrink. */
static void test_greetings_that_lie(void **state)
{
    (void)state;
    struct sl_share *server = sl_share_listen(endpoint_of("127.0.0.1"));
    assert_non_null(server);
    assert_null(sl_share_listen(endpoint_of("10.0.0.1"))); /* the name is taken */
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int used = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "shelflife/tcp:test-%d", (int)getpid());
    socklen_t name_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)used);
    static const char *const words[] = {
            "", "hello", "a text that is as long as a greeting and longer than that"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&name, name_size), 0);
        if (words[i][0] != 0)
            assert_true(send(fd, words[i], strlen(words[i]), MSG_NOSIGNAL) > 0);
        sl_share_tend(server);
        (void)close(fd);
        sl_share_tend(server);
        assert_int_equal(sl_share_peers(server), 0);
    }
    struct sl_share *client = sl_share_connect(endpoint_of("127.0.0.1"), SL_ROLE_WORKER, WORKER.id);
    struct sl_share *double_ = sl_share_connect(endpoint_of("127.0.0.1"), SL_ROLE_WORKER, WORKER.id);
    sl_share_heard(client, SL_COORDINATOR, 0);
    sl_share_tend(server);
    sl_share_heard(double_, SL_COORDINATOR, 0); /* the same incarnation: hung up on */
    sl_share_tend(server);
    sl_share_tend(client);
    sl_share_tend(double_);
    assert_true(sl_share_proof(client, SL_COORDINATOR) != 0);
    assert_int_equal(sl_share_proof(double_, SL_COORDINATOR), 0);
    sl_share_close(double_);
    sl_share_close(client);
    sl_share_close(server);
    assert_null(sl_share_listen("inproc://here"));
}

/* ---- kill -9 ---- */

/* Another process takes a frame and never gives it back. */
static void test_a_killed_reader_gives_all_back(void **state)
{
    (void)state;
    struct pair p = {0};
    struct sl_error err = {0};
    int told[2];
    char byte = 0;
    assert_int_equal(pipe(told), 0);
    assert_int_equal(sl_transport_create(&p.server_side, &err), SL_OK);
    /* forked before there is anything of ZeroMQ to inherit: the child makes its own */
    char endpoint[64] = {0};
    int port[2];
    assert_int_equal(pipe(port), 0);
    pid_t child = fork();
    if (child == 0) {
        struct sl_transport *transport = NULL;
        struct sl_socket *client = NULL;
        struct sl_message *got = NULL, *alive = sl_message_create(SL_MESSAGE_ALIVE);
        struct sl_address from;
        uint64_t ready = 0;
        alive->incarnation = WORKER.id;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody */
        if (read(port[0], endpoint, sizeof(endpoint)) <= 0 || sl_transport_create(&transport, &err) != SL_OK)
            _exit(1);
        sl_transport_share(transport);
        if (sl_socket_connect(
                    &client, transport, endpoint, SL_ROLE_WORKER, WORKER.id, SL_COORDINATOR, &err) != SL_OK)
            _exit(1);
        for (;;) {
            if (sl_socket_send(client, SL_COORDINATOR, alive, &err) != SL_OK ||
                    sl_transport_wait(&client, 1, NULL, 0, 20, &ready, &err) != SL_OK)
                _exit(1);
            if (sl_socket_receive(client, &from, &got, &err) != SL_OK)
                continue;
            if (got->kind == SL_MESSAGE_PARAMS && got->frames[0].buffer->read_only &&
                    write(told[1], "x", 1) == 1)
                for (;;)
                    (void)pause(); /* holds the frame */
            sl_message_destroy(got);
        }
    }
    sl_transport_share(p.server_side);
    assert_int_equal(sl_socket_bind(&p.server, p.server_side, ENDPOINT, &err), SL_OK);
    const char *bound = sl_socket_endpoint(p.server);
    assert_int_equal(write(port[1], bound, strlen(bound) + 1), (ssize_t)strlen(bound) + 1);
    struct sl_buffer *buffer = filled(SIZE);
    struct sl_message *params = sl_message_create(SL_MESSAGE_PARAMS), *got = NULL;
    sl_message_add_frame(params, buffer, buffer->data, SIZE);
    bool held = false;
    int64_t end_us = sl_clock_monotonic_us() + (int64_t)WAIT_MS * 1000;
    while (!held && sl_clock_monotonic_us() < end_us) {
        struct pollfd poll_fd = {.fd = told[0], .events = POLLIN};
        struct sl_address from;
        uint64_t ready = 0;
        assert_int_equal(sl_transport_wait(&p.server, 1, told, 1, 1000, &ready, &err), SL_OK);
        while (sl_socket_receive(p.server, &from, &got, &err) == SL_OK) {
            sl_message_destroy(got);
            assert_int_equal(sl_socket_send(p.server, WORKER, params, &err), SL_OK);
        }
        held = poll(&poll_fd, 1, 0) == 1 && read(told[0], &byte, 1) == 1;
    }
    assert_true(held);
    sl_message_destroy(params);
    tend(p.server);
    assert_true(sl_socket_lent(p.server) > 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (int i = 0; i < 100 && sl_socket_lent(p.server) > 0; i++) {
        uint64_t ready = 0;
        assert_int_equal(sl_transport_wait(&p.server, 1, NULL, 0, 100, &ready, &err), SL_OK);
    }
    assert_int_equal(sl_socket_lent(p.server), 0);
    end_us = sl_clock_monotonic_us() + (int64_t)WAIT_MS * 1000;
    while (atomic_load(&buffer->references) > 1 && sl_clock_monotonic_us() < end_us)
        tend(p.server); /* frames that were sent as bytes before they met are ZeroMQ's for a moment */
    sl_buffer_release(buffer);
    sl_socket_close(p.server);
    sl_transport_destroy(p.server_side);
    for (int i = 0; i < 2; i++) {
        (void)close(told[i]);
        (void)close(port[i]);
    }
}

static int open_heap(void **state)
{
    (void)state;
    struct sl_error err = {0};
    return sl_shared_heap_open((uint64_t)64 << 20, &err) == SL_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_killed_reader_gives_all_back),
            cmocka_unit_test(test_frames_stay_where_they_are), cmocka_unit_test(test_numbers_go_round),
            cmocka_unit_test(test_only_one_side_shares), cmocka_unit_test(test_what_is_not_lent),
            cmocka_unit_test(test_lender_closes_first), cmocka_unit_test(test_reader_closes_first),
            cmocka_unit_test(test_proof_comes_before_loans), cmocka_unit_test(test_references_that_lie),
            cmocka_unit_test(test_lost_references_come_back), cmocka_unit_test(test_greetings_that_lie)};
    return cmocka_run_group_tests(tests, open_heap, NULL);
}
