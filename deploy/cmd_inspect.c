/* shelflife inspect: what is in a dataset, whether it is whole, what is there twice, and what one sample of it looks like. */
#include "common/clock.h"
#include "common/config.h"
#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/progress.h"
#include "common/utf8.h"
#include "deploy/command.h"
#include "deploy/inspect/report.h"
#include "worker/dataset/dataset.h"
#include "worker/dataset/frames.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/twins.h"
#include "worker/dataset/vocab.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
        "usage: shelflife inspect DATASET… [--sample ID] [--png DIR] [--verify] [--duplicates] [--html FILE] "
        "[--json]\n"
        "\n"
        "Shows what a dataset holds: counts, labels, modalities and their shapes, bytes, fingerprint. "
        "DATASET is the\n"
        "folder that `shelflife import` wrote, or one split in it; several are looked at together. Files and "
        "their\n"
        "structure are always checked.\n"
        "\n"
        "  --sample ID          show one sample: label, text, tokens, frames, features\n"
        "  --png DIR            write that sample's frames as DIR/ID-MODALITY-N.png\n"
        "  --verify             read every record and compare all checksums\n"
        "  --duplicates         what is there twice, and what of other splits is in training too: same id, "
        "same "
        "content,\n"
        "                       near-identical title\n"
        "  --similarity S       of titles that count as near-identical, above 0 to 1 (default 0.8)\n"
        "  --max-leaks RATIO    end with exit code 3 when more of the held-out samples are like one of the "
        "first "
        "split\n"
        "  --html FILE          write a report: classes, lengths, times, what is alike, samples with "
        "pictures\n"
        "  --json               one JSON object per split or sample, one more for what is alike\n"
        "  --help               this text\n"
        "\n"
        "exit codes: 0 fine; 1 no such sample; 2 wrong usage; 3 not a dataset, damaged, or too many leaks; 7 "
        "disk full\n"
        "\n"
        "example: shelflife inspect demo/dataset --html report.html --max-leaks 0.01\n";

struct arguments {
    char *const *dirs; /* (dir_count,) */
    int dir_count;
    const char *sample, *png, *html;
    double similarity, max_leaks; /* max_leaks < 0: not asked for */
    bool verify, duplicates, json, help;
};

static enum sl_status parse_share(
        double *ret_share, const char *flag, const char *text, double least, struct sl_error *err)
{
    char *end = NULL;
    double share = strtod(text, &end);
    if (end == text || *end != '\0' || !(share >= least && share <= 1.0))
        return sl_fail(err, SL_USAGE, "%s %s: expected a number from %g to 1", flag, text, least);
    *ret_share = share;
    return SL_OK;
}

static enum sl_status parse_arguments(
        struct arguments *arguments, int argc, char **argv, struct sl_error *err)
{
    enum { SAMPLE = 256, PNG, VERIFY, DUPLICATES, SIMILARITY, MAX_LEAKS, HTML, JSON };
    static const struct option flags[] = {{"sample", required_argument, NULL, SAMPLE},
            {"png", required_argument, NULL, PNG}, {"verify", no_argument, NULL, VERIFY},
            {"duplicates", no_argument, NULL, DUPLICATES},
            {"similarity", required_argument, NULL, SIMILARITY},
            {"max-leaks", required_argument, NULL, MAX_LEAKS}, {"html", required_argument, NULL, HTML},
            {"json", no_argument, NULL, JSON}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    optind = 0;
    opterr = 0;
    enum sl_status status = SL_OK;
    for (int flag; (flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1;) {
        switch (flag) {
        case SAMPLE:
            arguments->sample = optarg;
            break;
        case PNG:
            arguments->png = optarg;
            break;
        case VERIFY:
            arguments->verify = true;
            break;
        case DUPLICATES:
            arguments->duplicates = true;
            break;
        case SIMILARITY:
            status = parse_share(&arguments->similarity, "--similarity", optarg, 0.1, err);
            break;
        case MAX_LEAKS:
            status = parse_share(&arguments->max_leaks, "--max-leaks", optarg, 0.0, err);
            break;
        case HTML:
            arguments->html = optarg;
            break;
        case JSON:
            arguments->json = true;
            break;
        case 'h':
            arguments->help = true;
            return SL_OK;
        default:
            return sl_fail(err, SL_USAGE, "%s: %s; see shelflife inspect --help", argv[optind - 1],
                    flag == ':' ? "a value is missing" : "there is no such flag");
        }
        if (status != SL_OK)
            return status;
    }
    if (optind == argc)
        return sl_fail(err, SL_USAGE, "expected a DATASET; see shelflife inspect --help");
    if (arguments->png != NULL && arguments->sample == NULL)
        return sl_fail(err, SL_USAGE, "--png writes one sample's frames: say which with --sample");
    arguments->dirs = argv + optind;
    arguments->dir_count = argc - optind;
    return SL_OK;
}

/* ---- a split ---- */

static void print_modality(const struct wk_index_modality *modality)
{
    printf("  %-12s %s: ", modality->name, wk_kind_name(modality->kind));
    switch (modality->kind) {
    case SL_KIND_VIT:
        printf("up to %d frames of %dx%d, stored as ", modality->frames, modality->image, modality->image);
        if (modality->storage == SL_STORAGE_JPEG)
            printf("JPEG of quality %d\n", modality->jpeg_quality);
        else
            printf("raw R G B\n");
        break;
    case SL_KIND_BERT:
        printf("up to %d tokens of %d%s, vocabulary %016" PRIx64 "\n", modality->max_tokens,
                modality->vocab_size, modality->lower_case ? ", lower case" : "", modality->vocab_hash);
        break;
    case SL_KIND_FEATURES:
        printf("up to %d rows of %d numbers\n", modality->max_items, modality->input);
        break;
    }
}

static int widest_label(const struct wk_index *index)
{
    int widest = 0;
    for (int k = 0; k < index->label_count; k++) {
        int columns = sl_utf8_columns(index->labels[k]);
        widest = columns > widest ? columns : widest;
    }
    return widest;
}

static void print_split(const struct wk_index *index, const char *dir, bool verified)
{
    printf("%s: %" PRIu64 " samples, %" PRIu64 " rejected, %.1f MB in %u shards, fingerprint %016" PRIx64
           "%s\n",
            dir, index->count, index->rejects, (double)index->size * 1e-6, index->shard_count,
            index->fingerprint, verified ? ", all checksums right" : "");
    int width = widest_label(index);
    for (int k = 0; k < index->label_count; k++) {
        printf("  ");
        dp_print_clean(index->labels[k], INT_MAX);
        printf("%*s %8" PRIu64 " %5.1f %%\n", width - sl_utf8_columns(index->labels[k]), "",
                index->label_counts[k],
                index->count > 0 ? 100.0 * (double)index->label_counts[k] / (double)index->count : 0.0);
    }
    for (int m = 0; m < index->modality_count; m++)
        print_modality(&index->modalities[m]);
}

static void put_modality(struct sl_json *json, const struct wk_index_modality *modality)
{
    sl_json_object(json, modality->name);
    sl_json_string(json, "kind", wk_kind_name(modality->kind));
    if (modality->kind == SL_KIND_VIT) {
        sl_json_int(json, "image", modality->image);
        sl_json_int(json, "frames", modality->frames);
        sl_json_string(json, "storage", modality->storage == SL_STORAGE_JPEG ? "jpeg" : "raw");
    } else if (modality->kind == SL_KIND_BERT) {
        sl_json_int(json, "max_tokens", modality->max_tokens);
        sl_json_int(json, "vocab_size", modality->vocab_size);
    } else {
        sl_json_int(json, "in", modality->input);
        sl_json_int(json, "max_items", modality->max_items);
    }
    sl_json_end(json);
}

static enum sl_status print_split_json(
        const struct wk_index *index, const char *dir, bool verified, struct sl_error *err)
{
    char fingerprint[17];
    (void)snprintf(fingerprint, sizeof(fingerprint), "%016" PRIx64, index->fingerprint);
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 20);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "dataset", dir);
    sl_json_string(&json, "split", index->split);
    sl_json_uint(&json, "count", index->count);
    sl_json_uint(&json, "rejected", index->rejects);
    sl_json_int(&json, "bytes", index->size);
    sl_json_uint(&json, "shards", index->shard_count);
    sl_json_string(&json, "fingerprint", fingerprint);
    sl_json_bool(&json, "verified", verified);
    sl_json_object(&json, "labels");
    for (int k = 0; k < index->label_count; k++)
        sl_json_uint(&json, index->labels[k], index->label_counts[k]);
    sl_json_end(&json);
    sl_json_object(&json, "modalities");
    for (int m = 0; m < index->modality_count; m++)
        put_modality(&json, &index->modalities[m]);
    sl_json_end(&json);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status verify(struct wk_dataset *dataset, struct sl_error *err)
{
    const struct wk_index *index = wk_dataset_index(dataset);
    struct sl_progress progress;
    sl_progress_begin(
            &progress, &(struct sl_progress_options){.title = "verify", .total = index->shard_count});
    enum sl_status status = SL_OK;
    for (uint32_t i = 0; i < index->shard_count && status == SL_OK; i++) {
        status = wk_dataset_verify(dataset, i, err);
        sl_progress_update(&progress, i + 1, NULL);
    }
    sl_progress_end(&progress);
    return status;
}

static enum sl_status show_split(const struct arguments *arguments, const char *dir, struct sl_error *err)
{
    SL_AUTO(wk_dataset_close_auto) struct wk_dataset *dataset = NULL;
    enum sl_status status = wk_dataset_open(&dataset, dir, NULL, err);
    if (status == SL_OK && arguments->verify)
        status = verify(dataset, err);
    if (status != SL_OK)
        return status;
    if (arguments->json)
        return print_split_json(wk_dataset_index(dataset), dir, arguments->verify, err);
    print_split(wk_dataset_index(dataset), dir, arguments->verify);
    return SL_OK;
}

/* ---- a sample ---- */

/* The dataset tells its own shapes: a config of just what reading needs is made from its manifest. */
static struct sl_config *config_of(const struct wk_index *index, const char *dir)
{
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    if (config == NULL)
        return NULL;
    config->label_count = index->label_count;
    for (int k = 0; k < index->label_count; k++)
        memcpy(config->labels[k].name, index->labels[k], SL_NAME_MAX);
    config->modality_count = index->modality_count;
    for (int m = 0; m < index->modality_count; m++) {
        const struct wk_index_modality *from = &index->modalities[m];
        struct sl_modality_config *to = &config->modalities[m];
        memcpy(to->name, from->name, SL_NAME_MAX);
        to->kind = from->kind;
        to->image = from->image;
        to->frames = from->frames;
        to->storage = from->storage;
        to->max_tokens = from->max_tokens;
        to->vocab_size = from->vocab_size;
        to->lower_case = from->lower_case;
        to->input = from->input;
        to->max_items = from->max_items;
        (void)snprintf(to->vocab, sizeof(to->vocab), "%s/vocab-%s.txt", dir, from->name);
    }
    return config;
}

static enum sl_status print_tokens(const struct wk_sample_input *input,
        const struct sl_modality_config *modality, struct sl_json *json, struct sl_error *err)
{
    struct wk_vocab *vocab = NULL;
    enum sl_status status = wk_vocab_load(&vocab, modality->vocab, err);
    if (status != SL_OK)
        return status;
    if (json != NULL)
        sl_json_array(json, "tokens");
    for (int i = 0; i < input->items; i++) {
        const char *token = wk_vocab_token(vocab, input->tokens[i]);
        if (json != NULL)
            sl_json_string(json, NULL, token);
        else
            printf("%s%s", i > 0 ? " " : "", token != NULL ? token : "?");
    }
    if (json != NULL)
        sl_json_end(json);
    else
        printf("\n");
    wk_vocab_destroy(vocab);
    return SL_OK;
}

static void print_features(const struct wk_sample_input *input, int width)
{
    size_t count = (size_t)input->items * (size_t)width;
    double sum = 0.0;
    float least = input->features[0], most = input->features[0];
    for (size_t i = 0; i < count; i++) {
        sum += (double)input->features[i];
        least = input->features[i] < least ? input->features[i] : least;
        most = input->features[i] > most ? input->features[i] : most;
    }
    printf("%d rows of %d numbers, %.4g to %.4g, mean %.4g\n", input->items, width, (double)least,
            (double)most, sum / (double)count);
}

static enum sl_status write_frames(const struct arguments *arguments, const struct wk_sample *sample, int m,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    char name[WK_MANIFEST_ID_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s", sample->id);
    for (char *at = name; *at != '\0'; at++) {
        if (*at == '/' || (unsigned char)*at < ' ' || (at == name && *at == '.'))
            *at = '_'; /* an id must not lead out of the folder */
    }
    enum sl_status status = sl_file_make_directories(arguments->png, err);
    size_t size = (size_t)modality->image * (size_t)modality->image * 3;
    for (int i = 0; i < sample->inputs[m].items && status == SL_OK; i++) {
        SL_AUTO_FREE char *path =
                sl_strdup_printf("%s/%s-%s-%d.png", arguments->png, name, modality->name, i);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        status = wk_png_write(
                path, sample->inputs[m].frames + (size_t)i * size, modality->image, modality->image, err);
        if (status == SL_OK && !arguments->json)
            printf("               %s\n", path);
    }
    return status;
}

static enum sl_status show_input(const struct arguments *arguments, const struct wk_sample *sample, int m,
        const struct sl_modality_config *modality, struct sl_json *json, struct sl_error *err)
{
    const struct wk_sample_input *input = &sample->inputs[m];
    enum sl_status status = SL_OK;
    if (json != NULL) {
        sl_json_object(json, modality->name);
        sl_json_string(json, "kind", wk_kind_name(modality->kind));
        sl_json_int(json, "items", input->items);
    } else {
        printf("  %-12s ", modality->name);
    }
    if (modality->kind == SL_KIND_VIT) {
        if (json == NULL)
            printf("%d frames of %dx%d\n", input->items, modality->image, modality->image);
        if (arguments->png != NULL)
            status = write_frames(arguments, sample, m, modality, err);
    } else if (modality->kind == SL_KIND_BERT) {
        status = print_tokens(input, modality, json, err);
    } else if (json == NULL) {
        print_features(input, modality->input);
    }
    if (json != NULL)
        sl_json_end(json);
    return status;
}

static enum sl_status show_sample(const struct arguments *arguments, const char *dir,
        const struct sl_config *config, const struct wk_sample *sample, struct sl_error *err)
{
    char published[SL_TIME_TEXT_MAX] = "unknown";
    if (sample->published_s != INT64_MIN)
        (void)!sl_time_format(published, sizeof(published), sample->published_s, NULL);
    const char *label = sample->label >= 0 ? config->labels[sample->label].name : "none";
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 16 << 20);
    if (arguments->json) {
        sl_json_object(&json, NULL);
        sl_json_string(&json, "dataset", dir);
        sl_json_string(&json, "id", sample->id);
        sl_json_uint(&json, "index", sample->index);
        sl_json_string(&json, "label", label);
        sl_json_string(&json, "published", published);
        sl_json_string(&json, "title", sample->title);
    } else {
        printf("%s: sample ", dir);
        dp_print_clean(sample->id, INT_MAX);
        printf(", number %" PRIu64 "\n  %-12s ", sample->index, "label");
        dp_print_clean(label, INT_MAX);
        printf("\n  %-12s %s\n  %-12s ", "published", published, "title");
        dp_print_clean(sample->title, INT_MAX);
        printf("\n");
    }
    enum sl_status status = SL_OK;
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        status =
                show_input(arguments, sample, m, &config->modalities[m], arguments->json ? &json : NULL, err);
    if (status != SL_OK || !arguments->json)
        return status;
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

/* What is looked for: --sample. */
struct search {
    const struct arguments *arguments;
    bool found;
};

static enum sl_status find_in_split(const struct arguments *arguments, const char *dir, struct sl_error *err)
{
    SL_AUTO(wk_dataset_close_auto) struct wk_dataset *look = NULL;
    SL_AUTO(wk_dataset_close_auto) struct wk_dataset *dataset = NULL;
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    SL_AUTO(wk_sample_fini) struct wk_sample sample = {0};
    uint64_t index = 0;
    enum sl_status status = wk_dataset_open(&look, dir, NULL, err);
    if (status == SL_OK)
        status = wk_dataset_find(look, arguments->sample, &index, err);
    if (status != SL_OK)
        return status;
    config = config_of(wk_dataset_index(look), dir);
    if (config == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    status = wk_dataset_open(&dataset, dir, config, err);
    if (status == SL_OK)
        status = wk_dataset_read(dataset, index, &sample, err);
    return status == SL_OK ? show_sample(arguments, dir, config, &sample, err) : status;
}

/* ---- all splits ---- */

static bool is_split(const char *dir)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, WK_INDEX_FILE);
    return path != NULL && sl_file_size(path) >= 0;
}

typedef enum sl_status visit_function(void *context, const char *dir, struct sl_error *err);

/* Every split of the folder, in the order train, validation, test; the folder itself if it is one. A visit that gives NOT_FOUND goes on with the next split. */
static enum sl_status visit_splits(
        const char *folder, visit_function *visit, void *context, struct sl_error *err)
{
    bool any = false;
    enum sl_status status = SL_NOT_FOUND;
    if (is_split(folder))
        return visit(context, folder, err);
    for (int i = 0; i < WK_SPLITS && (status == SL_OK || status == SL_NOT_FOUND); i++) {
        SL_AUTO_FREE char *dir = sl_path_join(folder, wk_split_name((enum wk_split)i));
        if (dir == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        if (!is_split(dir))
            continue;
        any = true;
        status = visit(context, dir, err);
    }
    return any ? status : visit(context, folder, err); /* fails, and knows why */
}

/* ---- all samples together ---- */

struct tour {
    struct wk_survey *survey;
    struct dp_thumbs *thumbs;
    struct sl_progress progress;
};

static void show_progress(void *context, uint64_t done)
{
    struct tour *tour = context;
    sl_progress_update(&tour->progress, (int64_t)done, NULL);
}

static enum sl_status look(void *context, int split, const struct wk_sample *sample, struct sl_error *err)
{
    struct tour *tour = context;
    return split == 0 ? dp_thumbs_take(tour->thumbs, sample, err) : SL_OK;
}

static enum sl_status survey_split(void *context, const char *dir, struct sl_error *err)
{
    struct tour *tour = context;
    SL_AUTO(wk_dataset_close_auto) struct wk_dataset *first = NULL;
    SL_AUTO(wk_dataset_close_auto) struct wk_dataset *dataset = NULL;
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    enum sl_status status = wk_dataset_open(&first, dir, NULL, err);
    if (status != SL_OK)
        return status;
    config = config_of(wk_dataset_index(first), dir);
    if (config == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    status = wk_dataset_open(&dataset, dir, config, err);
    if (status != SL_OK)
        return status;
    if (tour->survey->split_count == 0)
        dp_thumbs_begin(tour->thumbs, config, wk_dataset_index(dataset));
    struct wk_survey_watch watch = {.progress = show_progress, .look = look, .context = tour};
    return wk_survey_add(tour->survey, dataset, config, dir, &watch, err);
}

static enum sl_status write_page(
        const struct arguments *arguments, const struct tour *tour, struct sl_error *err)
{
    SL_AUTO(sl_text_fini) struct sl_text page;
    const char *bytes = NULL;
    size_t size = 0;
    sl_text_init(&page, DP_HTML_MAX);
    dp_report_html(&page, tour->survey, tour->thumbs, arguments->dirs[0]);
    enum sl_status status = sl_text_finish(&page, &bytes, &size, err);
    if (status == SL_OK)
        status = sl_file_write_atomic(arguments->html, bytes, size, err);
    if (status == SL_OK && !arguments->json)
        printf("%s: %.1f kB\n", arguments->html, (double)size * 1e-3);
    return status;
}

static enum sl_status tell(const struct arguments *arguments, const struct tour *tour, struct sl_error *err)
{
    const struct wk_survey *survey = tour->survey;
    enum sl_status status = SL_OK;
    if (arguments->json)
        status = dp_report_print_json(survey, err);
    else
        dp_report_print(survey);
    if (status == SL_OK && arguments->html != NULL)
        status = write_page(arguments, tour, err);
    double share = survey->held_out > 0 ? (double)survey->leaked / (double)survey->held_out : 0.0;
    if (status == SL_OK && arguments->max_leaks >= 0.0 && share > arguments->max_leaks)
        return sl_fail(err, SL_BAD_DATA,
                "%" PRIu64 " of %" PRIu64
                " held-out samples (%.2f %%) are like one of %s, --max-leaks allows "
                "%.2f %%; import --split keeps such together",
                survey->leaked, survey->held_out, 100.0 * share, survey->splits[0].dir,
                100.0 * arguments->max_leaks);
    return status;
}

static enum sl_status survey_all(const struct arguments *arguments, struct sl_error *err)
{
    SL_AUTO(wk_survey_destroy_auto) struct wk_survey *survey = NULL;
    SL_AUTO_FREE struct dp_thumbs *thumbs = sl_alloc(1, sizeof(*thumbs));
    if (thumbs == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    struct tour tour = {.thumbs = thumbs};
    enum sl_status status = wk_survey_create(&survey, arguments->similarity, err);
    tour.survey = survey;
    sl_progress_begin(&tour.progress, &(struct sl_progress_options){.title = "inspect", .unit = "samples"});
    for (int i = 0; i < arguments->dir_count && status == SL_OK; i++)
        status = visit_splits(arguments->dirs[i], survey_split, &tour, err);
    sl_progress_end(&tour.progress);
    if (status == SL_OK)
        status = wk_survey_compare(survey, err);
    if (status == SL_OK)
        status = tell(arguments, &tour, err);
    dp_thumbs_fini(thumbs);
    return status;
}

/* ---- all ---- */

static enum sl_status visit_split(void *context, const char *dir, struct sl_error *err)
{
    return show_split(context, dir, err);
}

static enum sl_status visit_sample(void *context, const char *dir, struct sl_error *err)
{
    struct search *search = context;
    if (search->found)
        return SL_OK;
    enum sl_status status = find_in_split(search->arguments, dir, err);
    search->found = status == SL_OK;
    return status;
}

static enum sl_status run(struct arguments *arguments, struct sl_error *err)
{
    struct search search = {.arguments = arguments};
    enum sl_status status = SL_OK;
    for (int i = 0; i < arguments->dir_count && (status == SL_OK || status == SL_NOT_FOUND); i++)
        status = arguments->sample != NULL ? visit_splits(arguments->dirs[i], visit_sample, &search, err)
                                           : visit_splits(arguments->dirs[i], visit_split, arguments, err);
    if (arguments->sample != NULL && !search.found && status == SL_NOT_FOUND && arguments->dir_count == 1 &&
            !is_split(arguments->dirs[0]))
        return sl_fail(err, SL_NOT_FOUND, "dataset %s has no sample \"%.200s\" in any split",
                arguments->dirs[0], arguments->sample);
    if (search.found)
        return SL_OK;
    bool survey = arguments->duplicates || arguments->html != NULL || arguments->max_leaks >= 0.0;
    return status == SL_OK && survey ? survey_all(arguments, err) : status;
}

int dp_inspect(int argc, char **argv)
{
    struct arguments arguments = {.similarity = WK_TWINS_SIMILARITY, .max_leaks = -1.0};
    struct sl_error err = {0};
    enum sl_status status = parse_arguments(&arguments, argc, argv, &err);
    if (status == SL_OK && arguments.help) {
        (void)fputs(help, stdout);
        return SL_OK;
    }
    if (status == SL_OK)
        status = run(&arguments, &err);
    return status == SL_OK ? SL_OK : dp_fail("inspect", status, &err);
}
