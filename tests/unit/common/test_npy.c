/* .npy files: what NumPy writes is read, everything else is a clear error. */
#include "common/file.h"
#include "common/npy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FILE_NAME "test_npy.npy"

static struct sl_error err;

/* Writes a version 1 file with this dict and data. */
static void write_file(const char *dict, const void *data, size_t size)
{
    unsigned char bytes[1024];
    size_t length = strlen(dict);
    memcpy(bytes, "\x93NUMPY\x01\x00", 8);
    bytes[8] = (unsigned char)length;
    bytes[9] = (unsigned char)(length >> 8);
    memcpy(bytes + 10, dict, length);
    memcpy(bytes + 10 + length, data, size);
    assert_int_equal(sl_file_write_atomic(FILE_NAME, bytes, 10 + length + size, &err), SL_OK);
}

static void expect(const char *dict, const void *data, size_t size, const float *values, int64_t count)
{
    struct sl_npy *array = NULL;
    float read[16];
    write_file(dict, data, size);
    if (sl_npy_open(&array, FILE_NAME, &err) != SL_OK)
        fail_msg("%s: %s", dict, err.text);
    assert_int_equal(sl_npy_header(array)->count, count);
    assert_int_equal(sl_npy_read(array, 0, count, read, &err), SL_OK);
    for (int64_t i = 0; i < count; i++)
        assert_true(read[i] == values[i]);
    sl_npy_close(array);
}

static void reject(const char *dict, size_t size, const char *piece)
{
    struct sl_npy *array = NULL;
    const char data[64] = {0};
    write_file(dict, data, size);
    assert_int_equal(sl_npy_open(&array, FILE_NAME, &err), SL_BAD_DATA);
    if (strstr(err.text, piece) == NULL || strstr(err.text, FILE_NAME) == NULL)
        fail_msg("%s: \"%s\", expected \"%s\"", dict, err.text, piece);
}

static void test_types_become_float(void **state)
{
    (void)state;
    const float f4[] = {1.5F, -2.0F};
    const double f8[] = {1.5, -2.0};
    const uint16_t f2[] = {0x3e00, 0xc000};
    const int8_t i1[] = {1, -2};
    const int16_t i2[] = {1, -2};
    const int32_t i4[] = {1, -2};
    const int64_t i8[] = {1, -2};
    const uint8_t u1[] = {1, 200};
    const uint16_t u2[] = {1, 200};
    const uint32_t u4[] = {1, 200};
    const uint64_t u8[] = {1, 200};
    const float whole[] = {1, -2}, positive[] = {1, 200};
    expect("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", f4, 8, f4, 2);
    expect("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", f8, 16, f4, 2);
    expect("{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }\n", f2, 4, f4, 2);
    expect("{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }\n", i1, 2, whole, 2);
    expect("{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }\n", i2, 4, whole, 2);
    expect("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }\n", i4, 8, whole, 2);
    expect("{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n", i8, 16, whole, 2);
    expect("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n", u1, 2, positive, 2);
    expect("{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }\n", u2, 4, positive, 2);
    expect("{'descr': '<u4', 'fortran_order': False, 'shape': (2,), }\n", u4, 8, positive, 2);
    expect("{'descr': '<u8', 'fortran_order': False, 'shape': (2,), }\n", u8, 16, positive, 2);
    expect("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }\n", u1, 1, positive, 1);
}

static void test_headers_in_other_spellings(void **state)
{
    (void)state;
    const float values[] = {1, 2, 3, 4, 5, 6};
    expect("{\"shape\":(1, 2L, 3),\"fortran_order\":False,\"descr\":\"<f4\"}", values, 24, values, 6);
    expect("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", values, 4, values, 1);
    expect("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", values, 0, values, 0);
}

static void test_bad_files(void **state)
{
    (void)state;
    reject("{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", 8, "not little-endian");
    reject("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, "cannot be read");
    reject("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "cannot be read");
    reject("{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", 8, "Fortran order");
    reject("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 8, "cut off or damaged");
    reject("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 8, "cut off or damaged");
    reject("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 8, "too large");
    reject("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999,), }", 8, "damaged");
    reject("{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,2), }", 8, "damaged");
    reject("{'descr': '<f4', 'fortran_order': False, }", 8, "damaged");
    reject("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8, "damaged");
    reject("", 0, "damaged");
    struct sl_npy *array = NULL;
    assert_int_equal(sl_file_write_atomic(FILE_NAME, "no numbers", 10, &err), SL_OK);
    assert_int_equal(sl_npy_open(&array, FILE_NAME, &err), SL_BAD_DATA);
    assert_int_equal(sl_file_write_atomic(FILE_NAME, "\x93NUMPY\x09\x00\x02\x00{}", 12, &err), SL_OK);
    assert_int_equal(sl_npy_open(&array, FILE_NAME, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "version 9"));
    (void)unlink(FILE_NAME);
    assert_int_equal(sl_npy_open(&array, FILE_NAME, &err), SL_NOT_FOUND);
}

static void test_what_is_written_comes_back_in_parts(void **state)
{
    (void)state;
    static float values[5 * 1000], part[2000];
    for (int i = 0; i < 5000; i++)
        values[i] = (float)i * 0.25F;
    const int64_t shape[] = {5, 1000};
    struct sl_npy *array = NULL;
    assert_int_equal(sl_npy_write(FILE_NAME, values, 2, shape, &err), SL_OK);
    assert_int_equal(sl_npy_open(&array, FILE_NAME, &err), SL_OK);
    assert_int_equal(sl_npy_header(array)->rank, 2);
    assert_int_equal(sl_npy_header(array)->shape[1], 1000);
    assert_int_equal(sl_npy_header(array)->data_offset % 64, 0);
    assert_int_equal(sl_npy_read(array, 3000, 2000, part, &err), SL_OK);
    assert_memory_equal(part, values + 3000, sizeof(part));
    assert_int_equal(sl_npy_read(array, 3001, 2000, part, &err), SL_USAGE);
    assert_int_equal(sl_npy_read(array, -1, 1, part, &err), SL_USAGE);
    assert_int_equal(truncate(FILE_NAME, 8000), 0);
    assert_int_equal(sl_npy_read(array, 3000, 2000, part, &err), SL_BAD_DATA);
    sl_npy_close(array);
    (void)unlink(FILE_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_types_become_float),
            cmocka_unit_test(test_headers_in_other_spellings),
            cmocka_unit_test(test_bad_files),
            cmocka_unit_test(test_what_is_written_comes_back_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
