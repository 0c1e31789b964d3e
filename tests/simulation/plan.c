/* What a seed decides: see plan.h. */
#include "tests/simulation/plan.h"

#include <string.h>

static enum sim_model_kind draw_model(struct sim_dice *dice)
{
    static const struct {
        enum sim_model_kind kind;
        uint64_t weight;
    } models[] = {{SIM_MODEL_BSP, 120}, {SIM_MODEL_BSP_SGD, 60}, {SIM_MODEL_SHARDS, 60}, {SIM_MODEL_SSP, 90},
            {SIM_MODEL_SSP_TIGHT, 80}, {SIM_MODEL_ASP, 60}, {SIM_MODEL_WIDE, 15}, {SIM_MODEL_FINE, 15},
            {SIM_MODEL_EARLY, 110}, {SIM_MODEL_EARLY_SSP, 50}, {SIM_MODEL_EARLY_SHARDS, 40},
            {SIM_MODEL_TABLES, 70}, {SIM_MODEL_TABLES_SSP, 50}, {SIM_MODEL_TABLES_ASP, 40},
            {SIM_MODEL_TABLES_EARLY, 30}, {SIM_MODEL_FROZEN, 50}, {SIM_MODEL_ROUNDED, 40},
            {SIM_MODEL_ROUNDED_TABLES, 20}};
    uint64_t at = sim_below(dice, 1000);
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        if (at < models[i].weight)
            return models[i].kind;
        at -= models[i].weight;
    }
    return SIM_MODEL_BSP;
}

/* Most clusters are small: there most orders of events are reached. */
static int draw_servers(struct sim_dice *dice, enum sim_model_kind model)
{
    if (model == SIM_MODEL_FROZEN) /* more than there are trained blocks, often */
        return (int)sim_between(dice, 4, SIM_SERVERS_MAX);
    return sim_chance(dice, 850000) ? (int)sim_between(dice, 1, 3)
                                    : (int)sim_between(dice, 4, SIM_SERVERS_MAX);
}

static int draw_workers(struct sim_dice *dice, enum sim_model_kind model)
{
    if (model == SIM_MODEL_WIDE)
        return sim_chance(dice, 300000) ? (int)sim_between(dice, 50, 200) : (int)sim_between(dice, 5, 50);
    return sim_chance(dice, 900000) ? (int)sim_between(dice, 1, 4) : (int)sim_between(dice, 5, 10);
}

static void draw_network(struct sim_dice *dice, struct sim_plan *plan)
{
    plan->loss = sim_chance(dice, 500000) ? sim_below(dice, 100000) : 0;
    plan->doubled = sim_chance(dice, 500000) ? sim_below(dice, 100000) : 0;
    plan->late = sim_chance(dice, 400000) ? sim_below(dice, 50000) : 0;
    plan->replayed = sim_chance(dice, 400000) ? sim_below(dice, 20000) : 0;
    plan->in_order = sim_chance(dice, 400000);
    plan->delay_us = sim_between(dice, 20, 3000);
    plan->jitter_us = sim_between(dice, 0, 5000);
    plan->tail_us = sim_between(dice, 100000, 12000000);
}

struct sim_plan sim_plan_make(uint64_t seed, int servers, int workers)
{
    struct sim_dice dice = {sim_mix(seed + 0x5eed)};
    struct sim_plan plan = {.seed = seed, .model = draw_model(&dice)};
    plan.servers = servers > 0 ? servers : draw_servers(&dice, plan.model);
    plan.workers = workers > 0 ? workers : draw_workers(&dice, plan.model);
    plan.stops = sim_chance(&dice, 300000) ? (int)sim_between(&dice, 1, 2) : 0;
    plan.servers_max = plan.stops > 0 && servers == 0 ? SIM_SERVERS_MAX : plan.servers;
    plan.workers_max = plan.stops > 0 && workers == 0 ? plan.workers + 3 : plan.workers;
    plan.codec = sim_chance(&dice, 250000);
    draw_network(&dice, &plan);
    plan.fault_us = sim_chance(&dice, 900000) ? sim_between(&dice, 300000, 5000000) : 0;
    plan.chaos_us = sim_between(&dice, 5000000, 90000000);
    plan.crash_sending = sim_chance(&dice, 300000) ? sim_below(&dice, 3000) : 0;
    plan.crash_acting = sim_chance(&dice, 300000) ? sim_below(&dice, 150000) : 0;
    plan.restart_all = sim_chance(&dice, 500000);
    plan.write_us = sim_chance(&dice, 800000) ? sim_between(&dice, 1000, 200000)
                                              : sim_between(&dice, 1000000, 9000000);
    plan.write_fails = sim_chance(&dice, 250000) ? sim_below(&dice, 500000) : 0;
    plan.slot_us =
            sim_chance(&dice, 800000) ? sim_between(&dice, 1000, 60000) : sim_between(&dice, 100000, 900000);
    plan.every_steps = sim_chance(&dice, 500000) ? sim_between(&dice, 1, 4) : 0;
    plan.straggler = (double)sim_between(&dice, 15, 60) / 10.0;
    plan.audit = sim_chance(&dice, 200000) ? 0.5 : 0.0;
    return plan;
}

struct sim_plan sim_plan_quiet(enum sim_model_kind model, int servers, int workers)
{
    return (struct sim_plan){.model = model,
            .servers = servers,
            .workers = workers,
            .servers_max = servers,
            .workers_max = workers,
            .in_order = true,
            .delay_us = 100,
            .chaos_us = 1000,
            .write_us = 1000,
            .slot_us = 10000,
            .straggler = 4.0};
}
