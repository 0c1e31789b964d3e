/* Encodings of tensor frames: see encoding.h. */
#include "common/encoding.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static size_t lines_of(size_t count)
{
    return (count + SL_LINE_FLOATS - 1) / SL_LINE_FLOATS;
}

size_t sl_encoding_bitmap_size(size_t count)
{
    return (lines_of(count) + 63) / 64 * sizeof(uint64_t);
}

/* Numbers of a line. */
static size_t line_length(size_t count, size_t line)
{
    size_t left = count - line * SL_LINE_FLOATS;
    return left < SL_LINE_FLOATS ? left : SL_LINE_FLOATS;
}

static bool is_empty(const float *values, size_t count, size_t line)
{
    uint32_t bits[SL_LINE_FLOATS] = {0}, any = 0;
    const float *first = values + line * SL_LINE_FLOATS;
    size_t length = line_length(count, line);
    if (length == SL_LINE_FLOATS)
        memcpy(bits, first, sizeof(bits));
    else
        memcpy(bits, first, length * sizeof(float));
    for (int i = 0; i < SL_LINE_FLOATS; i++)
        any |= bits[i];
    return any == 0;
}

size_t sl_encoding_lines_size(const float *values, size_t count)
{
    size_t lines = lines_of(count), there = 0, size = sl_encoding_bitmap_size(count);
    for (size_t line = 0; line < lines; line++) {
        if (is_empty(values, count, line))
            continue;
        if (++there > lines / 2)
            return 0;
        size += line_length(count, line) * sizeof(float);
    }
    return size;
}

static bool has_line(const unsigned char *bitmap, size_t line)
{
    return (bitmap[line / 8] >> line % 8 & 1) != 0;
}

/* Those with a bit, one behind the other. */
static void put_by_bitmap(
        const float *values, const unsigned char *bitmap, size_t count, unsigned char *ret_lines)
{
    for (size_t line = 0; line < lines_of(count); line++) {
        if (!has_line(bitmap, line))
            continue;
        size_t size = line_length(count, line) * sizeof(float);
        memcpy(ret_lines, values + line * SL_LINE_FLOATS, size);
        ret_lines += size;
    }
}

/* The way back: lines without a bit stay as they are. */
static void get_by_bitmap(
        const unsigned char *lines, const unsigned char *bitmap, size_t count, float *values)
{
    for (size_t line = 0; line < lines_of(count); line++) {
        if (!has_line(bitmap, line))
            continue;
        size_t size = line_length(count, line) * sizeof(float);
        memcpy(values + line * SL_LINE_FLOATS, lines, size);
        lines += size;
    }
}

void sl_encoding_put_lines(const float *values, size_t count, void *ret_bytes)
{
    unsigned char *bitmap = ret_bytes;
    memset(bitmap, 0, sl_encoding_bitmap_size(count));
    for (size_t line = 0; line < lines_of(count); line++)
        if (!is_empty(values, count, line))
            bitmap[line / 8] |= (unsigned char)(1U << line % 8);
    put_by_bitmap(values, bitmap, count, bitmap + sl_encoding_bitmap_size(count));
}

/* Whether a bitmap of count numbers names lines that there are, and goes with so many bytes, of number_size each number. */
static bool makes_sense(const unsigned char *bytes, size_t size, size_t count, size_t number_size)
{
    size_t bits = sl_encoding_bitmap_size(count) * 8, expected = sl_encoding_bitmap_size(count);
    if (size < expected)
        return false;
    for (size_t line = 0; line < bits; line++) {
        if (!has_line(bytes, line))
            continue;
        if (line >= lines_of(count))
            return false;
        expected += line_length(count, line) * number_size;
    }
    return size == expected;
}

enum sl_status sl_encoding_get_lines(
        const void *bytes, size_t size, size_t count, float *ret_values, struct sl_error *err)
{
    const unsigned char *bitmap = bytes;
    if (!makes_sense(bitmap, size, count, sizeof(float)))
        return sl_fail(err, SL_BAD_DATA, "%zu bytes are not the lines of %zu numbers", size, count);
    memset(ret_values, 0, count * sizeof(float));
    get_by_bitmap(bitmap + sl_encoding_bitmap_size(count), bitmap, count, ret_values);
    return SL_OK;
}

/* ---- what changed ---- */

size_t sl_encoding_changed_size(const unsigned char *lines, size_t count)
{
    size_t size = 0;
    for (size_t line = 0; line < lines_of(count); line++)
        if (has_line(lines, line))
            size += line_length(count, line) * sizeof(float);
    return size == 0 ? 0 : sl_encoding_bitmap_size(count) + size;
}

void sl_encoding_put_changed(const float *values, const unsigned char *lines, size_t count, void *ret_bytes)
{
    unsigned char *bitmap = ret_bytes;
    if (sl_encoding_changed_size(lines, count) == 0)
        return;
    memcpy(bitmap, lines, sl_encoding_bitmap_size(count));
    put_by_bitmap(values, bitmap, count, bitmap + sl_encoding_bitmap_size(count));
}

enum sl_status sl_encoding_get_changed(
        const void *bytes, size_t size, size_t count, float *values, struct sl_error *err)
{
    const unsigned char *bitmap = bytes;
    if (size == 0)
        return SL_OK;
    if (!makes_sense(bitmap, size, count, sizeof(float)))
        return sl_fail(err, SL_BAD_DATA, "%zu bytes are not changed lines of %zu numbers", size, count);
    get_by_bitmap(bitmap + sl_encoding_bitmap_size(count), bitmap, count, values);
    return SL_OK;
}

/* ---- bf16 ---- */

size_t sl_encoding_bf16_size(size_t count)
{
    return count * sizeof(sl_bf16);
}

size_t sl_encoding_bf16_lines_size(const float *values, size_t count)
{
    size_t size = sl_encoding_bitmap_size(count);
    for (size_t line = 0; line < lines_of(count); line++)
        if (!is_empty(values, count, line))
            size += line_length(count, line) * sizeof(sl_bf16);
    return size;
}

void sl_encoding_put_bf16(const float *values, sl_bf16 *kept, size_t count, void *ret_bytes)
{
    sl_bf16_round_kept(ret_bytes, kept, values, count);
}

void sl_encoding_put_bf16_lines(const float *values, sl_bf16 *kept, size_t count, void *ret_bytes)
{
    unsigned char *bitmap = ret_bytes;
    sl_bf16 *next = (sl_bf16 *)(void *)(bitmap + sl_encoding_bitmap_size(count));
    memset(bitmap, 0, sl_encoding_bitmap_size(count));
    for (size_t line = 0; line < lines_of(count); line++) {
        size_t first = line * SL_LINE_FLOATS, length = line_length(count, line);
        if (is_empty(values, count, line))
            continue;
        bitmap[line / 8] |= (unsigned char)(1U << line % 8);
        sl_bf16_round_kept(next, kept + first, values + first, length);
        next += length;
    }
}

enum sl_status sl_encoding_get_bf16(
        const void *bytes, size_t size, size_t count, float *ret_values, struct sl_error *err)
{
    if (size != sl_encoding_bf16_size(count))
        return sl_fail(err, SL_BAD_DATA, "%zu bytes are not %zu numbers of bf16", size, count);
    sl_bf16_widen(ret_values, bytes, count);
    return SL_OK;
}

enum sl_status sl_encoding_get_bf16_lines(
        const void *bytes, size_t size, size_t count, float *ret_values, struct sl_error *err)
{
    const unsigned char *bitmap = bytes;
    if (!makes_sense(bitmap, size, count, sizeof(sl_bf16)))
        return sl_fail(err, SL_BAD_DATA, "%zu bytes are not the lines of %zu numbers of bf16", size, count);
    const sl_bf16 *next = (const sl_bf16 *)(const void *)(bitmap + sl_encoding_bitmap_size(count));
    for (size_t line = 0; line < lines_of(count); line++) {
        float *values = ret_values + line * SL_LINE_FLOATS;
        size_t length = line_length(count, line);
        if (!has_line(bitmap, line)) {
            memset(values, 0, length * sizeof(float));
            continue;
        }
        sl_bf16_widen(values, next, length);
        next += length;
    }
    return SL_OK;
}

/* ---- frames ---- */

/* Numbers of an encoding that is not dense. */
static enum sl_status get(const struct sl_frame *frame, enum sl_encoding encoding, size_t count,
        float *ret_values, struct sl_error *err)
{
    switch (encoding) {
    case SL_ENCODING_LINES:
        return sl_encoding_get_lines(frame->data, frame->size, count, ret_values, err);
    case SL_ENCODING_BF16:
        return sl_encoding_get_bf16(frame->data, frame->size, count, ret_values, err);
    case SL_ENCODING_BF16_LINES:
        return sl_encoding_get_bf16_lines(frame->data, frame->size, count, ret_values, err);
    case SL_ENCODING_DENSE:
    case SL_ENCODING_CHANGED: /* of what? */
    case SL_ENCODING_COUNT:
        break;
    }
    return sl_fail(err, SL_BAD_DATA, "there is no encoding %d", (int)encoding);
}

enum sl_status sl_encoding_open(
        struct sl_frame *frame, enum sl_encoding encoding, size_t count, struct sl_error *err)
{
    if (encoding == SL_ENCODING_DENSE)
        return SL_OK;
    struct sl_buffer *dense = sl_buffer_create_unset(count * sizeof(float));
    if (dense == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu numbers of a frame", count);
    enum sl_status status = get(frame, encoding, count, dense->data, err);
    if (status != SL_OK) {
        sl_buffer_release(dense);
        return status;
    }
    sl_buffer_release(frame->buffer);
    *frame = (struct sl_frame){dense, dense->data, dense->size};
    return SL_OK;
}
