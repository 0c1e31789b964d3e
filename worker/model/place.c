/* Places of parameters: see place.h. */
#include "worker/model/place.h"

#include <assert.h>
#include <stdio.h>

/* `packed` parameters that follow each other, of which this is the first. */
static struct wk_place find(
        const struct sl_layout *layout, const char *prefix, const char *name, const char *suffix, int packed)
{
    char full[SL_PARAM_NAME_MAX];
    (void)snprintf(full, sizeof(full), "%s%s%s", prefix, name, suffix);
    int first = sl_layout_find(layout, full);
    assert(first >= 0 && first + packed <= layout->param_count);
    struct wk_place place = {layout->params[first].offset, true};
    for (int p = first; p < first + packed; p++)
        place.frozen = place.frozen && layout->params[p].frozen;
    return place;
}

struct wk_place wk_place_find(const struct sl_layout *layout, const char *prefix, const char *name)
{
    return find(layout, prefix, name, "", 1);
}

struct wk_norm_at wk_place_norm(const struct sl_layout *layout, const char *prefix, const char *name)
{
    struct wk_place gamma = find(layout, prefix, name, ".weight", 1),
                    beta = find(layout, prefix, name, ".bias", 1);
    return (struct wk_norm_at){gamma.offset, beta.offset, gamma.frozen && beta.frozen};
}

struct wk_linear_at wk_place_linear(
        const struct sl_layout *layout, const char *prefix, const char *name, int packed)
{
    struct wk_place weight = find(layout, prefix, name, ".weight", packed),
                    bias = find(layout, prefix, name, ".bias", packed);
    return (struct wk_linear_at){weight.offset, bias.offset, weight.frozen, bias.frozen};
}
