/* See features.h. */
#include "worker/dataset/features.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/npy.h"
#include "common/safetensors.h"
#include "worker/dataset/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct wk_features {
    char *path;         /* of the file that is open */
    struct sl_npy *npy; /* one of the two */
    struct sl_safetensors *tensors;
};

/* What a sample's array is inside its file. */
struct span {
    int64_t first, items, width; /* first number; rows; numbers of a row */
    struct sl_tensor tensor;     /* the part that is meant, or all zero for an .npy */
};

enum sl_status wk_features_create(struct wk_features **ret_features, struct sl_error *err)
{
    *ret_features = sl_alloc(1, sizeof(**ret_features));
    return *ret_features != NULL ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory");
}

static void close_file(struct wk_features *features)
{
    sl_npy_close(features->npy);
    sl_safetensors_close(features->tensors);
    sl_free(features->path);
    memset(features, 0, sizeof(*features));
}

void wk_features_destroy(struct wk_features *features)
{
    if (features == NULL)
        return;
    close_file(features);
    sl_free(features);
}

/* Whatever its name, a file that begins as .npy is one. */
static enum sl_status is_npy(bool *ret_npy, const char *path, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sl_fail(err, SL_BAD_DATA, "cannot open %s: %s", path, strerror(errno));
    char magic[6];
    *ret_npy = pread(fd, magic, sizeof(magic), 0) == (ssize_t)sizeof(magic) &&
               memcmp(magic, "\x93NUMPY", sizeof(magic)) == 0;
    return SL_OK;
}

static enum sl_status open_file(struct wk_features *features, const char *path, struct sl_error *err)
{
    if (features->path != NULL && strcmp(features->path, path) == 0)
        return SL_OK;
    close_file(features);
    bool npy = false;
    enum sl_status status = is_npy(&npy, path, err);
    if (status == SL_OK)
        status = npy ? sl_npy_open(&features->npy, path, err)
                     : sl_safetensors_open(&features->tensors, path, err);
    if (status == SL_OK && (features->path = sl_strdup(path)) == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (status != SL_OK)
        close_file(features);
    return status;
}

/* "(25, 24, 40)" */
static const char *describe(char *text, size_t size, const int64_t *shape, int rank)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i > 0 ? ", " : "", (long long)shape[i]);
    if (used < size)
        (void)snprintf(text + used, size - used, ")");
    return text;
}

/* What the config wants of a sample's array: rows of `input` numbers, which the last dimensions make up, or token ids, which are one row of any length: input 0. */
enum sl_status wk_features_shape(int64_t *ret_items, int64_t *ret_width, const int64_t *shape, int rank,
        int input, const char *path, struct sl_error *err)
{
    char text[160];
    if (input == 0 && rank != 1)
        return sl_fail(err, SL_BAD_DATA,
                "%s: a sample's token ids have %d dimensions, expected (tokens); for one of a stack give its "
                "\"row\"",
                path, rank);
    int split = rank; /* the dimensions from here on are one row */
    int64_t width = 1, items = 1;
    while (split > 0 && (input == 0 || width != input))
        if (__builtin_mul_overflow(width, shape[--split], &width))
            return sl_fail(err, SL_BAD_DATA, "%s: the array's shape is too large", path);
    if (rank < 1 || (input > 0 && width != input))
        return sl_fail(err, SL_BAD_DATA,
                "%s: a sample's array is %s, no dimensions at its end make up the config's `in` of %d", path,
                describe(text, sizeof(text), shape, rank), input);
    for (int i = 0; i < split; i++)
        if (__builtin_mul_overflow(items, shape[i], &items))
            return sl_fail(err, SL_BAD_DATA, "%s: the array's shape is too large", path);
    if (items < 1 || width < 1)
        return sl_fail(err, SL_BAD_DATA, "%s: the array has no %s", path, items < 1 ? "rows" : "numbers");
    if (width > WK_FEATURES_MAX || items > WK_FEATURES_MAX / width)
        return sl_fail(err, SL_BAD_DATA,
                "%s: a sample's array has more than %d numbers; for one of a stack give its \"row\"", path,
                WK_FEATURES_MAX);
    *ret_items = items;
    *ret_width = width;
    return SL_OK;
}

/* The whole array, or one row of a stack of them, whose first dimension is the sample. */
static enum sl_status find_part(struct span *span, const int64_t *shape, int rank, int64_t row, int input,
        const char *path, struct sl_error *err)
{
    if (row < 0)
        return wk_features_shape(&span->items, &span->width, shape, rank, input, path, err);
    if (rank < 1 || row >= shape[0])
        return sl_fail(err, SL_BAD_DATA, "%s: row %lld is asked for, it has %lld", path, (long long)row,
                (long long)(rank < 1 ? 0 : shape[0]));
    enum sl_status status =
            wk_features_shape(&span->items, &span->width, shape + 1, rank - 1, input, path, err);
    if (status == SL_OK)
        span->first = row * span->items * span->width;
    return status;
}

static enum sl_status find_tensor(struct span *span, const struct wk_features *features,
        const struct wk_manifest_array *array, int input, struct sl_error *err)
{
    if (array->name == NULL && sl_safetensors_count(features->tensors) != 1)
        return sl_fail(err, SL_BAD_DATA, "%s holds %d tensors; say which with \"name\"", features->path,
                sl_safetensors_count(features->tensors));
    const struct sl_tensor *tensor = array->name == NULL
                                             ? sl_safetensors_at(features->tensors, 0)
                                             : sl_safetensors_find(features->tensors, array->name);
    if (tensor == NULL)
        return sl_fail(err, SL_BAD_DATA, "%s has no tensor \"%.200s\"", features->path, array->name);
    enum sl_status status =
            find_part(span, tensor->shape, tensor->rank, array->row, input, features->path, err);
    if (status != SL_OK)
        return status;
    span->tensor = *tensor;
    span->tensor.count = (uint64_t)(span->items * span->width);
    span->tensor.size = span->tensor.count * sl_dtype_size(tensor->dtype);
    span->tensor.offset += (uint64_t)span->first * sl_dtype_size(tensor->dtype);
    return SL_OK;
}

static enum sl_status find_span(struct span *span, struct wk_features *features, const char *dir,
        const struct wk_manifest_array *array, int input, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, array->path);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = open_file(features, path, err);
    if (status != SL_OK)
        return status;
    if (features->npy == NULL)
        return find_tensor(span, features, array, input, err);
    if (array->name != NULL)
        return sl_fail(err, SL_BAD_DATA,
                "%s is an .npy file, which has no \"name\"; give a \"row\" or nothing", features->path);
    const struct sl_npy_header *header = sl_npy_header(features->npy);
    return find_part(span, header->shape, header->rank, array->row, input, features->path, err);
}

/* ---- numbers ---- */

/* Integers are numbers too: pixels, counts. */
static enum sl_status read_numbers(
        float *values, const struct wk_features *features, const struct span *span, struct sl_error *err)
{
    size_t count = (size_t)(span->items * span->width);
    if (features->npy != NULL)
        return sl_npy_read(features->npy, span->first, (int64_t)count, values, err);
    if (span->tensor.dtype < SL_DTYPE_I8)
        return sl_safetensors_read_f32(features->tensors, &span->tensor, values, count, err);
    SL_AUTO_FREE int64_t *integers = sl_alloc(count, sizeof(*integers));
    if (integers == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_safetensors_read_i64(features->tensors, &span->tensor, integers, count, err);
    for (size_t i = 0; i < count && status == SL_OK; i++)
        values[i] = (float)integers[i];
    return status;
}

static enum sl_status check_finite(const float *values, const struct wk_features *features,
        const struct span *span, struct sl_error *err)
{
    for (int64_t i = 0; i < span->items * span->width; i++) {
        if (!isfinite(values[i]))
            return sl_fail(err, SL_BAD_DATA, "%s: row %lld, number %lld of the array is not finite",
                    features->path, (long long)(i / span->width), (long long)(i % span->width));
    }
    return SL_OK;
}

enum sl_status wk_features_read(struct wk_features *features, const char *dir,
        const struct wk_manifest_array *array, int input, int max_items, float **ret_values, int *ret_items,
        struct sl_error *err)
{
    struct span span = {0};
    enum sl_status status = find_span(&span, features, dir, array, input, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE float *values = sl_alloc((size_t)span.items * (size_t)input, sizeof(*values));
    if (values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    status = read_numbers(values, features, &span, err);
    if (status == SL_OK)
        status = check_finite(values, features, &span, err);
    if (status != SL_OK)
        return status;
    int items = (int)span.items, kept = items < max_items ? items : max_items;
    for (int k = 0; k < kept && kept < items; k++) /* forwards: the source is never before the target */
        memmove(values + (size_t)k * (size_t)input,
                values + (size_t)wk_choose_evenly(k, kept, items) * (size_t)input,
                (size_t)input * sizeof(*values));
    *ret_values = SL_TAKE(values);
    *ret_items = kept;
    return SL_OK;
}

/* ---- token ids ---- */

/* An .npy is read as float32, which holds every id that a vocabulary can have. */
static enum sl_status read_ids(
        int64_t *ids, const struct wk_features *features, const struct span *span, struct sl_error *err)
{
    size_t count = (size_t)span->width;
    if (features->npy == NULL)
        return sl_safetensors_read_i64(features->tensors, &span->tensor, ids, count, err);
    enum sl_npy_type type = sl_npy_header(features->npy)->type;
    if (type < SL_NPY_I1 || type > SL_NPY_U8)
        return sl_fail(err, SL_BAD_DATA, "%s: token ids are %s, expected whole numbers such as int32",
                features->path, sl_npy_type_name(type));
    SL_AUTO_FREE float *values = sl_alloc(count, sizeof(*values));
    if (values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_npy_read(features->npy, span->first, (int64_t)count, values, err);
    for (size_t i = 0; i < count && status == SL_OK; i++)
        ids[i] = fabsf(values[i]) < 0x1p24F ? (int64_t)values[i] : INT32_MAX; /* no vocabulary has it */
    return status;
}

enum sl_status wk_features_frame_tokens(const int64_t *ids, int64_t count, const struct wk_vocab *vocab,
        int max_tokens, const char *name, int32_t **ret_tokens, int *ret_count, struct sl_error *err)
{
    SL_AUTO_FREE int32_t *tokens = sl_alloc((size_t)max_tokens, sizeof(*tokens));
    if (tokens == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int32_t pad = wk_vocab_special(vocab, WK_SPECIAL_PAD), cls = wk_vocab_special(vocab, WK_SPECIAL_CLS),
            sep = wk_vocab_special(vocab, WK_SPECIAL_SEP);
    int64_t used = count;
    while (used > 0 && ids[used - 1] == pad)
        used--;
    while (used > 0 && ids[used - 1] == sep) /* it is put back at the end of what is kept */
        used--;
    int64_t first = used > 0 && ids[0] == cls ? 1 : 0;
    int kept = 0;
    tokens[kept++] = cls;
    for (int64_t i = first; i < used; i++) {
        if (ids[i] < 0 || ids[i] >= wk_vocab_size(vocab))
            return sl_fail(err, SL_BAD_DATA,
                    "%s: token %lld is id %lld, the vocabulary has %d: were the ids made with another one?",
                    name, (long long)i, (long long)ids[i], wk_vocab_size(vocab));
        if (kept < max_tokens - 1)
            tokens[kept++] = (int32_t)ids[i];
    }
    tokens[kept++] = sep;
    *ret_tokens = SL_TAKE(tokens);
    *ret_count = kept;
    return SL_OK;
}

enum sl_status wk_features_read_tokens(struct wk_features *features, const char *dir,
        const struct wk_manifest_array *array, const struct wk_vocab *vocab, int max_tokens,
        int32_t **ret_tokens, int *ret_count, struct sl_error *err)
{
    struct span span = {0};
    enum sl_status status = find_span(&span, features, dir, array, 0, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE int64_t *ids = sl_alloc((size_t)span.width, sizeof(*ids));
    if (ids == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    status = read_ids(ids, features, &span, err);
    if (status != SL_OK)
        return status;
    return wk_features_frame_tokens(
            ids, span.width, vocab, max_tokens, features->path, ret_tokens, ret_count, err);
}
