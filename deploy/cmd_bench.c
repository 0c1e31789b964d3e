/* `shelflife bench`: figures beside the machine's limits. */
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/bench/bench.h"
#include "deploy/command.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife bench [compute|step|server|transport|loader|snapshot|serve]... [OPTIONS]\n\n"
        "Measures parts of training beside what the machine can do at best, in the same rounds, and prints "
        "both with\n"
        "their ratio. Without a name all seven run. docs/performance.md says what each figure means.\n\n"
        "  compute    forward and backward of a slot against sgemm\n"
        "  step       whole steps in one process, on one thread and on all cores\n"
        "  server     reducing and updating against a stream through memory\n"
        "  transport  blocks to a server and back, over tcp, ipc and inproc, against raw ZeroMQ and memcpy;\n"
        "             push + pull between one server process and one or two workers over tcp\n"
        "  loader     samples from a dataset against what a step needs\n"
        "  snapshot   pause and writing against a copy and a plain write\n"
        "  serve      requests per second and latency of shelflife serve against forward passes alone\n\n"
        "  --shape small|base  a built-in model: small (the default), or ViT-B/16 with BERT-base, which "
        "takes some minutes\n"
        "                      and 12 GiB\n"
        "  --config CONFIG     the model of a config instead, with synthetic samples of the largest size "
        "that it allows\n"
        "  --dataset DIR       with samples from this split of a dataset of the config\n"
        "  --set KEY=VALUE     override one value, such as batch.slot_size=16\n"
        "  --seconds S         seconds for each figure (default 2), spread over seven rounds\n"
        "  --dir DIR           where files are written meanwhile (default: TMPDIR or /tmp)\n"
        "  --shapes            compute also lists the matrix products that take most time\n"
        "  --json              one object per line\n"
        "  --help              this text\n\n"
        "example: shelflife bench compute server --config deploy/quickstart.yaml --json\n";

struct benchmark {
    const char *name;
    enum sl_status (*run)(struct dp_bench *bench, struct sl_error *err);
};

static const struct benchmark benchmarks[] = {{"compute", dp_bench_compute}, {"step", dp_bench_step},
        {"server", dp_bench_server}, {"transport", dp_bench_transport}, {"loader", dp_bench_loader},
        {"snapshot", dp_bench_snapshot}, {"serve", dp_bench_serve}};

#define BENCHMARK_COUNT (sizeof(benchmarks) / sizeof(benchmarks[0]))

struct arguments {
    struct dp_subject_options subject;
    struct dp_overrides overrides;
    double seconds;
    bool chosen[BENCHMARK_COUNT];
    bool json, shapes, help, shape_given;
};

void dp_bench_row(struct dp_bench *bench, const char *benchmark, const char *figure, double value,
        const char *unit, double limit, const char *limit_of)
{
    dp_report_row(&bench->report,
            &(struct dp_row){benchmark, bench->subject->name, figure, value, unit, limit, limit_of});
}

static enum sl_status parse_seconds(double *ret_seconds, const char *text, struct sl_error *err)
{
    char *end = NULL;
    double seconds = strtod(text, &end);
    if (end == text || *end != 0 || !(seconds > 0.0) || seconds > 3600.0)
        return sl_fail(err, SL_USAGE, "--seconds %s: expected a number above 0, up to 3600", text);
    *ret_seconds = seconds;
    return SL_OK;
}

static enum sl_status choose(struct arguments *a, int count, char **names, struct sl_error *err)
{
    for (int i = 0; i < count; i++) {
        size_t b = 0;
        while (b < BENCHMARK_COUNT && strcmp(benchmarks[b].name, names[i]) != 0)
            b++;
        if (b == BENCHMARK_COUNT)
            return sl_fail(err, SL_USAGE, "there is no benchmark %s; see shelflife bench --help", names[i]);
        a->chosen[b] = true;
    }
    for (size_t b = 0; b < BENCHMARK_COUNT && count == 0; b++)
        a->chosen[b] = true;
    if (a->subject.config != NULL && a->shape_given)
        return sl_fail(err, SL_USAGE, "--shape and --config exclude each other");
    if (a->subject.dataset != NULL && a->subject.config == NULL)
        return sl_fail(err, SL_USAGE, "--dataset needs the --config that it was imported with");
    return SL_OK;
}

static enum sl_status parse(struct arguments *a, int argc, char **argv, struct sl_error *err)
{
    enum { SHAPE = 256, CONFIG, DATASET, SET, SECONDS, DIR, SHAPES, JSON };
    static const struct option flags[] = {{"shape", required_argument, NULL, SHAPE},
            {"config", required_argument, NULL, CONFIG}, {"dataset", required_argument, NULL, DATASET},
            {"set", required_argument, NULL, SET}, {"seconds", required_argument, NULL, SECONDS},
            {"dir", required_argument, NULL, DIR}, {"shapes", no_argument, NULL, SHAPES},
            {"json", no_argument, NULL, JSON}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    enum sl_status status = SL_OK;
    for (int flag; status == SL_OK && (flag = getopt_long(argc, argv, "h", flags, NULL)) != -1;) {
        switch (flag) {
        case SHAPE:
            a->subject.shape = optarg;
            a->shape_given = true;
            break;
        case CONFIG:
            a->subject.config = optarg;
            break;
        case DATASET:
            a->subject.dataset = optarg;
            break;
        case SET:
            status = dp_overrides_add(&a->overrides, optarg, err);
            break;
        case SECONDS:
            status = parse_seconds(&a->seconds, optarg, err);
            break;
        case DIR:
            a->subject.dir = optarg;
            break;
        case SHAPES:
            a->shapes = true;
            break;
        case JSON:
            a->json = true;
            break;
        case 'h':
            a->help = true;
            return SL_OK;
        default:
            return sl_fail(err, SL_USAGE, "unknown option or missing value; see shelflife bench --help");
        }
    }
    return status == SL_OK ? choose(a, argc - optind, argv + optind, err) : status;
}

static enum sl_status run(const struct arguments *a, struct dp_bench *bench, struct sl_error *err)
{
    enum sl_status status = dp_subject_create(&bench->subject, &a->subject, err);
    if (status == SL_OK)
        dp_report_machine(&bench->report);
    for (size_t b = 0; b < BENCHMARK_COUNT && status == SL_OK; b++) {
        if (!a->chosen[b])
            continue;
        status = benchmarks[b].run(bench, err);
        if (status != SL_OK && status != SL_STOPPED)
            status = sl_error_context(err, "%s", benchmarks[b].name);
    }
    dp_subject_destroy(bench->subject);
    return status;
}

int dp_bench(int argc, char **argv)
{
    const char *temporary = getenv("TMPDIR");
    struct arguments a = {.seconds = 2.0};
    struct sl_error err = {0};
    a.subject = (struct dp_subject_options){.shape = "small",
            .dir = temporary == NULL || temporary[0] == 0 ? "/tmp" : temporary,
            .overrides = &a.overrides};
    enum sl_status status = parse(&a, argc, argv, &err);
    if (status == SL_OK && a.help) {
        fputs(help, stdout);
        return SL_OK;
    }
    struct dp_bench bench = {.shapes = a.shapes,
            .measure = {.seconds = a.seconds, .signals = -1},
            .report = {.stream = stdout, .json = a.json}};
    if (status == SL_OK)
        status = sl_signals_open(&bench.measure.signals, &err);
    if (status == SL_OK)
        status = run(&a, &bench, &err);
    if (bench.measure.signals >= 0)
        (void)close(bench.measure.signals);
    if (status == SL_STOPPED)
        return sl_signals_exit_code(bench.measure.signal, NULL);
    return status == SL_OK ? SL_OK : dp_fail("bench", status, &err);
}
