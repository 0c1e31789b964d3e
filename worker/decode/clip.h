#pragma once
/* One video file into a few frames, with libavformat, libavcodec and libswscale. Runs in a process of its own
 * that may be killed at any moment; see decode.c for the limits around it.
 *
 * Frames are taken at even times: the picture shown at the centre of each of `frames` equal parts of the
 * clip, each picture once at most, the whole picture scaled to image x image (bicubic), turned upright by the
 * file's rotation. A clip with fewer pictures than asked for gives those that it has; a still image is a clip
 * of one picture.
 *
 * Rejected, with a one-line reason: no container that libavformat reads; no video track (a cover picture of a
 * song is none); a codec without decoder; a picture over the size limit; no picture that decodes; more than
 * 10 % of the decoded pictures damaged; pictures that end before 90 % of the length that the track states (a
 * cut-off file). A container that states no length is taken for what is there.
 */
#include "worker/decode/protocol.h"

#include <stdint.h>

/* wk_clip_decode fills reply and pixels from the open file fd; a failure is told in reply->status and reason.
 * Shapes: pixels (request->frames, image, image, 3). The file is only read through fd: nothing else is
 * opened, whatever the file asks for. */
void wk_clip_decode(
        struct wk_decode_reply *reply, uint8_t *pixels, const struct wk_decode_request *request, int fd);
