/* A raw ZeroMQ stream, without headers, buffers or checks of ours: see echo.h. */
#include "common/memory.h"
#include "deploy/bench/echo.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define TIMEOUT_MS 10000

struct dp_raw {
    void *from_context, *to_context;
    void *from, *to;
    char *bytes; /* of every message, or of all one after the other */
    struct dp_load load;
    pthread_t thread;
    bool started;
};

static enum sl_status fail_zmq(struct sl_error *err, const char *what)
{
    return sl_fail(err, SL_FAILED, "cannot %s: %s", what, zmq_strerror(zmq_errno()));
}

/* Takes calls of `messages` messages and answers each with one byte; an empty message ends it. */
static void *receive(void *argument)
{
    struct dp_raw *raw = argument;
    for (uint64_t taken = 0;;) {
        zmq_msg_t message;
        (void)zmq_msg_init(&message);
        int size = zmq_msg_recv(&message, raw->to, 0);
        (void)zmq_msg_close(&message);
        if (size <= 0 && !(size < 0 && zmq_errno() == EAGAIN))
            break;
        if (size > 0 && ++taken % raw->load.messages == 0 && zmq_send(raw->to, "", 1, 0) != 1)
            break;
    }
    return NULL;
}

static void keep(void *data, void *hint)
{
    (void)data;
    (void)hint;
}

enum sl_status dp_raw_work(struct dp_item *item, struct sl_error *err)
{
    struct dp_raw *raw = item->context;
    char answer = 0;
    for (uint64_t i = 0; i < raw->load.messages; i++) {
        zmq_msg_t message;
        char *bytes = raw->load.spread ? raw->bytes + i * raw->load.size : raw->bytes;
        if (zmq_msg_init_data(&message, bytes, raw->load.size, keep, NULL) != 0)
            return fail_zmq(err, "make a message");
        if (zmq_msg_send(&message, raw->from, 0) < 0) {
            (void)zmq_msg_close(&message);
            return fail_zmq(err, "send a message");
        }
    }
    return zmq_recv(raw->from, &answer, 1, 0) == 1 ? SL_OK : fail_zmq(err, "hear of the messages' end");
}

static void *pair(void *context, uint64_t window)
{
    void *socket = zmq_socket(context, ZMQ_PAIR);
    int linger = 0, timeout = TIMEOUT_MS, queue = (int)window;
    if (socket == NULL)
        return NULL;
    int bad = zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger));
    bad |= zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
    bad |= zmq_setsockopt(socket, ZMQ_SNDTIMEO, &timeout, sizeof(timeout));
    bad |= zmq_setsockopt(socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    bad |= zmq_setsockopt(socket, ZMQ_RCVHWM, &queue, sizeof(queue));
    if (bad == 0)
        return socket;
    (void)zmq_close(socket);
    return NULL;
}

static enum sl_status connect_pair(struct dp_raw *raw, const char *endpoint, struct sl_error *err)
{
    char address[256];
    size_t size = sizeof(address);
    bool shared = strncmp(endpoint, "inproc:", 7) == 0;
    raw->to_context = zmq_ctx_new();
    raw->from_context = shared ? raw->to_context : zmq_ctx_new();
    if (raw->to_context == NULL || raw->from_context == NULL)
        return fail_zmq(err, "start ZeroMQ");
    raw->to = pair(raw->to_context, raw->load.window);
    raw->from = pair(raw->from_context, raw->load.window);
    if (raw->to == NULL || raw->from == NULL)
        return fail_zmq(err, "make a pair of sockets");
    if (zmq_bind(raw->to, endpoint) != 0 || zmq_getsockopt(raw->to, ZMQ_LAST_ENDPOINT, address, &size) != 0 ||
            zmq_connect(raw->from, address) != 0)
        return fail_zmq(err, "connect a pair of sockets");
    return SL_OK;
}

enum sl_status dp_raw_open(
        struct dp_raw **ret_raw, const char *endpoint, const struct dp_load *load, struct sl_error *err)
{
    struct dp_raw *raw = sl_alloc(1, sizeof(*raw));
    if (raw == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    raw->load = *load;
    raw->bytes = sl_alloc_aligned(load->spread ? load->messages : 1, load->size);
    enum sl_status status = raw->bytes == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory for a message")
                                               : connect_pair(raw, endpoint, err);
    if (status == SL_OK) {
        int failed = pthread_create(&raw->thread, NULL, receive, raw);
        raw->started = failed == 0;
        status = failed == 0 ? SL_OK : sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
    }
    if (status == SL_OK)
        *ret_raw = raw;
    else
        dp_raw_close(raw);
    return status;
}

void dp_raw_close(struct dp_raw *raw)
{
    if (raw == NULL)
        return;
    if (raw->started) {
        (void)zmq_send(raw->from, "", 0, 0);
        (void)pthread_join(raw->thread, NULL);
    }
    if (raw->from != NULL)
        (void)zmq_close(raw->from);
    if (raw->to != NULL)
        (void)zmq_close(raw->to);
    if (raw->from_context != NULL && raw->from_context != raw->to_context)
        (void)zmq_ctx_term(raw->from_context);
    if (raw->to_context != NULL)
        (void)zmq_ctx_term(raw->to_context);
    sl_free(raw->bytes);
    sl_free(raw);
}
