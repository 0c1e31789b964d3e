#pragma once
/* Files as the house uses them: read whole with a limit, written whole or not at all.
 *
 *     SL_AUTO_FREE char *text = NULL;
 *     size_t size = 0;
 *     enum sl_status s = sl_file_read(&text, &size, "run/manifest.json", 16 << 20, err);
 *
 * A write goes to a temporary file in the same folder, which is synced, renamed over the target, and the
 * folder synced: after a crash there is the old file or the new one. Errors name the path. A full disk (also
 * a quota or a file size limit) is SL_DISK.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* sl_file_read reads a whole regular file; a 0 byte follows the content. Owns: *ret_bytes, sl_free it.
 * Errors: NOT_FOUND, BAD_DATA when it is larger than limit bytes or not a regular file, FAILED, DISK,
 * NO_MEMORY. */
SL_MUST_USE enum sl_status sl_file_read(
        char **ret_bytes, size_t *ret_size, const char *path, size_t limit, struct sl_error *err);

/* sl_file_write_atomic puts size bytes at path: whole or not at all, durable when it returns. Errors: DISK,
 * FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_file_write_atomic(
        const char *path, const void *bytes, size_t size, struct sl_error *err);

/* sl_file_write_all writes all bytes to fd, going on after short writes and signals. name stands for the file
 * in errors. */
SL_MUST_USE enum sl_status sl_file_write_all(
        int fd, const void *bytes, size_t size, const char *name, struct sl_error *err);

/* sl_file_read_at reads exactly size bytes at offset. Errors: BAD_DATA when the file ends before. */
SL_MUST_USE enum sl_status sl_file_read_at(
        int fd, void *ret_bytes, size_t size, int64_t offset, const char *name, struct sl_error *err);

/* sl_file_sync_directory makes renames and new names in the folder durable. */
SL_MUST_USE enum sl_status sl_file_sync_directory(const char *path, struct sl_error *err);

/* sl_file_make_directories is mkdir -p. Errors: FAILED when a part of the path is a file. */
SL_MUST_USE enum sl_status sl_file_make_directories(const char *path, struct sl_error *err);

/* sl_file_remove_tree removes a file or a folder with all in it; it does not follow links. A path that is not
 * there is fine. */
SL_MUST_USE enum sl_status sl_file_remove_tree(const char *path, struct sl_error *err);

/* sl_file_size gives the bytes of a regular file, or -1. */
int64_t sl_file_size(const char *path);
bool sl_file_is_directory(const char *path);

/* sl_file_hash is XXH3-64 of a whole file's bytes, read in pieces. */
SL_MUST_USE enum sl_status sl_file_hash(uint64_t *ret_hash, const char *path, struct sl_error *err);

/* sl_path_join gives "dir/name", or name alone when it is absolute or dir is "". Owns: sl_free it; NULL when
 * memory is out. */
char *sl_path_join(const char *dir, const char *name);

/* sl_path_directory gives the folder of a path ("." when it has none). Owns: sl_free it; NULL when memory is
 * out. */
char *sl_path_directory(const char *path);
