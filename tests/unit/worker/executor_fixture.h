#pragma once
/* What the executor's tests share: a dataset of arrays that are made here, and the next result, waited for. */
#include "worker/executor.h"

#include "common/file.h"
#include "common/npy.h"
#include "common/random.h"
#include "tests/unit/worker/fixture.h"
#include "worker/dataset/import.h"

#include <poll.h>

#define FIXTURE_ROWS_MAX 25
#define FIXTURE_WAIT_MS 30000

static struct sl_error err;

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        enum sl_status got_ = (call);                                                                        \
        if (got_ != SL_OK)                                                                                   \
            fail_msg("%s: %s", #call, err.text);                                                             \
    } while (0)

static inline void fixture_array(
        const char *folder, const char *name, int rows, int64_t items, int64_t width, uint64_t stream)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s.npy", folder, name);
    float *values = sl_alloc((size_t)(rows * items * width), sizeof(float));
    struct sl_random random = sl_random_make(3, SL_RANDOM_TEST, stream, 0);
    for (int64_t i = 0; i < rows * items * width; i++)
        values[i] = sl_random_normal(&random, (uint64_t)i);
    assert_ok(sl_npy_write(path, values, 3, (const int64_t[]){rows, items, width}, &err));
    sl_free(values);
}

/* Makes FOLDER/data anew: `train` samples to train with, those after them up to `rows` to validate. */
static inline void fixture_import(const char *folder, const struct sl_config *config, int rows, int train)
{
    char text[FIXTURE_ROWS_MAX * 256], manifest[128], out[128];
    size_t used = 0;
    assert_true(rows <= FIXTURE_ROWS_MAX);
    assert_ok(sl_file_remove_tree(folder, &err));
    assert_ok(sl_file_make_directories(folder, &err));
    fixture_array(folder, "visual", rows, 2, 5, 1);
    fixture_array(folder, "audio", rows, 3, 6, 2);
    for (int i = 0; i < rows; i++)
        used += (size_t)snprintf(text + used, sizeof(text) - used,
                "{\"id\": \"r%d\", \"label\": \"label%d\", \"split\": \"%s\", \"features\": {\"visual\": "
                "{\"path\": \"visual.npy\", \"row\": %d}, "
                "\"audio\": {\"path\": \"audio.npy\", \"row\": %d}}}\n",
                i, i % 3, i < train ? "train" : "validation", i, i);
    (void)snprintf(manifest, sizeof(manifest), "%s/manifest.jsonl", folder);
    (void)snprintf(out, sizeof(out), "%s/data", folder);
    assert_ok(sl_file_write_atomic(manifest, text, used, &err));
    struct wk_import_options options = {.manifest = manifest, .out = out, .jobs = 1};
    struct wk_import_result result = {0};
    assert_ok(wk_import_run(&options, config, &result, &err));
    assert_int_equal(result.imported[WK_SPLIT_TRAIN], train);
    assert_int_equal(result.imported[WK_SPLIT_VALIDATION], rows - train);
}

static inline struct wk_result fixture_take(struct wk_executor *executor)
{
    struct wk_result result;
    while (wk_executor_take(executor, &result) != SL_OK) {
        struct pollfd ready = {.fd = wk_executor_fd(executor), .events = POLLIN};
        assert_int_equal(poll(&ready, 1, FIXTURE_WAIT_MS), 1);
    }
    return result;
}
