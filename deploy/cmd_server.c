/* `shelflife server`: one parameter server, which coordinates too. */
#include "common/log.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/command.h"
#include "ps/loop.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife server CONFIG [OPTIONS]\n\n"
        "Runs the parameter server: it owns the parameters, gives slots to workers, modulates, updates, "
        "validates and snapshots.\n"
        "SIGTERM and SIGUSR1 mean: finish the step, write a snapshot, stop with 143 or 138.\n\n"
        "  --resume auto|never|SNAPSHOT  where to begin (default auto: the newest whole snapshot of the run, "
        "if there is one)\n"
        "  --set KEY=VALUE               override one value of the config; must be the same everywhere\n"
        "  --ready-fd N                  write the endpoint to this descriptor once workers may come (for "
        "launchers)\n\n"
        "example: shelflife server run.yaml --set cluster.coordinator=tcp://127.0.0.1:5555\n";

struct arguments {
    struct dp_overrides overrides;
    const char *config, *resume;
    int64_t ready_fd;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"resume", required_argument, NULL, 'r'},
            {"set", required_argument, NULL, 's'}, {"ready-fd", required_argument, NULL, 'f'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct sl_error err = {0};
    enum sl_status status = SL_OK;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1 && status == SL_OK;) {
        switch (option) {
        case 'r':
            a->resume = optarg;
            break;
        case 's':
            status = dp_overrides_add(&a->overrides, optarg, &err);
            break;
        case 'f':
            status = dp_number(&a->ready_fd, "--ready-fd", optarg, 3, 1 << 20, &err);
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return dp_usage("server", "unknown option");
        }
    }
    if (status != SL_OK)
        return dp_fail("server", status, &err);
    if (optind + 1 != argc)
        return dp_usage("server", "expected one CONFIG");
    a->config = argv[optind];
    return 0;
}

int dp_server(int argc, char **argv)
{
    struct arguments a = {.resume = "auto", .ready_fd = -1};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    int signal_number = 0;
    enum sl_status status = sl_config_load(&config, a.config, a.overrides.texts, a.overrides.count, &err);
    if (status == SL_OK)
        status = sl_log_open(&(struct sl_log_options){.level = SL_LOG_INFO, .role = "server"}, &err);
    struct ps_run_options options = {
            .config = config, .resume = a.resume, .signal_fd = -1, .ready_fd = (int)a.ready_fd};
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
