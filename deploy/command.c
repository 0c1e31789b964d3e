/* What the commands share: see command.h. */
#include "deploy/command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum sl_status dp_overrides_add(struct dp_overrides *overrides, const char *text, struct sl_error *err)
{
    if (overrides->count == DP_OVERRIDES_MAX)
        return sl_fail(err, SL_USAGE, "more than %d --set options", DP_OVERRIDES_MAX);
    overrides->texts[overrides->count++] = text;
    return SL_OK;
}

int dp_fail(const char *command, enum sl_status status, const struct sl_error *err)
{
    fprintf(stderr, "shelflife %s: %s\n", command, err->text[0] != 0 ? err->text : sl_status_name(status));
    return status <= SL_GAVE_UP ? (int)status : SL_FAILED;
}

int dp_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "shelflife %s: ", command);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see shelflife %s --help\n", command);
    va_end(args);
    return SL_USAGE;
}

enum sl_status dp_number(int64_t *ret_number, const char *option, const char *text, int64_t least,
        int64_t most, struct sl_error *err)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || number < least || number > most)
        return sl_fail(err, SL_USAGE, "%s %s: expected a whole number from %" PRId64 " to %" PRId64, option,
                text, least, most);
    *ret_number = number;
    return SL_OK;
}

enum sl_status dp_sibling(char *path, const char *name, struct sl_error *err)
{
    ssize_t length = readlink("/proc/self/exe", path, SL_PATH_MAX - 1);
    if (length < 0)
        return sl_fail_errno(err, "cannot find the program's own folder");
    path[length] = 0;
    char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (folder + strlen(name) + 1 > SL_PATH_MAX)
        return sl_fail(err, SL_FAILED, "the path of the program's folder is too long");
    memcpy(path + folder, name, strlen(name) + 1);
    if (access(path, X_OK) != 0)
        return sl_fail(err, SL_NOT_FOUND, "%s is missing: it belongs beside shelflife", path);
    return SL_OK;
}
