#pragma once
/* Reads the coefficients of modulation.form replay from their file, for balance.h, which is pure. */
#include "common/error.h"
#include "ps/balance.h"

/* ps_replay_load reads modulation.replay: an array of (steps, modalities), or one row of (modalities,), finite and not negative. Owns: *ret_replay, fini it.
 * Errors: NOT_FOUND, BAD_DATA, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_replay_load(
        struct ps_replay *ret_replay, const char *path, int modality_count, struct sl_error *err);
void ps_replay_fini(struct ps_replay *replay);
