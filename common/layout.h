#pragma once
/* The model as one table of parameters: name, shape, initialiser, owner, place in the flat vector. From it come sizes, pointers,
 * blocks, the snapshot's layout and the tags of gradients; there is no second list that must agree with it.
 *
 * The flat vector holds heads first, then extractors, then the fusion, each in config order:
 *
 *     |  heads  |  extractors  |  fusion  |
 *     0         head_end       extractor_end        count
 *     |<---- tag unimodal ---->|
 *               |<------ tag fused ------>|
 *
 * so that the gradient of all unimodal branches together (each extractor and head belongs to one of them alone) is one contiguous
 * range, and the gradient of the fused branch is another. With modulation.exchange early both are one flat vector, in which extractors have their modulated sum. Tensors are row-major with PyTorch's shapes, [out, in] for a linear layer.
 * Query, key and value weights of a self-attention follow each other without a gap, so that they are one [3 d, d] matrix; so do their
 * biases, and key and value of a cross-attention. Everything else starts at a multiple of 16 floats; the gaps stay zero.
 *
 *     int q = sl_layout_find(layout, "extractor.text.bert.encoder.layer.0.attention.self.query.weight");
 *     const float *w = params + layout->params[q].offset;     // (3 d, d) with key and value
 */
#include "common/config.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_PARAM_NAME_MAX 160
#define SL_PARAM_RANK_MAX 4
#define SL_BLOCK_FLOATS 262144 /* 1 MiB: the unit of placement, transfer, reduction and update */

enum sl_part { SL_PART_HEAD, SL_PART_EXTRACTOR, SL_PART_FUSION };
enum sl_tag { SL_TAG_UNIMODAL, SL_TAG_FUSED };
#define SL_TAGS 2
enum sl_init { SL_INIT_ZERO, SL_INIT_ONE, SL_INIT_NORMAL, SL_INIT_XAVIER };

struct sl_param {
    char name[SL_PARAM_NAME_MAX];
    int rank;
    int64_t shape[SL_PARAM_RANK_MAX];
    size_t offset; /* floats from the start of the flat vector */
    size_t count;  /* floats */
    enum sl_part part;
    int modality; /* -1 for the fusion */
    enum sl_init init;
    float init_std; /* of SL_INIT_NORMAL */
    bool decay;     /* weight decay applies: rank > 1 */
    bool frozen;
    bool table; /* of embeddings: a batch gives gradients to the rows that it names, all others get +0.0 */
    float lr_scale; /* its learning rate, as a share of the schedule's */
};

struct sl_block {
    size_t offset, count; /* floats; never crosses from one (part, modality) to another */
    enum sl_part part;
    int modality; /* -1 for the fusion */
    bool tagged
            [SL_TAGS]; /* which gradients exist for it; with exchange early one: unimodal for heads, else fused */
    bool sparse;       /* rows of a table lie in it: most of its gradient may be +0.0 */
    bool frozen;       /* no trained parameter lies in it: it has no gradient and never changes */
};

struct sl_layout {
    struct sl_param *params; /* in order of offset */
    int param_count;
    struct sl_block *blocks; /* in order of offset; together they cover [0, count) */
    int block_count;
    int trained_block_count; /* that are not frozen: heads and fusion always train, so there are some */
    size_t count, head_end, extractor_end; /* floats */
    size_t trained;                        /* numbers that are parameters, without gaps */
    uint64_t hash; /* of names, shapes and offsets: two layouts with the same hash are interchangeable */
    int modality_count;
    int vectors; /* flat vectors that make up a gradient: SL_TAGS, or 1 with exchange early */
};

/* sl_layout_create builds the table from the config. block_floats: SL_BLOCK_FLOATS, less in tests; a multiple of 16. Owns: *ret_layout. Errors: USAGE
 * for a pattern of freeze or lr_scale that matches nothing, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_layout_create(struct sl_layout **ret_layout, const struct sl_config *config,
        size_t block_floats, struct sl_error *err);
void sl_layout_destroy(struct sl_layout *layout);
void sl_layout_destroy_auto(struct sl_layout **layout);

/* sl_layout_find gives the index of a parameter, or -1. */
int sl_layout_find(const struct sl_layout *layout, const char *name);

/* sl_layout_gradient_at is where number `offset` of a tag lies in a gradient, which is `vectors` whole flat vectors one after the other. Units: floats. */
static inline size_t sl_layout_gradient_at(const struct sl_layout *layout, int tag, size_t offset)
{
    return (layout->vectors == 1 ? 0 : (size_t)tag) * layout->count + offset;
}
/* sl_layout_gradient_floats is the length of a gradient. */
static inline size_t sl_layout_gradient_floats(const struct sl_layout *layout)
{
    return (size_t)layout->vectors * layout->count;
}

/* sl_layout_offset is the place of a parameter that must exist (asserted): the name is built as printf does. Units: floats. */
size_t sl_layout_offset(const struct sl_layout *layout, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

/* sl_layout_initialise fills params with initial values that depend on seed and each parameter's name alone. Shapes: params (count,). */
void sl_layout_initialise(const struct sl_layout *layout, uint64_t seed, float *params);
