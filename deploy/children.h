#pragma once
/* Processes that a launcher starts on this machine: their output with a prefix, their ends, no orphans.
 *
 *     dp_children_start(&children, &child, "w0", argv, err);
 *     … poll dp_children_fds, dp_children_read(&children, i) …
 *     dp_children_reap(&children);                       // after SIGCHLD
 *
 * A child is told to stop (SIGTERM) by the kernel when its launcher dies. Each is in a process group of its own: Ctrl-C reaches the launcher alone, which
 * passes on what is right.
 */
#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

#define DP_CHILDREN_MAX 256
#define DP_CHILD_NAME_MAX 64
#define DP_LINE_MAX 4096

struct dp_child {
    char name[DP_CHILD_NAME_MAX];
    pid_t pid;         /* 0 = ended */
    int output_fd;     /* its standard error and output, -1 = inherited or at its end */
    int input_fd;      /* its standard input, -1 = inherited or closed */
    const char *await; /* a piece of a line that is waited for, NULL = none; the caller's */
    bool awaited;      /* it came */
    int exit_code;     /* of the ended one: as a shell gives it, 128 + signal */
    bool piped;
    char line[DP_LINE_MAX]; /* the unfinished line */
    size_t line_size;
};

struct dp_children {
    struct dp_child items[DP_CHILDREN_MAX];
    int count;
};

/* dp_children_start runs argv (argv[0] is a path). piped: output comes through dp_children_read, else it is inherited. keep_fd: a descriptor that stays open
 * in the child, -1 = none. Errors: FAILED. */
SL_MUST_USE enum sl_status dp_children_start(struct dp_children *children, int *ret_index, const char *name,
        char *const *argv, bool piped, int keep_fd, struct sl_error *err);
/* dp_child_restart runs argv in the place of a child that has ended, with the same name and output. Errors: FAILED. */
SL_MUST_USE enum sl_status dp_child_restart(struct dp_child *child, char *const *argv, struct sl_error *err);
/* dp_children_start_fed is dp_children_start with output through dp_children_read and standard input from input_fd of the child, which ends when the launcher does. */
SL_MUST_USE enum sl_status dp_children_start_fed(struct dp_children *children, int *ret_index,
        const char *name, char *const *argv, struct sl_error *err);
/* dp_child_say writes a line to the child's standard input, NULL closes that; a child that is gone does not hear it. */
void dp_child_say(struct dp_child *child, const char *line);
/* dp_children_read passes on what a child wrote, line by line with "[name] " before it. */
void dp_children_read(struct dp_child *child);
/* dp_children_reap notes which children have ended. Returns how many did. */
int dp_children_reap(struct dp_children *children);
/* dp_children_signal sends a signal to those that run, from index first on. */
void dp_children_signal(const struct dp_children *children, int first, int number);
void dp_child_signal(const struct dp_child *child, int number);
int dp_children_running(const struct dp_children *children, int first);
