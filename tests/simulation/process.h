#pragma once
/* One process of the cluster: links and cores as ps/loop.c and worker/loop.c join them, without sockets, threads and files. process.c has what all share,
 * server_process.c and worker_process.c the rest. */
#include "common/links.h"
#include "ps/coordinator.h"
#include "ps/server.h"
#include "tests/simulation/model.h"
#include "worker/core.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_world;

/* A message between the two cores of the first server's process. */
struct sim_local {
    bool to_server;
    struct sl_message *message;
};

/* What passed between this incarnation and a peer: how far the peer has acknowledged, and what was delivered to our core. */
struct sim_window {
    struct sl_address peer;
    uint64_t acknowledged, delivered, incarnation;
};

/* What a worker's executor is at. It outlives the core, not the process. */
struct sim_job {
    bool active, cancelled;
    int missing; /* blocks of parameters that have not come */
    uint32_t id;
    uint64_t mark;
    struct wk_action run;
    uint32_t at;          /* slot or unit where the next result begins */
    int blocks;           /* of that node that have not left yet, the first ones */
    uint64_t params_hash; /* that nobody may change meanwhile */
    int64_t base;         /* version of the oldest block */
};

/* What its forward passes left (exchange early): on which parameters, by the core's name for them and by their bits. */
struct sim_kept {
    uint64_t parameters, params_hash;
};

struct sim_process {
    int index;
    enum sl_role role; /* worker or server */
    uint32_t rank;     /* of a server */
    bool up;           /* false: crashed, ended or not started yet */
    uint32_t life;     /* changes with every start and every end */
    uint64_t incarnation, incarnations;
    int64_t clock_us;  /* its clock is so far ahead */
    int64_t paused_us; /* until then it sleeps */
    int64_t tick_us;   /* when it is woken next */
    struct sl_links *links;
    struct sim_window *windows;
    int window_count, window_capacity;
    bool crashing; /* in the middle of sending */
    bool leaving;  /* its core has finished */
    enum sl_status leave_status;
    uint64_t mark; /* that its core works under */
    /* a server */
    struct ps_server *server;
    struct ps_table *table;
    struct ps_server_updates server_updates;
    int64_t server_wake_us;
    int64_t checked_version;
    uint64_t rejoins;
    /* the coordinator's */
    struct ps_coordinator *coordinator;
    struct ps_updates updates;
    int64_t coordinator_wake_us;
    struct sim_local *local;
    int local_count, local_capacity;
    /* a worker */
    struct wk_core *core;
    struct wk_updates worker_updates;
    int64_t worker_wake_us;
    float *params;                          /* (layout->count,) */
    unsigned char readable[SIM_SHARDS_MAX]; /* shards that its machine has */
    struct sim_job job;
    struct sim_kept kept;
    int64_t slow_until_us;
    struct sl_server_entry *sockets; /* (socket_count,): what it is connected to, by rank */
    int socket_count;
};

void sim_process_start(struct sim_world *world, struct sim_process *process);
/* sim_process_kill ends it without a word. restart_us < 0: it stays down. */
void sim_process_kill(struct sim_world *world, struct sim_process *process, int64_t restart_us);
void sim_process_fini(struct sim_process *process);

void sim_process_receive(struct sim_world *world, struct sim_process *process, struct sl_address from,
        struct sl_message *message);
void sim_process_tick(struct sim_world *world, struct sim_process *process);
/* sim_process_pump carries on until nothing is left to do now: events of the links, local messages, then all that is to be sent. */
void sim_process_pump(struct sim_world *world, struct sim_process *process);
void sim_process_flush(struct sim_world *world, struct sim_process *process);
int64_t sim_process_now(const struct sim_world *world, const struct sim_process *process);

/* server_process.c */
void sim_server_start(struct sim_world *world, struct sim_process *process);
void sim_server_event(struct sim_world *world, struct sim_process *process, struct sl_link_event *event);
void sim_server_tick(struct sim_world *world, struct sim_process *process);
void sim_server_end(struct sim_process *process);
bool sim_server_local(
        struct sim_world *world, struct sim_process *process); /* one local message; false: there is none */
void sim_server_written(struct sim_world *world, struct sim_process *process);
void sim_server_restored(struct sim_world *world, struct sim_process *process);
void sim_server_stop(struct sim_world *world, struct sim_process *process);

/* worker_process.c */
void sim_worker_start(struct sim_world *world, struct sim_process *process);
void sim_worker_event(struct sim_world *world, struct sim_process *process, struct sl_link_event *event);
void sim_worker_tick(struct sim_world *world, struct sim_process *process);
void sim_worker_computed(struct sim_world *world, struct sim_process *process, uint32_t id);
void sim_worker_leave(struct sim_world *world, struct sim_process *process);
void sim_worker_end(struct sim_process *process);
