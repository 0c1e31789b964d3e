#pragma once
/* Who takes part: workers and servers as the coordinator knows them. Plain data; what follows from it is decided in coordinator.c.
 *
 * A worker keeps its index while it is present; the index of one that is gone is used again.
 */
#include "common/outbox.h"

#include <stdbool.h>
#include <stdint.h>

#define PS_WORKERS_MAX 4096
#define PS_MEMBER_NAME_MAX (SL_NAME_MAX + 32) /* "w3 host:pid" */

/* What a worker was told to do. */
struct ps_run {
    int at; /* index of the open step, -1 = nothing */
    enum sl_phase phase;
    uint32_t begin, end; /* units */
    uint32_t left;       /* of them not done, by whomever */
    int64_t assigned_us;
    int shadow; /* worker that was given part of the same run because this one takes so long, -1 = none */
};

struct ps_worker {
    bool present;
    uint64_t id;
    uint32_t rank, threads, pid;
    char host[SL_NAME_MAX], name[PS_MEMBER_NAME_MAX];
    int64_t joined_us, heard_us, reported_us;
    struct ps_run run;
    uint64_t slots;          /* computed and counted */
    double seconds_per_slot; /* a mean over recent runs, 0 = not known yet */
    double scoring_seconds;  /* per slot, of the last run of SCORE; 0 = none */
    int64_t version;         /* of the parameters that it computed on last */
    unsigned char *readable; /* (shards,) 1 = it has that shard, NULL = all. Owned */
    struct sl_report report;
};

struct ps_server_member {
    bool present, loaded;
    uint64_t id;
    uint32_t pid;
    char host[SL_NAME_MAX], endpoint[SL_ENDPOINT_MAX], name[PS_MEMBER_NAME_MAX];
    int64_t heard_us, version, commit_us;
    double update_seconds; /* from the last COMMIT to its APPLIED */
    struct sl_report report;
};

struct ps_roster {
    struct ps_worker *workers; /* (worker_capacity,) */
    int worker_count;          /* present */
    int worker_end;            /* no present worker has this index or a higher one */
    int worker_capacity;
    uint32_t next_rank;
    double weight_sum; /* of the present workers whose speed is known */
    int weight_count;
    double known_weight; /* their mean when it was last known, also of workers that are gone; 0 = never */
    struct ps_server_member *servers; /* (server_count,) by rank */
    int server_count;
};

SL_MUST_USE enum sl_status ps_roster_init(struct ps_roster *roster, int servers, struct sl_error *err);
void ps_roster_fini(struct ps_roster *roster);
void ps_roster_clear(struct ps_roster *roster); /* nobody is present any more; ranks go on */

/* ps_roster_find_worker gives the index or -1. */
int ps_roster_find_worker(const struct ps_roster *roster, uint64_t id);
/* ps_roster_add_worker gives its index. Errors: NO_MEMORY. worker_count < PS_WORKERS_MAX (asserted). */
SL_MUST_USE enum sl_status ps_roster_add_worker(struct ps_roster *roster, uint64_t id,
        const struct sl_hello *hello, int64_t now_us, int *ret_index, struct sl_error *err);
void ps_roster_remove_worker(struct ps_roster *roster, int index);

int ps_roster_find_server(const struct ps_roster *roster, uint64_t id); /* rank or -1 */
void ps_roster_set_server(
        struct ps_roster *roster, uint64_t id, const struct sl_hello *hello, int64_t now_us);
int ps_roster_servers_present(const struct ps_roster *roster);
int ps_roster_servers_loaded(const struct ps_roster *roster);

/* ps_roster_set_speed notes how long a worker needs for a slot. seconds > 0. */
void ps_roster_set_speed(struct ps_roster *roster, int index, double seconds);
/* ps_roster_weight is a worker's speed for sharing out work, relative to others: 1 / seconds_per_slot; of one that is not known yet, the mean of the known ones, or of
 * those known last. */
double ps_roster_weight(const struct ps_roster *roster, int index);
