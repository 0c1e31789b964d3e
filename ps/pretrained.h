#pragma once
/* Pretrained encoders: the tensors of a safetensors file become the initial values of a modality's extractor.
 *
 *     sl_layout_initialise(layout, config->seed, params);
 *     s = ps_pretrained_apply(config, layout, params, err);      // the files that `init` of the modalities names
 *
 * A file may be Hugging Face's checkpoint of a ViT or BERT as it is, or a snapshot or export of this program.
 * Names are looked for in three forms, and the one that finds most counts for the whole file:
 *
 *     extractor.NAME.vit.layernorm.weight     ours
 *     vit.layernorm.weight                    a model with a head
 *     layernorm.weight                        the bare encoder
 *
 * where `LayerNorm.gamma` and `.beta` of old BERT files stand for `.weight` and `.bias`. Every tensor of the
 * encoder must be there in the config's shape, with three exceptions: position embeddings of a ViT are resized
 * to the config's image, the position table of a BERT is cut, and temporal embeddings, which only this
 * program's files have, keep their initial values where there are none. All is checked before anything is read.
 * docs/pretrained.md is the user's side of this.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/layout.h"
#include "common/safetensors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PS_NAMES_TEXT_MAX 512

/* Names as a person reads them: the first few, then how many more. */
struct ps_names {
    int count;
    char text[PS_NAMES_TEXT_MAX]; /* "a, b, c and 4 more" */
};

/* What was done with a file. Plain data. */
struct ps_pretrained {
    bool own;                /* names are this program's: a snapshot or export */
    int tensors;             /* that became parameters */
    size_t parameters;       /* numbers that they filled */
    struct ps_names initial; /* parameters that kept initial values, wholly or in part */
    struct ps_names ignored; /* tensors that belong to a part that the model does not have: heads, poolers */
    struct ps_names surplus; /* tensors that nothing is known about */
    int from_side, to_side;  /* patches per side where position embeddings were resized; else 0 */
    int64_t rows, rows_of;   /* rows that were taken of a table with more or fewer; else 0 */
};

/* ps_pretrained_load puts the file's tensors into the parameters of one modality. path is for texts. Shapes: params
 * (layout->count,); after an error the extractor's part of it is undefined. ret_done may be NULL. Errors: USAGE when
 * file and config do not fit (what each has, and what to change), BAD_DATA for a tensor that is not of floating
 * point, not finite or cannot be read, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_pretrained_load(const struct sl_config *config, int modality,
        const struct sl_layout *layout, const struct sl_safetensors *file, const char *path, float *params,
        struct ps_pretrained *ret_done, struct sl_error *err);

/* ps_pretrained_apply does that for every modality with `init`, and logs what was loaded, resized, ignored and
 * unknown. Errors: as ps_pretrained_load; USAGE when a file is not there, BAD_DATA when it is no safetensors file. */
SL_MUST_USE enum sl_status ps_pretrained_apply(
        const struct sl_config *config, const struct sl_layout *layout, float *params, struct sl_error *err);
