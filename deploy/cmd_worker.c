/* `shelflife worker`: one worker process. */
#include "common/cpu.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/command.h"
#include "worker/loop.h"

#include <stdio.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife worker CONFIG --coordinator ENDPOINT [OPTIONS]\n\n"
        "Runs one worker: it reads the config's datasets, computes gradients of the slots that the "
        "coordinator gives it,\n"
        "and ends when training is over. Workers may be started at any time, in any number. One that loses "
        "the "
        "coordinator or a server\n"
        "joins again; it gives up with exit code 142 when it cannot for cluster.join_ms.\n\n"
        "  --coordinator ENDPOINT  where the first server listens, such as tcp://10.0.0.5:5555 (else the "
        "config's)\n"
        "  --threads N             compute threads (default: the config's, or all cores)\n"
        "  --set KEY=VALUE         override one value of the config; must be the same everywhere\n"
        "  --name NAME             role shown in log lines (default worker)\n\n"
        "example: shelflife worker run.yaml --coordinator tcp://10.0.0.5:5555 --threads 8\n";

struct arguments {
    struct dp_overrides overrides;
    const char *config, *coordinator, *name;
    int64_t threads;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    const struct dp_option options[] = {{"coordinator", DP_TEXT, &a->coordinator, 0, 0},
            {"threads", DP_NUMBER, &a->threads, 1, 1024}, {"set", DP_OVERRIDE, &a->overrides, 0, 0},
            {"name", DP_TEXT, &a->name, 0, 0}};
    return dp_parse(
            "worker", help, options, (int)(sizeof(options) / sizeof(options[0])), argc, argv, &a->config);
}

int dp_worker(int argc, char **argv)
{
    struct arguments a = {.name = "worker"};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    enum sl_status status = sl_config_load(&config, a.config, a.overrides.texts, a.overrides.count, &err);
    if (status == SL_OK)
        status = sl_log_open(&(struct sl_log_options){.level = SL_LOG_INFO, .role = a.name}, &err);
    struct wk_worker_options options = {
            .config = config, .coordinator = a.coordinator, .threads = (int)a.threads, .signal_fd = -1};
    if (status == SL_OK)
        status = sl_signals_open(&options.signal_fd, &err);
    if (status == SL_OK) {
        if (options.coordinator == NULL)
            options.coordinator = config->cluster.coordinator;
        if (options.threads == 0)
            options.threads = config->cluster.threads > 0 ? config->cluster.threads : sl_cpu_count();
        status = wk_worker_run(&options, &err);
    }
    if (options.signal_fd >= 0)
        (void)close(options.signal_fd);
    sl_log_close();
    if (status == SL_STOPPED)
        return 143;
    return status == SL_OK ? SL_OK : dp_fail("worker", status, &err);
}
