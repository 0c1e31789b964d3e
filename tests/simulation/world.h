#pragma once
/* A whole cluster in one thread: processes, network, disk, a virtual clock and what goes wrong. The same plan gives the same run, event by event.
 *
 *     struct sim_world *world = sim_world_create(model, &plan, NULL);
 *     sim_world_run(world);
 *     if (world->failure[0] != 0) …             // which promise was broken, at what time
 *     sim_world_destroy(world);
 *
 * Processes 0 … servers_max - 1 are servers by rank (0 has the coordinator), then come workers.
 */
#include "tests/simulation/check.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/model.h"
#include "tests/simulation/plan.h"
#include "tests/simulation/process.h"

#include <stdio.h>

#define SIM_FAILURE_MAX 1024
#define SIM_REPLAY_MAX 64

enum sim_event_kind {
    SIM_EVENT_ARRIVAL, /* a message at a process's door */
    SIM_EVENT_TICK,
    SIM_EVENT_COMPUTED, /* the slots that a worker's executor was at */
    SIM_EVENT_WRITTEN,  /* the disk is done */
    SIM_EVENT_RESTORED,
    SIM_EVENT_START, /* of a process, or of another incarnation of it */
    SIM_EVENT_FAULT, /* something goes wrong */
    SIM_EVENT_HEAL,  /* nothing does any more */
    SIM_EVENT_RESUME /* after a stop */
};

struct sim_flight; /* network.h */

struct sim_event {
    int64_t at_us;
    uint64_t order;
    enum sim_event_kind kind;
    int process;
    uint32_t life; /* of the process: void in another one */
    struct sim_flight *flight;
};

struct sim_totals {
    uint64_t events, sent, lost, doubled, bytes, crashes, pauses, cuts, stops, steps, rollbacks, rejoins,
            audits;
    int64_t virtual_us;
};

struct sim_world {
    const struct sim_plan *plan;
    struct sim_model *model;
    struct sl_config config;
    struct sim_dice dice;
    int64_t now_us;
    struct sim_event *heap;
    int heap_count, heap_capacity;
    uint64_t order;
    struct sim_process *processes;
    int process_count, servers, workers; /* servers, workers: that take part now */
    uint64_t marks;
    struct sim_disk disk;
    struct sim_check check;
    /* the network, by [from * process_count + to] */
    int64_t *cut_until, *clog_until, *arrived;
    struct sim_flight *replay[SIM_REPLAY_MAX];
    uint64_t replay_count;
    bool healed, finished;
    int stops_left, resumes;
    int64_t give_up_us; /* after healing */
    bool learn;         /* a quiet run that fills the model's reference */
    FILE *trace;        /* NULL = none */
    struct sim_totals totals;
    char failure[SIM_FAILURE_MAX];
    /* scale: the coordinator's work */
    uint64_t coordinator_messages;
    int64_t coordinator_ns;
    bool measure;
};

struct sim_world *sim_world_create(struct sim_model *model, const struct sim_plan *plan, FILE *trace);
void sim_world_destroy(struct sim_world *world);
void sim_world_run(struct sim_world *world);

/* sim_learn fills the model's reference by a quiet run, once. False when that fails, with the text. */
bool sim_learn(struct sim_model *model, char *ret_failure);

/* sim_schedule lets something happen. */
void sim_schedule(struct sim_world *world, int64_t at_us, enum sim_event_kind kind, int process,
        uint32_t life, struct sim_flight *flight);
/* sim_fail ends the run: a promise was broken. The first one counts. */
void sim_fail(struct sim_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* sim_trace writes a line, when that is wanted. process NULL = the world. */
void sim_trace(struct sim_world *world, const struct sim_process *process, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
#define SIM_TRACE(world, ...)                                                                                \
    do {                                                                                                     \
        if ((world)->trace != NULL)                                                                          \
            sim_trace(world, __VA_ARGS__);                                                                   \
    } while (0)

/* sim_world_stopped is told by the coordinator's process when it has finished. */
void sim_world_finished(struct sim_world *world, enum sl_status status, const char *text);
