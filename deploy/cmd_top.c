/* `shelflife top`: a run in the terminal, as it goes. */
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/signals.h"
#include "common/status_client.h"
#include "deploy/command.h"
#include "deploy/watch/screen.h"
#include "deploy/watch/target.h"
#include "deploy/watch/terminal.h"
#include "deploy/watch/words.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TURN_MS 100    /* how long a key may wait while nothing comes */
#define DRAW_US 100000 /* least time between two drawings */

static const char help[] =
        "usage: shelflife top [RUN|ENDPOINT] [OPTIONS]\n\n"
        "Shows a run in the terminal while it goes: curves of losses, ratios and coefficients, workers, "
        "servers, "
        "events. RUN is its\n"
        "folder (snapshots.dir); without it, the one run below the current folder. q quits, up and down "
        "scroll "
        "the workers. The run is\n"
        "never touched. Off a terminal, or on one that cannot move its cursor, it writes a line a second "
        "instead. NO_COLOR is obeyed.\n\n"
        "  --keys DIR  keys of an encrypted run: a folder with server.pub and an allowed client.key\n"
        "  --plain     lines, even on a terminal\n\n"
        "example: shelflife top runs/first\n";

struct top {
    struct sl_status_place place;
    const char *keys;
    bool plain;
    struct sl_status_client *client;
    Shelflife__Status__Status *status; /* our own copy: the client's lives only until its next message */
    struct dp_trail history;
    bool history_read;
    double started; /* of the run whose history it is */
    int scroll;
    enum sl_run_life life;
    char text[SL_ERROR_TEXT_MAX];
    struct sl_error error;
};

static int parse(struct top *t, int argc, char **argv, const char **ret_target)
{
    static const struct option options[] = {{"keys", required_argument, NULL, 'k'},
            {"plain", no_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'k':
            t->keys = optarg;
            break;
        case 'p':
            t->plain = true;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return dp_usage("top", "unknown option");
        }
    }
    if (optind + 1 < argc)
        return dp_usage("top", "expected one RUN or ENDPOINT");
    *ret_target = argv[optind];
    return 0;
}

/* ---- news ---- */

static void free_status(struct top *t)
{
    if (t->status != NULL)
        shelflife__status__status__free_unpacked(t->status, NULL);
    t->status = NULL;
}

/* A copy by packing and unpacking: what was let through once fits again. */
static void keep_status(struct top *t, const Shelflife__Status__Status *status)
{
    size_t size = shelflife__status__status__get_packed_size(status);
    SL_AUTO_FREE uint8_t *bytes = sl_alloc(size > 0 ? size : 1, 1);
    if (bytes == NULL)
        return;
    size = shelflife__status__status__pack(status, bytes);
    free_status(t);
    t->status = shelflife__status__status__unpack(NULL, size, bytes);
}

/* The first Status of a run tells its branches, by which its past can be read. */
static void read_history(struct top *t)
{
    const Shelflife__Status__Run *run = t->status != NULL ? t->status->run : NULL;
    if (run == NULL || (t->history_read && run->started == t->started))
        return;
    t->history_read = true;
    t->started = run->started;
    dp_trail_clear(&t->history);
    const char *folder = sl_status_client_place(t->client)->folder;
    SL_AUTO_FREE char *path = folder[0] != 0 ? sl_path_join(folder, "metrics.jsonl") : NULL;
    if (path != NULL)
        dp_trail_read(&t->history, path, run);
}

/* Takes all there is, after at most timeout_ms. */
static enum sl_status take_news(struct top *t, int64_t timeout_ms)
{
    struct sl_status_news news;
    enum sl_status status = SL_OK;
    while ((status = sl_status_client_next(t->client, timeout_ms, &news, &t->error)) == SL_OK) {
        timeout_ms = 0;
        if (news.kind == SL_NEWS_STATUS) {
            keep_status(t, news.status);
            read_history(t);
        } else if (news.kind == SL_NEWS_STEP) {
            dp_trail_add(&t->history, news.step);
        }
    }
    t->life = sl_status_client_life(t->client, t->text, sizeof(t->text));
    return status == SL_TIMEOUT ? SL_OK : status;
}

/* ---- lines ---- */

static void print_line(const struct top *t)
{
    char line[1024], when[SL_TIME_TEXT_MAX], figures[512] = "", name[SL_NAME_MAX], word[DP_WORD_MAX];
    const Shelflife__Status__Status *m = t->status;
    sl_time_format_us(when, sizeof(when), sl_clock_wall_us());
    if (m == NULL || t->life >= SL_LIFE_QUIET) {
        printf("%s  %s\n", when, dp_clean(line, sizeof(line), t->text));
        return;
    }
    const Shelflife__Status__Step *step = m->last_step;
    size_t used = 0;
    for (size_t b = 0; step != NULL && b < step->n_loss && b < SL_BRANCHES_MAX && used < sizeof(figures); b++)
        used += (size_t)snprintf(figures + used, sizeof(figures) - used, "  %s %s",
                dp_clean(name, sizeof(name), dp_branch(m->run, b)), dp_figure(word, step->loss[b]));
    dp_headline(line, sizeof(line), m);
    printf("%s  %s  loss%s\n", when, line, figures);
}

static int run_lines(struct top *t, int signal_fd)
{
    while (take_news(t, 1000) == SL_OK) {
        print_line(t);
        (void)fflush(stdout);
        if (t->life >= SL_LIFE_FINISHED)
            return t->life == SL_LIFE_FINISHED ? SL_OK : SL_FAILED;
        for (int number; (number = sl_signals_take(signal_fd)) != 0;)
            if (number == SIGINT || number == SIGTERM)
                return number == SIGINT ? SL_OK : sl_signals_exit_code(number, NULL);
        struct pollfd item = {.fd = signal_fd, .events = POLLIN};
        (void)poll(&item, 1, 1000);
    }
    return dp_fail("top", t->error.status, &t->error);
}

/* ---- the screen ---- */

static void draw(struct top *t, struct dp_terminal *terminal, struct dp_canvas *canvas)
{
    const struct sl_status_place *place = sl_status_client_place(t->client);
    struct dp_screen screen = {.status = t->status,
            .history = &t->history,
            .life = t->life,
            .text = t->text,
            .place = place->folder[0] != 0 ? place->folder : place->endpoint,
            .scroll = t->scroll};
    dp_screen_draw(canvas, &screen);
    dp_terminal_show(terminal, canvas);
}

/* Returns false when it is time to leave. */
static bool take_keys(
        struct top *t, struct dp_terminal *terminal, struct dp_canvas *canvas, bool *ret_changed)
{
    int last = t->status != NULL ? (int)t->status->n_workers - 1 : 0;
    for (enum dp_key key; (key = dp_terminal_key(terminal, canvas)) != DP_KEY_NONE; *ret_changed = true) {
        if (key == DP_KEY_QUIT)
            return false;
        if (key == DP_KEY_DOWN && t->scroll < last)
            t->scroll++;
        if (key == DP_KEY_UP && t->scroll > 0)
            t->scroll--;
    }
    return true;
}

static int run_screen(struct top *t, int signal_fd)
{
    struct dp_terminal *terminal = NULL;
    struct dp_canvas canvas = {0};
    int64_t drawn_us = 0;
    int code = SL_OK;
    if (dp_terminal_open(&terminal, &canvas, &t->error) != SL_OK)
        return dp_fail("top", t->error.status, &t->error);
    enum sl_status status = SL_OK;
    for (bool on = true; on && status == SL_OK;) {
        struct pollfd items[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN},
                {.fd = sl_status_client_fd(t->client), .events = POLLIN}};
        (void)poll(items, 3, TURN_MS);
        bool changed = false;
        status = take_news(t, 0);
        on = take_keys(t, terminal, &canvas, &changed) && (items[0].revents & (POLLHUP | POLLERR)) == 0;
        for (int number; (number = sl_signals_take(signal_fd)) != 0;)
            if (number == SIGINT || number == SIGTERM) {
                on = false;
                code = number == SIGINT ? SL_OK : sl_signals_exit_code(number, NULL);
            }
        int64_t now_us = sl_clock_monotonic_us();
        if (changed || now_us - drawn_us >= DRAW_US) {
            draw(t, terminal, &canvas);
            drawn_us = now_us;
        }
    }
    dp_terminal_close(terminal);
    dp_canvas_fini(&canvas);
    return status == SL_OK ? code : dp_fail("top", status, &t->error);
}

/* ---- the command ---- */

static int watch(void *context)
{
    struct top *t = context;
    int signal_fd = -1;
    enum sl_status status = sl_signals_open(&signal_fd, &t->error);
    if (status == SL_OK)
        status = sl_status_client_open(&t->client, &t->place, t->keys, SL_STATUS_STEPS, &t->error);
    int code = status != SL_OK ? dp_fail("top", status, &t->error)
               : t->plain      ? run_lines(t, signal_fd)
                               : run_screen(t, signal_fd);
    if (code == SL_OK && t->life >= SL_LIFE_FINISHED && !t->plain) /* the screen is gone with it */
        printf("%s\n", t->text);
    sl_status_client_close(t->client);
    free_status(t);
    dp_trail_fini(&t->history);
    if (signal_fd >= 0)
        (void)close(signal_fd);
    return code;
}

int dp_top(int argc, char **argv)
{
    SL_AUTO_FREE struct top *t = sl_alloc(1, sizeof(*t));
    const char *target = NULL;
    if (t == NULL)
        return dp_fail("top", SL_NO_MEMORY, &(struct sl_error){0});
    int code = parse(t, argc, argv, &target);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    enum sl_status status = dp_target(&t->place, target, &t->error);
    if (status != SL_OK)
        return dp_fail("top", status, &t->error);
    t->plain |= !dp_terminal_usable();
    if (t->plain)
        return watch(t);
    status = dp_terminal_guard(&code, watch, t, &t->error);
    return status == SL_OK ? code : dp_fail("top", status, &t->error);
}
