#pragma once
/* Resizing a square grid of vectors: position embeddings of one image size made to fit another.
 *
 *     ps_bicubic_resize(to, 24, from, 14, hidden);     // 14 x 14 patches become 24 x 24
 *
 * The same numbers as PyTorch's interpolate(mode="bicubic", align_corners=False, antialias=False), as
 * Hugging Face resizes the positions of a ViT, but for rounding: sums are taken in double here.
 */

/* ps_bicubic_resize fills to from from. Shapes: to (to_side, to_side, dim), from (from_side, from_side, dim),
 * sides and dim >= 1; the two do not overlap. Source: Keys 1981, with a = -0.75. */
void ps_bicubic_resize(float *to, int to_side, const float *from, int from_side, int dim);
