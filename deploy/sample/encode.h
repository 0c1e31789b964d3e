#pragma once
/* H.264 in mp4, made in memory by libavcodec and libavformat. One thread and no time stamps of the day: the same frames give the same bytes
 * with the same libraries.
 *
 *     struct dp_encoder *encoder = NULL;
 *     s = dp_encoder_open(&encoder, 320, 180, 12, "a comment", err);
 *     for each frame: fill dp_encoder_planes(…), s = dp_encoder_push(encoder, err);
 *     s = dp_encoder_finish(encoder, &bytes, &size, err);
 *     dp_encoder_close(encoder);
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dp_encoder;

/* dp_encoder_open begins a video of width x height (both even) at rate frames per second; the comment is stored in it. Owns: *ret_encoder,
 * close it. Errors: FAILED when the library has no libx264 or refuses, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_encoder_open(struct dp_encoder **ret_encoder, int width, int height, int rate,
        const char *comment, struct sl_error *err);
void dp_encoder_close(struct dp_encoder *encoder);
void dp_encoder_close_auto(struct dp_encoder **encoder);

/* dp_encoder_planes gives the Y, U and V planes (4:2:0) of the next frame, to be filled whole. Owns: borrowed until the next push. */
SL_MUST_USE enum sl_status dp_encoder_planes(
        struct dp_encoder *encoder, uint8_t *ret_planes[3], int ret_strides[3], struct sl_error *err);
SL_MUST_USE enum sl_status dp_encoder_push(struct dp_encoder *encoder, struct sl_error *err);

/* dp_encoder_finish ends the video. Owns: the bytes belong to the encoder. */
SL_MUST_USE enum sl_status dp_encoder_finish(
        struct dp_encoder *encoder, const uint8_t **ret_bytes, size_t *ret_size, struct sl_error *err);

/* dp_encoder_made says whether the file is a whole video with this many frames and this comment. A file that cannot be read, or is
 * something else, is simply not such a video. */
bool dp_encoder_made(const char *path, const char *comment, int frames);
