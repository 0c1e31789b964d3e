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
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VOCABULARY_MAX ((size_t)64 << 20) /* bytes */

struct ps_archive {
    const struct sl_config *config;
    const struct sl_layout *layout;
    uint64_t config_hash;
    char *dir;
    struct ps_attachment attachments[SL_MODALITIES_MAX + 1];
    char names[SL_MODALITIES_MAX + 1][PS_MANIFEST_NAME_MAX];
    int attachment_count;
    int64_t protect; /* step of the snapshot that was resumed from */
    int event_fd;
    pthread_t writer;
    bool writing;
    struct ps_snapshot *snapshot; /* being written */
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
    if (status == SL_OK && a->dir == NULL)
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
    if (a->writing)
        (void)pthread_join(a->writer, NULL);
    ps_snapshot_destroy(a->snapshot);
    for (int i = 0; i < a->attachment_count; i++)
        sl_free((void *)a->attachments[i].bytes);
    if (a->event_fd >= 0)
        (void)close(a->event_fd);
    sl_free(a->dir);
    sl_free(a);
}

/* ---- resume ---- */

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

static enum sl_status find_saved(
        struct ps_archive *a, const char *resume, struct ps_saved **ret_saved, struct sl_error *err)
{
    if (strcmp(resume, "never") == 0)
        return refuse_mixing(a, err);
    if (strcmp(resume, "auto") != 0)
        return ps_saved_open(ret_saved, resume, err);
    struct sl_error reason = {0};
    enum sl_status status = ps_snapshot_newest(ret_saved, a->dir, log_damaged, NULL, &reason);
    if (status == SL_NOT_FOUND)
        return SL_OK; /* a first start */
    return status == SL_OK ? SL_OK : sl_fail(err, status, "%s", reason.text);
}

static enum sl_status load_saved(struct ps_archive *a, const struct ps_saved *saved, struct ps_table *table,
        struct ps_training *ret_training, struct sl_error *err)
{
    const struct ps_manifest *manifest = ps_saved_manifest(saved);
    if (manifest->config_hash != a->config_hash)
        return sl_fail(err, SL_MISMATCH,
                "%s was written with another config (model, data order, loss or optimiser differ): go on "
                "with its config.yaml, "
                "or begin anew with --resume never",
                ps_saved_path(saved));
    size_t count = a->layout->count;
    SL_AUTO_FREE float *values = sl_alloc_aligned(3 * count, sizeof(*values));
    if (values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters and moments", 3 * count);
    enum sl_status status = ps_saved_load(saved, a->layout, values, values + count, values + 2 * count, err);
    if (status == SL_OK)
        status = ps_table_load(
                table, values, values + count, values + 2 * count, manifest->training.step, err);
    if (status != SL_OK)
        return status;
    *ret_training = manifest->training;
    a->protect = manifest->training.step;
    sl_log(SL_LOG_INFO, "snapshot", "resumed", "step=%" PRId64 " path=\"%s\"", manifest->training.step,
            ps_saved_path(saved));
    return SL_OK;
}

enum sl_status ps_archive_resume(struct ps_archive *a, const char *resume, struct ps_table *table,
        struct ps_training *ret_training, struct sl_error *err)
{
    SL_AUTO(ps_saved_close_auto) struct ps_saved *saved = NULL;
    enum sl_status status = ps_snapshot_clean(a->dir, err);
    if (status == SL_OK)
        status = find_saved(a, resume, &saved, err);
    if (status != SL_OK)
        return status;
    if (saved != NULL)
        return load_saved(a, saved, table, ret_training, err);
    SL_AUTO_FREE float *params = sl_alloc_aligned(a->layout->count, sizeof(*params));
    if (params == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu parameters", a->layout->count);
    sl_layout_initialise(a->layout, a->config->seed, params);
    status = ps_pretrained_apply(a->config, a->layout, params, err);
    if (status != SL_OK)
        return status;
    *ret_training = ps_training_begin();
    return ps_table_load(table, params, NULL, NULL, 0, err);
}

/* ---- save ---- */

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
    if (written->status == SL_OK)
        written->status = ps_snapshot_prune(
                a->dir, a->config->snapshots.keep, a->protect, false, &removed, &written->error);
    written->write_seconds = (double)(sl_clock_monotonic_us() - start_us) * 1e-6;
    uint64_t one = 1;
    ssize_t size = write(a->event_fd, &one, sizeof(one));
    assert(size == sizeof(one));
    return NULL;
}

enum sl_status ps_archive_save(struct ps_archive *a, const struct ps_table *table,
        const struct ps_training *training, bool best, struct sl_error *err)
{
    assert(!a->writing);
    int64_t start_us = sl_clock_monotonic_us(),
            batch = (int64_t)a->config->batch.slots * a->config->batch.slot_size;
    struct ps_manifest manifest = {.created_s = sl_clock_wall_us() / 1000000,
            .seed = a->config->seed,
            .config_hash = a->config_hash,
            .layout_hash = a->layout->hash,
            .optimiser = a->config->optimiser.kind,
            .training = *training};
    if (training->train_count > 0)
        manifest.epoch = training->step / (((int64_t)training->train_count + batch - 1) / batch);
    struct ps_snapshot_source source = {a->layout, table, &manifest, a->attachments, a->attachment_count};
    enum sl_status status = ps_snapshot_capture(&a->snapshot, &source, err);
    if (status != SL_OK)
        return status;
    a->written = (struct ps_written){.step = training->step,
            .best = best,
            .size = ps_snapshot_size(a->snapshot),
            .pause_seconds = (double)(sl_clock_monotonic_us() - start_us) * 1e-6};
    int failed = pthread_create(&a->writer, NULL, writer_main, a);
    if (failed != 0) {
        ps_snapshot_destroy(SL_TAKE(a->snapshot));
        return sl_fail(err, SL_FAILED, "cannot start the snapshot thread: %s", strerror(failed));
    }
    a->writing = true;
    return SL_OK;
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
    (void)pthread_join(a->writer, NULL);
    a->writing = false;
    ps_snapshot_destroy(SL_TAKE(a->snapshot));
    *ret_written = a->written;
    return SL_OK;
}
