/* Reading snapshots: verifying, loading, listing, pruning. See snapshot.h. */
#include "common/file.h"
#include "common/memory.h"
#include "common/safetensors.h"
#include "ps/snapshot.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define CHUNK (1U << 20) /* bytes read at a time */
#define ATTACHMENT_MAX (64U << 20)

struct ps_saved {
    char *path;
    struct ps_manifest manifest;
};

/* verifying */

static enum sl_status read_manifest(struct ps_manifest *ret_manifest, const char *path, struct sl_error *err)
{
    SL_AUTO_FREE char *name = sl_path_join(path, "manifest.json");
    if (name == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum sl_status s = sl_file_read(&text, &size, name, PS_MANIFEST_SIZE_MAX, err);
    if (s == SL_NOT_FOUND && sl_file_is_directory(path))
        return sl_fail(err, SL_BAD_DATA, "%s: the file is missing", name);
    return s == SL_OK ? ps_manifest_read(ret_manifest, text, size, name, err) : s;
}

static void free_hash(XXH3_state_t **hash)
{
    (void)XXH3_freeState(*hash);
}

/* hash_file reads the whole file and compares. */
static enum sl_status hash_file(
        int fd, const struct ps_manifest_file *file, const char *path, struct sl_error *err)
{
    SL_AUTO_FREE char *buffer = sl_alloc(CHUNK, 1);
    SL_AUTO(free_hash) XXH3_state_t *hash = XXH3_createState();
    if (buffer == NULL || hash == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory", path);
    (void)XXH3_128bits_reset(hash);
    for (uint64_t done = 0; done < file->size;) {
        size_t now = file->size - done < CHUNK ? (size_t)(file->size - done) : CHUNK;
        enum sl_status s = sl_file_read_at(fd, buffer, now, (int64_t)done, path, err);
        if (s != SL_OK)
            return s;
        (void)XXH3_128bits_update(hash, buffer, now);
        done += now;
    }
    XXH128_hash_t digest = XXH3_128bits_digest(hash);
    if (digest.high64 != file->hash.high || digest.low64 != file->hash.low)
        return sl_fail(err, SL_BAD_DATA,
                "%s: the file is damaged: its checksum does not agree with the manifest", path);
    return SL_OK;
}

static enum sl_status verify_file(
        const char *folder, const struct ps_manifest_file *file, bool read, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(folder, file->name);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return sl_fail(err, SL_BAD_DATA, "%s: the file is missing", path);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return sl_fail_errno(err, "cannot open %s", path);
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != file->size)
        return sl_fail(err, SL_BAD_DATA, "%s: the file has %lld bytes, the manifest says %" PRIu64, path,
                (long long)info.st_size, file->size);
    return read ? hash_file(fd, file, path, err) : SL_OK;
}

/* verify checks a folder's manifest and files; read = false looks at sizes alone. */
static enum sl_status verify(
        struct ps_manifest *ret_manifest, const char *path, bool read, struct sl_error *err)
{
    struct ps_manifest manifest = {0};
    enum sl_status s = read_manifest(&manifest, path, err);
    for (int i = 0; s == SL_OK && i < manifest.file_count; i++)
        s = verify_file(path, &manifest.files[i], read, err);
    if (s == SL_OK)
        *ret_manifest = manifest;
    else
        ps_manifest_fini(&manifest);
    return s;
}

enum sl_status ps_saved_open(struct ps_saved **ret_saved, const char *path, struct sl_error *err)
{
    SL_AUTO(ps_saved_close_auto) struct ps_saved *saved = sl_alloc(1, sizeof(*saved));
    if (saved == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    saved->path = sl_strdup(path);
    if (saved->path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status s = verify(&saved->manifest, path, true, err);
    if (s == SL_OK)
        *ret_saved = SL_TAKE(saved);
    return s;
}

void ps_saved_close(struct ps_saved *saved)
{
    if (saved == NULL)
        return;
    ps_manifest_fini(&saved->manifest);
    sl_free(saved->path);
    sl_free(saved);
}

void ps_saved_close_auto(struct ps_saved **saved)
{
    ps_saved_close(*saved);
}

const char *ps_saved_path(const struct ps_saved *saved)
{
    return saved->path;
}

const struct ps_manifest *ps_saved_manifest(const struct ps_saved *saved)
{
    return &saved->manifest;
}

/* loading */

/* Where tensors go: one flat vector, or the buffers of the blocks. The gaps between parameters are zero. */
struct target {
    const struct sl_layout *layout;
    float *flat;
    struct sl_buffer **blocks; /* (layout->block_count,), when flat is NULL */
    int block;                 /* the one that was written last: parameters come in order of offset */
};

/* place gives where an offset of the flat vector lies, and how many floats may be written from there on. */
static float *place(struct target *target, size_t offset, size_t *ret_room)
{
    const struct sl_layout *layout = target->layout;
    if (target->flat != NULL) {
        *ret_room = layout->count - offset;
        return target->flat + offset;
    }
    const struct sl_block *block = &layout->blocks[target->block];
    while (offset >= block->offset + block->count)
        block = &layout->blocks[++target->block];
    *ret_room = block->offset + block->count - offset;
    return (float *)target->blocks[target->block]->data + (offset - block->offset);
}

static enum sl_status load_param(const struct sl_safetensors *file, const char *path,
        const struct sl_param *param, const char *prefix, struct target *target, struct sl_error *err)
{
    char name[SL_PARAM_NAME_MAX + 2];
    (void)snprintf(name, sizeof(name), "%s%s", prefix, param->name);
    const struct sl_tensor *tensor = sl_safetensors_find(file, name);
    if (tensor == NULL)
        return sl_fail(err, SL_MISMATCH, "%s: has no %s: the snapshot is of another model", path, name);
    bool same = tensor->rank == param->rank && tensor->dtype == SL_DTYPE_F32;
    for (int i = 0; same && i < param->rank; i++)
        same = tensor->shape[i] == param->shape[i];
    if (!same)
        return sl_fail(err, SL_MISMATCH,
                "%s: %s has another shape than the config gives it: the snapshot is of another model", path,
                name);
    for (size_t done = 0; done < param->count;) {
        size_t room = 0, left = param->count - done;
        float *to = place(target, param->offset + done, &room);
        size_t now = left < room ? left : room;
        enum sl_status s =
                sl_safetensors_read_range(file, tensor, done * sizeof(float), to, now * sizeof(float), err);
        if (s != SL_OK)
            return s;
        done += now;
    }
    return SL_OK;
}

static enum sl_status load_all(const struct sl_safetensors *file, const char *path, const char *prefix,
        struct target target, struct sl_error *err)
{
    if (target.flat != NULL)
        memset(target.flat, 0, target.layout->count * sizeof(float));
    for (int p = 0; p < target.layout->param_count; p++) {
        enum sl_status s = load_param(file, path, &target.layout->params[p], prefix, &target, err);
        if (s != SL_OK)
            return s;
    }
    return SL_OK;
}

/* open_tensors opens a file of the snapshot and checks that it has no tensor beyond those that will be read. */
static enum sl_status open_tensors(struct sl_safetensors **ret_file, char **ret_path,
        const struct ps_saved *saved, const char *name, int count, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(saved->path, name);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    SL_AUTO(sl_safetensors_close_auto) struct sl_safetensors *file = NULL;
    enum sl_status s = sl_safetensors_open(&file, path, err);
    if (s != SL_OK)
        return s;
    if (sl_safetensors_count(file) > count)
        return sl_fail(err, SL_MISMATCH,
                "%s: has %d tensors, the config's model %d: the snapshot is of another model", path,
                sl_safetensors_count(file), count);
    *ret_path = SL_TAKE(path);
    *ret_file = SL_TAKE(file);
    return SL_OK;
}

/* load_moments fills those of the two targets that are wanted. */
static enum sl_status load_moments(const struct ps_saved *saved, const struct sl_layout *layout,
        const struct target *m, const struct target *v, struct sl_error *err)
{
    SL_AUTO(sl_safetensors_close_auto) struct sl_safetensors *file = NULL;
    SL_AUTO_FREE char *path = NULL;
    bool second = saved->manifest.optimiser == SL_OPTIMISER_ADAMW;
    enum sl_status s = open_tensors(
            &file, &path, saved, "optimiser.safetensors", layout->param_count * (second ? 2 : 1), err);
    if (s == SL_OK && m != NULL)
        s = load_all(file, path, "m.", *m, err);
    if (s == SL_OK && v != NULL && second)
        s = load_all(file, path, "v.", *v, err);
    return s;
}

static enum sl_status load_model(
        const struct ps_saved *saved, const struct target *params, struct sl_error *err)
{
    SL_AUTO(sl_safetensors_close_auto) struct sl_safetensors *file = NULL;
    SL_AUTO_FREE char *path = NULL;
    enum sl_status s =
            open_tensors(&file, &path, saved, "model.safetensors", params->layout->param_count, err);
    return s == SL_OK ? load_all(file, path, "", *params, err) : s;
}

enum sl_status ps_saved_load(const struct ps_saved *saved, const struct sl_layout *layout, float *ret_params,
        float *ret_m, float *ret_v, struct sl_error *err)
{
    struct target params = {.layout = layout, .flat = ret_params}, m = {.layout = layout, .flat = ret_m},
                  v = {.layout = layout, .flat = ret_v};
    enum sl_status s = load_model(saved, &params, err);
    if (s != SL_OK || (ret_m == NULL && ret_v == NULL))
        return s;
    return load_moments(saved, layout, ret_m == NULL ? NULL : &m, ret_v == NULL ? NULL : &v, err);
}

/* The buffers of all blocks, by kind of tensor, while they are being filled. */
struct lists {
    int count;
    struct sl_buffer **params, **m, **v; /* v NULL without a second moment */
};

static void free_list(struct sl_buffer **list, int count)
{
    for (int b = 0; list != NULL && b < count; b++)
        sl_buffer_release(list[b]);
    sl_free(list);
}

static void free_lists(struct lists *lists)
{
    free_list(lists->params, lists->count);
    free_list(lists->m, lists->count);
    free_list(lists->v, lists->count);
}

static enum sl_status make_list(
        struct sl_buffer ***ret_list, const struct sl_layout *layout, struct sl_error *err)
{
    *ret_list = sl_alloc((size_t)layout->block_count, sizeof(**ret_list));
    bool whole = *ret_list != NULL;
    for (int b = 0; whole && b < layout->block_count; b++) {
        (*ret_list)[b] = sl_buffer_create(layout->blocks[b].count * sizeof(float));
        whole = (*ret_list)[b] != NULL;
    }
    return whole ? SL_OK
                 : sl_fail(err, SL_NO_MEMORY,
                           "out of memory for a snapshot's %zu parameters and as many moments",
                           layout->count);
}

enum sl_status ps_saved_load_blocks(const struct ps_saved *saved, const struct sl_layout *layout,
        struct ps_block_state *ret_blocks, struct sl_error *err)
{
    SL_AUTO(free_lists) struct lists lists = {.count = layout->block_count};
    bool second = saved->manifest.optimiser == SL_OPTIMISER_ADAMW;
    enum sl_status s = make_list(&lists.params, layout, err);
    if (s == SL_OK)
        s = make_list(&lists.m, layout, err);
    if (s == SL_OK && second)
        s = make_list(&lists.v, layout, err);
    if (s != SL_OK)
        return s;
    struct target params = {.layout = layout, .blocks = lists.params},
                  m = {.layout = layout, .blocks = lists.m}, v = {.layout = layout, .blocks = lists.v};
    s = load_model(saved, &params, err);
    if (s == SL_OK)
        s = load_moments(saved, layout, &m, &v, err);
    if (s != SL_OK)
        return s;
    for (int b = 0; b < layout->block_count; b++)
        ret_blocks[b] = (struct ps_block_state){
                SL_TAKE(lists.params[b]), SL_TAKE(lists.m[b]), second ? SL_TAKE(lists.v[b]) : NULL};
    return SL_OK;
}

enum sl_status ps_saved_file(const struct ps_saved *saved, const char *name, char **ret_bytes,
        size_t *ret_size, struct sl_error *err)
{
    for (int i = 0; i < saved->manifest.file_count; i++) {
        if (strcmp(saved->manifest.files[i].name, name) != 0)
            continue;
        SL_AUTO_FREE char *path = sl_path_join(saved->path, name);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        return sl_file_read(ret_bytes, ret_size, path, ATTACHMENT_MAX, err);
    }
    return sl_fail(err, SL_NOT_FOUND, "%s: the snapshot has no %s", saved->path, name);
}

/* listing */

/* parse_name reads "step-00001200"; nothing may follow the digits. */
static bool parse_name(const char *name, int64_t *ret_step)
{
    if (strncmp(name, "step-", 5) != 0 || strlen(name) < 13 || strlen(name) >= PS_SNAPSHOT_NAME_MAX - 8)
        return false;
    int64_t step = 0;
    for (const char *c = name + 5; *c != '\0'; c++) {
        if (*c < '0' || *c > '9')
            return false;
        step = step * 10 + (*c - '0');
    }
    char back[PS_SNAPSHOT_NAME_MAX];
    ps_snapshot_name(back, step);
    *ret_step = step;
    return strcmp(back, name) == 0;
}

static int compare_entries(const void *a, const void *b)
{
    const struct ps_snapshot_entry *x = a, *y = b;
    return x->step < y->step ? -1 : x->step > y->step;
}

static void close_dir(DIR **dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
}

/* find_entries lists the folders whose names are those of snapshots, oldest first, without looking inside. */
static enum sl_status find_entries(
        struct ps_snapshot_entry **ret_entries, int *ret_count, const char *path, struct sl_error *err)
{
    SL_AUTO(close_dir) DIR *dir = opendir(path);
    if (dir == NULL)
        return sl_fail_errno(err, "cannot list %s", path);
    SL_AUTO_FREE struct ps_snapshot_entry *entries = NULL;
    int count = 0, capacity = 0;
    for (;;) {
        errno = 0;
        const struct dirent *item = readdir(dir);
        if (item == NULL && errno != 0)
            return sl_fail_errno(err, "cannot list %s", path);
        if (item == NULL)
            break;
        int64_t step = 0;
        if (!parse_name(item->d_name, &step))
            continue;
        if (count == capacity) {
            capacity = capacity == 0 ? 16 : 2 * capacity;
            struct ps_snapshot_entry *grown = sl_realloc(entries, (size_t)capacity, sizeof(*entries));
            if (grown == NULL)
                return sl_fail(err, SL_NO_MEMORY, "out of memory for a list of %d snapshots", capacity);
            entries = grown;
        }
        entries[count] = (struct ps_snapshot_entry){.step = step};
        ps_snapshot_name(entries[count].name, step);
        count++;
    }
    if (count > 0)
        qsort(entries, (size_t)count, sizeof(*entries), compare_entries);
    *ret_entries = SL_TAKE(entries);
    *ret_count = count;
    return SL_OK;
}

/* linked_step gives the step that dir/name points to, or -1. */
static int64_t linked_step(const char *dir, const char *name)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, name);
    char target[PS_SNAPSHOT_NAME_MAX] = {0};
    int64_t step = -1;
    if (path == NULL || readlink(path, target, sizeof(target) - 1) < 0 || !parse_name(target, &step))
        return -1;
    return step;
}

enum sl_status ps_snapshot_list(struct ps_snapshot_entry **ret_entries, int *ret_count, const char *dir,
        bool verify_all, struct sl_error *err)
{
    SL_AUTO_FREE struct ps_snapshot_entry *entries = NULL;
    int count = 0;
    enum sl_status s = find_entries(&entries, &count, dir, err);
    if (s != SL_OK)
        return s;
    int64_t latest = linked_step(dir, "latest"), best = linked_step(dir, "best");
    for (int i = 0; i < count; i++) {
        struct ps_snapshot_entry *entry = &entries[i];
        SL_AUTO_FREE char *path = sl_path_join(dir, entry->name);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        struct ps_manifest manifest = {0};
        struct sl_error why = {0};
        entry->whole = verify(&manifest, path, verify_all, &why) == SL_OK;
        memcpy(entry->reason, why.text, sizeof(entry->reason));
        entry->created_s = manifest.created_s;
        for (int f = 0; f < manifest.file_count; f++)
            entry->size += manifest.files[f].size;
        entry->latest = entry->step == latest;
        entry->best = entry->step == best;
        ps_manifest_fini(&manifest);
    }
    *ret_entries = SL_TAKE(entries);
    *ret_count = count;
    return SL_OK;
}

enum sl_status ps_snapshot_newest(struct ps_saved **ret_saved, const char *dir,
        void (*report)(void *context, const char *text), void *context, struct sl_error *err)
{
    SL_AUTO_FREE struct ps_snapshot_entry *entries = NULL;
    int count = 0;
    enum sl_status s = find_entries(&entries, &count, dir, err);
    if (s != SL_OK)
        return s;
    for (int i = count - 1; i >= 0; i--) {
        SL_AUTO_FREE char *path = sl_path_join(dir, entries[i].name);
        if (path == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        struct sl_error why = {0};
        s = ps_saved_open(ret_saved, path, &why);
        if (s != SL_BAD_DATA && s != SL_DISK && s != SL_NOT_FOUND) {
            if (s != SL_OK)
                (void)sl_fail(err, s, "%s", why.text);
            return s;
        }
        if (report != NULL)
            report(context, why.text);
    }
    if (count == 0)
        return sl_fail(err, SL_NOT_FOUND, "%s: there is no snapshot", dir);
    return sl_fail(err, SL_BAD_DATA, "%s: all %d snapshots are damaged", dir, count);
}

/* pruning */

/* remove_snapshot renames the folder first, so that one that is half removed is never taken for a damaged snapshot. */
static enum sl_status remove_snapshot(const char *dir, const char *name, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, name);
    SL_AUTO_FREE char *gone = sl_strdup_printf("%s/%s.tmp-removed", dir, name);
    if (path == NULL || gone == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status s = sl_file_remove_tree(gone, err);
    if (s == SL_OK && rename(path, gone) != 0)
        s = sl_fail_errno(err, "cannot rename %s", path);
    return s == SL_OK ? sl_file_remove_tree(gone, err) : s;
}

/* Leftovers are step-*.tmp-* folders and .latest.tmp-*, .best.tmp-* links. */
enum sl_status ps_snapshot_clean(const char *path, struct sl_error *err)
{
    SL_AUTO(close_dir) DIR *dir = opendir(path);
    if (dir == NULL)
        return sl_fail_errno(err, "cannot list %s", path);
    enum sl_status s = SL_OK;
    for (const struct dirent *item = readdir(dir); s == SL_OK && item != NULL; item = readdir(dir)) {
        bool folder = strncmp(item->d_name, "step-", 5) == 0 && strstr(item->d_name, ".tmp-") != NULL;
        bool link = strncmp(item->d_name, ".latest.tmp-", 12) == 0 ||
                    strncmp(item->d_name, ".best.tmp-", 10) == 0;
        if (!folder && !link)
            continue;
        SL_AUTO_FREE char *name = sl_path_join(path, item->d_name);
        s = name == NULL ? sl_fail(err, SL_NO_MEMORY, "out of memory") : sl_file_remove_tree(name, err);
    }
    return s;
}

enum sl_status ps_snapshot_prune(
        const char *dir, const struct ps_keep *keep, int *ret_removed, struct sl_error *err)
{
    *ret_removed = 0;
    enum sl_status s = ps_snapshot_clean(dir, err);
    if (s != SL_OK)
        return s;
    SL_AUTO_FREE struct ps_snapshot_entry *entries = NULL;
    int count = 0, kept = 0;
    s = ps_snapshot_list(&entries, &count, dir, false, err);
    for (int i = count - 1; s == SL_OK && i >= 0; i--) { /* newest first */
        const struct ps_snapshot_entry *entry = &entries[i];
        if (entry->step > keep->newest)
            continue;
        bool stays = kept < keep->count || entry->best || entry->step == keep->protect;
        bool remove = entry->whole ? !stays : keep->damaged;
        kept += entry->whole;
        if (!remove)
            continue;
        s = remove_snapshot(dir, entry->name, err);
        *ret_removed += s == SL_OK;
    }
    return s;
}
