/* simulate: runs seeds, several at a time, and says what they went through. A broken promise ends with how to replay it.
 *
 *     simulate [--seeds N] [--from S] [--jobs J] [--workers W] [--servers S] [--trace] [--scale]
 */
#include "tests/simulation/plan.h"
#include "tests/simulation/runner.h"
#include "tests/simulation/scale.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
        "usage: simulate [--seeds N] [--from S] [--jobs J] [--workers W] [--servers S] [--trace]\n"
        "       simulate --scale [--workers W] [--servers S]\n"
        "       simulate --mutants [--seeds N]      (where the cores were built with deliberate faults)\n"
        "\n"
        "Runs the real cores of coordinator, servers and workers in a virtual world in which messages are "
        "lost, doubled\n"
        "and late, processes crash, sleep and come back, and the disk fails. Each seed is another world.\n"
        "  --seeds N     how many (100)\n"
        "  --from S      the first one (1)\n"
        "  --jobs J      processes (1)\n"
        "  --workers W, --servers S   instead of what seeds decide\n"
        "  --trace       everything that happens, on standard error; with one seed\n"
        "  --scale       an undisturbed step of 1,000 workers and 50 servers, measured\n"
        "exit code: 0 all promises were kept, 1 one was broken, 2 wrong usage\n";

static bool take_number(int argc, char **argv, int *at, uint64_t *ret_number)
{
    char *end = NULL;
    if (*at + 1 >= argc)
        return false;
    errno = 0;
    *ret_number = strtoull(argv[++*at], &end, 10);
    return errno == 0 && end != argv[*at] && *end == 0 && argv[*at][0] != '-';
}

int main(int argc, char **argv)
{
    struct sim_runner runner = {.from = 1, .seeds = 100, .jobs = 1};
    uint64_t jobs = 1, workers = 0, servers = 0;
    bool scale = false, mutants = false;
    for (int i = 1; i < argc; i++) {
        bool good = true;
        if (strcmp(argv[i], "--seeds") == 0)
            good = take_number(argc, argv, &i, &runner.seeds);
        else if (strcmp(argv[i], "--from") == 0)
            good = take_number(argc, argv, &i, &runner.from);
        else if (strcmp(argv[i], "--jobs") == 0)
            good = take_number(argc, argv, &i, &jobs) && jobs >= 1 && jobs <= SIM_JOBS_MAX;
        else if (strcmp(argv[i], "--workers") == 0)
            good = take_number(argc, argv, &i, &workers) && workers <= 5000;
        else if (strcmp(argv[i], "--servers") == 0)
            good = take_number(argc, argv, &i, &servers) && servers <= (scale ? 300 : SIM_SERVERS_MAX);
        else if (strcmp(argv[i], "--trace") == 0)
            runner.trace = true;
        else if (strcmp(argv[i], "--scale") == 0)
            scale = true;
        else if (strcmp(argv[i], "--mutants") == 0)
            mutants = true;
        else if (strcmp(argv[i], "--help") == 0)
            return fputs(usage, stdout) < 0;
        else
            good = false;
        if (!good) {
            (void)fprintf(stderr, "simulate: %s does not fit here\n%s", argv[i < argc ? i : argc - 1], usage);
            return 2;
        }
    }
    runner.jobs = (int)jobs;
    runner.workers = (int)workers;
    runner.servers = (int)servers;
    if (scale)
        return sim_scale(workers > 0 ? (int)workers : 1000, servers > 0 ? (int)servers : 50);
    return mutants ? sim_run_mutants(&runner) : sim_run_seeds(&runner);
}
