/* Folded gradients: see fold.h. */
#include "worker/model/fold.h"

#include "common/memory.h"
#include "common/search.h"

#include <assert.h>
#include <string.h>

enum sl_status wk_fold_create(
        struct wk_fold *ret_fold, const uint64_t *begin, int count, struct sl_error *err)
{
    struct wk_fold fold = {.count = count,
            .begin = sl_alloc((size_t)count + 1, sizeof(*fold.begin)),
            .place = sl_alloc((size_t)count, sizeof(*fold.place))};
    size_t longest[2] = {0};
    if (fold.begin == NULL || fold.place == NULL) {
        wk_fold_fini(&fold);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the plan of a gradient");
    }
    memcpy(fold.begin, begin, ((size_t)count + 1) * sizeof(*begin));
    for (int r = 0; r < count; r++)
        if (begin[r + 1] - begin[r] > longest[r % 2])
            longest[r % 2] = begin[r + 1] - begin[r];
    for (int r = 0; r < count; r++)
        fold.place[r] = r % 2 == 0 ? 0 : longest[0];
    fold.floats = longest[0] + longest[1];
    *ret_fold = fold;
    return SL_OK;
}

void wk_fold_fini(struct wk_fold *fold)
{
    sl_free(fold->begin);
    sl_free(fold->place);
    *fold = (struct wk_fold){0};
}

int wk_fold_range(const struct wk_fold *fold, size_t offset)
{
    assert(offset < fold->begin[fold->count]);
    return (int)sl_search_last(fold->begin, (uint32_t)fold->count, offset);
}

size_t wk_fold_place(const struct wk_fold *fold, size_t offset)
{
    int range = wk_fold_range(fold, offset);
    return fold->place[range] + (offset - fold->begin[range]);
}
