#pragma once
/* Deliberate faults, for the test of the simulator alone: does it find what it is there for? Nothing of this is in any program that is installed: only
 * tests/simulation builds the cores once more with SHELFLIFE_MUTANTS.
 *
 *     if (is_applied(s, m->step) && !sl_mutant("server: a push of a past step counts"))
 */
#ifdef SHELFLIFE_MUTANTS
#include <stdbool.h>

bool sl_mutant(const char *name); /* is this the fault that is chosen now? tests/simulation/faults.c */
#else
#define sl_mutant(name) 0
#endif
