/* Opening and reading safetensors files: see safetensors.h. */
#include "common/memory.h"
#include "common/safetensors_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX 8           /* bytes of the length before the header */
#define CHUNK (256U << 10) /* bytes read at a time when converting */
#define SHOWN_MAX SL_SAFETENSORS_SHOWN_MAX

static int compare_names(const void *a, const void *b, void *context)
{
    const struct sl_tensor *tensors = context;
    return strcmp(tensors[*(const int *)a].name, tensors[*(const int *)b].name);
}

static int compare_offsets(const void *a, const void *b, void *context)
{
    const struct sl_tensor *x = (const struct sl_tensor *)context + *(const int *)a;
    const struct sl_tensor *y = (const struct sl_tensor *)context + *(const int *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->size < y->size
                   ? -1
                   : x->size > y->size; /* empty tensors before the one that begins where they lie */
}

/* check_cover makes sure that the tensors lie end to end over all the data. It leaves by_name in order of
 * offset. */
static enum sl_status check_cover(struct sl_safetensors *file, struct sl_error *err)
{
    qsort_r(file->by_name, (size_t)file->count, sizeof(int), compare_offsets, file->tensors);
    uint64_t end = 0;
    for (int i = 0; i < file->count; i++) {
        const struct sl_tensor *t = &file->tensors[file->by_name[i]];
        if (t->offset != end)
            return sl_fail(err, SL_BAD_DATA,
                    "%s: tensor \"%.*s\" %s: it begins at byte %llu of the data, the one before ends at %llu",
                    file->name, SHOWN_MAX, t->name, t->offset < end ? "overlaps another" : "leaves a hole",
                    (unsigned long long)t->offset, (unsigned long long)end);
        end = t->offset + t->size;
    }
    if (end != file->data_size)
        return sl_fail(err, SL_BAD_DATA, "%s: %llu bytes after the last tensor belong to none", file->name,
                (unsigned long long)(file->data_size - end));
    return SL_OK;
}

static enum sl_status build_index(struct sl_safetensors *file, struct sl_error *err)
{
    file->by_name = sl_alloc((size_t)file->count, sizeof(int));
    if (file->by_name == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory for %d tensors", file->name, file->count);
    for (int i = 0; i < file->count; i++)
        file->by_name[i] = i;
    enum sl_status s = check_cover(file, err);
    if (s != SL_OK || file->count == 0)
        return s;
    qsort_r(file->by_name, (size_t)file->count, sizeof(int), compare_names, file->tensors);
    for (int i = 1; i < file->count; i++) {
        const char *name = file->tensors[file->by_name[i]].name;
        if (strcmp(name, file->tensors[file->by_name[i - 1]].name) == 0)
            return sl_fail(err, SL_BAD_DATA, "%s: tensor \"%.*s\" comes twice", file->name, SHOWN_MAX, name);
    }
    return SL_OK;
}

/* refuse_other_format names what people mix up with safetensors, and the way out. */
static enum sl_status refuse_other_format(
        const char *name, const char *first, size_t size, struct sl_error *err)
{
    static const char lfs[] = "version ";
    bool zip = size >= 4 && memcmp(first, "PK\003\004", 4) == 0;
    bool pickle = size >= 2 && (unsigned char)first[0] == 0x80 && first[1] >= 2 && first[1] <= 5;
    if (zip || pickle)
        return sl_fail(err, SL_BAD_DATA,
                "%s: this is a PyTorch pickle (.bin, .pt), which can run code when it is read and is not "
                "read here; convert it in Python: "
                "safetensors.torch.save_file(torch.load(FILE, weights_only=True), OUT)",
                name);
    if (size == PREFIX && memcmp(first, lfs, PREFIX) == 0)
        return sl_fail(err, SL_BAD_DATA,
                "%s: this is a Git LFS pointer and not the file itself; fetch it with `git lfs pull`", name);
    return SL_OK;
}

/* read_at fills buffer from byte `offset` of the file. */
static enum sl_status read_at(
        const struct sl_safetensors *file, uint64_t offset, void *buffer, size_t size, struct sl_error *err)
{
    if (file->memory != NULL) {
        memcpy(buffer, file->memory + offset, size);
        return SL_OK;
    }
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(file->fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sl_fail_errno(err, "%s: cannot read", file->name);
        if (got == 0)
            return sl_fail(err, SL_BAD_DATA, "%s: truncated: the file ends at byte %llu", file->name,
                    (unsigned long long)(offset + done));
        done += (size_t)got;
    }
    return SL_OK;
}

/* load reads and checks the header of a file of `size` bytes. */
static enum sl_status load(struct sl_safetensors *file, uint64_t size, struct sl_error *err)
{
    unsigned char prefix[PREFIX] = {0};
    size_t have = size < PREFIX ? (size_t)size : PREFIX;
    enum sl_status s = read_at(file, 0, prefix, have, err);
    if (s == SL_OK)
        s = refuse_other_format(file->name, (const char *)prefix, have, err);
    if (s != SL_OK)
        return s;
    if (have < PREFIX)
        return sl_fail(err, SL_BAD_DATA, "%s: %llu bytes are too few for a safetensors file", file->name,
                (unsigned long long)size);
    uint64_t header = 0;
    for (int i = PREFIX - 1; i >= 0; i--)
        header = header << 8 | prefix[i];
    if (header > SL_SAFETENSORS_HEADER_MAX)
        return sl_fail(err, SL_BAD_DATA,
                "%s: not a safetensors file, or damaged: a header of %llu bytes (at most %u)", file->name,
                (unsigned long long)header, SL_SAFETENSORS_HEADER_MAX);
    if (header > size - PREFIX)
        return sl_fail(err, SL_BAD_DATA, "%s: truncated: the header has %llu bytes, the file %llu",
                file->name, (unsigned long long)header, (unsigned long long)size);
    SL_AUTO_FREE char *text = sl_alloc((size_t)header, 1);
    file->strings = sl_alloc((size_t)header + 1, 1);
    if (text == NULL || file->strings == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory for a header of %llu bytes", file->name,
                (unsigned long long)header);
    s = read_at(file, PREFIX, text, (size_t)header, err);
    if (s != SL_OK)
        return s;
    file->data_begin = PREFIX + header;
    file->data_size = size - file->data_begin;
    s = sl_safetensors_parse(file, text, (size_t)header, err);
    return s == SL_OK ? build_index(file, err) : s;
}

static enum sl_status create(struct sl_safetensors **ret_file, const char *name, struct sl_error *err)
{
    struct sl_safetensors *file = sl_alloc(1, sizeof(*file));
    if (file == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory", name);
    file->fd = -1;
    file->name = sl_strdup(name);
    if (file->name == NULL) {
        sl_safetensors_close(file);
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory", name);
    }
    *ret_file = file;
    return SL_OK;
}

enum sl_status sl_safetensors_open(struct sl_safetensors **ret_file, const char *path, struct sl_error *err)
{
    SL_AUTO(sl_safetensors_close_auto) struct sl_safetensors *file = NULL;
    enum sl_status s = create(&file, path, err);
    if (s != SL_OK)
        return s;
    struct stat stat = {0};
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &stat) != 0)
        return sl_fail_errno(err, "cannot open %s", path);
    if (!S_ISREG(stat.st_mode))
        return sl_fail(err, SL_BAD_DATA, "%s: not a regular file", path);
    s = load(file, (uint64_t)stat.st_size, err);
    if (s == SL_OK)
        *ret_file = SL_TAKE(file);
    return s;
}

enum sl_status sl_safetensors_open_memory(struct sl_safetensors **ret_file, const void *bytes, size_t size,
        const char *name, struct sl_error *err)
{
    SL_AUTO(sl_safetensors_close_auto) struct sl_safetensors *file = NULL;
    enum sl_status s = create(&file, name, err);
    if (s != SL_OK)
        return s;
    file->memory = size == 0 ? "" : bytes;
    s = load(file, size, err);
    if (s == SL_OK)
        *ret_file = SL_TAKE(file);
    return s;
}

void sl_safetensors_close(struct sl_safetensors *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        (void)close(file->fd);
    sl_free(file->name);
    sl_free(file->strings);
    sl_free(file->tensors);
    sl_free(file->by_name);
    sl_free(file->metadata);
    sl_free(file);
}

void sl_safetensors_close_auto(struct sl_safetensors **file)
{
    sl_safetensors_close(*file);
}

/* queries */

int sl_safetensors_count(const struct sl_safetensors *file)
{
    return file->count;
}

const struct sl_tensor *sl_safetensors_at(const struct sl_safetensors *file, int index)
{
    return &file->tensors[index];
}

const struct sl_tensor *sl_safetensors_find(const struct sl_safetensors *file, const char *name)
{
    int low = 0, high = file->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct sl_tensor *tensor = &file->tensors[file->by_name[middle]];
        int order = strcmp(name, tensor->name);
        if (order == 0)
            return tensor;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *sl_safetensors_metadata(const struct sl_safetensors *file, const char *key)
{
    for (int i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    return NULL;
}

/* reading */

float sl_half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000U) << 16, exponent = half >> 10 & 0x1FU, fraction = half & 0x3FFU;
    uint32_t bits = 0;
    if (exponent == 0x1F) {
        bits = 0x7F800000U | fraction << 13;
    } else if (exponent != 0) {
        bits = (exponent + 112) << 23 | fraction << 13;
    } else if (fraction != 0) {
        /* subnormal: shift until the leading bit is the implicit one */
        uint32_t shift = (uint32_t)__builtin_clz(fraction) - 21;
        bits = (113 - shift) << 23 | (fraction << (13 + shift) & 0x7FFFFFU);
    }
    bits |= sign;
    float value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float element_f32(enum sl_dtype dtype, const char *at)
{
    uint16_t half = 0;
    uint32_t bits = 0;
    float single = 0;
    double wide = 0;
    switch (dtype) {
    case SL_DTYPE_F64:
        memcpy(&wide, at, sizeof(wide));
        return (float)wide;
    case SL_DTYPE_F16:
        memcpy(&half, at, sizeof(half));
        return sl_half_to_float(half);
    case SL_DTYPE_BF16:
        memcpy(&half, at, sizeof(half));
        bits = (uint32_t)half << 16;
        memcpy(&single, &bits, sizeof(single));
        return single;
    default:
        memcpy(&single, at, sizeof(single));
        return single;
    }
}

enum sl_status sl_safetensors_read(const struct sl_safetensors *file, const struct sl_tensor *tensor,
        void *buffer, size_t size, struct sl_error *err)
{
    if (size != tensor->size)
        return sl_fail(err, SL_BAD_DATA, "%s: tensor \"%.*s\" has %llu bytes, not %zu", file->name, SHOWN_MAX,
                tensor->name, (unsigned long long)tensor->size, size);
    return read_at(file, file->data_begin + tensor->offset, buffer, size, err);
}

enum sl_status sl_safetensors_read_range(const struct sl_safetensors *file, const struct sl_tensor *tensor,
        uint64_t offset, void *buffer, size_t size, struct sl_error *err)
{
    assert(offset <= tensor->size && size <= tensor->size - offset);
    return read_at(file, file->data_begin + tensor->offset + offset, buffer, size, err);
}

static enum sl_status check_count(
        const struct sl_safetensors *file, const struct sl_tensor *tensor, size_t count, struct sl_error *err)
{
    if (count == tensor->count)
        return SL_OK;
    return sl_fail(err, SL_BAD_DATA, "%s: tensor \"%.*s\" has %llu elements, not %zu", file->name, SHOWN_MAX,
            tensor->name, (unsigned long long)tensor->count, count);
}

enum sl_status sl_safetensors_read_f32(const struct sl_safetensors *file, const struct sl_tensor *tensor,
        float *values, size_t count, struct sl_error *err)
{
    enum sl_status s = check_count(file, tensor, count, err);
    if (s != SL_OK)
        return s;
    if (tensor->dtype == SL_DTYPE_F32)
        return sl_safetensors_read(file, tensor, values, count * sizeof(float), err);
    if (tensor->dtype != SL_DTYPE_F64 && tensor->dtype != SL_DTYPE_F16 && tensor->dtype != SL_DTYPE_BF16)
        return sl_fail(err, SL_BAD_DATA, "%s: tensor \"%.*s\" is %s: expected F32, F64, F16 or BF16",
                file->name, SHOWN_MAX, tensor->name, sl_dtype_name(tensor->dtype));
    size_t element = sl_dtype_size(tensor->dtype), chunk = CHUNK / element;
    SL_AUTO_FREE char *buffer = sl_alloc(CHUNK, 1);
    if (buffer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory", file->name);
    for (size_t done = 0; done < count; done += chunk) {
        size_t now = count - done < chunk ? count - done : chunk;
        s = read_at(file, file->data_begin + tensor->offset + done * element, buffer, now * element, err);
        if (s != SL_OK)
            return s;
        for (size_t i = 0; i < now; i++)
            values[done + i] = element_f32(tensor->dtype, buffer + i * element);
    }
    return SL_OK;
}

/* element_i64 widens one element; false when a U64 does not fit. */
static bool element_i64(enum sl_dtype dtype, const char *at, int64_t *ret_value)
{
    size_t size = sl_dtype_size(dtype);
    uint64_t raw = 0;
    memcpy(&raw, at, size);
    bool is_signed = dtype >= SL_DTYPE_I8 && dtype <= SL_DTYPE_I64;
    if (is_signed && size < 8) {
        uint64_t sign = (uint64_t)1 << (size * 8 - 1);
        raw = (raw ^ sign) - sign;
    }
    *ret_value = (int64_t)raw;
    return is_signed || *ret_value >= 0;
}

enum sl_status sl_safetensors_read_i64(const struct sl_safetensors *file, const struct sl_tensor *tensor,
        int64_t *values, size_t count, struct sl_error *err)
{
    enum sl_status s = check_count(file, tensor, count, err);
    if (s != SL_OK)
        return s;
    if (tensor->dtype < SL_DTYPE_I8)
        return sl_fail(err, SL_BAD_DATA, "%s: tensor \"%.*s\" is %s: expected an integer dtype", file->name,
                SHOWN_MAX, tensor->name, sl_dtype_name(tensor->dtype));
    size_t element = sl_dtype_size(tensor->dtype), chunk = CHUNK / element;
    SL_AUTO_FREE char *buffer = sl_alloc(CHUNK, 1);
    if (buffer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "%s: out of memory", file->name);
    for (size_t done = 0; done < count; done += chunk) {
        size_t now = count - done < chunk ? count - done : chunk;
        s = read_at(file, file->data_begin + tensor->offset + done * element, buffer, now * element, err);
        if (s != SL_OK)
            return s;
        for (size_t i = 0; i < now; i++)
            if (!element_i64(tensor->dtype, buffer + i * element, &values[done + i]))
                return sl_fail(err, SL_BAD_DATA, "%s: tensor \"%.*s\": element %zu does not fit 63 bits",
                        file->name, SHOWN_MAX, tensor->name, done + i);
    }
    return SL_OK;
}
