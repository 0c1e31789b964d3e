/* See pool.h. */
#include "worker/dataset/pool.h"

#include "common/file.h"
#include "common/memory.h"
#include "worker/dataset/importer.h"
#include "worker/dataset/record.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define WINDOW_PER_JOB 4

struct slot {
    bool ready;
    struct wk_task_result result;
};

struct worker {
    struct wk_pool *pool;
    struct wk_importer *importer;
    pthread_t thread;
    bool started;
};

struct wk_pool {
    const struct wk_plan *plan;
    const struct sl_config *config;
    const struct wk_task *tasks;
    uint64_t count, window;
    int jobs;
    struct worker *workers; /* (jobs,) */
    pthread_mutex_t mutex;  /* around all below */
    pthread_cond_t room, ready;
    bool has_locks;
    struct slot *slots;   /* (window,) of task i at i % window */
    uint64_t next, taken; /* next task to start, to take */
    bool stopping;
    struct sl_error failure; /* status SL_OK = none */
};

/* A row that is no use becomes a reject record; anything else stops the import. */
static enum sl_status run_task(struct worker *worker, const struct wk_task *task,
        struct wk_task_result *result, struct sl_error *err)
{
    const struct wk_pool *pool = worker->pool;
    const struct wk_plan_row *place = &pool->plan->rows[task->split][task->ordinal];
    SL_AUTO(wk_manifest_row_fini) struct wk_manifest_row row = {0};
    SL_AUTO(wk_sample_fini) struct wk_sample sample = {0};
    enum sl_status status = wk_plan_read(pool->plan, place, pool->config, &row, err);
    if (status != SL_OK)
        return status;
    *result = (struct wk_task_result){.kind = WK_ENTRY_SAMPLE, .label = row.label};
    status = wk_import_row(worker->importer, &row, &sample, err);
    if (status == SL_OK)
        status = wk_record_pack(&result->bytes, &result->size, &sample, pool->config, task->ordinal, err);
    if (status != SL_BAD_DATA)
        return status;
    struct wk_reject reject = {.line = place->line, .id = row.id, .reason = err->text};
    result->kind = WK_ENTRY_REJECT;
    return wk_reject_pack(&result->bytes, &result->size, &reject, task->ordinal, err);
}

static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct wk_pool *pool = worker->pool;
    (void)pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->stopping && pool->next < pool->count && pool->next >= pool->taken + pool->window)
            (void)pthread_cond_wait(&pool->room, &pool->mutex);
        if (pool->stopping || pool->next >= pool->count)
            break;
        uint64_t i = pool->next++;
        (void)pthread_mutex_unlock(&pool->mutex);
        struct wk_task_result result = {0};
        struct sl_error err = {0};
        enum sl_status status = run_task(worker, &pool->tasks[i], &result, &err);
        (void)pthread_mutex_lock(&pool->mutex);
        if (status != SL_OK) {
            if (pool->failure.status == SL_OK)
                pool->failure = err;
            pool->failure.status = status;
            pool->stopping = true;
            (void)pthread_cond_broadcast(&pool->room);
        } else {
            pool->slots[i % pool->window] = (struct slot){.ready = true, .result = result};
        }
        (void)pthread_cond_signal(&pool->ready);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

static enum sl_status init_locks(struct wk_pool *pool, struct sl_error *err)
{
    pthread_condattr_t monotonic;
    if (pthread_condattr_init(&monotonic) != 0)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int rc = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    rc = rc != 0 ? rc : pthread_mutex_init(&pool->mutex, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&pool->room, NULL);
    rc = rc != 0 ? rc : pthread_cond_init(&pool->ready, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    pool->has_locks = rc == 0;
    return rc == 0 ? SL_OK : sl_fail(err, SL_NO_MEMORY, "cannot make the import's locks: %s", strerror(rc));
}

static enum sl_status start_workers(
        struct wk_pool *pool, const struct wk_decoder_limits *limits, struct sl_error *err)
{
    SL_AUTO_FREE char *base = sl_path_directory(pool->plan->path);
    if (base == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (int i = 0; i < pool->jobs; i++) {
        pool->workers[i].pool = pool;
        enum sl_status status =
                wk_importer_create(&pool->workers[i].importer, pool->config, base, limits, err);
        if (status != SL_OK)
            return status;
    }
    for (int i = 0; i < pool->jobs; i++) {
        int rc = pthread_create(&pool->workers[i].thread, NULL, run_worker, &pool->workers[i]);
        if (rc != 0)
            return sl_fail(err, SL_FAILED, "cannot start thread %d of the import: %s; use fewer --jobs",
                    i + 1, strerror(rc));
        pool->workers[i].started = true;
    }
    return SL_OK;
}

enum sl_status wk_pool_create(struct wk_pool **ret_pool, const struct wk_plan *plan,
        const struct sl_config *config, const struct wk_decoder_limits *limits, const struct wk_task *tasks,
        uint64_t count, int jobs, struct sl_error *err)
{
    struct wk_pool *pool = sl_alloc(1, sizeof(*pool));
    if (pool == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    pool->plan = plan;
    pool->config = config;
    pool->tasks = tasks;
    pool->count = count;
    pool->jobs = (uint64_t)jobs < count ? jobs : (int)count;
    pool->window = (uint64_t)pool->jobs * WINDOW_PER_JOB;
    pool->workers = sl_alloc((size_t)pool->jobs, sizeof(*pool->workers));
    pool->slots = sl_alloc(pool->window, sizeof(*pool->slots));
    enum sl_status status = SL_OK;
    if (pool->workers == NULL || pool->slots == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (status == SL_OK)
        status = init_locks(pool, err);
    if (status == SL_OK)
        status = start_workers(pool, limits, err);
    if (status == SL_OK)
        *ret_pool = pool;
    else
        wk_pool_destroy(pool);
    return status;
}

static void stop_workers(struct wk_pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    pool->stopping = true;
    (void)pthread_cond_broadcast(&pool->room);
    (void)pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->jobs; i++) {
        if (pool->workers[i].started)
            (void)pthread_join(pool->workers[i].thread, NULL);
    }
    (void)pthread_mutex_destroy(&pool->mutex);
    (void)pthread_cond_destroy(&pool->room);
    (void)pthread_cond_destroy(&pool->ready);
}

void wk_pool_destroy(struct wk_pool *pool)
{
    if (pool == NULL)
        return;
    if (pool->has_locks)
        stop_workers(pool);
    for (int i = 0; pool->workers != NULL && i < pool->jobs; i++)
        wk_importer_destroy(pool->workers[i].importer);
    for (uint64_t i = 0; pool->slots != NULL && i < pool->window; i++)
        sl_free(pool->slots[i].result.bytes);
    sl_free(pool->workers);
    sl_free(pool->slots);
    sl_free(pool);
}

static struct timespec deadline_after(int wait_ms)
{
    struct timespec deadline;
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += wait_ms / 1000;
    deadline.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    return deadline;
}

enum sl_status wk_pool_take(
        struct wk_pool *pool, int wait_ms, struct wk_task_result *ret_result, struct sl_error *err)
{
    struct timespec deadline = deadline_after(wait_ms);
    struct slot *slot = &pool->slots[pool->taken % pool->window];
    enum sl_status status = SL_OK;
    (void)pthread_mutex_lock(&pool->mutex);
    int rc = 0;
    while (!slot->ready && pool->failure.status == SL_OK && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&pool->ready, &pool->mutex, &deadline);
    if (slot->ready) {
        *ret_result = slot->result;
        *slot = (struct slot){0};
        pool->taken++;
        (void)pthread_cond_broadcast(&pool->room);
    } else if (pool->failure.status != SL_OK) {
        status = sl_fail(err, pool->failure.status, "%s", pool->failure.text);
    } else {
        status = SL_TIMEOUT;
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return status;
}
