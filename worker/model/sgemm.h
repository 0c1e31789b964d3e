#pragma once
/* The house's own sgemm for CPUs with AVX-512. At the sizes of a slot's products it comes nearer to what the CPU can do than OpenBLAS, which packs both matrices of every
 * product: here the left one is read where it lies, and so is the right one where its rows are short and follow each other. After Goto and van de Geijn, Anatomy of
 * High-Performance Matrix Multiplication, 2008, and the micro-kernels of BLIS.
 *
 * Every element is added up over k in order, in runs whose length follows from k alone: its bits depend neither on m and n nor on where in the matrix it stands.
 */
#include <stdbool.h>
#include <stddef.h>

#define WK_SGEMM_DEPTH ((size_t)512) /* of a run over k, at most */
#define WK_SGEMM_WIDTH ((size_t)768) /* columns whose runs are packed at a time, at most */

/* A wk_sgemm does c = op(a) op(b), or += with add; k > 0. Rows of each matrix lie its stride apart, as stored. Shapes: c (m, n), op(a) (m, k), op(b) (k, n), pack
 * (WK_SGEMM_DEPTH, WK_SGEMM_WIDTH) at SL_ALIGNMENT, overwritten. */
typedef void wk_sgemm(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a,
        size_t a_stride, const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add,
        float *pack);

wk_sgemm wk_sgemm_avx512;
