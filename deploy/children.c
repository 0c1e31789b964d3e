/* Child processes: see children.h. */
#include "deploy/children.h"

#include "common/signals.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Between fork and exec: only calls that are safe there. */
static void become(char *const *argv, int input, int output, int keep_fd, pid_t parent)
{
    sl_signals_reset();
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(143); /* the launcher died before the line above */
    if (input >= 0 && dup2(input, STDIN_FILENO) < 0)
        _exit(127);
    if (output >= 0 && (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0))
        _exit(127);
    if (keep_fd >= 0)
        (void)fcntl(keep_fd, F_SETFD, 0);
    (void)execv(argv[0], argv);
    _exit(127);
}

static void close_both(int ends[2])
{
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            (void)close(ends[i]);
}

/* A child of a name, with its pipes as child->piped and fed say. */
static enum sl_status launch(
        struct dp_child *child, char *const *argv, bool fed, int keep_fd, struct sl_error *err)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if ((fed && pipe2(in, O_CLOEXEC) != 0) || (child->piped && pipe2(out, O_CLOEXEC) != 0)) {
        enum sl_status status = sl_fail_errno(err, "cannot make a pipe for %s", child->name);
        close_both(in);
        return status;
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(argv, in[0], out[1], keep_fd, parent);
    if (pid < 0) {
        enum sl_status status = sl_fail_errno(err, "cannot start %s", child->name);
        close_both(in);
        close_both(out);
        return status;
    }
    close_both((int[2]){in[0], out[1]});
    if (out[0] >= 0)
        (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
    if (in[1] >= 0)
        (void)fcntl(in[1], F_SETFL, O_NONBLOCK);
    child->pid = pid;
    child->output_fd = out[0];
    child->input_fd = in[1];
    return SL_OK;
}

static enum sl_status start(struct dp_children *children, int *ret_index, const char *name, char *const *argv,
        bool piped, bool fed, int keep_fd, struct sl_error *err)
{
    if (children->count == DP_CHILDREN_MAX)
        return sl_fail(err, SL_USAGE, "more than %d processes on one machine", DP_CHILDREN_MAX);
    struct dp_child *child = &children->items[children->count];
    *child = (struct dp_child){.output_fd = -1, .input_fd = -1, .piped = piped};
    (void)snprintf(child->name, sizeof(child->name), "%s", name);
    enum sl_status status = launch(child, argv, fed, keep_fd, err);
    if (status == SL_OK)
        *ret_index = children->count++;
    return status;
}

enum sl_status dp_children_start(struct dp_children *children, int *ret_index, const char *name,
        char *const *argv, bool piped, int keep_fd, struct sl_error *err)
{
    return start(children, ret_index, name, argv, piped, false, keep_fd, err);
}

enum sl_status dp_children_start_fed(struct dp_children *children, int *ret_index, const char *name,
        char *const *argv, struct sl_error *err)
{
    return start(children, ret_index, name, argv, true, true, -1, err);
}

enum sl_status dp_child_restart(struct dp_child *child, char *const *argv, struct sl_error *err)
{
    assert(child->pid == 0);
    if (child->output_fd >= 0)
        (void)close(child->output_fd); /* somebody whom it left behind still holds the other end */
    child->output_fd = -1;
    child->line_size = 0;
    return launch(child, argv, false, -1, err);
}

void dp_child_say(struct dp_child *child, const char *line)
{
    if (child->input_fd < 0)
        return;
    if (line != NULL) {
        (void)!write(child->input_fd, line,
                strlen(line)); /* a line is short and its pipe empty, or the child does not listen */
        return;
    }
    (void)close(child->input_fd);
    child->input_fd = -1;
}

static void put_line(struct dp_child *child)
{
    fprintf(stderr, "[%s] %.*s\n", child->name, (int)child->line_size, child->line);
    child->awaited =
            child->awaited || (child->await != NULL && memmem(child->line, child->line_size, child->await,
                                                               strlen(child->await)) != NULL);
    child->line_size = 0;
}

void dp_children_read(struct dp_child *child)
{
    char bytes[DP_LINE_MAX];
    while (child->output_fd >= 0) {
        ssize_t got = read(child->output_fd, bytes, sizeof(bytes));
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            (void)close(child->output_fd);
            child->output_fd = -1;
            if (child->line_size > 0)
                put_line(child);
            return;
        }
        for (ssize_t i = 0; i < got; i++) {
            if (bytes[i] != '\n')
                child->line[child->line_size++] = bytes[i];
            if (bytes[i] == '\n' || child->line_size == sizeof(child->line))
                put_line(child);
        }
    }
}

int dp_children_reap(struct dp_children *children)
{
    int ended = 0;
    for (int i = 0; i < children->count; i++) {
        struct dp_child *child = &children->items[i];
        int status = 0;
        if (child->pid == 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
            continue;
        child->pid = 0;
        child->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        dp_children_read(child);
        dp_child_say(child, NULL);
        ended++;
    }
    return ended;
}

void dp_child_signal(const struct dp_child *child, int number)
{
    if (child->pid != 0)
        (void)kill(child->pid, number);
}

void dp_children_signal(const struct dp_children *children, int first, int number)
{
    for (int i = first; i < children->count; i++)
        dp_child_signal(&children->items[i], number);
}

int dp_children_running(const struct dp_children *children, int first)
{
    int running = 0;
    for (int i = first; i < children->count; i++)
        running += children->items[i].pid != 0;
    return running;
}
