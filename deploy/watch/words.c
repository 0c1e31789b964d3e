/* Figures as words: see words.h. */
#include "deploy/watch/words.h"

#include "common/progress.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME_MAX_BYTES 64

const char *dp_clean(char *buffer, size_t size, const char *text)
{
    size_t used = 0, left = text != NULL ? strlen(text) : 0;
    while (left > 0) {
        uint32_t point = 0;
        size_t length = sl_utf8_next(text, left, &point), step = length > 0 ? length : 1;
        bool good = length > 0 && sl_utf8_is_text(text, length);
        if (used + (good ? length : 1) >= size)
            break;
        memcpy(buffer + used, good ? text : "?", good ? length : 1);
        used += good ? length : 1;
        text += step;
        left -= step;
    }
    buffer[used] = 0;
    return buffer;
}

const char *dp_bytes(char *text, uint64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 999.5 && unit < 5) {
        value /= 1000.0;
        unit++;
    }
    (void)snprintf(text, DP_WORD_MAX, "%.*f %s",
            unit == 0 || value >= 100.0 ? 0
            : value >= 10.0             ? 1
                                        : 2,
            value, units[unit]);
    return text;
}

const char *dp_count(char *text, uint64_t count)
{
    char digits[DP_WORD_MAX];
    size_t size = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, count), used = 0;
    for (size_t i = 0; i < size && used + 2 < DP_WORD_MAX; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = 0;
    return text;
}

const char *dp_span(char *text, double seconds)
{
    if (!(seconds >= 0.0) || seconds > 3.2e9)
        (void)snprintf(text, DP_WORD_MAX, "-");
    else if (seconds < 60.0)
        (void)snprintf(text, DP_WORD_MAX,
                seconds < 0.9995 ? "%.0f ms"
                : seconds < 9.95 ? "%.1f s"
                                 : "%.0f s",
                seconds < 0.9995 ? seconds * 1e3 : seconds);
    else
        (void)sl_progress_time(text, (int64_t)seconds);
    return text;
}

const char *dp_figure(char *text, double value)
{
    double size = fabs(value);
    if (!isfinite(value))
        (void)snprintf(text, DP_WORD_MAX, "-");
    else if (size != 0.0 && (size < 1e-3 || size >= 1e6))
        (void)snprintf(text, DP_WORD_MAX, "%.1e", value);
    else
        (void)snprintf(text, DP_WORD_MAX, "%.*f", size < 10.0 ? 4 : size < 1000.0 ? 2 : 0, value);
    return text;
}

const char *dp_brief(char *text, double value)
{
    double size = fabs(value);
    if (!isfinite(value))
        (void)snprintf(text, DP_WORD_MAX, "-");
    else if (size != 0.0 && (size < 5e-4 || size >= 1e4))
        (void)snprintf(text, DP_WORD_MAX, "%.0e", value);
    else
        (void)snprintf(text, DP_WORD_MAX, "%.*f", size < 0.0995 ? 3 : size < 99.5 ? 2 : 0, value);
    return text;
}

double dp_at(const double *values, size_t count, size_t index)
{
    return index < count ? values[index] : NAN;
}

const char *dp_branch(const Shelflife__Status__Run *run, size_t index)
{
    return run != NULL && index < run->n_branches ? run->branches[index] : "?";
}

void dp_headline(char *text, size_t size, const Shelflife__Status__Status *status)
{
    const Shelflife__Status__Run *run = status->run;
    char state[DP_WORD_MAX], word[DP_WORD_MAX];
    int64_t total = run != NULL ? run->total_steps : 0;
    int used = snprintf(
            text, size, "%s  step %" PRId64, dp_clean(state, sizeof(state), status->state), status->step);
    if (used > 0 && (size_t)used < size && total > 0)
        used += snprintf(text + used, size - (size_t)used, " of %" PRId64 " (%d %%)", total,
                (int)(100.0 * (double)status->step / (double)total));
    if (used > 0 && (size_t)used < size && run != NULL && run->steps_per_epoch > 0 && status->step < total)
        used += snprintf(text + used, size - (size_t)used, "  epoch %" PRId64 " of %" PRId64,
                status->step / run->steps_per_epoch + 1, run->epochs);
    bool over = status->finished != NULL;
    if (used > 0 && (size_t)used < size && status->has_eta_seconds && !over)
        used += snprintf(text + used, size - (size_t)used, "  %s left", dp_span(word, status->eta_seconds));
    if (used > 0 && (size_t)used < size && status->samples_per_second > 0.0 && !over)
        (void)snprintf(text + used, size - (size_t)used, "  %.1f samples/s", status->samples_per_second);
}

/* ---- tables ---- */

/* A name that keeps the table's columns: cut at, and filled up to, so many of them. */
static void fit(char *text, size_t size, int columns)
{
    size_t cut = sl_utf8_cut(text, columns);
    text[cut] = 0;
    for (int missing = columns - sl_utf8_columns(text); missing > 0 && cut + 1 < size; missing--) {
        text[cut++] = ' ';
        text[cut] = 0;
    }
}

static void name_process(char text[NAME_MAX_BYTES * 2], const char *host, uint32_t pid)
{
    char clean[NAME_MAX_BYTES], number[16] = "";
    (void)dp_clean(clean, sizeof(clean), host);
    if (pid > 0)
        (void)snprintf(number, sizeof(number), ":%u", pid);
    clean[sl_utf8_cut(clean, 18 - (int)strlen(number))] = 0;
    (void)snprintf(text, NAME_MAX_BYTES * 2, "%s%s", clean, number);
    fit(text, NAME_MAX_BYTES * 2, 18);
}

static const char *since(char *text, double then, double now)
{
    return dp_span(text, then > 0.0 ? (now > then ? now - then : 0.0) : NAN);
}

void dp_worker_line(char *text, size_t size, const Shelflife__Status__Worker *w, double now)
{
    char name[NAME_MAX_BYTES * 2], doing[NAME_MAX_BYTES], words[4][DP_WORD_MAX];
    name_process(name, w->host, w->pid);
    (void)dp_clean(doing, 32, w->doing);
    fit(doing, sizeof(doing), 9);
    (void)snprintf(text, size, "%4u %s %s %7" PRIu64 " %9.1f %5" PRId64 " %4.0f%% %6s %8s %8s %8s", w->rank,
            name, doing, w->slots, w->samples_per_second, w->staleness, 100.0 * w->wait_share,
            since(words[0], w->heard, now), dp_bytes(words[1], w->memory), dp_bytes(words[2], w->sent),
            dp_bytes(words[3], w->received));
}

void dp_server_line(char *text, size_t size, const Shelflife__Status__Server *s, double now)
{
    char name[NAME_MAX_BYTES * 2], words[6][DP_WORD_MAX];
    name_process(name, s->host, s->pid);
    (void)snprintf(text, size, "%4u %s %7" PRId64 " %6" PRIu64 " %10s %5" PRIu64 " %7s %6s %8s %8s %8s",
            s->rank, name, s->version, s->blocks, dp_bytes(words[0], s->parameter_bytes), s->queue,
            dp_span(words[1], s->update_seconds), since(words[2], s->heard, now),
            dp_bytes(words[3], s->memory), dp_bytes(words[4], s->sent), dp_bytes(words[5], s->received));
}

void dp_event_line(char *text, size_t size, const Shelflife__Status__Event *event)
{
    char name[NAME_MAX_BYTES], clean[512], when[16] = "--:--:--";
    time_t seconds = event->time > 0.0 && event->time < 1e11 ? (time_t)event->time : 0;
    struct tm parts;
    if (seconds > 0 && localtime_r(&seconds, &parts) != NULL)
        (void)strftime(when, sizeof(when), "%H:%M:%S", &parts);
    const char *level = event->level != NULL ? event->level : "";
    char mark = strcmp(level, "error") == 0 ? '!' : strcmp(level, "warning") == 0 ? '*' : ' ';
    (void)snprintf(text, size, "%s %c %s  %s", when, mark, dp_clean(name, sizeof(name), event->name),
            dp_clean(clean, sizeof(clean), event->text));
}
