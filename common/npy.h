#pragma once
/* NumPy's .npy files: format versions 1 to 3, C order, little-endian numbers, read as float32.
 *
 *     SL_AUTO(sl_npy_close_auto) struct sl_npy *array = NULL;
 *     enum sl_status s = sl_npy_open(&array, "features.npy", err);
 *     const struct sl_npy_header *h = sl_npy_header(array);
 *     s = sl_npy_read(array, row * width, width, floats, err);      // elements [first, first + count)
 *
 * The header is checked whole before anything is allocated for the data: a file whose size does not fit its
 * header is refused. Limits: SL_NPY_RANK_MAX dimensions, header of SL_NPY_HEADER_MAX bytes. Fortran order,
 * big-endian, complex, text and object arrays are errors.
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define SL_NPY_RANK_MAX 8
#define SL_NPY_HEADER_MAX 65536 /* bytes */

enum sl_npy_type {
    SL_NPY_F2,
    SL_NPY_F4,
    SL_NPY_F8,
    SL_NPY_I1,
    SL_NPY_I2,
    SL_NPY_I4,
    SL_NPY_I8,
    SL_NPY_U1,
    SL_NPY_U2,
    SL_NPY_U4,
    SL_NPY_U8,
    SL_NPY_BOOL,
};

struct sl_npy_header {
    enum sl_npy_type type;
    int item_size; /* bytes of a number */
    int rank;      /* 0 for a single number */
    int64_t shape[SL_NPY_RANK_MAX];
    int64_t count;      /* numbers: the product of shape */
    size_t data_offset; /* bytes from the start of the file */
};

struct sl_npy;

/* sl_npy_parse reads a header from the first size bytes of a file that has file_size in all; name stands for
 * it in errors. Any bytes are an error at worst (fuzzed). Errors: BAD_DATA. */
SL_MUST_USE enum sl_status sl_npy_parse(struct sl_npy_header *ret_header, const void *bytes, size_t size,
        uint64_t file_size, const char *name, struct sl_error *err);

/* sl_npy_open reads and checks the header and keeps the file open. Owns: *ret_array, close it. Errors:
 * NOT_FOUND, BAD_DATA, FAILED. */
SL_MUST_USE enum sl_status sl_npy_open(struct sl_npy **ret_array, const char *path, struct sl_error *err);
void sl_npy_close(struct sl_npy *array);
void sl_npy_close_auto(struct sl_npy **array);
const struct sl_npy_header *sl_npy_header(const struct sl_npy *array);

/* sl_npy_read converts elements [first, first + count) in C order to float32. Shapes: ret_values (count,).
 * Thread: any number may read at once. Errors: USAGE when the range is outside the array, BAD_DATA when the
 * file was cut off meanwhile. */
SL_MUST_USE enum sl_status sl_npy_read(
        const struct sl_npy *array, int64_t first, int64_t count, float *ret_values, struct sl_error *err);

/* sl_npy_convert converts all numbers of an array that lies in memory, with the header that sl_npy_parse gave for the same bytes (size of the file is the
 * bytes' number then). Shapes: ret_values (header->count,). */
void sl_npy_convert(const struct sl_npy_header *header, const void *bytes, float *ret_values);

/* sl_npy_write writes a float32 array atomically (file.h). Shapes: values (product of shape,). */
SL_MUST_USE enum sl_status sl_npy_write(
        const char *path, const float *values, int rank, const int64_t *shape, struct sl_error *err);

/* sl_npy_type_name gives NumPy's own name, such as "float32". Never NULL. */
const char *sl_npy_type_name(enum sl_npy_type type);
