#pragma once
/* The files of one export: all of them, or none. Each is written under a temporary name beside its place; commit syncs them and moves them
 * into place, the main file last and after the old one is gone: a main file that is there has all that belongs to it.
 *
 *     SL_AUTO(dp_files_destroy_auto) struct dp_files *files = NULL;
 *     s = dp_files_create(&files, "model.onnx", err);
 *     s = dp_files_add(files, ".json", &sidecar, err);            // model.onnx.json
 *     s = dp_file_write(sidecar, text, size, err);
 *     s = dp_files_commit(files, err);                            // without it destroy removes everything
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define DP_FILES_MAX 16

struct dp_files;
struct dp_file;

/* dp_files_create remembers where the main file shall be. Owns: *ret_files. Errors: USAGE when path is a folder or too long. */
SL_MUST_USE enum sl_status dp_files_create(
        struct dp_files **ret_files, const char *path, struct sl_error *err);
void dp_files_destroy(struct dp_files *files);
void dp_files_destroy_auto(struct dp_files **files);

/* dp_files_add opens one more file, named as the main one with suffix ("" = the main one itself). Borrows: *ret_file belongs to files.
 * Errors: DISK, FAILED, NOT_FOUND (no such folder), USAGE (a folder is in the way). */
SL_MUST_USE enum sl_status dp_files_add(
        struct dp_files *files, const char *suffix, struct dp_file **ret_file, struct sl_error *err);

/* dp_file_write appends; small pieces are gathered. Errors: DISK, FAILED. */
SL_MUST_USE enum sl_status dp_file_write(
        struct dp_file *file, const void *bytes, size_t size, struct sl_error *err);
/* dp_file_pad appends zeros up to a multiple of `alignment` bytes, 4096 at most. */
SL_MUST_USE enum sl_status dp_file_pad(struct dp_file *file, size_t alignment, struct sl_error *err);
uint64_t dp_file_size(const struct dp_file *file); /* bytes so far */

/* dp_files_commit puts everything into place. Errors: DISK, FAILED. */
SL_MUST_USE enum sl_status dp_files_commit(struct dp_files *files, struct sl_error *err);

/* dp_files_count, _path and _size tell what there is, in the order of dp_files_add. */
int dp_files_count(const struct dp_files *files);
const char *dp_files_path(const struct dp_files *files, int index);
uint64_t dp_files_size(const struct dp_files *files, int index);
/* dp_files_name borrows a file's name without its folder; suffix as for dp_files_add. Shapes: text has size bytes. */
void dp_files_name(const struct dp_files *files, const char *suffix, char *text, size_t size);
