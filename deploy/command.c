/* What the commands share: see command.h. */
#include "deploy/command.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
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
    if (status == SL_TIMEOUT)
        return DP_EXIT_RETRY;
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

static enum sl_status take_option(const struct dp_option *option, const char *text, struct sl_error *err)
{
    char name[64];
    switch (option->kind) {
    case DP_TEXT:
        *(const char **)option->value = text;
        return SL_OK;
    case DP_NUMBER:
        (void)snprintf(name, sizeof(name), "--%s", option->name);
        return dp_number(option->value, name, text, option->least, option->most, err);
    case DP_FLAG:
        *(bool *)option->value = true;
        return SL_OK;
    case DP_OVERRIDE:
        break;
    }
    return dp_overrides_add(option->value, text, err);
}

int dp_parse(const char *command, const char *help, const struct dp_option *options, int option_count,
        int argc, char **argv, const char **ret_argument)
{
    struct option names[DP_OPTIONS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
    assert(option_count <= DP_OPTIONS_MAX);
    for (int i = 0; i < option_count; i++)
        names[i + 1] = (struct option){
                options[i].name, options[i].kind == DP_FLAG ? no_argument : required_argument, NULL, 256 + i};
    struct sl_error err = {0};
    for (int found; (found = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        if (found == 'h') {
            fputs(help, stdout);
            return -1;
        }
        if (found < 256)
            return dp_usage(command, "unknown option");
        enum sl_status status = take_option(&options[found - 256], optarg, &err);
        if (status != SL_OK)
            return dp_fail(command, status, &err);
    }
    if (optind + 1 != argc) {
        char argument[32] = "argument"; /* "usage: shelflife COMMAND ARGUMENT …" */
        (void)sscanf(help, "usage: shelflife %*31s %31s", argument);
        return dp_usage(command, "expected one %s", argument);
    }
    *ret_argument = argv[optind];
    return 0;
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
