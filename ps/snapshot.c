/* Gathering a snapshot's blocks and writing it to disk: see snapshot.h. Reading is in saved.c. */
#include "ps/snapshot.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#define DISK_SLACK (1U << 20) /* bytes that headers, manifest and folders take besides tensors */
#define NAME_MAX_M (SL_PARAM_NAME_MAX + 2)

enum kind { KIND_PARAMS, KIND_M, KIND_V, KINDS };

struct attachment {
    char name[PS_MANIFEST_NAME_MAX];
    char *bytes;
    size_t size;
};

struct ps_snapshot {
    const struct sl_layout *layout;
    struct ps_manifest manifest;
    struct sl_frame *frames; /* (layout->block_count, KINDS); a block that is not there yet has no buffers */
    int missing;             /* blocks */
    struct attachment attachments[PS_MANIFEST_FILES_MAX];
    int attachment_count;
};

void ps_snapshot_name(char *name, int64_t step)
{
    (void)snprintf(name, PS_SNAPSHOT_NAME_MAX, "step-%08" PRId64, step);
}

/* gathering */

static enum sl_status copy_attachments(
        struct ps_snapshot *snapshot, const struct ps_snapshot_source *source, struct sl_error *err)
{
    /* the manifest's list has two more places to fill: model and optimiser */
    if (source->attachment_count > PS_MANIFEST_FILES_MAX - 2)
        return sl_fail(err, SL_USAGE, "a snapshot takes at most %d more files", PS_MANIFEST_FILES_MAX - 2);
    for (int i = 0; i < source->attachment_count; i++) {
        const struct ps_attachment *from = &source->attachments[i];
        struct attachment *to = &snapshot->attachments[i];
        if (strlen(from->name) >= sizeof(to->name) || strchr(from->name, '/') != NULL ||
                from->name[0] == '.' || from->name[0] == '\0')
            return sl_fail(err, SL_USAGE,
                    "\"%s\" cannot be a file of a snapshot: its name is too long or a path", from->name);
        (void)snprintf(to->name, sizeof(to->name), "%s", from->name);
        to->bytes = sl_alloc(from->size, 1);
        if (to->bytes == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %s of a snapshot", from->name);
        if (from->size > 0)
            memcpy(to->bytes, from->bytes, from->size);
        to->size = from->size;
        snapshot->attachment_count = i + 1;
    }
    return SL_OK;
}

/* What the optimiser keeps decides about the kinds of tensors. */
static int kinds(const struct ps_snapshot *snapshot)
{
    return snapshot->manifest.optimiser == SL_OPTIMISER_ADAMW ? KINDS : KIND_V;
}

static enum sl_status copy_manifest(
        struct ps_snapshot *snapshot, const struct ps_manifest *manifest, struct sl_error *err)
{
    snapshot->manifest = *manifest;
    snapshot->manifest.file_count = 0;
    snapshot->manifest.state = NULL;
    if (manifest->state != NULL) {
        snapshot->manifest.state = sl_strdup(manifest->state);
        if (snapshot->manifest.state == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot");
    }
    /* a state that cannot be written must show now and not in the writing thread */
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    return ps_manifest_write(&text, &size, &snapshot->manifest, err);
}

enum sl_status ps_snapshot_begin(
        struct ps_snapshot **ret_snapshot, const struct ps_snapshot_source *source, struct sl_error *err)
{
    SL_AUTO(ps_snapshot_destroy_auto) struct ps_snapshot *snapshot = sl_alloc(1, sizeof(*snapshot));
    if (snapshot == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot");
    snapshot->layout = source->layout;
    snapshot->missing = source->layout->block_count;
    snapshot->frames = sl_alloc((size_t)snapshot->missing, KINDS * sizeof(*snapshot->frames));
    if (snapshot->frames == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot of %d blocks", snapshot->missing);
    enum sl_status s = copy_manifest(snapshot, source->manifest, err);
    if (s == SL_OK)
        s = copy_attachments(snapshot, source, err);
    if (s == SL_OK)
        *ret_snapshot = SL_TAKE(snapshot);
    return s;
}

enum sl_status ps_snapshot_put(struct ps_snapshot *snapshot, int block, const struct sl_frame *params,
        const struct sl_frame *m, const struct sl_frame *v, struct sl_error *err)
{
    const struct sl_frame *given[KINDS] = {params, m, v};
    static const char *const names[KINDS] = {"values", "first moment", "second moment"};
    if (block < 0 || block >= snapshot->layout->block_count)
        return sl_fail(err, SL_BAD_DATA, "a snapshot of %d blocks got block %d",
                snapshot->layout->block_count, block);
    struct sl_frame *frames = &snapshot->frames[(size_t)block * KINDS];
    size_t size = snapshot->layout->blocks[block].count * sizeof(float);
    if (frames[KIND_PARAMS].buffer != NULL)
        return sl_fail(err, SL_BAD_DATA, "a snapshot got block %d twice", block);
    for (int k = 0; k < kinds(snapshot); k++) {
        if (given[k] == NULL || given[k]->buffer == NULL)
            return sl_fail(err, SL_BAD_DATA, "a snapshot got block %d without its %s", block, names[k]);
        if (given[k]->size != size)
            return sl_fail(err, SL_BAD_DATA,
                    "a snapshot got block %d with %zu bytes of its %s, the layout says %zu", block,
                    given[k]->size, names[k], size);
    }
    for (int k = 0; k < kinds(snapshot); k++) {
        frames[k] = *given[k];
        (void)sl_buffer_retain(frames[k].buffer);
    }
    snapshot->missing--;
    return SL_OK;
}

bool ps_snapshot_whole(const struct ps_snapshot *snapshot)
{
    return snapshot->missing == 0;
}

int ps_snapshot_missing(const struct ps_snapshot *snapshot)
{
    return snapshot->missing;
}

void ps_snapshot_destroy(struct ps_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    for (int i = 0; i < PS_MANIFEST_FILES_MAX; i++)
        sl_free(snapshot->attachments[i].bytes);
    ps_manifest_fini(&snapshot->manifest);
    for (int i = 0; snapshot->frames != NULL && i < snapshot->layout->block_count * KINDS; i++)
        sl_buffer_release(snapshot->frames[i].buffer);
    sl_free(snapshot->frames);
    sl_free(snapshot);
}

void ps_snapshot_destroy_auto(struct ps_snapshot **snapshot)
{
    ps_snapshot_destroy(*snapshot);
}

int64_t ps_snapshot_step(const struct ps_snapshot *snapshot)
{
    return snapshot->manifest.training.step;
}

uint64_t ps_snapshot_size(const struct ps_snapshot *snapshot)
{
    uint64_t size = (uint64_t)snapshot->layout->trained * sizeof(float) * (uint64_t)kinds(snapshot);
    for (int i = 0; i < snapshot->attachment_count; i++)
        size += snapshot->attachments[i].size;
    return size;
}

/* writing one file: bytes go to the descriptor and into the checksum that the manifest will hold. Small tensors gather in a buffer, since a
 * model has hundreds of biases. The disk is told to begin as soon as there is enough for it, so that it works while the rest is still hashed and copied; what
 * makes the bytes durable is the sync alone, which then has little left to wait for. */

#define BUFFER_SIZE (16U << 10)
#define HANDED_AT_ONCE (8U << 20) /* bytes */

struct writer {
    const char *path;
    int fd;
    uint64_t size, handed; /* bytes that were given; of these, what the disk was told to begin with */
    XXH3_state_t *hash;
    size_t buffered;
    char buffer[BUFFER_SIZE];
};

static void free_hash(XXH3_state_t **hash)
{
    (void)XXH3_freeState(*hash);
}

/* Where the file system cannot do it, or fails, the sync does and tells. */
static void hand_to_disk(struct writer *writer)
{
    uint64_t written = writer->size - writer->buffered;
    if (written - writer->handed < HANDED_AT_ONCE)
        return;
    (void)sync_file_range(
            writer->fd, (off_t)writer->handed, (off_t)(written - writer->handed), SYNC_FILE_RANGE_WRITE);
    writer->handed = written;
}

static enum sl_status flush(struct writer *writer, struct sl_error *err)
{
    size_t size = writer->buffered;
    writer->buffered = 0;
    return sl_file_write_all(writer->fd, writer->buffer, size, writer->path, err);
}

static enum sl_status put_bytes(struct writer *writer, const void *bytes, size_t size, struct sl_error *err)
{
    enum sl_status s = SL_OK;
    if (size > BUFFER_SIZE - writer->buffered)
        s = flush(writer, err);
    if (s == SL_OK && size > BUFFER_SIZE)
        return sl_file_write_all(writer->fd, bytes, size, writer->path, err);
    if (s != SL_OK || size == 0)
        return s;
    memcpy(writer->buffer + writer->buffered, bytes, size);
    writer->buffered += size;
    return SL_OK;
}

static enum sl_status write_bytes(void *context, const void *bytes, size_t size, struct sl_error *err)
{
    struct writer *writer = context;
    (void)XXH3_128bits_update(writer->hash, bytes, size);
    enum sl_status s = put_bytes(writer, bytes, size, err);
    writer->size += size;
    if (s == SL_OK)
        hand_to_disk(writer);
    return s;
}

/* Files that are written and not yet synced. */
struct unsynced {
    struct {
        int fd;
        char *path;
    } files[PS_MANIFEST_FILES_MAX];
    int count;
};

static void unsynced_fini(struct unsynced *unsynced)
{
    for (int i = 0; i < unsynced->count; i++) {
        sl_close_auto(&unsynced->files[i].fd);
        sl_free(unsynced->files[i].path);
    }
    unsynced->count = 0;
}

/* sync_all makes the files durable and closes them. */
static enum sl_status sync_all(struct unsynced *unsynced, struct sl_error *err)
{
    for (int i = 0; i < unsynced->count; i++) {
        int fd = unsynced->files[i].fd;
        if (fsync(fd) != 0)
            return sl_fail_errno(err, "cannot sync %s", unsynced->files[i].path);
        unsynced->files[i].fd = -1; /* whatever close says, the descriptor is gone */
        if (close(fd) != 0)
            return sl_fail_errno(err, "cannot close %s", unsynced->files[i].path);
    }
    unsynced_fini(unsynced);
    return SL_OK;
}

typedef enum sl_status (*fill_function)(const struct ps_snapshot *snapshot, const struct sl_sink *sink,
        const void *what, struct sl_error *err);

/* write_file makes folder/name from what fill puts into the sink, and enters it into the manifest and among those to be synced. */
static enum sl_status write_file(const struct ps_snapshot *snapshot, const char *folder, const char *name,
        fill_function fill, const void *what, struct ps_manifest *manifest, struct unsynced *unsynced,
        struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(folder, name);
    SL_AUTO(free_hash) XXH3_state_t *hash = XXH3_createState();
    if (path == NULL || hash == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %s of a snapshot", name);
    (void)XXH3_128bits_reset(hash);
    SL_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return sl_fail_errno(err, "cannot create %s", path);
    struct writer writer = {.path = path, .fd = fd, .hash = hash};
    struct sl_sink sink = {write_bytes, &writer};
    enum sl_status s = fill(snapshot, &sink, what, err);
    if (s == SL_OK)
        s = flush(&writer, err);
    if (s != SL_OK)
        return s;
    assert(unsynced->count < PS_MANIFEST_FILES_MAX);
    unsynced->files[unsynced->count].fd = fd;
    unsynced->files[unsynced->count++].path = SL_TAKE(path);
    fd = -1;
    XXH128_hash_t digest = XXH3_128bits_digest(hash);
    struct ps_manifest_file *file = &manifest->files[manifest->file_count++];
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    file->size = writer.size;
    file->hash = (struct ps_hash){digest.high64, digest.low64};
    return SL_OK;
}

/* the three kinds of content */

/* A tensor without its data, which are streamed after the header. */
static struct sl_tensor_view view_of(const struct sl_param *param, const char *name)
{
    struct sl_tensor_view view = {.name = name, .dtype = SL_DTYPE_F32, .rank = param->rank};
    for (int i = 0; i < param->rank; i++)
        view.shape[i] = param->shape[i];
    return view;
}

static enum sl_status write_header(const struct ps_snapshot *snapshot, const struct sl_sink *sink,
        const struct sl_tensor_view *views, int count, struct sl_error *err)
{
    char step[32], config[32], layout[32];
    (void)snprintf(step, sizeof(step), "%" PRId64, ps_snapshot_step(snapshot));
    (void)snprintf(config, sizeof(config), "%016" PRIx64, snapshot->manifest.config_hash);
    (void)snprintf(layout, sizeof(layout), "%016" PRIx64, snapshot->manifest.layout_hash);
    const struct sl_metadata metadata[] = {
            {"format", "pt"}, {"step", step}, {"config_hash", config}, {"layout_hash", layout}};
    SL_AUTO_FREE char *header = NULL;
    size_t size = 0;
    enum sl_status s = sl_safetensors_header(&header, &size, views, count, metadata, 4, err);
    return s == SL_OK ? sink->write(sink->context, header, size, err) : s;
}

/* write_data streams all parameters' values or moments, piece by piece of the blocks that hold them. */
static enum sl_status write_data(
        const struct ps_snapshot *snapshot, const struct sl_sink *sink, enum kind kind, struct sl_error *err)
{
    const struct sl_layout *layout = snapshot->layout;
    int b = 0;
    for (int p = 0; p < layout->param_count; p++) {
        const struct sl_param *param = &layout->params[p];
        for (size_t at = param->offset, end = at + param->count; at < end;) {
            while (at >= layout->blocks[b].offset + layout->blocks[b].count)
                b++; /* both lists are in order of offset, and blocks leave no hole */
            const struct sl_block *block = &layout->blocks[b];
            size_t block_end = block->offset + block->count, stop = end < block_end ? end : block_end;
            const char *bytes = snapshot->frames[(size_t)b * KINDS + kind].data;
            enum sl_status s = sink->write(sink->context, bytes + (at - block->offset) * sizeof(float),
                    (stop - at) * sizeof(float), err);
            if (s != SL_OK)
                return s;
            at = stop;
        }
    }
    return SL_OK;
}

static enum sl_status fill_model(const struct ps_snapshot *snapshot, const struct sl_sink *sink,
        const void *what, struct sl_error *err)
{
    (void)what;
    const struct sl_layout *layout = snapshot->layout;
    SL_AUTO_FREE struct sl_tensor_view *views = sl_alloc((size_t)layout->param_count, sizeof(*views));
    if (views == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot");
    for (int p = 0; p < layout->param_count; p++)
        views[p] = view_of(&layout->params[p], layout->params[p].name);
    enum sl_status s = write_header(snapshot, sink, views, layout->param_count, err);
    return s == SL_OK ? write_data(snapshot, sink, KIND_PARAMS, err) : s;
}

static enum sl_status fill_optimiser(const struct ps_snapshot *snapshot, const struct sl_sink *sink,
        const void *what, struct sl_error *err)
{
    (void)what;
    const struct sl_layout *layout = snapshot->layout;
    int moments = kinds(snapshot) - KIND_M, count = 0;
    SL_AUTO_FREE struct sl_tensor_view *views =
            sl_alloc((size_t)(moments * layout->param_count), sizeof(*views));
    SL_AUTO_FREE char *names = sl_alloc((size_t)(moments * layout->param_count), NAME_MAX_M);
    if (views == NULL || names == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a snapshot");
    for (int k = 0; k < moments; k++) {
        for (int p = 0; p < layout->param_count; p++, count++) {
            char *name = names + (size_t)count * NAME_MAX_M;
            (void)snprintf(name, NAME_MAX_M, "%c.%s", "mv"[k], layout -> params[p].name);
            views[count] = view_of(&layout->params[p], name);
        }
    }
    enum sl_status s = write_header(snapshot, sink, views, count, err);
    for (int k = KIND_M; s == SL_OK && k < kinds(snapshot); k++)
        s = write_data(snapshot, sink, (enum kind)k, err);
    return s;
}

static enum sl_status fill_bytes(const struct ps_snapshot *snapshot, const struct sl_sink *sink,
        const void *what, struct sl_error *err)
{
    (void)snapshot;
    const struct attachment *bytes = what;
    return sink->write(sink->context, bytes->bytes, bytes->size, err);
}

/* write_files fills the temporary folder; the manifest comes last. */
static enum sl_status write_files(
        const struct ps_snapshot *snapshot, const char *folder, struct sl_error *err)
{
    struct ps_manifest manifest = snapshot->manifest, itself = {0};
    SL_AUTO(unsynced_fini) struct unsynced unsynced = {.count = 0};
    enum sl_status s =
            write_file(snapshot, folder, "model.safetensors", fill_model, NULL, &manifest, &unsynced, err);
    if (s == SL_OK)
        s = write_file(
                snapshot, folder, "optimiser.safetensors", fill_optimiser, NULL, &manifest, &unsynced, err);
    for (int i = 0; s == SL_OK && i < snapshot->attachment_count; i++)
        s = write_file(snapshot, folder, snapshot->attachments[i].name, fill_bytes, &snapshot->attachments[i],
                &manifest, &unsynced, err);
    if (s == SL_OK)
        s = sync_all(&unsynced, err);
    if (s != SL_OK)
        return s;
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    s = ps_manifest_write(&text, &size, &manifest, err);
    if (s != SL_OK)
        return s;
    struct attachment last = {.bytes = text, .size = size};
    s = write_file(snapshot, folder, "manifest.json", fill_bytes, &last, &itself, &unsynced, err);
    if (s == SL_OK)
        s = sync_all(&unsynced, err);
    return s == SL_OK ? sl_file_sync_directory(folder, err) : s;
}

/* putting the folder into its place */

static enum sl_status check_room(const char *dir, uint64_t size, struct sl_error *err)
{
    struct statvfs info;
    if (statvfs(dir, &info) != 0)
        return sl_fail_errno(err, "cannot ask %s for its free space", dir);
    uint64_t room = (uint64_t)info.f_bavail * info.f_frsize, wanted = size + DISK_SLACK;
    if (room >= wanted)
        return SL_OK;
    return sl_fail(err, SL_DISK,
            "%s: a snapshot needs %" PRIu64 " MiB and %" PRIu64
            " MiB are free: make room or lower snapshots.keep",
            dir, wanted >> 20, room >> 20);
}

/* replace_without_exchange is for file systems that cannot let two folders change places (NFS): a whole snapshot of the step stays, since
 * the same step of a run has the same bits, and a crash between two renames could lose both; a damaged one goes. */
static enum sl_status replace_without_exchange(const char *temporary, const char *path, struct sl_error *err)
{
    struct ps_saved *there = NULL;
    enum sl_status s = ps_saved_open(&there, path, err);
    ps_saved_close(there);
    if (s != SL_BAD_DATA)
        return s;
    s = sl_file_remove_tree(path, err);
    if (s == SL_OK && rename(temporary, path) != 0)
        s = sl_fail_errno(err, "cannot rename %s to %s", temporary, path);
    return s;
}

/* move_into_place renames temporary to path. An older snapshot of that step changes places with it in one step of the file system and is
 * removed by the caller under the temporary name. */
static enum sl_status move_into_place(const char *temporary, const char *path, struct sl_error *err)
{
    if (rename(temporary, path) == 0)
        return SL_OK;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return sl_fail_errno(err, "cannot rename %s to %s", temporary, path);
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_EXCHANGE) == 0)
        return SL_OK;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return sl_fail_errno(err, "cannot exchange %s and %s", temporary, path);
    return replace_without_exchange(temporary, path, err);
}

static enum sl_status write_folder(
        const struct ps_snapshot *snapshot, const char *dir, const char *name, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, name);
    SL_AUTO_FREE char *temporary = sl_strdup_printf("%s/%s.tmp-XXXXXX", dir, name);
    if (path == NULL || temporary == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (mkdtemp(temporary) == NULL)
        return sl_fail_errno(err, "cannot make a folder in %s", dir);
    enum sl_status s = SL_OK;
    if (chmod(temporary, 0755) != 0)
        s = sl_fail_errno(err, "cannot set the mode of %s", temporary);
    if (s == SL_OK)
        s = write_files(snapshot, temporary, err);
    if (s == SL_OK)
        s = move_into_place(temporary, path, err);
    /* on success the name is gone or holds the snapshot that was replaced; a failure to remove it is met again by the next write */
    enum sl_status removed = sl_file_remove_tree(temporary, NULL);
    (void)removed;
    return s;
}

enum sl_status ps_snapshot_write(const struct ps_snapshot *snapshot, const char *dir, struct sl_error *err)
{
    char name[PS_SNAPSHOT_NAME_MAX];
    assert(ps_snapshot_whole(snapshot));
    ps_snapshot_name(name, ps_snapshot_step(snapshot));
    enum sl_status s = sl_file_make_directories(dir, err);
    if (s == SL_OK)
        s = ps_snapshot_clean(dir, err);
    if (s == SL_OK)
        s = check_room(dir, ps_snapshot_size(snapshot), err);
    if (s == SL_OK)
        s = write_folder(snapshot, dir, name, err);
    if (s == SL_OK)
        s = sl_file_sync_directory(dir, err);
    if (s == SL_OK)
        s = ps_snapshot_link(dir, "latest", ps_snapshot_step(snapshot), err);
    return s == SL_OK ? SL_OK : sl_error_context(err, "snapshot %s", name);
}

enum sl_status ps_snapshot_link(const char *dir, const char *name, int64_t step, struct sl_error *err)
{
    char target[PS_SNAPSHOT_NAME_MAX];
    ps_snapshot_name(target, step);
    SL_AUTO_FREE char *path = sl_path_join(dir, name);
    SL_AUTO_FREE char *temporary = sl_strdup_printf("%s/.%s.tmp-%ld", dir, name, (long)getpid());
    if (path == NULL || temporary == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    (void)unlink(temporary);
    if (symlink(target, temporary) != 0) {
        if (errno == EPERM || errno == ENOSYS || errno == ENOTSUP)
            return SL_OK;
        return sl_fail_errno(err, "cannot make the link %s", path);
    }
    if (rename(temporary, path) != 0) {
        enum sl_status s = sl_fail_errno(err, "cannot make the link %s", path);
        (void)unlink(temporary);
        return s;
    }
    return sl_file_sync_directory(dir, err);
}
