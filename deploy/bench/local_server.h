#pragma once
/* One whole parameter server of this process, driven by hand: the real core, table and reduction, no socket.
 *
 *     s = dp_server_push(server, worker, node, block, gradients, buffer, err);    // every block of nodes that cover all slots
 *     s = dp_server_commit(server, &stats, err);
 *     s = dp_server_pull(server, params, err);
 */
#include "deploy/bench/subject.h"
#include "ps/modulation.h"
#include "ps/server.h"
#include "ps/table.h"

struct dp_server {
    const struct dp_subject *subject;
    struct ps_optimiser optimiser;
    struct ps_modulation modulation;
    struct ps_table *table;
    struct ps_server *server;
    struct ps_server_updates updates;
    uint32_t slots; /* of each step */
    int64_t version;
    double norm2; /* of the step that was reduced */
    bool reduced; /* by the latest message: the step is to be committed */
};

/* dp_server_init gives it the subject's parameters; its steps have `slots` slots, at most batch.slots. */
SL_MUST_USE enum sl_status dp_server_init(
        struct dp_server *server, const struct dp_subject *subject, uint32_t slots, struct sl_error *err);
void dp_server_fini(struct dp_server *server);

/* dp_server_push sends one block of a node's sums. Shapes: gradients (sl_layout_gradient_floats,), as an executor gives them. buffer: what holds them, retained as long
 * as needed; NULL: they are the server's to write, as after a receive. */
SL_MUST_USE enum sl_status dp_server_push(struct dp_server *server, uint64_t worker, struct sl_node node,
        int block, float *gradients, struct sl_buffer *buffer, struct sl_error *err);

/* dp_server_take is a message from wherever, a peer's push or pull. Its answers lie in updates.outbox until the next call. Owns: takes *message, always. */
SL_MUST_USE enum sl_status dp_server_take(
        struct dp_server *server, struct sl_address from, struct sl_message **message, struct sl_error *err);

/* dp_server_decide gives the coefficients of the step that comes next, from its scores: exchange early. Shapes: (SL_MODALITIES_MAX,). */
SL_MUST_USE enum sl_status dp_server_decide(const struct dp_server *server, const struct sl_step_stats *stats,
        double *ret_coefficients, struct sl_error *err);

/* dp_server_commit applies the step, with coefficients and clipping as the coordinator does. Its answers, to those who wait for the new version, lie in
 * updates.outbox until the next call. */
SL_MUST_USE enum sl_status dp_server_commit(
        struct dp_server *server, const struct sl_step_stats *stats, struct sl_error *err);

/* dp_server_pull copies the version that stands. Shapes: params (layout->count,). */
SL_MUST_USE enum sl_status dp_server_pull(struct dp_server *server, float *params, struct sl_error *err);
