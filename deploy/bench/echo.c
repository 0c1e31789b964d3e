/* Blocks there and back over the house's sockets: see echo.h. */
#include "deploy/bench/echo.h"

#include "common/buffer.h"
#include "common/memory.h"
#include "common/transport.h"

#include <pthread.h>
#include <string.h>

#define WAIT_MS 10000
#define INCARNATION 7

struct dp_echo {
    struct sl_transport *server_side, *worker_side; /* the same one for inproc */
    struct sl_socket *router, *dealer;
    struct sl_buffer *gradients, *params; /* what is sent, again and again */
    pthread_t thread;
    bool started;
    struct dp_load load;
    uint64_t sent;
};

/* ---- the server's thread ---- */

static enum sl_status answer(
        struct dp_echo *echo, struct sl_address peer, const struct sl_message *push, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *message = sl_message_create(SL_MESSAGE_PARAMS);
    if (message == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an answer");
    message->block = push->block;
    sl_message_add_frame(message, echo->params, echo->params->data, echo->load.size);
    return sl_socket_send(echo->router, peer, message, err);
}

/* Ends with BYE, or when nothing works any more: then the worker's wait ends at its deadline. */
static void *serve(void *argument)
{
    struct dp_echo *echo = argument;
    struct sl_error err = {0};
    uint64_t ready = 0;
    for (;;) {
        SL_AUTO(sl_message_destroy_auto) struct sl_message *message = NULL;
        struct sl_address peer = {0};
        enum sl_status status = sl_socket_receive(echo->router, &peer, &message, &err);
        if (status == SL_AGAIN)
            status = sl_transport_wait(&echo->router, 1, NULL, 0, WAIT_MS, &ready, &err);
        else if (status == SL_OK && message->kind == SL_MESSAGE_BYE)
            break;
        else if (status == SL_OK)
            status = answer(echo, peer, message, &err);
        if (status != SL_OK)
            break;
    }
    return NULL;
}

/* ---- the worker ---- */

static enum sl_status send_block(struct dp_echo *echo, struct sl_error *err)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *message = sl_message_create(SL_MESSAGE_PUSH);
    if (message == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a push");
    message->incarnation = INCARNATION;
    message->sequence = ++echo->sent;
    message->slots = 1;
    sl_message_add_frame(message, echo->gradients, echo->gradients->data, echo->load.size);
    return sl_socket_send(echo->dealer, SL_COORDINATOR, message, err);
}

static enum sl_status take_block(struct dp_echo *echo, struct sl_error *err)
{
    for (;;) {
        SL_AUTO(sl_message_destroy_auto) struct sl_message *message = NULL;
        struct sl_address peer = {0};
        uint64_t ready = 0;
        enum sl_status status = sl_socket_receive(echo->dealer, &peer, &message, err);
        if (status == SL_OK &&
                (message->kind != SL_MESSAGE_PARAMS || message->frames[0].size != echo->load.size))
            return sl_fail(err, SL_FAILED, "a block came back with another size");
        if (status != SL_AGAIN)
            return status;
        status = sl_transport_wait(&echo->dealer, 1, NULL, 0, WAIT_MS, &ready, err);
        if (status == SL_OK && ready == 0)
            status = sl_fail(err, SL_TIMEOUT, "no block came back within %d s", WAIT_MS / 1000);
        if (status != SL_OK)
            return status;
    }
}

static enum sl_status exchange(struct dp_echo *echo, uint64_t blocks, struct sl_error *err)
{
    uint64_t window = echo->load.window, sent = 0;
    for (uint64_t taken = 0; taken < blocks; taken++) {
        enum sl_status status = SL_OK;
        for (; sent < blocks && sent < taken + window && status == SL_OK; sent++)
            status = send_block(echo, err);
        if (status == SL_OK)
            status = take_block(echo, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

enum sl_status dp_echo_work(struct dp_item *item, struct sl_error *err)
{
    struct dp_echo *echo = item->context;
    return exchange(echo, echo->load.messages, err);
}

/* ---- open and close ---- */

static enum sl_status connect_both(struct dp_echo *echo, const char *endpoint, struct sl_error *err)
{
    enum sl_status status = sl_transport_create(&echo->server_side, err);
    if (status == SL_OK && strncmp(endpoint, "inproc:", 7) == 0)
        echo->worker_side = echo->server_side;
    else if (status == SL_OK)
        status = sl_transport_create(&echo->worker_side, err);
    if (status == SL_OK)
        status = sl_socket_bind(&echo->router, echo->server_side, endpoint, err);
    if (status == SL_OK)
        status = sl_socket_connect(&echo->dealer, echo->worker_side, sl_socket_endpoint(echo->router),
                SL_ROLE_WORKER, INCARNATION, SL_COORDINATOR, err);
    return status;
}

enum sl_status dp_echo_open(
        struct dp_echo **ret_echo, const char *endpoint, const struct dp_load *load, struct sl_error *err)
{
    struct dp_echo *echo = sl_alloc(1, sizeof(*echo));
    if (echo == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    echo->load = *load;
    echo->gradients = sl_buffer_create(load->size);
    echo->params = sl_buffer_create(load->size);
    enum sl_status status =
            echo->gradients == NULL || echo->params == NULL
                    ? sl_fail(err, SL_NO_MEMORY, "out of memory for blocks of %zu bytes", load->size)
                    : connect_both(echo, endpoint, err);
    if (status == SL_OK) {
        int failed = pthread_create(&echo->thread, NULL, serve, echo);
        echo->started = failed == 0;
        status = failed == 0 ? exchange(echo, 1, err)
                             : sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
    }
    if (status == SL_OK)
        *ret_echo = echo;
    else
        dp_echo_close(echo);
    return status;
}

static void say_goodbye(struct dp_echo *echo)
{
    SL_AUTO(sl_message_destroy_auto) struct sl_message *bye = sl_message_create(SL_MESSAGE_BYE);
    struct sl_error ignored = {0};
    if (bye == NULL)
        return;
    bye->incarnation = INCARNATION;
    (void)!sl_socket_send(echo->dealer, SL_COORDINATOR, bye, &ignored);
}

void dp_echo_close(struct dp_echo *echo)
{
    if (echo == NULL)
        return;
    if (echo->started) {
        say_goodbye(echo);
        (void)pthread_join(echo->thread, NULL);
    }
    sl_socket_close(echo->dealer);
    sl_socket_close(echo->router);
    if (echo->worker_side != echo->server_side)
        sl_transport_destroy(echo->worker_side);
    sl_transport_destroy(echo->server_side);
    sl_buffer_release(echo->gradients);
    sl_buffer_release(echo->params);
    sl_free(echo);
}
