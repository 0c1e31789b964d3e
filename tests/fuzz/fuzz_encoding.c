/* Any bytes as the lines of any number of floats: an error, or numbers that are written and read again to the same bits. The first two bytes say how many numbers. */
#include "common/encoding.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float values[COUNT_MAX], again[COUNT_MAX];
    static unsigned char bytes[COUNT_MAX * sizeof(float)];
    struct sl_error err = {0};
    if (size < 2)
        return 0;
    size_t count = 1 + ((size_t)data[0] | (size_t)data[1] << 8) % COUNT_MAX;
    if (sl_encoding_get_lines(data + 2, size - 2, count, values, &err) != SL_OK) {
        if (err.text[0] == 0)
            abort();
        return 0;
    }
    size_t packed = sl_encoding_lines_size(values, count);
    if (packed == 0)
        return 0;
    if (packed > size - 2)
        abort(); /* lines that are there and zero are left out; none comes to it */
    sl_encoding_put_lines(values, count, bytes);
    if (sl_encoding_get_lines(bytes, packed, count, again, &err) != SL_OK ||
            memcmp(values, again, count * sizeof(float)) != 0)
        abort();
    return 0;
}
