/* shelflife import: manifest in, dataset out. The work is worker/dataset/import.c; here are the flags, the progress and the summary. */
#include "common/config.h"
#include "common/error.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/progress.h"
#include "common/signals.h"
#include "deploy/command.h"
#include "worker/dataset/import.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife import MANIFEST --out DATASET --config CONFIG [options]\n"
        "\n"
        "Decodes, tokenises and shards the videos of a manifest (JSON lines: id, video, title, ocr, asr, "
        "label,\n"
        "published, split, features) into DATASET/train, DATASET/validation and DATASET/test. A line that is "
        "no\n"
        "use is listed in DATASET/rejects.jsonl with its reason and stops nothing. Run it again after a "
        "crash, a\n"
        "full disk or Ctrl-C: only what is missing is done.\n"
        "\n"
        "  --out DATASET        folder to write (required; new, or of the same import)\n"
        "  --config CONFIG      the YAML config that says labels, modalities and shapes (required)\n"
        "  --jobs N             threads, each with a decoder process (default: all cores)\n"
        "  --shard-size N       rows of a shard (default 4096)\n"
        "  --commit-rows N      make records durable every N rows (default: every second)\n"
        "  --max-rejects RATIO  end with exit code 3 when more of the lines are rejected (default 1)\n"
        "  --split WAY          give lines to splits, whatever they say themselves: stratified:80,10,10 "
        "shares out "
        "every\n"
        "                       class alike, time:80,10,10 trains on the oldest and tests on the newest\n"
        "  --split-seed N       another stratified split (default 1)\n"
        "  --together WHAT      with --split, what stays in one split: titles (near-identical ones), videos "
        "(same bytes),\n"
        "                       keys of your own such as _series; none (default titles,videos)\n"
        "  --cpu-limit S        CPU seconds for one video (default 60); the clock may take twice that\n"
        "  --memory-limit MIB   address space for one video (default 2048)\n"
        "  --set KEY=VALUE      change a key of the config; may be repeated\n"
        "  --json               print the summary as one JSON object\n"
        "  --help               this text\n"
        "\n"
        "exit codes: 0 done; 1 failed; 2 wrong usage or config; 3 no usable line, or too many rejects;\n"
        "7 disk full or failing; 130, 138, 143 stopped by a signal (run the same again to go on)\n"
        "\n"
        "example: shelflife import demo/manifest.jsonl --out demo/dataset --config deploy/quickstart.yaml\n";

struct arguments {
    struct wk_import_options options;
    struct wk_allot_options allot;
    struct dp_overrides overrides;
    const char *config;
    double max_rejects;
    bool allotting; /* a flag was given that only means something with --split */
    bool json, help;
};

/* What the callback needs: it draws, and looks for signals, since the import calls it several times a second. */
struct watch {
    struct sl_progress progress;
    atomic_bool stop;
    int signal_fd, signal;
    bool begun;
    int64_t before; /* rows of an earlier run */
};

static enum sl_status parse_ratio(double *ret_ratio, const char *text, struct sl_error *err)
{
    char *end = NULL;
    double ratio = strtod(text, &end);
    if (end == text || *end != '\0' || !(ratio >= 0.0 && ratio <= 1.0))
        return sl_fail(err, SL_USAGE, "--max-rejects %s: expected a number from 0 to 1, such as 0.05", text);
    *ret_ratio = ratio;
    return SL_OK;
}

enum flag {
    OUT = 256,
    CONFIG,
    JOBS,
    SHARD_SIZE,
    COMMIT_ROWS,
    MAX_REJECTS,
    SPLIT,
    SPLIT_SEED,
    TOGETHER,
    CPU_LIMIT,
    MEMORY_LIMIT,
    SET,
    JSON
};

static enum sl_status take_flag(struct arguments *arguments, int flag, struct sl_error *err)
{
    struct wk_import_options *options = &arguments->options;
    int64_t number = 0;
    enum sl_status status = SL_OK;
    switch (flag) {
    case OUT:
        options->out = optarg;
        break;
    case CONFIG:
        arguments->config = optarg;
        break;
    case JOBS:
        status = dp_number(&number, "--jobs", optarg, 1, 1024, err);
        options->jobs = (int)number;
        break;
    case SHARD_SIZE:
        status = dp_number(&number, "--shard-size", optarg, 1, 1 << 30, err);
        options->shard_size = (uint64_t)number;
        break;
    case COMMIT_ROWS:
        status = dp_number(&number, "--commit-rows", optarg, 1, 1 << 30, err);
        options->commit_rows = (uint64_t)number;
        break;
    case MAX_REJECTS:
        status = parse_ratio(&arguments->max_rejects, optarg, err);
        break;
    case SPLIT:
        status = wk_split_parse(&arguments->allot.split, optarg, err);
        options->allot = &arguments->allot;
        break;
    case SPLIT_SEED:
        status = dp_number(&number, "--split-seed", optarg, 0, INT64_MAX, err);
        arguments->allot.split.seed = (uint64_t)number;
        arguments->allotting = true;
        break;
    case TOGETHER:
        status = wk_allot_parse_together(&arguments->allot, optarg, err);
        arguments->allotting = true;
        break;
    case CPU_LIMIT:
        status = dp_number(&number, "--cpu-limit", optarg, 1, 86400, err);
        options->limits.cpu_s = (int)number;
        options->limits.wall_ms = (int)number * 2000;
        break;
    case MEMORY_LIMIT:
        status = dp_number(&number, "--memory-limit", optarg, 256, 1 << 20, err);
        options->limits.memory_mb = (int)number;
        break;
    case SET:
        status = dp_overrides_add(&arguments->overrides, optarg, err);
        break;
    case JSON:
        arguments->json = true;
        break;
    default:
        arguments->help = true;
        break;
    }
    return status;
}

static enum sl_status parse_arguments(
        struct arguments *arguments, int argc, char **argv, struct sl_error *err)
{
    static const struct option flags[] = {{"out", required_argument, NULL, OUT},
            {"config", required_argument, NULL, CONFIG}, {"jobs", required_argument, NULL, JOBS},
            {"shard-size", required_argument, NULL, SHARD_SIZE},
            {"commit-rows", required_argument, NULL, COMMIT_ROWS},
            {"max-rejects", required_argument, NULL, MAX_REJECTS}, {"split", required_argument, NULL, SPLIT},
            {"split-seed", required_argument, NULL, SPLIT_SEED},
            {"together", required_argument, NULL, TOGETHER},
            {"cpu-limit", required_argument, NULL, CPU_LIMIT},
            {"memory-limit", required_argument, NULL, MEMORY_LIMIT}, {"set", required_argument, NULL, SET},
            {"json", no_argument, NULL, JSON}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    optind = 0;
    opterr = 0;
    enum sl_status status = SL_OK;
    for (int flag; status == SL_OK && (flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1;) {
        if (flag == '?' || flag == ':')
            return sl_fail(err, SL_USAGE, "%s: %s; see shelflife import --help", argv[optind - 1],
                    flag == ':' ? "a value is missing" : "there is no such flag");
        status = take_flag(arguments, flag, err);
    }
    if (status != SL_OK || arguments->help)
        return status;
    if (optind + 1 != argc)
        return sl_fail(
                err, SL_USAGE, "expected one MANIFEST, found %d; see shelflife import --help", argc - optind);
    if (arguments->allotting && arguments->options.allot == NULL)
        return sl_fail(
                err, SL_USAGE, "--split-seed and --together say how --split does it: give --split too");
    if (arguments->options.out == NULL)
        return sl_fail(err, SL_USAGE, "--out is missing: the folder for the dataset");
    if (arguments->config == NULL)
        return sl_fail(err, SL_USAGE, "--config is missing: it says labels, modalities and shapes");
    arguments->options.manifest = argv[optind];
    return SL_OK;
}

static void on_progress(void *context, uint64_t done, uint64_t total, uint64_t rejected)
{
    struct watch *watch = context;
    if (!watch->begun) {
        watch->begun = true;
        watch->before = (int64_t)done;
        sl_progress_begin(&watch->progress,
                &(struct sl_progress_options){
                        .title = "import", .unit = "clips", .total = (int64_t)total, .done = (int64_t)done});
    }
    char note[SL_PROGRESS_NOTE_MAX] = "";
    if (rejected > 0)
        (void)snprintf(note, sizeof(note), "%" PRIu64 " rejected", rejected);
    sl_progress_update(&watch->progress, (int64_t)done, "%s", note);
    int number = sl_signals_take(watch->signal_fd);
    while (number == SIGCHLD) /* decoders that were replaced */
        number = sl_signals_take(watch->signal_fd);
    if (number != 0) {
        watch->signal = number;
        atomic_store(&watch->stop, true);
    }
}

static uint64_t sum_imported(const struct wk_import_result *result)
{
    uint64_t sum = 0;
    for (int i = 0; i < WK_SPLITS; i++)
        sum += result->imported[i];
    return sum;
}

static void print_text(const struct arguments *arguments, const struct wk_import_result *result)
{
    uint64_t imported = sum_imported(result), fresh = imported + result->rejected > result->resumed
                                                              ? imported + result->rejected - result->resumed
                                                              : 0;
    printf("%s: %" PRIu64 " of %" PRIu64 " lines imported", arguments->options.out, imported, result->lines);
    printf(" (train %" PRIu64 ", validation %" PRIu64 ", test %" PRIu64 "), %.1f MB",
            result->imported[WK_SPLIT_TRAIN], result->imported[WK_SPLIT_VALIDATION],
            result->imported[WK_SPLIT_TEST], (double)result->size * 1e-6);
    printf(", %.1f s, %.1f lines/s", result->seconds,
            result->seconds > 0.0 ? (double)fresh / result->seconds : 0.0);
    if (result->resumed > 0)
        printf(", %" PRIu64 " were there before", result->resumed);
    printf("\n");
    if (result->rejected > 0)
        printf("%" PRIu64 " lines rejected, see %s/rejects.jsonl; the first: %s\n", result->rejected,
                arguments->options.out, result->first_reason);
}

static enum sl_status print_json(
        const struct arguments *arguments, const struct wk_import_result *result, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "out", arguments->options.out);
    sl_json_uint(&json, "lines", result->lines);
    sl_json_uint(&json, "imported", sum_imported(result));
    for (int i = 0; i < WK_SPLITS; i++)
        sl_json_uint(&json, wk_split_name((enum wk_split)i), result->imported[i]);
    sl_json_uint(&json, "rejected", result->rejected);
    sl_json_uint(&json, "resumed", result->resumed);
    sl_json_int(&json, "bytes", result->size);
    sl_json_double(&json, "seconds", result->seconds);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status check_rejects(
        const struct arguments *arguments, const struct wk_import_result *result, struct sl_error *err)
{
    if ((double)result->rejected <= arguments->max_rejects * (double)result->lines)
        return SL_OK;
    return sl_fail(err, SL_BAD_DATA,
            "%" PRIu64 " of %" PRIu64
            " lines were rejected (%.1f %%), --max-rejects allows %.1f %%; see %s/rejects.jsonl",
            result->rejected, result->lines, 100.0 * (double)result->rejected / (double)result->lines,
            100.0 * arguments->max_rejects, arguments->options.out);
}

static enum sl_status run(struct arguments *arguments, struct watch *watch, struct sl_error *err)
{
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    enum sl_status status = sl_config_load(
            &config, arguments->config, arguments->overrides.texts, arguments->overrides.count, err);
    if (status == SL_OK)
        status = sl_signals_open(&watch->signal_fd, err);
    if (status != SL_OK)
        return status;
    struct wk_import_result result = {0};
    arguments->options.stop = &watch->stop;
    arguments->options.progress = on_progress;
    arguments->options.context = watch;
    status = wk_import_run(&arguments->options, config, &result, err);
    if (watch->begun)
        sl_progress_end(&watch->progress);
    if (status != SL_OK)
        return status;
    if (arguments->json)
        status = print_json(arguments, &result, err);
    else
        print_text(arguments, &result);
    return status == SL_OK ? check_rejects(arguments, &result, err) : status;
}

int dp_import(int argc, char **argv)
{
    struct arguments arguments = {
            .max_rejects = 1.0, .allot = {.split.seed = 1, .titles = true, .videos = true}};
    struct watch watch = {.signal_fd = -1};
    struct sl_error err = {0};
    enum sl_status status = parse_arguments(&arguments, argc, argv, &err);
    if (status == SL_OK && arguments.help) {
        (void)fputs(help, stdout);
        return SL_OK;
    }
    if (status == SL_OK)
        status = run(&arguments, &watch, &err);
    if (watch.signal_fd >= 0)
        (void)close(watch.signal_fd);
    if (status == SL_OK)
        return SL_OK;
    int code = dp_fail("import", status, &err);
    return status == SL_STOPPED ? sl_signals_exit_code(watch.signal, NULL) : code;
}
