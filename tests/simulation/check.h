#pragma once
/* The promises, checked at every event from what travels and what stands in memory, never from what the cores say about themselves.
 *
 * - A lineage is one life of the parameters: from a restore on, a chain of updates, each of one step. The coordinator's COMMITs make it: each step once, the same numbers to every server,
 *   version after version. In bsp it must be the reference's; in ssp and asp the checker applies each step's gradient, which it knows, to a shadow of
 *   its own. Every version of every block on every server must have the lineage's bits: so nothing was lost, counted twice or mixed.
 * - A gradient carries, behind its numbers, the version of the oldest block that it was computed on, as found in the worker's memory by comparing bits. When a step is applied no
 *   gradient that counted may be older than the mode allows.
 * - With exchange early all slots of a step in a lineage are computed with the same coefficients, which are those of its commit (in bsp: of the undisturbed run).
 * - A snapshot is the lineage's bits of one version, and of all steps before it.
 */
#include "common/links.h"
#include "ps/coordinator.h"
#include "ps/table.h"
#include "tests/simulation/model.h"

struct sim_world;
struct sim_process;

struct sim_update {
    int64_t step;
    struct sl_commit commit;
    uint64_t told; /* ranks: bit by bit, of the first 64 */
};

struct sim_coefficients {
    bool decided;
    double value[SIM_MODALITIES];
};

struct sim_lineage {
    uint64_t mark;
    int64_t begin, version;
    struct sim_update *updates; /* (total_steps,): [v] makes version v + 1 */
    bool *stepped;              /* (total_steps,) */
    struct sim_coefficients
            *coefficients;              /* (total_steps,): that its slots are computed with, exchange early */
    uint64_t *params_hash, *state_hash; /* (total_steps + 1, block_count) */
    struct ps_table *shadow;            /* ssp, asp */
};

/* Which version the counted gradients of a step and block have, on one server. */
struct sim_account {
    int process;
    uint32_t life;
    uint64_t mark;
    int64_t step;
    int64_t *base; /* (block_count, slots of the config), -1 = not in */
};

struct sim_check {
    struct sim_lineage *lineages;
    int lineage_count;
    struct sim_account *accounts;
    int account_count, account_capacity;
    int64_t stalest; /* that was seen to count */
};

/* Of a gradient: what it was computed on. It travels in fields of the header that a push does not use. */
struct sim_origin {
    uint64_t mark;
    int64_t base, step;
};

void sim_check_fini(struct sim_world *world);

void sim_origin_put(struct sl_message *push, struct sim_origin origin);
struct sim_origin sim_origin_get(const struct sl_message *push);

/* A server gets a block. */
void sim_check_load(struct sim_world *world, uint64_t mark, const struct sl_message *load);
/* The coordinator sends something. */
void sim_check_sent(struct sim_world *world, struct sim_process *process, struct sl_address to,
        const struct sl_message *message);
/* A server is about to take a message; what comes back goes to sim_check_pushed. */
void sim_check_pushed(struct sim_world *world, struct sim_process *process, struct sl_address from,
        const struct sl_message *push, const struct sl_outbox *answers);
void sim_check_committing(
        struct sim_world *world, struct sim_process *process, const struct sl_message *commit);
/* A server has taken an event. */
/* sim_check_params looks at a block that a server sends: its bits are those of the version that the message names. */
void sim_check_params(
        struct sim_world *world, const struct sim_process *process, const struct sl_message *params);
void sim_check_server(struct sim_world *world, struct sim_process *process);
/* sim_check_base finds the version of a worker's parameters; -1 with a failure. */
int64_t sim_check_base(struct sim_world *world, const struct sim_process *process);

/* What the links deliver is one incarnation's messages, each once, in order. */
void sim_check_delivered(
        struct sim_world *world, struct sim_process *process, const struct sl_link_event *event);
/* Links: what has come in, and what goes out, which is never further ahead of what was acknowledged than a window. */
void sim_check_arrived(struct sim_world *world, struct sim_process *process, struct sl_address from,
        const struct sl_message *message);
void sim_check_window(struct sim_world *world, struct sim_process *process, struct sl_address to,
        const struct sl_message *message);

/* The coordinator's actions. */
void sim_check_step(
        struct sim_world *world, const struct sim_process *process, const struct ps_step_record *record);
void sim_check_validation(
        struct sim_world *world, const struct sim_process *process, const struct sl_evaluation *evaluation);
void sim_check_snapshot(
        struct sim_world *world, const struct sim_process *process, const struct ps_training *training);
void sim_check_saved(
        struct sim_world *world, const struct sim_process *process, const struct sl_message *saved);
void sim_check_finished(struct sim_world *world, const struct sim_process *process, enum sl_status status);
