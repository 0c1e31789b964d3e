/* Snapshots of a run in the background: see archive.h. */
#include "ps/archive.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/log.h"
#include "common/memory.h"
#include "ps/pretrained.h"
#include "ps/snapshot.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VOCABULARY_MAX ((size_t)64 << 20) /* bytes */

enum start { START_NONE, START_INITIAL, START_NEWEST, START_NAMED };

struct ps_archive {
    const struct sl_config *config;
    const struct sl_layout *layout;
    uint64_t config_hash;
    char *dir;
    struct ps_attachment attachments[SL_MODALITIES_MAX + 1];
    char names[SL_MODALITIES_MAX + 1][PS_MANIFEST_NAME_MAX];
    int attachment_count;
    int event_fd;
    /* where the run began: what a rollback falls back to */
    enum start start;
    char *named;                   /* START_NAMED: its folder, without links */
    int64_t protect;               /* its step, -1 = none: never pruned */
    struct ps_block_state *blocks; /* restored: (layout->block_count,), or NULL */
    /* steps of the snapshots that this process wrote, ascending: at most as many as pruning leaves */
    int64_t *own;
    int own_count, own_max;
    /* the snapshot that is gathered, then written */
    struct ps_snapshot *snapshot;
    int64_t begun_us, pause_us;
    pthread_t writer;
    bool writing, joined; /* begun and not taken; its thread has ended */
    struct ps_written written;
};

/* ---- open ---- */

static enum sl_status attach(
        struct ps_archive *a, const char *name, char *bytes, size_t size, struct sl_error *err)
{
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %s", name);
    int i = a->attachment_count++;
    (void)snprintf(a->names[i], sizeof(a->names[i]), "%s", name);
    a->attachments[i] = (struct ps_attachment){a->names[i], bytes, size};
    return SL_OK;
}

/* The config as it will be found in the snapshot: vocabularies beside it, weights already in. */
static enum sl_status attach_config(struct ps_archive *a, struct sl_error *err)
{
    SL_AUTO_FREE struct sl_config *copy = sl_alloc(1, sizeof(*copy));
    char *text = NULL;
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the config");
    *copy = *a->config;
    for (int m = 0; m < copy->modality_count; m++) {
        struct sl_modality_config *modality = &copy->modalities[m];
        modality->init[0] = 0;
        if (modality->kind == SL_KIND_BERT)
            (void)snprintf(
                    modality->vocab, sizeof(modality->vocab), "vocab-%s.txt", a->config->modalities[m].name);
    }
    enum sl_status status = sl_config_dump(&text, copy, err);
    return status == SL_OK ? attach(a, "config.yaml", text, strlen(text), err) : status;
}

static enum sl_status attach_vocabularies(struct ps_archive *a, struct sl_error *err)
{
    for (int m = 0; m < a->config->modality_count; m++) {
        const struct sl_modality_config *modality = &a->config->modalities[m];
        char name[PS_MANIFEST_NAME_MAX], *text = NULL;
        size_t size = 0;
        if (modality->kind != SL_KIND_BERT)
            continue;
        enum sl_status status = sl_file_read(&text, &size, modality->vocab, VOCABULARY_MAX, err);
        if (status != SL_OK)
            return sl_error_context(err, "modalities.%s.vocab", modality->name);
        (void)snprintf(name, sizeof(name), "vocab-%s.txt", modality->name);
        status = attach(a, name, text, size, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

enum sl_status ps_archive_open(struct ps_archive **ret_archive, const struct sl_config *config,
        const struct sl_layout *layout, struct sl_error *err)
{
    struct ps_archive *a = sl_alloc(1, sizeof(*a));
    if (a == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for snapshots");
    *a = (struct ps_archive){.config = config, .layout = layout, .protect = -1, .event_fd = -1};
    enum sl_status status = sl_config_hash(&a->config_hash, config, err);
    a->dir = sl_path_join(config->snapshots.dir, "snapshots");
    a->own_max = config->snapshots.keep > 1 ? config->snapshots.keep : 1;
    a->own = sl_alloc((size_t)a->own_max, sizeof(*a->own));
    if (status == SL_OK && (a->dir == NULL || a->own == NULL))
        status = sl_fail(err, SL_NO_MEMORY, "out of memory for snapshots");
    if (status == SL_OK)
        status = sl_file_make_directories(a->dir, err);
    if (status == SL_OK)
        status = attach_config(a, err);
    if (status == SL_OK)
        status = attach_vocabularies(a, err);
    if (status == SL_OK && (a->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0)
        status = sl_fail_errno(err, "cannot make an eventfd");
    if (status != SL_OK) {
        ps_archive_close(a);
        return status;
    }
    *ret_archive = a;
    return SL_OK;
}

void ps_archive_close(struct ps_archive *a)
{
    if (a == NULL)
        return;
    ps_archive_wait(a);
    ps_snapshot_destroy(a->snapshot);
    ps_archive_release(a);
    for (int i = 0; i < a->attachment_count; i++)
        sl_free((void *)a->attachments[i].bytes);
    if (a->event_fd >= 0)
        (void)close(a->event_fd);
    sl_free(a->named);
    sl_free(a->own);
    sl_free(a->dir);
    sl_free(a);
}

/* ---- restore: which snapshot ---- */

static void log_damaged(void *context, const char *text)
{
    (void)context;
    char quoted[SL_ERROR_TEXT_MAX];
    sl_log(SL_LOG_WARN, "snapshot", "snapshot-damaged", "reason=%s",
            sl_log_quote(quoted, sizeof(quoted), text));
}

/* A fresh start into a folder that holds a run would mix the two: nothing is deleted without being told to. */
static enum sl_status refuse_mixing(struct ps_archive *a, struct sl_error *err)
{
    struct ps_snapshot_entry *entries = NULL;
    int count = 0;
    enum sl_status status = ps_snapshot_list(&entries, &count, a->dir, false, err);
    sl_free(entries);
    if (status != SL_OK || count == 0)
        return status;
    return sl_fail(err, SL_USAGE,
            "%s holds %d snapshots of an earlier run: go on with --resume auto, choose another "
            "snapshots.dir, or remove the folder",
            a->dir, count);
}

/* newest_of_folder finds none where there is none. */
static enum sl_status newest_of_folder(
        struct ps_archive *a, struct ps_saved **ret_saved, struct sl_error *err)
{
    struct sl_error reason = {0};
    enum sl_status status = ps_snapshot_newest(ret_saved, a->dir, log_damaged, NULL, &reason);
    if (status == SL_NOT_FOUND)
        return SL_OK;
    return status == SL_OK ? SL_OK : sl_fail(err, status, "%s", reason.text);
}

/* newest_own looks at what this process wrote alone. Damage of all of it is no error: there is the start. */
static enum sl_status newest_own(struct ps_archive *a, struct ps_saved **ret_saved, struct sl_error *err)
{
    for (int i = a->own_count - 1; i >= 0; i--) {
        char name[PS_SNAPSHOT_NAME_MAX];
        struct sl_error reason = {0};
        ps_snapshot_name(name, a->own[i]);
        SL_AUTO_FREE char *path = sl_path_join(a->dir, name);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
        enum sl_status status = ps_saved_open(ret_saved, path, &reason);
        if (status == SL_OK || status == SL_NO_MEMORY)
            return status == SL_OK ? SL_OK : sl_fail(err, status, "%s", reason.text);
        log_damaged(NULL, reason.text);
    }
    return SL_OK;
}

static enum sl_status find_first(struct ps_archive *a, const char *resume, enum start *ret_start,
        struct ps_saved **ret_saved, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    *ret_start = START_NAMED;
    if (strcmp(resume, "auto") != 0 && strcmp(resume, "never") != 0)
        return ps_saved_open(ret_saved, resume, err);
    if (strcmp(resume, "never") == 0)
        status = refuse_mixing(a, err);
    else
        status = newest_of_folder(a, ret_saved, err);
    *ret_start = *ret_saved != NULL ? START_NEWEST : START_INITIAL;
    return status;
}

/* find_again is for a rollback. What lies in the folder is all of this run, unless the run began from a named snapshot. */
static enum sl_status find_again(struct ps_archive *a, struct ps_saved **ret_saved, struct sl_error *err)
{
    if (a->start == START_NAMED) {
        enum sl_status status = newest_own(a, ret_saved, err);
        return status != SL_OK || *ret_saved != NULL ? status : ps_saved_open(ret_saved, a->named, err);
    }
    enum sl_status status = newest_of_folder(a, ret_saved, err);
    if (a->start == START_INITIAL) /* all damaged, and logged: then from the initial values */
        return status == SL_BAD_DATA ? SL_OK : status;
    return status != SL_OK || *ret_saved != NULL
                   ? status
                   : sl_fail(err, SL_NOT_FOUND, "%s: the snapshots of this run are gone", a->dir);
}

/* note_start keeps where the first call found the start. `latest` and other links will point elsewhere one day. */
static enum sl_status note_start(struct ps_archive *a, enum start start, const char *resume,
        const struct ps_training *training, struct sl_error *err)
{
    if (start == START_NAMED) {
        char path[PATH_MAX];
        if (realpath(resume, path) == NULL)
            return sl_fail_errno(err, "cannot find the folder of %s", resume);
        a->named = sl_strdup(path);
        if (a->named == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    }
    if (start != START_INITIAL)
        a->protect = training->step;
    a->start = start;
    return SL_OK;
}

/* ---- restore: reading ---- */

static enum sl_status load_saved(struct ps_archive *a, const struct ps_saved *saved,
        struct ps_training *ret_training, struct sl_error *err)
{
    const struct ps_manifest *manifest = ps_saved_manifest(saved);
    if (manifest->config_hash != a->config_hash)
        return sl_fail(err, SL_MISMATCH,
                "%s was written with another config (model, data order, loss or optimiser differ): go on "
                "with its config.yaml, "
                "or begin anew with --resume never",
                ps_saved_path(saved));
    enum sl_status status = ps_saved_load_blocks(saved, a->layout, a->blocks, err);
    if (status == SL_OK)
        *ret_training = manifest->training;
    return status;
}

/* Initial values are drawn and read for the whole vector; moments begin as zero and take no memory. */
static enum sl_status load_initial(
        struct ps_archive *a, struct ps_training *ret_training, struct sl_error *err)
{
    SL_AUTO_FREE float *params = sl_alloc_aligned(a->layout->count, sizeof(*params));
    if (params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters", a->layout->count);
    sl_layout_initialise(a->layout, a->config->seed, params);
    enum sl_status status = ps_pretrained_apply(a->config, a->layout, params, err);
    for (int b = 0; status == SL_OK && b < a->layout->block_count; b++) {
        const struct sl_block *block = &a->layout->blocks[b];
        a->blocks[b].params = sl_buffer_create(block->count * sizeof(float));
        if (a->blocks[b].params == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters", a->layout->count);
        memcpy(a->blocks[b].params->data, params + block->offset, block->count * sizeof(float));
    }
    if (status == SL_OK)
        *ret_training = ps_training_begin();
    return status;
}

static enum sl_status load(struct ps_archive *a, const struct ps_saved *saved,
        struct ps_training *ret_training, struct sl_error *err)
{
    a->blocks = sl_alloc((size_t)a->layout->block_count, sizeof(*a->blocks));
    if (a->blocks == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %d blocks", a->layout->block_count);
    return saved != NULL ? load_saved(a, saved, ret_training, err) : load_initial(a, ret_training, err);
}

enum sl_status ps_archive_restore(
        struct ps_archive *a, const char *resume, struct ps_training *ret_training, struct sl_error *err)
{
    ps_archive_wait(a);
    ps_archive_drop(a);
    ps_archive_release(a);
    SL_AUTO(ps_saved_close_auto) struct ps_saved *saved = NULL;
    struct ps_training training = {0};
    bool first = a->start == START_NONE;
    enum start start = START_NONE;
    enum sl_status status = ps_snapshot_clean(a->dir, err);
    if (status == SL_OK)
        status = first ? find_first(a, resume, &start, &saved, err) : find_again(a, &saved, err);
    if (status == SL_OK)
        status = load(a, saved, &training, err);
    if (status == SL_OK && first)
        status = note_start(a, start, resume, &training, err);
    if (status != SL_OK) {
        ps_archive_release(a);
        return status;
    }
    if (saved != NULL || !first)
        sl_log(SL_LOG_INFO, "snapshot", first ? "resumed" : "restored", "step=%" PRId64 " path=\"%s\"",
                training.step, saved != NULL ? ps_saved_path(saved) : "");
    *ret_training = training;
    return SL_OK;
}

const struct ps_block_state *ps_archive_block(const struct ps_archive *a, int block)
{
    assert(a->blocks != NULL && block >= 0 && block < a->layout->block_count);
    return &a->blocks[block];
}

void ps_archive_release(struct ps_archive *a)
{
    for (int b = 0; a->blocks != NULL && b < a->layout->block_count; b++)
        ps_block_state_fini(&a->blocks[b]);
    sl_free(SL_TAKE(a->blocks));
}

/* ---- gather and write ---- */

/* The best one is linked before pruning, so that it is never pruned. */
static void *writer_main(void *argument)
{
    struct ps_archive *a = argument;
    struct ps_written *written = &a->written;
    int64_t start_us = sl_clock_monotonic_us();
    int removed = 0;
    written->status = ps_snapshot_write(a->snapshot, a->dir, &written->error);
    if (written->status == SL_OK && written->best)
        written->status = ps_snapshot_link(a->dir, "best", written->step, &written->error);
    struct ps_keep keep = {
            .count = a->config->snapshots.keep, .protect = a->protect, .newest = written->step};
    if (written->status == SL_OK)
        written->status = ps_snapshot_prune(a->dir, &keep, &removed, &written->error);
    written->write_seconds = (double)(sl_clock_monotonic_us() - start_us) * 1e-6;
    uint64_t one = 1;
    ssize_t size = write(a->event_fd, &one, sizeof(one));
    assert(size == sizeof(one));
    return NULL;
}

static struct ps_manifest manifest_of(const struct ps_archive *a, const struct ps_training *training)
{
    int64_t batch = (int64_t)a->config->batch.slots * a->config->batch.slot_size;
    struct ps_manifest manifest = {.created_s = sl_clock_wall_us() / 1000000,
            .seed = a->config->seed,
            .config_hash = a->config_hash,
            .layout_hash = a->layout->hash,
            .optimiser = a->config->optimiser.kind,
            .training = *training};
    if (training->train_count > 0)
        manifest.epoch = training->step / (((int64_t)training->train_count + batch - 1) / batch);
    return manifest;
}

enum sl_status ps_archive_begin(
        struct ps_archive *a, const struct ps_training *training, bool best, struct sl_error *err)
{
    assert(!a->writing && a->snapshot == NULL);
    a->begun_us = sl_clock_monotonic_us();
    struct ps_manifest manifest = manifest_of(a, training);
    struct ps_snapshot_source source = {
            .layout = a->layout, .manifest = &manifest, a->attachments, a->attachment_count};
    enum sl_status status = ps_snapshot_begin(&a->snapshot, &source, err);
    if (status != SL_OK)
        return status;
    a->written =
            (struct ps_written){.step = training->step, .best = best, .size = ps_snapshot_size(a->snapshot)};
    a->pause_us = sl_clock_monotonic_us() - a->begun_us;
    return SL_OK;
}

enum sl_status ps_archive_put(struct ps_archive *a, int block, const struct sl_frame *params,
        const struct sl_frame *m, const struct sl_frame *v, struct sl_error *err)
{
    if (a->snapshot == NULL || a->writing)
        return sl_fail(err, SL_BAD_DATA, "block %d came for a snapshot while none is gathered", block);
    int64_t start_us = sl_clock_monotonic_us();
    enum sl_status status = ps_snapshot_put(a->snapshot, block, params, m, v, err);
    a->pause_us += sl_clock_monotonic_us() - start_us;
    return status;
}

enum sl_status ps_archive_write(struct ps_archive *a, struct sl_error *err)
{
    assert(!a->writing && a->snapshot != NULL);
    int missing = ps_snapshot_missing(a->snapshot);
    if (missing > 0) {
        ps_archive_drop(a);
        return sl_fail(err, SL_BAD_DATA, "the snapshot of step %" PRId64 " lacks %d of %d blocks",
                a->written.step, missing, a->layout->block_count);
    }
    int64_t start_us = sl_clock_monotonic_us();
    a->written.gather_seconds = (double)(start_us - a->begun_us) * 1e-6;
    a->written.pause_seconds = (double)a->pause_us * 1e-6;
    int failed = pthread_create(&a->writer, NULL, writer_main, a);
    if (failed != 0) {
        ps_archive_drop(a);
        return sl_fail(err, SL_FAILED, "cannot start the snapshot thread: %s", strerror(failed));
    }
    a->writing = true;
    a->joined = false;
    return SL_OK;
}

void ps_archive_drop(struct ps_archive *a)
{
    if (!a->writing)
        ps_snapshot_destroy(SL_TAKE(a->snapshot));
}

/* A step that is written again after a rollback takes the place of what was written from there on. */
static void note_own(struct ps_archive *a, int64_t step)
{
    while (a->own_count > 0 && a->own[a->own_count - 1] >= step)
        a->own_count--;
    if (a->own_count == a->own_max)
        memmove(a->own, a->own + 1, (size_t)--a->own_count * sizeof(*a->own));
    a->own[a->own_count++] = step;
}

void ps_archive_wait(struct ps_archive *a)
{
    if (!a->writing || a->joined)
        return;
    (void)pthread_join(a->writer, NULL);
    a->joined = true;
    ps_snapshot_destroy(SL_TAKE(a->snapshot));
    if (a->written.status == SL_OK)
        note_own(a, a->written.step);
}

int ps_archive_fd(const struct ps_archive *a)
{
    return a->event_fd;
}

enum sl_status ps_archive_take(struct ps_archive *a, struct ps_written *ret_written)
{
    uint64_t count = 0;
    if (!a->writing || read(a->event_fd, &count, sizeof(count)) != sizeof(count))
        return SL_AGAIN;
    ps_archive_wait(a);
    a->writing = false;
    *ret_written = a->written;
    return SL_OK;
}
