/* shelflife inspect: what is in a dataset, whether it is whole, and what one sample of it looks like. */
#include "common/clock.h"
#include "common/config.h"
#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/progress.h"
#include "common/utf8.h"
#include "deploy/command.h"
#include "worker/dataset/dataset.h"
#include "worker/dataset/frames.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/vocab.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
        "usage: shelflife inspect DATASET [--sample ID] [--png DIR] [--verify] [--json]\n"
        "\n"
        "Shows what a dataset holds: counts, labels, modalities and their shapes, bytes, fingerprint. "
        "DATASET is the\n"
        "folder that `shelflife import` wrote, or one split in it. Files and their structure are always "
        "checked.\n"
        "\n"
        "  --sample ID  show one sample: label, text, tokens, frames, features\n"
        "  --png DIR    write that sample's frames as DIR/ID-MODALITY-N.png\n"
        "  --verify     read every record and compare all checksums\n"
        "  --json       one JSON object per split or sample\n"
        "  --help       this text\n"
        "\n"
        "exit codes: 0 fine; 1 no such sample; 2 wrong usage; 3 not a dataset, or damaged\n"
        "\n"
        "example: shelflife inspect demo/dataset --sample clip-000012 --png frames\n";

struct arguments {
    const char *dir, *sample, *png;
    bool verify, json, help;
};

static enum sl_status parse_arguments(
        struct arguments *arguments, int argc, char **argv, struct sl_error *err)
{
    enum { SAMPLE = 256, PNG, VERIFY, JSON };
    static const struct option flags[] = {{"sample", required_argument, NULL, SAMPLE},
            {"png", required_argument, NULL, PNG}, {"verify", no_argument, NULL, VERIFY},
            {"json", no_argument, NULL, JSON}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    optind = 0;
    opterr = 0;
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
    }
    if (optind + 1 != argc)
        return sl_fail(
                err, SL_USAGE, "expected one DATASET, found %d; see shelflife inspect --help", argc - optind);
    if (arguments->png != NULL && arguments->sample == NULL)
        return sl_fail(err, SL_USAGE, "--png writes one sample's frames: say which with --sample");
    arguments->dir = argv[optind];
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
    for (int k = 0; k < index->label_count; k++)
        printf("  %s%*s %8" PRIu64 " %5.1f %%\n", index->labels[k], width - sl_utf8_columns(index->labels[k]),
                "", index->label_counts[k],
                index->count > 0 ? 100.0 * (double)index->label_counts[k] / (double)index->count : 0.0);
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

static enum sl_status finish_json(struct sl_json *json, struct sl_error *err)
{
    const char *text = NULL;
    enum sl_status status = sl_json_finish(json, &text, NULL, err);
    if (status == SL_OK)
        (void)puts(text);
    return status;
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
    return finish_json(&json, err);
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

/* Control characters of a title must not reach the terminal. */
static void print_clean(const char *text)
{
    for (; *text != '\0'; text++)
        (void)putchar((unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text);
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
        printf("%s: sample %s, number %" PRIu64 "\n", dir, sample->id, sample->index);
        printf("  %-12s %s\n  %-12s %s\n  %-12s ", "label", label, "published", published, "title");
        print_clean(sample->title);
        printf("\n");
    }
    enum sl_status status = SL_OK;
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        status =
                show_input(arguments, sample, m, &config->modalities[m], arguments->json ? &json : NULL, err);
    if (status != SL_OK || !arguments->json)
        return status;
    sl_json_end(&json);
    return finish_json(&json, err);
}

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

static enum sl_status run(const struct arguments *arguments, struct sl_error *err)
{
    enum sl_status (*show)(const struct arguments *, const char *, struct sl_error *) =
            arguments->sample != NULL ? find_in_split : show_split;
    int shown = 0;
    if (is_split(arguments->dir))
        return show(arguments, arguments->dir, err);
    for (int i = 0; i < WK_SPLITS; i++) {
        SL_AUTO_FREE char *dir = sl_path_join(arguments->dir, wk_split_name((enum wk_split)i));
        if (dir == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        if (!is_split(dir))
            continue;
        shown++;
        enum sl_status status = show(arguments, dir, err);
        if (arguments->sample != NULL && status == SL_NOT_FOUND)
            continue;
        if (status != SL_OK || arguments->sample != NULL)
            return status;
    }
    if (shown == 0)
        return show(arguments, arguments->dir, err); /* fails, and knows why */
    if (arguments->sample != NULL)
        return sl_fail(err, SL_NOT_FOUND, "dataset %s has no sample \"%.200s\" in any split", arguments->dir,
                arguments->sample);
    return SL_OK;
}

int dp_inspect(int argc, char **argv)
{
    struct arguments arguments = {0};
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
