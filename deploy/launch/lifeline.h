#pragma once
/* The line between a launcher on another machine and the process that it started there through ssh: this process's standard input. Words on it are signals
 * ("TERM", "USR1", "INT", "KILL", one a line); its end means that the launcher or the network is gone, and that this process must not live on as an orphan: SIGTERM,
 * and SIGKILL when that has not ended it within the grace.
 *
 *     enum sl_status s = dp_lifeline_open(60000, err);      // before sl_signals_open: the signals arrive there
 *
 * Thread: one of its own, which lives as long as the process; all signals are blocked in it.
 */
#include "common/error.h"

/* dp_lifeline_open starts watching. Errors: FAILED. */
SL_MUST_USE enum sl_status dp_lifeline_open(int grace_ms, struct sl_error *err);
