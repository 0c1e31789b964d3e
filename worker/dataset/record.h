#pragma once
/* A sample as bytes: an envelope of magic, size and checksum around a protobuf message (proto/record.proto).
 *
 *     | u32 magic | u32 payload bytes | u64 XXH3-64 of the payload, seeded with the record's key | payload |
 *
 * The checksum is verified at every read; the key in it makes two records that changed places show. Before anything is allocated sizes are
 * checked; unpacking has a memory budget, so a few hostile bytes cannot ask for gigabytes. Any bytes are an error at worst (fuzzed).
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/sample.h"

#include <stddef.h>
#include <stdint.h>

#define WK_RECORD_ENVELOPE 16    /* bytes before the payload */
#define WK_RECORD_MAX (1U << 28) /* bytes of a record */
#define WK_RECORD_TEXT_MAX 65536 /* bytes of a title that are kept */

/* A line that gave no sample. */
struct wk_reject {
    int64_t line; /* of the manifest, from 1 */
    char *id;     /* "" when it could not be read */
    char *reason;
};

/* wk_record_pack makes the record of a sample; frames are stored raw or as JPEG as the config says. Owns: *ret_bytes, sl_free it.
 * Errors: BAD_DATA when it is larger than WK_RECORD_MAX, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_record_pack(uint8_t **ret_bytes, size_t *ret_size,
        const struct wk_sample *sample, const struct sl_config *config, uint64_t key, struct sl_error *err);

/* wk_record_unpack verifies and reads a record into the shapes of the config: frames and feature rows over the config's number are left out
 * evenly, tokens over max_tokens at the end but for the last. Owns: wk_sample_fini(ret_sample). ret_sample->index is 0. Errors:
 * BAD_DATA (damaged, or another model's shapes), NO_MEMORY. */
SL_MUST_USE enum sl_status wk_record_unpack(struct wk_sample *ret_sample, const void *bytes, size_t size,
        const struct sl_config *config, uint64_t key, struct sl_error *err);

/* wk_record_verify checks envelope and checksum alone and gives the checksum (ret_checksum may be NULL). Errors: BAD_DATA. */
SL_MUST_USE enum sl_status wk_record_verify(
        uint64_t *ret_checksum, const void *bytes, size_t size, uint64_t key, struct sl_error *err);

/* wk_record_id copies the id and label of a sample's record into buffers of at least id_size and label_size bytes; either may be NULL. Errors: BAD_DATA. */
SL_MUST_USE enum sl_status wk_record_id(char *ret_id, size_t id_size, char *ret_label, size_t label_size,
        const void *bytes, size_t size, struct sl_error *err);

/* The same for rejects. Owns: *ret_bytes, sl_free it; wk_reject_fini(ret_reject). */
SL_MUST_USE enum sl_status wk_reject_pack(uint8_t **ret_bytes, size_t *ret_size,
        const struct wk_reject *reject, uint64_t key, struct sl_error *err);
SL_MUST_USE enum sl_status wk_reject_unpack(
        struct wk_reject *ret_reject, const void *bytes, size_t size, uint64_t key, struct sl_error *err);
void wk_reject_fini(struct wk_reject *reject);
