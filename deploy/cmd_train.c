/* `shelflife train`: starts one server and some workers on this machine and looks after them: passes signals on, shows the workers' log lines,
 * ends when the server ends, leaves nobody behind. */
#include "common/cpu.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/children.h"
#include "deploy/command.h"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 60000
#define LEAVE_TIMEOUT_MS 10000 /* for workers, after the server has ended */
#define ENDPOINT_MAX 256
#define ARGUMENTS_MAX (2 * DP_OVERRIDES_MAX + 16)

static const char help[] =
        "usage: shelflife train CONFIG [OPTIONS]\n\n"
        "Trains on this machine with one server process and some worker processes, over ZeroMQ on loopback.\n"
        "Run the same command again to go on where the last snapshot stands. Ctrl-C or SIGTERM: snapshot, "
        "then stop.\n\n"
        "  --servers N                   server processes (this release: 1)\n"
        "  --workers N                   worker processes (default: the config's cluster.workers)\n"
        "  --threads N                   compute threads of each worker (default: the cores shared out)\n"
        "  --resume auto|never|SNAPSHOT  where to begin (default auto: the newest whole snapshot, if there "
        "is one)\n"
        "  --set KEY=VALUE               override one value of the config, such as epochs=3\n\n"
        "example: shelflife train run.yaml --workers 2 --set optimiser.lr=3e-4\n";

struct arguments {
    struct dp_overrides overrides;
    const char *config, *resume;
    int64_t servers, workers, threads;
};

/* ---- arguments ---- */

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"servers", required_argument, NULL, 'S'},
            {"workers", required_argument, NULL, 'w'}, {"threads", required_argument, NULL, 't'},
            {"resume", required_argument, NULL, 'r'}, {"set", required_argument, NULL, 's'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct sl_error err = {0};
    enum sl_status status = SL_OK;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1 && status == SL_OK;) {
        switch (option) {
        case 'S':
            status = dp_number(&a->servers, "--servers", optarg, 1, 1, &err);
            break;
        case 'w':
            status = dp_number(&a->workers, "--workers", optarg, 1, DP_CHILDREN_MAX - 1, &err);
            break;
        case 't':
            status = dp_number(&a->threads, "--threads", optarg, 1, 1024, &err);
            break;
        case 'r':
            a->resume = optarg;
            break;
        case 's':
            status = dp_overrides_add(&a->overrides, optarg, &err);
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return dp_usage("train", "unknown option");
        }
    }
    if (status != SL_OK)
        return dp_fail("train", status, &err);
    if (optind + 1 != argc)
        return dp_usage("train", "expected one CONFIG");
    a->config = argv[optind];
    return 0;
}

/* ---- start ---- */

static void add_overrides(char **argv, int *count, const struct arguments *a)
{
    for (int i = 0; i < a->overrides.count; i++) {
        argv[(*count)++] = "--set";
        argv[(*count)++] = (char *)a->overrides.texts[i];
    }
}

static enum sl_status start_server(struct dp_children *children, const struct arguments *a, char *program,
        int ready_fd, struct sl_error *err)
{
    char *argv[ARGUMENTS_MAX] = {
            program, "server", (char *)a->config, "--resume", (char *)a->resume, "--ready-fd"};
    char descriptor[16];
    int count = 6, index = 0;
    (void)snprintf(descriptor, sizeof(descriptor), "%d", ready_fd);
    argv[count++] = descriptor;
    add_overrides(argv, &count, a);
    return dp_children_start(children, &index, "server", argv, false, ready_fd, err);
}

static enum sl_status start_worker(struct dp_children *children, const struct arguments *a, char *program,
        char *endpoint, int number, struct sl_error *err)
{
    char *argv[ARGUMENTS_MAX] = {
            program, "worker", (char *)a->config, "--coordinator", endpoint, "--threads"};
    char threads[16], name[DP_CHILD_NAME_MAX];
    int count = 6, index = 0;
    (void)snprintf(threads, sizeof(threads), "%d", (int)a->threads);
    (void)snprintf(name, sizeof(name), "w%d", number);
    argv[count++] = threads;
    argv[count++] = "--name";
    argv[count++] = name;
    add_overrides(argv, &count, a);
    return dp_children_start(children, &index, name, argv, true, -1, err);
}

/* Waits for the server's endpoint. Returns false when it ended or stayed silent. */
static bool read_endpoint(int fd, char endpoint[ENDPOINT_MAX])
{
    size_t size = 0;
    struct pollfd item = {.fd = fd, .events = POLLIN};
    while (size < ENDPOINT_MAX - 1 && poll(&item, 1, READY_TIMEOUT_MS) > 0) {
        ssize_t got = read(fd, endpoint + size, 1);
        if (got <= 0)
            return false;
        if (endpoint[size] == '\n') {
            endpoint[size] = 0;
            return true;
        }
        size++;
    }
    return false;
}

/* ---- look after them ---- */

/* Ctrl-C twice means now. All others go to the server, which writes a snapshot and tells the workers. */
static void pass_on(struct dp_children *children, int number, int *interrupts)
{
    *interrupts += number == SIGINT;
    if (*interrupts > 1)
        dp_children_signal(children, 0, SIGKILL);
    else
        dp_child_signal(&children->items[0], number);
}

static void poll_once(struct dp_children *children, int signal_fd, int timeout_ms, int *interrupts)
{
    struct pollfd items[DP_CHILDREN_MAX + 1] = {{.fd = signal_fd, .events = POLLIN}};
    for (int i = 0; i < children->count; i++)
        items[i + 1] = (struct pollfd){.fd = children->items[i].output_fd, .events = POLLIN};
    (void)poll(items, (nfds_t)children->count + 1, timeout_ms);
    for (int i = 0; i < children->count; i++)
        dp_children_read(&children->items[i]);
    for (int number; (number = sl_signals_take(signal_fd)) != 0;)
        if (number != SIGCHLD)
            pass_on(children, number, interrupts);
    (void)dp_children_reap(children);
}

/* The first worker that ended badly is the root cause if nobody is left to compute. */
static int first_failure(const struct dp_children *children)
{
    for (int i = 1; i < children->count; i++)
        if (children->items[i].pid == 0 && children->items[i].exit_code != 0)
            return i;
    return 0;
}

static int look_after(struct dp_children *children, int signal_fd)
{
    int interrupts = 0, cause = 0;
    while (children->items[0].pid != 0) {
        poll_once(children, signal_fd, 1000, &interrupts);
        if (cause == 0 && children->count > 1 && children->items[0].pid != 0 &&
                dp_children_running(children, 1) == 0 && (cause = first_failure(children)) != 0) {
            fprintf(stderr,
                    "shelflife train: all workers have ended; the first to fail was %s with exit code %d\n",
                    children->items[cause].name, children->items[cause].exit_code);
            dp_children_signal(children, 0, SIGTERM);
        }
    }
    for (int waited_ms = 0; dp_children_running(children, 1) > 0; waited_ms += 100) {
        if (waited_ms == LEAVE_TIMEOUT_MS / 2)
            dp_children_signal(children, 1, SIGTERM);
        if (waited_ms >= LEAVE_TIMEOUT_MS)
            dp_children_signal(children, 1, SIGKILL);
        poll_once(children, signal_fd, 100, &interrupts);
    }
    return cause != 0 ? children->items[cause].exit_code : children->items[0].exit_code;
}

static enum sl_status start_all(
        struct dp_children *children, const struct arguments *a, char *program, struct sl_error *err)
{
    int ends[2];
    char endpoint[ENDPOINT_MAX];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return sl_fail_errno(err, "cannot make a pipe");
    enum sl_status status = start_server(children, a, program, ends[1], err);
    (void)close(ends[1]);
    bool ready = status == SL_OK && read_endpoint(ends[0], endpoint);
    (void)close(ends[0]);
    for (int w = 0; ready && status == SL_OK && w < a->workers; w++)
        status = start_worker(children, a, program, endpoint, w, err);
    if (status != SL_OK || !ready)
        dp_children_signal(children, 0, SIGTERM);
    return status;
}

int dp_train(int argc, char **argv)
{
    struct arguments a = {.resume = "auto", .servers = 1};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    char program[SL_PATH_MAX];
    int signal_fd = -1;
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
    SL_AUTO_FREE struct dp_children *children = sl_alloc(1, sizeof(*children));
    enum sl_status status = children == NULL ? sl_fail(&err, SL_NO_MEMORY, "out of memory") : SL_OK;
    if (status == SL_OK)
        status = sl_config_load(&config, a.config, a.overrides.texts, a.overrides.count, &err);
    if (status == SL_OK)
        status = dp_sibling(program, "shelflife", &err);
    if (status == SL_OK)
        status = sl_signals_open(&signal_fd, &err);
    if (status != SL_OK)
        return dp_fail("train", status, &err);
    if (a.workers == 0)
        a.workers = config->cluster.workers;
    if (a.threads == 0)
        a.threads = config->cluster.threads > 0 ? config->cluster.threads
                                                : (sl_cpu_count() + a.workers - 1) / a.workers;
    status = start_all(children, &a, program, &err);
    code = children->count > 0 ? look_after(children, signal_fd) : SL_FAILED;
    (void)close(signal_fd);
    return status == SL_OK ? code : dp_fail("train", status, &err);
}
