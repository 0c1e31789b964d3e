/* The token of a file: see token.h. */
#include "deploy/http/token.h"

#include "common/file.h"
#include "common/memory.h"
#include "deploy/http/guard.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum sl_status dp_token_read(char **ret_token, const char *path, struct sl_error *err)
{
    struct stat found;
    size_t size = 0;
    SL_AUTO_FREE char *text = NULL;
    if (stat(path, &found) != 0)
        return sl_fail(err, SL_KEYS, "the token file %s: %s", path, strerror(errno));
    if ((found.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return sl_fail(err, SL_KEYS, "the token file %s can be read by others: chmod 600 %s", path, path);
    enum sl_status status = sl_file_read(&text, &size, path, 4096, err);
    if (status != SL_OK)
        return sl_fail(err, SL_KEYS, "the token file %s cannot be read, or is larger than a token", path);
    text[strcspn(text, "\r\n")] = 0;
    if (!dp_guard_token_text(text))
        return sl_fail(err, SL_KEYS,
                "the token in %s must have %d to %d characters of A-Z a-z 0-9 - . _ ~: openssl rand -hex 24 "
                "> %s",
                path, DP_TOKEN_MIN, DP_TOKEN_MAX, path);
    *ret_token = SL_TAKE(text);
    return SL_OK;
}

void dp_token_free(char *token)
{
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    sl_free(token);
}
