#pragma once
/* What the simulated cluster trains: a real layout of a few small blocks, and gradients that are numbers drawn from (step, slot).
 *
 * In bsp they depend a little on the parameters too, so that a wrong version shows in the bits. In ssp and asp they are small whole numbers: sums of
 * these are exact in any order, so that the checker knows every step's gradient without asking the cluster. With cluster.wire bf16 they are whole numbers that depend on the parameters: nothing of
 * them or of their sums is rounded, so that they too have one history of bits.
 *
 * The reference is what an undisturbed run with one server and one worker did: a function of the model alone, filled by the first run of a world on it.
 */
#include "common/config.h"
#include "common/evaluation.h"
#include "common/layout.h"
#include "common/plan.h"
#include "common/stats.h"
#include "ps/coordinator.h"
#include "ps/table.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_BRANCHES 3
#define SIM_MODALITIES 2
#define SIM_LABELS 3
#define SIM_SHARDS_MAX 8

/* SIM_MODEL_WIDE has 64 slots, for hundreds of workers; SIM_MODEL_FINE more blocks than a link's window has messages; the models of TABLES have an extractor that is frozen and one that is a table of embeddings, of which a
 * step names few rows: most of its gradient is +0.0, and most of it does not change. SIM_MODEL_FROZEN has both frozen: of many servers some own nothing that
 * is trained. */
enum sim_model_kind {
    SIM_MODEL_BSP,
    SIM_MODEL_BSP_SGD,
    SIM_MODEL_SSP,
    SIM_MODEL_SSP_TIGHT,
    SIM_MODEL_ASP,
    SIM_MODEL_WIDE,
    SIM_MODEL_FINE,
    SIM_MODEL_SHARDS,
    SIM_MODEL_EARLY,
    SIM_MODEL_EARLY_SSP,
    SIM_MODEL_EARLY_SHARDS,
    SIM_MODEL_TABLES,
    SIM_MODEL_TABLES_SSP,
    SIM_MODEL_TABLES_ASP,
    SIM_MODEL_TABLES_EARLY,
    SIM_MODEL_FROZEN,
    SIM_MODEL_ROUNDED,
    SIM_MODEL_ROUNDED_TABLES,
    SIM_MODEL_SCALE,
    SIM_MODEL_COUNT
};

/* What the undisturbed run did in one step. */
struct sim_fact {
    struct sl_commit commit;
    struct ps_step_record record;
};

struct sim_model {
    enum sim_model_kind kind;
    struct sl_config config; /* without what a plan decides */
    struct sl_layout *layout;
    float *initial; /* (layout->count,) */
    int32_t *row;   /* (layout->count,): of a table, that the number lies in; -1 = in none */
    struct sl_plan *plan;
    uint64_t shards[SIM_SHARDS_MAX]; /* samples of each */
    uint32_t shard_count;            /* 0 = any worker can read all samples */
    uint64_t train_count, validation_count;
    int64_t steps_per_epoch, total_steps;
    bool whole_numbers;
    bool early; /* modulation.exchange: gradients are of one vector, already modulated */
    /* the reference */
    bool known;
    struct sim_fact *facts;             /* (total_steps,), by step */
    uint64_t *params_hash, *state_hash; /* (total_steps + 1, block_count): of values; of values and moments */
    double *validation_loss;            /* (total_steps + 1,), NaN where nothing is validated */
};

/* Ends the program when memory is out: a test. */
struct sim_model *sim_model_create(enum sim_model_kind kind);
void sim_model_destroy(struct sim_model *model);

uint32_t sim_model_slots(const struct sim_model *model, int64_t step);
int64_t sim_model_samples(const struct sim_model *model, int64_t step);
uint32_t sim_model_units(const struct sim_model *model); /* of a validation */

/* sim_model_node computes one node's sums as a worker does. Shapes: grads (sl_layout_gradient_floats,), NULL = the statistics alone; params (layout->count,);
 * coefficient (SIM_MODALITIES,), read with exchange early. */
void sim_model_node(const struct sim_model *model, const float *params, int64_t step, struct sl_node node,
        const double *coefficient, float *grads, struct sl_step_stats *stats);
/* sim_model_validate adds the units [begin, end) of a validation on params. */
void sim_model_validate(const struct sim_model *model, const float *params, uint32_t begin, uint32_t end,
        struct sl_evaluation *evaluation);

/* sim_hash_params and _state are of one block: values; values and moments. */
uint64_t sim_hash_params(const struct sim_model *model, int block, const void *params);
uint64_t sim_hash_state(const struct sim_model *model, int block, const struct ps_block_state *state);
