#pragma once
/* The feed-forward of a layer: linear, GELU, linear, without the last bias, which the kernel that follows
 * adds (add_norm). Serves ViT, BERT, the fusion and the features extractor.
 *
 * Only u, the first product without its bias, is kept: backward computes the activation once more while its
 * rows are in cache, which is cheaper than reading it from memory, and half the memory. */
#include "worker/model/kernels.h"

struct wk_ffn {
    size_t in, mid, out;
    struct wk_linear_at first, second;
};

static inline bool wk_ffn_frozen(const struct wk_ffn *ffn)
{
    return wk_linear_frozen(ffn->first) && wk_linear_frozen(ffn->second);
}

/* wk_ffn_scratch is the number of floats that forward (tags 0) or backward need besides their arguments. */
size_t wk_ffn_scratch(const struct wk_ffn *ffn, int tags);

/* wk_ffn_forward: u = h W₁ᵀ, y = GELU(u + b₁) W₂ᵀ. Training keeps all of u; else u needs room for one chunk:
 * wk_ffn_kept rows. Shapes: h (rows, in), u (rows, mid), y (rows, out). */
void wk_ffn_forward(const struct wk_run *run, const struct wk_ffn *ffn, float *y, float *u, const float *h,
        size_t rows, float *scratch);

/* wk_ffn_kept is the number of rows of u for up to `rows` rows. */
size_t wk_ffn_kept(const struct wk_ffn *ffn, size_t rows, bool training);

/* wk_ffn_backward adds the gradients of both layers, the last bias's too, of what is not frozen, and where dh is not NULL sets dh
 * (add: adds to it). dh may be dy with add. Inverts wk_ffn_forward. Shapes: dy (rows, out), dh (rows, in) per
 * tag, stacked. */
void wk_ffn_backward(const struct wk_run *run, const struct wk_tags *tags, const struct wk_ffn *ffn,
        float *dh, const float *dy, const float *h, const float *u, size_t rows, bool add, float *scratch);

/* wk_ffn_flops counts the matrix products of a forward (tags 0), or of a backward with so many tags. input: it has a dh. */
double wk_ffn_flops(const struct wk_ffn *ffn, size_t rows, int tags, bool input);
