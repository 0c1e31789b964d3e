#pragma once
/* Activations that wait between a slot's forward pass and its backward pass (exchange early: the coefficients come in between), as many as fit into a limit. What is not
 * kept is computed again: the same parameters and samples, the same bits.
 *
 *     struct wk_activations own = …;                                  // a thread's workspace and batch, which the forward pass was run in
 *     wk_kept_put(kept, key, &own);                                   // keeps them and gives others for them, or leaves them: there is no room
 *     if (wk_kept_take(kept, key, &mine)) … backward …, wk_kept_return(kept, &mine);
 *
 * Memory is taken when it is first needed and used again from then on.
 * Thread: any; each holds what it took alone.
 */
#include "worker/model/model.h"

struct wk_kept;

/* A batch and the workspace in which its forward pass was run: they belong together. */
struct wk_activations {
    struct wk_workspace *workspace; /* NULL = none */
    struct wk_batch *batch;
    struct sl_step_stats stats;
};

/* Which forward pass it was. */
struct wk_activations_key {
    uint64_t parameters; /* names their values */
    int64_t step;
    uint32_t slot;
};

/* threads: of the largest team that will work with them. */
SL_MUST_USE enum sl_status wk_activations_init(struct wk_activations *activations,
        const struct wk_model *model, const struct sl_config *config, int threads, struct sl_error *err);
void wk_activations_fini(struct wk_activations *activations);

/* wk_kept_create: for up to size_max bytes, of activations for teams of up to `threads`. model and config outlive it. Owns: *ret_kept. */
SL_MUST_USE enum sl_status wk_kept_create(struct wk_kept **ret_kept, const struct wk_model *model,
        const struct sl_config *config, int threads, size_t size_max, struct sl_error *err);
void wk_kept_destroy(struct wk_kept *kept); /* nothing may be taken; NULL is fine */

/* wk_kept_put keeps *activations under the key, and replaces them by others whose contents do not matter. What is kept under other parameters or of another step is let go. Without room, or
 * memory, *activations stay as they are. */
void wk_kept_put(struct wk_kept *kept, struct wk_activations_key key, struct wk_activations *activations);
/* wk_kept_take gives what was put under the key, once. */
bool wk_kept_take(
        struct wk_kept *kept, struct wk_activations_key key, struct wk_activations *ret_activations);
/* wk_kept_return gives back what was taken, to be used again. */
void wk_kept_return(struct wk_kept *kept, struct wk_activations *activations);
