/* The call of sgemm and its probe: see gemm.h. */
#include "worker/model/gemm.h"

#include <cblas.h>
#include <stdatomic.h>

static _Atomic(const struct wk_gemm_probe *) observer;

void wk_gemm_observe(const struct wk_gemm_probe *probe)
{
    atomic_store_explicit(&observer, probe, memory_order_release);
}

void wk_gemm(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a, size_t a_stride,
        const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add)
{
    const struct wk_gemm_probe *probe = atomic_load_explicit(&observer, memory_order_acquire);
    if (probe != NULL)
        probe->begin(probe->context);
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
            b_transposed ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1.0F, a,
            (blasint)a_stride, b, (blasint)b_stride, add ? 1.0F : 0.0F, c, (blasint)c_stride);
    if (probe != NULL)
        probe->end(probe->context, &(struct wk_gemm_shape){a_transposed, b_transposed, add, m, n, k});
}
