/* See import.h. */
#include "worker/dataset/import.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/json.h"
#include "common/memory.h"
#include "worker/dataset/dataset.h"
#include "worker/dataset/index.h"
#include "worker/dataset/plan.h"
#include "worker/dataset/pool.h"
#include "worker/dataset/shard.h"
#include "worker/dataset/vocab.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define IDENTITY_FILE "import.json"
#define REJECTS_FILE "rejects.jsonl"
#define LOCK_FILE ".lock"
#define PARTIAL ".partial"
#define COMMIT_US 1000000 /* at most so much work is lost by a crash */
#define COMMIT_BYTES (64U << 20)
#define WAIT_MS 200                 /* between looks at the stop flag */
#define REJECTS_SIZE_MAX (1U << 30) /* bytes of rejects.jsonl */
#define JOBS_MAX 1024

/* One shard of the dataset to be. */
struct part {
    enum wk_split split;
    uint64_t number;            /* of the shard in its split */
    uint64_t begin, next, end;  /* ordinals; [begin, next) are done */
    bool whole;                 /* renamed into place by an earlier run */
    struct wk_index_shard line; /* of the manifest, once whole */
};

struct run {
    const struct wk_import_options *options;
    const struct sl_config *config;
    struct wk_import_result *result;
    struct wk_plan *plan;
    struct wk_index *settings; /* without shards: what the config imports as */
    uint64_t vocab_hashes[SL_MODALITIES_MAX];
    uint64_t shard_size;
    int lock;
    struct part *parts;
    size_t part_count;
    struct wk_task *tasks;
    uint64_t task_count;
    struct wk_pool *pool;
    uint64_t done, total, rejected; /* rows, for progress */
    int64_t committed_us;
};

static void run_fini(struct run *run)
{
    wk_pool_destroy(run->pool);
    wk_index_destroy(run->settings);
    wk_plan_destroy(run->plan);
    sl_free(run->parts);
    sl_free(run->tasks);
    if (run->lock >= 0)
        (void)close(run->lock);
}

static char *split_path(const struct run *run, enum wk_split split)
{
    return sl_path_join(run->options->out, wk_split_name(split));
}

static char *part_path(const struct run *run, const struct part *part, const char *suffix)
{
    return sl_strdup_printf("%s/%s/shard-%05" PRIu64 "%s", run->options->out, wk_split_name(part->split),
            part->number, suffix);
}

static void show_progress(const struct run *run)
{
    if (run->options->progress != NULL)
        run->options->progress(
                run->options->context, run->done, run->total, run->rejected + run->plan->reject_count);
}

/* ---- the folder ---- */

/* A folder that holds anything else is somebody's: nothing is written there. */
static enum sl_status check_folder(const char *out, struct sl_error *err)
{
    DIR *dir = opendir(out);
    if (dir == NULL)
        return sl_fail_errno(err, "cannot open folder %s", out);
    bool ours = false, empty = true;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        ours = ours || strcmp(entry->d_name, IDENTITY_FILE) == 0;
        bool own = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
                   strcmp(entry->d_name, LOCK_FILE) == 0 ||
                   strncmp(entry->d_name, IDENTITY_FILE ".tmp-", sizeof(IDENTITY_FILE ".tmp-") - 1) == 0;
        empty = empty && own;
    }
    (void)closedir(dir);
    if (!ours && !empty)
        return sl_fail(
                err, SL_USAGE, "folder %s is not empty and holds no import; choose another --out", out);
    return SL_OK;
}

static enum sl_status lock_folder(struct run *run, struct sl_error *err)
{
    enum sl_status status = sl_file_make_directories(run->options->out, err);
    if (status == SL_OK)
        status = check_folder(run->options->out, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE char *path = sl_path_join(run->options->out, LOCK_FILE);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    run->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (run->lock < 0)
        return sl_fail_errno(err, "cannot create %s", path);
    if (flock(run->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return sl_fail(err, SL_FAILED,
                    "another import is writing to %s; wait for it or choose another --out",
                    run->options->out);
        return sl_fail_errno(err, "cannot lock %s", path);
    }
    return SL_OK;
}

/* ---- identity: the same import as before? ---- */

/* How rows were given to splits, and what came of it: titles and videos decide too. */
static int add_split(json_t *identity, const struct run *run)
{
    SL_AUTO_FREE char *how = wk_allot_describe(run->options->allot);
    if (how == NULL)
        return -1;
    return json_object_set_new(
            identity, "split", json_sprintf("%s: %016" PRIx64, how, run->plan->splits_hash));
}

static json_t *make_identity(const struct run *run, struct sl_error *err)
{
    SL_AUTO_FREE char *settings = NULL;
    if (wk_index_settings(&settings, run->settings, err) != SL_OK)
        return NULL;
    char hash[17];
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64, run->plan->hash);
    json_t *identity = json_pack("{s:s, s:i, s:s, s:I, s:o*}", "format", "shelflife-import", "version", 1,
            "manifest_hash", hash, "shard_size", (json_int_t)run->shard_size, "settings",
            json_loads(settings, 0, NULL));
    bool made = identity != NULL && (run->options->allot == NULL || add_split(identity, run) == 0);
    if (made)
        return identity;
    json_decref(identity);
    (void)sl_fail(err, SL_NO_MEMORY, "out of memory");
    return NULL;
}

static const json_t *child_of(const json_t *value, const char *key, size_t index)
{
    return json_is_object(value) ? json_object_get(value, key) : json_array_get(value, index);
}

/* Writes the path and both values of the first place where two JSON values differ. False when they are equal. */
static bool first_difference(const json_t *before, const json_t *now, char *text, size_t size, size_t used)
{
    if (json_equal((json_t *)before, (json_t *)now))
        return false;
    bool objects = json_is_object(before) && json_is_object(now),
         arrays = json_is_array(before) && json_is_array(now);
    const char *key = NULL;
    json_t *value = NULL;
    if (objects) {
        json_object_foreach((json_t *)now, key, value)
        {
            int wrote = snprintf(text + used, size - used, "%s%s", used > 0 ? "." : "", key);
            if (wrote > 0 && used + (size_t)wrote < size &&
                    first_difference(child_of(before, key, 0), value, text, size, used + (size_t)wrote))
                return true;
        }
    }
    for (size_t i = 0; arrays && i < json_array_size(before) && i < json_array_size(now); i++) {
        int wrote = snprintf(text + used, size - used, "[%zu]", i);
        if (wrote > 0 && used + (size_t)wrote < size &&
                first_difference(
                        child_of(before, NULL, i), child_of(now, NULL, i), text, size, used + (size_t)wrote))
            return true;
    }
    char *was = json_dumps(before, JSON_ENCODE_ANY | JSON_COMPACT),
         *is = json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)snprintf(text + used, size - used, " was %.200s, now it is %.200s", was != NULL ? was : "nothing",
            is != NULL ? is : "nothing");
    free(was);
    free(is);
    return true;
}

static enum sl_status compare_identity(
        const struct run *run, const json_t *before, const json_t *now, struct sl_error *err)
{
    const char *out = run->options->out;
    if (!json_is_object(before))
        return sl_fail(
                err, SL_BAD_DATA, "%s/" IDENTITY_FILE " is damaged; remove the folder to import again", out);
    if (!json_equal(json_object_get(before, "manifest_hash"), json_object_get(now, "manifest_hash")))
        return sl_fail(err, SL_USAGE,
                "%s was begun with another manifest than %s is now; choose another --out, or remove it to "
                "begin again",
                out, run->options->manifest);
    const char *split_before = json_string_value(json_object_get(before, "split")),
               *split_now = json_string_value(json_object_get(now, "split"));
    if ((split_before == NULL) != (split_now == NULL))
        return sl_fail(err, SL_USAGE,
                "%s was begun %s --split (%s), now it is the other way; choose another --out, or remove it "
                "to "
                "begin again",
                out, split_before != NULL ? "with" : "without",
                split_before != NULL ? split_before : "lines said their splits");
    char difference[SL_ERROR_TEXT_MAX / 2] = "";
    if (first_difference(before, now, difference, sizeof(difference), 0))
        return sl_fail(err, SL_USAGE,
                "%s was begun with other settings: %s; choose another --out, or remove it to begin again",
                out, difference);
    return SL_OK;
}

static void release_json(json_t **value)
{
    json_decref(*value);
}

static enum sl_status check_identity(const struct run *run, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(run->options->out, IDENTITY_FILE);
    SL_AUTO(release_json) json_t *now = make_identity(run, err);
    if (path == NULL || now == NULL)
        return path == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory") : SL_NO_MEMORY;
    if (sl_file_size(path) >= 0) {
        SL_AUTO_FREE char *text = NULL;
        size_t size = 0;
        enum sl_status status = sl_file_read(&text, &size, path, 1 << 20, err);
        if (status != SL_OK)
            return status;
        SL_AUTO(release_json) json_t *before = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        return compare_identity(run, before, now, err);
    }
    char *text = json_dumps(now, JSON_INDENT(2));
    if (text == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}

/* ---- what is there, what is to do ---- */

/* A shard that an earlier run has finished is trusted as far as its line and its file's size agree; records are verified when read. */
static enum sl_status find_whole(const struct run *run, struct part *part, struct sl_error *err)
{
    SL_AUTO_FREE char *dir = part_path(run, part, "");
    SL_AUTO_FREE char *file = dir == NULL ? NULL : sl_path_join(dir, WK_SHARD_FILE);
    if (file == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (!sl_file_is_directory(dir))
        return SL_OK;
    struct sl_error reason = {0};
    enum sl_status status = wk_index_shard_load(&part->line, run->config->label_count, dir, &reason);
    if (status == SL_NO_MEMORY)
        return sl_fail(err, status, "%s", reason.text);
    if (status == SL_OK && part->line.size == sl_file_size(file)) {
        part->whole = true;
        part->next = part->end;
        return SL_OK;
    }
    return sl_file_remove_tree(dir, err);
}

static enum sl_status find_partial(const struct run *run, struct part *part, struct sl_error *err)
{
    SL_AUTO_FREE char *dir = part_path(run, part, PARTIAL);
    if (dir == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (!sl_file_is_directory(dir))
        return SL_OK;
    struct wk_shard_writer *writer = NULL;
    struct sl_error reason = {0};
    enum sl_status status = wk_shard_writer_open(&writer, dir, run->config, &reason);
    uint64_t next = status == SL_OK ? wk_shard_writer_summary(writer)->next : 0;
    wk_shard_writer_close(writer);
    if (status != SL_OK && status != SL_BAD_DATA)
        return sl_fail(err, status, "%s", reason.text);
    if (status == SL_BAD_DATA || (next != 0 && (next <= part->begin || next > part->end)))
        return sl_file_remove_tree(dir, err); /* damaged: its rows are imported again */
    if (next != 0)
        part->next = next;
    return SL_OK;
}

static enum sl_status make_parts(struct run *run, struct sl_error *err)
{
    const struct wk_plan *plan = run->plan;
    for (int i = 0; i < WK_SPLITS; i++)
        run->part_count += (plan->counts[i] + run->shard_size - 1) / run->shard_size;
    if (run->part_count > WK_SHARDS_MAX)
        return sl_fail(err, SL_USAGE, "%zu shards are too many; use a larger --shard-size", run->part_count);
    run->parts = sl_alloc(run->part_count, sizeof(*run->parts));
    if (run->parts == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    struct part *part = run->parts;
    for (int i = 0; i < WK_SPLITS; i++) {
        for (uint64_t begin = 0; begin < plan->counts[i]; begin += run->shard_size, part++) {
            uint64_t end =
                    begin + run->shard_size < plan->counts[i] ? begin + run->shard_size : plan->counts[i];
            *part = (struct part){.split = (enum wk_split)i,
                    .number = begin / run->shard_size,
                    .begin = begin,
                    .next = begin,
                    .end = end};
        }
        run->total += plan->counts[i];
    }
    return SL_OK;
}

static enum sl_status make_tasks(struct run *run, struct sl_error *err)
{
    run->tasks = sl_alloc(run->total, sizeof(*run->tasks));
    if (run->tasks == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < run->part_count; i++) {
        struct part *part = &run->parts[i];
        enum sl_status status = find_whole(run, part, err);
        if (status == SL_OK && !part->whole)
            status = find_partial(run, part, err);
        if (status != SL_OK)
            return status;
        run->done += part->next - part->begin;
        run->rejected += part->whole ? part->line.rejects : 0;
        for (uint64_t ordinal = part->next; ordinal < part->end; ordinal++)
            run->tasks[run->task_count++] = (struct wk_task){part->split, ordinal};
    }
    run->result->resumed = run->done;
    return SL_OK;
}

/* ---- writing shards ---- */

static enum sl_status commit_if_due(
        struct run *run, struct wk_shard_writer *writer, uint64_t rows, struct sl_error *err)
{
    int64_t now = sl_clock_monotonic_us();
    bool due = now - run->committed_us > COMMIT_US || wk_shard_writer_pending(writer) > COMMIT_BYTES ||
               (run->options->commit_rows > 0 && rows % run->options->commit_rows == 0);
    if (!due)
        return SL_OK;
    run->committed_us = now;
    return wk_shard_writer_commit(writer, err);
}

/* The next result, however long it takes, unless the import is stopped or fails. */
static enum sl_status take_result(const struct run *run, struct wk_task_result *result, struct sl_error *err)
{
    for (;;) {
        if (run->options->stop != NULL && atomic_load(run->options->stop))
            return sl_fail(err, SL_STOPPED,
                    "stopped after %" PRIu64 " of %" PRIu64 " lines; run the same again to go on", run->done,
                    run->total);
        enum sl_status status = wk_pool_take(run->pool, WAIT_MS, result, err);
        if (status != SL_TIMEOUT)
            return status;
        show_progress(run);
    }
}

static enum sl_status write_rows(
        struct run *run, struct part *part, struct wk_shard_writer *writer, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    while (part->next < part->end && status == SL_OK) {
        struct wk_task_result result = {0};
        status = take_result(run, &result, err);
        if (status != SL_OK)
            break;
        status = wk_shard_writer_put(
                writer, part->next, result.kind, result.label, result.bytes, result.size, err);
        sl_free(result.bytes);
        if (status != SL_OK)
            return status; /* the writer is of no more use */
        part->next++;
        run->done++;
        run->rejected += result.kind == WK_ENTRY_REJECT;
        status = commit_if_due(run, writer, part->next - part->begin, err);
        if (status != SL_OK)
            return status;
        show_progress(run);
    }
    /* what is done is kept, whatever made it end */
    enum sl_status committed = wk_shard_writer_commit(writer, status == SL_OK ? err : NULL);
    return status != SL_OK ? status : committed;
}

static void describe_shard(struct part *part, const struct wk_shard_summary *summary, int64_t size)
{
    part->line = (struct wk_index_shard){
            .count = summary->count, .rejects = summary->rejects, .hash = summary->hash, .size = size};
    (void)snprintf(part->line.name, sizeof(part->line.name), "shard-%05" PRIu64, part->number);
    memcpy(part->line.labels, summary->labels, sizeof(part->line.labels));
}

static enum sl_status publish_shard(
        const struct run *run, const struct part *part, const char *partial, struct sl_error *err)
{
    SL_AUTO_FREE char *dir = part_path(run, part, "");
    SL_AUTO_FREE char *split = split_path(run, part->split);
    if (dir == NULL || split == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = wk_index_shard_save(&part->line, run->config->label_count, partial, err);
    if (status == SL_OK && rename(partial, dir) != 0)
        status = sl_fail_errno(err, "cannot rename %s to %s", partial, dir);
    return status == SL_OK ? sl_file_sync_directory(split, err) : status;
}

static enum sl_status write_part(struct run *run, struct part *part, struct sl_error *err)
{
    SL_AUTO_FREE char *partial = part_path(run, part, PARTIAL);
    SL_AUTO_FREE char *file = partial == NULL ? NULL : sl_path_join(partial, WK_SHARD_FILE);
    if (file == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    struct wk_shard_writer *writer = NULL;
    enum sl_status status = wk_shard_writer_open(&writer, partial, run->config, err);
    if (status != SL_OK)
        return status;
    status = write_rows(run, part, writer, err);
    struct wk_shard_summary summary = *wk_shard_writer_summary(writer);
    wk_shard_writer_close(writer);
    if (status != SL_OK)
        return status;
    describe_shard(part, &summary, sl_file_size(file));
    return publish_shard(run, part, partial, err);
}

static enum sl_status write_parts(struct run *run, int jobs, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    if (run->task_count > 0)
        status = wk_pool_create(&run->pool, run->plan, run->config, &run->options->limits, run->tasks,
                run->task_count, jobs, err);
    run->committed_us = sl_clock_monotonic_us();
    show_progress(run);
    for (size_t i = 0; i < run->part_count && status == SL_OK; i++) {
        if (!run->parts[i].whole)
            status = write_part(run, &run->parts[i], err);
    }
    return status;
}

/* ---- the lists ---- */

static enum sl_status copy_vocabs(const struct run *run, const char *dir, struct sl_error *err)
{
    for (int m = 0; m < run->config->modality_count; m++) {
        const struct sl_modality_config *modality = &run->config->modalities[m];
        if (modality->kind != SL_KIND_BERT)
            continue;
        struct wk_vocab *vocab = NULL;
        SL_AUTO_FREE char *path = sl_strdup_printf("%s/vocab-%s.txt", dir, modality->name);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        enum sl_status status = wk_vocab_load(&vocab, modality->vocab, err);
        if (status != SL_OK)
            return status;
        size_t size = 0;
        const char *bytes = wk_vocab_bytes(vocab, &size);
        status = wk_vocab_hash(vocab) == run->vocab_hashes[m]
                         ? sl_file_write_atomic(path, bytes, size, err)
                         : sl_fail(err, SL_FAILED, "%s has changed during the import", modality->vocab);
        wk_vocab_destroy(vocab);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status write_manifest(const struct run *run, enum wk_split split, struct sl_error *err)
{
    SL_AUTO(wk_index_destroy_auto) struct wk_index *index = NULL;
    SL_AUTO_FREE char *dir = split_path(run, split);
    if (dir == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = wk_index_begin(&index, run->config, run->vocab_hashes, wk_split_name(split), err);
    for (size_t i = 0; i < run->part_count && status == SL_OK; i++) {
        if (run->parts[i].split == split)
            status = wk_index_add_shard(index, &run->parts[i].line, err);
    }
    if (status == SL_OK)
        status = copy_vocabs(run, dir, err);
    if (status == SL_OK)
        status = wk_index_save(index, dir, err);
    if (status == SL_OK) {
        run->result->imported[split] = index->count;
        run->result->size += index->size;
    }
    return status;
}

struct reject_list {
    struct wk_reject *items;
    uint64_t count;
};

static void reject_list_fini(struct reject_list *list)
{
    for (uint64_t i = 0; i < list->count; i++)
        wk_reject_fini(&list->items[i]);
    sl_free(list->items);
}

static enum sl_status read_rejects(
        const struct run *run, const struct part *part, struct reject_list *list, struct sl_error *err)
{
    SL_AUTO_FREE char *dir = part_path(run, part, "");
    SL_AUTO(wk_shard_close_auto) struct wk_shard *shard = NULL;
    if (dir == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = wk_shard_open(&shard, dir, part->line.size, err);
    if (status == SL_OK && wk_shard_reject_count(shard) != part->line.rejects)
        status = sl_fail(err, SL_BAD_DATA,
                "%s does not hold the rejects that it states; remove it to import it again", dir);
    for (uint64_t i = 0; i < part->line.rejects && status == SL_OK; i++) {
        const void *bytes = NULL;
        size_t size = 0;
        uint64_t key = 0;
        status = wk_shard_peek(shard, WK_ENTRY_REJECT, i, &bytes, &size, &key, err);
        if (status == SL_OK)
            status = wk_reject_unpack(&list->items[list->count], bytes, size, key, err);
        if (status == SL_OK)
            list->count++;
    }
    return status;
}

static int compare_lines(const void *a, const void *b)
{
    const struct wk_reject *left = a, *right = b;
    return (left->line > right->line) - (left->line < right->line);
}

/* All rejects in the order of the manifest: those of the plan (given away) and those of the shards. */
static enum sl_status gather_rejects(const struct run *run, struct reject_list *list, struct sl_error *err)
{
    struct wk_plan *plan = run->plan;
    uint64_t total = plan->reject_count;
    for (size_t i = 0; i < run->part_count; i++)
        total += run->parts[i].line.rejects;
    list->items = sl_alloc(total, sizeof(*list->items));
    if (list->items == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the rejected lines");
    if (plan->reject_count > 0)
        memcpy(list->items, plan->rejects, plan->reject_count * sizeof(*list->items));
    list->count = plan->reject_count;
    plan->reject_count = 0;
    enum sl_status status = SL_OK;
    for (size_t i = 0; i < run->part_count && status == SL_OK; i++) {
        if (run->parts[i].line.rejects > 0)
            status = read_rejects(run, &run->parts[i], list, err);
    }
    if (list->count > 0)
        qsort(list->items, list->count, sizeof(*list->items), compare_lines);
    return status;
}

static enum sl_status write_rejects(const struct run *run, struct sl_error *err)
{
    SL_AUTO(reject_list_fini) struct reject_list list = {0};
    SL_AUTO(sl_json_fini) struct sl_json json;
    SL_AUTO_FREE char *path = sl_path_join(run->options->out, REJECTS_FILE);
    sl_json_init(&json, REJECTS_SIZE_MAX);
    enum sl_status status =
            path == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory") : gather_rejects(run, &list, err);
    if (status != SL_OK)
        return status;
    for (uint64_t i = 0; i < list.count; i++) {
        sl_json_object(&json, NULL);
        sl_json_int(&json, "line", list.items[i].line);
        sl_json_string(&json, "id", list.items[i].id[0] != '\0' ? list.items[i].id : NULL);
        sl_json_string(&json, "reason", list.items[i].reason);
        sl_json_end(&json);
    }
    run->result->rejected = list.count;
    if (list.count > 0)
        (void)snprintf(run->result->first_reason, sizeof(run->result->first_reason), "line %lld: %.200s",
                (long long)list.items[0].line, list.items[0].reason);
    const char *text = "";
    size_t size = 0;
    if (list.count > 0)
        status = sl_json_finish(&json, &text, &size, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE char *whole = sl_alloc(size + 1, 1);
    if (whole == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    memcpy(whole, text, size);
    whole[size] = '\n';
    return sl_file_write_atomic(path, whole, size > 0 ? size + 1 : 0, err);
}

static enum sl_status write_lists(struct run *run, struct sl_error *err)
{
    enum sl_status status = write_rejects(run, err);
    for (int i = 0; i < WK_SPLITS && status == SL_OK; i++) {
        if (run->plan->counts[i] > 0)
            status = write_manifest(run, (enum wk_split)i, err);
    }
    uint64_t imported = 0;
    for (int i = 0; i < WK_SPLITS; i++)
        imported += run->result->imported[i];
    if (status == SL_OK && imported == 0)
        status = sl_fail(err, SL_BAD_DATA,
                "none of the %" PRIu64 " lines of %s gave a sample; %s; all reasons are in %s/%s",
                run->result->lines, run->options->manifest, run->result->first_reason, run->options->out,
                REJECTS_FILE);
    return status;
}

/* ---- all of it ---- */

static int count_cores(void)
{
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return count > 0 ? count : 1;
}

static enum sl_status prepare(struct run *run, struct sl_error *err)
{
    enum sl_status status = wk_config_vocab_hashes(run->vocab_hashes, run->config, err);
    if (status == SL_OK)
        status = wk_plan_create(&run->plan, run->options->manifest, run->config, run->options->allot, err);
    if (status == SL_OK)
        status = wk_index_begin(&run->settings, run->config, run->vocab_hashes, "", err);
    if (status == SL_OK)
        run->result->lines = run->plan->lines;
    if (status == SL_OK)
        status = lock_folder(run, err);
    if (status == SL_OK)
        status = check_identity(run, err);
    if (status == SL_OK)
        status = make_parts(run, err);
    if (status == SL_OK)
        status = make_tasks(run, err);
    return status;
}

enum sl_status wk_import_run(const struct wk_import_options *options, const struct sl_config *config,
        struct wk_import_result *ret_result, struct sl_error *err)
{
    int64_t start_us = sl_clock_monotonic_us();
    int jobs = options->jobs > 0 ? options->jobs : count_cores();
    *ret_result = (struct wk_import_result){0};
    SL_AUTO(run_fini)
    struct run run = {.options = options,
            .config = config,
            .result = ret_result,
            .lock = -1,
            .shard_size = options->shard_size > 0 ? options->shard_size : WK_SHARD_ROWS};
    enum sl_status status = prepare(&run, err);
    if (status == SL_OK)
        status = write_parts(&run, jobs < JOBS_MAX ? jobs : JOBS_MAX, err);
    if (status == SL_OK)
        status = write_lists(&run, err);
    ret_result->seconds = (double)(sl_clock_monotonic_us() - start_us) * 1e-6;
    return status;
}
