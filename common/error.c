/* Error texts: see error.h. */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum sl_status sl_fail(struct sl_error *err, enum sl_status status, const char *format, ...)
{
    if (err == NULL)
        return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return status;
}

enum sl_status sl_fail_errno(struct sl_error *err, const char *format, ...)
{
    int saved = errno;
    enum sl_status status = SL_FAILED;
    if (saved == ENOSPC || saved == EDQUOT || saved == EIO)
        status = SL_DISK;
    else if (saved == ENOENT)
        status = SL_NOT_FOUND;
    else if (saved == ENOMEM)
        status = SL_NO_MEMORY;
    if (err == NULL)
        return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->text))
        (void)snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", strerror(saved));
    errno = saved;
    return status;
}

enum sl_status sl_error_context(struct sl_error *err, const char *format, ...)
{
    if (err == NULL)
        return SL_FAILED;
    char old[SL_ERROR_TEXT_MAX];
    memcpy(old, err->text, sizeof(old));
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->text)) {
        /* a text that becomes too long loses its end, the least useful part */
        int rest = snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s", old);
        if (rest < 0)
            err->text[used] = 0;
    }
    return err->status;
}

const char *sl_status_name(enum sl_status status)
{
    static const char *const names[] = {"ok", "failed", "usage", "bad-data", "diverged", "keys", "mismatch",
            "disk", "gave-up", "no-memory", "not-found", "timeout", "stale", "again", "stopped"};
    if ((size_t)status >= sizeof(names) / sizeof(names[0]))
        return "unknown";
    return names[status];
}
