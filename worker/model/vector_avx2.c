/* The elementwise kernels on eight lanes, for CPUs with AVX2 and FMA: simd.cmake gives this file alone the
 * flags. */
#if defined(__x86_64__)
#include "worker/model/vector_private.h"

#include <immintrin.h>

#define LANES 8
#define TABLE wk_vector_avx2
#define TABLE_NAME "avx2"
#define TABLE_SGEMM NULL

typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));

static inline vf splat(float x)
{
    return (vf)_mm256_set1_ps(x);
}

static inline vf fma_(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

static inline vf max_(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}

static inline __m256i first(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf load_part(const float *p, size_t n)
{
    return (vf)_mm256_maskload_ps(p, first(n));
}

static inline void store_part(float *p, vf v, size_t n)
{
    _mm256_maskstore_ps(p, first(n), (__m256)v);
}

#include "worker/model/vector_code.h"
#else
extern int wk_vector_avx2_unused; /* a file may not be empty */
#endif
