/* The door to sgemm, ours or OpenBLAS's, and its probe: see gemm.h. */
#include "worker/model/gemm.h"

#include "common/memory.h"
#include "worker/model/sgemm.h"
#include "worker/model/vector.h"

#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define OWN_LEAST_COLUMNS                                                                                    \
    16 /* narrower products leave most of a vector empty; OpenBLAS has kernels for them */

static _Atomic(const struct wk_gemm_probe *) observer;

void wk_gemm_observe(const struct wk_gemm_probe *probe)
{
    atomic_store_explicit(&observer, probe, memory_order_release);
}

void wk_gemm_blas(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a,
        size_t a_stride, const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add)
{
    cblas_sgemm(CblasRowMajor, a_transposed ? CblasTrans : CblasNoTrans,
            b_transposed ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1.0F, a,
            (blasint)a_stride, b, (blasint)b_stride, add ? 1.0F : 0.0F, c, (blasint)c_stride);
}

/* ---- a thread's memory for packed panels ---- */

static pthread_key_t pack_key;
static pthread_once_t pack_once = PTHREAD_ONCE_INIT;
static bool pack_keyed;

static void make_key(void)
{
    pack_keyed = pthread_key_create(&pack_key, sl_free) == 0;
}

/* Made for a thread's first product and freed when it ends; NULL when there is no memory for it. */
static float *own_pack(void)
{
    static _Thread_local float *pack;
    if (pack != NULL)
        return pack;
    (void)pthread_once(&pack_once, make_key);
    float *made = pack_keyed ? sl_alloc_aligned(WK_SGEMM_DEPTH * WK_SGEMM_WIDTH, sizeof(*made)) : NULL;
    if (made == NULL || pthread_setspecific(pack_key, made) != 0) {
        sl_free(made);
        return NULL;
    }
    return pack = made;
}

/* Threads without memory of their own take turns: slower, the same bits. */
static pthread_mutex_t common_lock = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(SL_ALIGNMENT) float common_pack[WK_SGEMM_DEPTH * WK_SGEMM_WIDTH];

static void multiply(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a,
        size_t a_stride, const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add)
{
    wk_sgemm *own = wk_vector()->sgemm;
    if (own == NULL || n < OWN_LEAST_COLUMNS || k == 0) {
        wk_gemm_blas(a_transposed, b_transposed, c, c_stride, a, a_stride, b, b_stride, m, n, k, add);
        return;
    }
    float *pack = own_pack();
    if (pack == NULL)
        (void)pthread_mutex_lock(&common_lock);
    own(a_transposed, b_transposed, c, c_stride, a, a_stride, b, b_stride, m, n, k, add,
            pack == NULL ? common_pack : pack);
    if (pack == NULL)
        (void)pthread_mutex_unlock(&common_lock);
}

void wk_gemm(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a, size_t a_stride,
        const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add)
{
    const struct wk_gemm_probe *probe = atomic_load_explicit(&observer, memory_order_acquire);
    if (probe != NULL)
        probe->begin(probe->context);
    multiply(a_transposed, b_transposed, c, c_stride, a, a_stride, b, b_stride, m, n, k, add);
    if (probe != NULL)
        probe->end(probe->context, &(struct wk_gemm_shape){a_transposed, b_transposed, add, m, n, k});
}
