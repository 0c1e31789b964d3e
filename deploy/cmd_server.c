/* `shelflife server`: one parameter server; the one of rank 0 coordinates too. */
#include "common/log.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/command.h"
#include "ps/loop.h"

#include <stdio.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife server CONFIG [OPTIONS]\n\n"
        "Runs one of cluster.servers parameter servers: it owns its share of the parameters and updates it. "
        "The server of rank 0\n"
        "coordinates besides: it gives slots to workers, modulates, validates and snapshots, and alone needs "
        "the "
        "run's folder.\n"
        "SIGTERM and SIGUSR1 mean, for rank 0: finish the step, write a snapshot, stop with 143 or 138. "
        "Another "
        "rank says goodbye;\n"
        "the others then go back to the newest snapshot and wait until it is started again.\n\n"
        "  --rank N                      which server this is, 0 to cluster.servers - 1 (default 0)\n"
        "  --coordinator ENDPOINT        where rank 0 listens (else cluster.coordinator); for ranks from 1 "
        "on\n"
        "  --bind ENDPOINT               where to listen (default: cluster.coordinator for rank 0, else "
        "cluster.bind)\n"
        "  --advertise ENDPOINT          what workers are told to connect to, port 0 = the bound one; for "
        "ranks "
        "from 1 on\n"
        "                                (default: what is bound, with the machine's name for 0.0.0.0)\n"
        "  --resume auto|never|SNAPSHOT  where to begin, for rank 0 (default auto: the newest whole snapshot "
        "of "
        "the run, if there is one)\n"
        "  --stay                        when training is over, stay until SIGTERM and tell late workers: "
        "where an "
        "ended process\n"
        "                                would be started again\n"
        "  --set KEY=VALUE               override one value of the config; must be the same everywhere\n"
        "  --name NAME                   role shown in log lines (default server, or server.RANK)\n"
        "  --ready-fd N                  write the endpoint to this descriptor once peers may come (for "
        "launchers)\n\n"
        "example: shelflife server run.yaml --set cluster.servers=2 --set "
        "cluster.coordinator=tcp://10.0.0.5:5555\n"
        "  shelflife server run.yaml --set cluster.servers=2 --rank 1 --coordinator tcp://10.0.0.5:5555 "
        "--bind "
        "tcp://0.0.0.0:5556\n";

struct arguments {
    struct dp_overrides overrides;
    const char *config, *resume, *coordinator, *bind, *advertise, *name;
    int64_t ready_fd, rank;
    bool stay;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    const struct dp_option options[] = {{"rank", DP_NUMBER, &a->rank, 0, 1023},
            {"coordinator", DP_TEXT, &a->coordinator, 0, 0}, {"bind", DP_TEXT, &a->bind, 0, 0},
            {"advertise", DP_TEXT, &a->advertise, 0, 0}, {"resume", DP_TEXT, &a->resume, 0, 0},
            {"set", DP_OVERRIDE, &a->overrides, 0, 0}, {"name", DP_TEXT, &a->name, 0, 0},
            {"stay", DP_FLAG, &a->stay, 0, 0}, {"ready-fd", DP_NUMBER, &a->ready_fd, 3, 1 << 20}};
    int code = dp_parse(
            "server", help, options, (int)(sizeof(options) / sizeof(options[0])), argc, argv, &a->config);
    if (code == 0 && a->rank == 0 && (a->coordinator != NULL || a->advertise != NULL))
        return dp_usage("server",
                "%s is for ranks from 1 on; rank 0 listens at cluster.coordinator, or --bind",
                a->coordinator != NULL ? "--coordinator" : "--advertise");
    return code;
}

int dp_server(int argc, char **argv)
{
    struct arguments a = {.resume = "auto", .ready_fd = -1};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    char role[32];
    (void)snprintf(role, sizeof(role), a.rank == 0 ? "server" : "server.%d", (int)a.rank);
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    int signal_number = 0;
    enum sl_status status = sl_config_load(&config, a.config, a.overrides.texts, a.overrides.count, &err);
    if (status == SL_OK)
        status = sl_log_open(
                &(struct sl_log_options){.level = SL_LOG_INFO, .role = a.name != NULL ? a.name : role}, &err);
    struct ps_run_options options = {.config = config,
            .rank = (int)a.rank,
            .resume = a.resume,
            .coordinator = a.coordinator,
            .bind = a.bind,
            .advertise = a.advertise,
            .stay = a.stay,
            .signal_fd = -1,
            .ready_fd = (int)a.ready_fd};
    if (status == SL_OK)
        status = sl_signals_open(&options.signal_fd, &err);
    if (status == SL_OK)
        status = ps_run(&options, &signal_number, &err);
    if (options.signal_fd >= 0)
        (void)close(options.signal_fd);
    sl_log_close();
    if (status == SL_STOPPED)
        return sl_signals_exit_code(signal_number, NULL);
    return status == SL_OK ? SL_OK : dp_fail("server", status, &err);
}
