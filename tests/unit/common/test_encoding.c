/* Encodings of frames: their bytes, the way there and back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/encoding.h"

#include <string.h>

#define COUNT 83 /* six lines, the last one of 3 numbers */

static struct sl_error err;

static void test_the_bytes(void **state)
{
    (void)state;
    float values[COUNT] = {0};
    unsigned char bytes[sizeof(values)];
    values[17] = 1.5F;
    values[82] = -2.0F;
    assert_int_equal(sl_encoding_lines_size(values, COUNT), 8 + 64 + 12);
    sl_encoding_put_lines(values, COUNT, bytes);
    assert_memory_equal(bytes, ((unsigned char[8]){0x22}), 8);
    assert_memory_equal(bytes + 8, values + 16, 64);
    assert_memory_equal(bytes + 72, values + 80, 12);
}

static void test_every_bit_comes_back(void **state)
{
    (void)state;
    float values[COUNT] = {0}, back[COUNT];
    unsigned char bytes[sizeof(values)];
    uint32_t strange = 0x7fa00123, tiny = 1; /* a signalling NaN, the smallest number */
    values[0] = -0.0F;
    memcpy(&values[40], &strange, sizeof(strange));
    memcpy(&values[81], &tiny, sizeof(tiny));
    memset(back, 1, sizeof(back));
    size_t size = sl_encoding_lines_size(values, COUNT);
    assert_int_equal(size, 8 + 64 + 64 + 12); /* -0.0 is a number */
    sl_encoding_put_lines(values, COUNT, bytes);
    assert_int_equal(sl_encoding_get_lines(bytes, size, COUNT, back, &err), SL_OK);
    assert_memory_equal(back, values, sizeof(values));
    memset(values, 0, sizeof(values));
    assert_int_equal(sl_encoding_lines_size(values, COUNT), 8);
    sl_encoding_put_lines(values, COUNT, bytes);
    assert_int_equal(sl_encoding_get_lines(bytes, 8, COUNT, back, &err), SL_OK);
    assert_memory_equal(back, values, sizeof(values));
}

static void test_what_is_mostly_there_stays_dense(void **state)
{
    (void)state;
    float values[COUNT] = {0};
    for (int line = 0; line < 3; line++)
        values[16 * line] = 1.0F;
    assert_int_equal(sl_encoding_lines_size(values, COUNT), 8 + 3 * 64);
    values[48] = 1.0F;
    assert_int_equal(sl_encoding_lines_size(values, COUNT), 0);
}

static void refused(unsigned char first, size_t size)
{
    unsigned char bytes[8 + 6 * 64] = {first};
    float values[COUNT];
    memset(&err, 0, sizeof(err));
    assert_int_equal(sl_encoding_get_lines(bytes, size, COUNT, values, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "not the lines of 83 numbers"));
}

static void test_bytes_that_make_no_sense(void **state)
{
    (void)state;
    refused(0, 0);
    refused(0, 7);
    refused(0, 9);
    refused(0x02, 8);
    refused(0x02, 8 + 63);
    refused(0x02, 8 + 65);
    refused(0x20, 8 + 64); /* the last line has 12 bytes */
    refused(0x40, 8 + 64); /* there is no seventh */
    refused(0x40, 8);
    refused(0xff, 8 + 6 * 64);
}

static void test_a_frame_is_opened(void **state)
{
    (void)state;
    struct sl_buffer *buffer = sl_buffer_create(8 + 64);
    assert_non_null(buffer);
    *(unsigned char *)buffer->data = 2;
    *(float *)((char *)buffer->data + 8) = 3.0F;
    struct sl_frame frame = {buffer, buffer->data, buffer->size};
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_DENSE, COUNT, &err), SL_OK);
    assert_ptr_equal(frame.buffer, buffer);
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_LINES, 16, &err), SL_BAD_DATA);
    assert_ptr_equal(frame.buffer, buffer);
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_LINES, COUNT, &err), SL_OK);
    assert_int_equal(frame.size, COUNT * sizeof(float));
    const float *values = frame.data;
    for (int i = 0; i < COUNT; i++)
        assert_true(values[i] == (i == 16 ? 3.0F : 0.0F));
    sl_buffer_release(frame.buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_the_bytes),
            cmocka_unit_test(test_every_bit_comes_back),
            cmocka_unit_test(test_what_is_mostly_there_stays_dense),
            cmocka_unit_test(test_bytes_that_make_no_sense),
            cmocka_unit_test(test_a_frame_is_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
