#pragma once
/* What an open safetensors file is made of, shared by its two halves: safetensors.c opens and reads,
 * safetensors_header.c parses. Nobody else includes this. */
#include "common/safetensors.h"

#define SL_SAFETENSORS_SHOWN_MAX 80 /* bytes of a name shown in an error */

struct sl_safetensors_pair {
    const char *key, *value;
};

struct sl_safetensors {
    int fd;             /* -1 when in memory */
    const char *memory; /* borrowed */
    char *name;         /* of the file, for errors */
    uint64_t data_begin, data_size;
    char *strings; /* every name, key and value, each with its 0 */
    size_t strings_size;
    struct sl_tensor *tensors;
    int count, capacity;
    int *by_name; /* indices in order of name */
    struct sl_safetensors_pair *metadata;
    int metadata_count, metadata_capacity;
};

/* sl_safetensors_parse fills tensors, metadata and strings from the header's text and checks every tensor for
 * itself; that they lie end to end and have names of their own is checked by the caller. file->strings must
 * have room for size + 1 bytes. Errors: BAD_DATA, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_safetensors_parse(
        struct sl_safetensors *file, const char *text, size_t size, struct sl_error *err);
