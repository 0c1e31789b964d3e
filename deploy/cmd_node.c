/* `shelflife node`: finds out from its environment who it is, and becomes that server or worker. It speaks to them through their own command lines, so that what
 * --print shows is what could be typed. */
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"
#include "deploy/command.h"
#include "deploy/launch/lifeline.h"
#include "deploy/launch/node.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX (2 * DP_OVERRIDES_MAX + 24)
#define GRACE_MS 60000 /* for the last snapshot, once the launcher is gone */

static const char help[] =
        "usage: shelflife node CONFIG [OPTIONS]\n\n"
        "Runs the server or worker that the environment says this process is: tasks 0 … servers-1 are "
        "servers, the rest "
        "workers.\n"
        "First hit wins: SHELFLIFE_RANK, Slurm (SLURM_PROCID), Kubernetes (JOB_COMPLETION_INDEX, a "
        "StatefulSet's "
        "HOSTNAME),\n"
        "Open MPI (OMPI_COMM_WORLD_RANK), PMI (PMI_RANK). SHELFLIFE_ROLE, SHELFLIFE_SERVERS and "
        "SHELFLIFE_COORDINATOR "
        "count before them.\n\n"
        "  --role auto|server|worker     default auto; where it is given, the rank counts within the role\n"
        "  --rank R                      number of this task, or of this server or worker\n"
        "  --servers N                   servers of the cluster (default: the config's)\n"
        "  --coordinator HOST[:PORT]     where server 0 listens (default: Slurm's first host, the config's)\n"
        "  --port P                      its port (default in Slurm: 20000 + 16 * (job id mod 640)); server "
        "R listens "
        "R above\n"
        "  --bind ENDPOINT               where this server listens (default: all interfaces, loopback if "
        "that is "
        "all)\n"
        "  --advertise ENDPOINT          how others reach this server\n"
        "  --threads N                   workers: compute threads (default: SLURM_CPUS_PER_TASK, the "
        "config's, all "
        "cores)\n"
        "  --resume auto|never|SNAPSHOT  servers: where to begin (default auto)\n"
        "  --set KEY=VALUE               override one value of the config; must be the same everywhere\n"
        "  --stay                        servers: when training is over, stay until SIGTERM and tell late "
        "workers\n"
        "  --lifeline                    take signals by name from standard input, and stop when it ends "
        "(for ssh "
        "launchers)\n"
        "  --print                       say what would be done, as one line of JSON, and do nothing\n\n"
        "example: srun --ntasks 5 shelflife node run.yaml --servers 1\n";

struct arguments {
    struct dp_overrides overrides;
    struct dp_node_request request;
    const char *config, *resume, *bind, *advertise;
    int64_t threads;
    bool print, lifeline, stay;
};

/* The command line of the server or worker, and the texts that it points to. */
struct command_line {
    char *argv[ARGUMENTS_MAX + 1];
    int argc;
    char servers[48], rank[24], threads[24], name[24], coordinator[DP_NODE_ENDPOINT_MAX + 24];
};

static enum sl_status take_option(struct arguments *a, int option, struct sl_error *err)
{
    switch (option) {
    case 'R':
        return dp_role_parse(&a->request.role, "--role", optarg, err);
    case 'k':
        return dp_number(&a->request.rank, "--rank", optarg, 0, 1000000, err);
    case 'S':
        return dp_number(&a->request.servers, "--servers", optarg, 1, 1024, err);
    case 'p':
        return dp_number(&a->request.port, "--port", optarg, 1, 65535, err);
    case 't':
        return dp_number(&a->threads, "--threads", optarg, 1, 1024, err);
    case 's':
        return dp_overrides_add(&a->overrides, optarg, err);
    case 'c':
        a->request.coordinator = optarg;
        return SL_OK;
    case 'b':
        a->bind = optarg;
        return SL_OK;
    case 'a':
        a->advertise = optarg;
        return SL_OK;
    case 'r':
        a->resume = optarg;
        return SL_OK;
    case 'l':
        a->lifeline = true;
        return SL_OK;
    case 'y':
        a->stay = true;
        return SL_OK;
    case 'P':
        a->print = true;
        return SL_OK;
    default:
        return sl_fail(err, SL_USAGE, "unknown option; see shelflife node --help");
    }
}

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"role", required_argument, NULL, 'R'},
            {"rank", required_argument, NULL, 'k'}, {"servers", required_argument, NULL, 'S'},
            {"port", required_argument, NULL, 'p'}, {"coordinator", required_argument, NULL, 'c'},
            {"bind", required_argument, NULL, 'b'}, {"advertise", required_argument, NULL, 'a'},
            {"threads", required_argument, NULL, 't'}, {"resume", required_argument, NULL, 'r'},
            {"set", required_argument, NULL, 's'}, {"stay", no_argument, NULL, 'y'},
            {"lifeline", no_argument, NULL, 'l'}, {"print", no_argument, NULL, 'P'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct sl_error err = {0};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return -1;
        }
        enum sl_status status = take_option(a, option, &err);
        if (status != SL_OK)
            return dp_fail("node", status, &err);
    }
    if (optind + 1 != argc)
        return dp_usage("node", "expected one CONFIG");
    a->config = argv[optind];
    return 0;
}

static void add(struct command_line *line, const char *option, const char *value)
{
    line->argv[line->argc++] = (char *)option;
    if (value != NULL)
        line->argv[line->argc++] = (char *)value;
}

/* Server 0 takes its address and the number of servers as values of the config, which its command has always known. */
static void make_server(struct command_line *line, const struct arguments *a, const struct dp_node *node)
{
    (void)snprintf(line->servers, sizeof(line->servers), "cluster.servers=%" PRId64, node->servers);
    if (node->rank == 0) {
        (void)snprintf(line->coordinator, sizeof(line->coordinator), "cluster.coordinator=%s", node->bind);
        add(line, "--set", line->coordinator);
        add(line, "--resume", a->resume);
    } else {
        (void)snprintf(line->rank, sizeof(line->rank), "%" PRId64, node->rank);
        add(line, "--rank", line->rank);
        add(line, "--coordinator", node->coordinator);
        add(line, "--bind", node->bind);
        if (node->advertise[0] !=
                0) /* server 0 is reached at the coordinator's address, which everybody knows */
            add(line, "--advertise", node->advertise);
    }
    if (a->stay)
        add(line, "--stay", NULL);
    add(line, "--set", line->servers);
}

static void make_worker(struct command_line *line, const struct arguments *a, const struct dp_node *node)
{
    int64_t threads = a->threads > 0 ? a->threads : node->threads;
    (void)snprintf(line->threads, sizeof(line->threads), "%" PRId64, threads);
    (void)snprintf(line->name, sizeof(line->name), "w%" PRId64, node->rank);
    (void)snprintf(line->servers, sizeof(line->servers), "cluster.servers=%" PRId64, node->servers);
    add(line, "--coordinator", node->coordinator);
    if (threads > 0)
        add(line, "--threads", line->threads);
    add(line, "--name", line->name);
    add(line, "--set", line->servers);
}

static void make_command_line(
        struct command_line *line, const struct arguments *a, const struct dp_node *node)
{
    add(line, dp_role_name(node->role), a->config);
    if (node->role == DP_ROLE_SERVER)
        make_server(line, a, node);
    else
        make_worker(line, a, node);
    for (int i = 0; i < a->overrides.count; i++)
        add(line, "--set", a->overrides.texts[i]);
    line->argv[line->argc] = NULL;
}

static enum sl_status print(const struct command_line *line, const struct dp_node *node, struct sl_error *err)
{
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 20);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "source", node->source);
    sl_json_string(&json, "role", dp_role_name(node->role));
    sl_json_int(&json, "rank", node->rank);
    sl_json_int(&json, "servers", node->servers);
    sl_json_string(&json, "coordinator", node->coordinator);
    if (node->role == DP_ROLE_SERVER) {
        sl_json_string(&json, "bind", node->bind);
        sl_json_string(&json, "advertise", node->advertise[0] != 0 ? node->advertise : NULL);
    }
    sl_json_array(&json, "command");
    sl_json_string(&json, NULL, "shelflife");
    for (int i = 0; i < line->argc; i++)
        sl_json_string(&json, NULL, line->argv[i]);
    sl_json_end(&json);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

static enum sl_status resolve(struct dp_node *node, struct arguments *a, struct sl_error *err)
{
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    enum sl_status status = sl_config_load(&config, a->config, a->overrides.texts, a->overrides.count, err);
    if (status != SL_OK)
        return status;
    a->request.config_coordinator = config->cluster.coordinator;
    a->request.config_servers = config->cluster.servers;
    status = dp_node_resolve(node, &a->request, (const char *const *)environ, err);
    if (status == SL_OK && a->bind != NULL &&
            snprintf(node->bind, sizeof(node->bind), "%s", a->bind) >= (int)sizeof(node->bind))
        return sl_fail(err, SL_USAGE, "--bind is too long");
    if (status == SL_OK && a->advertise != NULL &&
            snprintf(node->advertise, sizeof(node->advertise), "%s", a->advertise) >=
                    (int)sizeof(node->advertise))
        return sl_fail(err, SL_USAGE, "--advertise is too long");
    return status;
}

int dp_node(int argc, char **argv)
{
    struct arguments a = {.resume = "auto", .request = {.rank = -1}};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    struct dp_node node;
    struct command_line line = {.argc = 0};
    enum sl_status status = resolve(&node, &a, &err);
    if (status == SL_OK)
        make_command_line(&line, &a, &node);
    if (status == SL_OK && a.print)
        status = print(&line, &node, &err);
    else if (status == SL_OK && a.lifeline)
        status = dp_lifeline_open(GRACE_MS, &err);
    if (status != SL_OK)
        return dp_fail("node", status, &err);
    if (a.print)
        return SL_OK;
    char quoted[DP_NODE_ENDPOINT_MAX * 2];
    sl_log(SL_LOG_INFO, "node", "role-found",
            "source=%s role=%s rank=%" PRId64 " servers=%" PRId64 " coordinator=%s", node.source,
            dp_role_name(node.role), node.rank, node.servers,
            sl_log_quote(quoted, sizeof(quoted), node.coordinator));
    optind = 0; /* getopt begins anew with the other command line */
    return node.role == DP_ROLE_SERVER ? dp_server(line.argc, line.argv) : dp_worker(line.argc, line.argv);
}
