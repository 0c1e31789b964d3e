#pragma once
/* How the numbers of a tensor frame are written. DENSE: as they lie, little-endian float32. LINES: most of them are +0.0, as in the gradient of an embedding table, of which a batch
 * names few rows:
 *
 *     bitmap   a bit for each line of SL_LINE_FLOATS numbers, the last line may be shorter; bit i % 8 of byte i / 8; a multiple of 8 bytes, rest 0
 *     lines    those with a bit, in order, as they lie
 *
 * A line is left out when every bit of it is 0: -0.0 counts as a number, so that what is decoded has the bits that were encoded.
 *
 * BF16: the same numbers rounded to bfloat16 (bf16.h), two little-endian bytes each. BF16_LINES: a bitmap as in LINES, then such numbers of the lines with a bit. What rounding takes away is
 * kept by the caller and given to the next numbers of the same places.
 *
 * CHANGED: bitmap and lines as in LINES, but a line without a bit is as the receiver has it; no bytes at all: nothing changed. What that is relative to is said beside it (message.h). */
#include "common/bf16.h"
#include "common/buffer.h"
#include "common/error.h"

#include <stddef.h>

enum sl_encoding {
    SL_ENCODING_DENSE,
    SL_ENCODING_LINES,
    SL_ENCODING_BF16,
    SL_ENCODING_BF16_LINES,
    SL_ENCODING_CHANGED,
    SL_ENCODING_COUNT
};

#define SL_LINE_FLOATS 16

/* sl_encoding_lines_size is how many bytes LINES takes for values, or 0 when more than half of the lines are there: then DENSE costs less time. Reads no further than it must to know.
 * Shapes: values (count,). */
size_t sl_encoding_lines_size(const float *values, size_t count);
/* sl_encoding_put_lines writes as many bytes as sl_encoding_lines_size said. Shapes: values (count,). */
void sl_encoding_put_lines(const float *values, size_t count, void *ret_bytes);
/* sl_encoding_get_lines is the way back, for bytes that may be anything but do not change meanwhile: writes all numbers. Shapes: ret_values (count,). Errors: BAD_DATA for bytes that
 * are not count numbers. */
SL_MUST_USE enum sl_status sl_encoding_get_lines(
        const void *bytes, size_t size, size_t count, float *ret_values, struct sl_error *err);

/* sl_encoding_bf16_size is how many bytes BF16 takes for count numbers, _lines_size how many BF16_LINES takes for these: little more than BF16 when all lines are there. Shapes: values (count,). */
size_t sl_encoding_bf16_size(size_t count);
size_t sl_encoding_bf16_lines_size(const float *values, size_t count);
/* sl_encoding_put_bf16 and _lines write as many bytes. Each number that is written is first added to what is kept at its place, which then is what rounding took away; the second leaves what is kept of other lines
 * as it is. Shapes: values, kept (count,). */
void sl_encoding_put_bf16(const float *values, sl_bf16 *kept, size_t count, void *ret_bytes);
void sl_encoding_put_bf16_lines(const float *values, sl_bf16 *kept, size_t count, void *ret_bytes);
/* The way back, as sl_encoding_get_lines. bytes are aligned as sl_bf16 is. Errors: BAD_DATA. */
SL_MUST_USE enum sl_status sl_encoding_get_bf16(
        const void *bytes, size_t size, size_t count, float *ret_values, struct sl_error *err);
SL_MUST_USE enum sl_status sl_encoding_get_bf16_lines(
        const void *bytes, size_t size, size_t count, float *ret_values, struct sl_error *err);

/* sl_encoding_bitmap_size is how many bytes a bit for each line of count numbers takes. */
size_t sl_encoding_bitmap_size(size_t count);
/* sl_encoding_changed_size is how many bytes CHANGED takes for these lines, 0 for none. Shapes: lines (sl_encoding_bitmap_size,), as the bitmap above. */
size_t sl_encoding_changed_size(const unsigned char *lines, size_t count);
/* sl_encoding_put_changed writes as many bytes as sl_encoding_changed_size said. Shapes: values (count,). */
void sl_encoding_put_changed(const float *values, const unsigned char *lines, size_t count, void *ret_bytes);
/* sl_encoding_get_changed is the way back, as sl_encoding_get_lines, but writes lines with a bit alone. Errors: BAD_DATA, values are as before then. */
SL_MUST_USE enum sl_status sl_encoding_get_changed(
        const void *bytes, size_t size, size_t count, float *values, struct sl_error *err);

/* sl_encoding_open makes a frame of any encoding but CHANGED a dense one of count numbers; a dense one stays as it is, whatever its size. Owns: the old buffer is released. After an error the
 * frame is as before. Errors: BAD_DATA, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_encoding_open(
        struct sl_frame *frame, enum sl_encoding encoding, size_t count, struct sl_error *err);
