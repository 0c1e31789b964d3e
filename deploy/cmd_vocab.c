/* shelflife vocab: builds a WordPiece vocabulary from the texts of a manifest, for those who train without a pretrained BERT. */
#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/progress.h"
#include "deploy/command.h"
#include "worker/dataset/vocab.h"
#include "worker/dataset/vocab_build.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define LINE_BYTES_MAX (8u << 20) /* of a manifest's line */
#define WARNINGS_MAX 10           /* lines that cannot be used are named up to here, then counted */
#define SIZE_DEFAULT 8000
#define MIN_COUNT_DEFAULT 2

static const char help[] =
        "usage: shelflife vocab MANIFEST --out vocab.txt [--size N] [--min-count N] [--lower-case]\n"
        "\n"
        "Builds a WordPiece vocabulary (vocab.txt as Hugging Face has it) from the title, ocr and asr of a\n"
        "manifest's lines. Lines whose split is given and is not \"train\" are left out, so that the "
        "vocabulary\n"
        "does not see what the model is tested on. The same texts give the same vocabulary.\n"
        "\n"
        "  --out FILE       where to write it (required; replaced whole or not at all)\n"
        "  --size N         most tokens, 256 to 1048576 (default 8000)\n"
        "  --min-count N    rarer characters and pairs get no token (default 2)\n"
        "  --lower-case     as `lower_case: true` of the text modality in the config: lower case, no "
        "accents\n"
        "  --json           print the summary as one JSON object\n"
        "  --help           this text\n"
        "\n"
        "example: shelflife vocab demo/manifest.jsonl --out demo/vocab.txt --size 4000 --lower-case\n";

struct arguments {
    const char *manifest, *out;
    struct wk_vocab_options options;
    bool json, help;
};

struct counts {
    int64_t lines, used, other_split, bad;
};

static enum sl_status parse_arguments(
        struct arguments *arguments, int argc, char **argv, struct sl_error *err)
{
    enum { OUT = 256, SIZE, MIN_COUNT, LOWER_CASE, JSON };
    static const struct option flags[] = {{"out", required_argument, NULL, OUT},
            {"size", required_argument, NULL, SIZE}, {"min-count", required_argument, NULL, MIN_COUNT},
            {"lower-case", no_argument, NULL, LOWER_CASE}, {"json", no_argument, NULL, JSON},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int64_t size = SIZE_DEFAULT;
    int64_t min_count = MIN_COUNT_DEFAULT;
    enum sl_status status = SL_OK;
    optind = 0;
    opterr = 0;
    for (int flag; status == SL_OK && (flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1;) {
        switch (flag) {
        case OUT:
            arguments->out = optarg;
            break;
        case SIZE:
            status = dp_number(&size, "--size", optarg, WK_BUILD_SIZE_MIN, WK_VOCAB_TOKENS_MAX, err);
            break;
        case MIN_COUNT:
            status = dp_number(&min_count, "--min-count", optarg, 1, INT64_MAX, err);
            break;
        case LOWER_CASE:
            arguments->options.lower_case = true;
            break;
        case JSON:
            arguments->json = true;
            break;
        case 'h':
            arguments->help = true;
            return SL_OK;
        default:
            return sl_fail(err, SL_USAGE, "%s: %s; see shelflife vocab --help", argv[optind - 1],
                    flag == ':' ? "a value is missing" : "there is no such flag");
        }
    }
    if (status != SL_OK)
        return status;
    if (optind + 1 != argc)
        return sl_fail(
                err, SL_USAGE, "expected one MANIFEST, found %d; see shelflife vocab --help", argc - optind);
    if (arguments->out == NULL)
        return sl_fail(err, SL_USAGE, "--out is missing: the file to write, such as vocab.txt");
    arguments->manifest = argv[optind];
    arguments->options.size = (int)size;
    arguments->options.min_count = min_count;
    return SL_OK;
}

/* read_line reads up to a newline; what is over LINE_BYTES_MAX is skipped and *ret_size is then LINE_BYTES_MAX + 1.
 * False at the end. */
static bool read_line(FILE *file, char *line, size_t *ret_size)
{
    size_t size = 0;
    int c;
    while ((c = getc_unlocked(file)) != EOF && c != '\n') {
        if (size < LINE_BYTES_MAX)
            line[size] = (char)c;
        size += size <= LINE_BYTES_MAX;
    }
    *ret_size = size;
    return c != EOF || size > 0;
}

static bool is_blank(const char *line, size_t size)
{
    while (size > 0 && strchr(" \t\r", line[size - 1]) && line[size - 1] != 0)
        size--;
    return size == 0;
}

/* add_row gives a row's texts to the builder. Errors: BAD_DATA for a row that cannot be used, which stops nothing. */
static enum sl_status add_row(
        struct wk_vocab_builder *builder, const json_t *row, bool *ret_used, struct sl_error *err)
{
    static const char *const fields[] = {"title", "ocr", "asr"};
    *ret_used = false;
    if (!json_is_object(row))
        return sl_fail(err, SL_BAD_DATA, "expected a JSON object");
    const json_t *split = json_object_get(row, "split");
    if (split != NULL && !json_is_null(split)) {
        if (!json_is_string(split))
            return sl_fail(err, SL_BAD_DATA, "split: expected a string");
        if (strcmp(json_string_value(split), "train") != 0)
            return SL_OK;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *text = json_object_get(row, fields[i]);
        if (text != NULL && !json_is_null(text) && !json_is_string(text))
            return sl_fail(err, SL_BAD_DATA, "%s: expected a string", fields[i]);
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *text = json_object_get(row, fields[i]);
        if (!json_is_string(text))
            continue;
        enum sl_status status =
                wk_vocab_builder_add(builder, json_string_value(text), json_string_length(text), err);
        if (status != SL_OK)
            return status;
    }
    *ret_used = true;
    return SL_OK;
}

static enum sl_status add_line(struct wk_vocab_builder *builder, const char *line, size_t size,
        struct counts *counts, struct sl_error *err)
{
    if (size > LINE_BYTES_MAX)
        return sl_fail(err, SL_BAD_DATA, "longer than %u bytes", LINE_BYTES_MAX);
    json_error_t problem;
    json_t *row = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
    if (row == NULL)
        return sl_fail(err, SL_BAD_DATA, "no JSON: %s (column %d)", problem.text, problem.column);
    bool used = false;
    enum sl_status status = add_row(builder, row, &used, err);
    json_decref(row);
    counts->used += used;
    counts->other_split += status == SL_OK && !used;
    return status;
}

static void warn(struct counts *counts, const char *path, const char *reason)
{
    counts->bad++;
    if (counts->bad <= WARNINGS_MAX)
        fprintf(stderr, "shelflife vocab: %s:%lld: %s; the line is skipped\n", path, (long long)counts->lines,
                reason);
    if (counts->bad == WARNINGS_MAX)
        fprintf(stderr, "shelflife vocab: further lines of this kind are only counted\n");
}

static void close_file(FILE **file)
{
    if (*file != NULL)
        fclose(*file);
}

static enum sl_status read_manifest(
        struct wk_vocab_builder *builder, const char *path, struct counts *counts, struct sl_error *err)
{
    SL_AUTO(close_file) FILE *file = fopen(path, "re");
    if (file == NULL)
        return sl_fail_errno(err, "manifest %s: cannot be opened", path);
    SL_AUTO_FREE char *line = sl_alloc(LINE_BYTES_MAX, 1);
    if (line == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a manifest's line");
    struct sl_progress progress;
    sl_progress_begin(&progress, &(struct sl_progress_options){.title = "vocab", .unit = "lines"});
    enum sl_status status = SL_OK;
    for (size_t size; status == SL_OK && read_line(file, line, &size);) {
        counts->lines++;
        if (is_blank(line, size < LINE_BYTES_MAX ? size : LINE_BYTES_MAX))
            continue;
        status = add_line(builder, line, size, counts, err);
        if (status == SL_BAD_DATA) {
            warn(counts, path, err->text);
            status = SL_OK;
        }
        sl_progress_update(&progress, counts->lines, NULL);
    }
    if (status == SL_OK && ferror(file))
        status = sl_fail_errno(err, "manifest %s: cannot be read", path);
    sl_progress_end(&progress);
    if (status == SL_OK && counts->used == 0)
        status = sl_fail(err, SL_BAD_DATA,
                "manifest %s: no line to build from (%lld lines: %lld of another split, %lld bad)", path,
                (long long)counts->lines, (long long)counts->other_split, (long long)counts->bad);
    return status;
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

static enum sl_status print_summary(const struct arguments *arguments, const struct counts *counts,
        const struct wk_vocab_stats *stats, struct sl_error *err)
{
    if (!arguments->json) {
        printf("%s: %d tokens (%d of characters, %d joined) from %lld texts of %lld lines, %lld words\n",
                arguments->out, stats->tokens, stats->character_tokens, stats->joined_tokens,
                (long long)stats->texts, (long long)counts->used, (long long)stats->words);
        printf("%.3f %% of the characters have a token", percent(stats->covered, stats->characters));
        printf("; lines left out: %lld of another split, %lld bad\n", (long long)counts->other_split,
                (long long)counts->bad);
        return SL_OK;
    }
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "out", arguments->out);
    sl_json_int(&json, "tokens", stats->tokens);
    sl_json_int(&json, "character_tokens", stats->character_tokens);
    sl_json_int(&json, "joined_tokens", stats->joined_tokens);
    sl_json_int(&json, "lines", counts->used);
    sl_json_int(&json, "lines_other_split", counts->other_split);
    sl_json_int(&json, "lines_bad", counts->bad);
    sl_json_int(&json, "texts", stats->texts);
    sl_json_int(&json, "words", stats->words);
    sl_json_int(&json, "characters", stats->characters);
    sl_json_int(&json, "characters_covered", stats->covered);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status run(const struct arguments *arguments, struct sl_error *err)
{
    SL_AUTO(wk_vocab_builder_destroy_auto) struct wk_vocab_builder *builder = NULL;
    struct counts counts = {0};
    enum sl_status status = wk_vocab_builder_create(&builder, &arguments->options, err);
    if (status == SL_OK)
        status = read_manifest(builder, arguments->manifest, &counts, err);
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    struct wk_vocab_stats stats;
    if (status == SL_OK)
        status = wk_vocab_builder_finish(builder, &text, &size, &stats, err);
    /* What is written must load again. */
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    if (status == SL_OK)
        status = wk_vocab_parse(&vocab, text, size, arguments->out, err);
    if (status == SL_OK)
        status = sl_file_write_atomic(arguments->out, text, size, err);
    return status == SL_OK ? print_summary(arguments, &counts, &stats, err) : status;
}

int dp_vocab(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct sl_error err = {0};
    enum sl_status status = parse_arguments(&arguments, argc, argv, &err);
    if (status == SL_OK && arguments.help) {
        fputs(help, stdout);
        return SL_OK;
    }
    if (status == SL_OK)
        status = run(&arguments, &err);
    if (status == SL_OK)
        return SL_OK;
    return dp_fail("vocab", status, &err);
}
