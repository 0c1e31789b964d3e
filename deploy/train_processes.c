/* `shelflife train` with processes: starts servers and workers on this machine and looks after them: passes signals on, shows their log lines, starts again who died,
 * ends when the coordinator's server ends, leaves nobody behind. */
#include "common/clock.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/children.h"
#include "deploy/launch/restarts.h"
#include "deploy/train.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 60000
#define LEAVE_TIMEOUT_MS 10000 /* for the others, after the coordinator's server has ended */
#define ENDPOINT_MAX 256
#define ARGUMENTS_MAX (2 * DP_OVERRIDES_MAX + 20)

/* The children are the servers by rank, then the workers. */
struct cluster {
    const struct dp_train_plan *plan;
    struct dp_children children;
    struct dp_restarts restarts[DP_CHILDREN_MAX];
    char program[SL_PATH_MAX];
    char endpoint[ENDPOINT_MAX]; /* of the coordinator, "" = not known yet */
    int interrupts;
    bool stopping; /* a signal was passed on, or one has failed: nobody is started again */
    int exit_code; /* of what stopped the cluster, 0 = the coordinator's own says all */
};

/* ---- start ---- */

struct arguments {
    char *argv[ARGUMENTS_MAX];
    int count;
    char number[16], threads[16], descriptor[16];
};

static void add(struct arguments *a, const char *text)
{
    a->argv[a->count++] = (char *)text;
}

static void add_server(struct arguments *a, const struct cluster *c, int rank, int ready_fd)
{
    bool again = c->endpoint[0] != 0;
    add(a, "server");
    add(a, c->plan->config_path);
    if (rank > 0) {
        (void)snprintf(a->number, sizeof(a->number), "%d", rank);
        add(a, "--rank");
        add(a, a->number);
        add(a, "--coordinator");
        add(a, c->endpoint);
        return;
    }
    add(a, "--resume");
    add(a, again ? "auto" : c->plan->resume);
    if (again) { /* where the others look for it */
        add(a, "--bind");
        add(a, c->endpoint);
    }
    if (ready_fd >= 0) {
        (void)snprintf(a->descriptor, sizeof(a->descriptor), "%d", ready_fd);
        add(a, "--ready-fd");
        add(a, a->descriptor);
    }
}

static void add_worker(struct arguments *a, const struct cluster *c, int number)
{
    (void)snprintf(a->number, sizeof(a->number), "w%d", number);
    (void)snprintf(a->threads, sizeof(a->threads), "%d", c->plan->threads);
    add(a, "worker");
    add(a, c->plan->config_path);
    add(a, "--coordinator");
    add(a, c->endpoint);
    add(a, "--threads");
    add(a, a->threads);
    add(a, "--name");
    add(a, a->number);
}

static void make_arguments(struct arguments *a, const struct cluster *c, int index, int ready_fd)
{
    *a = (struct arguments){0};
    add(a, c->program);
    if (index < c->plan->servers)
        add_server(a, c, index, ready_fd);
    else
        add_worker(a, c, index - c->plan->servers);
    for (int i = 0; i < c->plan->overrides->count; i++) {
        add(a, "--set");
        add(a, c->plan->overrides->texts[i]);
    }
}

static enum sl_status start(struct cluster *c, int index, int ready_fd, struct sl_error *err)
{
    struct arguments a;
    char name[DP_CHILD_NAME_MAX];
    bool server = index < c->plan->servers;
    int got = 0;
    make_arguments(&a, c, index, ready_fd);
    if (index == 0)
        (void)snprintf(name, sizeof(name), "server");
    else
        (void)snprintf(
                name, sizeof(name), "%c%d", server ? 's' : 'w', server ? index : index - c->plan->servers);
    return dp_children_start(&c->children, &got, name, a.argv, index > 0, ready_fd, err);
}

/* Waits for the coordinator's endpoint. Returns false when it ended or stayed silent. */
static bool read_endpoint(int fd, char endpoint[ENDPOINT_MAX])
{
    size_t size = 0;
    struct pollfd item = {.fd = fd, .events = POLLIN};
    while (size < ENDPOINT_MAX - 1 && poll(&item, 1, READY_TIMEOUT_MS) > 0) {
        char byte = 0;
        if (read(fd, &byte, 1) <= 0)
            break;
        if (byte == '\n')
            return true;
        endpoint[size++] = byte;
        endpoint[size] = 0;
    }
    endpoint[0] = 0;
    return false;
}

static enum sl_status start_all(struct cluster *c, struct sl_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return sl_fail_errno(err, "cannot make a pipe");
    enum sl_status status = start(c, 0, ends[1], err);
    (void)close(ends[1]);
    bool ready = status == SL_OK && read_endpoint(ends[0], c->endpoint);
    (void)close(ends[0]);
    for (int i = 1; ready && status == SL_OK && i < c->plan->servers + c->plan->workers; i++)
        status = start(c, i, -1, err);
    if (status != SL_OK || !ready) {
        c->stopping = true;
        dp_children_signal(&c->children, 0, SIGTERM);
    }
    return status;
}

/* ---- look after them ---- */

/* Ctrl-C twice means now. All others go to the coordinator's server, which writes a snapshot and tells the rest. */
static void pass_on(struct cluster *c, int number)
{
    c->stopping = true;
    c->interrupts += number == SIGINT;
    if (c->interrupts > 1)
        dp_children_signal(&c->children, 0, SIGKILL);
    else
        dp_child_signal(&c->children.items[0], number);
}

static void poll_once(struct cluster *c, int timeout_ms)
{
    struct pollfd items[DP_CHILDREN_MAX + 1] = {{.fd = c->plan->signal_fd, .events = POLLIN}};
    struct dp_children *children = &c->children;
    for (int i = 0; i < children->count; i++)
        items[i + 1] = (struct pollfd){.fd = children->items[i].output_fd, .events = POLLIN};
    (void)poll(items, (nfds_t)children->count + 1, timeout_ms);
    for (int i = 0; i < children->count; i++)
        dp_children_read(&children->items[i]);
    for (int number; (number = sl_signals_take(c->plan->signal_fd)) != 0;)
        if (number != SIGCHLD)
            pass_on(c, number);
    (void)dp_children_reap(children);
}

/* The cluster cannot go on, or should not: the coordinator's server takes a snapshot if it can, and ends. */
static void stop(struct cluster *c, int exit_code)
{
    c->stopping = true;
    c->exit_code = exit_code;
    dp_child_signal(&c->children.items[0], SIGTERM);
}

static void start_again(struct cluster *c, int index)
{
    struct dp_child *child = &c->children.items[index];
    struct arguments a;
    struct sl_error err = {0};
    make_arguments(&a, c, index, -1);
    if (dp_child_restart(child, a.argv, &err) == SL_OK)
        return;
    fprintf(stderr, "shelflife train: %s\n", err.text);
    stop(c, SL_FAILED);
}

/* A child has ended. One that failed for a reason that will not go away is not started again; without a server nobody can go on, without a worker the others can. */
static void judge(struct cluster *c, int index)
{
    struct dp_child *child = &c->children.items[index];
    struct dp_restarts *restarts = &c->restarts[index];
    if (!dp_restart_worthwhile(child->exit_code)) {
        restarts->over = true;
        if (index > 0 && index < c->plan->servers && child->exit_code != 0) {
            fprintf(stderr,
                    "shelflife train: %s has ended with exit code %d: training cannot go on without it\n",
                    child->name, child->exit_code);
            stop(c, child->exit_code);
        }
        return;
    }
    int64_t now_us = sl_clock_monotonic_us();
    if (!dp_restarts_plan(restarts, dp_newest_step(c->plan->config->snapshots.dir), now_us)) {
        fprintf(stderr,
                "shelflife train: %s has died %d times with hardly a new step in between, last with exit "
                "code %d: giving up\n",
                child->name, DP_FRUITLESS_MAX + 1, child->exit_code);
        restarts->over = true;
        stop(c, SL_GAVE_UP);
        return;
    }
    fprintf(stderr, "shelflife train: %s has died with exit code %d: starting it again%s\n", child->name,
            child->exit_code, restarts->due_us > now_us ? " in a moment" : "");
}

/* Ends are judged once, restarts happen when they are due. Returns how long to wait for the next one. */
static int look_at_ends(struct cluster *c)
{
    int64_t now_us = sl_clock_monotonic_us(), wait_us = 1000000;
    for (int i = 0; i < c->children.count && !c->stopping; i++) {
        struct dp_restarts *restarts = &c->restarts[i];
        if (c->children.items[i].pid != 0 || restarts->over)
            continue;
        if (!restarts->planned)
            judge(c, i);
        if (!restarts->planned || c->stopping)
            continue;
        if (restarts->due_us > now_us) {
            wait_us = restarts->due_us - now_us < wait_us ? restarts->due_us - now_us : wait_us;
            continue;
        }
        dp_restarts_begin(restarts, now_us);
        start_again(c, i);
    }
    return (int)(wait_us / 1000) + 1;
}

static bool is_over(const struct cluster *c, int index)
{
    return c->children.items[index].pid == 0 && (c->stopping || c->restarts[index].over);
}

/* The first worker that ended badly is the root cause if nobody is left to compute. */
static void check_workers(struct cluster *c)
{
    int cause = 0;
    for (int i = c->plan->servers; i < c->children.count && !c->stopping; i++) {
        if (!is_over(c, i))
            return;
        if (cause == 0 && c->children.items[i].exit_code != 0)
            cause = i;
    }
    if (cause == 0)
        return;
    fprintf(stderr, "shelflife train: all workers have ended; the first to fail was %s with exit code %d\n",
            c->children.items[cause].name, c->children.items[cause].exit_code);
    stop(c, c->children.items[cause].exit_code);
}

static int look_after(struct cluster *c)
{
    int wait_ms = 1000;
    while (!is_over(c, 0)) {
        poll_once(c, wait_ms);
        if (c->stopping)
            continue;
        wait_ms = look_at_ends(c);
        if (!c->stopping)
            check_workers(c);
    }
    c->stopping = true;
    int64_t begun_us = sl_clock_monotonic_us();
    dp_children_signal(
            &c->children, 1, SIGTERM); /* who was in knows already; who came too late would look for it */
    while (dp_children_running(&c->children, 1) > 0) {
        int64_t waited_ms = (sl_clock_monotonic_us() - begun_us) / 1000;
        if (waited_ms >= LEAVE_TIMEOUT_MS)
            dp_children_signal(&c->children, 1, SIGKILL);
        poll_once(c, 100);
    }
    return c->exit_code != 0 ? c->exit_code : c->children.items[0].exit_code;
}

int dp_train_processes(const struct dp_train_plan *plan)
{
    struct sl_error err = {0};
    SL_AUTO_FREE struct cluster *c = sl_alloc(1, sizeof(*c));
    enum sl_status status = c == NULL ? sl_fail(&err, SL_NO_MEMORY, "out of memory") : SL_OK;
    if (status == SL_OK)
        status = dp_sibling(c->program, "shelflife", &err);
    if (status != SL_OK)
        return dp_fail("train", status, &err);
    c->plan = plan;
    status = start_all(c, &err);
    int code = c->children.count > 0 ? look_after(c) : SL_FAILED;
    return status == SL_OK ? code : dp_fail("train", status, &err);
}
