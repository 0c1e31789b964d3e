/* The elementwise kernels on vectors of four lanes, in plain C with the compilers' vector types: for any CPU.
 */
#include "worker/model/vector_private.h"

#define LANES 4
#define TABLE wk_vector_plain
#define TABLE_NAME "plain"
#define TABLE_SGEMM NULL

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));

static inline vf splat(float x)
{
    return (vf){x, x, x, x};
}

static inline vf fma_(vf a, vf b, vf c)
{
    return a * b + c;
}

static inline vf max_(vf a, vf b)
{
    vi greater = a > b;
    return (vf)((greater & (vi)a) | (~greater & (vi)b));
}

static inline vf load_part(const float *p, size_t n)
{
    vf v = {0};
    for (size_t l = 0; l < n; l++)
        v[l] = p[l];
    return v;
}

static inline void store_part(float *p, vf v, size_t n)
{
    for (size_t l = 0; l < n; l++)
        p[l] = v[l];
}

#include "worker/model/vector_code.h"
