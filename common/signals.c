/* Signals through signalfd: see signals.h. */
#include "common/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <ucontext.h>
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

/* A thread that a library started before main (OpenBLAS does) blocks nothing, and the kernel gives it the signal: it passes it on to the process and blocks from then on
 * what all others block, so that the descriptor gets it. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    (void)info;
    ucontext_t *interrupted = context;
    sigset_t set = watched();
    for (int n = 1; n < NSIG; n++)
        if (sigismember(&set, n) == 1)
            (void)sigaddset(&interrupted->uc_sigmask, n);
    (void)kill(getpid(), number);
}

static int set_handlers(void (*handler)(int, siginfo_t *, void *))
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGCHLD};
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
    action.sa_mask = watched();
    if (handler != NULL)
        action.sa_sigaction = handler;
    else
        action = (struct sigaction){.sa_handler = SIG_DFL};
    int bad = 0;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        bad |= sigaction(numbers[i], &action, NULL);
    return bad;
}

enum sl_status sl_signals_open(int *ret_fd, struct sl_error *err)
{
    sigset_t set = watched();
    (void)signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || set_handlers(pass_on) != 0)
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
    (void)set_handlers(NULL);
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
