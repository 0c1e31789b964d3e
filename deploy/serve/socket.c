/* ZeroMQ: see socket.h. */
#include "deploy/serve/socket.h"

#include "common/log.h"
#include "common/memory.h"
#include "common/zap.h"
#include "deploy/serve/reply.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#define ENDPOINT_MAX 256
#define IDENTITY_MAX 256 /* bytes of a peer's routing id */
#define RECEIVE_QUEUE 4  /* requests per peer that wait in ZeroMQ; beyond that TCP slows the peer down */
#define SEND_QUEUE 64
#define LINGER_MS 2000
#define FRAMES_MAX DP_REQUEST_UPLOADS_MAX

/* Whom an answer goes to, and the answer: what a job's context points to. */
struct visit {
    struct dp_socket *socket;
    struct dp_job *job;
    struct visit *next; /* in the list of those that are done */
    size_t identity_size;
    unsigned char identity[IDENTITY_MAX];
};

struct dp_socket {
    struct dp_service *service;
    const struct sl_keys *keys;
    size_t request_max;
    char wanted[ENDPOINT_MAX], endpoint[ENDPOINT_MAX];
    pthread_t thread;
    bool started;
    sem_t ready;
    enum sl_status status; /* of the start, before ready */
    struct sl_error error;
    void *context, *handle;
    struct sl_zap *zap;
    int wake_fd;
    atomic_bool stop;
    atomic_int busy;
    pthread_mutex_t lock;
    struct visit *first, *last; /* done, to be sent */
};

/* One message as it came: identity, an empty part, header, frames. */
struct incoming {
    unsigned char identity[IDENTITY_MAX];
    size_t identity_size;
    zmq_msg_t parts[FRAMES_MAX + 1]; /* header and frames */
    int count;
    size_t size;    /* bytes of them */
    bool delimited; /* the empty part was there */
    bool too_large, too_many;
};

static void wake(struct dp_socket *socket)
{
    uint64_t one = 1;
    if (write(socket->wake_fd, &one, sizeof(one)) < 0)
        return; /* full: it is awake */
}

/* ---- answers ---- */

static void on_done(struct dp_job *job)
{
    struct visit *visit = job->context;
    struct dp_socket *socket = visit->socket;
    (void)pthread_mutex_lock(&socket->lock);
    if (socket->last == NULL)
        socket->first = visit;
    else
        socket->last->next = visit;
    socket->last = visit;
    (void)pthread_mutex_unlock(&socket->lock);
    wake(socket);
}

static struct visit *take_done(struct dp_socket *socket)
{
    (void)pthread_mutex_lock(&socket->lock);
    struct visit *visit = socket->first;
    if (visit != NULL)
        socket->first = visit->next;
    if (socket->first == NULL)
        socket->last = NULL;
    (void)pthread_mutex_unlock(&socket->lock);
    return visit;
}

/* A peer that is gone, or whose queue is full because it does not read, loses its answer. */
static void send_reply(struct dp_socket *socket, const void *identity, size_t identity_size,
        const struct dp_job *job, unsigned code)
{
    void *bytes = NULL;
    size_t size = 0;
    struct sl_error err = {0};
    int retry = code == 503 ? dp_service_retry_s(socket->service) : 0;
    if (dp_reply_pack(&bytes, &size, job, code, retry, &err) != SL_OK)
        return;
    if (zmq_send(socket->handle, identity, identity_size, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
            zmq_send(socket->handle, "", 0, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        (void)zmq_send(socket->handle, bytes, size, ZMQ_DONTWAIT);
    sl_free(bytes);
}

static void finish_visit(struct dp_socket *socket, struct visit *visit)
{
    send_reply(socket, visit->identity, visit->identity_size, visit->job, dp_reply_code(visit->job->status));
    dp_job_destroy(visit->job);
    sl_free(visit);
    (void)atomic_fetch_sub(&socket->busy, 1);
}

/* ---- requests ---- */

static void close_incoming(struct incoming *in)
{
    for (int i = 0; i < in->count; i++)
        (void)zmq_msg_close(&in->parts[i]);
    in->count = 0;
}

/* The part after identity and delimiter; keeps it if there is room. */
static void keep_part(struct dp_socket *socket, struct incoming *in, zmq_msg_t *part)
{
    in->too_many |= in->count == FRAMES_MAX + 1;
    in->too_large |= zmq_msg_size(part) > socket->request_max - in->size;
    if (in->too_many || in->too_large) {
        close_incoming(in); /* what came is of no use any more */
        return;
    }
    in->size += zmq_msg_size(part);
    (void)zmq_msg_init(&in->parts[in->count]);
    (void)zmq_msg_move(&in->parts[in->count], part);
    in->count++;
}

/* Reads one whole message. False when there is none. */
static bool receive(struct dp_socket *socket, struct incoming *in)
{
    bool more = true;
    *in = (struct incoming){0};
    for (int index = 0; more; index++) {
        zmq_msg_t part;
        (void)zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket->handle, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&part);
            return false;
        }
        more = zmq_msg_more(&part) != 0;
        if (index == 0 && zmq_msg_size(&part) <= IDENTITY_MAX) {
            in->identity_size = zmq_msg_size(&part);
            memcpy(in->identity, zmq_msg_data(&part), in->identity_size);
        } else if (index == 1) {
            in->delimited = zmq_msg_size(&part) == 0;
        } else if (index > 1) {
            keep_part(socket, in, &part);
        }
        (void)zmq_msg_close(&part);
    }
    return true;
}

static enum sl_status read_request(
        struct dp_socket *socket, struct incoming *in, struct dp_job *job, unsigned *ret_code)
{
    struct dp_frame frames[FRAMES_MAX];
    *ret_code = 0;
    if (in->too_large) {
        *ret_code = 413;
        return sl_fail(&job->error, SL_USAGE, "the request has more than %zu bytes (--max-request-mb)",
                socket->request_max);
    }
    if (in->too_many || in->count == 0)
        return sl_fail(&job->error, SL_USAGE, "expected a header and at most %d frames", FRAMES_MAX);
    for (int i = 1; i < in->count; i++)
        frames[i - 1] = (struct dp_frame){zmq_msg_data(&in->parts[i]), zmq_msg_size(&in->parts[i])};
    return dp_request_unpack(&job->request, zmq_msg_data(&in->parts[0]), zmq_msg_size(&in->parts[0]), frames,
            in->count - 1, &job->error);
}

/* Owns: the job goes to the service, or is answered and destroyed here. */
static void serve(struct dp_socket *socket, struct incoming *in)
{
    struct visit *visit = sl_alloc(1, sizeof(*visit));
    struct dp_job *job = dp_job_create(on_done, visit);
    unsigned code = 0;
    if (visit == NULL || job == NULL) {
        sl_free(visit);
        dp_job_destroy(job);
        return;
    }
    visit->socket = socket;
    visit->job = job;
    visit->identity_size = in->identity_size;
    memcpy(visit->identity, in->identity, in->identity_size);
    (void)atomic_fetch_add(&socket->busy, 1);
    job->status = read_request(socket, in, job, &code);
    if (job->status != SL_OK) {
        dp_service_count(socket->service, job->status);
    } else {
        struct sl_error err = {0};
        enum sl_status status = dp_service_submit(socket->service, job, &err);
        if (status == SL_OK)
            return;
        job->status = status;
        job->error = err;
    }
    send_reply(socket, in->identity, in->identity_size, job, code != 0 ? code : dp_reply_code(job->status));
    dp_job_destroy(job);
    sl_free(visit);
    (void)atomic_fetch_sub(&socket->busy, 1);
}

/* ---- the thread ---- */

static int set_int(void *handle, int option, int value)
{
    return zmq_setsockopt(handle, option, &value, sizeof(value));
}

static int set_options(struct dp_socket *socket)
{
    void *h = socket->handle;
    int64_t size_max = (int64_t)socket->request_max;
    int bad = zmq_setsockopt(h, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max));
    bad |= set_int(h, ZMQ_LINGER, LINGER_MS);
    bad |= set_int(h, ZMQ_RCVHWM, RECEIVE_QUEUE);
    bad |= set_int(h, ZMQ_SNDHWM, SEND_QUEUE);
    bad |= set_int(h, ZMQ_HEARTBEAT_IVL, 2000); /* a peer that vanished without FIN is noticed */
    bad |= set_int(h, ZMQ_HEARTBEAT_TIMEOUT, 10000);
    bad |= set_int(h, ZMQ_HEARTBEAT_TTL, 20000);
    bad |= set_int(h, ZMQ_HANDSHAKE_IVL, 5000);
    bad |= set_int(h, ZMQ_ROUTER_MANDATORY, 1); /* an answer to nobody fails instead of blocking a queue */
    bad |= set_int(h, ZMQ_IPV6, strchr(socket->wanted, '[') != NULL);
    if (socket->keys != NULL) {
        bad |= set_int(h, ZMQ_CURVE_SERVER, 1);
        bad |= zmq_setsockopt(h, ZMQ_ZAP_DOMAIN, SL_ZAP_DOMAIN, strlen(SL_ZAP_DOMAIN));
        bad |= zmq_setsockopt(h, ZMQ_CURVE_SECRETKEY, sl_keys_secret(socket->keys), SL_KEY_TEXT_SIZE);
    }
    return bad;
}

static enum sl_status open_socket(struct dp_socket *socket, struct sl_error *err)
{
    size_t size = sizeof(socket->endpoint), length = strlen(socket->wanted);
    if (strncmp(socket->wanted, "tcp://", 6) == 0 && length > 2 &&
            strcmp(socket->wanted + length - 2, ":0") == 0)
        socket->wanted[length - 1] = '*'; /* what ZeroMQ calls port 0 */
    socket->handle = zmq_socket(socket->context, ZMQ_ROUTER);
    if (socket->handle == NULL || set_options(socket) != 0)
        return sl_fail(err, SL_FAILED, "cannot prepare the ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    if (zmq_bind(socket->handle, socket->wanted) != 0 ||
            zmq_getsockopt(socket->handle, ZMQ_LAST_ENDPOINT, socket->endpoint, &size) != 0)
        return sl_fail(err, SL_FAILED, "cannot listen on %s: %s", socket->wanted, zmq_strerror(zmq_errno()));
    return SL_OK;
}

static void turn(struct dp_socket *socket)
{
    zmq_pollitem_t items[] = {
            {.socket = socket->handle, .events = ZMQ_POLLIN}, {.fd = socket->wake_fd, .events = ZMQ_POLLIN}};
    struct incoming in;
    uint64_t count = 0;
    if (zmq_poll(items, 2, 1000) < 0)
        return; /* a signal: the next turn polls again */
    if ((items[1].revents & ZMQ_POLLIN) != 0 && read(socket->wake_fd, &count, sizeof(count)) < 0)
        return;
    for (struct visit *visit = NULL; (visit = take_done(socket)) != NULL;)
        finish_visit(socket, visit);
    for (int i = 0; i < 64 && receive(socket, &in); i++) { /* answers are not kept waiting by a flood */
        if (in.delimited)
            serve(socket, &in);
        close_incoming(&in);
    }
}

static void *socket_loop(void *argument)
{
    struct dp_socket *socket = argument;
    socket->status = open_socket(socket, &socket->error);
    (void)sem_post(&socket->ready);
    while (socket->status == SL_OK && !atomic_load(&socket->stop))
        turn(socket);
    for (struct visit *visit = NULL; (visit = take_done(socket)) != NULL;)
        finish_visit(socket, visit);
    if (socket->handle != NULL)
        (void)zmq_close(socket->handle);
    return NULL;
}

static enum sl_status start(struct dp_socket *socket, struct sl_error *err)
{
    socket->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    socket->context = zmq_ctx_new();
    if (socket->wake_fd < 0 || socket->context == NULL)
        return sl_fail_errno(err, "cannot start ZeroMQ");
    if (socket->keys != NULL) {
        SL_AUTO_FREE char *allowed = sl_strdup_printf("%s/allowed", sl_keys_folder(socket->keys));
        enum sl_status status = allowed == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory")
                                                : sl_zap_start(&socket->zap, socket->context, allowed,
                                                          sl_keys_public(socket->keys), err);
        if (status != SL_OK)
            return status;
    }
    int failed = pthread_create(&socket->thread, NULL, socket_loop, socket);
    if (failed != 0)
        return sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
    socket->started = true;
    while (sem_wait(&socket->ready) != 0 && errno == EINTR)
        continue;
    if (socket->status != SL_OK && err != NULL)
        *err = socket->error;
    return socket->status;
}

enum sl_status dp_socket_create(struct dp_socket **ret_socket, const struct dp_socket_options *options,
        struct dp_service *service, struct sl_error *err)
{
    if (strlen(options->endpoint) >= ENDPOINT_MAX)
        return sl_fail(err, SL_USAGE, "--socket: the endpoint is longer than %d bytes", ENDPOINT_MAX - 1);
    struct dp_socket *socket = sl_alloc(1, sizeof(*socket));
    if (socket == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a socket");
    socket->service = service;
    socket->keys = options->keys;
    socket->request_max = options->request_max;
    (void)snprintf(socket->wanted, sizeof(socket->wanted), "%s", options->endpoint);
    atomic_init(&socket->stop, false);
    atomic_init(&socket->busy, 0);
    (void)sem_init(&socket->ready, 0, 0);
    (void)pthread_mutex_init(&socket->lock, NULL);
    enum sl_status status = start(socket, err);
    if (status == SL_OK)
        *ret_socket = socket;
    else
        dp_socket_destroy(socket);
    return status;
}

void dp_socket_destroy(struct dp_socket *socket)
{
    if (socket == NULL)
        return;
    atomic_store(&socket->stop, true);
    if (socket->started) {
        wake(socket);
        (void)pthread_join(socket->thread, NULL);
    }
    if (socket->context != NULL)
        while (zmq_ctx_term(socket->context) != 0 && zmq_errno() == EINTR)
            continue;
    sl_zap_join(socket->zap);
    if (socket->wake_fd >= 0)
        (void)close(socket->wake_fd);
    (void)pthread_mutex_destroy(&socket->lock);
    (void)sem_destroy(&socket->ready);
    sl_free(socket);
}

const char *dp_socket_endpoint(const struct dp_socket *socket)
{
    return socket->endpoint;
}

int dp_socket_busy(struct dp_socket *socket)
{
    return atomic_load(&socket->busy);
}
