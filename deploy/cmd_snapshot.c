/* shelflife snapshot: lists, verifies and prunes the snapshots of a run. */
#include "common/clock.h"
#include "common/error.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "deploy/command.h"
#include "ps/snapshot.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
        "usage: shelflife snapshot list|verify|prune DIR [--json] [--keep N] [--damaged]\n"
        "\n"
        "DIR is a run's folder or the folder `snapshots` in it; for verify also a single snapshot.\n"
        "\n"
        "  list          every snapshot: step, size, age, links, and whether it is whole by its manifest and "
        "sizes\n"
        "  verify        the same, reading every byte against its checksum; exit code 3 when one is damaged\n"
        "  prune         removes all but the newest --keep whole snapshots and the best one, and what a "
        "crash left\n"
        "\n"
        "  --keep N      snapshots that prune keeps besides the best (default 3)\n"
        "  --damaged     prune removes damaged snapshots, too\n"
        "  --json        one object per line\n"
        "  --help        this text\n"
        "\n"
        "example: shelflife snapshot verify runs/a\n";

enum action { LIST, VERIFY, PRUNE };

struct arguments {
    enum action action;
    const char *dir;
    int64_t keep;
    bool damaged, json, help;
};

static enum sl_status parse_flags(struct arguments *arguments, int argc, char **argv, struct sl_error *err)
{
    enum { KEEP = 256, DAMAGED, JSON };
    static const struct option flags[] = {{"keep", required_argument, NULL, KEEP},
            {"damaged", no_argument, NULL, DAMAGED}, {"json", no_argument, NULL, JSON},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    enum sl_status s = SL_OK;
    optind = 0;
    opterr = 0;
    for (int flag; s == SL_OK && (flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1;) {
        switch (flag) {
        case KEEP:
            s = dp_number(&arguments->keep, "--keep", optarg, 0, 1000000, err);
            break;
        case DAMAGED:
            arguments->damaged = true;
            break;
        case JSON:
            arguments->json = true;
            break;
        case 'h':
            arguments->help = true;
            return SL_OK;
        default:
            return sl_fail(err, SL_USAGE, "%s: %s; see shelflife snapshot --help", argv[optind - 1],
                    flag == ':' ? "a value is missing" : "there is no such flag");
        }
    }
    return s;
}

static enum sl_status parse_arguments(
        struct arguments *arguments, int argc, char **argv, struct sl_error *err)
{
    static const char *const actions[] = {"list", "verify", "prune"};
    enum sl_status s = parse_flags(arguments, argc, argv, err);
    if (s != SL_OK || arguments->help)
        return s;
    if (optind + 2 != argc)
        return sl_fail(
                err, SL_USAGE, "expected list, verify or prune and one DIR; see shelflife snapshot --help");
    for (int a = 0; a < 3; a++) {
        if (strcmp(argv[optind], actions[a]) == 0) {
            arguments->action = (enum action)a;
            arguments->dir = argv[optind + 1];
            return SL_OK;
        }
    }
    return sl_fail(
            err, SL_USAGE, "%s: expected list, verify or prune; see shelflife snapshot --help", argv[optind]);
}

/* printing */

static void print_entry(const struct ps_snapshot_entry *entry, bool verified)
{
    char created[SL_TIME_TEXT_MAX] = "";
    if (entry->created_s > 0 && sl_time_format(created, sizeof(created), entry->created_s, NULL) != SL_OK)
        created[0] = '\0';
    printf("%-14s %9.1f MiB  %-20s  %s%s%s\n", entry->name, (double)entry->size / 1048576.0, created,
            entry->whole ? (verified ? "verified" : "whole") : "DAMAGED", entry->latest ? ", latest" : "",
            entry->best ? ", best" : "");
    if (!entry->whole)
        printf("    %s\n", entry->reason);
}

static enum sl_status print_entry_json(
        const struct ps_snapshot_entry *entry, bool verified, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "name", entry->name);
    sl_json_int(&json, "step", entry->step);
    sl_json_uint(&json, "bytes", entry->size);
    sl_json_int(&json, "created", entry->created_s);
    sl_json_bool(&json, "whole", entry->whole);
    sl_json_bool(&json, "verified", entry->whole && verified);
    sl_json_bool(&json, "latest", entry->latest);
    sl_json_bool(&json, "best", entry->best);
    if (!entry->whole)
        sl_json_string(&json, "reason", entry->reason);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status print(
        const struct arguments *arguments, const struct ps_snapshot_entry *entry, struct sl_error *err)
{
    bool verified = arguments->action == VERIFY;
    if (arguments->json)
        return print_entry_json(entry, verified, err);
    print_entry(entry, verified);
    return SL_OK;
}

/* actions */

static enum sl_status list(const struct arguments *arguments, const char *dir, struct sl_error *err)
{
    SL_AUTO_FREE struct ps_snapshot_entry *entries = NULL;
    int count = 0, damaged = 0;
    enum sl_status s = ps_snapshot_list(&entries, &count, dir, arguments->action == VERIFY, err);
    for (int i = 0; s == SL_OK && i < count; i++) {
        s = print(arguments, &entries[i], err);
        damaged += !entries[i].whole;
    }
    if (s != SL_OK)
        return s;
    if (count == 0)
        return sl_fail(err, SL_NOT_FOUND, "%s: there is no snapshot", dir);
    if (damaged > 0 && arguments->action == VERIFY)
        return sl_fail(err, SL_BAD_DATA, "%s: %d of %d snapshots damaged", dir, damaged, count);
    return SL_OK;
}

/* verify_one is for a DIR that is a snapshot itself. */
static enum sl_status verify_one(const struct arguments *arguments, const char *path, struct sl_error *err)
{
    SL_AUTO(ps_saved_close_auto) struct ps_saved *saved = NULL;
    enum sl_status s = ps_saved_open(&saved, path, err);
    if (s != SL_OK)
        return s;
    const struct ps_manifest *manifest = ps_saved_manifest(saved);
    struct ps_snapshot_entry entry = {
            .step = manifest->training.step, .created_s = manifest->created_s, .whole = true};
    ps_snapshot_name(entry.name, entry.step);
    for (int f = 0; f < manifest->file_count; f++)
        entry.size += manifest->files[f].size;
    return print(arguments, &entry, err);
}

static enum sl_status prune(const struct arguments *arguments, const char *dir, struct sl_error *err)
{
    int removed = 0;
    struct ps_keep keep = {
            .count = (int)arguments->keep, .protect = -1, .newest = INT64_MAX, .damaged = arguments->damaged};
    enum sl_status s = ps_snapshot_prune(dir, &keep, &removed, err);
    if (s != SL_OK)
        return s;
    if (arguments->json)
        printf("{\"removed\":%d}\n", removed);
    else
        printf("%s: %d snapshots removed\n", dir, removed);
    return SL_OK;
}

static enum sl_status run(const struct arguments *arguments, struct sl_error *err)
{
    if (!sl_file_is_directory(arguments->dir))
        return sl_fail(err, SL_NOT_FOUND, "%s: there is no such folder", arguments->dir);
    SL_AUTO_FREE char *manifest = sl_path_join(arguments->dir, "manifest.json");
    SL_AUTO_FREE char *inner = sl_path_join(arguments->dir, "snapshots");
    if (manifest == NULL || inner == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    const char *dir = sl_file_is_directory(inner) ? inner : arguments->dir;
    if (dir == arguments->dir && sl_file_size(manifest) >= 0) {
        if (arguments->action != PRUNE)
            return verify_one(arguments, dir, err);
        return sl_fail(
                err, SL_USAGE, "%s is a snapshot itself; prune wants the folder that holds snapshots", dir);
    }
    return arguments->action == PRUNE ? prune(arguments, dir, err) : list(arguments, dir, err);
}

int dp_snapshot(int argc, char **argv)
{
    struct arguments arguments = {.keep = 3};
    struct sl_error err = {0};
    enum sl_status s = parse_arguments(&arguments, argc, argv, &err);
    if (s == SL_OK && arguments.help) {
        fputs(help, stdout);
        return SL_OK;
    }
    if (s == SL_OK)
        s = run(&arguments, &err);
    return s == SL_OK ? SL_OK : dp_fail("snapshot", s, &err);
}
