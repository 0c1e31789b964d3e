/* Queue, threads and snapshots: see service.h. */
#include "deploy/serve/service.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/memory.h"
#include "deploy/serve/batcher.h"
#include "deploy/serve/bundle.h"
#include "deploy/serve/lane.h"
#include "deploy/serve/prepare.h"

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_MAX_S 60

struct dp_service {
    struct dp_service_options options;
    char *snapshot, *root, *temporary;
    pthread_mutex_t lock;
    pthread_cond_t prepare, compute, idle; /* something to prepare; to compute; nothing in flight */
    struct dp_bundle *bundle;              /* in use for what begins now */
    struct dp_job *first, *last;           /* to be prepared */
    struct dp_batcher batcher;             /* to be computed */
    int in_flight, idle_threads;
    int unfinished;        /* in flight, or in the middle of done */
    bool stopping, ending; /* no new jobs; no threads */
    struct dp_figures figures;
    struct dp_place_of_snapshot refused; /* the last snapshot that was not taken: told once */
    pthread_t *threads;                  /* (options.decoders + options.threads,) */
    int thread_count;
};

/* ---- jobs ---- */

struct dp_job *dp_job_create(void (*done)(struct dp_job *job), void *context)
{
    struct dp_job *job = sl_alloc(1, sizeof(*job));
    if (job == NULL)
        return NULL;
    job->done = done;
    job->context = context;
    job->request.published_s = INT64_MIN;
    return job;
}

void dp_job_destroy(struct dp_job *job)
{
    if (job == NULL)
        return;
    dp_request_fini(&job->request);
    wk_sample_fini(&job->sample);
    sl_free(job->text);
    dp_bundle_release(job->bundle);
    sl_free(job);
}

const struct dp_loaded *dp_job_loaded(const struct dp_job *job)
{
    return job->bundle == NULL ? NULL : job->bundle->loaded;
}

static float seconds_between(int64_t from_us, int64_t to_us)
{
    return (float)((double)(to_us - from_us) * 1e-6);
}

/* The answer is counted first and told then: whoever has it finds it counted, and room for the next request. */
static void finish(struct dp_service *service, struct dp_job *job)
{
    int64_t now = sl_clock_monotonic_us();
    struct dp_times times = {{[DP_STAGE_TOTAL] = seconds_between(job->submitted_us, now),
            [DP_STAGE_PREPARE] = seconds_between(job->submitted_us, job->prepared_us),
            [DP_STAGE_WAIT] = seconds_between(job->prepared_us, job->taken_us),
            [DP_STAGE_COMPUTE] = seconds_between(job->taken_us, now)}};
    (void)pthread_mutex_lock(&service->lock);
    dp_figures_answer(&service->figures, job->status, &times);
    service->in_flight--;
    (void)pthread_mutex_unlock(&service->lock);
    job->done(job); /* which may destroy it */
    (void)pthread_mutex_lock(&service->lock);
    service->unfinished--;
    if (service->unfinished == 0)
        (void)pthread_cond_broadcast(&service->idle);
    (void)pthread_mutex_unlock(&service->lock);
}

/* ---- preparing ---- */

static struct dp_job *take_job(struct dp_service *service)
{
    struct dp_job *job = service->first;
    if (job == NULL)
        return NULL;
    service->first = job->next;
    if (service->first == NULL)
        service->last = NULL;
    job->next = NULL;
    job->bundle = dp_bundle_retain(service->bundle);
    return job;
}

/* A preparing thread's own. */
struct preparing {
    struct dp_bundle *bundle;
    struct dp_preparer *preparer;
};

static void preparing_fini(struct preparing *own)
{
    dp_preparer_destroy(own->preparer); /* it reads the snapshot's config */
    dp_bundle_release(own->bundle);
    *own = (struct preparing){0};
}

static enum sl_status prepare(struct dp_service *service, struct preparing *own, struct dp_job *job)
{
    const struct dp_prepare_options options = {.root = service->root,
            .temporary = service->temporary,
            .max_video_s = service->options.max_video_s};
    enum sl_status status = SL_OK;
    if (job->text != NULL)
        status = dp_request_parse(&job->request, job->text, job->text_size, &job->error);
    if (status == SL_OK && own->bundle != job->bundle) {
        preparing_fini(own);
        status = dp_preparer_create(&own->preparer, job->bundle->loaded->config, &options, &job->error);
        if (status == SL_OK)
            own->bundle = dp_bundle_retain(job->bundle);
        else /* the server's fault, whatever it is, not the request's */
            status = sl_fail(&job->error, SL_FAILED, "%s", job->error.text);
    }
    if (status == SL_OK)
        status = dp_prepare(own->preparer, &job->request, &job->sample, &job->error);
    return status;
}

/* An idle thread must not keep a snapshot that nobody needs any more. Lock: held, and let go meanwhile. */
static bool let_go(struct dp_service *service, struct dp_bundle *held)
{
    return held != NULL && held != service->bundle;
}

static void *prepare_loop(void *argument)
{
    struct dp_service *service = argument;
    struct preparing own = {0};
    (void)pthread_mutex_lock(&service->lock);
    while (!service->ending) {
        struct dp_job *job = take_job(service);
        if (job == NULL && let_go(service, own.bundle)) {
            (void)pthread_mutex_unlock(&service->lock);
            preparing_fini(&own);
            (void)pthread_mutex_lock(&service->lock);
            continue;
        }
        if (job == NULL) {
            (void)pthread_cond_wait(&service->prepare, &service->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&service->lock);
        enum sl_status status = job->prepared ? SL_OK : prepare(service, &own, job);
        job->status = status;
        job->prepared_us = job->taken_us = sl_clock_monotonic_us();
        if (status != SL_OK)
            finish(service, job); /* it is gone */
        (void)pthread_mutex_lock(&service->lock);
        if (status == SL_OK) {
            /* never full: its capacity is that of all that is in flight */
            (void)!dp_batcher_put(&service->batcher, job, job->prepared_us);
            (void)pthread_cond_signal(&service->compute);
        }
    }
    (void)pthread_mutex_unlock(&service->lock);
    preparing_fini(&own);
    return NULL;
}

/* ---- computing ---- */

static void wait_until(struct dp_service *service, int64_t due_us)
{
    if (due_us == INT64_MAX) {
        (void)pthread_cond_wait(&service->compute, &service->lock);
        return;
    }
    struct timespec at = {.tv_sec = due_us / 1000000, .tv_nsec = due_us % 1000000 * 1000};
    (void)pthread_cond_timedwait(&service->compute, &service->lock, &at);
}

/* The lock is not held. */
static void compute(struct dp_service *service, struct dp_lane *lane, void *const *items, int count)
{
    struct dp_job *jobs[DP_BATCH_MAX];
    int64_t now = sl_clock_monotonic_us();
    bool joint = service->options.joint;
    for (int i = 0; i < count; i++) {
        jobs[i] = items[i];
        jobs[i]->taken_us = now;
    }
    if (joint)
        dp_lane_score(lane, jobs, count);
    for (int i = 0; i < count; i++) { /* without joint each one is told as soon as it is done */
        if (!joint)
            dp_lane_score(lane, &jobs[i], 1);
        finish(service, jobs[i]);
    }
}

static void *compute_loop(void *argument)
{
    struct dp_service *service = argument;
    struct dp_lane lane = {.capacity = service->options.joint ? service->options.batch : 1};
    void *items[DP_BATCH_MAX];
    (void)pthread_mutex_lock(&service->lock);
    service->idle_threads++;
    while (!service->ending) {
        int count = dp_batcher_take(&service->batcher, sl_clock_monotonic_us(), service->idle_threads, items);
        if (count > 0) {
            service->idle_threads--;
            dp_figures_batch(&service->figures, count);
            if (service->batcher.count > 0)
                (void)pthread_cond_signal(&service->compute);
            (void)pthread_mutex_unlock(&service->lock);
            compute(service, &lane, items, count);
            (void)pthread_mutex_lock(&service->lock);
            service->idle_threads++;
        } else if (service->batcher.count == 0 && let_go(service, lane.bundle)) {
            service->idle_threads--;
            (void)pthread_mutex_unlock(&service->lock);
            dp_lane_fini(&lane);
            (void)pthread_mutex_lock(&service->lock);
            service->idle_threads++;
        } else {
            wait_until(service, dp_batcher_due_us(&service->batcher));
        }
    }
    (void)pthread_mutex_unlock(&service->lock);
    dp_lane_fini(&lane);
    return NULL;
}

/* ---- submitting ---- */

enum sl_status dp_service_submit(struct dp_service *service, struct dp_job *job, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    job->service = service;
    job->submitted_us = sl_clock_monotonic_us();
    (void)pthread_mutex_lock(&service->lock);
    if (service->stopping)
        status = sl_fail(err, SL_STOPPED, "the server is stopping; ask another one, or later");
    else if (service->in_flight >= service->options.queue)
        status = sl_fail(err, SL_AGAIN, "the server is full: %d requests are on their way; try again later",
                service->in_flight);
    if (status != SL_OK) {
        dp_figures_answer(&service->figures, status, NULL);
    } else {
        service->in_flight++;
        service->unfinished++;
        if (service->last == NULL)
            service->first = job;
        else
            service->last->next = job;
        service->last = job;
        (void)pthread_cond_signal(&service->prepare);
    }
    (void)pthread_mutex_unlock(&service->lock);
    return status;
}

void dp_service_count(struct dp_service *service, enum sl_status status)
{
    struct dp_times none = {{0}};
    (void)pthread_mutex_lock(&service->lock);
    dp_figures_answer(&service->figures, status, &none);
    (void)pthread_mutex_unlock(&service->lock);
}

int dp_service_retry_s(struct dp_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    uint64_t answered = service->figures.answers[DP_OUTCOME_OK];
    double each = answered == 0 ? 0.0 : service->figures.sum[DP_STAGE_COMPUTE] / (double)answered;
    double seconds = each * service->in_flight / service->options.threads;
    (void)pthread_mutex_unlock(&service->lock);
    return seconds < 1.0 ? 1 : seconds > RETRY_MAX_S ? RETRY_MAX_S : (int)seconds + 1;
}

void dp_service_stop(struct dp_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    service->stopping = true;
    dp_batcher_close(&service->batcher);
    (void)pthread_cond_broadcast(&service->compute);
    (void)pthread_mutex_unlock(&service->lock);
}

bool dp_service_drain(struct dp_service *service, int64_t timeout_ms)
{
    int64_t until = sl_clock_monotonic_us() + timeout_ms * 1000;
    struct timespec at = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
    int late = 0;
    dp_service_stop(service);
    (void)pthread_mutex_lock(&service->lock);
    while (service->unfinished > 0 && late == 0)
        late = pthread_cond_timedwait(&service->idle, &service->lock, &at);
    bool drained = service->unfinished == 0;
    (void)pthread_mutex_unlock(&service->lock);
    return drained;
}

bool dp_service_stopping(struct dp_service *service)
{
    (void)pthread_mutex_lock(&service->lock);
    bool stopping = service->stopping;
    (void)pthread_mutex_unlock(&service->lock);
    return stopping;
}

/* ---- snapshots ---- */

static void exchange_bundle(struct dp_service *service, struct dp_bundle *bundle)
{
    (void)pthread_mutex_lock(&service->lock);
    struct dp_bundle *old = service->bundle;
    service->bundle = bundle;
    service->figures.reloads++;
    (void)pthread_cond_broadcast(&service->prepare); /* for idle threads to let go of the old one */
    (void)pthread_cond_broadcast(&service->compute);
    (void)pthread_mutex_unlock(&service->lock);
    dp_bundle_release(old);
}

/* A snapshot whose vocabulary is missing would refuse every request: found now, with the old one still in use. */
static enum sl_status try_preparing(
        struct dp_service *service, const struct dp_bundle *bundle, struct sl_error *err)
{
    struct dp_preparer *preparer = NULL;
    const struct dp_prepare_options options = {.root = service->root, .temporary = service->temporary};
    enum sl_status status = dp_preparer_create(&preparer, bundle->loaded->config, &options, err);
    dp_preparer_destroy(preparer);
    return status;
}

bool dp_service_look(struct dp_service *service)
{
    struct dp_place_of_snapshot place;
    struct dp_bundle *bundle = NULL;
    struct sl_error err = {0};
    char quoted[SL_ERROR_TEXT_MAX];
    if (service->snapshot == NULL || dp_bundle_find(&place, service->snapshot, &err) != SL_OK)
        return false; /* between two snapshots there may be none for a moment */
    if (dp_bundle_same(&place, &service->bundle->place) || dp_bundle_same(&place, &service->refused))
        return false;
    enum sl_status status = dp_bundle_open(&bundle, &place, &err);
    if (status == SL_OK)
        status = try_preparing(service, bundle, &err);
    if (status == SL_OK) {
        sl_log(SL_LOG_INFO, "serve", "snapshot-taken", "step=%" PRId64 " path=%s", bundle->loaded->step,
                sl_log_quote(quoted, sizeof(quoted), place.path));
        exchange_bundle(service, bundle);
        return true;
    }
    dp_bundle_release(bundle);
    if (status == SL_NOT_FOUND || status == SL_NO_MEMORY)
        return false; /* removed meanwhile, or no room now: looked at again */
    service->refused = place;
    (void)pthread_mutex_lock(&service->lock);
    service->figures.reloads_refused++;
    (void)pthread_mutex_unlock(&service->lock);
    sl_log(SL_LOG_WARN, "serve", "snapshot-refused", "reason=%s",
            sl_log_quote(quoted, sizeof(quoted), err.text));
    return false;
}

/* ---- what it says of itself ---- */

void dp_service_figures(
        struct dp_service *service, struct dp_figures *ret_figures, struct dp_figures_now *ret_now)
{
    (void)pthread_mutex_lock(&service->lock);
    *ret_figures = service->figures;
    *ret_now = (struct dp_figures_now){.in_flight = service->in_flight,
            .queue = service->options.queue,
            .step = service->bundle->loaded->step,
            .loaded = service->bundle->loaded_at};
    (void)pthread_mutex_unlock(&service->lock);
}

void dp_service_figures_json(struct dp_service *service, struct sl_json *json)
{
    struct dp_figures figures;
    struct dp_figures_now now;
    dp_service_figures(service, &figures, &now);
    dp_figures_json(&figures, &now, json);
}

void dp_service_prometheus(struct dp_service *service, struct sl_text *text)
{
    struct dp_figures figures;
    struct dp_figures_now now;
    dp_service_figures(service, &figures, &now);
    dp_figures_prometheus(&figures, &now, text);
}

void dp_identity_json(struct sl_json *json, const struct dp_loaded *loaded)
{
    const char *slash = strrchr(loaded->path, '/');
    char hash[24], created[SL_TIME_TEXT_MAX] = "";
    struct sl_error ignored = {0};
    (void)snprintf(hash, sizeof(hash), "0x%016" PRIx64, loaded->config_hash);
    (void)!sl_time_format(created, sizeof(created), loaded->created_s, &ignored);
    sl_json_object(json, "model");
    sl_json_string(json, "snapshot", slash == NULL ? loaded->path : slash + 1);
    sl_json_int(json, "step", loaded->step);
    sl_json_string(json, "created", created[0] != 0 ? created : NULL);
    sl_json_string(json, "config_hash", hash);
    sl_json_string(json, "weights", loaded->weights);
    sl_json_end(json);
}

static void modality_json(struct sl_json *json, const struct sl_modality_config *m)
{
    static const char *const kinds[] = {
            [SL_KIND_VIT] = "vit", [SL_KIND_BERT] = "bert", [SL_KIND_FEATURES] = "features"};
    sl_json_object(json, NULL);
    sl_json_string(json, "name", m->name);
    sl_json_string(json, "kind", kinds[m->kind]);
    if (m->kind == SL_KIND_VIT) {
        sl_json_int(json, "frames", m->frames);
        sl_json_int(json, "image", m->image);
    } else if (m->kind == SL_KIND_BERT) {
        sl_json_int(json, "max_tokens", m->max_tokens);
    } else {
        sl_json_int(json, "in", m->input);
        sl_json_int(json, "max_items", m->max_items);
    }
    sl_json_end(json);
}

void dp_service_model_json(struct dp_service *service, struct sl_json *json)
{
    (void)pthread_mutex_lock(&service->lock);
    struct dp_bundle *bundle = dp_bundle_retain(service->bundle);
    (void)pthread_mutex_unlock(&service->lock);
    const struct sl_config *config = bundle->loaded->config;
    dp_identity_json(json, bundle->loaded);
    sl_json_array(json, "labels");
    for (int k = 0; k < config->label_count; k++) {
        sl_json_object(json, NULL);
        sl_json_string(json, "name", config->labels[k].name);
        if (config->labels[k].duration_s == SL_DURATION_INFINITE)
            sl_json_null(json, "duration_s");
        else
            sl_json_int(json, "duration_s", config->labels[k].duration_s);
        sl_json_end(json);
    }
    sl_json_end(json);
    sl_json_array(json, "modalities");
    for (int m = 0; m < config->modality_count; m++)
        modality_json(json, &config->modalities[m]);
    sl_json_end(json);
    sl_json_object(json, "batching");
    sl_json_int(json, "batch", service->options.batch);
    sl_json_double(json, "wait_ms", (double)service->options.wait_us * 1e-3);
    sl_json_bool(json, "joint", service->options.joint);
    sl_json_int(json, "threads", service->options.threads);
    sl_json_end(json);
    sl_json_bool(json, "video_paths", service->root != NULL);
    dp_bundle_release(bundle);
}

/* ---- beginning and end ---- */

static enum sl_status make_temporary(struct dp_service *service, struct sl_error *err)
{
    const char *folder = getenv("TMPDIR");
    service->temporary =
            sl_strdup_printf("%s/shelflife-serve-XXXXXX", folder == NULL || folder[0] == 0 ? "/tmp" : folder);
    if (service->temporary == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (mkdtemp(service->temporary) != NULL)
        return SL_OK;
    enum sl_status status = sl_fail_errno(err, "cannot make the folder %s for uploads", service->temporary);
    sl_free(SL_TAKE(service->temporary));
    return status;
}

static enum sl_status find_root(struct dp_service *service, const char *root, struct sl_error *err)
{
    char real[PATH_MAX];
    if (root == NULL)
        return SL_OK;
    if (realpath(root, real) == NULL || !sl_file_is_directory(real))
        return sl_fail(err, SL_USAGE, "--root %s: expected a folder that can be entered", root);
    service->root = sl_strdup(real);
    return service->root != NULL ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory");
}

static enum sl_status load_first(struct dp_service *service, struct sl_error *err)
{
    struct dp_place_of_snapshot place;
    if (service->options.loaded != NULL)
        return dp_bundle_wrap(&service->bundle, service->options.loaded, err);
    service->snapshot = sl_strdup(service->options.snapshot);
    if (service->snapshot == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = dp_bundle_find(&place, service->snapshot, err);
    if (status == SL_OK)
        status = dp_bundle_open(&service->bundle, &place, err);
    if (status == SL_OK)
        status = try_preparing(service, service->bundle, err);
    return status;
}

static enum sl_status start_threads(struct dp_service *service, struct sl_error *err)
{
    int count = service->options.decoders + service->options.threads;
    service->threads = sl_alloc((size_t)count, sizeof(*service->threads));
    if (service->threads == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for threads");
    for (int i = 0; i < count; i++) {
        int failed = pthread_create(&service->threads[i], NULL,
                i < service->options.decoders ? prepare_loop : compute_loop, service);
        if (failed != 0)
            return sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
        service->thread_count++;
    }
    return SL_OK;
}

static void init_locks(struct dp_service *service)
{
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&service->lock, NULL);
    (void)pthread_cond_init(&service->prepare, &monotonic);
    (void)pthread_cond_init(&service->compute, &monotonic);
    (void)pthread_cond_init(&service->idle, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
}

enum sl_status dp_service_create(
        struct dp_service **ret_service, const struct dp_service_options *options, struct sl_error *err)
{
    struct dp_service *service = sl_alloc(1, sizeof(*service));
    if (service == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a server");
    service->options = *options;
    init_locks(service);
    enum sl_status status = find_root(service, options->root, err);
    if (status == SL_OK)
        status = make_temporary(service, err);
    if (status == SL_OK)
        status = dp_batcher_init(&service->batcher, options->queue, options->batch, options->wait_us, err);
    if (status == SL_OK)
        status = load_first(service, err);
    if (status == SL_OK)
        status = start_threads(service, err);
    if (status == SL_OK)
        *ret_service = service;
    else
        dp_service_destroy(service);
    return status;
}

void dp_service_destroy(struct dp_service *service)
{
    if (service == NULL)
        return;
    (void)pthread_mutex_lock(&service->lock);
    service->stopping = true;
    dp_batcher_close(&service->batcher);
    (void)pthread_cond_broadcast(&service->compute);
    while (service->unfinished > 0)
        (void)pthread_cond_wait(&service->idle, &service->lock);
    service->ending = true;
    (void)pthread_cond_broadcast(&service->prepare);
    (void)pthread_cond_broadcast(&service->compute);
    (void)pthread_mutex_unlock(&service->lock);
    for (int i = 0; i < service->thread_count; i++)
        (void)pthread_join(service->threads[i], NULL);
    dp_batcher_fini(&service->batcher);
    dp_bundle_release(service->bundle);
    (void)pthread_cond_destroy(&service->prepare);
    (void)pthread_cond_destroy(&service->compute);
    (void)pthread_cond_destroy(&service->idle);
    (void)pthread_mutex_destroy(&service->lock);
    if (service->temporary != NULL) {
        struct sl_error ignored = {0};
        (void)!sl_file_remove_tree(service->temporary, &ignored);
    }
    sl_free(service->temporary);
    sl_free(service->threads);
    sl_free(service->snapshot);
    sl_free(service->root);
    sl_free(service);
}
