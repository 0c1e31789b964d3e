/* The scoring service without sockets: many submitters get the numbers of a forward pass of their own, a full queue refuses, an end lets go. Run under ThreadSanitizer too. */
#include "deploy/serve/service.h"

#include "common/file.h"
#include "common/memory.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS 6
#define REQUESTS 40

static const char config_text[] =
        "labels: [{name: day, duration: 24h}, {name: week, duration: 7d}, {name: evergreen, duration: inf}]\n"
        "dataset: {train: none}\n"
        "modalities:\n"
        "  - {name: audio, kind: features, in: 3, max_items: 2, hidden: 16}\n"
        "  - {name: meta, kind: features, in: 2, max_items: 1, hidden: 16}\n"
        "fusion: {dim: 16, heads: 2, layers: 1, mlp: 32}\n"
        "snapshots: {dir: run}\n";

struct fixture {
    char dir[64];
    struct dp_loaded loaded;
    struct wk_workspace *workspace;
    struct wk_batch *batch;
};

static int setup(void **state)
{
    struct fixture *f = sl_alloc(1, sizeof(*f));
    struct sl_error err = {0};
    char path[128];
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_service-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return 1;
    (void)snprintf(path, sizeof(path), "%s/config.yaml", f->dir);
    enum sl_status status = sl_file_write_atomic(path, config_text, strlen(config_text), &err);
    if (status == SL_OK)
        status = sl_config_load(&f->loaded.config, path, NULL, 0, &err);
    if (status == SL_OK)
        status = sl_layout_create(&f->loaded.layout, f->loaded.config, SL_BLOCK_FLOATS, &err);
    if (status == SL_OK)
        status = wk_model_create(&f->loaded.model, f->loaded.config, f->loaded.layout, &err);
    if (status == SL_OK)
        status = wk_workspace_create(&f->workspace, f->loaded.model, 1, false, &err);
    if (status == SL_OK)
        status = wk_batch_create(&f->batch, f->loaded.config, 1, &err);
    if (status != SL_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    f->loaded.params = sl_alloc_aligned(f->loaded.layout->count, sizeof(float));
    for (size_t i = 0; i < f->loaded.layout->count; i++) /* any numbers that are not all alike */
        f->loaded.params[i] = (float)((i * 37) % 101) / 200.0F - 0.25F;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct sl_error err = {0};
    wk_workspace_destroy(f->workspace);
    wk_batch_destroy(f->batch);
    wk_model_destroy(f->loaded.model);
    sl_layout_destroy(f->loaded.layout);
    sl_config_destroy(f->loaded.config);
    sl_free(f->loaded.params);
    (void)!sl_file_remove_tree(f->dir, &err);
    sl_free(f);
    return 0;
}

static void values_of(int number, float audio[3], float meta[2])
{
    for (int i = 0; i < 3; i++)
        audio[i] = (float)((number * 7 + i * 3) % 17) / 8.0F;
    for (int i = 0; i < 2; i++)
        meta[i] = (float)((number * 5 + i) % 13) / 4.0F;
}

static char *text_of(int number)
{
    float audio[3], meta[2];
    values_of(number, audio, meta);
    return sl_strdup_printf(
            "{\"id\":\"%d\",\"features\":{\"audio\":[%.9g,%.9g,%.9g],\"meta\":[[%.9g,%.9g]]}}", number,
            (double)audio[0], (double)audio[1], (double)audio[2], (double)meta[0], (double)meta[1]);
}

/* What a forward pass of this sample alone says. */
static void expect(struct fixture *f, int number, struct dp_prediction *ret_prediction)
{
    float audio[3], meta[2];
    struct sl_error err = {0};
    struct sl_step_stats stats;
    const struct wk_mode mode = {.training = false};
    values_of(number, audio, meta);
    struct wk_sample sample = {.label = WK_LABEL_NONE,
            .inputs = {{.items = 1, .features = audio}, {.items = 1, .features = meta}}};
    wk_batch_clear(f->batch);
    assert_int_equal(wk_batch_add(f->batch, f->loaded.config, &sample, &err), SL_OK);
    wk_model_forward(f->loaded.model, f->loaded.params, f->batch, &mode, f->workspace, &stats);
    dp_prediction_take(ret_prediction, f->workspace, f->loaded.config, 0);
}

/* ---- submitters ---- */

struct client {
    struct dp_service *service;
    int first;
    int good, refused;
    struct dp_prediction predictions[REQUESTS];
    sem_t done;
};

static void on_done(struct dp_job *job)
{
    struct client *client = job->context;
    (void)sem_post(&client->done);
}

static struct dp_job *make_job(struct client *client, char *text)
{
    struct dp_job *job = dp_job_create(on_done, client);
    job->text_size = strlen(text);
    job->text = text;
    return job;
}

static void *ask(void *argument)
{
    struct client *client = argument;
    for (int i = 0; i < REQUESTS; i++) {
        struct sl_error err = {0};
        struct dp_job *job = make_job(client,
                i % 8 == 7 ? sl_strdup("{\"features\":{\"audio\":[1]}}") : text_of(client->first + i));
        if (dp_service_submit(client->service, job, &err) == SL_OK) {
            (void)sem_wait(&client->done);
            client->good += job->status == SL_OK;
            client->refused += job->status == SL_BAD_DATA;
            client->predictions[i] = job->prediction;
        }
        dp_job_destroy(job);
    }
    return NULL;
}

static struct dp_service *make_service(struct fixture *f, int queue, int batch, int64_t wait_us, bool joint)
{
    struct sl_error err = {0};
    struct dp_service *service = NULL;
    const struct dp_service_options options = {.loaded = &f->loaded,
            .threads = 3,
            .decoders = 2,
            .queue = queue,
            .batch = batch,
            .wait_us = wait_us,
            .joint = joint};
    if (dp_service_create(&service, &options, &err) != SL_OK)
        fail_msg("%s", err.text);
    return service;
}

static void ask_from_many_threads(struct fixture *f, int batch, int64_t wait_us, bool joint)
{
    pthread_t threads[CLIENTS];
    SL_AUTO_FREE struct client *clients = sl_alloc(CLIENTS, sizeof(*clients));
    struct dp_service *service = make_service(f, CLIENTS, batch, wait_us, joint);
    struct dp_prediction alone;
    for (int c = 0; c < CLIENTS; c++) {
        clients[c].service = service;
        clients[c].first = c * REQUESTS;
        (void)sem_init(&clients[c].done, 0, 0);
        assert_int_equal(pthread_create(&threads[c], NULL, ask, &clients[c]), 0);
    }
    for (int c = 0; c < CLIENTS; c++)
        (void)pthread_join(threads[c], NULL);
    dp_service_destroy(service); /* before what its threads' last call still touches */
    for (int c = 0; c < CLIENTS; c++) {
        assert_int_equal(clients[c].good, REQUESTS - REQUESTS / 8);
        assert_int_equal(clients[c].refused, REQUESTS / 8);
        for (int i = 0; i < REQUESTS; i++) {
            if (i % 8 == 7)
                continue;
            expect(f, clients[c].first + i, &alone);
            for (int b = 0; b <= 2; b++)
                for (int k = 0; k < 3; k++)
                    if (joint)
                        assert_float_equal(clients[c].predictions[i].probabilities[b][k],
                                alone.probabilities[b][k], 1e-5);
                    else /* to the bit */
                        assert_memory_equal(&clients[c].predictions[i].probabilities[b][k],
                                &alone.probabilities[b][k], sizeof(float));
        }
        (void)sem_destroy(&clients[c].done);
    }
}

static void test_many_threads(void **state)
{
    ask_from_many_threads(*state, 1, 0, false);
    ask_from_many_threads(*state, 4, 500, false);
    ask_from_many_threads(*state, 4, 500, true);
}

/* Batches of three that are never due by themselves: two requests fill the queue, the third is refused, the end lets two go. */
static void test_full_and_drained(void **state)
{
    struct sl_error err = {0};
    SL_AUTO_FREE struct client *client = sl_alloc(1, sizeof(*client));
    struct dp_service *service = make_service(*state, 2, 3, 3600000000, false);
    struct dp_job *jobs[3];
    (void)sem_init(&client->done, 0, 0);
    for (int i = 0; i < 3; i++) {
        jobs[i] = make_job(client, text_of(i));
        assert_int_equal(dp_service_submit(service, jobs[i], &err), i < 2 ? SL_OK : SL_AGAIN);
    }
    assert_non_null(strstr(err.text, "full: 2 requests"));
    assert_int_equal(dp_service_retry_s(service), 1);
    assert_false(dp_service_stopping(service));
    assert_true(dp_service_drain(service, 60000));
    assert_int_equal(dp_service_submit(service, jobs[2], &err), SL_STOPPED);
    for (int i = 0; i < 2; i++) {
        (void)sem_wait(&client->done);
        assert_int_equal(jobs[i]->status, SL_OK);
        assert_ptr_equal(dp_job_loaded(jobs[i]), &((struct fixture *)*state)->loaded);
    }
    struct dp_figures figures;
    struct dp_figures_now now;
    dp_service_figures(service, &figures, &now);
    assert_int_equal(figures.answers[DP_OUTCOME_OK], 2);
    assert_int_equal(figures.answers[DP_OUTCOME_BUSY], 2);
    assert_int_equal(now.in_flight, 0);
    for (int i = 0; i < 3; i++)
        dp_job_destroy(jobs[i]);
    dp_service_destroy(service);
    (void)sem_destroy(&client->done);
}

static void test_what_does_not_start(void **state)
{
    struct fixture *f = *state;
    struct sl_error err = {0};
    struct dp_service *service = NULL;
    struct dp_service_options options = {
            .snapshot = f->dir, .threads = 1, .decoders = 1, .queue = 1, .batch = 1};
    assert_int_equal(dp_service_create(&service, &options, &err), SL_NOT_FOUND);
    assert_non_null(strstr(err.text, "has no snapshot"));
    options.root = "/nowhere/at/all";
    assert_int_equal(dp_service_create(&service, &options, &err), SL_USAGE);
    assert_null(service);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_many_threads, setup, teardown),
            cmocka_unit_test_setup_teardown(test_full_and_drained, setup, teardown),
            cmocka_unit_test_setup_teardown(test_what_does_not_start, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
