/* Whole reads, atomic writes, folders: see file.h. */
#include "common/file.h"

#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define COPY_SIZE 262144 /* bytes per read of a whole-file hash */

/* A file size limit (RLIMIT_FSIZE) is for the user the same as a full disk. */
static enum sl_status write_failed(struct sl_error *err, const char *what, const char *path)
{
    if (errno == EFBIG)
        errno = ENOSPC;
    return sl_fail_errno(err, "%s %s", what, path);
}

enum sl_status sl_file_write_all(
        int fd, const void *bytes, size_t size, const char *name, struct sl_error *err)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t wrote = write(fd, at, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return write_failed(err, "cannot write", name);
        if (wrote == 0) {
            errno = ENOSPC;
            return write_failed(err, "cannot write", name);
        }
        at += wrote;
        size -= (size_t)wrote;
    }
    return SL_OK;
}

enum sl_status sl_file_read_at(
        int fd, void *ret_bytes, size_t size, int64_t offset, const char *name, struct sl_error *err)
{
    char *at = ret_bytes;
    while (size > 0) {
        ssize_t got = pread(fd, at, size, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sl_fail_errno(err, "cannot read %s", name);
        if (got == 0)
            return sl_fail(err, SL_BAD_DATA,
                    "%s: ends at byte %lld where %zu more are expected; it is cut off", name,
                    (long long)offset, size);
        at += got;
        offset += got;
        size -= (size_t)got;
    }
    return SL_OK;
}

enum sl_status sl_file_read(
        char **ret_bytes, size_t *ret_size, const char *path, size_t limit, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sl_fail_errno(err, "cannot open %s", path);
    struct stat info;
    if (fstat(fd, &info) != 0)
        return sl_fail_errno(err, "cannot read %s", path);
    if (!S_ISREG(info.st_mode))
        return sl_fail(err, SL_BAD_DATA, "%s is not a regular file", path);
    if ((uint64_t)info.st_size > limit)
        return sl_fail(err, SL_BAD_DATA, "%s has %lld bytes, at most %zu are read; is it the right file?",
                path, (long long)info.st_size, limit);
    size_t size = (size_t)info.st_size;
    SL_AUTO_FREE char *bytes = sl_alloc(size + 1, 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the %zu bytes of %s", size, path);
    enum sl_status status = sl_file_read_at(fd, bytes, size, 0, path, err);
    if (status != SL_OK)
        return status;
    *ret_bytes = SL_TAKE(bytes);
    *ret_size = size;
    return SL_OK;
}

/* Writes and syncs the temporary file; the caller removes it when this fails. */
static enum sl_status write_temporary(
        int fd, const char *path, const void *bytes, size_t size, struct sl_error *err)
{
    enum sl_status status = sl_file_write_all(fd, bytes, size, path, err);
    if (status != SL_OK)
        return status;
    if (fchmod(fd, 0644) != 0 || fsync(fd) != 0)
        return write_failed(err, "cannot sync", path);
    return SL_OK;
}

enum sl_status sl_file_write_atomic(const char *path, const void *bytes, size_t size, struct sl_error *err)
{
    SL_AUTO_FREE char *temporary = sl_strdup_printf("%s.tmp-XXXXXX", path);
    SL_AUTO_FREE char *directory = sl_path_directory(path);
    if (temporary == NULL || directory == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return write_failed(err, "cannot create", temporary);
    enum sl_status status = write_temporary(fd, path, bytes, size, err);
    if (close(fd) != 0 && status == SL_OK)
        status = write_failed(err, "cannot close", path);
    if (status == SL_OK && rename(temporary, path) != 0)
        status = write_failed(err, "cannot rename to", path);
    if (status != SL_OK) {
        (void)unlink(temporary);
        return status;
    }
    return sl_file_sync_directory(directory, err);
}

enum sl_status sl_file_sync_directory(const char *path, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sl_fail_errno(err, "cannot open folder %s", path);
    if (fsync(fd) != 0 &&
            errno != EINVAL) /* some file systems cannot sync a folder: then there is nothing to do */
        return sl_fail_errno(err, "cannot sync folder %s", path);
    return SL_OK;
}

enum sl_status sl_file_make_directories(const char *path, struct sl_error *err)
{
    SL_AUTO_FREE char *part = sl_strdup(path);
    if (part == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (char *at = part + 1; part[0] != '\0'; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char kept = *at;
        *at = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return write_failed(err, "cannot make folder", part);
        *at = kept;
        if (kept == '\0')
            break;
    }
    if (!sl_file_is_directory(path))
        return sl_fail(err, SL_FAILED, "cannot make folder %s: a file of that name is in the way", path);
    return SL_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

enum sl_status sl_file_remove_tree(const char *path, struct sl_error *err)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return sl_fail_errno(err, "cannot remove %s", path);
    return SL_OK;
}

int64_t sl_file_size(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return -1;
    return info.st_size;
}

bool sl_file_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static void hash_state_free(XXH3_state_t **state)
{
    (void)XXH3_freeState(*state);
}

enum sl_status sl_file_hash(uint64_t *ret_hash, const char *path, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sl_fail_errno(err, "cannot open %s", path);
    SL_AUTO_FREE char *piece = sl_alloc(COPY_SIZE, 1);
    SL_AUTO(hash_state_free) XXH3_state_t *state = XXH3_createState();
    if (piece == NULL || state == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    (void)XXH3_64bits_reset(state);
    for (;;) {
        ssize_t got = read(fd, piece, COPY_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sl_fail_errno(err, "cannot read %s", path);
        if (got == 0)
            break;
        (void)XXH3_64bits_update(state, piece, (size_t)got);
    }
    *ret_hash = XXH3_64bits_digest(state);
    return SL_OK;
}

char *sl_path_join(const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == '\0')
        return sl_strdup(name);
    return sl_strdup_printf("%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

char *sl_path_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return sl_strdup(".");
    if (slash == path)
        return sl_strdup("/");
    return sl_strdup_printf("%.*s", (int)(slash - path), path);
}
