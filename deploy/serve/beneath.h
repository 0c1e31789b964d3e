#pragma once
/* A file below a folder, opened so that nobody who can write there leads us out of it: what was checked is what is opened, whoever changes names and links meanwhile.
 *
 *     s = dp_open_beneath(&fd, "/srv/clips", "a/b.mp4", err);   // BAD_DATA: it is not there, or not below
 */
#include "common/error.h"

/* dp_open_beneath gives a descriptor that stands for the file and reads nothing (O_PATH): /proc/PID/fd/N opens that very file. Links are followed while they stay below root; one
 * that begins at / is refused wherever it leads. Where the kernel has no openat2 (before Linux 5.6), as dp_walk_beneath. Owns: *ret_fd is closed by the caller. Errors: BAD_DATA. */
SL_MUST_USE enum sl_status dp_open_beneath(
        int *ret_fd, const char *root, const char *named, struct sl_error *err);

/* dp_walk_beneath does the same folder by folder and takes no links at all. */
SL_MUST_USE enum sl_status dp_walk_beneath(
        int *ret_fd, const char *root, const char *named, struct sl_error *err);
