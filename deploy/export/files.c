/* All files of an export or none: see files.h. */
#include "deploy/export/files.h"

#include "common/config.h"
#include "common/file.h"
#include "common/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE 65536 /* bytes gathered before a write */
#define ALIGNMENT_MAX 4096

struct dp_file {
    int fd;
    char *path;
    char *temporary; /* NULL before it is there and once it is in place */
    char *buffer;
    size_t filled;
    uint64_t size; /* bytes written or gathered */
};

struct dp_files {
    char *path;
    struct dp_file file[DP_FILES_MAX];
    int count;
};

enum sl_status dp_files_create(struct dp_files **ret_files, const char *path, struct sl_error *err)
{
    size_t length = strlen(path);
    if (length == 0 || length >= SL_PATH_MAX)
        return sl_fail(
                err, SL_USAGE, "the path of the file to write is %s", length == 0 ? "empty" : "too long");
    if (path[length - 1] == '/' || sl_file_is_directory(path))
        return sl_fail(err, SL_USAGE, "%s is a folder; name the file to write in it", path);
    struct dp_files *files = sl_alloc(1, sizeof(*files));
    if (files == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    files->path = sl_strdup(path);
    if (files->path == NULL) {
        sl_free(files);
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    }
    *ret_files = files;
    return SL_OK;
}

void dp_files_destroy(struct dp_files *files)
{
    if (files == NULL)
        return;
    for (int i = 0; i < files->count; i++) {
        struct dp_file *file = &files->file[i];
        if (file->fd >= 0)
            (void)close(file->fd);
        if (file->temporary != NULL)
            (void)unlink(file->temporary);
        sl_free(file->temporary);
        sl_free(file->path);
        sl_free(file->buffer);
    }
    sl_free(files->path);
    sl_free(files);
}

void dp_files_destroy_auto(struct dp_files **files)
{
    dp_files_destroy(*files);
}

enum sl_status dp_files_add(
        struct dp_files *files, const char *suffix, struct dp_file **ret_file, struct sl_error *err)
{
    assert(files->count < DP_FILES_MAX);
    struct dp_file *file = &files->file[files->count++];
    *file = (struct dp_file){.fd = -1, .path = sl_strdup_printf("%s%s", files->path, suffix)};
    SL_AUTO_FREE char *temporary = sl_strdup_printf("%s%s.tmp-XXXXXX", files->path, suffix);
    file->buffer = sl_alloc(BUFFER_SIZE, 1);
    if (file->path == NULL || temporary == NULL || file->buffer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (sl_file_is_directory(file->path))
        return sl_fail(err, SL_USAGE, "%s is a folder, but a file of that name is to be written", file->path);
    file->fd = mkostemp(temporary, O_CLOEXEC);
    if (file->fd < 0)
        return sl_fail_errno(err, "cannot create %s", file->path);
    file->temporary = SL_TAKE(temporary);
    *ret_file = file;
    return SL_OK;
}

static enum sl_status flush(struct dp_file *file, struct sl_error *err)
{
    size_t size = file->filled;
    file->filled = 0;
    return size == 0 ? SL_OK : sl_file_write_all(file->fd, file->buffer, size, file->path, err);
}

enum sl_status dp_file_write(struct dp_file *file, const void *bytes, size_t size, struct sl_error *err)
{
    enum sl_status status = size > BUFFER_SIZE - file->filled ? flush(file, err) : SL_OK;
    if (status != SL_OK)
        return status;
    if (size > BUFFER_SIZE) {
        status = sl_file_write_all(file->fd, bytes, size, file->path, err);
    } else {
        memcpy(file->buffer + file->filled, bytes, size);
        file->filled += size;
    }
    file->size += size;
    return status;
}

enum sl_status dp_file_pad(struct dp_file *file, size_t alignment, struct sl_error *err)
{
    static const char zeros[ALIGNMENT_MAX];
    assert(alignment > 0 && alignment <= ALIGNMENT_MAX);
    size_t over = (size_t)(file->size % alignment);
    return over == 0 ? SL_OK : dp_file_write(file, zeros, alignment - over, err);
}

uint64_t dp_file_size(const struct dp_file *file)
{
    return file->size;
}

static enum sl_status sync_file(struct dp_file *file, struct sl_error *err)
{
    enum sl_status status = flush(file, err);
    if (status != SL_OK)
        return status;
    if (fchmod(file->fd, 0644) != 0 || fsync(file->fd) != 0)
        return sl_fail_errno(err, "cannot sync %s", file->path);
    int fd = file->fd;
    file->fd = -1;
    return close(fd) == 0 ? SL_OK : sl_fail_errno(err, "cannot close %s", file->path);
}

static enum sl_status move(struct dp_file *file, struct sl_error *err)
{
    if (rename(file->temporary, file->path) != 0)
        return sl_fail_errno(err, "cannot rename to %s", file->path);
    sl_free(SL_TAKE(file->temporary));
    return SL_OK;
}

enum sl_status dp_files_commit(struct dp_files *files, struct sl_error *err)
{
    SL_AUTO_FREE char *directory = sl_path_directory(files->path);
    if (directory == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = SL_OK;
    for (int i = 0; i < files->count && status == SL_OK; i++)
        status = sync_file(&files->file[i], err);
    if (status != SL_OK)
        return status;
    if (unlink(files->path) != 0 && errno != ENOENT)
        return sl_fail_errno(err, "cannot replace %s", files->path);
    struct dp_file *main_file = NULL;
    for (int i = 0; i < files->count && status == SL_OK; i++) {
        if (strcmp(files->file[i].path, files->path) == 0)
            main_file = &files->file[i];
        else
            status = move(&files->file[i], err);
    }
    if (status == SL_OK && main_file != NULL)
        status = move(main_file, err);
    return status == SL_OK ? sl_file_sync_directory(directory, err) : status;
}

int dp_files_count(const struct dp_files *files)
{
    return files->count;
}

const char *dp_files_path(const struct dp_files *files, int index)
{
    return files->file[index].path;
}

uint64_t dp_files_size(const struct dp_files *files, int index)
{
    return files->file[index].size;
}

void dp_files_name(const struct dp_files *files, const char *suffix, char *text, size_t size)
{
    const char *slash = strrchr(files->path, '/');
    (void)snprintf(text, size, "%s%s", slash == NULL ? files->path : slash + 1, suffix);
}
