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
#include <string.h>
#include <unistd.h>

struct wk_features {
    char *path;         /* of the file that is open */
    struct sl_npy *npy; /* one of the two */
    struct sl_safetensors *tensors;
};

/* What a sample's array is inside its file. */
struct span {
    int64_t first, items;           /* first number; rows */
    const struct sl_tensor *tensor; /* or NULL for an .npy */
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

/* (T, input) or (input,), given without leading dimension of a stack. */
static enum sl_status check_shape(
        int64_t *ret_items, const int64_t *shape, int rank, int input, const char *path, struct sl_error *err)
{
    if (rank < 1 || rank > 2)
        return sl_fail(err, SL_BAD_DATA,
                "%s: a sample's array has %d dimensions, expected (items, %d) or (%d)", path, rank, input,
                input);
    if (shape[rank - 1] != input)
        return sl_fail(err, SL_BAD_DATA, "%s: its rows have %lld numbers, the config's `in` is %d", path,
                (long long)shape[rank - 1], input);
    int64_t items = rank == 2 ? shape[0] : 1;
    if (items < 1)
        return sl_fail(err, SL_BAD_DATA, "%s: the array has no rows", path);
    if (items > WK_FEATURES_MAX / input)
        return sl_fail(err, SL_BAD_DATA,
                "%s: a sample's array has more than %d numbers; for one of a stack give its \"row\"", path,
                WK_FEATURES_MAX);
    *ret_items = items;
    return SL_OK;
}

static enum sl_status find_npy(struct span *span, const struct wk_features *features,
        const struct wk_manifest_array *array, int input, struct sl_error *err)
{
    const struct sl_npy_header *header = sl_npy_header(features->npy);
    if (array->name != NULL)
        return sl_fail(err, SL_BAD_DATA,
                "%s is an .npy file, which has no \"name\"; give a \"row\" or nothing", features->path);
    if (array->row < 0)
        return check_shape(&span->items, header->shape, header->rank, input, features->path, err);
    if (header->rank < 1 || array->row >= header->shape[0])
        return sl_fail(err, SL_BAD_DATA, "%s: row %lld is asked for, it has %lld", features->path,
                (long long)array->row, (long long)(header->rank < 1 ? 0 : header->shape[0]));
    enum sl_status status =
            check_shape(&span->items, header->shape + 1, header->rank - 1, input, features->path, err);
    if (status == SL_OK)
        span->first = array->row * span->items * input;
    return status;
}

static enum sl_status find_tensor(struct span *span, const struct wk_features *features,
        const struct wk_manifest_array *array, int input, struct sl_error *err)
{
    if (array->row >= 0)
        return sl_fail(err, SL_BAD_DATA,
                "%s: \"row\" is for .npy files; name the sample's tensor with \"name\"", features->path);
    if (array->name == NULL && sl_safetensors_count(features->tensors) != 1)
        return sl_fail(err, SL_BAD_DATA, "%s holds %d tensors; say which with \"name\"", features->path,
                sl_safetensors_count(features->tensors));
    span->tensor = array->name == NULL ? sl_safetensors_at(features->tensors, 0)
                                       : sl_safetensors_find(features->tensors, array->name);
    if (span->tensor == NULL)
        return sl_fail(err, SL_BAD_DATA, "%s has no tensor \"%.200s\"", features->path, array->name);
    return check_shape(&span->items, span->tensor->shape, span->tensor->rank, input, features->path, err);
}

static enum sl_status read_span(float *values, const struct wk_features *features, const struct span *span,
        int input, struct sl_error *err)
{
    size_t count = (size_t)span->items * (size_t)input;
    enum sl_status status =
            span->tensor != NULL
                    ? sl_safetensors_read_f32(features->tensors, span->tensor, values, count, err)
                    : sl_npy_read(features->npy, span->first, (int64_t)count, values, err);
    for (size_t i = 0; i < count && status == SL_OK; i++) {
        if (!isfinite(values[i]))
            status = sl_fail(err, SL_BAD_DATA, "%s: row %zu, number %zu of the array is not finite",
                    features->path, i / (size_t)input, i % (size_t)input);
    }
    return status;
}

enum sl_status wk_features_read(struct wk_features *features, const char *dir,
        const struct wk_manifest_array *array, int input, int max_items, float **ret_values, int *ret_items,
        struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, array->path);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    struct span span = {0};
    enum sl_status status = open_file(features, path, err);
    if (status == SL_OK)
        status = features->npy != NULL ? find_npy(&span, features, array, input, err)
                                       : find_tensor(&span, features, array, input, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE float *values = sl_alloc((size_t)span.items * (size_t)input, sizeof(*values));
    if (values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    status = read_span(values, features, &span, input, err);
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
