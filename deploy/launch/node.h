#pragma once
/* Who a process is in a cluster that Slurm, Kubernetes, mpirun or a shell script started: environment in, decision out, nothing touched.
 *
 *     struct dp_node node;
 *     struct dp_node_request request = {.rank = -1, .config_coordinator = "tcp://127.0.0.1:0", .config_servers = 2};
 *     enum sl_status s = dp_node_resolve(&node, &request, (const char *const *)environ, err);
 *
 * Role: the request's, or SHELFLIFE_ROLE; else it follows from the task's number: tasks 0 … servers-1 are servers, the rest workers. A StatefulSet's pod is a
 * server, an indexed Job's pod a worker. Number, first hit wins: the request, SHELFLIFE_RANK, SLURM_PROCID, JOB_COMPLETION_INDEX, the ordinal at the end of
 * HOSTNAME (only in Kubernetes), OMPI_COMM_WORLD_RANK, PMI_RANK. Where the role is given, the number counts within the role.
 * Coordinator: the request's, SHELFLIFE_COORDINATOR, the first host of Slurm's list, the config's.
 * Servers: the request's, SHELFLIFE_SERVERS, the config's.
 *
 * Ports: the coordinator's is given, or (Slurm) 20000 + 16 * (SLURM_JOB_ID mod 640): below what Linux gives to outgoing connections, and two jobs that share a
 * machine rarely meet. Server r listens on the port r above, so that a firewall can know it; in Kubernetes, where each pod has an address, all on the same.
 */
#include "common/error.h"
#include "deploy/launch/hostlist.h"

#include <stdint.h>

#define DP_NODE_ENDPOINT_MAX 320
#define DP_NODE_PORT_FIRST 20000
#define DP_NODE_PORT_STRIDE 16
#define DP_NODE_PORT_JOBS 640

enum dp_role { DP_ROLE_AUTO, DP_ROLE_SERVER, DP_ROLE_WORKER };

struct dp_node_request {
    enum dp_role role;
    int64_t rank;    /* -1 = from the environment */
    int64_t servers; /* 0 = from the environment, then the config */
    int64_t port;    /* 0 = from the coordinator's endpoint, then derived */
    const char *
            coordinator; /* tcp://HOST:PORT, HOST:PORT or HOST; NULL = from the environment, then the config */
    const char *config_coordinator;
    int64_t config_servers;
};

struct dp_node {
    enum dp_role role;  /* never AUTO */
    const char *source; /* where the number comes from: "options", "SHELFLIFE_RANK", "slurm", … */
    int64_t rank;       /* within the role, from 0 */
    int64_t servers;    /* of the cluster */
    int64_t tasks;      /* of the cluster, 0 = not known */
    int64_t threads;    /* SLURM_CPUS_PER_TASK, 0 = not known */
    char coordinator[DP_NODE_ENDPOINT_MAX]; /* where everybody finds server 0 */
    char bind[DP_NODE_ENDPOINT_MAX];        /* servers: where this one listens */
    char advertise[DP_NODE_ENDPOINT_MAX];   /* servers: how others reach it */
};

/* dp_node_resolve decides. environment: "NAME=value" texts, NULL at its end. Owns: ret_node has no pointer into the environment. Errors: USAGE with what is missing or wrong
 * and how to give it. */
SL_MUST_USE enum sl_status dp_node_resolve(struct dp_node *ret_node, const struct dp_node_request *request,
        const char *const *environment, struct sl_error *err);

/* dp_role_parse reads auto, server or worker. Errors: USAGE naming where it was read. */
SL_MUST_USE enum sl_status dp_role_parse(
        enum dp_role *ret_role, const char *where, const char *text, struct sl_error *err);
const char *dp_role_name(enum dp_role role);
