#pragma once
/* `shelflife train --profile`: where the steps' time went, as a table at the end. metrics.jsonl has it step by step.
 *
 *     ps_profile_add(&profile, &record);  …  ps_profile_print(&profile, stderr);
 *
 * All figures are means over steps and workers, in milliseconds by the clock: times of compute threads are divided by the threads of their worker.
 */
#include "ps/coordinator.h"

#include <stdio.h>

/* All zero to begin. */
struct ps_profile {
    int64_t steps;
    double workers; /* summed over steps */
    double seconds, update_seconds;
    double spent[SL_SPENT_COUNT];
};

void ps_profile_add(struct ps_profile *profile, const struct ps_step_record *record);
/* ps_profile_print writes nothing when there was no step. */
void ps_profile_print(const struct ps_profile *profile, FILE *stream);
