#pragma once
/* What the tests of the tokenizer share: the folder of their data, and reading lines of JSON. */
#include "common/error.h"
#include "common/file.h"
#include "common/memory.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CASES_PATH_MAX 4096

/* data_path writes the path of a file in the folder data/ beside this one. */
static inline const char *data_path(char *path, const char *name)
{
    const char *here = __FILE__;
    const char *slash = strrchr(here, '/');
    int folder = slash == NULL ? 0 : (int)(slash - here) + 1;
    (void)snprintf(path, CASES_PATH_MAX, "%.*sdata/%s", folder, here, name);
    return path;
}

/* shared_path writes the path of a file of the real data that may lie beside the project; false when it is not there. */
static inline bool shared_path(char *path, const char *name)
{
    const char *shared = getenv("SHELFLIFE_SHARED");
    (void)snprintf(path, CASES_PATH_MAX, "%s/data/%s", shared == NULL ? "../shared" : shared, name);
    return sl_file_size(path) >= 0;
}

/* next_row reads a line of JSON; NULL at the end. The caller gives the row back with json_decref. */
static inline json_t *next_row(FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size = getline(&line, &room, file);
    json_t *row = size > 0 ? json_loadb(line, (size_t)size, JSON_ALLOW_NUL, NULL) : NULL;
    free(line);
    return row;
}
