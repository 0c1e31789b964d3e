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

/* ---- bf16 ---- */

static void test_bytes_of_bf16(void **state)
{
    (void)state;
    float values[COUNT] = {0}, back[COUNT];
    sl_bf16 kept[COUNT] = {0}, bytes[COUNT];
    assert_int_equal(sl_encoding_bf16_size(COUNT), 2 * COUNT);
    values[0] = 1.5F;
    values[17] = 1.00390625F; /* between two numbers of bf16, the even one is below */
    values[82] = -2.0F;
    sl_encoding_put_bf16(values, kept, COUNT, bytes);
    assert_int_equal(bytes[0], 0x3fc0);
    assert_int_equal(bytes[17], 0x3f80);
    assert_int_equal(kept[17], 0x3b80); /* 2^-8 */
    assert_int_equal(bytes[82], 0xc000);
    assert_int_equal(sl_encoding_get_bf16(bytes, sizeof(bytes), COUNT, back, &err), SL_OK);
    assert_true(back[0] == 1.5F && back[1] == 0.0F && back[17] == 1.0F && back[82] == -2.0F);
    sl_encoding_put_bf16(values, kept, COUNT, bytes);
    assert_int_equal(bytes[17], 0x3f81); /* what was kept made it the one above */
    assert_int_equal(kept[17], 0);
}

static void test_bytes_of_bf16_lines(void **state)
{
    (void)state;
    float values[COUNT] = {0}, back[COUNT];
    sl_bf16 kept[COUNT] = {0};
    uint64_t bytes[1 + COUNT / 4 + 1];
    kept[3] = 0x3b80; /* of a line that does not come */
    kept[18] = 0x4000;
    values[17] = 1.5F;
    values[82] = -2.0F;
    assert_int_equal(sl_encoding_bf16_lines_size(values, COUNT), 8 + 32 + 6);
    sl_encoding_put_bf16_lines(values, kept, COUNT, bytes);
    assert_memory_equal(bytes, ((unsigned char[8]){0x22}), 8);
    const sl_bf16 *lines = (const sl_bf16 *)(bytes + 1);
    assert_true(lines[1] == 0x3fc0 && lines[2] == 0x4000 && lines[18] == 0xc000);
    assert_true(kept[3] == 0x3b80 && kept[18] == 0);
    memset(back, 1, sizeof(back));
    assert_int_equal(sl_encoding_get_bf16_lines(bytes, 8 + 32 + 6, COUNT, back, &err), SL_OK);
    for (int i = 0; i < COUNT; i++)
        assert_true(back[i] == (i == 17 ? 1.5F : i == 18 ? 2.0F : i == 82 ? -2.0F : 0.0F));
    for (int i = 0; i < COUNT; i++)
        values[i] = 1.0F;
    assert_int_equal(sl_encoding_bf16_lines_size(values, COUNT), 8 + 2 * COUNT); /* all there: no other way */
}

static void refused_bf16(unsigned char first, size_t size)
{
    uint64_t bytes[1 + 6 * 4] = {first};
    float values[COUNT];
    memset(&err, 0, sizeof(err));
    assert_int_equal(sl_encoding_get_bf16_lines(bytes, size, COUNT, values, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "not the lines of 83 numbers of bf16"));
}

static void test_bytes_of_bf16_that_make_no_sense(void **state)
{
    (void)state;
    sl_bf16 bytes[COUNT + 1] = {0};
    float values[COUNT];
    assert_int_equal(sl_encoding_get_bf16(bytes, 2 * COUNT - 1, COUNT, values, &err), SL_BAD_DATA);
    assert_int_equal(sl_encoding_get_bf16(bytes, 2 * COUNT + 2, COUNT, values, &err), SL_BAD_DATA);
    assert_int_equal(sl_encoding_get_bf16(bytes, 0, COUNT, values, &err), SL_BAD_DATA);
    refused_bf16(0, 0);
    refused_bf16(0, 7);
    refused_bf16(0x02, 8 + 31);
    refused_bf16(0x02, 8 + 64); /* as many as of float32 */
    refused_bf16(0x20, 8 + 32); /* the last line has 6 bytes */
    refused_bf16(0x40, 8 + 32); /* there is no seventh */
}

static void test_frames_of_bf16_are_opened(void **state)
{
    (void)state;
    struct sl_buffer *buffer = sl_buffer_create(2 * COUNT);
    assert_non_null(buffer);
    ((sl_bf16 *)buffer->data)[5] = 0x3fc0;
    struct sl_frame frame = {buffer, buffer->data, buffer->size};
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_BF16_LINES, COUNT, &err), SL_BAD_DATA);
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_COUNT, COUNT, &err), SL_BAD_DATA);
    assert_ptr_equal(frame.buffer, buffer);
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_BF16, COUNT, &err), SL_OK);
    assert_int_equal(frame.size, COUNT * sizeof(float));
    for (int i = 0; i < COUNT; i++)
        assert_true(((const float *)frame.data)[i] == (i == 5 ? 1.5F : 0.0F));
    sl_buffer_release(frame.buffer);
    buffer = sl_buffer_create(8 + 32);
    assert_non_null(buffer);
    *(unsigned char *)buffer->data = 2;
    ((sl_bf16 *)buffer->data)[4] = 0xc000;
    frame = (struct sl_frame){buffer, buffer->data, buffer->size};
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_BF16_LINES, COUNT, &err), SL_OK);
    for (int i = 0; i < COUNT; i++)
        assert_true(((const float *)frame.data)[i] == (i == 16 ? -2.0F : 0.0F));
    sl_buffer_release(frame.buffer);
}

/* ---- what changed ---- */

static void test_bytes_of_changes(void **state)
{
    (void)state;
    float values[COUNT], back[COUNT];
    unsigned char lines[8] = {0x22}, bytes[8 + 64 + 12];
    for (int i = 0; i < COUNT; i++)
        values[i] = (float)i;
    assert_int_equal(sl_encoding_bitmap_size(COUNT), 8);
    assert_int_equal(sl_encoding_bitmap_size(64 * SL_LINE_FLOATS), 8);
    assert_int_equal(sl_encoding_bitmap_size(64 * SL_LINE_FLOATS + 1), 16);
    assert_int_equal(sl_encoding_changed_size(lines, COUNT), sizeof(bytes));
    sl_encoding_put_changed(values, lines, COUNT, bytes);
    assert_memory_equal(bytes, lines, 8);
    assert_memory_equal(bytes + 8, values + 16, 64);
    assert_memory_equal(bytes + 72, values + 80, 12);
    memset(back, 0, sizeof(back));
    back[3] = -7.0F;
    assert_int_equal(sl_encoding_get_changed(bytes, sizeof(bytes), COUNT, back, &err), SL_OK);
    for (int i = 0; i < COUNT; i++) {
        bool there = (i >= 16 && i < 32) || i >= 80;
        assert_true(back[i] == (there ? values[i] : i == 3 ? -7.0F : 0.0F));
    }
}

static void test_nothing_changed_takes_no_bytes(void **state)
{
    (void)state;
    float values[COUNT] = {1.0F}, back[COUNT] = {2.0F};
    unsigned char lines[8] = {0};
    assert_int_equal(sl_encoding_changed_size(lines, COUNT), 0);
    sl_encoding_put_changed(values, lines, COUNT, NULL);
    assert_int_equal(sl_encoding_get_changed(NULL, 0, COUNT, back, &err), SL_OK);
    assert_true(back[0] == 2.0F);
}

static void test_changes_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        unsigned char first;
        size_t size;
    } bad[] = {{0, 7}, {0, 9}, {2, 8}, {2, 8 + 63}, {2, 8 + 65}, {0x20, 8 + 64}, {0x40, 8 + 64},
            {0xff, 8 + 6 * 64}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        unsigned char bytes[8 + 6 * 64] = {bad[i].first};
        float values[COUNT] = {0}, before[COUNT] = {0};
        for (int k = 0; k < COUNT; k++)
            values[k] = before[k] = 3.0F;
        assert_int_equal(sl_encoding_get_changed(bytes, bad[i].size, COUNT, values, &err), SL_BAD_DATA);
        assert_memory_equal(values, before, sizeof(values)); /* checked before anything is written */
    }
    struct sl_buffer *buffer = sl_buffer_create(8);
    assert_non_null(buffer);
    struct sl_frame frame = {buffer, buffer->data, buffer->size}; /* of what? */
    assert_int_equal(sl_encoding_open(&frame, SL_ENCODING_CHANGED, COUNT, &err), SL_BAD_DATA);
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
            cmocka_unit_test(test_bytes_of_bf16),
            cmocka_unit_test(test_bytes_of_bf16_lines),
            cmocka_unit_test(test_bytes_of_bf16_that_make_no_sense),
            cmocka_unit_test(test_frames_of_bf16_are_opened),
            cmocka_unit_test(test_bytes_of_changes),
            cmocka_unit_test(test_nothing_changed_takes_no_bytes),
            cmocka_unit_test(test_changes_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
