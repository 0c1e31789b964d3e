#pragma once
/* Square R G B pictures as JPEG and PNG, for records and for people. */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

/* wk_jpeg_encode compresses one picture without colour subsampling: small pictures carry thin coloured strokes. Shapes: pixels (side,
 * side, 3). quality 1..100. Owns: *ret_bytes, sl_free it. Errors: FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_jpeg_encode(uint8_t **ret_bytes, size_t *ret_size, const uint8_t *pixels,
        int side, int quality, struct sl_error *err);

/* wk_jpeg_decode reads a JPEG that must be side x side. Shapes: ret_pixels (side, side, 3). Errors: BAD_DATA. */
SL_MUST_USE enum sl_status wk_jpeg_decode(
        uint8_t *ret_pixels, const uint8_t *bytes, size_t size, int side, struct sl_error *err);

/* wk_png_write writes one picture to a file. Shapes: pixels (height, width, 3). Errors: as sl_file_write_atomic. */
SL_MUST_USE enum sl_status wk_png_write(
        const char *path, const uint8_t *pixels, int width, int height, struct sl_error *err);

/* wk_choose_evenly gives the index of the k-th of `chosen` items taken evenly out of `count`: all of them when chosen >= count.
 * Used alike for frames and feature rows, at import and at reading. 0 <= k < min(chosen, count). */
int wk_choose_evenly(int k, int chosen, int count);
