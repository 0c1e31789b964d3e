#pragma once
/* The parameters as a safetensors file: every one under its name with PyTorch's shape, metadata as sidecar.h has it. */
#include "deploy/export/files.h"
#include "deploy/export/sidecar.h"
#include "deploy/scoring/loaded.h"

#include "common/safetensors.h"

/* dp_weights_write writes the main file. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_weights_write(struct dp_file *file, const struct dp_loaded *loaded,
        const struct dp_metadata *metadata, struct sl_error *err);

/* dp_weights_sink writes what a safetensors writer makes into a file; context is the file. */
struct sl_sink dp_weights_sink(struct dp_file *file);
