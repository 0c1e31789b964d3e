/* Files of coefficients: see replay.h. */
#include "ps/replay.h"

#include "common/memory.h"
#include "common/npy.h"

#include <math.h>

#define REPLAY_MAX ((int64_t)1 << 26) /* numbers of a file */

enum sl_status ps_replay_load(
        struct ps_replay *ret_replay, const char *path, int modality_count, struct sl_error *err)
{
    SL_AUTO(sl_npy_close_auto) struct sl_npy *array = NULL;
    enum sl_status status = sl_npy_open(&array, path, err);
    if (status != SL_OK)
        return status;
    const struct sl_npy_header *header = sl_npy_header(array);
    if (header->rank < 1 || header->rank > 2 || header->shape[header->rank - 1] != modality_count ||
            header->count == 0 || header->count > REPLAY_MAX)
        return sl_fail(err, SL_BAD_DATA, "%s: modulation.replay expects an array of (steps, %d) coefficients",
                path, modality_count);
    size_t count = (size_t)header->count;
    SL_AUTO_FREE float *read = sl_alloc(count, sizeof(*read));
    SL_AUTO_FREE double *values = sl_alloc(count, sizeof(*values));
    if (read == NULL || values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu coefficients of %s", count, path);
    status = sl_npy_read(array, 0, header->count, read, err);
    for (size_t i = 0; i < count && status == SL_OK; i++) {
        values[i] = (double)read[i];
        if (!(values[i] >= 0.0 && isfinite(values[i])))
            status = sl_fail(err, SL_BAD_DATA, "%s: coefficient %g of row %zu is negative or not finite",
                    path, values[i], i / (size_t)modality_count);
    }
    if (status != SL_OK)
        return status;
    *ret_replay = (struct ps_replay){.values = SL_TAKE(values), .steps = header->count / modality_count};
    return SL_OK;
}

void ps_replay_fini(struct ps_replay *replay)
{
    sl_free(replay->values);
    *replay = (struct ps_replay){0};
}
