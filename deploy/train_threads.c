/* `shelflife train` in one process: a server's thread and a worker's, which talk over inproc:// through the same code as over a network. This thread passes signals on
 * and waits for both. */
#include "common/log.h"
#include "common/signals.h"
#include "common/transport.h"
#include "deploy/train.h"
#include "ps/loop.h"
#include "worker/loop.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define ENDPOINT "inproc://coordinator"

/* One of the two: what it was told, how it ended. */
struct party {
    const struct dp_train_plan *plan;
    struct sl_transport *transport;
    pthread_t handle;
    bool started;
    atomic_bool ended;
    int ended_fd;           /* closed at its end: the other side can be read */
    int signal_fd, send_fd; /* of sl_signals_pipe */
    int ready_fd;           /* the server's */
    enum sl_status status;  /* valid once ended */
    int signal_number;
    struct sl_error error;
};

static void *server_main(void *argument)
{
    struct party *p = argument;
    struct ps_run_options options = {.config = p->plan->config,
            .resume = p->plan->resume,
            .bind = ENDPOINT,
            .signal_fd = p->signal_fd,
            .ready_fd = p->ready_fd,
            .transport = p->transport};
    p->status = ps_run(&options, &p->signal_number, &p->error);
    atomic_store(&p->ended, true);
    (void)close(p->ended_fd);
    return NULL;
}

static void *worker_main(void *argument)
{
    struct party *p = argument;
    struct wk_worker_options options = {.config = p->plan->config,
            .coordinator = ENDPOINT,
            .threads = p->plan->threads,
            .signal_fd = p->signal_fd,
            .transport = p->transport};
    p->status = wk_worker_run(&options, &p->error);
    atomic_store(&p->ended, true);
    (void)close(p->ended_fd);
    return NULL;
}

/* ret_fd can be read when the party has ended. */
static enum sl_status start(struct party *p, void *(*main)(void *), int *ret_fd, struct sl_error *err)
{
    int ends[2];
    enum sl_status status = sl_signals_pipe(&p->signal_fd, &p->send_fd, err);
    if (status != SL_OK)
        return status;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return sl_fail_errno(err, "cannot make a pipe");
    p->ended_fd = ends[1];
    *ret_fd = ends[0];
    int failed = pthread_create(&p->handle, NULL, main, p);
    p->started = failed == 0;
    if (failed == 0)
        return SL_OK;
    (void)close(ends[1]);
    return sl_fail(err, SL_FAILED, "cannot start a thread: %s", strerror(failed));
}

static void finish(struct party *p, int fd)
{
    if (p->started)
        (void)pthread_join(p->handle, NULL);
    if (p->signal_fd >= 0)
        (void)close(p->signal_fd);
    if (p->send_fd >= 0)
        (void)close(p->send_fd);
    if (fd >= 0)
        (void)close(fd);
}

/* Ctrl-C twice means now: snapshots are whole or absent, whatever the moment. */
static void pass_signals(const struct dp_train_plan *plan, struct party *server, int *interrupts)
{
    for (int number; (number = sl_signals_take(plan->signal_fd)) != 0;) {
        *interrupts += number == SIGINT;
        if (*interrupts > 1)
            _exit(128 + SIGINT);
        if (number != SIGCHLD)
            sl_signals_send(server->send_fd, number);
    }
}

/* Waits until fd can be read, passing signals on. Returns false when the time is over first. */
static bool wait_for(const struct dp_train_plan *plan, struct party *server, int fd, int other_fd,
        int timeout_ms, int *interrupts)
{
    for (;;) {
        struct pollfd items[3] = {{.fd = fd, .events = POLLIN}, {.fd = plan->signal_fd, .events = POLLIN},
                {.fd = other_fd, .events = POLLIN}};
        int ready = poll(items, 3, timeout_ms);
        if (ready == 0)
            return false;
        if (ready > 0 && items[1].revents != 0)
            pass_signals(plan, server, interrupts);
        if (ready > 0 && (items[0].revents != 0 || items[2].revents != 0))
            return true;
    }
}

/* A server that has ended well has all that was wanted, whatever became of the worker; one that was stopped because the worker failed ends as the worker did. */
static int exit_code(const struct party *server, const struct party *worker)
{
    bool worker_failed = worker->started && worker->status != SL_OK && worker->status != SL_STOPPED;
    if (worker_failed && server->status == SL_STOPPED)
        return dp_fail("train", worker->status, &worker->error);
    if (server->status == SL_STOPPED)
        return sl_signals_exit_code(server->signal_number, NULL);
    return server->status == SL_OK ? SL_OK : dp_fail("train", server->status, &server->error);
}

static enum sl_status run(const struct dp_train_plan *plan, struct party *server, struct party *worker,
        int *ret_server_fd, int *ret_worker_fd, struct sl_error *err)
{
    int ready[2], interrupts = 0;
    if (pipe2(ready, O_CLOEXEC) != 0)
        return sl_fail_errno(err, "cannot make a pipe");
    server->ready_fd = ready[1]; /* the server closes it, ready or not */
    enum sl_status status = start(server, server_main, ret_server_fd, err);
    if (status != SL_OK)
        (void)close(ready[1]);
    char first = 0;
    bool listens = status == SL_OK && wait_for(plan, server, ready[0], -1, -1, &interrupts) &&
                   read(ready[0], &first, 1) == 1;
    (void)close(ready[0]);
    if (status == SL_OK && listens)
        status = start(worker, worker_main, ret_worker_fd, err);
    if (status != SL_OK)
        return status;
    (void)wait_for(plan, server, *ret_server_fd, *ret_worker_fd, -1, &interrupts);
    if (!atomic_load(&server->ended) && atomic_load(&worker->ended) && worker->status != SL_OK)
        sl_signals_send(server->send_fd, SIGTERM); /* nobody is left to compute */
    (void)wait_for(plan, server, *ret_server_fd, -1, -1, &interrupts);
    if (listens) /* one that was in has been told and takes no notice; one that came too late would look for the server */
        sl_signals_send(worker->send_fd, SIGTERM);
    return SL_OK;
}

int dp_train_threads(const struct dp_train_plan *plan)
{
    struct sl_error err = {0};
    int server_fd = -1, worker_fd = -1;
    struct sl_transport *transport = NULL;
    enum sl_status status =
            sl_log_open(&(struct sl_log_options){.level = SL_LOG_INFO, .role = "train"}, &err);
    if (status == SL_OK)
        status = sl_transport_create(&transport, &err);
    struct party server = {.plan = plan, .transport = transport, .signal_fd = -1, .send_fd = -1},
                 worker = {.plan = plan, .transport = transport, .signal_fd = -1, .send_fd = -1};
    if (status == SL_OK)
        status = run(plan, &server, &worker, &server_fd, &worker_fd, &err);
    if (status != SL_OK && server.started)
        sl_signals_send(server.send_fd, SIGTERM);
    finish(&worker, worker_fd);
    finish(&server, server_fd);
    sl_transport_destroy(transport);
    sl_log_close();
    return status == SL_OK ? exit_code(&server, &worker) : dp_fail("train", status, &err);
}
