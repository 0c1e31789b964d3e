/* `shelflife export`: a snapshot as a file for other programs. */
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "deploy/command.h"
#include "deploy/export/check.h"
#include "deploy/export/files.h"
#include "deploy/export/onnx.h"
#include "deploy/export/sidecar.h"
#include "deploy/export/weights.h"
#include "deploy/scoring/loaded.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
        "usage: shelflife export SNAPSHOT --format safetensors|onnx --out FILE [OPTIONS]\n\n"
        "Writes a snapshot for other programs: the parameters as safetensors, or the whole model as ONNX "
        "with frames and token ids as\n"
        "inputs and the logits and probabilities of every branch as outputs. SNAPSHOT: a snapshot's folder, "
        "or a run's (then its\n"
        "best one). Beside FILE come FILE.json, which tells how inputs are prepared, and FILE.vocab-NAME.txt "
        "for each text modality.\n\n"
        "  --format FORMAT   safetensors or onnx (default: by the ending of FILE)\n"
        "  --out FILE        the file to write; one that is there is replaced\n"
        "  --opset N         ONNX operator set, 13 to 17 (default 17)\n"
        "  --external-data   ONNX tensors in FILE.data, as is done by itself past 2 GiB\n"
        "  --check N         also FILE.check.safetensors: N random inputs with the logits that they must "
        "give\n"
        "  --json            one JSON object instead of lines\n\n"
        "example: shelflife export demo/run --out model.onnx --check 100\n";

enum format { UNKNOWN, SAFETENSORS, ONNX };

struct arguments {
    const char *snapshot, *out, *format_name;
    enum format format;
    int64_t opset, check;
    bool external, json, help;
};

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

static enum sl_status find_format(struct arguments *a, struct sl_error *err)
{
    static const char *const names[] = {[SAFETENSORS] = "safetensors", [ONNX] = "onnx"};
    char ending[16];
    for (int f = SAFETENSORS; f <= ONNX; f++) {
        (void)snprintf(ending, sizeof(ending), ".%s", names[f]);
        if (a->format_name != NULL ? strcmp(a->format_name, names[f]) == 0 : ends_with(a->out, ending))
            a->format = (enum format)f;
    }
    if (a->format == UNKNOWN && a->format_name != NULL)
        return sl_fail(err, SL_USAGE, "--format %s: expected safetensors or onnx", a->format_name);
    if (a->format == UNKNOWN)
        return sl_fail(err, SL_USAGE, "%s ends neither in .onnx nor in .safetensors: say --format", a->out);
    if (a->format != ONNX && (a->opset != 0 || a->external))
        return sl_fail(err, SL_USAGE, "--opset and --external-data belong to --format onnx");
    if (a->opset == 0)
        a->opset = DP_OPSET_MAX;
    return SL_OK;
}

static enum sl_status parse_flags(struct arguments *a, int argc, char **argv, struct sl_error *err)
{
    static const struct option options[] = {{"format", required_argument, NULL, 'f'},
            {"out", required_argument, NULL, 'o'}, {"opset", required_argument, NULL, 'n'},
            {"external-data", no_argument, NULL, 'x'}, {"check", required_argument, NULL, 'c'},
            {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    enum sl_status status = SL_OK;
    opterr = 0;
    for (int option; status == SL_OK && (option = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        switch (option) {
        case 'f':
            a->format_name = optarg;
            break;
        case 'o':
            a->out = optarg;
            break;
        case 'n':
            status = dp_number(&a->opset, "--opset", optarg, DP_OPSET_MIN, DP_OPSET_MAX, err);
            break;
        case 'x':
            a->external = true;
            break;
        case 'c':
            status = dp_number(&a->check, "--check", optarg, 1, DP_CHECK_MAX, err);
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            a->help = true;
            return SL_OK;
        default:
            return sl_fail(err, SL_USAGE, "%s: %s; see shelflife export --help", argv[optind - 1],
                    option == ':' ? "a value is missing" : "there is no such option");
        }
    }
    return status;
}

static enum sl_status parse(struct arguments *a, int argc, char **argv, struct sl_error *err)
{
    enum sl_status status = parse_flags(a, argc, argv, err);
    if (status != SL_OK || a->help)
        return status;
    if (optind + 1 != argc || a->out == NULL)
        return sl_fail(err, SL_USAGE, "expected one SNAPSHOT and --out FILE; see shelflife export --help");
    a->snapshot = argv[optind];
    return find_format(a, err);
}

/* A file in a snapshot's folder would make it a damaged snapshot. */
static enum sl_status refuse_snapshot_folder(const char *snapshot, const char *out, struct sl_error *err)
{
    SL_AUTO_FREE char *folder = sl_path_directory(out);
    char from[PATH_MAX], to[PATH_MAX];
    if (folder == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (realpath(snapshot, from) != NULL && realpath(folder, to) != NULL && strcmp(from, to) == 0)
        return sl_fail(err, SL_USAGE,
                "%s lies in the snapshot's own folder, where nothing may be added; choose another", out);
    return SL_OK;
}

static enum sl_status write_onnx(const struct arguments *a, struct dp_files *files, struct dp_file *file,
        const struct dp_loaded *loaded, struct dp_metadata *metadata, const char *preprocessing,
        struct sl_error *err)
{
    enum sl_status status = dp_metadata_add(metadata, "preprocessing", preprocessing, err);
    return status == SL_OK ? dp_onnx_write(files, file, loaded, metadata, (int)a->opset,
                                     a->external ? 0 : DP_ONNX_INSIDE_MAX, err)
                           : status;
}

static enum sl_status write_files(const struct arguments *a, struct dp_files *files,
        const struct dp_loaded *loaded, struct sl_error *err)
{
    SL_AUTO_FREE char *preprocessing = NULL;
    SL_AUTO(dp_metadata_fini) struct dp_metadata metadata = {0};
    struct dp_file *file = NULL;
    enum sl_status status = dp_files_add(files, "", &file, err);
    if (status == SL_OK)
        status = dp_sidecar_text(&preprocessing, loaded, files, a->format == ONNX, err);
    if (status == SL_OK)
        status = dp_metadata_make(&metadata, loaded, err);
    if (status != SL_OK)
        return status;
    status = a->format == ONNX ? write_onnx(a, files, file, loaded, &metadata, preprocessing, err)
                               : dp_weights_write(file, loaded, &metadata, err);
    if (status == SL_OK)
        status = dp_sidecar_write(files, loaded, preprocessing, err);
    if (status == SL_OK && a->check > 0)
        status = dp_check_write(files, loaded, (int)a->check, err);
    return status == SL_OK ? dp_files_commit(files, err) : status;
}

static enum sl_status report(const struct arguments *a, const struct dp_files *files,
        const struct dp_loaded *loaded, struct sl_error *err)
{
    if (!a->json) {
        for (int i = 0; i < dp_files_count(files); i++)
            printf("%10.1f KiB  %s\n", (double)dp_files_size(files, i) / 1024.0, dp_files_path(files, i));
        printf("step %" PRId64 ", %zu parameters\n", loaded->step, loaded->layout->trained);
        return SL_OK;
    }
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    sl_json_object(&json, NULL);
    sl_json_int(&json, "step", loaded->step);
    sl_json_uint(&json, "parameters", loaded->layout->trained);
    sl_json_array(&json, "files");
    for (int i = 0; i < dp_files_count(files); i++) {
        sl_json_object(&json, NULL);
        sl_json_string(&json, "path", dp_files_path(files, i));
        sl_json_uint(&json, "bytes", dp_files_size(files, i));
        sl_json_end(&json);
    }
    sl_json_end(&json);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status run(const struct arguments *a, struct sl_error *err)
{
    SL_AUTO(dp_files_destroy_auto) struct dp_files *files = NULL;
    SL_AUTO(dp_loaded_close_auto) struct dp_loaded *loaded = NULL;
    enum sl_status status = dp_files_create(&files, a->out, err);
    if (status == SL_OK)
        status = dp_loaded_open(&loaded, a->snapshot, err);
    if (status == SL_OK)
        status = refuse_snapshot_folder(loaded->path, a->out, err);
    if (status == SL_OK)
        status = write_files(a, files, loaded, err);
    return status == SL_OK ? report(a, files, loaded, err) : status;
}

int dp_export(int argc, char **argv)
{
    struct arguments a = {0};
    struct sl_error err = {0};
    enum sl_status status = parse(&a, argc, argv, &err);
    if (status == SL_OK && a.help) {
        fputs(help, stdout);
        return SL_OK;
    }
    if (status == SL_OK)
        status = run(&a, &err);
    return status == SL_OK ? SL_OK : dp_fail("export", status, &err);
}
