/* `bench serve`: the scoring service of `shelflife serve` without sockets and decoding: requests per second and latency at several numbers of clients, one by one and in
 * batches, against forward passes alone. */
#include "common/cpu.h"
#include "common/memory.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/synthetic.h"
#include "deploy/serve/service.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NAME "serve"
#define BATCH 8
#define CLIENTS_MAX 32
#define JOINT_WAIT_US 2000

/* Clients in a closed loop: each asks again as soon as it has its answer. */
struct crowd {
    struct dp_service *service;
    const struct dp_subject *subject;
    int clients;
    const char *how;
    struct wk_sample samples[CLIENTS_MAX]; /* of those that do not ask just now */
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct dp_job *done; /* answered, linked by next */
};

/* One forward pass after the other on this thread. */
struct alone {
    const struct dp_subject *subject;
    struct wk_batch *batch;
    struct wk_workspace *workspace;
};

struct serve_bench {
    struct alone alone;
    struct crowd crowds[8];
    int count;
};

static enum sl_status alone_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    struct alone *a = item->context;
    struct sl_step_stats stats;
    const struct wk_mode mode = {.training = false};
    wk_model_forward(a->subject->model, a->subject->params, a->batch, &mode, a->workspace, &stats);
    return SL_OK;
}

static void on_done(struct dp_job *job)
{
    struct crowd *crowd = job->context;
    (void)pthread_mutex_lock(&crowd->lock);
    job->next = crowd->done;
    crowd->done = job;
    (void)pthread_cond_signal(&crowd->some);
    (void)pthread_mutex_unlock(&crowd->lock);
}

/* Owns: the sample goes into the job on success. */
static enum sl_status ask(struct crowd *crowd, struct wk_sample *sample, struct sl_error *err)
{
    struct dp_job *job = dp_job_create(on_done, crowd);
    if (job == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a request");
    job->sample = *sample;
    job->prepared = true;
    *sample = (struct wk_sample){0};
    enum sl_status status = dp_service_submit(crowd->service, job, err);
    if (status != SL_OK) {
        *sample = job->sample;
        job->sample = (struct wk_sample){0};
        dp_job_destroy(job);
    }
    return status;
}

/* Waits for one answer and takes the sample back. */
static enum sl_status await(struct crowd *crowd, struct wk_sample *ret_sample, struct sl_error *err)
{
    (void)pthread_mutex_lock(&crowd->lock);
    while (crowd->done == NULL)
        (void)pthread_cond_wait(&crowd->some, &crowd->lock);
    struct dp_job *job = crowd->done;
    crowd->done = job->next;
    (void)pthread_mutex_unlock(&crowd->lock);
    enum sl_status status = job->status == SL_OK ? SL_OK : sl_fail(err, job->status, "%s", job->error.text);
    *ret_sample = job->sample;
    job->sample = (struct wk_sample){0};
    dp_job_destroy(job);
    return status;
}

/* Four answers for each client. */
static enum sl_status crowd_work(struct dp_item *item, struct sl_error *err)
{
    struct crowd *crowd = item->context;
    int asked = 0, total = 4 * crowd->clients, answered = 0;
    enum sl_status status = SL_OK;
    for (; asked < crowd->clients && status == SL_OK; asked++)
        status = ask(crowd, &crowd->samples[asked], err);
    while (answered < asked) { /* also after a failure: the samples come back */
        struct wk_sample *sample = &crowd->samples[answered % crowd->clients];
        enum sl_status got = await(crowd, sample, err);
        answered++;
        status = status == SL_OK ? got : status;
        if (status == SL_OK && asked < total) {
            status = ask(crowd, sample, err);
            asked += status == SL_OK;
        }
    }
    return status;
}

/* ---- report ---- */

static void report_crowd(struct dp_bench *bench, const struct crowd *crowd, const struct dp_item *item,
        const struct dp_item *alone)
{
    struct dp_figures figures;
    struct dp_figures_now now;
    char figure[96];
    double requests = 4.0 * crowd->clients;
    int threads = crowd->clients < sl_cpu_count() ? crowd->clients : sl_cpu_count();
    dp_service_figures(crowd->service, &figures, &now);
    (void)snprintf(figure, sizeof(figure), "%d client%s, %s", crowd->clients, crowd->clients == 1 ? "" : "s",
            crowd->how);
    dp_bench_row(bench, NAME, figure, requests / dp_item_seconds(item), "/s",
            threads / dp_item_seconds(alone), "forward passes alone");
    dp_bench_row(bench, NAME, figure, requests / dp_item_cpu(item), "/CPU s", 1.0 / dp_item_cpu(alone),
            "forward passes alone");
    dp_bench_row(bench, NAME, figure, 1e3 * dp_figures_quantile(&figures, DP_STAGE_TOTAL, 0.5), "ms p50", 0.0,
            NULL);
    dp_bench_row(bench, NAME, figure, 1e3 * dp_figures_quantile(&figures, DP_STAGE_TOTAL, 0.99), "ms p99",
            0.0, NULL);
}

/* ---- create ---- */

static enum sl_status add_crowd(struct serve_bench *b, const struct dp_loaded *loaded,
        const struct dp_subject *subject, int clients, int batch, bool joint, struct sl_error *err)
{
    struct crowd *crowd = &b->crowds[b->count];
    const struct dp_service_options options = {.loaded = loaded,
            .threads = sl_cpu_count(),
            .decoders = 1,
            .queue = CLIENTS_MAX,
            .batch = batch,
            .wait_us = joint ? JOINT_WAIT_US : 0,
            .joint = joint};
    crowd->clients = clients;
    crowd->subject = subject;
    crowd->how = joint ? "joint batches" : batch > 1 ? "batches" : "one by one";
    (void)pthread_mutex_init(&crowd->lock, NULL);
    (void)pthread_cond_init(&crowd->some, NULL);
    b->count++;
    enum sl_status status = dp_service_create(&crowd->service, &options, err);
    for (int i = 0; i < clients && status == SL_OK; i++) {
        status = dp_synthetic_sample(&crowd->samples[i], subject->config, (uint64_t)i, err);
        crowd->samples[i].label = WK_LABEL_NONE;
    }
    return status;
}

static enum sl_status prepare(struct serve_bench *b, const struct dp_loaded *loaded,
        struct dp_subject *subject, struct sl_error *err)
{
    static const struct {
        int clients, batch;
        bool joint;
    } shapes[] = {{1, 1, false}, {8, 1, false}, {8, BATCH, false}, {8, BATCH, true}, {32, 1, false},
            {32, BATCH, false}, {32, BATCH, true}};
    enum sl_status status = wk_batch_create(&b->alone.batch, subject->config, 1, err);
    b->alone.subject = subject;
    if (status == SL_OK)
        status = wk_workspace_create(&b->alone.workspace, subject->model, 1, false, err);
    if (status == SL_OK) {
        struct wk_sample sample = {0};
        status = dp_synthetic_sample(&sample, subject->config, 0, err);
        sample.label = WK_LABEL_NONE;
        if (status == SL_OK)
            status = wk_batch_add(b->alone.batch, subject->config, &sample, err);
        wk_sample_fini(&sample);
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]) && status == SL_OK; i++)
        status = add_crowd(b, loaded, subject, shapes[i].clients, shapes[i].batch, shapes[i].joint, err);
    return status;
}

static void fini(struct serve_bench *b)
{
    for (int c = 0; c < b->count; c++) {
        dp_service_destroy(b->crowds[c].service);
        for (int i = 0; i < CLIENTS_MAX; i++)
            wk_sample_fini(&b->crowds[c].samples[i]);
        (void)pthread_cond_destroy(&b->crowds[c].some);
        (void)pthread_mutex_destroy(&b->crowds[c].lock);
    }
    wk_workspace_destroy(b->alone.workspace);
    wk_batch_destroy(b->alone.batch);
    sl_free(b);
}

enum sl_status dp_bench_serve(struct dp_bench *bench, struct sl_error *err)
{
    struct dp_subject *subject = bench->subject;
    struct serve_bench *b = sl_alloc(1, sizeof(*b));
    struct dp_item items[1 + sizeof(b->crowds) / sizeof(b->crowds[0])] = {{.work = alone_work}};
    struct dp_loaded loaded = {.config = subject->config,
            .layout = subject->layout,
            .model = subject->model,
            .params = subject->params};
    if (b == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = prepare(b, &loaded, subject, err);
    items[0].context = &b->alone;
    for (int c = 0; c < b->count; c++)
        items[c + 1] = (struct dp_item){.work = crowd_work, .context = &b->crowds[c]};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, b->count + 1, err);
    for (int c = 0; c < b->count && status == SL_OK; c++)
        report_crowd(bench, &b->crowds[c], &items[c + 1], &items[0]);
    fini(b);
    return status;
}
