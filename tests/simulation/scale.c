/* The coordinator's work in a big cluster: see scale.h. */
#include "tests/simulation/scale.h"

#include "tests/simulation/world.h"

#include <inttypes.h>
#include <stdio.h>

int sim_scale(int workers, int servers)
{
    struct sim_model *model = sim_model_create(SIM_MODEL_SCALE);
    struct sim_plan plan = sim_plan_quiet(SIM_MODEL_SCALE, servers, workers);
    plan.in_order = false; /* no table of pairs; equal delays keep the order */
    struct sim_world *w = sim_world_create(model, &plan, NULL);
    w->measure = true;
    w->learn =
            true; /* its own reference: bits are compared among servers, and with what workers compute on */
    sim_world_run(w);
    int64_t steps = model->total_steps;
    int code = w->failure[0] != 0;
    if (code != 0)
        (void)fprintf(stderr, "scale: %s\n", w->failure);
    else
        (void)printf("%d workers, %d servers, %d blocks, %d slots: %" PRId64 " steps in %.1f virtual s\n"
                     "  %.0f messages a step on the network, %.0f of them for the coordinator, %.2f us of "
                     "its time each\n",
                workers, servers, model->layout->block_count, model->config.batch.slots, steps,
                (double)w->now_us / 1e6, (double)w->totals.sent / (double)steps,
                (double)w->coordinator_messages / (double)steps,
                (double)w->coordinator_ns / 1e3 / (double)w->coordinator_messages);
    sim_world_destroy(w);
    sim_model_destroy(model);
    return code;
}
