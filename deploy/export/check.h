#pragma once
/* Inputs with the logits that this program computes for them, so that whoever runs an export elsewhere can compare.
 *
 * FILE.check.safetensors has the inputs under the names, types and shapes of the ONNX graph (NAME, NAME.mask) for `count` samples of random
 * content and length, and logits.BRANCH (count, classes). What lies under a false mask is random too: it must not matter.
 */
#include "deploy/export/files.h"
#include "deploy/scoring/loaded.h"

#define DP_CHECK_MAX 10000 /* samples */

/* dp_check_write adds the file. The same snapshot and count give the same inputs. Errors: NO_MEMORY, DISK, FAILED. */
SL_MUST_USE enum sl_status dp_check_write(
        struct dp_files *files, const struct dp_loaded *loaded, int count, struct sl_error *err);
