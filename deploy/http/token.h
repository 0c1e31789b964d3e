#pragma once
/* The secret that whoever asks from elsewhere must show: read from a file, never from the command line, which others can see. */
#include "common/error.h"

/* dp_token_read reads the first line of a file that only its owner may read. Owns: *ret_token, overwrite it before sl_free. Errors: KEYS with what to do. */
SL_MUST_USE enum sl_status dp_token_read(char **ret_token, const char *path, struct sl_error *err);
/* dp_token_free overwrites and frees; NULL is fine. */
void dp_token_free(char *token);
