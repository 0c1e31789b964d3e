#pragma once
/* Signals as readable events: blocked in every thread, taken from one descriptor by the loop that owns the process.
 *
 *     sl_signals_open(&fd, err);                   // before any thread starts
 *     … poll fd …
 *     int number = sl_signals_take(fd);            // SIGTERM, SIGINT, SIGUSR1, SIGCHLD, or 0
 */
#include "common/error.h"

/* sl_signals_open blocks SIGTERM, SIGINT, SIGUSR1 and SIGCHLD in this thread and those started later, ignores SIGPIPE, and gives a descriptor. */
SL_MUST_USE enum sl_status sl_signals_open(int *ret_fd, struct sl_error *err);
/* sl_signals_take gives the next pending signal's number, 0 when there is none. */
int sl_signals_take(int fd);
/* sl_signals_pipe makes a descriptor that reads like that of sl_signals_open, for a thread that is told by another: what sl_signals_send writes to ret_send_fd.
 * Close both. Errors: FAILED. */
SL_MUST_USE enum sl_status sl_signals_pipe(int *ret_fd, int *ret_send_fd, struct sl_error *err);
void sl_signals_send(
        int send_fd, int number); /* never blocks: a reader that is far behind has been told enough */
/* sl_signals_reset undoes the blocking: for a child between fork and exec. */
void sl_signals_reset(void);
/* sl_signals_exit_code: 128 + number, with the name of the signal in ret_text if not NULL. */
int sl_signals_exit_code(int number, const char **ret_text);
