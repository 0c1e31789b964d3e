/* `shelflife train`: a whole cluster on this machine. */
#include "common/cpu.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/children.h"
#include "deploy/train.h"

#include <stdio.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife train CONFIG [OPTIONS]\n\n"
        "Trains on this machine: with one server and one worker as threads of one process, or, when the "
        "config or the "
        "options\n"
        "say how many, with that many server and worker processes over ZeroMQ on loopback. The result does "
        "not depend "
        "on it.\n"
        "A process that dies is started again. Run the same command again to go on where the last snapshot "
        "stands.\n"
        "Ctrl-C or SIGTERM: snapshot, then stop. Ctrl-C twice: stop now.\n\n"
        "  --servers N                   server processes (default: the config's cluster.servers)\n"
        "  --workers N                   worker processes (default: the config's cluster.workers)\n"
        "  --threads N                   compute threads of each worker (default: the cores shared out)\n"
        "  --resume auto|never|SNAPSHOT  where to begin (default auto: the newest whole snapshot, if there "
        "is one)\n"
        "  --profile                     tell where the time of steps goes: in metrics.jsonl, and as a table "
        "at the "
        "end\n"
        "  --set KEY=VALUE               override one value of the config, such as epochs=3\n\n"
        "example: shelflife train run.yaml --servers 2 --workers 3 --set optimiser.lr=3e-4\n";

struct arguments {
    struct dp_overrides overrides;
    const char *config, *resume;
    int64_t servers, workers, threads;
    bool profile;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    const struct dp_option options[] = {{"servers", DP_NUMBER, &a->servers, 1, DP_CHILDREN_MAX / 2},
            {"workers", DP_NUMBER, &a->workers, 1, DP_CHILDREN_MAX / 2},
            {"threads", DP_NUMBER, &a->threads, 1, 1024}, {"resume", DP_TEXT, &a->resume, 0, 0},
            {"profile", DP_FLAG, &a->profile, 0, 0}, {"set", DP_OVERRIDE, &a->overrides, 0, 0}};
    return dp_parse(
            "train", help, options, (int)(sizeof(options) / sizeof(options[0])), argc, argv, &a->config);
}

/* What the options leave open is the config's. */
static enum sl_status make_plan(struct dp_train_plan *plan, struct arguments *a,
        struct sl_config **ret_config, char servers_text[32], struct sl_error *err)
{
    enum sl_status status = SL_OK;
    if (a->servers > 0) {
        (void)snprintf(servers_text, 32, "cluster.servers=%d", (int)a->servers);
        status = dp_overrides_add(&a->overrides, servers_text, err);
    }
    if (status == SL_OK && a->profile)
        status = dp_overrides_add(&a->overrides, "snapshots.profile=true", err);
    if (status == SL_OK)
        status = sl_config_load(ret_config, a->config, a->overrides.texts, a->overrides.count, err);
    if (status != SL_OK)
        return status;
    const struct sl_config *config = *ret_config;
    int workers = a->workers > 0 ? (int)a->workers : config->cluster.workers;
    int threads = a->threads > 0 ? (int)a->threads : config->cluster.threads;
    if (workers > DP_CHILDREN_MAX / 2 || config->cluster.servers > DP_CHILDREN_MAX / 2)
        return sl_fail(err, SL_USAGE,
                "more than %d servers or workers on one machine: see --servers, --workers",
                DP_CHILDREN_MAX / 2);
    *plan = (struct dp_train_plan){.config = config,
            .config_path = a->config,
            .resume = a->resume,
            .overrides = &a->overrides,
            .servers = config->cluster.servers,
            .workers = workers,
            .threads = threads > 0 ? threads : (sl_cpu_count() + workers - 1) / workers,
            .signal_fd = -1};
    return sl_signals_open(&plan->signal_fd, err);
}

int dp_train(int argc, char **argv)
{
    struct arguments a = {.resume = "auto"};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    char servers_text[32];
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    struct dp_train_plan plan;
    enum sl_status status = make_plan(&plan, &a, &config, servers_text, &err);
    if (status != SL_OK)
        return dp_fail("train", status, &err);
    bool alone = a.servers == 0 && a.workers == 0 && plan.servers == 1 && plan.workers == 1;
    code = alone ? dp_train_threads(&plan) : dp_train_processes(&plan);
    (void)close(plan.signal_fd);
    return code;
}
