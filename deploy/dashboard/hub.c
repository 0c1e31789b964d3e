/* Server-sent events: see hub.h. */
#include "deploy/dashboard/hub.h"

#include "common/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* A message, shared by the queues that hold it; the count is under the hub's lock. */
struct parcel {
    int holders;
    size_t size;
    char bytes[];
};

struct dp_stream {
    struct dp_hub *hub;
    char *run;
    const struct dp_stream_calls *calls;
    void *context;
    struct parcel *queue[DP_STREAM_QUEUE_MAX];
    int first, count;
    size_t bytes, sent; /* queued in all; of the first parcel */
    bool asleep, ended;
};

struct dp_hub {
    pthread_mutex_t lock;
    bool stopped;
    struct dp_stream *streams[DP_STREAMS_MAX];
};

enum sl_status dp_hub_create(struct dp_hub **ret_hub, struct sl_error *err)
{
    struct dp_hub *hub = sl_alloc(1, sizeof(*hub));
    if (hub == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the streams");
    (void)pthread_mutex_init(&hub->lock, NULL);
    *ret_hub = hub;
    return SL_OK;
}

void dp_hub_destroy(struct dp_hub *hub)
{
    if (hub == NULL)
        return;
    for (int i = 0; i < DP_STREAMS_MAX; i++)
        assert(hub->streams[i] == NULL);
    (void)pthread_mutex_destroy(&hub->lock);
    sl_free(hub);
}

static void drop(struct parcel *parcel)
{
    if (--parcel->holders == 0)
        sl_free(parcel);
}

static void rouse(struct dp_stream *stream)
{
    if (!stream->asleep)
        return;
    stream->asleep = false;
    stream->calls->wake(stream->context);
}

static void end(struct dp_stream *stream)
{
    stream->ended = true;
    rouse(stream);
}

static void enqueue(struct dp_stream *stream, struct parcel *parcel)
{
    if (stream->ended)
        return;
    if (stream->count == DP_STREAM_QUEUE_MAX || stream->bytes + parcel->size > DP_STREAM_BYTES_MAX) {
        end(stream); /* its reader is too slow: it connects again and gets the present */
        return;
    }
    parcel->holders++;
    stream->queue[(stream->first + stream->count++) % DP_STREAM_QUEUE_MAX] = parcel;
    stream->bytes += parcel->size;
    rouse(stream);
}

void dp_hub_post(struct dp_hub *hub, const char *run, const char *event, const char *text, size_t size)
{
    size_t room = strlen(event) + size + 32;
    struct parcel *parcel = sl_alloc(1, sizeof(*parcel) + room);
    if (parcel == NULL)
        return; /* the next message says it all again */
    int head = snprintf(parcel->bytes, room, "event: %s\ndata: ", event);
    memcpy(parcel->bytes + head, text, size);
    memcpy(parcel->bytes + head + size, "\n\n", 2);
    parcel->size = (size_t)head + size + 2;
    parcel->holders = 1;
    (void)pthread_mutex_lock(&hub->lock);
    for (int i = 0; i < DP_STREAMS_MAX; i++) {
        struct dp_stream *stream = hub->streams[i];
        if (stream != NULL && (run == NULL || strcmp(run, stream->run) == 0))
            enqueue(stream, parcel);
    }
    drop(parcel);
    (void)pthread_mutex_unlock(&hub->lock);
}

void dp_hub_stop(struct dp_hub *hub)
{
    (void)pthread_mutex_lock(&hub->lock);
    hub->stopped = true;
    for (int i = 0; i < DP_STREAMS_MAX; i++)
        if (hub->streams[i] != NULL)
            end(hub->streams[i]);
    (void)pthread_mutex_unlock(&hub->lock);
}

bool dp_hub_watched(struct dp_hub *hub, const char *run)
{
    bool watched = false;
    (void)pthread_mutex_lock(&hub->lock);
    for (int i = 0; i < DP_STREAMS_MAX && !watched; i++)
        watched = hub->streams[i] != NULL && strcmp(run, hub->streams[i]->run) == 0;
    (void)pthread_mutex_unlock(&hub->lock);
    return watched;
}

enum sl_status dp_hub_open(struct dp_stream **ret_stream, struct dp_hub *hub, const char *run,
        const struct dp_stream_calls *calls, void *context, struct sl_error *err)
{
    struct dp_stream *stream = sl_alloc(1, sizeof(*stream));
    char *name = sl_strdup(run);
    enum sl_status status = SL_OK;
    if (stream == NULL || name == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory for a stream");
    (void)pthread_mutex_lock(&hub->lock);
    int slot = 0;
    while (slot < DP_STREAMS_MAX && hub->streams[slot] != NULL)
        slot++;
    if (status == SL_OK && (slot == DP_STREAMS_MAX || hub->stopped))
        status = sl_fail(err, SL_AGAIN, "%d pages are open already: close one and reload", DP_STREAMS_MAX);
    if (status == SL_OK) {
        *stream = (struct dp_stream){.hub = hub, .run = name, .calls = calls, .context = context};
        hub->streams[slot] = stream;
        *ret_stream = stream;
    }
    (void)pthread_mutex_unlock(&hub->lock);
    if (status != SL_OK) {
        sl_free(stream);
        sl_free(name);
    }
    return status;
}

void dp_stream_close(struct dp_stream *stream)
{
    if (stream == NULL)
        return;
    struct dp_hub *hub = stream->hub;
    (void)pthread_mutex_lock(&hub->lock);
    for (int i = 0; i < DP_STREAMS_MAX; i++)
        if (hub->streams[i] == stream)
            hub->streams[i] = NULL;
    for (; stream->count > 0; stream->count--, stream->first++)
        drop(stream->queue[stream->first % DP_STREAM_QUEUE_MAX]);
    (void)pthread_mutex_unlock(&hub->lock);
    sl_free(stream->run);
    sl_free(stream);
}

static size_t copy_out(struct dp_stream *stream, char *bytes, size_t size)
{
    size_t copied = 0;
    while (stream->count > 0 && copied < size) {
        struct parcel *parcel = stream->queue[stream->first];
        size_t left = parcel->size - stream->sent;
        size_t now = left < size - copied ? left : size - copied;
        memcpy(bytes + copied, parcel->bytes + stream->sent, now);
        copied += now;
        stream->sent += now;
        if (stream->sent < parcel->size)
            break;
        stream->sent = 0;
        stream->bytes -= parcel->size;
        stream->first = (stream->first + 1) % DP_STREAM_QUEUE_MAX;
        stream->count--;
        drop(parcel);
    }
    return copied;
}

long dp_stream_read(struct dp_stream *stream, char *bytes, size_t size)
{
    (void)pthread_mutex_lock(&stream->hub->lock);
    long result = -1;
    if (!stream->ended) {
        result = (long)copy_out(stream, bytes, size);
        if (result == 0) {
            stream->asleep = true;
            stream->calls->sleep(stream->context);
        }
    }
    (void)pthread_mutex_unlock(&stream->hub->lock);
    return result;
}
