#pragma once
/* What a serving team needs besides the weights: how frames, text and rows are prepared, what the labels mean, what inputs and outputs are
 * called. Written as FILE.json beside the export, with each vocabulary as FILE.vocab-NAME.txt; docs/export.md explains every member.
 *
 * A model file also carries the most important of it inside, as texts by key (ONNX metadata_props, safetensors __metadata__).
 */
#include "deploy/export/files.h"
#include "deploy/scoring/loaded.h"

#include <stdbool.h>

#define DP_METADATA_MAX 8

/* Texts by key. Owned. */
struct dp_metadata {
    const char *key[DP_METADATA_MAX];
    char *value[DP_METADATA_MAX];
    int count;
};

/* dp_sidecar_text makes the JSON. graph: inputs and outputs are those of the ONNX graph, frames are normalised inside. Owns: *ret_text,
 * sl_free it. Errors: as wk_vocab_load. */
SL_MUST_USE enum sl_status dp_sidecar_text(char **ret_text, const struct dp_loaded *loaded,
        const struct dp_files *files, bool graph, struct sl_error *err);

/* dp_sidecar_write adds FILE.json with the text and the vocabularies. */
SL_MUST_USE enum sl_status dp_sidecar_write(
        struct dp_files *files, const struct dp_loaded *loaded, const char *text, struct sl_error *err);

/* dp_metadata_make gives producer, step, labels and durations_s (JSON arrays; null = never expires) and the config as YAML, without paths of
 * the machine that it was trained on. Owns: dp_metadata_fini. */
SL_MUST_USE enum sl_status dp_metadata_make(
        struct dp_metadata *ret_metadata, const struct dp_loaded *loaded, struct sl_error *err);
void dp_metadata_fini(struct dp_metadata *metadata);
/* dp_metadata_add copies one more text. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_metadata_add(
        struct dp_metadata *metadata, const char *key, const char *value, struct sl_error *err);
