#pragma once
/* What a seed decides before the first event: how big the cluster is, how bad the network, which faults come how often. Faults themselves are drawn while the world runs. */
#include "tests/simulation/dice.h"
#include "tests/simulation/model.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_SERVERS_MAX 8

struct sim_plan {
    uint64_t seed;
    enum sim_model_kind model;
    int servers, workers;         /* to begin with */
    int servers_max, workers_max; /* after a stop others may take part */
    bool codec;                   /* headers are packed and unpacked on every hop */
    /* the network, per million messages */
    uint64_t loss, doubled, late, replayed;
    int64_t delay_us, jitter_us, tail_us;
    bool in_order; /* for each pair, as TCP does */
    /* faults: mean time between two, 0 = none; their weights are in world.c */
    int64_t fault_us, chaos_us;           /* chaos_us: when everything heals */
    uint64_t crash_sending, crash_acting; /* per million messages sent, actions of the coordinator */
    int stops;
    bool restart_all; /* at healing */
    /* the disk */
    int64_t write_us;
    uint64_t write_fails; /* per million */
    /* the cluster's settings */
    int64_t slot_us; /* to compute one */
    int64_t every_steps;
    double straggler, audit;
};

/* sim_plan_make draws a plan. workers, servers: > 0 instead of what is drawn. */
struct sim_plan sim_plan_make(uint64_t seed, int servers, int workers);
/* sim_plan_quiet is one of an undisturbed run. */
struct sim_plan sim_plan_quiet(enum sim_model_kind model, int servers, int workers);
