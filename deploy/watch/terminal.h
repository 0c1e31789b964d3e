#pragma once
/* A canvas on a terminal, by ncurses. One at a time in a process, which is ncurses' way.
 *
 *     s = dp_terminal_open(&terminal, &canvas, err);
 *     dp_terminal_show(terminal, &canvas);
 *     key = dp_terminal_key(terminal);                 // after its input became readable, or a signal came
 *     dp_terminal_close(terminal);
 */
#include "common/error.h"
#include "deploy/watch/canvas.h"

enum dp_key { DP_KEY_NONE, DP_KEY_QUIT, DP_KEY_UP, DP_KEY_DOWN, DP_KEY_RESIZE };

struct dp_terminal;

/* dp_terminal_usable says whether standard output is a terminal that can move its cursor. */
bool dp_terminal_usable(void);

/* dp_terminal_open takes the terminal over and gives the canvas its size and abilities. Errors: FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_terminal_open(
        struct dp_terminal **ret_terminal, struct dp_canvas *canvas, struct sl_error *err);
/* dp_terminal_close gives it back as it was. NULL is fine. */
void dp_terminal_close(struct dp_terminal *terminal);

void dp_terminal_show(struct dp_terminal *terminal, const struct dp_canvas *canvas);
/* dp_terminal_key takes the next key if there is one; RESIZE: the canvas has the new size. */
enum dp_key dp_terminal_key(struct dp_terminal *terminal, struct dp_canvas *canvas);

/* dp_terminal_guard runs `run` in a child process and gives its exit code. When that dies of a signal, even SIGKILL, the terminal is put back as it was; SIGTERM, SIGINT and SIGHUP
 * are passed on to it. Errors: FAILED. */
SL_MUST_USE enum sl_status dp_terminal_guard(
        int *ret_code, int (*run)(void *context), void *context, struct sl_error *err);
