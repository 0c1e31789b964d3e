#pragma once
/* Safetensors files: named tensors on disk, as PyTorch and Hugging Face read and write them. Snapshots, exports, pretrained weights and
 * feature arrays are such files.
 *
 *     | u64 little-endian: header bytes | JSON {name: {dtype, shape, data_offsets}, "__metadata__": {text: text}} | data |
 *
 *     struct sl_safetensors *file = NULL;
 *     enum sl_status s = sl_safetensors_open(&file, "vit.safetensors", err);
 *     const struct sl_tensor *t = sl_safetensors_find(file, "vit.layernorm.weight");
 *     s = sl_safetensors_read_f32(file, t, weight, t->count, err);
 *     sl_safetensors_close(file);
 *
 * The reader is strict, since files come from anywhere: a file opens only when every tensor's offsets lie in the data, agree with dtype and
 * shape, and leave neither hole nor overlap up to the end of the file; no name comes twice; the header is JSON of exactly this form.
 * Data are read with pread when asked for, not mapped: a file that shrinks or a disk that fails then gives an error and not a SIGBUS.
 * Memory grows with the header alone, whose size has a limit.
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define SL_SAFETENSORS_HEADER_MAX (100U << 20) /* bytes, the limit of the reference implementation too */
#define SL_SAFETENSORS_TENSORS_MAX 262144
#define SL_SAFETENSORS_NAME_MAX 1024 /* bytes of a tensor's name, without its 0 */
#define SL_TENSOR_RANK_MAX 8

enum sl_dtype {
    SL_DTYPE_F32,
    SL_DTYPE_F64,
    SL_DTYPE_F16,
    SL_DTYPE_BF16,
    SL_DTYPE_I8,
    SL_DTYPE_I16,
    SL_DTYPE_I32,
    SL_DTYPE_I64,
    SL_DTYPE_U8,
    SL_DTYPE_U16,
    SL_DTYPE_U32,
    SL_DTYPE_U64,
    SL_DTYPE_BOOL,
};
#define SL_DTYPES 13

/* One tensor of an open file. Plain data, owned by the file. */
struct sl_tensor {
    const char *name;
    enum sl_dtype dtype;
    int rank;
    int64_t shape[SL_TENSOR_RANK_MAX];
    uint64_t count;  /* elements: the product of shape, 1 for rank 0 */
    uint64_t offset; /* bytes from the start of the data */
    uint64_t size;   /* bytes */
};

struct sl_safetensors;

size_t sl_dtype_size(enum sl_dtype dtype);      /* bytes of an element */
const char *sl_dtype_name(enum sl_dtype dtype); /* "F32", …, as in the header. Never NULL. */

/* sl_safetensors_open reads and checks the header. Owns: *ret_file, close it. Errors: NOT_FOUND, BAD_DATA (the text names the file, what is
 * wrong and, for pickles and Git LFS pointers, what to do), NO_MEMORY. */
SL_MUST_USE enum sl_status sl_safetensors_open(
        struct sl_safetensors **ret_file, const char *path, struct sl_error *err);

/* sl_safetensors_open_memory is sl_safetensors_open on bytes; name stands for the file in errors. Owns: borrows bytes until close. */
SL_MUST_USE enum sl_status sl_safetensors_open_memory(struct sl_safetensors **ret_file, const void *bytes,
        size_t size, const char *name, struct sl_error *err);
void sl_safetensors_close(struct sl_safetensors *file);
void sl_safetensors_close_auto(struct sl_safetensors **file);

int sl_safetensors_count(const struct sl_safetensors *file);
/* sl_safetensors_at borrows the index-th tensor in the header's order. */
const struct sl_tensor *sl_safetensors_at(const struct sl_safetensors *file, int index);
/* sl_safetensors_find borrows the tensor of that name, or gives NULL. */
const struct sl_tensor *sl_safetensors_find(const struct sl_safetensors *file, const char *name);
/* sl_safetensors_metadata borrows the value of a key of __metadata__, or gives NULL. */
const char *sl_safetensors_metadata(const struct sl_safetensors *file, const char *key);

/* sl_safetensors_read copies the tensor's bytes as they lie (little-endian). Shapes: buffer of size bytes, size == tensor->size.
 * Errors: BAD_DATA when the file has shrunk since, DISK, FAILED. */
SL_MUST_USE enum sl_status sl_safetensors_read(const struct sl_safetensors *file,
        const struct sl_tensor *tensor, void *buffer, size_t size, struct sl_error *err);
/* sl_safetensors_read_range copies size bytes of it from byte `offset` on; offset + size <= tensor->size (asserted). Errors: as sl_safetensors_read. */
SL_MUST_USE enum sl_status sl_safetensors_read_range(const struct sl_safetensors *file,
        const struct sl_tensor *tensor, uint64_t offset, void *buffer, size_t size, struct sl_error *err);
/* sl_safetensors_read_f32 reads F32, F64, F16 or BF16 as float. Shapes: values (count,), count == tensor->count. Errors: as
 * sl_safetensors_read, and BAD_DATA for another dtype. */
SL_MUST_USE enum sl_status sl_safetensors_read_f32(const struct sl_safetensors *file,
        const struct sl_tensor *tensor, float *values, size_t count, struct sl_error *err);
/* sl_safetensors_read_i64 reads any integer dtype or BOOL as int64_t. Shapes: values (count,). Errors: as sl_safetensors_read, and
 * BAD_DATA for another dtype or a U64 that does not fit. */
SL_MUST_USE enum sl_status sl_safetensors_read_i64(const struct sl_safetensors *file,
        const struct sl_tensor *tensor, int64_t *values, size_t count, struct sl_error *err);

/* What the writer is given for each tensor: data borrowed, row-major, little-endian as memory is here. */
struct sl_tensor_view {
    const char *name;
    enum sl_dtype dtype;
    int rank;
    int64_t shape[SL_TENSOR_RANK_MAX];
    const void *data; /* the product of shape elements */
};

struct sl_metadata {
    const char *key, *value;
};

/* Where a writer's bytes go: called in order, all bytes of a call or an error. */
struct sl_sink {
    enum sl_status (*write)(void *context, const void *bytes, size_t size, struct sl_error *err);
    void *context;
};

/* sl_safetensors_header gives the length prefix and the header, padded with spaces to a multiple of 8 bytes, for tensors that follow in
 * the order given. Owns: *ret_bytes, sl_free it. Errors: USAGE for a name that comes twice or is no valid UTF-8, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_safetensors_header(char **ret_bytes, size_t *ret_size,
        const struct sl_tensor_view *tensors, int count, const struct sl_metadata *metadata,
        int metadata_count, struct sl_error *err);

/* sl_safetensors_write streams header and data into the sink. Errors: as sl_safetensors_header, and what the sink returns. */
SL_MUST_USE enum sl_status sl_safetensors_write(const struct sl_sink *sink,
        const struct sl_tensor_view *tensors, int count, const struct sl_metadata *metadata,
        int metadata_count, struct sl_error *err);

/* sl_sink_fd writes to a file descriptor: context points to the int. Errors: DISK, FAILED. */
enum sl_status sl_sink_fd(void *context, const void *bytes, size_t size, struct sl_error *err);

/* sl_half_to_float converts IEEE binary16, bit for bit (subnormals, infinities, NaN). */
float sl_half_to_float(uint16_t half);
