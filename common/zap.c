/* Who may come in: see zap.h. */
#include "common/zap.h"

#include "common/allow_list.h"
#include "common/log.h"
#include "common/memory.h"

#include <assert.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define ENDPOINT "inproc://zeromq.zap.01"
#define PART_MAX 256 /* bytes that are kept of a part */

/* A request's parts in order. */
enum { VERSION, REQUEST_ID, DOMAIN, ADDRESS, ROUTING_ID, MECHANISM, CREDENTIALS, PART_COUNT };

struct part {
    char bytes[PART_MAX]; /* 0-terminated when it is text */
    size_t size;
};

struct request {
    struct part parts[PART_COUNT];
    int count; /* may be more than PART_COUNT: then the others were dropped */
    bool cut;  /* a part was longer than PART_MAX - 1 */
};

struct sl_zap {
    pthread_t thread;
    void *context;
    struct sl_allow_list *allowed;
    uint8_t own_key[SL_KEY_SIZE];
    atomic_uint_fast64_t refused;
    sem_t ready;
    enum sl_status status; /* of the start, before ready */
    struct sl_error error;
};

static bool part_is(const struct part *part, const char *text)
{
    return part->size == strlen(text) && memcmp(part->bytes, text, part->size) == 0;
}

/* Returns false when the context ends. */
static bool receive(void *socket, struct request *request)
{
    bool more = true;
    *request = (struct request){0};
    while (more) {
        zmq_msg_t message;
        (void)zmq_msg_init(&message);
        while (zmq_msg_recv(&message, socket, 0) < 0)
            if (zmq_errno() != EINTR) {
                (void)zmq_msg_close(&message);
                return false;
            }
        more = zmq_msg_more(&message);
        size_t size = zmq_msg_size(&message);
        if (request->count < PART_COUNT) {
            struct part *part = &request->parts[request->count];
            part->size = size < PART_MAX ? size : PART_MAX - 1;
            request->cut |= size != part->size;
            memcpy(part->bytes, zmq_msg_data(&message), part->size);
        }
        request->count++;
        (void)zmq_msg_close(&message);
    }
    return true;
}

/* The client's name, or NULL and why not. */
static const char *decide(struct sl_zap *zap, const struct request *request, const char **ret_why)
{
    const struct part *parts = request->parts;
    *ret_why = "the request makes no sense";
    if (request->count != PART_COUNT || request->cut || !part_is(&parts[VERSION], "1.0") ||
            !part_is(&parts[DOMAIN], SL_ZAP_DOMAIN))
        return NULL;
    *ret_why = "not encrypted with CURVE";
    if (!part_is(&parts[MECHANISM], "CURVE") || parts[CREDENTIALS].size != SL_KEY_SIZE)
        return NULL;
    *ret_why = "the key is not allowed";
    if (memcmp(parts[CREDENTIALS].bytes, zap->own_key, SL_KEY_SIZE) == 0)
        return "server";
    return sl_allow_list_find(zap->allowed, (const uint8_t *)parts[CREDENTIALS].bytes);
}

static void log_refusal(const struct request *request, const char *why)
{
    char key[SL_KEY_TEXT_SIZE] = "", quoted[2][PART_MAX * 2];
    if (request->parts[CREDENTIALS].size == SL_KEY_SIZE)
        (void)zmq_z85_encode(key, (const uint8_t *)request->parts[CREDENTIALS].bytes, SL_KEY_SIZE);
    sl_log(SL_LOG_WARN, "transport", "key-refused", "address=%s key=%s reason=\"%s\"",
            sl_log_quote(quoted[0], sizeof(quoted[0]), request->parts[ADDRESS].bytes),
            sl_log_quote(quoted[1], sizeof(quoted[1]), key), why);
}

static bool reply(void *socket, const struct part *request_id, const char *name)
{
    const char *code = name != NULL ? "200" : "400", *text = name != NULL ? "OK" : "not allowed",
               *user = name != NULL ? name : "";
    const struct {
        const void *bytes;
        size_t size;
    } parts[] = {{"1.0", 3}, {request_id->bytes, request_id->size}, {code, 3}, {text, strlen(text)},
            {user, strlen(user)}, {"", 0}};
    const size_t count = sizeof(parts) / sizeof(parts[0]);
    for (size_t i = 0; i < count; i++)
        while (zmq_send(socket, parts[i].bytes, parts[i].size, i + 1 < count ? ZMQ_SNDMORE : 0) < 0)
            if (zmq_errno() != EINTR)
                return false;
    return true;
}

static void *open_door(struct sl_zap *zap)
{
    int linger = 0;
    void *socket = zmq_socket(zap->context, ZMQ_REP);
    if (socket == NULL || zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
            zmq_bind(socket, ENDPOINT) != 0) {
        zap->status = sl_fail(&zap->error, SL_FAILED, "cannot check keys: %s", zmq_strerror(zmq_errno()));
        if (socket != NULL)
            (void)zmq_close(socket);
        return NULL;
    }
    return socket;
}

static void *run(void *argument)
{
    struct sl_zap *zap = argument;
    struct request request;
    void *socket = open_door(zap);
    (void)sem_post(&zap->ready);
    while (socket != NULL && receive(socket, &request)) {
        const char *why = NULL, *name = decide(zap, &request, &why);
        if (name == NULL) {
            atomic_fetch_add(&zap->refused, 1);
            log_refusal(&request, why);
        }
        if (!reply(socket, &request.parts[REQUEST_ID], name))
            break;
    }
    assert(socket == NULL || zmq_errno() == ETERM); /* without this thread ZeroMQ would let everybody in */
    if (socket != NULL)
        (void)zmq_close(socket);
    return NULL;
}

enum sl_status sl_zap_start(struct sl_zap **ret_zap, void *context, const char *allowed_dir,
        const char *own_key, struct sl_error *err)
{
    struct sl_zap *zap = sl_alloc(1, sizeof(*zap));
    if (zap == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the transport");
    zap->context = context;
    if (zmq_z85_decode(zap->own_key, own_key) == NULL) {
        sl_free(zap);
        return sl_fail(err, SL_KEYS, "the server's own key is not in Z85");
    }
    enum sl_status status = sl_allow_list_open(&zap->allowed, allowed_dir, err);
    if (status != SL_OK) {
        sl_free(zap);
        return status;
    }
    if (sl_allow_list_count(zap->allowed) == 0) {
        char quoted[SL_ERROR_TEXT_MAX];
        sl_log(SL_LOG_WARN, "transport", "nobody-allowed", "folder=%s",
                sl_log_quote(quoted, sizeof(quoted), allowed_dir));
    }
    (void)sem_init(&zap->ready, 0, 0);
    if (pthread_create(&zap->thread, NULL, run, zap) != 0) {
        (void)sem_destroy(&zap->ready);
        sl_allow_list_close(zap->allowed);
        sl_free(zap);
        return sl_fail(err, SL_FAILED, "cannot start the thread that checks keys");
    }
    while (sem_wait(&zap->ready) != 0)
        continue; /* a signal; the thread posts whether it succeeds or not */
    if (zap->status != SL_OK) {
        status = sl_fail(err, zap->status, "%s", zap->error.text);
        sl_zap_join(zap);
        return status;
    }
    *ret_zap = zap;
    return SL_OK;
}

void sl_zap_join(struct sl_zap *zap)
{
    if (zap == NULL)
        return;
    (void)pthread_join(zap->thread, NULL);
    (void)sem_destroy(&zap->ready);
    sl_allow_list_close(zap->allowed);
    sl_free(zap);
}

uint64_t sl_zap_refused(const struct sl_zap *zap)
{
    return atomic_load(&zap->refused);
}
