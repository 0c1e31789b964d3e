#pragma once
/* How every function in the house says that something went wrong.
 *
 * A function that can fail returns enum sl_status. One that meets the outside world (a file, a peer, a video, a flag) also fills a
 * struct sl_error, whose text says what, where and what to do, and gains context on the way up:
 *
 *     enum sl_status s = sl_safetensors_open(&file, path, err);
 *     if (s != SL_OK)
 *         return sl_error_context(err, "snapshot %s", dir);
 *
 * Nobody below main exits; main turns the status into the exit code of the same name.
 */
#include <stddef.h>

#define SL_ERROR_TEXT_MAX 1024

/* A code exists only where some caller acts differently on it. The first nine are exit codes of the command. */
enum sl_status {
    SL_OK = 0,
    SL_FAILED = 1,    /* an operation failed for a reason that its text gives */
    SL_USAGE = 2,     /* wrong flag or config: trying again cannot help */
    SL_BAD_DATA = 3,  /* a dataset, video, array or snapshot is damaged or does not fit */
    SL_DIVERGED = 4,  /* a loss or gradient is not finite */
    SL_KEYS = 5,      /* a key is missing, readable by others, or not accepted */
    SL_MISMATCH = 6,  /* a peer has another protocol version, config or layout */
    SL_DISK = 7,      /* a disk is full or failing */
    SL_GAVE_UP = 8,   /* restarted too often without progress */
    SL_NO_MEMORY = 9, /* an allocation failed */
    SL_NOT_FOUND = 10,
    SL_TIMEOUT = 11,
    SL_STALE = 12,   /* the message belongs to a step, version or incarnation that is past */
    SL_AGAIN = 13,   /* would block */
    SL_STOPPED = 14, /* asked to stop by a signal */
};

#define SL_MUST_USE __attribute__((warn_unused_result))

/* struct sl_error carries the text of the first failure and the context that was added on the way up. Plain data: zero it to begin. */
struct sl_error {
    enum sl_status status;
    char text[SL_ERROR_TEXT_MAX];
};

/* sl_fail writes the text and returns status, so that a function can `return sl_fail(...)`. err may be NULL. */
enum sl_status sl_fail(struct sl_error *err, enum sl_status status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* sl_fail_errno is sl_fail with ": strerror(errno)" added; ENOSPC, EDQUOT and EIO become SL_DISK, ENOENT SL_NOT_FOUND, else SL_FAILED. */
enum sl_status sl_fail_errno(struct sl_error *err, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* sl_error_context puts "context: " before the text and returns err's status. err may be NULL: then SL_FAILED. */
enum sl_status sl_error_context(struct sl_error *err, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* sl_status_name gives a stable lower-case word for a status, such as "bad-data". Never NULL. */
const char *sl_status_name(enum sl_status status);
