/* `shelflife ssh`: starts the servers and workers of a hosts file through ssh and looks after them. First every host is asked whether it is ready, all at once; then server 0
 * starts, and when it listens, the others. Each remote process hangs on a lifeline (deploy/launch/lifeline.h): whatever ends this program ends it too. */
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/signals.h"
#include "common/text.h"
#include "deploy/children.h"
#include "deploy/command.h"
#include "deploy/launch/hosts.h"

#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SSH_WORDS_MAX 32
#define COMMAND_MAX 65536
#define HOSTS_FILE_MAX (1 << 20)
#define CHECK_MS 20000 /* for a host's answer, once it can be reached */
#define LEAVE_MS 30000 /* for workers, once server 0 has ended */
#define KILL_MS 5000
#define PORT_DEFAULT 17017

static const char help[] =
        "usage: shelflife ssh CONFIG --hosts FILE [OPTIONS]\n\n"
        "Trains on other machines: starts servers and workers there with ssh, shows their logs with a name "
        "before each "
        "line,\n"
        "and stops all of them when it is stopped. FILE has lines HOST [server|worker] [SLOTS].\n"
        "CONFIG, its vocabularies and the dataset must be at the same place on every host (shared storage, "
        "or copies).\n"
        "ssh must come in without a password (keys, an agent). Ctrl-C: snapshot, then stop; twice: stop "
        "now.\n\n"
        "  --hosts FILE                  who takes part\n"
        "  --servers N                   servers (default: the file's server slots, at least 1)\n"
        "  --dir DIR                     folder to work in on every host (default: this one)\n"
        "  --program PATH                shelflife on the hosts (default: the path of this one)\n"
        "  --coordinator HOST[:PORT]     how others reach server 0 (default: its name in FILE)\n"
        "  --port P                      port of server 0 (default 17017); server R listens R above\n"
        "  --threads N                   compute threads of a worker (default: the host's cores over its "
        "slots)\n"
        "  --resume auto|never|SNAPSHOT  where to begin (default auto)\n"
        "  --set KEY=VALUE               override one value of the config, everywhere\n"
        "  --connect-timeout SECONDS     a host that does not answer for so long cannot be reached (default "
        "10)\n"
        "  --ssh COMMAND                 ssh and its options, separated by spaces (default ssh)\n\n"
        "example: shelflife ssh run.yaml --hosts hosts.txt --dir /shared/run --set cluster.keys=keys\n";

struct arguments {
    struct dp_overrides overrides;
    const char *config, *hosts, *dir, *program, *coordinator, *resume;
    char *ssh;
    int64_t servers, port, threads, connect_s;
};

struct cluster {
    const struct arguments *arguments;
    struct dp_hosts hosts;
    struct dp_plan plan;
    struct dp_children children;
    char *ssh_words[SSH_WORDS_MAX + 1];
    char connect_option[48], coordinator[DP_NODE_ENDPOINT_MAX], here[SL_PATH_MAX], program[SL_PATH_MAX];
    int ssh_count, signal_fd, interrupts;
};

/* ---- arguments ---- */

static enum sl_status take_option(struct arguments *a, int option, struct sl_error *err)
{
    const char **texts[] = {['H'] = &a->hosts,
            ['d'] = &a->dir,
            ['P'] = &a->program,
            ['c'] = &a->coordinator,
            ['r'] = &a->resume};
    switch (option) {
    case 'S':
        return dp_number(&a->servers, "--servers", optarg, 1, DP_PROCESSES_MAX - 1, err);
    case 'p':
        return dp_number(&a->port, "--port", optarg, 1, 65535, err);
    case 't':
        return dp_number(&a->threads, "--threads", optarg, 1, 1024, err);
    case 'T':
        return dp_number(&a->connect_s, "--connect-timeout", optarg, 1, 600, err);
    case 's':
        return dp_overrides_add(&a->overrides, optarg, err);
    case 'x':
        a->ssh = optarg;
        return SL_OK;
    case '?':
        return sl_fail(err, SL_USAGE, "unknown option; see shelflife ssh --help");
    default:
        *texts[option] = optarg;
        return SL_OK;
    }
}

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"hosts", required_argument, NULL, 'H'},
            {"servers", required_argument, NULL, 'S'}, {"dir", required_argument, NULL, 'd'},
            {"program", required_argument, NULL, 'P'}, {"coordinator", required_argument, NULL, 'c'},
            {"port", required_argument, NULL, 'p'}, {"threads", required_argument, NULL, 't'},
            {"resume", required_argument, NULL, 'r'}, {"set", required_argument, NULL, 's'},
            {"connect-timeout", required_argument, NULL, 'T'}, {"ssh", required_argument, NULL, 'x'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct sl_error err = {0};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return -1;
        }
        enum sl_status status = take_option(a, option, &err);
        if (status != SL_OK)
            return dp_fail("ssh", status, &err);
    }
    if (optind + 1 != argc || a->hosts == NULL)
        return dp_usage("ssh", "expected one CONFIG and --hosts FILE");
    a->config = argv[optind];
    return 0;
}

static enum sl_status split_ssh(struct cluster *c, char *text, struct sl_error *err)
{
    (void)snprintf(
            c->connect_option, sizeof(c->connect_option), "ConnectTimeout=%" PRId64, c->arguments->connect_s);
    char *options[] = {"-o", "BatchMode=yes", "-o", c->connect_option, "-o", "ServerAliveInterval=10", "-o",
            "ServerAliveCountMax=3", "-T"};
    char *state = NULL;
    for (char *word = strtok_r(text, " ", &state); word != NULL; word = strtok_r(NULL, " ", &state)) {
        if (c->ssh_count > SSH_WORDS_MAX - 12)
            return sl_fail(err, SL_USAGE, "--ssh has too many words; put options into a file for ssh -F");
        c->ssh_words[c->ssh_count++] = word;
    }
    if (c->ssh_count == 0)
        return sl_fail(err, SL_USAGE, "--ssh is empty");
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        c->ssh_words[c->ssh_count++] = options[i];
    return SL_OK;
}

/* The program is run by its path here, and on other hosts too unless --program names another. ssh is found on PATH by env. */
static enum sl_status prepare(struct cluster *c, struct sl_error *err)
{
    const struct arguments *a = c->arguments;
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum sl_status status = sl_file_read(&text, &size, a->hosts, HOSTS_FILE_MAX, err);
    if (status != SL_OK)
        return sl_fail(err, SL_USAGE, "cannot read the hosts file %s", a->hosts);
    status = dp_hosts_parse(&c->hosts, text, a->hosts, err);
    if (status == SL_OK)
        status = dp_hosts_plan(&c->plan, &c->hosts, (int)a->servers, err);
    if (status == SL_OK)
        status = split_ssh(c, a->ssh, err);
    if (status == SL_OK)
        status = dp_sibling(c->program, "shelflife", err);
    if (status == SL_OK && getcwd(c->here, sizeof(c->here)) == NULL)
        status = sl_fail_errno(err, "cannot tell the current folder");
    if (status == SL_OK)
        status = sl_signals_open(&c->signal_fd, err);
    const char *given = a->coordinator;
    if (given != NULL && strncmp(given, "tcp://", 6) == 0)
        given += 6;
    if (given != NULL && strrchr(given, ':') != NULL && given[strlen(given) - 1] != ']')
        (void)snprintf(c->coordinator, sizeof(c->coordinator), "%s", given);
    else
        (void)snprintf(c->coordinator, sizeof(c->coordinator), "%s:%" PRId64,
                given != NULL ? given : dp_host_address(&c->hosts.items[c->plan.items[0].host]), a->port);
    return status;
}

/* ---- what is run there ---- */

/* Every word goes through the remote shell once: in single quotes nothing means anything but the quote itself. */
static void put_word(struct sl_text *text, const char *word)
{
    sl_text_put(text, " '", 2);
    for (const char *c = word; *c != 0; c++) {
        if (*c == '\'')
            sl_text_put(text, "'\\''", 4);
        else
            sl_text_put(text, c, 1);
    }
    sl_text_put(text, "'", 1);
}

static void put_option(struct sl_text *text, const char *option, const char *value)
{
    put_word(text, option);
    put_word(text, value);
}

static const char *remote_program(const struct cluster *c)
{
    return c->arguments->program != NULL ? c->arguments->program : c->program;
}

static void put_folder(struct sl_text *text, const struct cluster *c)
{
    sl_text_printf(text, "cd");
    put_word(text, c->arguments->dir != NULL ? c->arguments->dir : c->here);
    sl_text_printf(text, " || exit 2; ");
}

static void put_overrides(struct sl_text *text, const struct arguments *a)
{
    for (int i = 0; i < a->overrides.count; i++)
        put_option(text, "--set", a->overrides.texts[i]);
}

static void put_check(struct sl_text *text, const struct cluster *c)
{
    put_folder(text, c);
    sl_text_printf(text, "v=$(");
    put_word(text, remote_program(c));
    sl_text_printf(text,
            " --version) && { test \"$v\" = 'shelflife " SHELFLIFE_VERSION
            "' || { echo \"has $v, this is shelflife " SHELFLIFE_VERSION "\" >&2; exit 6; }; } && exec");
    put_word(text, remote_program(c));
    put_word(text, "config");
    put_word(text, c->arguments->config);
    put_overrides(text, c->arguments);
    sl_text_printf(text, " >/dev/null");
}

static void put_node(struct sl_text *text, const struct cluster *c, const struct dp_process *process)
{
    const struct arguments *a = c->arguments;
    const struct dp_host *host = &c->hosts.items[process->host];
    char number[24];
    put_folder(text, c);
    sl_text_printf(text, "exec env SHELFLIFE_PROGRESS=none");
    (void)snprintf(number, sizeof(number), "%d", process->rank);
    sl_text_printf(text, " SHELFLIFE_HOST=%s", dp_host_address(host));
    put_word(text, remote_program(c));
    put_word(text, "node");
    put_word(text, a->config);
    put_word(text, "--lifeline");
    put_option(text, "--role", dp_role_name(process->role));
    put_option(text, "--rank", number);
    put_option(text, "--coordinator", c->coordinator);
    put_option(text, "--resume", a->resume);
    (void)snprintf(number, sizeof(number), "%d", c->plan.servers);
    put_option(text, "--servers", number);
    (void)snprintf(number, sizeof(number), "%" PRId64, a->threads);
    if (a->threads > 0)
        put_option(text, "--threads", number);
    else if (process->role == DP_ROLE_WORKER && host->slots > 1)
        sl_text_printf(text, " --threads $(( $(nproc) > %d ? $(nproc) / %d : 1 ))", host->slots, host->slots);
    put_overrides(text, a);
}

/* process NULL: ask whether the host is ready. */
static enum sl_status start(
        struct cluster *c, int host, const struct dp_process *process, struct sl_error *err)
{
    SL_AUTO(sl_text_fini) struct sl_text text;
    char *argv[SSH_WORDS_MAX + 6] = {"/usr/bin/env"}, name[DP_CHILD_NAME_MAX];
    const char *bytes = NULL;
    int count = 1, index = 0;
    sl_text_init(&text, COMMAND_MAX);
    if (process == NULL) {
        put_check(&text, c);
        (void)snprintf(name, sizeof(name), "%s", c->hosts.items[host].name);
    } else {
        put_node(&text, c, process);
        (void)snprintf(name, sizeof(name), "%c%d@%s", process->role == DP_ROLE_SERVER ? 's' : 'w',
                process->rank, dp_host_address(&c->hosts.items[host]));
    }
    enum sl_status status = sl_text_finish(&text, &bytes, NULL, err);
    if (status != SL_OK)
        return status;
    for (int i = 0; i < c->ssh_count; i++)
        argv[count++] = c->ssh_words[i];
    argv[count++] = c->hosts.items[host].name;
    argv[count++] = (char *)bytes;
    return dp_children_start_fed(&c->children, &index, name, argv, err);
}

/* ---- look after them ---- */

/* Returns the signal that came for this program, 0 for none. */
static int poll_once(struct cluster *c, int timeout_ms)
{
    struct pollfd items[DP_CHILDREN_MAX + 1] = {{.fd = c->signal_fd, .events = POLLIN}};
    int taken = 0;
    for (int i = 0; i < c->children.count; i++)
        items[i + 1] = (struct pollfd){.fd = c->children.items[i].output_fd, .events = POLLIN};
    (void)poll(items, (nfds_t)c->children.count + 1, timeout_ms);
    for (int i = 0; i < c->children.count; i++)
        dp_children_read(&c->children.items[i]);
    for (int number; (number = sl_signals_take(c->signal_fd)) != 0;)
        if (number != SIGCHLD)
            taken = number;
    (void)dp_children_reap(&c->children);
    return taken;
}

/* Tells all to end at once; the ssh clients follow, and those that hang are killed. */
static void end_all(struct cluster *c)
{
    for (int i = 0; i < c->children.count; i++)
        dp_child_say(&c->children.items[i], "KILL\n");
    for (int64_t end_us = sl_clock_monotonic_us() + KILL_MS * 1000;
            dp_children_running(&c->children, 0) > 0 && sl_clock_monotonic_us() < end_us;)
        (void)poll_once(c, 100);
    dp_children_signal(&c->children, 0, SIGKILL);
    for (int i = 0; i < c->children.count; i++)
        dp_child_say(&c->children.items[i], NULL);
    while (dp_children_running(&c->children, 0) > 0)
        (void)poll_once(c, 100);
}

/* Says which hosts are not ready and why. Returns an exit code, 0 when all are. */
static int judge_hosts(const struct cluster *c)
{
    int code = 0;
    for (int i = 0; i < c->children.count; i++) {
        int got = c->children.items[i].exit_code;
        if (got == 0)
            continue;
        fprintf(stderr, "shelflife ssh: host %s %s\n", c->hosts.items[i].name,
                got == 255             ? "cannot be reached (ssh's own words are above)"
                : got == 128 + SIGKILL ? "did not answer in time"
                : got == 127           ? "has no shelflife there: give --program"
                                       : "is not ready (its own words are above)");
        if (code == 0)
            code = got > 8 ? SL_FAILED : got;
    }
    if (code != 0)
        fprintf(stderr, "shelflife ssh: nothing was started; repair or remove those hosts in %s\n",
                c->arguments->hosts);
    return code;
}

static int check_hosts(struct cluster *c, struct sl_error *err)
{
    int64_t end_us = sl_clock_monotonic_us() + (c->arguments->connect_s * 1000 + CHECK_MS) * 1000;
    enum sl_status status = SL_OK;
    int stopped = 0;
    for (int i = 0; status == SL_OK && i < c->hosts.count; i++)
        status = start(c, i, NULL, err);
    while (status == SL_OK && stopped == 0 && dp_children_running(&c->children, 0) > 0 &&
            sl_clock_monotonic_us() < end_us)
        stopped = poll_once(c, 200);
    dp_children_signal(&c->children, 0, SIGKILL);
    while (dp_children_running(&c->children, 0) > 0)
        (void)poll_once(c, 100);
    int code = status != SL_OK ? dp_fail("ssh", status, err) : stopped != 0 ? 128 + stopped : judge_hosts(c);
    c->children.count = 0;
    return code;
}

/* The first signal goes to server 0, which writes a snapshot and tells the others; SIGINT again means now. */
static void pass_on(struct cluster *c, int number)
{
    if (number == 0)
        return;
    c->interrupts += number == SIGINT;
    if (c->interrupts > 1)
        end_all(c);
    else
        dp_child_say(&c->children.items[0], number == SIGUSR1  ? "USR1\n"
                                            : number == SIGINT ? "INT\n"
                                                               : "TERM\n");
}

/* What must end the training: another server has failed, or no worker is left and all have failed. A worker that ended well was told that training is over: then server 0
 * is about to end, too. Returns its index, 0 for none. */
static int find_cause(const struct cluster *c)
{
    int failed = 0;
    bool content = c->children.count < c->plan.count;
    for (int i = 1; i < c->children.count; i++) {
        const struct dp_child *child = &c->children.items[i];
        if (child->pid == 0 && child->exit_code != 0 && i < c->plan.servers)
            return i;
        content = content || (i >= c->plan.servers && (child->pid != 0 || child->exit_code == 0));
        if (child->pid == 0 && child->exit_code != 0 && failed == 0)
            failed = i;
    }
    return content ? 0 : failed;
}

static int look_after(struct cluster *c)
{
    struct dp_child *first = &c->children.items[0];
    int cause = 0;
    while (first->pid != 0) {
        pass_on(c, poll_once(c, 1000));
        if (cause == 0 && first->pid != 0 && (cause = find_cause(c)) != 0) {
            fprintf(stderr,
                    "shelflife ssh: %s has ended with exit code %d: stopping the others after a snapshot\n",
                    c->children.items[cause].name, c->children.items[cause].exit_code);
            dp_child_say(first, "TERM\n");
        }
    }
    int64_t begin_us = sl_clock_monotonic_us();
    bool asked = false;
    while (dp_children_running(&c->children, 1) > 0) {
        int64_t waited_ms = (sl_clock_monotonic_us() - begin_us) / 1000;
        if (waited_ms > LEAVE_MS)
            end_all(c);
        for (int i = 1; !asked && waited_ms > LEAVE_MS / 2 && i < c->children.count; i++)
            dp_child_say(&c->children.items[i], "TERM\n");
        asked = waited_ms > LEAVE_MS / 2;
        pass_on(c, poll_once(c, 100));
    }
    if (first->exit_code == 255)
        fprintf(stderr, "shelflife ssh: the connection to %s is lost: run the same command again to go on\n",
                first->name);
    return cause != 0 ? c->children.items[cause].exit_code : first->exit_code;
}

/* Workers come when server 0 listens: reading a big snapshot may take longer than they would wait. */
static enum sl_status start_all(struct cluster *c, struct sl_error *err)
{
    enum sl_status status = start(c, c->plan.items[0].host, &c->plan.items[0], err);
    struct dp_child *first = &c->children.items[0];
    if (status == SL_OK)
        first->await = "listening endpoint=";
    while (status == SL_OK && first->pid != 0 && !first->awaited)
        pass_on(c, poll_once(c, 1000));
    for (int i = 1; status == SL_OK && first->pid != 0 && i < c->plan.count; i++)
        status = start(c, c->plan.items[i].host, &c->plan.items[i], err);
    return status;
}

int dp_ssh(int argc, char **argv)
{
    char ssh[] = "ssh";
    struct arguments a = {.resume = "auto", .ssh = ssh, .port = PORT_DEFAULT, .connect_s = 10};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    SL_AUTO_FREE struct cluster *c = sl_alloc(1, sizeof(*c));
    if (c == NULL)
        return dp_fail("ssh", sl_fail(&err, SL_NO_MEMORY, "out of memory"), &err);
    c->arguments = &a;
    c->signal_fd = -1;
    enum sl_status status = prepare(c, &err);
    if (status != SL_OK)
        return dp_fail("ssh", status, &err);
    code = check_hosts(c, &err);
    if (code == 0) {
        status = start_all(c, &err);
        if (status != SL_OK)
            end_all(c);
        code = status == SL_OK ? look_after(c) : dp_fail("ssh", status, &err);
    }
    (void)close(c->signal_fd);
    return code;
}
