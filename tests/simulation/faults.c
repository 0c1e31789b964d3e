/* Deliberate faults: see faults.h. The choice is the one variable of the program that cores read: it is written between runs only. */
#include "tests/simulation/faults.h"

#include "common/mutant.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#ifdef SHELFLIFE_MUTANTS

static const char *const names[] = {
        "links: RESET is ignored",
        "links: a duplicate is delivered",
        "links: a gap does not matter",
        "links: nothing is sent again",
        "links: there is no window",
        "server: a push counts twice",
        "server: a push of a past step counts",
        "server: any version answers a pull",
        "server: a block is sent before it is updated",
        "server: a changed line is forgotten",
        "server: a pull is answered relative to a version that the worker does not hold",
        "server: who waits for parameters is forgotten",
        "coordinator: a replaced server is not told",
        "coordinator: a rollback keeps the mark",
        "coordinator: a snapshot is written before all blocks are in",
        "coordinator: commits without all servers",
        "coordinator: late statistics count for the next step",
        "coordinator: statistics are added as they come",
        "coordinator: coefficients are decided before all scores are in",
        "coordinator: coefficients are those of the moment",
        "coordinator: the end survives a rollback",
        "coordinator: the slots of a lost worker stay its own",
        "coordinator: the staleness bound is off by one",
        "coordinator: who has nothing to reduce is waited for",
        "worker: activations outlive their parameters",
        "worker: any parameters are good enough",
        "worker: blocks of any version are taken",
        "worker: parameters change while a run that was cancelled reads them",
        "worker: parameters change while it computes",
        "worker: reports before all is acknowledged",
        "worker: reports before all is computed",
        "worker: what is let pass counts as held",
};

static const char *chosen;

int sim_fault_count(void)
{
    return (int)(sizeof(names) / sizeof(names[0]));
}

const char *sim_fault_name(int index)
{
    return names[index];
}

void sim_fault_choose(int index)
{
    chosen = index < 0 ? NULL : names[index];
}

bool sl_mutant(const char *name)
{
    return chosen != NULL && strcmp(chosen, name) == 0;
}

#else

int sim_fault_count(void)
{
    return 0;
}

const char *sim_fault_name(int index)
{
    (void)index;
    return "";
}

void sim_fault_choose(int index)
{
    (void)index;
}

#endif
