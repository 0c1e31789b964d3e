/* `shelflife evaluate`: measures a snapshot on a dataset, per branch. */
#include "common/cpu.h"
#include "common/evaluation.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "deploy/command.h"
#include "deploy/scoring/loaded.h"
#include "worker/dataset/dataset.h"
#include "worker/executor.h"

#include <getopt.h>
#include <poll.h>
#include <stdio.h>

#define JSON_MAX ((size_t)64 << 20)

static const char help[] = "usage: shelflife evaluate SNAPSHOT DATASET [OPTIONS]\n\n"
                           "Measures the fused prediction and each modality's own one: accuracy, macro-F1, "
                           "expected calibration error, mean\n"
                           "absolute class distance, loss, confusion. SNAPSHOT: a snapshot's folder, or a "
                           "run's (then its best one). DATASET: one\n"
                           "split of a dataset, or a dataset (then its test split).\n\n"
                           "  --json       print one JSON object\n"
                           "  --threads N  compute threads (default: all cores)\n\n"
                           "example: shelflife evaluate demo/run demo/dataset/test --json\n";

struct arguments {
    const char *snapshot, *dataset;
    int64_t threads;
    bool json;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
            {"threads", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct sl_error err = {0};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return -1;
        }
        if (option == 'j')
            a->json = true;
        else if (option != 't')
            return dp_usage("evaluate", "unknown option");
        else if (dp_number(&a->threads, "--threads", optarg, 1, 1024, &err) != SL_OK)
            return dp_fail("evaluate", SL_USAGE, &err);
    }
    if (optind + 2 != argc)
        return dp_usage("evaluate", "expected SNAPSHOT and DATASET");
    a->snapshot = argv[optind];
    a->dataset = argv[optind + 1];
    return 0;
}

static enum sl_status open_dataset(struct wk_dataset **ret_dataset, const char *path,
        const struct sl_config *config, struct sl_error *err)
{
    char manifest[SL_PATH_MAX + 64], test[SL_PATH_MAX + 64];
    (void)snprintf(manifest, sizeof(manifest), "%s/manifest.json", path);
    (void)snprintf(test, sizeof(test), "%s/test", path);
    bool parent = sl_file_size(manifest) < 0 && sl_file_is_directory(test);
    return wk_dataset_open(ret_dataset, parent ? test : path, config, err);
}

/* Owns: takes buffer. */
static enum sl_status load_sums(
        struct sl_evaluation *evaluation, struct sl_buffer *buffer, struct sl_error *err)
{
    int branches = sl_evaluation_branches(evaluation), classes = sl_evaluation_classes(evaluation);
    size_t ints = sl_evaluation_int_count(branches, classes),
           doubles = sl_evaluation_double_count(branches, classes);
    const int64_t *values = buffer->data;
    enum sl_status status =
            sl_evaluation_load(evaluation, values, ints, (const double *)(values + ints), doubles, err);
    sl_buffer_release(buffer);
    return status;
}

/* Runs all units on the executor's threads and waits for the sums. */
static enum sl_status measure(const struct dp_loaded *loaded, struct wk_dataset *dataset, int threads,
        struct sl_evaluation *evaluation, struct sl_error *err)
{
    struct wk_executor *executor = NULL;
    struct sl_plan_options plan = {.count = wk_dataset_count(dataset),
            .slots = loaded->config->batch.slots,
            .slot_size = loaded->config->batch.slot_size,
            .seed = loaded->config->seed};
    struct wk_executor_options options = {.config = loaded->config,
            .layout = loaded->layout,
            .model = loaded->model,
            .train = dataset,
            .validation = dataset,
            .plan = &plan,
            .threads = threads};
    enum sl_status status = wk_executor_create(&executor, &options, err);
    if (status != SL_OK)
        return status;
    uint64_t size = (uint64_t)loaded->config->batch.slot_size,
             units = (wk_dataset_count(dataset) + size - 1) / size;
    struct wk_action run = {.kind = WK_ACTION_COMPUTE,
            .phase = SL_PHASE_VALIDATE,
            .slots = (uint32_t)units,
            .end = (uint32_t)units};
    wk_executor_submit(executor, &run, loaded->params);
    for (bool idle = false; !idle && status == SL_OK;) {
        struct wk_result result;
        struct pollfd item = {.fd = wk_executor_fd(executor), .events = POLLIN};
        if (wk_executor_take(executor, &result) == SL_AGAIN)
            (void)poll(&item, 1, 1000);
        else if (result.kind == WK_RESULT_FAILED)
            status = sl_fail(err, result.status, "%s", result.error.text);
        else if (result.kind == WK_RESULT_EVALUATION)
            status = load_sums(evaluation, result.buffer, err);
        else
            idle = result.kind == WK_RESULT_IDLE;
    }
    wk_executor_destroy(executor);
    return status;
}

static enum sl_status print_json(const struct dp_loaded *loaded, const char *dataset,
        const struct sl_evaluation *evaluation, const char *const *branches, const char *const *classes,
        struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, JSON_MAX);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "snapshot", loaded->path);
    sl_json_int(&json, "step", loaded->step);
    sl_json_string(&json, "dataset", dataset);
    sl_json_int(&json, "samples", sl_evaluation_count(evaluation, loaded->config->modality_count));
    sl_evaluation_json(evaluation, &json, "branches", branches, classes);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status evaluate(const struct arguments *a, struct sl_error *err)
{
    SL_AUTO(dp_loaded_close_auto) struct dp_loaded *loaded = NULL;
    SL_AUTO(sl_evaluation_destroy_auto) struct sl_evaluation *evaluation = NULL;
    struct wk_dataset *dataset = NULL;
    enum sl_status status = dp_loaded_open(&loaded, a->snapshot, err);
    if (status == SL_OK)
        status = open_dataset(&dataset, a->dataset, loaded->config, err);
    if (status == SL_OK)
        status = sl_evaluation_create(
                &evaluation, loaded->config->modality_count + 1, loaded->config->label_count, err);
    if (status == SL_OK)
        status = measure(loaded, dataset, a->threads > 0 ? (int)a->threads : sl_cpu_count(), evaluation, err);
    wk_dataset_close(dataset);
    if (status != SL_OK)
        return status;
    const char *branches[SL_BRANCHES_MAX], *classes[SL_LABELS_MAX];
    for (int b = 0; b <= loaded->config->modality_count; b++)
        branches[b] = sl_config_branch_name(loaded->config, b);
    for (int k = 0; k < loaded->config->label_count; k++)
        classes[k] = loaded->config->labels[k].name;
    if (a->json)
        return print_json(loaded, a->dataset, evaluation, branches, classes, err);
    printf("snapshot %s (step %ld) on %s\n", loaded->path, (long)loaded->step, a->dataset);
    sl_evaluation_print(evaluation, stdout, branches, classes);
    return SL_OK;
}

int dp_evaluate(int argc, char **argv)
{
    struct arguments a = {0};
    struct sl_error err = {0};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    enum sl_status status = evaluate(&a, &err);
    return status == SL_OK ? SL_OK : dp_fail("evaluate", status, &err);
}
