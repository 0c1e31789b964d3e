/* The screen of `top`: see screen.h. */
#include "deploy/watch/screen.h"

#include "common/utf8.h"
#include "deploy/watch/words.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PANEL_COLUMNS_MIN 26 /* narrower, and there are fewer panels */
#define LINE_MAX_BYTES 1024
#define EVENT_ROWS_MAX 10 /* while others want room */

static int put(struct dp_canvas *c, int row, int column, int ink, const char *text)
{
    return dp_canvas_put(c, row, column, c->columns, ink, text);
}

/* ---- head and foot ---- */

static int draw_head(struct dp_canvas *c, const struct dp_screen *s)
{
    char line[LINE_MAX_BYTES], name[SL_NAME_MAX * 4];
    const Shelflife__Status__Run *run = s->status != NULL ? s->status->run : NULL;
    int column = put(c, 0, 0, DP_INK_BOLD, dp_clean(name, sizeof(name), run != NULL ? run->name : s->place));
    bool gone = s->life >= SL_LIFE_QUIET;
    if (s->status != NULL)
        dp_headline(line, sizeof(line), s->status);
    else
        (void)dp_clean(line, sizeof(line), s->text);
    /* on a narrow screen the head line goes on below */
    bool narrow = column + 2 + (int)strlen(line) > c->columns && c->rows >= 8;
    (void)put(c, narrow ? 1 : 0, narrow ? 0 : column + 2, DP_INK_PLAIN, line);
    int row = narrow ? 2 : 1;
    if (gone && s->status != NULL)
        (void)put(c, row++, 0, DP_INK_WARN, dp_clean(line, sizeof(line), s->text));
    return row;
}

static void draw_foot(struct dp_canvas *c, const struct dp_screen *s)
{
    char line[LINE_MAX_BYTES] = "q quit  up/down scroll";
    const Shelflife__Status__Status *m = s->status;
    if (m != NULL && m->lost_workers + m->rollbacks + m->refused > 0)
        (void)snprintf(line, sizeof(line),
                "q quit  up/down scroll   lost workers %llu  rollbacks %llu  refused %llu",
                (unsigned long long)m->lost_workers, (unsigned long long)m->rollbacks,
                (unsigned long long)m->refused);
    (void)put(c, c->rows - 1, 0, DP_INK_DIM, line);
}

/* ---- panels ---- */

static const struct {
    enum dp_trail_kind kind;
    const char *title, *brief; /* where names are letters */
    bool fused;                /* has a curve of the fused branch too */
} panels[] = {
        {DP_TRAIL_LOSS, "loss", "loss", true}, {DP_TRAIL_RATIO, "ratio", "ratio", false},
        {DP_TRAIL_COEFFICIENT, "coefficient", "coeff", false},
        {DP_TRAIL_UPDATE, "update", "update",
                true}, /* of the weights, as a share of them: where there is room for a fourth */
};
#define PANEL_COUNT ((int)(sizeof(panels) / sizeof(panels[0])))

static double last_value(const Shelflife__Status__Step *step, enum dp_trail_kind kind, size_t b)
{
    switch (kind) {
    case DP_TRAIL_LOSS:
        return dp_at(step->loss, step->n_loss, b);
    case DP_TRAIL_RATIO:
        return dp_at(step->ratio, step->n_ratio, b);
    case DP_TRAIL_COEFFICIENT:
        return dp_at(step->coefficient, step->n_coefficient, b);
    case DP_TRAIL_UPDATE:
        return dp_at(step->branch_update_norm, step->n_branch_update_norm, b) /
               dp_at(step->branch_parameter_norm, step->n_branch_parameter_norm, b);
    case DP_TRAIL_KINDS:
        break;
    }
    return NAN;
}

static char letter_of(const Shelflife__Status__Run *run, int branch)
{
    char name[8];
    (void)dp_clean(name, sizeof(name), dp_branch(run, (size_t)branch));
    bool plain = name[0] > ' ' && name[0] < 127;
    return plain ? name[0] : (char)('1' + branch);
}

/* "visual 0.0190", or "v 0.0190" */
static void name_value(
        char *text, size_t size, const Shelflife__Status__Run *run, int branch, double value, bool brief)
{
    char name[SL_NAME_MAX], word[DP_WORD_MAX];
    (void)dp_clean(name, sizeof(name), dp_branch(run, (size_t)branch));
    if (brief)
        (void)snprintf(name, sizeof(name), "%c", letter_of(run, branch));
    (void)snprintf(text, size, "%s %s", name, brief ? dp_brief(word, value) : dp_figure(word, value));
}

/* "loss visual 0.0190 text 0.0225": each name in its curve's colour; letters for names when there is no room. */
static void draw_legend(
        struct dp_canvas *c, const struct dp_screen *s, const struct dp_box *box, int panel, int curves)
{
    char text[SL_NAME_MAX + DP_WORD_MAX + 4];
    double values[SL_BRANCHES_MAX];
    for (int b = 0; b < curves; b++)
        values[b] = s->status->last_step != NULL
                            ? last_value(s->status->last_step, panels[panel].kind, (size_t)b)
                            : NAN;
    int end = box->column + box->columns - 1, wanted = (int)strlen(panels[panel].title);
    for (int b = 0; b < curves; b++) {
        name_value(text, sizeof(text), s->status->run, b, values[b], false);
        wanted += 1 + sl_utf8_columns(text);
    }
    bool brief = wanted > box->columns - 1;
    int column = dp_canvas_put(c, box->row, box->column, box->columns - 1, DP_INK_BOLD,
            brief ? panels[panel].brief : panels[panel].title);
    for (int b = 0; b < curves; b++) {
        name_value(text, sizeof(text), s->status->run, b, values[b], brief);
        if (column + 1 + sl_utf8_columns(text) <= end)
            column = dp_canvas_put(c, box->row, column + 1, end - column - 1, DP_INK_SERIES + b, text);
    }
}

static void draw_panel(struct dp_canvas *c, const struct dp_screen *s, const struct dp_box *box, int panel)
{
    const Shelflife__Status__Run *run = s->status->run;
    int branches = run != NULL ? (int)run->n_branches : 0, curves = 0;
    double low = 0.0, high = 1.0, values[2 * DP_CANVAS_COLUMNS_MAX];
    char word[DP_WORD_MAX];
    curves = panels[panel].fused ? branches : branches - 1;
    curves = curves > SL_BRANCHES_MAX ? SL_BRANCHES_MAX : curves < 0 ? 0 : curves;
    draw_legend(c, s, box, panel, curves);
    if (box->rows < 2 || !dp_trail_range(s->history, panels[panel].kind, curves, &low, &high))
        return;
    if (panels[panel].kind == DP_TRAIL_COEFFICIENT) /* 0 and 1 are always in sight */
        low = low < 0.0 ? low : 0.0, high = high > 1.0 ? high : 1.0;
    struct dp_box inner = {box->row + 1, box->column, box->rows - 1, box->columns - 1};
    int places = dp_plot_places(c, inner.columns);
    for (int b = 0; b < curves; b++) {
        struct dp_curve curve = {.values = values, .letter = letter_of(run, b), .ink = DP_INK_SERIES + b};
        dp_trail_curve(s->history, panels[panel].kind, b, places, values);
        dp_plot(c, &inner, &curve, 1, low, high);
    }
    (void)dp_canvas_put(c, inner.row, inner.column, inner.columns, DP_INK_DIM, dp_figure(word, high));
    if (inner.rows > 1)
        (void)dp_canvas_put(
                c, inner.row + inner.rows - 1, inner.column, inner.columns, DP_INK_DIM, dp_figure(word, low));
}

static int draw_panels(struct dp_canvas *c, const struct dp_screen *s, int row, int rows)
{
    int across = c->columns / PANEL_COLUMNS_MIN;
    across = across > PANEL_COUNT ? PANEL_COUNT : across < 1 ? 1 : across;
    int first = across > 1 ? c->columns * 4 / (3 * across + 1) : c->columns; /* losses have one curve more */
    for (int p = 0; p < across; p++) {
        int begin = p == 0 ? 0 : first + (p - 1) * (c->columns - first) / (across - 1);
        int end = p == 0 ? first : first + p * (c->columns - first) / (across - 1);
        struct dp_box box = {row, begin, rows, end - begin};
        draw_panel(c, s, &box, p);
    }
    return row + rows;
}

/* ---- lists ---- */

/* Draws lines `from` … of a list as far as rows reach; tells of those that did not fit. */
static int draw_workers(struct dp_canvas *c, const struct dp_screen *s, int row, int end)
{
    const Shelflife__Status__Status *m = s->status;
    char line[LINE_MAX_BYTES];
    size_t i = s->scroll > 0 && (size_t)s->scroll < m->n_workers ? (size_t)s->scroll : 0;
    if (m->n_workers == 0 || end - row < 2)
        return row;
    (void)put(c, row++, 0, DP_INK_BOLD, DP_WORKER_HEADING);
    for (; i < m->n_workers && row < end; i++) {
        if (row == end - 1 && i + 1 < m->n_workers) {
            (void)snprintf(line, sizeof(line), "     and %zu more", m->n_workers - i);
            (void)put(c, row++, 0, DP_INK_DIM, line);
            break;
        }
        dp_worker_line(line, sizeof(line), m->workers[i], m->time);
        (void)put(c, row++, 0, DP_INK_PLAIN, line);
    }
    return row;
}

static int draw_servers(struct dp_canvas *c, const struct dp_screen *s, int row, int end)
{
    const Shelflife__Status__Status *m = s->status;
    char line[LINE_MAX_BYTES];
    if (m->n_servers == 0 || end - row < 2)
        return row;
    (void)put(c, row++, 0, DP_INK_BOLD, DP_SERVER_HEADING);
    for (size_t i = 0; i < m->n_servers && row < end; i++) {
        if (row == end - 1 && i + 1 < m->n_servers) {
            (void)snprintf(line, sizeof(line), "     and %zu more", m->n_servers - i);
            (void)put(c, row++, 0, DP_INK_DIM, line);
            break;
        }
        dp_server_line(line, sizeof(line), m->servers[i], m->time);
        (void)put(c, row++, 0, DP_INK_PLAIN, line);
    }
    return row;
}

/* "visual 0.7133 acc 0.6667", or "v 0.71 acc 0.67" */
static void name_validation(
        char *text, size_t size, const Shelflife__Status__Status *status, int branch, bool brief)
{
    char loss[SL_NAME_MAX + DP_WORD_MAX + 4], word[DP_WORD_MAX];
    const Shelflife__Status__Branch *figures = status->last_validation->branch[branch];
    name_value(loss, sizeof(loss), status->run, branch, figures->loss, brief);
    (void)snprintf(text, size, "%s acc %s", loss,
            brief ? dp_brief(word, figures->accuracy) : dp_figure(word, figures->accuracy));
}

static void draw_validation(struct dp_canvas *c, const struct dp_screen *s, int row)
{
    const Shelflife__Status__Validation *v = s->status->last_validation;
    char line[LINE_MAX_BYTES];
    int count = v->n_branch < SL_BRANCHES_MAX ? (int)v->n_branch : SL_BRANCHES_MAX;
    (void)snprintf(line, sizeof(line), "validation at %lld", (long long)v->step);
    int column = put(c, row, 0, DP_INK_BOLD, line), wanted = column;
    for (int b = 0; b < count; b++) {
        name_validation(line, sizeof(line), s->status, b, false);
        wanted += 2 + sl_utf8_columns(line);
    }
    for (int b = 0; b < count; b++) {
        name_validation(line, sizeof(line), s->status, b, wanted > c->columns);
        column = put(c, row, column + 2, DP_INK_SERIES + b, line);
    }
}

/* The newest at the bottom. */
static void draw_events(struct dp_canvas *c, const struct dp_screen *s, int row, int end)
{
    const Shelflife__Status__Status *m = s->status;
    char line[LINE_MAX_BYTES];
    int shown = end - row < (int)m->n_events ? end - row : (int)m->n_events;
    for (int i = 0; i < shown; i++) {
        const Shelflife__Status__Event *event = m->events[m->n_events - (size_t)(shown - i)];
        bool info = event->level == NULL || strcmp(event->level, "info") == 0;
        dp_event_line(line, sizeof(line), event);
        (void)put(c, end - shown + i, 0, info ? DP_INK_PLAIN : DP_INK_WARN, line);
    }
}

void dp_screen_draw(struct dp_canvas *c, const struct dp_screen *s)
{
    if (!dp_canvas_resize(c, c->rows, c->columns))
        return;
    int row = draw_head(c, s), end = c->rows - 1;
    if (c->rows >= 4)
        draw_foot(c, s);
    if (s->status == NULL) { /* nothing was heard, so that not even the branches are known */
        bool files = s->life >= SL_LIFE_FINISHED && strstr(s->place, "://") == NULL;
        if (files && end > row)
            (void)put(c, row, 0, DP_INK_DIM, "its past: shelflife dashboard, with the run's folder");
        return;
    }
    int plot = (end - row) / 3 + 1;
    plot = plot < 3 ? 3 : plot > 16 ? 16 : plot;
    if (end - row >= plot)
        row = draw_panels(c, s, row, plot);
    if (end - row >= 3 && s->status->last_validation != NULL)
        draw_validation(c, s, row++);
    int events = (end - row) / 3;
    events = events > EVENT_ROWS_MAX ? EVENT_ROWS_MAX : events;
    events = events > (int)s->status->n_events ? (int)s->status->n_events : events;
    int servers = s->status->n_servers > 0 ? (int)s->status->n_servers + 1 : 0;
    int half = (end - row - events) / 2;
    servers = servers > half && half >= 2 ? half : servers;
    row = draw_workers(c, s, row, end - events - (servers <= half ? servers : 0));
    row = draw_servers(c, s, row, end - events);
    draw_events(c, s, row, end);
}
