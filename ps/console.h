#pragma once
/* What the coordinator's process shows on the terminal: a progress line, and a log line for each validation.
 *
 *     ps_console_step(&console, config, total_steps, &record);
 *
 * Thread: one, that of the progress.
 */
#include "common/config.h"
#include "common/progress.h"
#include "ps/coordinator.h"

/* All zero to begin. */
struct ps_console {
    struct sl_progress progress;
    bool begun;
};

void ps_console_step(struct ps_console *console, const struct sl_config *config, int64_t total_steps,
        const struct ps_step_record *record);
void ps_console_validation(const struct sl_config *config, const struct ps_action *action, int64_t epoch);
/* ps_console_end ends the progress line; the next step begins another: after a rollback, at the end. */
void ps_console_end(struct ps_console *console);
