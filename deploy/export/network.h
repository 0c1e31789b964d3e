#pragma once
/* The whole model as an ONNX graph: extractors, heads and fusion as docs/export.md lists them, with frames normalised inside.
 *
 *     SL_AUTO(dp_graph_destroy_auto) struct dp_graph *graph = NULL;
 *     s = dp_network_build(&graph, config, layout, params, 17, err);
 *
 * Inputs of modality m, in config order: NAME and NAME.mask (batch, items) bool, where items is at most the config's number:
 *     vit       u8  (batch, frames, image, image, 3)     as import stores frames
 *     bert      i64 (batch, tokens)
 *     features  f32 (batch, items, in)
 * Outputs: logits.BRANCH and probabilities.BRANCH (batch, classes) for every modality and `fused`.
 * Every sample has at least one item of each modality, or its result is NaN. What lies where the mask is false changes nothing (token ids
 * must still be ids).
 */
#include "common/config.h"
#include "common/layout.h"
#include "deploy/export/graph.h"

#define DP_OPSET_MIN 13
#define DP_OPSET_MAX 17

/* dp_network_build makes the graph. config, layout and params are borrowed until it is destroyed. Owns: *ret_graph. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_network_build(struct dp_graph **ret_graph, const struct sl_config *config,
        const struct sl_layout *layout, const float *params, int opset, struct sl_error *err);

/* dp_network_items is the most items of a sample: frames, tokens or rows. dp_network_items_name is the name of that dimension's kind. */
int dp_network_items(const struct sl_modality_config *modality);
const char *dp_network_items_name(const struct sl_modality_config *modality);
