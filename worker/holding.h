#pragma once
/* What a worker's core holds of the parameters: of each block the version whose bits lie in memory, and of a pull what has come.
 *
 *     wk_holding_begin(&holding, version);                  // a pull of this version: nothing of it has come
 *     m->held = wk_holding_held(&holding, owners, rank);    // what is asked of a server may be relative to that
 *     if (wk_holding_take(&holding, params))
 *         … block params->block is there; holding.wanted < 0: all are, and holding.version is the oldest of them …
 *
 * A block is at one version or another, never between. What comes is written when it is taken, and only then held; so the caller takes nothing while parameters are read. A new holding holds
 * nothing, whatever the memory has.
 */
#include "common/error.h"
#include "common/layout.h"
#include "common/message.h"

struct wk_holding {
    const struct sl_layout *layout;
    float *params;       /* (layout->count,) */
    int64_t *held;       /* (block_count,): version of the bits in params, -1 = none */
    unsigned char *here; /* (block_count,): of the pull, 1 = it has come */
    int missing;         /* blocks of it that have not */
    int64_t wanted;      /* version that is being pulled, -1 = nothing is */
    int64_t version;     /* the oldest block of params, -1 = not whole: some are of a pull that is not over */
    uint64_t pulls;      /* so far; names the values of params while they are whole */
};

/* wk_holding_init holds nothing. Borrows layout and params, which nobody else writes. Errors: NO_MEMORY; fini it then too. */
SL_MUST_USE enum sl_status wk_holding_init(
        struct wk_holding *holding, const struct sl_layout *layout, float *params, struct sl_error *err);
void wk_holding_fini(struct wk_holding *holding);

/* wk_holding_begin begins a pull of this version or a newer one; what was left of the one before is let pass. */
void wk_holding_begin(struct wk_holding *holding, int64_t version);
/* wk_holding_overwrite says that parameters will be written: they are whole no more. The first block that is taken of a pull does it too. */
void wk_holding_overwrite(struct wk_holding *holding);
/* wk_holding_stop ends the pull: what comes of it from now on is let pass. */
void wk_holding_stop(struct wk_holding *holding);

/* wk_holding_held is the oldest version of the blocks of one server, -1 where one has none. Shapes: owners (block_count,), ranks. */
int64_t wk_holding_held(const struct wk_holding *holding, const int *owners, int rank);

/* wk_holding_take writes a block that came. False, and nothing is written: nothing is being pulled, an older version, a block out of range or that is here already, another size, or what changed since a version that
 * is not held. */
bool wk_holding_take(struct wk_holding *holding, const struct sl_message *params);
