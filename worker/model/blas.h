#pragma once
/* BLAS as this program needs it: on one thread, and with the kernels that the CPU deserves.
 *
 * OpenBLAS chooses its kernels while it is loaded, by a list of CPUs that it knows. On one that is newer than
 * the list it falls back to those for SSE3, which are four to five times slower than what the CPU can do.
 * OPENBLAS_CORETYPE in the environment overrules it, but only before the program is loaded: so the program
 * starts itself once more. The same for OPENBLAS_NUM_THREADS: threads that OpenBLAS starts while it is loaded have
 * no signal blocked and would take those that are meant for the loop.
 *
 *     int main(int argc, char **argv)
 *     {
 *         wk_blas_restart(argv);      // first of all; returns at once where nothing is to be gained
 *
 * The bits of a product depend on the kernels, so all workers of a run should report the same wk_blas_core().
 */
#include <stddef.h>

/* wk_blas_single makes BLAS use one thread, for the whole process where its threading allows that, else for
 * the calling thread: bits would depend on the thread count, and the program's own threads fill the cores.
 * Cheap after the first call on a thread. */
void wk_blas_single(void);

/* wk_blas_core is the name of the kernels in use, such as "Haswell". Never NULL. */
const char *wk_blas_core(void);

/* wk_blas_core_wish gives the name of the kernels that this CPU should have, or NULL where those in use are
 * as good or OPENBLAS_CORETYPE says what the user wants. */
const char *wk_blas_core_wish(void);

/* wk_blas_restart starts the program again with the wished kernels, on one BLAS thread, in this process; it
 * returns where there is no wish or the start fails, and then the program is right but slower. Call it before
 * anything is open and any thread runs. */
void wk_blas_restart(char *const argv[]);
