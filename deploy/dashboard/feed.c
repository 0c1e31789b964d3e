/* The dashboard's own thread: see feed.h. */
#include "deploy/dashboard/feed.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/proto_json.h"
#include "common/proto_unpack.h"
#include "common/status_client.h"
#include "deploy/dashboard/history.h"
#include "deploy/dashboard/places.h"
#include "deploy/dashboard/prometheus.h"
#include "deploy/dashboard/tail.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TICK_MS 250
#define SCAN_US 3000000
#define FOLLOW_US 500000
#define TAKE_MAX 512  /* messages of one run at a time */
#define STEPS_MAX 256 /* of one "steps" event; a page that misses some asks for the history */
#define STATUS_MEMORY_MAX ((size_t)64 << 20) /* bytes of one status in memory */
#define POST_MAX ((size_t)2 << 20)           /* bytes of one event */

struct run {
    struct dp_place place;
    struct dp_history *history;
    struct dp_tail tail;
    bool tail_more;                  /* the file has lines that were not read yet */
    struct sl_status_client *client; /* NULL: nobody to listen to */
    enum sl_run_life life;           /* while there is a client */
    char life_text[SL_STATUS_REASON_MAX];
    bool refused; /* we are not let in: not asked again before the run starts anew */
    double refused_start;
    Shelflife__Status__Status *status; /* the last one, NULL = none */
    double heard;                      /* Unix seconds, 0 = never */
    bool foreign;                      /* another run answers at its endpoint */
    int pending;                       /* steps in `steps` */
    struct sl_json steps;
};

struct dp_feed {
    char *source;
    bool single; /* an endpoint */
    char *keys;  /* folder, NULL = none */
    struct dp_hub *hub;
    pthread_t thread;
    bool started;
    int wake; /* eventfd: end */
    pthread_mutex_t lock;
    struct run *runs[DP_PLACES_MAX]; /* the newest first; below the lock, changed by the thread alone */
    int run_count;
    struct dp_place places[DP_PLACES_MAX]; /* of the last scan */
    struct sl_json post;                   /* scratch of the thread */
};

static void destroy_run(struct run *run)
{
    if (run == NULL)
        return;
    dp_history_destroy(run->history);
    dp_tail_fini(&run->tail);
    sl_status_client_close(run->client);
    if (run->status != NULL)
        sl_proto_free(&run->status->base);
    sl_json_fini(&run->steps);
    sl_free(run);
}

/* ---- states ---- */

/* What stands between us and the run, as one word for the page, and a sentence: files (it never had a socket), foreign, refused, or the client's judgement. */
static const char *link_name(const struct run *run)
{
    static const char *const lives[] = {[SL_LIFE_CONNECTING] = "connecting",
            [SL_LIFE_LIVE] = "live",
            [SL_LIFE_QUIET] = "quiet",
            [SL_LIFE_FINISHED] = "finished",
            [SL_LIFE_GONE] = "gone"};
    if (run->refused)
        return "refused";
    if (run->foreign)
        return "foreign";
    if (run->client != NULL)
        return lives[run->life];
    if (run->place.where.ended)
        return "finished";
    return run->place.where.endpoint[0] != 0 ? "gone" : "files";
}

static void put_link(struct sl_json *json, const struct run *run)
{
    const struct sl_status_place *where = &run->place.where;
    sl_json_string(json, "link", link_name(run));
    if (run->refused || (run->client != NULL && !run->foreign))
        sl_json_string(json, "link_text", run->life_text);
    else if (where->ended)
        sl_json_string(json, "link_text", where->reason);
    if (where->ended) {
        sl_json_double(json, "ended", where->ended_at);
        sl_json_int(json, "exit_code", where->exit_code);
    }
    if (run->heard > 0.0)
        sl_json_double(json, "heard", run->heard);
    if (dp_history_last_time(run->history) > 0.0)
        sl_json_double(json, "written", dp_history_last_time(run->history));
    sl_json_bool(json, "reading", run->tail_more);
    if (where->endpoint[0] != 0)
        sl_json_string(json, "endpoint", where->endpoint);
    sl_json_double(json, "now", 1e-6 * (double)sl_clock_wall_us());
}

static void post(struct dp_feed *feed, const struct run *run, const char *event)
{
    const char *text = NULL;
    size_t size = 0;
    if (sl_json_finish(&feed->post, &text, &size, NULL) == SL_OK)
        dp_hub_post(feed->hub, run->place.name, event, text, size);
}

static void post_pulse(struct dp_feed *feed, const struct run *run)
{
    sl_json_reset(&feed->post);
    sl_json_object(&feed->post, NULL);
    put_link(&feed->post, run);
    sl_json_end(&feed->post);
    post(feed, run, "pulse");
}

static void post_steps(struct dp_feed *feed, struct run *run)
{
    if (run->pending == 0)
        return;
    run->pending = 0;
    sl_json_end(&run->steps);
    sl_json_end(&run->steps);
    const char *text = NULL;
    size_t size = 0;
    if (sl_json_finish(&run->steps, &text, &size, NULL) == SL_OK)
        dp_hub_post(feed->hub, run->place.name, "steps", text, size);
}

static void add_pending(struct dp_feed *feed, struct run *run, const Shelflife__Status__Step *step)
{
    if (!dp_hub_watched(feed->hub, run->place.name))
        return;
    if (run->pending == 0) {
        sl_json_reset(&run->steps);
        sl_json_object(&run->steps, NULL);
        sl_json_array(&run->steps, "steps");
    }
    sl_proto_json(&run->steps, NULL, &step->base);
    if (++run->pending == STEPS_MAX)
        post_steps(feed, run);
}

/* ---- messages ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* A port that was given to another run since: status.json is older than what answers there. */
static bool is_foreign(const struct run *run, const Shelflife__Status__Status *status)
{
    return run->place.folder[0] != 0 && status->run != NULL && status->run->name != NULL &&
           strcmp(status->run->name, last_part(run->place.name)) != 0;
}

static Shelflife__Status__Status *copy_status(const Shelflife__Status__Status *status)
{
    size_t size = protobuf_c_message_get_packed_size(&status->base);
    SL_AUTO_FREE uint8_t *bytes = sl_alloc(size + 1, 1);
    if (bytes == NULL)
        return NULL;
    (void)protobuf_c_message_pack(&status->base, bytes);
    return (Shelflife__Status__Status *)sl_proto_unpack(
            &shelflife__status__status__descriptor, bytes, size, STATUS_MEMORY_MAX);
}

static void take_status(struct dp_feed *feed, struct run *run, const Shelflife__Status__Status *status)
{
    run->foreign = is_foreign(run, status);
    if (run->foreign)
        return;
    if (run->place.folder[0] == 0 && status->run != NULL &&
            dp_history_run(run->history, status->run, NULL) != SL_OK)
        return; /* a model that cannot be: nothing of it is shown */
    Shelflife__Status__Status *copy = copy_status(status);
    if (copy == NULL)
        return;
    if (run->status != NULL)
        sl_proto_free(&run->status->base);
    run->status = copy;
    post_steps(feed, run); /* a page that sees the step of this status has seen those before */
    sl_json_reset(&feed->post);
    sl_json_object(&feed->post, NULL);
    put_link(&feed->post, run);
    sl_proto_json(&feed->post, "status", &status->base);
    sl_json_end(&feed->post);
    post(feed, run, "status");
}

static void take(struct dp_feed *feed, struct run *run, const struct sl_status_news *news)
{
    bool own = run->place.folder[0] == 0; /* no files: history is what we hear */
    run->heard = sl_status_client_heard(run->client);
    if (news->kind == SL_NEWS_STATUS)
        take_status(feed, run, news->status);
    if (news->kind == SL_NEWS_STATUS || run->foreign || run->status == NULL)
        return; /* whose it is is not known before the first status */
    if (news->kind == SL_NEWS_STEP) {
        if (!own || dp_history_step(run->history, news->step, NULL) == SL_OK)
            add_pending(feed, run, news->step);
        return;
    }
    if (news->kind == SL_NEWS_VALIDATION && own &&
            dp_history_validation(run->history, news->validation, NULL) != SL_OK)
        return;
    sl_json_reset(&feed->post);
    sl_proto_json(&feed->post, NULL, news->message);
    post(feed, run, news->kind == SL_NEWS_VALIDATION ? "validation" : "event");
}

static void refuse(struct run *run, const struct sl_error *err)
{
    run->refused = true;
    run->refused_start = run->place.where.started;
    (void)snprintf(run->life_text, sizeof(run->life_text), "%.*s", SL_STATUS_REASON_MAX - 1, err->text);
}

/* Takes what has come, then asks how the run is. True when there may be more. */
static bool drain(struct dp_feed *feed, struct run *run)
{
    enum sl_status status = SL_OK;
    int taken = 0;
    for (; taken < TAKE_MAX && status == SL_OK && run->client != NULL; taken++) {
        struct sl_error err = {0};
        struct sl_status_news news;
        status = sl_status_client_next(run->client, 0, &news, &err);
        if (status == SL_OK) {
            take(feed, run, &news);
        } else if (status != SL_TIMEOUT) {
            refuse(run, &err);
            sl_status_client_close(run->client);
            run->client = NULL;
        }
    }
    if (run->client != NULL)
        run->life = sl_status_client_life(run->client, run->life_text, sizeof(run->life_text));
    return status == SL_OK && run->client != NULL;
}

/* ---- files ---- */

static void tail_line(void *context, const char *line, size_t size)
{
    struct run *run = context;
    struct sl_error err = {0};
    if (dp_history_line(run->history, line, size, &err) != SL_OK)
        sl_log(SL_LOG_DEBUG, "dashboard", "line-skipped", "size=%zu", size);
}

static void tail_restart(void *context)
{
    struct run *run = context;
    dp_history_clear(run->history);
}

static void follow(struct run *run)
{
    char path[SL_PATH_MAX];
    const struct dp_tail_sink sink = {.context = run, .line = tail_line, .restart = tail_restart};
    int length = snprintf(path, sizeof(path), "%s/metrics.jsonl", run->place.folder);
    run->tail_more =
            run->place.folder[0] != 0 && length < (int)sizeof(path) && dp_tail_read(&run->tail, path, &sink);
}

/* Listens where there is somebody to listen to. A client finds a run that was started again by itself; one that has ended needs none. */
static void connect_run(struct dp_feed *feed, struct run *run)
{
    const struct sl_status_place *where = &run->place.where;
    if (run->client != NULL && where->ended && run->life == SL_LIFE_FINISHED) {
        sl_status_client_close(run->client);
        run->client = NULL;
    }
    if (run->refused && where->started != run->refused_start)
        run->refused = false;
    if (run->client != NULL || run->refused || where->endpoint[0] == 0 || where->ended ||
            sl_status_place_dead(where))
        return;
    struct sl_error err = {0};
    run->foreign = false;
    run->life = SL_LIFE_CONNECTING;
    if (sl_status_client_open(&run->client, where, feed->keys, SL_STATUS_ALL, &err) != SL_OK)
        refuse(run, &err);
}

static struct run *find(const struct dp_feed *feed, const char *name)
{
    for (int i = 0; i < feed->run_count; i++)
        if (strcmp(feed->runs[i]->place.name, name) == 0)
            return feed->runs[i];
    return NULL;
}

static struct run *create_run(const struct dp_place *place)
{
    struct run *run = sl_alloc(1, sizeof(*run));
    if (run == NULL)
        return NULL;
    run->place = *place;
    run->tail_more = place->folder[0] != 0;
    dp_tail_init(&run->tail);
    sl_json_init(&run->steps, POST_MAX);
    if (dp_history_create(&run->history, NULL) == SL_OK)
        return run;
    destroy_run(run);
    return NULL;
}

/* Takes the places of a scan over: known runs stay, those that are gone are dropped. */
static void adopt(struct dp_feed *feed, int place_count)
{
    struct run *kept[DP_PLACES_MAX];
    int count = 0;
    for (int i = 0; i < place_count; i++) {
        struct run *run = find(feed, feed->places[i].name);
        if (run == NULL)
            run = create_run(&feed->places[i]);
        if (run == NULL)
            continue; /* out of memory: the next scan tries again */
        run->place = feed->places[i];
        connect_run(feed, run);
        kept[count++] = run;
    }
    for (int i = 0; i < feed->run_count; i++) {
        bool stays = false;
        for (int j = 0; j < count; j++)
            stays |= kept[j] == feed->runs[i];
        if (!stays)
            destroy_run(feed->runs[i]);
    }
    memcpy(feed->runs, kept, sizeof(kept[0]) * (size_t)count);
    feed->run_count = count;
}

static enum sl_status scan(struct dp_feed *feed, struct sl_error *err)
{
    int count = 1;
    enum sl_status status = SL_OK;
    if (feed->single) {
        feed->places[0] = (struct dp_place){.modified = 1.0};
        (void)snprintf(feed->places[0].name, sizeof(feed->places[0].name), "%.*s", DP_PLACE_NAME_MAX - 1,
                feed->source);
        status = sl_status_place_read(&feed->places[0].where, feed->source, err);
    } else {
        status = dp_places_scan(feed->places, &count, feed->source, err);
    }
    if (status != SL_OK)
        return status;
    (void)pthread_mutex_lock(&feed->lock);
    adopt(feed, count);
    (void)pthread_mutex_unlock(&feed->lock);
    return SL_OK;
}

/* ---- the thread ---- */

/* Waits for messages or the end; true at the end. busy: there is work, only look. ZeroMQ's descriptors tell only once, and everything is drained each time. */
static bool wait_for_news(struct dp_feed *feed, bool busy)
{
    struct pollfd items[DP_PLACES_MAX + 1] = {{.fd = feed->wake, .events = POLLIN}};
    nfds_t count = 1;
    for (int i = 0; i < feed->run_count; i++)
        if (feed->runs[i]->client != NULL)
            items[count++] =
                    (struct pollfd){.fd = sl_status_client_fd(feed->runs[i]->client), .events = POLLIN};
    (void)poll(items, count, busy ? 0 : TICK_MS);
    return (items[0].revents & POLLIN) != 0;
}

static void *work(void *argument)
{
    struct dp_feed *feed = argument;
    int64_t scanned = sl_clock_monotonic_us(), followed = 0, posted = 0;
    bool busy = true;
    while (!wait_for_news(feed, busy)) {
        int64_t now = sl_clock_monotonic_us();
        busy = false;
        (void)pthread_mutex_lock(&feed->lock);
        for (int i = 0; i < feed->run_count; i++) {
            struct run *run = feed->runs[i];
            busy |= drain(feed, run);
            if (run->tail_more || now - followed >= FOLLOW_US)
                follow(run);
            busy |= run->tail_more;
            if (now - posted >= TICK_MS * 1000)
                post_steps(feed, run);
            if (now - followed >= FOLLOW_US && dp_hub_watched(feed->hub, run->place.name))
                post_pulse(feed, run);
        }
        (void)pthread_mutex_unlock(&feed->lock);
        posted = now - posted >= TICK_MS * 1000 ? now : posted;
        followed = now - followed >= FOLLOW_US ? now : followed;
        if (now - scanned >= SCAN_US) {
            scanned = now;
            (void)scan(feed, NULL); /* a folder that is gone for a moment: what was known stays */
        }
    }
    return NULL;
}

enum sl_status dp_feed_create(struct dp_feed **ret_feed, const char *source, const char *keys,
        struct dp_hub *hub, struct sl_error *err)
{
    struct dp_feed *feed = sl_alloc(1, sizeof(*feed));
    if (feed == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the dashboard");
    (void)pthread_mutex_init(&feed->lock, NULL);
    sl_json_init(&feed->post, POST_MAX);
    feed->keys = keys == NULL ? NULL : sl_strdup(keys);
    feed->hub = hub;
    feed->single = dp_place_is_endpoint(source);
    feed->source = sl_strdup(source);
    feed->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum sl_status status = SL_OK;
    if (feed->source == NULL || feed->wake < 0 || (keys != NULL && feed->keys == NULL))
        status = sl_fail(err, SL_FAILED, "cannot set up the dashboard: out of memory or descriptors");
    if (status == SL_OK)
        status = scan(feed, err);
    if (status == SL_OK && feed->single && feed->runs[0]->client == NULL)
        status = sl_fail(err, SL_FAILED, "%s", feed->runs[0]->life_text);
    if (status == SL_OK) {
        feed->started = pthread_create(&feed->thread, NULL, work, feed) == 0;
        if (!feed->started)
            status = sl_fail(err, SL_FAILED, "cannot start the dashboard's thread");
    }
    if (status != SL_OK) {
        dp_feed_destroy(feed);
        return status;
    }
    *ret_feed = feed;
    return SL_OK;
}

void dp_feed_destroy(struct dp_feed *feed)
{
    if (feed == NULL)
        return;
    if (feed->started) {
        uint64_t one = 1;
        if (write(feed->wake, &one, sizeof(one)) != sizeof(one))
            sl_log(SL_LOG_ERROR, "dashboard", "no-wake", NULL);
        (void)pthread_join(feed->thread, NULL);
    }
    for (int i = 0; i < feed->run_count; i++)
        destroy_run(feed->runs[i]);
    if (feed->wake >= 0)
        (void)close(feed->wake);
    sl_json_fini(&feed->post);
    (void)pthread_mutex_destroy(&feed->lock);
    sl_free(feed->source);
    sl_free(feed->keys);
    sl_free(feed);
}

/* ---- questions ---- */

static void put_summary(struct sl_json *json, const struct run *run)
{
    const Shelflife__Status__Status *status = run->status;
    int64_t step = dp_history_last_step(run->history);
    sl_json_object(json, NULL);
    sl_json_string(json, "name", run->place.name);
    put_link(json, run);
    sl_json_double(json, "modified", run->place.modified);
    if (status != NULL && status->state != NULL)
        sl_json_string(json, "state", status->state);
    sl_json_int(json, "step", status != NULL && status->step > step ? status->step : step);
    if (status != NULL && status->run != NULL)
        sl_json_int(json, "total_steps", status->run->total_steps);
    sl_json_double(json, "accuracy", dp_history_accuracy(run->history, false));
    sl_json_double(json, "best_accuracy", dp_history_accuracy(run->history, true));
    sl_json_end(json);
}

void dp_feed_runs(struct dp_feed *feed, struct sl_json *json)
{
    (void)pthread_mutex_lock(&feed->lock);
    sl_json_object(json, NULL);
    sl_json_string(json, "source", feed->source);
    sl_json_string(json, "version", SHELFLIFE_VERSION);
    sl_json_array(json, "runs");
    for (int i = 0; i < feed->run_count; i++)
        put_summary(json, feed->runs[i]);
    sl_json_end(json);
    sl_json_end(json);
    (void)pthread_mutex_unlock(&feed->lock);
}

bool dp_feed_status(struct dp_feed *feed, const char *name, struct sl_json *json)
{
    (void)pthread_mutex_lock(&feed->lock);
    const struct run *run = find(feed, name);
    if (run != NULL) {
        sl_json_object(json, NULL);
        sl_json_string(json, "name", run->place.name);
        put_link(json, run);
        if (run->status != NULL)
            sl_proto_json(json, "status", &run->status->base);
        else
            sl_json_null(json, "status");
        sl_json_end(json);
    }
    (void)pthread_mutex_unlock(&feed->lock);
    return run != NULL;
}

bool dp_feed_history(struct dp_feed *feed, const char *name, struct sl_json *json)
{
    (void)pthread_mutex_lock(&feed->lock);
    const struct run *run = find(feed, name);
    if (run != NULL)
        dp_history_json(run->history, json, NULL);
    (void)pthread_mutex_unlock(&feed->lock);
    return run != NULL;
}

bool dp_feed_has(struct dp_feed *feed, const char *name)
{
    (void)pthread_mutex_lock(&feed->lock);
    bool there = find(feed, name) != NULL;
    (void)pthread_mutex_unlock(&feed->lock);
    return there;
}

void dp_feed_metrics(struct dp_feed *feed, struct sl_text *text)
{
    struct dp_scraped scraped[DP_PLACES_MAX];
    (void)pthread_mutex_lock(&feed->lock);
    for (int i = 0; i < feed->run_count; i++)
        scraped[i] = (struct dp_scraped){.name = feed->runs[i]->place.name,
                .up = strcmp(link_name(feed->runs[i]), "live") == 0,
                .status = feed->runs[i]->status};
    dp_prometheus_write(text, scraped, feed->run_count);
    (void)pthread_mutex_unlock(&feed->lock);
}
