/* Deliberate faults: see faults.h. The choice is the one variable of the program that cores read: it is written between runs only. */
#include "tests/simulation/faults.h"

#include "common/mutant.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#ifdef SHELFLIFE_MUTANTS

static const char *const names[] = {
        "server: a slot twice",
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
