#pragma once
/* The manifest of a snapshot: where training stood, what it belongs to, and the size and checksum of every file beside it.
 *
 *     manifest.json    {"format": 1, "step": 1200, …, "files": [{"name": "model.safetensors", …}, …],
 *                       "checksum": "32 hex digits of XXH3-128 over every byte before this member"}
 *
 * The checksum covers each byte of the file: one flipped bit anywhere makes it BAD_DATA. Doubles are written so that they read back to the same
 * bits. Pure: bytes in and out, no file.
 */
#include "common/error.h"
#include "ps/coordinator.h"

#include <stddef.h>
#include <stdint.h>

#define PS_MANIFEST_FORMAT 1
#define PS_MANIFEST_SIZE_MAX (1U << 20) /* bytes */
#define PS_MANIFEST_FILES_MAX 32
#define PS_MANIFEST_NAME_MAX 96           /* bytes of a file's name with its 0 */
#define PS_MANIFEST_STATE_MAX (64U << 10) /* bytes of the opaque state */

struct ps_hash {
    uint64_t high, low; /* XXH3-128 */
};

struct ps_manifest_file {
    char name[PS_MANIFEST_NAME_MAX]; /* of letters, digits and ._- and other bytes from 0x80: never a path */
    uint64_t size;                   /* bytes */
    struct ps_hash hash;
};

/* Plain data but for state. */
struct ps_manifest {
    int64_t created_s; /* unix time */
    int64_t epoch;     /* whole epochs that were trained */
    uint64_t seed, config_hash, layout_hash;
    enum sl_optimiser_kind optimiser;
    struct ps_training training; /* its step is the snapshot's and the optimiser's count of updates */
    char *state;                 /* JSON text that the coordinator wants back, NULL = none. Owned. */
    struct ps_manifest_file files[PS_MANIFEST_FILES_MAX];
    int file_count;
};

void ps_manifest_fini(struct ps_manifest *manifest);

/* ps_manifest_write gives the text. Owns: *ret_text, sl_free it. Errors: USAGE for a state that is no JSON or too long, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_manifest_write(
        char **ret_text, size_t *ret_size, const struct ps_manifest *manifest, struct sl_error *err);

/* ps_manifest_read checks and reads any bytes; name stands for the file in errors. Owns: *ret_manifest, fini it. Errors: BAD_DATA (damaged),
 * MISMATCH (a newer format), NO_MEMORY. */
SL_MUST_USE enum sl_status ps_manifest_read(struct ps_manifest *ret_manifest, const char *text, size_t size,
        const char *name, struct sl_error *err);

/* ps_manifest_seal appends the checksum to a text that ends with '}', as ps_manifest_write does: for tests and the fuzzer, which want to get past
 * it. Shapes: text has room for size + PS_MANIFEST_SEAL_SIZE bytes. Gives the new size. */
size_t ps_manifest_seal(char *text, size_t size);
#define PS_MANIFEST_SEAL_SIZE 64
