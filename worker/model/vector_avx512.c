/* The elementwise kernels on sixteen lanes, for CPUs with AVX-512 (F, BW, DQ, VL): simd.cmake gives this file
 * alone the flags. */
#if defined(__x86_64__)
#include "worker/model/vector_private.h"

#include <immintrin.h>

#define LANES 16
#define TABLE wk_vector_avx512
#define TABLE_NAME "avx512"
#define TABLE_SGEMM wk_sgemm_avx512

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));

static inline vf splat(float x)
{
    return (vf)_mm512_set1_ps(x);
}

static inline vf fma_(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

static inline vf max_(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}

static inline __mmask16 first(size_t n)
{
    return (__mmask16)((1U << n) - 1U);
}

static inline vf load_part(const float *p, size_t n)
{
    return (vf)_mm512_maskz_loadu_ps(first(n), p);
}

static inline void store_part(float *p, vf v, size_t n)
{
    _mm512_mask_storeu_ps(p, first(n), (__m512)v);
}

#include "worker/model/vector_code.h"
#else
extern int wk_vector_avx512_unused; /* a file may not be empty */
#endif
