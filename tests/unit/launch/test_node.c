/* Who a process is: one row an environment, with the decision that follows. */
#include "deploy/launch/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define VARIABLES_MAX 10

static struct sl_error err;

/* In the rows a request's rank is one higher, so that what is not named means "not given"; the config's values have the config's defaults. */
static enum sl_status resolve(
        struct dp_node *node, struct dp_node_request request, const char *const environment[VARIABLES_MAX])
{
    request.rank--;
    request.config_servers = request.config_servers > 0 ? request.config_servers : 1;
    if (request.config_coordinator == NULL)
        request.config_coordinator = "tcp://127.0.0.1:0";
    memset(&err, 0, sizeof(err));
    return dp_node_resolve(node, &request, environment, &err);
}

struct row {
    const char *environment[VARIABLES_MAX];
    struct dp_node_request request;
    const char *expected; /* source role rank/servers coordinator bind advertise threads */
};

static const struct row rows[] = {
        /* Slurm: the first tasks are servers, the port follows from the job */
        {{"SLURM_PROCID=0", "SLURM_NTASKS=4", "SLURM_JOB_ID=7", "SLURM_STEP_NODELIST=n[01-03,7],m2"}, {0},
                "slurm server 0/1 tcp://n01:20112 tcp://0.0.0.0:20112 tcp://n01:20112 0"},
        {{"SLURM_PROCID=3", "SLURM_NTASKS=4", "SLURM_JOB_ID=7", "SLURM_STEP_NODELIST=n[01-03]",
                 "SLURM_CPUS_PER_TASK=8"},
                {0}, "slurm worker 2/1 tcp://n01:20112 - - 8"},
        {{"SLURM_PROCID=1", "SLURM_NTASKS=4", "SLURM_JOB_ID=640", "SLURM_JOB_NODELIST=n[01-03]",
                 "SLURMD_NODENAME=n02"},
                {.servers = 2}, "slurm server 1/2 tcp://n01:20000 tcp://0.0.0.0:20001 tcp://n02:20001 0"},
        {{"SLURM_PROCID=1", "SLURM_JOB_ID=639", "SLURM_JOB_NODELIST=j[1-2]", "SLURM_STEP_NODELIST=j2"}, {0},
                "slurm worker 0/1 tcp://j2:30224 - - 0"},
        {{"SLURM_PROCID=0", "SLURM_JOB_ID=9", "SLURM_NTASKS=2", "SLURM_JOB_NODELIST=localhost"},
                {.port = 4000},
                "slurm server 0/1 tcp://localhost:4000 tcp://127.0.0.1:4000 tcp://localhost:4000 0"},
        {{"SLURM_PROCID=1", "SLURM_JOB_ID=9", "SLURM_NTASKS=3", "SLURM_JOB_NODELIST=localhost",
                 "SLURMD_NODENAME=localhost", "SHELFLIFE_SERVERS=2"},
                {0}, "slurm server 1/2 tcp://localhost:20144 tcp://127.0.0.1:20145 tcp://localhost:20145 0"},
        /* the batch script has SLURM_NTASKS of the job, a step its own number */
        {{"SLURM_PROCID=1", "SLURM_NTASKS=1", "SLURM_STEP_NUM_TASKS=2", "SLURM_JOB_ID=1",
                 "SLURM_JOB_NODELIST=n1"},
                {0}, "slurm worker 0/1 tcp://n1:20016 - - 0"},
        /* a step of workers alone: the job's first host has the coordinator */
        {{"SLURM_PROCID=0", "SLURM_JOB_ID=1", "SLURM_JOB_NODELIST=n[1-3]", "SLURM_STEP_NODELIST=n[2-3]",
                 "SHELFLIFE_ROLE=worker"},
                {0}, "slurm worker 0/1 tcp://n1:20016 - - 0"},
        /* our own variables win over Slurm's */
        {{"SLURM_PROCID=5", "SLURM_JOB_ID=1", "SLURM_JOB_NODELIST=n1", "SHELFLIFE_RANK=0",
                 "SHELFLIFE_COORDINATOR=c:99"},
                {0}, "SHELFLIFE_RANK server 0/1 tcp://c:99 tcp://0.0.0.0:99 tcp://c:99 0"},
        {{"SHELFLIFE_ROLE=worker", "SHELFLIFE_COORDINATOR=tcp://10.0.0.5:5555"}, {0},
                "SHELFLIFE_ROLE worker 0/1 tcp://10.0.0.5:5555 - - 0"},
        {{"SHELFLIFE_RANK=4", "SHELFLIFE_SERVERS=2", "SHELFLIFE_COORDINATOR=c:99"}, {0},
                "SHELFLIFE_RANK worker 2/2 tcp://c:99 - - 0"},
        {{"SHELFLIFE_ROLE=server", "SHELFLIFE_RANK=1", "SHELFLIFE_SERVERS=2",
                 "SHELFLIFE_COORDINATOR=10.0.0.5:99", "SHELFLIFE_HOST=10.0.0.6"},
                {0}, "SHELFLIFE_RANK server 1/2 tcp://10.0.0.5:99 tcp://0.0.0.0:100 tcp://10.0.0.6:100 0"},
        {{"SHELFLIFE_ROLE=", "SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=[fd00::1]:99"}, {0},
                "SHELFLIFE_RANK server 0/1 tcp://[fd00::1]:99 tcp://[fd00::1]:99 tcp://[fd00::1]:99 0"},
        /* options win over everything */
        {{"SHELFLIFE_RANK=4", "SHELFLIFE_SERVERS=7", "SHELFLIFE_COORDINATOR=c:99"},
                {.rank = 1, .servers = 1, .coordinator = "d", .port = 98},
                "options server 0/1 tcp://d:98 tcp://0.0.0.0:98 tcp://d:98 0"},
        {{"SHELFLIFE_ROLE=server", "SHELFLIFE_COORDINATOR=c:99"}, {.role = DP_ROLE_WORKER, .rank = 4},
                "options worker 3/1 tcp://c:99 - - 0"},
        /* Kubernetes */
        {{"KUBERNETES_SERVICE_HOST=10.96.0.1", "JOB_COMPLETION_INDEX=6", "HOSTNAME=run-worker-6-x7k2f",
                 "SHELFLIFE_COORDINATOR=run-server-0.run-server:5555"},
                {0}, "JOB_COMPLETION_INDEX worker 6/1 tcp://run-server-0.run-server:5555 - - 0"},
        {{"KUBERNETES_SERVICE_HOST=10.96.0.1", "HOSTNAME=run-server-1", "SHELFLIFE_SERVERS=3",
                 "SHELFLIFE_COORDINATOR=run-server-0.run-server.ml.svc:5555"},
                {0},
                "HOSTNAME server 1/3 tcp://run-server-0.run-server.ml.svc:5555 tcp://0.0.0.0:5555 "
                "tcp://run-server-1.run-server.ml.svc:5555 0"},
        {{"KUBERNETES_SERVICE_HOST=10.96.0.1", "HOSTNAME=run-server-0",
                 "SHELFLIFE_COORDINATOR=run-server-0.run-server:5555"},
                {0},
                "HOSTNAME server 0/1 tcp://run-server-0.run-server:5555 tcp://0.0.0.0:5555 "
                "tcp://run-server-0.run-server:5555 0"},
        /* MPI */
        {{"OMPI_COMM_WORLD_RANK=2", "OMPI_COMM_WORLD_SIZE=3", "HOSTNAME=gpu-1", "SHELFLIFE_COORDINATOR=n1:5"},
                {0}, "openmpi worker 1/1 tcp://n1:5 - - 0"},
        {{"PMI_RANK=0", "PMI_SIZE=3"}, {.config_coordinator = "tcp://127.0.0.1:77"},
                "pmi server 0/1 tcp://127.0.0.1:77 tcp://127.0.0.1:77 tcp://127.0.0.1:77 0"},
        {{"PMI_RANK=1", "PMI_SIZE=3"}, {.config_coordinator = "tcp://127.0.0.1:77", .config_servers = 2},
                "pmi server 1/2 tcp://127.0.0.1:77 tcp://127.0.0.1:78 tcp://127.0.0.1:78 0"},
};

static void test_decisions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dp_node node = {.source = ""};
        char text[2048];
        enum sl_status status = resolve(&node, rows[i].request, rows[i].environment);
        if (status != SL_OK)
            fail_msg("row %zu (%s): %s", i, rows[i].environment[0], err.text);
        (void)snprintf(text, sizeof(text), "%s %s %d/%d %s %s %s %d", node.source, dp_role_name(node.role),
                (int)node.rank, (int)node.servers, node.coordinator, node.bind[0] ? node.bind : "-",
                node.advertise[0] ? node.advertise : "-", (int)node.threads);
        assert_string_equal(text, rows[i].expected);
    }
}

static const struct row refused[] = {
        {{NULL}, {0}, "nothing says which process this is"},
        {{"HOSTNAME=run-server-1"}, {0}, "nothing says which process this is"}, /* not in Kubernetes */
        {{"KUBERNETES_SERVICE_HOST=10.96.0.1", "HOSTNAME=run-abc"}, {0},
                "nothing says which process this is"},
        {{"SHELFLIFE_ROLE=boss"}, {0}, "SHELFLIFE_ROLE boss"},
        {{"SHELFLIFE_RANK=-1"}, {0}, "SHELFLIFE_RANK=-1"},
        {{"SHELFLIFE_RANK=1x"}, {0}, "SHELFLIFE_RANK=1x"},
        {{"SHELFLIFE_RANK=99999999999999999999"}, {0}, "whole number"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_SERVERS=0"}, {0}, "SHELFLIFE_SERVERS=0"},
        {{"SHELFLIFE_RANK=0"}, {0}, "where the coordinator listens"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=n1"}, {0}, "where the coordinator listens"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=n1:x"}, {0}, "SHELFLIFE_COORDINATOR n1:x"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=n1:70000"}, {0}, "expected an address"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=:5"}, {0}, "expected an address"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=udp://n1:5"}, {0}, "expected an address"},
        {{"SHELFLIFE_RANK=0", "SHELFLIFE_COORDINATOR=n1:5"}, {.port = 6}, "contradicts"},
        {{"SHELFLIFE_RANK=0"}, {.config_coordinator = "tcp://0.0.0.0:5"}, "where others find it"},
        {{"SHELFLIFE_RANK=0"}, {.config_coordinator = "tcp://*:5"}, "where others find it"},
        {{"SHELFLIFE_ROLE=server"}, {.servers = 2, .coordinator = "n1:5"}, "which of the 2 servers"},
        {{"SHELFLIFE_ROLE=server", "SHELFLIFE_RANK=2"}, {.servers = 2, .coordinator = "n1:5"}, "server 2"},
        {{"KUBERNETES_SERVICE_HOST=1", "HOSTNAME=run-server-1"}, {.coordinator = "n1:5"},
                "cluster has 1 servers"},
        {{"SLURM_PROCID=0", "SLURM_NTASKS=2", "SLURM_JOB_NODELIST=n1"}, {.servers = 2}, "at least 3 tasks"},
        {{"SLURM_PROCID=0"}, {0}, "start shelflife node with srun"},
        {{"SLURM_PROCID=0", "SLURM_JOB_NODELIST=n[1"}, {0}, "SLURM_JOB_NODELIST"},
        {{"SLURM_PROCID=9", "SLURM_JOB_NODELIST=n1"}, {.servers = 10, .port = 65530}, "lower --port"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct dp_node node = {.source = "untouched"};
        enum sl_status status = resolve(&node, refused[i].request, refused[i].environment);
        if (status != SL_USAGE || strstr(err.text, refused[i].expected) == NULL)
            fail_msg("row %zu (%s): status %d, \"%s\", expected \"%s\"", i,
                    refused[i].environment[0] != NULL ? refused[i].environment[0] : "nothing", (int)status,
                    err.text, refused[i].expected);
        assert_string_equal(node.source, "untouched");
    }
}

/* Every job's port leaves room for 16 servers and lies below what Linux gives to outgoing connections. */
static void test_ports_of_jobs(void **state)
{
    (void)state;
    for (int job = 1; job <= 2 * DP_NODE_PORT_JOBS; job++) {
        struct dp_node node;
        char id[32];
        int port = 0;
        (void)snprintf(id, sizeof(id), "SLURM_JOB_ID=%d", job);
        const char *environment[VARIABLES_MAX] = {"SLURM_PROCID=1", "SLURM_JOB_NODELIST=n", id};
        assert_int_equal(resolve(&node, (struct dp_node_request){0}, environment), SL_OK);
        assert_int_equal(sscanf(node.coordinator, "tcp://n:%d", &port), 1);
        assert_in_range(port, 20000, 32767 - DP_NODE_PORT_STRIDE);
        assert_int_equal(port % DP_NODE_PORT_STRIDE, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decisions), cmocka_unit_test(test_refusals),
            cmocka_unit_test(test_ports_of_jobs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
