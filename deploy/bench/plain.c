/* A stream through plain TCP sockets: see plain.h. */
#include "deploy/bench/plain.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_S 10

struct dp_plain {
    struct dp_load load;
    int from, to; /* -1 = none */
    char *sent, *received;
    pthread_t thread;
    bool started;
};

static enum sl_status fail(struct sl_error *err, const char *what)
{
    return sl_fail(err, SL_FAILED, "cannot %s: %s", what, strerror(errno));
}

/* Until the other side closes. */
static void *receive(void *argument)
{
    struct dp_plain *plain = argument;
    size_t left = plain->load.size * plain->load.messages;
    for (;;) {
        size_t wanted = left < plain->load.size ? left : plain->load.size;
        ssize_t size = recv(plain->to, plain->received, wanted, 0);
        if (size <= 0 && !(size < 0 && errno == EINTR))
            break;
        left -= size > 0 ? (size_t)size : 0;
        if (left > 0)
            continue;
        left = plain->load.size * plain->load.messages;
        if (send(plain->to, "", 1, MSG_NOSIGNAL) != 1)
            break;
    }
    return NULL;
}

enum sl_status dp_plain_work(struct dp_item *item, struct sl_error *err)
{
    struct dp_plain *plain = item->context;
    char answer = 0;
    for (uint64_t i = 0; i < plain->load.messages; i++) {
        const char *bytes = plain->load.spread ? plain->sent + i * plain->load.size : plain->sent;
        for (size_t done = 0; done < plain->load.size;) {
            ssize_t size = send(plain->from, bytes + done, plain->load.size - done, MSG_NOSIGNAL);
            if (size < 0 && errno != EINTR)
                return fail(err, "send through a plain socket");
            done += size > 0 ? (size_t)size : 0;
        }
    }
    return recv(plain->from, &answer, 1, 0) == 1 ? SL_OK : fail(err, "hear of the end of a plain stream");
}

static enum sl_status connect_both(struct dp_plain *plain, struct sl_error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    socklen_t size = sizeof(address);
    int one = 1;
    SL_AUTO_CLOSE int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
            listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        return fail(err, "listen on a plain socket");
    plain->from = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (plain->from < 0 || connect(plain->from, (struct sockaddr *)&address, sizeof(address)) != 0)
        return fail(err, "connect a plain socket");
    plain->to = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (plain->to < 0 || setsockopt(plain->from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
            setsockopt(plain->from, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) != 0 ||
            setsockopt(plain->from, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) != 0)
        return fail(err, "accept a plain socket");
    return SL_OK;
}

enum sl_status dp_plain_open(struct dp_plain **ret_plain, const struct dp_load *load, struct sl_error *err)
{
    struct dp_plain *plain = sl_alloc(1, sizeof(*plain));
    if (plain == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    plain->load = *load;
    plain->from = plain->to = -1;
    plain->sent = sl_alloc_aligned(load->spread ? load->messages : 1, load->size);
    plain->received = sl_alloc_aligned(load->size, 1);
    enum sl_status status = plain->sent == NULL || plain->received == NULL
                                    ? sl_fail(err, SL_NO_MEMORY, "out of memory for a message")
                                    : connect_both(plain, err);
    if (status == SL_OK) {
        int failed = pthread_create(&plain->thread, NULL, receive, plain);
        plain->started = failed == 0;
        status = failed == 0 ? SL_OK : sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
    }
    if (status == SL_OK)
        *ret_plain = plain;
    else
        dp_plain_close(plain);
    return status;
}

void dp_plain_close(struct dp_plain *plain)
{
    if (plain == NULL)
        return;
    if (plain->from >= 0)
        (void)close(plain->from); /* ends the thread */
    if (plain->started)
        (void)pthread_join(plain->thread, NULL);
    if (plain->to >= 0)
        (void)close(plain->to);
    sl_free(plain->sent);
    sl_free(plain->received);
    sl_free(plain);
}
