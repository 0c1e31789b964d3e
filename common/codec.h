#pragma once
/* Messages to bytes and back: a protobuf-c header; the tensor frames stay as they are. Bytes from a peer can cause an error, never a crash
 * or an allocation beyond SL_HEADER_MEMORY_MAX.
 */
#include "common/error.h"
#include "common/message.h"

#define SL_HEADER_SIZE_MAX 8192    /* bytes of a packed header */
#define SL_HEADER_MEMORY_MAX 65536 /* bytes that unpacking one may allocate */

/* sl_codec_encode packs the header into bytes (SL_HEADER_SIZE_MAX long) and sets ret_size. Errors: FAILED when it would not fit. */
SL_MUST_USE enum sl_status sl_codec_encode(
        const struct sl_message *message, unsigned char *bytes, size_t *ret_size, struct sl_error *err);

/* sl_codec_decode checks and unpacks a header; the caller adds the frames and then calls sl_codec_check_frames. Owns: *ret_message.
 * Errors: BAD_DATA (says which field), MISMATCH (another protocol version), NO_MEMORY. */
SL_MUST_USE enum sl_status sl_codec_decode(
        struct sl_message **ret_message, const unsigned char *bytes, size_t size, struct sl_error *err);

/* sl_codec_check_frames tells whether the number of frames fits the message's kind, and whether WELCOME's list of servers is well formed (what the frames of
 * other kinds hold depends on the layout: their receivers check it). Errors: BAD_DATA. */
SL_MUST_USE enum sl_status sl_codec_check_frames(const struct sl_message *message, struct sl_error *err);
