#pragma once
/* Many worlds: seeds shared out among processes, so that a crash of one world (an assert, a sanitizer) is a finding like any other and costs that seed alone. */
#include <stdbool.h>
#include <stdint.h>

#define SIM_JOBS_MAX 64

struct sim_runner {
    uint64_t from, seeds;
    int jobs, workers, servers;
    bool trace;
};

/* sim_run_seeds prints totals, and for a broken promise its seed, its text, the last events, and the command that replays it. Gives an exit code. */
int sim_run_seeds(const struct sim_runner *runner);
/* sim_run_mutants does so for each deliberate fault: every one must be caught by some seed. */
int sim_run_mutants(const struct sim_runner *runner);
