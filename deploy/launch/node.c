/* Who a process is: see node.h. */
#include "deploy/launch/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 1000000
#define PORT_MAX 65535

/* What is being decided, in the order of the functions below. */
struct resolution {
    const struct dp_node_request *request;
    const char *const *environment;
    struct dp_node *node;
    bool role_given;
    bool own_address; /* each server has an address of its own: all listen on one port */
    char host[DP_HOST_MAX];
    int64_t port;
};

/* An empty value counts as none: YAML templates and scripts leave those behind. */
static const char *get(const struct resolution *r, const char *name)
{
    size_t size = strlen(name);
    for (const char *const *entry = r->environment; *entry != NULL; entry++)
        if (strncmp(*entry, name, size) == 0 && (*entry)[size] == '=')
            return (*entry)[size + 1] == 0 ? NULL : *entry + size + 1;
    return NULL;
}

/* Reads a number from the environment; leaves *number alone when it is not set. */
static enum sl_status get_number(const struct resolution *r, int64_t *number, const char *name, int64_t least,
        int64_t most, struct sl_error *err)
{
    const char *text = get(r, name);
    if (text == NULL)
        return SL_OK;
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < least || value > most)
        return sl_fail(err, SL_USAGE,
                "the environment has %s=%.100s: expected a whole number from %" PRId64 " to %" PRId64, name,
                text, least, most);
    *number = value;
    return SL_OK;
}

enum sl_status dp_role_parse(
        enum dp_role *ret_role, const char *where, const char *text, struct sl_error *err)
{
    if (strcmp(text, "auto") == 0)
        *ret_role = DP_ROLE_AUTO;
    else if (strcmp(text, "server") == 0)
        *ret_role = DP_ROLE_SERVER;
    else if (strcmp(text, "worker") == 0)
        *ret_role = DP_ROLE_WORKER;
    else
        return sl_fail(err, SL_USAGE, "%s %.100s: expected auto, server or worker", where, text);
    return SL_OK;
}

const char *dp_role_name(enum dp_role role)
{
    return role == DP_ROLE_SERVER ? "server" : role == DP_ROLE_WORKER ? "worker" : "auto";
}

/* ---- the number ---- */

/* "trainer-server-3" ends in 3; a host without "-N" has no ordinal. */
static bool read_ordinal(int64_t *ret_ordinal, const char *name)
{
    const char *dash = name == NULL ? NULL : strrchr(name, '-');
    if (dash == NULL || dash[1] == 0 || strspn(dash + 1, "0123456789") != strlen(dash + 1) ||
            strlen(dash + 1) > 6)
        return false;
    *ret_ordinal = strtoll(dash + 1, NULL, 10);
    return true;
}

static enum sl_status number_from(struct resolution *r, const char *source, const char *rank_name,
        const char *count_name, struct sl_error *err)
{
    if (r->node->source != NULL || get(r, rank_name) == NULL)
        return SL_OK;
    r->node->source = source;
    enum sl_status status = get_number(r, &r->node->rank, rank_name, 0, NUMBER_MAX, err);
    if (status == SL_OK && count_name != NULL)
        status = get_number(r, &r->node->tasks, count_name, 1, NUMBER_MAX, err);
    return status;
}

/* In Kubernetes the kind of set tells the role: a Job's pods are workers, a StatefulSet's servers. */
static enum sl_status number_from_kubernetes(struct resolution *r, struct sl_error *err)
{
    int64_t ordinal = 0;
    if (r->node->source != NULL)
        return SL_OK;
    enum sl_status status = number_from(r, "JOB_COMPLETION_INDEX", "JOB_COMPLETION_INDEX", NULL, err);
    if (status != SL_OK || r->node->source != NULL) {
        if (!r->role_given)
            r->node->role = DP_ROLE_WORKER;
        r->role_given = true;
        return status;
    }
    if (get(r, "KUBERNETES_SERVICE_HOST") == NULL || !read_ordinal(&ordinal, get(r, "HOSTNAME")))
        return SL_OK;
    if (!r->role_given)
        r->node->role = DP_ROLE_SERVER;
    r->role_given = true;
    r->node->source = "HOSTNAME";
    r->node->rank = ordinal;
    r->own_address = r->node->role == DP_ROLE_SERVER;
    return SL_OK;
}

static enum sl_status find_number(struct resolution *r, struct sl_error *err)
{
    if (r->request->rank >= 0) {
        r->node->source = "options";
        r->node->rank = r->request->rank;
        return SL_OK;
    }
    enum sl_status status = number_from(r, "SHELFLIFE_RANK", "SHELFLIFE_RANK", NULL, err);
    if (status == SL_OK)
        status = number_from(r, "slurm", "SLURM_PROCID",
                get(r, "SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS", err);
    if (status == SL_OK)
        status = number_from_kubernetes(r, err);
    if (status == SL_OK)
        status = number_from(r, "openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", err);
    if (status == SL_OK)
        status = number_from(r, "pmi", "PMI_RANK", "PMI_SIZE", err);
    return status;
}

/* ---- role and rank ---- */

static enum sl_status find_servers(struct resolution *r, struct sl_error *err)
{
    r->node->servers = r->request->config_servers;
    enum sl_status status = get_number(r, &r->node->servers, "SHELFLIFE_SERVERS", 1, 1024, err);
    if (r->request->servers > 0)
        r->node->servers = r->request->servers;
    return status;
}

static enum sl_status find_role(struct resolution *r, struct sl_error *err)
{
    struct dp_node *node = r->node;
    if (node->source == NULL && !r->role_given)
        return sl_fail(err, SL_USAGE,
                "nothing says which process this is: give --role and --rank, or start it where "
                "SHELFLIFE_ROLE, SHELFLIFE_RANK, SLURM_PROCID, "
                "JOB_COMPLETION_INDEX, OMPI_COMM_WORLD_RANK or PMI_RANK is set");
    if (node->source == NULL && node->role == DP_ROLE_SERVER && node->servers > 1)
        return sl_fail(err, SL_USAGE,
                "nothing says which of the %" PRId64 " servers this is: give --rank or SHELFLIFE_RANK",
                node->servers);
    if (node->source == NULL)
        node->source = r->request->role != DP_ROLE_AUTO ? "options" : "SHELFLIFE_ROLE";
    if (r->role_given && node->role == DP_ROLE_SERVER && node->rank >= node->servers)
        return sl_fail(err, SL_USAGE,
                "server %" PRId64 " (from %s) does not exist: the cluster has %" PRId64
                " servers, numbered from 0",
                node->rank, node->source, node->servers);
    if (r->role_given)
        return SL_OK;
    if (node->tasks > 0 && node->tasks <= node->servers)
        return sl_fail(err, SL_USAGE,
                "%" PRId64 " tasks are %" PRId64 " servers and no worker: start at least %" PRId64 " tasks",
                node->tasks, node->servers, node->servers + 1);
    node->role = node->rank < node->servers ? DP_ROLE_SERVER : DP_ROLE_WORKER;
    if (node->role == DP_ROLE_WORKER)
        node->rank -= node->servers;
    return SL_OK;
}

/* ---- addresses ---- */

/* Reads [tcp://]HOST[:PORT]; a numeric IPv6 host is in square brackets, as in [::1]:5000. */
static enum sl_status read_endpoint(
        struct resolution *r, const char *where, const char *text, struct sl_error *err)
{
    const char *host = strncmp(text, "tcp://", 6) == 0 ? text + 6 : text;
    const char *bracket = host[0] == '[' ? strchr(host, ']') : NULL;
    const char *colon = bracket != NULL ? (bracket[1] == ':' ? bracket + 1 : NULL) : strrchr(host, ':');
    size_t size = colon == NULL ? strlen(host) : (size_t)(colon - host);
    char *end = NULL;
    long port = colon == NULL ? 0 : strtol(colon + 1, &end, 10);
    bool bad_port = colon != NULL && (end == colon + 1 || *end != 0 || port < 0 || port > PORT_MAX);
    if (size == 0 || size >= DP_HOST_MAX || bad_port || strstr(host, "://") != NULL)
        return sl_fail(err, SL_USAGE,
                "%s %.200s: expected an address such as tcp://n01:5555, n01:5555 or n01", where, text);
    memcpy(r->host, host, size);
    r->host[size] = 0;
    r->port = port;
    return SL_OK;
}

/* Task 0 is on the first host of its step. Where the role is given, the step has workers alone: then the job's first host is the coordinator's. */
static enum sl_status read_slurm(struct resolution *r, struct sl_error *err)
{
    const char *name = !r->role_given || get(r, "SLURM_JOB_NODELIST") == NULL ? "SLURM_STEP_NODELIST"
                                                                              : "SLURM_JOB_NODELIST";
    if (get(r, name) == NULL)
        name = "SLURM_JOB_NODELIST";
    const char *list = get(r, name);
    if (list == NULL)
        return sl_fail(err, SL_USAGE,
                "SLURM_PROCID is set, but neither SLURM_STEP_NODELIST nor SLURM_JOB_NODELIST is: start "
                "shelflife node with srun");
    enum sl_status status = dp_hostlist_nth(r->host, list, 0, err);
    int64_t job = 0;
    if (status == SL_OK)
        status = get_number(r, &job, "SLURM_JOB_ID", 0, INT64_MAX, err);
    r->port = DP_NODE_PORT_FIRST + DP_NODE_PORT_STRIDE * (job % DP_NODE_PORT_JOBS);
    return status == SL_OK ? status : sl_error_context(err, "%s", name);
}

static enum sl_status find_coordinator(struct resolution *r, struct sl_error *err)
{
    const char *text = r->request->coordinator, *where = "--coordinator";
    bool derived = false;
    if (text == NULL) {
        text = get(r, "SHELFLIFE_COORDINATOR");
        where = "SHELFLIFE_COORDINATOR";
    }
    enum sl_status status;
    if (text != NULL) {
        status = read_endpoint(r, where, text, err);
    } else if (get(r, "SLURM_PROCID") != NULL) {
        status = read_slurm(r, err);
        derived = true;
    } else {
        status = read_endpoint(r, "cluster.coordinator", r->request->config_coordinator, err);
    }
    if (status != SL_OK)
        return status;
    if (!derived && r->port != 0 && r->request->port != 0 && r->port != r->request->port && text != NULL)
        return sl_fail(err, SL_USAGE, "--port %" PRId64 " contradicts %s %.200s: give the port once",
                r->request->port, where, text);
    if (r->request->port != 0)
        r->port = r->request->port;
    if (r->port == 0)
        return sl_fail(err, SL_USAGE,
                "nothing says where the coordinator listens: give --coordinator HOST:PORT, "
                "SHELFLIFE_COORDINATOR, or a port in cluster.coordinator");
    if (strcmp(r->host, "*") == 0 || strcmp(r->host, "0.0.0.0") == 0 || strcmp(r->host, "[::]") == 0)
        return sl_fail(err, SL_USAGE,
                "the coordinator's address %s is where it listens, not where others find it: give "
                "--coordinator HOST:PORT or SHELFLIFE_COORDINATOR with the name of its host",
                r->host);
    return SL_OK;
}

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
}

/* ZeroMQ binds numbers, not names: a name means every interface, except for the loopback ones. */
static const char *bind_host(const char *host)
{
    if (strcmp(host, "localhost") == 0)
        return "127.0.0.1";
    bool numeric = host[0] == '[' || strspn(host, "0123456789.") == strlen(host);
    return numeric ? host : "0.0.0.0";
}

/* The name of this server's own host: the coordinator's for rank 0, else what the launcher says; empty when nobody does. */
static void find_own_host(const struct resolution *r, char host[DP_HOST_MAX])
{
    const char *pod = get(r, "HOSTNAME"), *domain = strchr(r->host, '.'), *slurm = get(r, "SLURMD_NODENAME");
    const char *given = get(r, "SHELFLIFE_HOST");
    host[0] = 0;
    if (given != NULL)
        (void)snprintf(host, DP_HOST_MAX, "%s", given);
    else if (r->node->rank == 0 || is_loopback(r->host))
        (void)snprintf(host, DP_HOST_MAX, "%s", r->host);
    else if (r->own_address && pod != NULL && domain != NULL)
        (void)snprintf(host, DP_HOST_MAX, "%s%s", pod, domain);
    else if (slurm != NULL)
        (void)snprintf(host, DP_HOST_MAX, "%s", slurm);
}

static enum sl_status find_addresses(struct resolution *r, struct sl_error *err)
{
    struct dp_node *node = r->node;
    int64_t port = r->port + (r->own_address ? 0 : node->rank);
    char host[DP_HOST_MAX];
    (void)snprintf(node->coordinator, sizeof(node->coordinator), "tcp://%s:%" PRId64, r->host, r->port);
    if (node->role == DP_ROLE_WORKER)
        return SL_OK;
    if (port > PORT_MAX)
        return sl_fail(err, SL_USAGE,
                "server %" PRId64 " would listen on port %" PRId64 ": give a lower --port", node->rank, port);
    find_own_host(r, host);
    (void)snprintf(node->bind, sizeof(node->bind), "tcp://%s:%" PRId64,
            bind_host(node->rank == 0 || is_loopback(r->host) ? r->host : "*"), port);
    if (host[0] != 0)
        (void)snprintf(node->advertise, sizeof(node->advertise), "tcp://%s:%" PRId64, host, port);
    return SL_OK;
}

enum sl_status dp_node_resolve(struct dp_node *ret_node, const struct dp_node_request *request,
        const char *const *environment, struct sl_error *err)
{
    struct dp_node node = {.role = request->role};
    struct resolution r = {.request = request, .environment = environment, .node = &node};
    const char *role = get(&r, "SHELFLIFE_ROLE");
    enum sl_status status = SL_OK;
    if (node.role == DP_ROLE_AUTO && role != NULL)
        status = dp_role_parse(&node.role, "the environment has SHELFLIFE_ROLE", role, err);
    r.role_given = node.role != DP_ROLE_AUTO;
    if (status == SL_OK)
        status = find_servers(&r, err);
    if (status == SL_OK)
        status = find_number(&r, err);
    if (status == SL_OK)
        status = find_role(&r, err);
    if (status == SL_OK)
        status = find_coordinator(&r, err);
    if (status == SL_OK)
        status = get_number(&r, &node.threads, "SLURM_CPUS_PER_TASK", 1, 1024, err);
    if (status == SL_OK)
        status = find_addresses(&r, err);
    if (status == SL_OK)
        *ret_node = node;
    return status;
}
