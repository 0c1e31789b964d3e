/* Signals through signalfd: see signals.h. */
#include "common/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static sigset_t watched(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGCHLD);
    return set;
}

enum sl_status sl_signals_open(int *ret_fd, struct sl_error *err)
{
    sigset_t set = watched();
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return sl_fail_errno(err, "cannot block signals");
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return sl_fail_errno(err, "cannot watch signals");
    *ret_fd = fd;
    return SL_OK;
}

int sl_signals_take(int fd)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    return (int)info.ssi_signo;
}

enum sl_status sl_signals_pipe(int *ret_fd, int *ret_send_fd, struct sl_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return sl_fail_errno(err, "cannot make a pipe for signals");
    *ret_fd = ends[0];
    *ret_send_fd = ends[1];
    return SL_OK;
}

void sl_signals_send(int send_fd, int number)
{
    struct signalfd_siginfo info = {
            .ssi_signo = (uint32_t)number}; /* shorter than PIPE_BUF: whole or not at all */
    (void)!write(send_fd, &info, sizeof(info));
}

void sl_signals_reset(void)
{
    sigset_t set = watched();
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
}

int sl_signals_exit_code(int number, const char **ret_text)
{
    if (ret_text != NULL)
        *ret_text = number == SIGTERM   ? "SIGTERM"
                    : number == SIGUSR1 ? "SIGUSR1"
                    : number == SIGINT  ? "SIGINT"
                                        : "a signal";
    return 128 + number;
}
