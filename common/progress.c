/* The progress bar and its plain lines: see progress.h. */
#include "common/progress.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAW_INTERVAL_US 100000
#define RATE_MEAN_S 15.0 /* the rate forgets what is older than this */
#define PLAIN_INTERVAL_MS 10000
#define COLUMNS_DEFAULT 80
#define COLUMNS_MIN 20
#define BAR_CELLS_MAX 30
#define LINE_MAX_BYTES 1024

#define COLOR_BAR "\033[32m"
#define COLOR_OFF "\033[0m"
#define LINE_CLEAR "\r\033[K"

static bool environment_has(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != 0;
}

/* as setlocale would decide, without touching the process's locale: numbers must keep their point */
static bool locale_is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!environment_has(names[i]))
            continue;
        const char *value = getenv(names[i]);
        return strcasestr(value, "utf-8") != NULL || strcasestr(value, "utf8") != NULL;
    }
    return false;
}

static enum sl_progress_mode detect_mode(FILE *stream)
{
    const char *wanted = getenv("SHELFLIFE_PROGRESS");
    if (wanted != NULL && strcmp(wanted, "none") == 0)
        return SL_PROGRESS_NONE;
    if (wanted != NULL && strcmp(wanted, "plain") == 0)
        return SL_PROGRESS_PLAIN;
    if (wanted == NULL || strcmp(wanted, "bar") != 0) {
        const char *term = getenv("TERM");
        bool dumb = term == NULL || term[0] == 0 || strcmp(term, "dumb") == 0;
        if (!isatty(fileno(stream)) || dumb)
            return SL_PROGRESS_PLAIN;
    }
    return locale_is_utf8() ? SL_PROGRESS_BAR : SL_PROGRESS_ASCII;
}

static int columns_of(const struct sl_progress *progress)
{
    if (progress->options.columns > 0)
        return progress->options.columns;
    struct winsize window = {0};
    if (ioctl(fileno(progress->options.stream), TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        return window.ws_col;
    const char *text = getenv("COLUMNS");
    long columns = text == NULL ? 0 : strtol(text, NULL, 10);
    return columns > 0 && columns < 10000 ? (int)columns : COLUMNS_DEFAULT;
}

static bool is_live_mode(const struct sl_progress *progress)
{
    return progress->mode == SL_PROGRESS_BAR || progress->mode == SL_PROGRESS_ASCII;
}

const char *sl_progress_time(char *text, double seconds)
{
    if (!(seconds >= 0))
        seconds = 0;
    long total = lround(fmin(seconds, 1000.0 * 86400));
    if (total > 999 * 86400)
        (void)snprintf(text, 32, "> 999 d");
    else if (total >= 86400)
        (void)snprintf(text, 32, "%ld d %02ld h", total / 86400, total / 3600 % 24);
    else if (total >= 3600)
        (void)snprintf(text, 32, "%ld:%02ld:%02ld", total / 3600, total / 60 % 60, total % 60);
    else
        (void)snprintf(text, 32, "%02ld:%02ld", total / 60, total % 60);
    return text;
}

/* text grows by a formatted piece; what does not fit is dropped */
__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void append_rate(char *text, size_t size, const struct sl_progress *progress, double rate)
{
    if (progress->options.unit == NULL || !(rate > 0))
        return;
    double scaled = rate * (progress->options.scale > 0 ? progress->options.scale : 1.0);
    append(text, size,
            scaled < 9.95   ? " %.2f %s/s"
            : scaled < 99.5 ? " %.1f %s/s"
                            : " %.0f %s/s",
            scaled, progress->options.unit);
}

static int percent(const struct sl_progress *progress)
{
    return (int)(100.0 * (double)progress->done / (double)progress->options.total);
}

/* "38 % 1200/3150 loss 0.412 812 samples/s ETA 12:31", from count to note to rate */
static void describe(char *text, size_t size, const struct sl_progress *progress)
{
    text[0] = 0;
    if (progress->options.total > 0)
        append(text, size, "%3d %% %lld/%lld", percent(progress), (long long)progress->done,
                (long long)progress->options.total);
    else
        append(text, size, "%lld", (long long)progress->done);
    if (progress->note[0] != 0)
        append(text, size, " %s", progress->note);
    append_rate(text, size, progress, progress->rate);
    int64_t left = progress->options.total - progress->done;
    if (left > 0 && progress->rate > 0) {
        char time[32];
        append(text, size, " ETA %s", sl_progress_time(time, (double)left / progress->rate));
    }
}

static void append_bar(char *text, size_t size, const struct sl_progress *progress, int cells)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bool ascii = progress->mode == SL_PROGRESS_ASCII;
    double share = (double)progress->done / (double)progress->options.total;
    int filled = (int)(share * cells * 8), whole = filled / 8, part = ascii ? 0 : filled % 8;
    append(text, size, "%s%s", ascii ? "[" : "▕", progress->color ? COLOR_BAR : "");
    for (int i = 0; i < whole; i++)
        append(text, size, "%s", ascii ? "#" : "█");
    append(text, size, "%s", eighths[part]);
    for (int i = whole + (part > 0 ? 1 : 0); i < cells; i++)
        append(text, size, " ");
    append(text, size, "%s%s ", progress->color ? COLOR_OFF : "", ascii ? "]" : "▏");
}

/* The text keeps its place first and the bar takes what is left, up to BAR_CELLS_MAX; under 5 cells there is none. The last column stays
 * free: some terminals wrap there. */
static void draw_live(struct sl_progress *progress)
{
    int columns = columns_of(progress);
    if (columns < COLUMNS_MIN)
        columns = COLUMNS_MIN;
    char described[512], line[LINE_MAX_BYTES] = "";
    describe(described, sizeof(described), progress);
    const char *title = progress->options.title;
    int room = columns - 1 - sl_utf8_columns(title) - 1 - sl_utf8_columns(described) - 3;
    int cells = room > BAR_CELLS_MAX ? BAR_CELLS_MAX : room;
    if (progress->options.total > 0 && cells >= 5) {
        append_bar(line, sizeof(line), progress, cells);
        (void)fprintf(progress->options.stream, LINE_CLEAR "%s %s%s", title, line, described);
    } else {
        append(line, sizeof(line), "%s %s", title, described);
        (void)fprintf(progress->options.stream, LINE_CLEAR "%.*s", (int)sl_utf8_cut(line, columns - 1), line);
    }
    (void)fflush(progress->options.stream);
    progress->live = true;
    if (progress->options.stream == stderr)
        sl_log_live_line(true);
}

static void draw_plain(struct sl_progress *progress)
{
    char described[512];
    describe(described, sizeof(described), progress);
    const char *text = described;
    while (*text == ' ')
        text++;
    (void)fprintf(progress->options.stream, "%s %s\n", progress->options.title, text);
    (void)fflush(progress->options.stream);
}

void sl_progress_begin(struct sl_progress *progress, const struct sl_progress_options *options)
{
    memset(progress, 0, sizeof(*progress));
    if (options != NULL)
        progress->options = *options;
    struct sl_progress_options *o = &progress->options;
    if (o->title == NULL)
        o->title = "";
    if (o->stream == NULL)
        o->stream = stderr;
    if (o->now_us == NULL)
        o->now_us = sl_clock_monotonic_us;
    if (o->plain_interval_ms <= 0)
        o->plain_interval_ms = PLAIN_INTERVAL_MS;
    progress->mode = o->mode == SL_PROGRESS_AUTO ? detect_mode(o->stream) : o->mode;
    progress->color = progress->mode == SL_PROGRESS_BAR && !environment_has("NO_COLOR");
    progress->start_us = progress->sample_us = progress->shown_us = o->now_us();
    progress->done = progress->sample_done = o->done;
    if (is_live_mode(progress))
        draw_live(progress);
}

/* An exponential mean over time, not over calls, of the rate between counts at least a fifth of a second apart. A call without a new count
 * is no sample: where a count takes long, the one that ends a pause would look like a burst. */
static void sample_rate(struct sl_progress *progress, int64_t now_us)
{
    double elapsed = (double)(now_us - progress->sample_us) * 1e-6;
    if (elapsed < 0.2 || progress->done <= progress->sample_done)
        return;
    double rate = (double)(progress->done - progress->sample_done) / elapsed;
    if (progress->rate > 0) {
        double since = (double)(now_us - progress->start_us) * 1e-6;
        double span = since < RATE_MEAN_S ? since : RATE_MEAN_S; /* a plain mean at first */
        double share = elapsed >= span ? 1.0 : elapsed / span;
        rate = progress->rate + share * (rate - progress->rate);
    }
    progress->rate = rate;
    progress->sample_us = now_us;
    progress->sample_done = progress->done;
}

void sl_progress_update(struct sl_progress *progress, int64_t done, const char *note_format, ...)
{
    if (note_format != NULL) {
        va_list args;
        va_start(args, note_format);
        (void)vsnprintf(progress->note, sizeof(progress->note), note_format, args);
        va_end(args);
    }
    if (done < 0)
        done = 0;
    if (progress->options.total > 0 && done > progress->options.total)
        done = progress->options.total;
    progress->done = done;
    if (progress->mode == SL_PROGRESS_NONE)
        return;
    int64_t now_us = progress->options.now_us();
    sample_rate(progress, now_us);
    int64_t interval_us =
            is_live_mode(progress) ? DRAW_INTERVAL_US : progress->options.plain_interval_ms * 1000;
    if (now_us - progress->shown_us < interval_us)
        return;
    progress->shown_us = now_us;
    if (is_live_mode(progress))
        draw_live(progress);
    else
        draw_plain(progress);
}

void sl_progress_end(struct sl_progress *progress)
{
    if (progress->mode == SL_PROGRESS_NONE)
        return;
    double seconds = (double)(progress->options.now_us() - progress->start_us) * 1e-6;
    char line[512] = "", time[32];
    append(line, sizeof(line), "%s %lld", progress->options.title, (long long)progress->done);
    if (progress->options.total > 0)
        append(line, sizeof(line), "/%lld", (long long)progress->options.total);
    if (progress->note[0] != 0)
        append(line, sizeof(line), " %s", progress->note);
    int64_t counts = progress->done - progress->options.done;
    append_rate(line, sizeof(line), progress, seconds > 0 ? (double)counts / seconds : 0.0);
    append(line, sizeof(line), " in %s", sl_progress_time(time, seconds));
    (void)fprintf(progress->options.stream, "%s%s\n", progress->live ? LINE_CLEAR : "", line);
    (void)fflush(progress->options.stream);
    progress->live = false;
    progress->mode = SL_PROGRESS_NONE; /* a second end, or an update after it, is silent */
    if (progress->options.stream == stderr)
        sl_log_live_line(false);
}
