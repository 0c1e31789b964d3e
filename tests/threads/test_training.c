/* A whole training in one process: the server's loop and two workers' loops, each in a thread of its own with its threads below it, over TCP on loopback. Twice
 * with other numbers of threads: the parameters must be the same bits. */
#include "common/file.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/npy.h"
#include "common/random.h"
#include "ps/loop.h"
#include "ps/snapshot.h"
#include "worker/dataset/import.h"
#include "worker/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "fixture-training"
#define ROWS 30
#define WORKERS 2

static const char text[] =
        "labels: [{name: day, duration: 24h}, {name: week, duration: 7d}, {name: evergreen, duration: inf}]\n"
        "dataset: {train: " FOLDER "/data/train, validation: " FOLDER "/data/validation}\n"
        "modalities:\n"
        "  - {name: visual, kind: features, in: 6, hidden: 160, dropout: 0.1}\n"
        "  - {name: audio, kind: features, in: 5, hidden: 16}\n"
        "fusion: {dim: 16, heads: 2, layers: 1, mlp: 16}\n"
        "batch: {slots: 6, slot_size: 2}\n"
        "epochs: 3\n"
        "snapshots: {dir: " FOLDER "/run, every_steps: 1, keep: 2}\n"
        "cluster: {coordinator: \"tcp://127.0.0.1:0\", heartbeat_ms: 200, timeout_ms: 20000}\n";

static struct sl_error err;

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        enum sl_status got_ = (call);                                                                        \
        if (got_ != SL_OK)                                                                                   \
            fail_msg("%s: %s", #call, err.text);                                                             \
    } while (0)

static void write_array(const char *path, int64_t width)
{
    float values[ROWS * 8];
    struct sl_random random = sl_random_make(3, SL_RANDOM_TEST, (uint64_t)width, 0);
    for (int64_t i = 0; i < ROWS * width; i++)
        values[i] = sl_random_normal(&random, (uint64_t)i);
    assert_ok(sl_npy_write(path, values, 3, (const int64_t[]){ROWS, 1, width}, &err));
}

static int set_up(void **state)
{
    (void)state;
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    char manifest[ROWS * 256];
    size_t used = 0;
    assert_ok(sl_file_remove_tree(FOLDER, &err));
    assert_ok(sl_file_make_directories(FOLDER, &err));
    write_array(FOLDER "/visual.npy", 6);
    write_array(FOLDER "/audio.npy", 5);
    static const char *const labels[] = {"day", "week", "evergreen"};
    for (int i = 0; i < ROWS; i++)
        used += (size_t)snprintf(manifest + used, sizeof(manifest) - used,
                "{\"id\": \"r%d\", \"label\": \"%s\", \"split\": \"%s\", \"features\": {\"visual\": "
                "{\"path\": \"visual.npy\", \"row\": %d}, "
                "\"audio\": {\"path\": \"audio.npy\", \"row\": %d}}}\n",
                i, labels[i % 3], i < 20 ? "train" : "validation", i, i);
    assert_ok(sl_file_write_atomic(FOLDER "/manifest.jsonl", manifest, used, &err));
    assert_ok(sl_config_parse(&config, text, strlen(text), "run.yaml", NULL, NULL, 0, true, &err));
    struct wk_import_options options = {
            .manifest = FOLDER "/manifest.jsonl", .out = FOLDER "/data", .jobs = 2};
    struct wk_import_result result = {0};
    assert_ok(wk_import_run(&options, config, &result, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_ok(sl_file_remove_tree(FOLDER, &err));
    return 0;
}

/* One loop in a thread of its own. */
struct role {
    pthread_t handle;
    struct sl_config *config;
    char coordinator[128];
    int ready_fd, threads, signal;
    enum sl_status status;
    struct sl_error err;
};

static void *server_main(void *argument)
{
    struct role *role = argument;
    struct ps_run_options options = {
            .config = role->config, .resume = "never", .signal_fd = -1, .ready_fd = role->ready_fd};
    role->status = ps_run(&options, &role->signal, &role->err);
    return NULL;
}

static void *worker_main(void *argument)
{
    struct role *role = argument;
    struct wk_worker_options options = {.config = role->config,
            .coordinator = role->coordinator,
            .threads = role->threads,
            .signal_fd = -1};
    role->status = wk_worker_run(&options, &role->err);
    return NULL;
}

static void begin(struct role *role, void *(*main)(void *))
{
    assert_int_equal(pthread_create(&role->handle, NULL, main, role), 0);
}

static void end(struct role *role)
{
    assert_int_equal(pthread_join(role->handle, NULL), 0);
    if (role->status != SL_OK)
        fail_msg("%s: %s", sl_status_name(role->status), role->err.text);
}

/* The parameters that a run ends with. Owns: sl_free them. */
static float *train(const char *name, int threads, size_t *ret_count)
{
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    struct role server = {0}, workers[WORKERS] = {0};
    char override[128], server_threads[64], endpoint[128] = "";
    const char *overrides[] = {override, server_threads};
    int ready[2];
    (void)snprintf(override, sizeof(override), "snapshots.dir=" FOLDER "/%s", name);
    (void)snprintf(server_threads, sizeof(server_threads), "cluster.server_threads=%d", threads);
    assert_ok(sl_config_parse(&config, text, strlen(text), "run.yaml", NULL, overrides, 2, true, &err));
    assert_int_equal(pipe(ready), 0);
    server.config = config;
    server.ready_fd = ready[1];
    begin(&server, server_main);
    ssize_t size = read(ready[0], endpoint, sizeof(endpoint) - 1);
    assert_true(size > 1);
    endpoint[size - 1] = 0;
    for (int w = 0; w < WORKERS; w++) {
        workers[w].config = config;
        workers[w].threads = threads;
        (void)snprintf(workers[w].coordinator, sizeof(workers[w].coordinator), "%s", endpoint);
        begin(&workers[w], worker_main);
    }
    for (int w = 0; w < WORKERS; w++)
        end(&workers[w]);
    end(&server);
    (void)close(ready[0]);

    char path[128];
    struct ps_saved *saved = NULL;
    struct sl_layout *layout = NULL;
    (void)snprintf(path, sizeof(path), FOLDER "/%s/snapshots/latest", name);
    assert_ok(ps_saved_open(&saved, path, &err));
    assert_int_equal(ps_saved_manifest(saved)->training.step, 6);
    assert_ok(sl_layout_create(&layout, config, SL_BLOCK_FLOATS, &err));
    float *values = sl_alloc_aligned(3 * layout->count, sizeof(float));
    assert_ok(ps_saved_load(saved, layout, values, values + layout->count, values + 2 * layout->count, &err));
    *ret_count = 3 * layout->count;
    sl_layout_destroy(layout);
    ps_saved_close(saved);
    return values;
}

static void test_threads_give_the_same_bits(void **state)
{
    (void)state;
    size_t count = 0;
    float *one = train("one", 1, &count), *many = train("many", 3, &count);
    assert_memory_equal(one, many, count * sizeof(float));
    sl_free(one);
    sl_free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads_give_the_same_bits)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
