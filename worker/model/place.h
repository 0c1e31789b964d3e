#pragma once
/* Where the parts of the model find their parameters in the flat vector, and which of them train. A backward pass computes nothing for frozen ones (their gradients stay as they were, which is zero) and ends where nothing below trains. */
#include "common/layout.h"

/* A parameter by itself. */
struct wk_place {
    size_t offset;
    bool frozen;
};

/* A LayerNorm; frozen where both are. */
struct wk_norm_at {
    size_t gamma, beta;
    bool frozen;
};

/* A linear layer. Several of the same input that follow each other (query, key and value) are one matrix, which is frozen where all of them are. */
struct wk_linear_at {
    size_t weight, bias;
    bool weight_frozen, bias_frozen;
};

/* They find parameters, which must exist (asserted), by prefix and name; name lacks ".weight" and ".bias" but for wk_place_find. packed: how many linear layers are one matrix, of which name is the first. */
struct wk_place wk_place_find(const struct sl_layout *layout, const char *prefix, const char *name);
struct wk_norm_at wk_place_norm(const struct sl_layout *layout, const char *prefix, const char *name);
struct wk_linear_at wk_place_linear(
        const struct sl_layout *layout, const char *prefix, const char *name, int packed);

static inline bool wk_linear_frozen(struct wk_linear_at at)
{
    return at.weight_frozen && at.bias_frozen;
}
