/* Any bytes as numbers in any encoding: an error, or numbers that are written and read again to the same bits. The first two bytes say how many numbers, their highest two bits which encoding. */
#include "common/encoding.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static float values[COUNT_MAX], again[COUNT_MAX];
static unsigned char bytes[COUNT_MAX * sizeof(float) + COUNT_MAX];
static sl_bf16 kept[COUNT_MAX];

static void must(bool condition)
{
    if (!condition)
        abort();
}

/* Lines that are there and zero are left out; none comes to it. */
static void lines(size_t count, size_t size)
{
    struct sl_error err = {0};
    size_t packed = sl_encoding_lines_size(values, count);
    if (packed == 0)
        return;
    must(packed <= size);
    sl_encoding_put_lines(values, count, bytes);
    must(sl_encoding_get_lines(bytes, packed, count, again, &err) == SL_OK);
    must(memcmp(values, again, count * sizeof(float)) == 0);
}

/* Numbers of bf16 are exact in it, but for -0 and the kind of a NaN: those are as bytes say after one round more. */
static void bf16(size_t count)
{
    struct sl_error err = {0};
    for (int round = 0; round < 2; round++) {
        memset(kept, 0, sizeof(kept));
        sl_encoding_put_bf16(values, kept, count, bytes);
        for (size_t i = 0; i < count; i++)
            must(kept[i] == 0);
        must(sl_encoding_get_bf16(bytes, sl_encoding_bf16_size(count), count, again, &err) == SL_OK);
        must(round == 0 || memcmp(values, again, count * sizeof(float)) == 0);
        memcpy(values, again, count * sizeof(float));
    }
}

static void bf16_lines(size_t count)
{
    struct sl_error err = {0};
    for (int round = 0; round < 2; round++) {
        memset(kept, 0, sizeof(kept));
        size_t packed = sl_encoding_bf16_lines_size(values, count);
        must(packed <= sizeof(bytes));
        sl_encoding_put_bf16_lines(values, kept, count, bytes);
        must(sl_encoding_get_bf16_lines(bytes, packed, count, again, &err) == SL_OK);
        must(round == 0 || memcmp(values, again, count * sizeof(float)) == 0);
        memcpy(values, again, count * sizeof(float));
    }
}

/* The same bytes as what changed: an error that writes nothing, or lines that are written and read again to the same bits, onto numbers that stay. */
static void changed(size_t count, const uint8_t *data, size_t size)
{
    struct sl_error err = {0};
    memset(values, 0x55, count * sizeof(float));
    memset(again, 0x55, count * sizeof(float));
    if (sl_encoding_get_changed(data, size, count, values, &err) != SL_OK) {
        must(err.text[0] != 0 && memcmp(values, again, count * sizeof(float)) == 0);
        return;
    }
    if (size == 0)
        return;
    size_t packed = sl_encoding_changed_size(data, count);
    must(packed == size || (packed == 0 && size == sl_encoding_bitmap_size(count)));
    sl_encoding_put_changed(values, data, count, bytes);
    must(memcmp(bytes, data, packed) == 0);
    must(sl_encoding_get_changed(bytes, packed, count, again, &err) == SL_OK);
    must(memcmp(values, again, count * sizeof(float)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum sl_encoding encodings[4] = {
            SL_ENCODING_LINES, SL_ENCODING_BF16, SL_ENCODING_BF16_LINES, SL_ENCODING_LINES};
    struct sl_error err = {0};
    if (size < 2)
        return 0;
    changed(1 + ((size_t)data[0] | (size_t)data[1] << 8) % COUNT_MAX, data + 2, size - 2);
    size_t count = 1 + ((size_t)data[0] | (size_t)data[1] << 8) % COUNT_MAX;
    enum sl_encoding encoding = encodings[data[1] >> 6];
    struct sl_buffer *buffer = sl_buffer_create(size - 2);
    must(buffer != NULL);
    memcpy(buffer->data, data + 2, size - 2);
    struct sl_frame frame = {buffer, buffer->data, buffer->size};
    bool good = sl_encoding_open(&frame, encoding, count, &err) == SL_OK;
    must(good ? frame.size == count * sizeof(float) : err.text[0] != 0 && frame.buffer == buffer);
    if (good)
        memcpy(values, frame.data, frame.size);
    sl_buffer_release(frame.buffer);
    if (good && encoding == SL_ENCODING_LINES)
        lines(count, size - 2);
    if (good && encoding == SL_ENCODING_BF16)
        bf16(count);
    if (good && encoding == SL_ENCODING_BF16_LINES)
        bf16_lines(count);
    return 0;
}
