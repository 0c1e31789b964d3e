/* Threads and kernels of OpenBLAS: see blas.h. */
#include "worker/model/blas.h"

#include <cblas.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define OPENBLAS_BY_OPENMP 2
#define CORE_VARIABLE "OPENBLAS_CORETYPE"

void wk_blas_single(void)
{
    /* the OpenMP build keeps its thread count per calling thread, the others per process */
    static _Thread_local bool done;
    if (done)
        return;
    if (openblas_get_parallel() == OPENBLAS_BY_OPENMP || openblas_get_num_threads() != 1)
        openblas_set_num_threads(1);
    done = true;
}

const char *wk_blas_core(void)
{
    const char *name = openblas_get_corename();
    return name == NULL ? "unknown" : name;
}

#if defined(__x86_64__)

/* How wide the vectors of OpenBLAS's x86-64 kernels are: 2 AVX-512, 1 AVX2 with FMA, 0 less. */
static int width_of(const char *core)
{
    static const struct {
        const char *core;
        int width;
    } known[] = {{"SkylakeX", 2}, {"Cooperlake", 2}, {"SapphireRapids", 2}, {"Haswell", 1}, {"Zen", 1}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcasecmp(core, known[i].core) == 0)
            return known[i].width;
    return 0;
}

static const char *best_of_cpu(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512cd"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "Haswell";
    return NULL;
}

const char *wk_blas_core_wish(void)
{
    const char *best = best_of_cpu();
    if (getenv(CORE_VARIABLE) != NULL || best == NULL || width_of(wk_blas_core()) >= width_of(best))
        return NULL;
    /* a build for one CPU has no other kernels to choose from, and a newer OpenBLAS knows newer CPUs by names
     * that are not in the table: only the known fallbacks are overruled */
    static const char *const fallbacks[] = {
            "Prescott", "Core2", "Nehalem", "Sandybridge", "Haswell", "Barcelona", "Generic"};
    for (size_t i = 0; i < sizeof(fallbacks) / sizeof(fallbacks[0]); i++)
        if (strcasecmp(wk_blas_core(), fallbacks[i]) == 0)
            return best;
    return NULL;
}

#else

const char *wk_blas_core_wish(void)
{
    return NULL;
}

#endif

void wk_blas_restart(char *const argv[])
{
    const char *wish = wk_blas_core_wish(), *count = getenv("OPENBLAS_NUM_THREADS");
    /* OpenBLAS starts its threads before main, with no signal blocked: the kernel would hand them a SIGTERM that is meant for the loop, and it would kill the process
     * without a snapshot. Only the environment keeps it from starting them. */
    bool threads = openblas_get_num_threads() > 1 && (count == NULL || strcmp(count, "1") != 0);
    if (wish == NULL && !threads)
        return;
    /* each variable is also the sign that this has been tried: the second start finds them and goes on */
    if (wish != NULL && setenv(CORE_VARIABLE, wish, 1) != 0)
        return;
    if (setenv("OPENBLAS_NUM_THREADS", "1", 1) != 0 || setenv("OMP_NUM_THREADS", "1", 1) != 0)
        return;
    (void)execv("/proc/self/exe", argv);
}
