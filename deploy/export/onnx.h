#pragma once
/* The model as an ONNX file (IR version 8), streamed by protobuf-c: parameters go from where they lie to the file without a copy. */
#include "deploy/export/files.h"
#include "deploy/export/network.h"
#include "deploy/export/sidecar.h"
#include "deploy/scoring/loaded.h"

#include <stdint.h>

#define DP_ONNX_INSIDE_MAX ((size_t)INT32_MAX) /* bytes: what a protobuf message may have */

/* dp_onnx_write writes the main file and, when the model's message would have more than inside_max bytes, the large tensors into FILE.data: DP_ONNX_INSIDE_MAX = only when it must be,
 * 0 = always. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_onnx_write(struct dp_files *files, struct dp_file *file,
        const struct dp_loaded *loaded, const struct dp_metadata *metadata, int opset, size_t inside_max,
        struct sl_error *err);
