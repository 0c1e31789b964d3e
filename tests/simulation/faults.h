#pragma once
/* Deliberate faults in the cores (common/mutant.h), one at a time. There are none unless the cores were built with SHELFLIFE_MUTANTS. */

int sim_fault_count(void);
const char *sim_fault_name(int index);
void sim_fault_choose(int index); /* the one that is on from now; -1 = none */
