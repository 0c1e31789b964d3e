/* Picks the elementwise kernels for this CPU: see vector.h. */
#include "worker/model/vector.h"

#include "worker/model/vector_private.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const struct wk_vector *wk_vector_variant(int index)
{
    const struct wk_vector *found[3];
    int count = 0;
    found[count++] = &wk_vector_plain;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found[count++] = &wk_vector_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found[count++] = &wk_vector_avx512;
#endif
    return index >= 0 && index < count ? found[index] : NULL;
}

static const struct wk_vector *pick(void)
{
    const char *wish = getenv("SHELFLIFE_VECTOR");
    const struct wk_vector *best = NULL;
    for (int i = 0; wk_vector_variant(i) != NULL; i++) {
        best = wk_vector_variant(i);
        if (wish != NULL && strcmp(wish, best->name) == 0)
            return best;
    }
    return best;
}

const struct wk_vector *wk_vector(void)
{
    /* two threads that come here first at once find the same table: no lock needed */
    static const struct wk_vector *_Atomic picked;
    const struct wk_vector *v = atomic_load_explicit(&picked, memory_order_acquire);
    if (v == NULL) {
        v = pick();
        atomic_store_explicit(&picked, v, memory_order_release);
    }
    return v;
}
