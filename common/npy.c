/* Reading and writing .npy: see npy.h. The header is a Python dict literal of three keys; only the subset
 * that NumPy writes is accepted. */
#include "common/npy.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/safetensors.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 4096 /* numbers converted at a time */

struct sl_npy {
    struct sl_npy_header header;
    int fd;
    char *path;
};

static const struct type_info {
    const char *descr; /* without the byte order */
    int size;
    const char *name;
} type_table[] = {
        [SL_NPY_F2] = {"f2", 2, "float16"},
        [SL_NPY_F4] = {"f4", 4, "float32"},
        [SL_NPY_F8] = {"f8", 8, "float64"},
        [SL_NPY_I1] = {"i1", 1, "int8"},
        [SL_NPY_I2] = {"i2", 2, "int16"},
        [SL_NPY_I4] = {"i4", 4, "int32"},
        [SL_NPY_I8] = {"i8", 8, "int64"},
        [SL_NPY_U1] = {"u1", 1, "uint8"},
        [SL_NPY_U2] = {"u2", 2, "uint16"},
        [SL_NPY_U4] = {"u4", 4, "uint32"},
        [SL_NPY_U8] = {"u8", 8, "uint64"},
        [SL_NPY_BOOL] = {"b1", 1, "bool"},
};

const char *sl_npy_type_name(enum sl_npy_type type)
{
    if ((size_t)type >= sizeof(type_table) / sizeof(type_table[0]))
        return "unknown";
    return type_table[type].name;
}

/* The dict literal between at and end. */
struct cursor {
    const char *at, *end;
};

static void skip_spaces(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t'))
        c->at++;
}

static bool accept(struct cursor *c, char wanted)
{
    skip_spaces(c);
    if (c->at >= c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool accept_word(struct cursor *c, const char *word)
{
    skip_spaces(c);
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
        return false;
    c->at += length;
    return true;
}

/* A quoted text without escapes, into text with its 0. */
static bool accept_text(struct cursor *c, char *text, size_t capacity)
{
    skip_spaces(c);
    if (c->at >= c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    char quote = *c->at++;
    size_t length = 0;
    while (c->at < c->end && *c->at != quote) {
        if (length + 1 >= capacity || *c->at == '\\')
            return false;
        text[length++] = *c->at++;
    }
    text[length] = '\0';
    return accept(c, quote);
}

static bool accept_number(struct cursor *c, int64_t *ret_number)
{
    skip_spaces(c);
    const char *start = c->at;
    int64_t number = 0;
    while (c->at < c->end && isdigit((unsigned char)*c->at)) {
        if (__builtin_mul_overflow(number, 10, &number) ||
                __builtin_add_overflow(number, *c->at - '0', &number))
            return false;
        c->at++;
    }
    (void)accept_word(c, "L"); /* Python 2 wrote long numbers so */
    *ret_number = number;
    return c->at > start;
}

static bool accept_shape(struct cursor *c, struct sl_npy_header *header)
{
    if (!accept(c, '('))
        return false;
    header->rank = 0;
    while (!accept(c, ')')) {
        if (header->rank >= SL_NPY_RANK_MAX || !accept_number(c, &header->shape[header->rank]))
            return false;
        header->rank++;
        if (!accept(c, ',') && !(c->at < c->end && *c->at == ')'))
            return false;
    }
    return true;
}

static enum sl_status set_type(
        struct sl_npy_header *header, const char *descr, const char *name, struct sl_error *err)
{
    char order = descr[0];
    for (size_t i = 0; i < sizeof(type_table) / sizeof(type_table[0]); i++) {
        if (order == '\0' || strcmp(descr + 1, type_table[i].descr) != 0)
            continue;
        if (order != '<' && !((order == '|' || order == '=') && type_table[i].size == 1))
            return sl_fail(err, SL_BAD_DATA,
                    "%s: numbers of type '%s' are not little-endian; save it with astype('<f4')", name,
                    descr);
        header->type = (enum sl_npy_type)i;
        header->item_size = type_table[i].size;
        return SL_OK;
    }
    return sl_fail(err, SL_BAD_DATA, "%s: numbers of type '%s' cannot be read; save it with astype('<f4')",
            name, descr);
}

static enum sl_status parse_dict(
        struct sl_npy_header *header, struct cursor c, const char *name, struct sl_error *err)
{
    bool has_descr = false, has_order = false, has_shape = false;
    bool ok = accept(&c, '{');
    while (ok && !accept(&c, '}')) {
        char key[16], descr[16];
        ok = accept_text(&c, key, sizeof(key)) && accept(&c, ':');
        if (ok && strcmp(key, "descr") == 0 && !has_descr) {
            ok = has_descr = accept_text(&c, descr, sizeof(descr));
            enum sl_status status = ok ? set_type(header, descr, name, err) : SL_OK;
            if (status != SL_OK)
                return status;
        } else if (ok && strcmp(key, "fortran_order") == 0 && !has_order) {
            ok = has_order = true;
            if (accept_word(&c, "True"))
                return sl_fail(err, SL_BAD_DATA,
                        "%s: is in Fortran order; save it with numpy.ascontiguousarray", name);
            ok = accept_word(&c, "False");
        } else if (ok && strcmp(key, "shape") == 0 && !has_shape) {
            ok = has_shape = accept_shape(&c, header);
        } else {
            ok = false;
        }
        skip_spaces(&c);
        ok = ok && (accept(&c, ',') || (c.at < c.end && *c.at == '}'));
    }
    if (!ok || !has_descr || !has_order || !has_shape)
        return sl_fail(err, SL_BAD_DATA,
                "%s: the .npy header is damaged; expected descr, fortran_order and shape", name);
    return SL_OK;
}

static enum sl_status check_size(
        struct sl_npy_header *header, uint64_t file_size, const char *name, struct sl_error *err)
{
    int64_t count = 1;
    for (int i = 0; i < header->rank; i++) {
        if (__builtin_mul_overflow(count, header->shape[i], &count))
            return sl_fail(err, SL_BAD_DATA, "%s: the shape in the .npy header is too large", name);
    }
    int64_t bytes = 0, end = 0;
    if (__builtin_mul_overflow(count, header->item_size, &bytes) ||
            __builtin_add_overflow(bytes, (int64_t)header->data_offset, &end))
        return sl_fail(err, SL_BAD_DATA, "%s: the shape in the .npy header is too large", name);
    if ((uint64_t)end != file_size)
        return sl_fail(err, SL_BAD_DATA,
                "%s: its header asks for %lld bytes, the file has %llu; it is cut off or damaged", name,
                (long long)end, (unsigned long long)file_size);
    header->count = count;
    return SL_OK;
}

enum sl_status sl_npy_parse(struct sl_npy_header *ret_header, const void *bytes, size_t size,
        uint64_t file_size, const char *name, struct sl_error *err)
{
    const unsigned char *b = bytes;
    if (size < 10 || memcmp(b, "\x93NUMPY", 6) != 0)
        return sl_fail(err, SL_BAD_DATA, "%s is not a .npy file", name);
    if (b[6] < 1 || b[6] > 3)
        return sl_fail(
                err, SL_BAD_DATA, "%s: .npy format version %d is not known; versions 1 to 3 are", name, b[6]);
    size_t prefix = b[6] == 1 ? 10 : 12;
    if (size < prefix)
        return sl_fail(err, SL_BAD_DATA, "%s: the .npy header is cut off", name);
    size_t length = (size_t)b[8] | (size_t)b[9] << 8;
    if (b[6] > 1)
        length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (length > SL_NPY_HEADER_MAX || length > size - prefix)
        return sl_fail(err, SL_BAD_DATA, "%s: the .npy header is cut off or longer than %d bytes", name,
                SL_NPY_HEADER_MAX);
    struct sl_npy_header header = {.data_offset = prefix + length};
    struct cursor c = {(const char *)b + prefix, (const char *)b + prefix + length};
    enum sl_status status = parse_dict(&header, c, name, err);
    if (status == SL_OK)
        status = check_size(&header, file_size, name, err);
    if (status == SL_OK)
        *ret_header = header;
    return status;
}

enum sl_status sl_npy_open(struct sl_npy **ret_array, const char *path, struct sl_error *err)
{
    SL_AUTO(sl_npy_close_auto) struct sl_npy *array = sl_alloc(1, sizeof(*array));
    SL_AUTO_FREE unsigned char *start = sl_alloc(SL_NPY_HEADER_MAX + 12, 1);
    if (array != NULL)
        array->fd = -1;
    if (array == NULL || start == NULL || (array->path = sl_strdup(path)) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    array->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (array->fd < 0)
        return sl_fail_errno(err, "cannot open %s", path);
    struct stat info;
    if (fstat(array->fd, &info) != 0)
        return sl_fail_errno(err, "cannot read %s", path);
    if (!S_ISREG(info.st_mode))
        return sl_fail(err, SL_BAD_DATA, "%s is not a regular file", path);
    size_t size =
            (size_t)info.st_size < SL_NPY_HEADER_MAX + 12 ? (size_t)info.st_size : SL_NPY_HEADER_MAX + 12;
    enum sl_status status = sl_file_read_at(array->fd, start, size, 0, path, err);
    if (status == SL_OK)
        status = sl_npy_parse(&array->header, start, size, (uint64_t)info.st_size, path, err);
    if (status == SL_OK)
        *ret_array = SL_TAKE(array);
    return status;
}

void sl_npy_close(struct sl_npy *array)
{
    if (array == NULL)
        return;
    if (array->fd >= 0)
        (void)close(array->fd);
    sl_free(array->path);
    sl_free(array);
}

void sl_npy_close_auto(struct sl_npy **array)
{
    sl_npy_close(*array);
}

const struct sl_npy_header *sl_npy_header(const struct sl_npy *array)
{
    return &array->header;
}

#define CONVERT(type)                                                                                        \
    for (size_t i = 0; i < count; i++) {                                                                     \
        type value;                                                                                          \
        memcpy(&value, from + i * sizeof(type), sizeof(type));                                               \
        to[i] = (float)value;                                                                                \
    }                                                                                                        \
    break

static void convert(
        float *restrict to, const unsigned char *restrict from, size_t count, enum sl_npy_type type)
{
    switch (type) {
    case SL_NPY_F2:
        for (size_t i = 0; i < count; i++)
            to[i] = sl_half_to_float((uint16_t)(from[2 * i] | from[2 * i + 1] << 8));
        break;
    case SL_NPY_F4:
        CONVERT(float);
    case SL_NPY_F8:
        CONVERT(double);
    case SL_NPY_I1:
        CONVERT(int8_t);
    case SL_NPY_I2:
        CONVERT(int16_t);
    case SL_NPY_I4:
        CONVERT(int32_t);
    case SL_NPY_I8:
        CONVERT(int64_t);
    case SL_NPY_U1:
    case SL_NPY_BOOL:
        CONVERT(uint8_t);
    case SL_NPY_U2:
        CONVERT(uint16_t);
    case SL_NPY_U4:
        CONVERT(uint32_t);
    case SL_NPY_U8:
        CONVERT(uint64_t);
    }
}

enum sl_status sl_npy_read(
        const struct sl_npy *array, int64_t first, int64_t count, float *ret_values, struct sl_error *err)
{
    const struct sl_npy_header *header = &array->header;
    if (first < 0 || count < 0 || first > header->count || count > header->count - first)
        return sl_fail(err, SL_USAGE, "%s: numbers %lld to %lld are asked for, it has %lld", array->path,
                (long long)first, (long long)(first + count), (long long)header->count);
    unsigned char piece[PIECE * 8];
    for (int64_t done = 0; done < count;) {
        size_t n = count - done < PIECE ? (size_t)(count - done) : PIECE;
        int64_t offset = (int64_t)header->data_offset + (first + done) * header->item_size;
        enum sl_status status =
                sl_file_read_at(array->fd, piece, n * (size_t)header->item_size, offset, array->path, err);
        if (status != SL_OK)
            return status;
        convert(ret_values + done, piece, n, header->type);
        done += (int64_t)n;
    }
    return SL_OK;
}

void sl_npy_convert(const struct sl_npy_header *header, const void *bytes, float *ret_values)
{
    convert(ret_values, (const unsigned char *)bytes + header->data_offset, (size_t)header->count,
            header->type);
}

enum sl_status sl_npy_write(
        const char *path, const float *values, int rank, const int64_t *shape, struct sl_error *err)
{
    if (rank < 0 || rank > SL_NPY_RANK_MAX)
        return sl_fail(err, SL_USAGE, "%s: an array of %d dimensions cannot be written; at most %d can", path,
                rank, SL_NPY_RANK_MAX);
    char dict[256];
    size_t used = (size_t)snprintf(dict, sizeof(dict), "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        used += (size_t)snprintf(dict + used, sizeof(dict) - used, "%s%lld%s", i > 0 ? " " : "",
                (long long)shape[i], rank == 1 || i + 1 < rank ? "," : "");
        count *= (size_t)shape[i];
    }
    used += (size_t)snprintf(dict + used, sizeof(dict) - used, "), }");
    size_t total = (10 + used + 1 + 63) / 64 * 64;
    SL_AUTO_FREE char *bytes = sl_alloc(total + count * sizeof(float), 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    memset(bytes, ' ', total);
    memcpy(bytes, "\x93NUMPY\x01\x00", 8);
    bytes[8] = (char)((total - 10) & 255);
    bytes[9] = (char)((total - 10) >> 8);
    memcpy(bytes + 10, dict, used);
    bytes[total - 1] = '\n';
    if (count > 0)
        memcpy(bytes + total, values, count * sizeof(float));
    return sl_file_write_atomic(path, bytes, total + count * sizeof(float), err);
}
