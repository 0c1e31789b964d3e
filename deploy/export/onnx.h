#pragma once
/* The model as an ONNX file (IR version 8), streamed by protobuf-c: parameters go from where they lie to the file without a copy. */
#include "deploy/export/files.h"
#include "deploy/export/network.h"
#include "deploy/export/sidecar.h"
#include "deploy/scoring/loaded.h"

#include <stdbool.h>

/* dp_onnx_write writes the main file and, when the model would pass the 2 GiB that a protobuf message may have or external asks for it,
 * the large tensors into FILE.data. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_onnx_write(struct dp_files *files, struct dp_file *file,
        const struct dp_loaded *loaded, const struct dp_metadata *metadata, int opset, bool external,
        struct sl_error *err);
