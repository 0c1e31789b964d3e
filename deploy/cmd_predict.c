/* `shelflife predict`: how long videos stay worth recommending, one line each, in order. */
#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "deploy/command.h"
#include "deploy/scoring/loaded.h"
#include "deploy/scoring/prediction.h"
#include "worker/dataset/importer.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_MAX ((size_t)1 << 20)

static const char help[] =
        "usage: shelflife predict SNAPSHOT VIDEO|MANIFEST|- [OPTIONS]\n\n"
        "Says how long videos stay worth recommending: label, probabilities of each branch, expiry time = "
        "publication + the\n"
        "label's duration. SNAPSHOT: a snapshot's folder, or a run's (then its best one). MANIFEST: JSON "
        "lines as for import\n"
        "(a file ending in .jsonl), - for standard input. A line that cannot be predicted gets an error of "
        "its own; the\n"
        "others go on, and the exit code is 3.\n\n"
        "  --title TEXT      title of a single VIDEO (also --ocr, --asr)\n"
        "  --published TIME  when it was published, RFC 3339 (default: now)\n"
        "  --json            one JSON object a line\n\n"
        "examples: shelflife predict demo/run clip.mp4 --title \"Live: storm reaches the coast\"\n"
        "          shelflife predict demo/run clips.jsonl --json > expiry.jsonl\n";

struct arguments {
    const char *snapshot, *input, *published;
    const char *texts[WK_TEXT_FIELDS];
    bool json;
};

/* Everything that lives from line to line. */
struct predictor {
    const struct arguments *arguments;
    struct dp_loaded *loaded;
    struct wk_importer *importer;
    struct wk_workspace *workspace;
    struct wk_batch *batch;
    struct sl_json json;
    int64_t failed, done;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"title", required_argument, NULL, 't'},
            {"ocr", required_argument, NULL, 'o'}, {"asr", required_argument, NULL, 'a'},
            {"published", required_argument, NULL, 'p'}, {"json", no_argument, NULL, 'j'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 't':
            a->texts[WK_TEXT_TITLE] = optarg;
            break;
        case 'o':
            a->texts[WK_TEXT_OCR] = optarg;
            break;
        case 'a':
            a->texts[WK_TEXT_ASR] = optarg;
            break;
        case 'p':
            a->published = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return dp_usage("predict", "unknown option");
        }
    }
    if (optind + 2 != argc)
        return dp_usage("predict", "expected SNAPSHOT and one VIDEO, MANIFEST or -");
    a->snapshot = argv[optind];
    a->input = argv[optind + 1];
    return 0;
}

/* ---- one prediction ---- */

static enum sl_status forward(struct predictor *p, const struct wk_manifest_row *row,
        struct dp_prediction *prediction, struct sl_error *err)
{
    const struct sl_config *config = p->loaded->config;
    struct wk_sample sample = {0};
    struct sl_step_stats stats;
    struct wk_mode mode = {.training = false};
    enum sl_status status = wk_import_row(p->importer, row, &sample, err);
    wk_batch_clear(p->batch);
    sample.label = WK_LABEL_NONE;
    if (status == SL_OK)
        status = wk_batch_add(p->batch, config, &sample, err);
    wk_sample_fini(&sample);
    if (status != SL_OK)
        return status;
    wk_model_forward(p->loaded->model, p->loaded->params, p->batch, &mode, p->workspace, &stats);
    dp_prediction_take(prediction, p->workspace, config, 0);
    return SL_OK;
}

static void print_text(struct predictor *p, const struct wk_manifest_row *row, const struct dp_prediction *x)
{
    const struct sl_config *config = p->loaded->config;
    int fused = config->modality_count;
    const struct sl_label_config *label = &config->labels[x->label[fused]];
    char expires[SL_TIME_TEXT_MAX];
    dp_expiry_text(expires, label, row->published_s);
    const char *when = label->duration_s == SL_DURATION_INFINITE ? "never expires"
                       : expires[0] != 0                         ? expires
                                                                 : "publication time unknown";
    printf("%-16s %-12s %5.1f %%  %s%s  (", row->id, label->name,
            100.0 * (double)x->probabilities[fused][x->label[fused]], expires[0] != 0 ? "expires " : "",
            when);
    for (int b = 0; b < fused; b++)
        printf("%s%s %s %.1f %%", b == 0 ? "" : ", ", config->modalities[b].name,
                config->labels[x->label[b]].name, 100.0 * (double)x->probabilities[b][x->label[b]]);
    printf(")\n");
}

static void print_failed(struct predictor *p, const char *id, const struct sl_error *problem)
{
    p->failed++;
    if (p->arguments->json)
        sl_json_string(&p->json, "error", problem->text);
    else
        printf("%-16s error: %s\n", id, problem->text);
}

static void begin_line(struct predictor *p, const char *id)
{
    sl_json_reset(&p->json);
    sl_json_object(&p->json, NULL);
    sl_json_string(&p->json, "id", id);
}

static enum sl_status end_line(struct predictor *p, struct sl_error *err)
{
    const char *text = NULL;
    sl_json_end(&p->json);
    enum sl_status status = p->arguments->json ? sl_json_finish(&p->json, &text, NULL, err) : SL_OK;
    if (text != NULL)
        puts(text);
    if (fflush(stdout) != 0) /* whoever reads us gets every line at once */
        return sl_fail_errno(err, "cannot write to standard output");
    p->done++;
    return status;
}

static enum sl_status predict_row(
        struct predictor *p, const struct wk_manifest_row *row, struct sl_error *err)
{
    struct dp_prediction prediction;
    struct sl_error problem = {0};
    begin_line(p, row->id);
    enum sl_status status = wk_manifest_check_inputs(row, p->loaded->config, &problem);
    if (status == SL_OK)
        status = forward(p, row, &prediction, &problem);
    if (status != SL_OK && status != SL_BAD_DATA)
        return sl_fail(err, status, "%s", problem.text);
    if (status != SL_OK)
        print_failed(p, row->id, &problem);
    else if (p->arguments->json)
        dp_prediction_json(&p->json, p->loaded->config, &prediction, row->published_s);
    else
        print_text(p, row, &prediction);
    return end_line(p, err);
}

/* ---- inputs ---- */

static enum sl_status predict_line(
        struct predictor *p, const char *line, size_t size, int64_t number, struct sl_error *err)
{
    struct wk_manifest_row row = {0};
    struct sl_error problem = {0};
    char id[WK_MANIFEST_ID_MAX + 1] = "";
    enum sl_status status = wk_manifest_parse(&row, id, line, size, p->loaded->config, &problem);
    if (status == SL_OK) {
        status = predict_row(p, &row, err);
        wk_manifest_row_fini(&row);
        return status;
    }
    if (status != SL_BAD_DATA)
        return sl_fail(err, status, "%s", problem.text);
    char place[32];
    (void)snprintf(place, sizeof(place), "line %ld", (long)number);
    begin_line(p, id[0] != 0 ? id : place);
    print_failed(p, id[0] != 0 ? id : place, &problem);
    return end_line(p, err);
}

/* The next line without its end, of at most WK_MANIFEST_LINE_MAX + 1 bytes: one too many tells that it was longer, and its rest is passed over, so that a
 * stream without newlines takes no memory. False at the end. */
static bool read_line(FILE *file, char *line, size_t *ret_size)
{
    size_t size = 0;
    int c = 0;
    while ((c = getc_unlocked(file)) != EOF && c != '\n')
        if (size <= WK_MANIFEST_LINE_MAX)
            line[size++] = (char)c;
    bool some = c == '\n' || size > 0;
    if (size > 0 && line[size - 1] == '\r')
        size--;
    *ret_size = size;
    return some;
}

static enum sl_status predict_lines(struct predictor *p, FILE *file, const char *name, struct sl_error *err)
{
    SL_AUTO_FREE char *line = sl_alloc(WK_MANIFEST_LINE_MAX + 1, 1);
    if (line == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a line");
    enum sl_status status = SL_OK;
    int64_t number = 0;
    for (size_t size = 0; status == SL_OK && read_line(file, line, &size);) {
        number++;
        if (size > 0)
            status = predict_line(p, line, size, number, err);
    }
    if (status == SL_OK && ferror(file))
        status = sl_fail_errno(err, "cannot read %s", name);
    return status;
}

/* One video with its texts from the command line. */
static enum sl_status predict_video(struct predictor *p, struct sl_error *err)
{
    const struct arguments *a = p->arguments;
    struct wk_manifest_row row = {.id = (char *)a->input,
            .video = (char *)a->input,
            .label = WK_LABEL_NONE,
            .published_s = sl_clock_wall_us() / 1000000};
    if (a->published != NULL && sl_time_parse_rfc3339(&row.published_s, a->published, err) != SL_OK)
        return sl_error_context(err, "--published %s", a->published);
    for (int i = 0; i < WK_TEXT_FIELDS; i++)
        row.texts[i] = (char *)a->texts[i];
    return predict_row(p, &row, err);
}

static bool is_manifest(const char *path)
{
    size_t length = strlen(path);
    return strcmp(path, "-") == 0 || (length > 6 && strcmp(path + length - 6, ".jsonl") == 0);
}

static enum sl_status open_predictor(struct predictor *p, struct sl_error *err)
{
    const char *input = p->arguments->input, *slash = strrchr(input, '/');
    char folder[SL_PATH_MAX] = "";
    if (is_manifest(input) && slash != NULL)
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - input), input);
    enum sl_status status = dp_loaded_open(&p->loaded, p->arguments->snapshot, err);
    if (status == SL_OK)
        status = wk_importer_create(&p->importer, p->loaded->config, folder, NULL, err);
    if (status == SL_OK)
        status = wk_workspace_create(&p->workspace, p->loaded->model, 1, false, err);
    if (status == SL_OK)
        status = wk_batch_create(&p->batch, p->loaded->config, 1, err);
    return status;
}

static enum sl_status run(struct predictor *p, struct sl_error *err)
{
    const char *input = p->arguments->input;
    enum sl_status status = open_predictor(p, err);
    if (status != SL_OK)
        return status;
    if (!is_manifest(input))
        return predict_video(p, err);
    if (strcmp(input, "-") == 0)
        return predict_lines(p, stdin, "standard input", err);
    FILE *file = fopen(input, "re");
    if (file == NULL)
        return sl_fail_errno(err, "cannot open %s", input);
    status = predict_lines(p, file, input, err);
    (void)fclose(file);
    return status;
}

int dp_predict(int argc, char **argv)
{
    struct arguments a = {0};
    struct sl_error err = {0};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct predictor p = {.arguments = &a};
    sl_json_init(&p.json, JSON_MAX);
    enum sl_status status = run(&p, &err);
    wk_importer_destroy(p.importer);
    wk_workspace_destroy(p.workspace);
    wk_batch_destroy(p.batch);
    dp_loaded_close(p.loaded);
    sl_json_fini(&p.json);
    if (status != SL_OK)
        return dp_fail("predict", status, &err);
    return p.failed > 0 ? SL_BAD_DATA : SL_OK;
}
