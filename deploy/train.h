#pragma once
/* The two ways in which `shelflife train` runs a cluster on this machine: threads of one process, or processes. */
#include "common/config.h"
#include "deploy/command.h"

struct dp_train_plan {
    const struct sl_config *config; /* as it is with the overrides */
    const char *config_path, *resume;
    const struct dp_overrides *overrides; /* cluster.servers among them */
    int servers, workers, threads;        /* threads: of each worker */
    int signal_fd;                        /* of sl_signals_open */
};

/* dp_train_threads runs one server and one worker as threads of this process, over inproc://. Returns the exit code; what went wrong has been printed. */
int dp_train_threads(const struct dp_train_plan *plan);
/* dp_train_processes starts servers and workers as processes, over loopback, shows their log lines, passes signals on, starts again who died, and leaves
 * nobody behind. Returns the exit code; what went wrong has been printed. */
int dp_train_processes(const struct dp_train_plan *plan);
