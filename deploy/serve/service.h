#pragma once
/* The scoring itself, without any socket: a bounded queue, threads that prepare requests, threads that run the model, and the snapshot that they share.
 *
 *     dp_service_create(&service, &options, err);
 *     s = dp_service_submit(service, job);       // AGAIN: full; STOPPED: draining. Later job->done(job) on a thread of the service
 *     dp_service_look(service);                  // now and then: takes a newer snapshot if there is one
 *     dp_service_drain(service, 30000);          // nothing new; waits for what is in flight
 *     dp_service_destroy(service);
 *
 * What holds:
 *   - A job meets one snapshot: it is pinned when preparing begins and kept until the job is destroyed, so an answer never mixes two. An old snapshot goes when
 *     its last job does.
 *   - Each request has a forward pass of its own, with the shapes that `predict` uses, so its bits do not depend on which requests came together. With
 *     `joint` a batch is one forward pass: faster, but the BLAS picks its kernels by the batch's size, and last bits of an answer change with it.
 *   - Requests that were taken are answered: done is called exactly once for each.
 *
 * Thread: submit, figures and identity from any; create, look, drain, destroy from one.
 */
#include "deploy/scoring/loaded.h"
#include "deploy/scoring/prediction.h"
#include "deploy/serve/figures.h"
#include "deploy/serve/request.h"
#include "worker/dataset/sample.h"

#include <stdbool.h>
#include <stdint.h>

struct dp_service;
struct dp_bundle;

struct dp_service_options {
    const char *snapshot;           /* a snapshot's folder, or a run's; looked at again for newer ones */
    const struct dp_loaded *loaded; /* instead of that: borrowed, and never another */
    const char *root;               /* videos lie below; NULL = no paths are taken */
    int threads, decoders;          /* that run the model; that prepare */
    int queue;                      /* requests in flight, at most */
    int batch;                      /* requests of a batch, at most */
    int64_t wait_us;                /* that the oldest waits for others */
    bool joint;                     /* one forward pass a batch */
    int max_video_s;                /* 0 = any */
};

/* One request on its way. The submitter makes and destroys it; between submit and done it belongs to the service. */
struct dp_job {
    struct dp_request request;
    char *text; /* JSON that is still to be parsed into request; owned, NULL = none */
    size_t text_size;
    struct wk_sample sample; /* when prepared: there already, and request is not looked at */
    bool prepared;
    void (*done)(struct dp_job *job); /* on a thread of the service; short, must not block */
    void *context;                    /* the submitter's */
    /* after done: */
    enum sl_status status;
    struct sl_error error;
    struct dp_prediction prediction;
    /* the service's own */
    struct dp_service *service;
    struct dp_bundle *bundle;
    struct dp_job *next;
    int64_t submitted_us, prepared_us, taken_us;
};

struct dp_job *dp_job_create(void (*done)(struct dp_job *job), void *context); /* NULL when memory is out */
void dp_job_destroy(struct dp_job *job);                                       /* NULL is fine */
/* dp_job_loaded borrows the snapshot that a job met; NULL when it met none. */
const struct dp_loaded *dp_job_loaded(const struct dp_job *job);

/* dp_service_create loads the snapshot and starts the threads. Owns: *ret_service. Errors: as dp_loaded_open and wk_importer_create; NOT_FOUND for the root; FAILED. */
SL_MUST_USE enum sl_status dp_service_create(
        struct dp_service **ret_service, const struct dp_service_options *options, struct sl_error *err);
/* dp_service_destroy drains without a limit, and ends the threads. All jobs must be destroyed before or in their done. NULL is fine. */
void dp_service_destroy(struct dp_service *service);

/* dp_service_submit takes a job. Errors: AGAIN when the queue is full, STOPPED when draining, with the text for whoever asked; then done is not called. */
SL_MUST_USE enum sl_status dp_service_submit(
        struct dp_service *service, struct dp_job *job, struct sl_error *err);
/* dp_service_retry_s estimates when there will be room again, for Retry-After. Units: seconds, 1 to 60. */
int dp_service_retry_s(struct dp_service *service);
/* dp_service_count notes an answer that never became a job. */
void dp_service_count(struct dp_service *service, enum sl_status status);

/* dp_service_look takes a snapshot that is another one than that in use, after verifying it; what goes wrong is logged, counted, and leaves the old one in use. True when
 * it was taken. */
bool dp_service_look(struct dp_service *service);

/* dp_service_stop refuses new jobs from now on; dp_service_drain does too, and waits until none is in flight, false when time ran out. */
void dp_service_stop(struct dp_service *service);
bool dp_service_drain(struct dp_service *service, int64_t timeout_ms);
bool dp_service_stopping(struct dp_service *service);

/* These write what the service counts, and what it serves: members of an open object, or families of Prometheus. */
void dp_service_figures_json(struct dp_service *service, struct sl_json *json);
void dp_service_model_json(struct dp_service *service, struct sl_json *json);
void dp_service_prometheus(struct dp_service *service, struct sl_text *text);
/* dp_service_figures copies them. */
void dp_service_figures(
        struct dp_service *service, struct dp_figures *ret_figures, struct dp_figures_now *ret_now);
/* dp_identity_json writes the object "model": which snapshot answered. */
void dp_identity_json(struct sl_json *json, const struct dp_loaded *loaded);
