/* ncurses and the care for the terminal: see terminal.h. */
#include "deploy/watch/terminal.h"

#include "common/memory.h"
#include "common/signals.h"

#include <curses.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#undef columns /* term.h makes common words its own */
#undef lines

/* The curves' colours: distinct for the colour-blind too, on light and dark grounds. */
#define SERIES_COLOURS 6

struct dp_terminal {
    SCREEN *screen;
    bool colours;
};

bool dp_terminal_usable(void)
{
    const char *name = getenv("TERM");
    int problem = 0;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || name == NULL ||
            setupterm(NULL, STDOUT_FILENO, &problem) != OK)
        return false;
    const char *move = tigetstr("cup");
    return move != NULL && move != (char *)-1;
}

static bool is_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static bool wants_colours(void)
{
    const char *none = getenv("NO_COLOR");
    return (none == NULL || none[0] == 0) && has_colors();
}

static void begin_colours(void)
{
    static const short colours[SERIES_COLOURS] = {
            COLOR_BLUE, COLOR_YELLOW, COLOR_GREEN, COLOR_MAGENTA, COLOR_CYAN, COLOR_RED};
    (void)start_color();
    (void)use_default_colors();
    for (short i = 0; i < SERIES_COLOURS; i++)
        (void)init_pair((short)(i + 1), colours[i], -1);
    (void)init_pair(SERIES_COLOURS + 1, COLOR_RED, -1);
}

enum sl_status dp_terminal_open(
        struct dp_terminal **ret_terminal, struct dp_canvas *canvas, struct sl_error *err)
{
    struct dp_terminal *terminal = sl_alloc(1, sizeof(*terminal));
    if (terminal == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the terminal");
    terminal->screen = newterm(NULL, stdout, stdin);
    if (terminal->screen == NULL) {
        sl_free(terminal);
        return sl_fail(err, SL_FAILED, "cannot use this terminal (TERM=%s)", getenv("TERM"));
    }
    (void)set_term(terminal->screen);
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)curs_set(0);
    terminal->colours = wants_colours();
    if (terminal->colours)
        begin_colours();
    canvas->ascii = !is_utf8();
    canvas->letters = !terminal->colours;
    if (!dp_canvas_resize(canvas, LINES, COLS)) {
        dp_terminal_close(terminal);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the screen");
    }
    *ret_terminal = terminal;
    return SL_OK;
}

void dp_terminal_close(struct dp_terminal *terminal)
{
    if (terminal == NULL)
        return;
    (void)endwin();
    delscreen(terminal->screen);
    sl_free(terminal);
}

static attr_t attributes_of(const struct dp_terminal *terminal, uint8_t ink, short *ret_pair)
{
    *ret_pair = 0;
    if (ink == DP_INK_BOLD)
        return A_BOLD;
    if (ink == DP_INK_DIM)
        return A_DIM;
    if (terminal->colours && ink == DP_INK_WARN)
        *ret_pair = SERIES_COLOURS + 1;
    if (terminal->colours && ink >= DP_INK_SERIES)
        *ret_pair = (short)((ink - DP_INK_SERIES) % SERIES_COLOURS + 1);
    return ink == DP_INK_WARN ? A_BOLD : A_NORMAL;
}

void dp_terminal_show(struct dp_terminal *terminal, const struct dp_canvas *canvas)
{
    (void)erase();
    for (int r = 0; r < canvas->rows; r++)
        for (int c = 0; c < canvas->columns; c++) {
            const struct dp_cell *cell = &canvas->cells[(size_t)r * (size_t)canvas->columns + (size_t)c];
            if (cell->point == 0 || cell->point == DP_CELL_TAIL)
                continue;
            short pair = 0;
            attr_t attributes = attributes_of(terminal, cell->ink, &pair);
            wchar_t text[2] = {(wchar_t)cell->point, 0};
            cchar_t character;
            if (setcchar(&character, text, attributes, pair, NULL) == OK)
                (void)mvadd_wch(r, c, &character);
        }
    (void)refresh();
}

enum dp_key dp_terminal_key(struct dp_terminal *terminal, struct dp_canvas *canvas)
{
    (void)terminal;
    int key = getch();
    switch (key) {
    case 'q':
    case 'Q':
        return DP_KEY_QUIT;
    case KEY_UP:
    case 'k':
        return DP_KEY_UP;
    case KEY_DOWN:
    case 'j':
        return DP_KEY_DOWN;
    case KEY_RESIZE:
        (void)dp_canvas_resize(canvas, LINES, COLS);
        return DP_KEY_RESIZE;
    case ERR:
        return DP_KEY_NONE;
    default:
        return dp_terminal_key(terminal, canvas); /* means nothing: the next */
    }
}

/* ---- the guard ---- */

struct state {
    struct termios modes;
    bool is_terminal;
    char texts[3][64]; /* leave the other screen, show the cursor, plain letters */
};

static struct state remember(void)
{
    static const char *const names[] = {"rmcup", "cnorm", "sgr0"};
    struct state state = {.is_terminal = tcgetattr(STDIN_FILENO, &state.modes) == 0};
    for (int i = 0; i < 3; i++) {
        const char *text = tigetstr(names[i]);
        if (text != NULL && text != (char *)-1 && strlen(text) < sizeof(state.texts[i]))
            memcpy(state.texts[i], text, strlen(text) + 1);
    }
    return state;
}

static void restore(const struct state *state)
{
    if (state->is_terminal)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &state->modes);
    for (int i = 0; i < 3; i++)
        (void)!write(STDOUT_FILENO, state->texts[i], strlen(state->texts[i]));
}

/* Passes signals on until the child has ended. */
static int wait_for(pid_t child, int signal_fd)
{
    for (int result = 0;;) {
        struct pollfd item = {.fd = signal_fd, .events = POLLIN};
        (void)poll(&item, 1, 1000);
        for (int number; (number = sl_signals_take(signal_fd)) != 0;)
            if (number == SIGTERM || number == SIGUSR1) /* the terminal itself sends SIGINT to both */
                (void)kill(child, number);
        if (waitpid(child, &result, WNOHANG) == child)
            return result;
    }
}

enum sl_status dp_terminal_guard(
        int *ret_code, int (*run)(void *context), void *context, struct sl_error *err)
{
    int signal_fd = -1;
    struct state state = remember();
    enum sl_status status = sl_signals_open(&signal_fd, err);
    if (status != SL_OK)
        return status;
    (void)fflush(NULL);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        (void)close(signal_fd);
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        int code = getppid() == parent ? run(context) : 1;
        (void)fflush(NULL);
        _exit(code);
    }
    if (child < 0) {
        (void)close(signal_fd);
        return sl_fail_errno(err, "cannot start a process");
    }
    int result = wait_for(child, signal_fd);
    (void)close(signal_fd);
    if (WIFSIGNALED(result)) {
        restore(&state);
        return sl_fail(err, SL_FAILED, "the display died of signal %d; the run is not touched by that",
                WTERMSIG(result));
    }
    *ret_code = WEXITSTATUS(result);
    return SL_OK;
}
