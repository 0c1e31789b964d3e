#pragma once
/* Progress for people: one live line on a terminal, plain lines now and then elsewhere.
 *
 *     struct sl_progress progress;
 *     sl_progress_begin(&progress, &(struct sl_progress_options){.title = "train", .unit = "samples", .scale = 64, .total = steps});
 *     sl_progress_update(&progress, step, "loss %.3f", loss);
 *     sl_progress_end(&progress);
 *
 *     train ▕███████▌            ▏  38 % 1200/3150 loss 0.412 812 samples/s ETA 02:33
 *
 * Nothing here can fail or blocks longer than a write. NO_COLOR takes the colour away, TERM=dumb or a stream that is no terminal gives
 * plain lines, a locale without UTF-8 gives [####  ]. SHELFLIFE_PROGRESS=auto|bar|plain|none overrides what was detected.
 * Thread: one progress belongs to one thread; at most one live line at a time. Log lines clear a live line first (see log.h).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum sl_progress_mode {
    SL_PROGRESS_AUTO,
    SL_PROGRESS_BAR,
    SL_PROGRESS_ASCII,
    SL_PROGRESS_PLAIN,
    SL_PROGRESS_NONE
};

#define SL_PROGRESS_NOTE_MAX 160 /* bytes of the note with its 0; a longer one is cut */

/* All zero means: title "", total unknown, standard error, detected mode. The texts are borrowed until sl_progress_end. */
struct sl_progress_options {
    const char *title; /* what is being done: "import" */
    const char *unit;  /* of the rate: "samples"; NULL = no rate is shown */
    double scale;      /* units of the rate in one count: samples per step; 0 = 1 */
    int64_t total;     /* counts to do; 0 = unknown: neither bar nor ETA */
    int64_t done;      /* counts that were done before, in an earlier run: they do not enter the rate */
    FILE *stream;      /* NULL = stderr */
    enum sl_progress_mode mode;
    int64_t plain_interval_ms; /* least time between plain lines; 0 = 10 s */
    int columns;               /* of the terminal; 0 = asked from it */
    int64_t (*now_us)(void);   /* NULL = sl_clock_monotonic_us; for tests */
};

/* Fields are the module's own. */
struct sl_progress {
    struct sl_progress_options options;
    enum sl_progress_mode mode;            /* as resolved */
    bool color, live;                      /* live: an unfinished line is on the terminal */
    int64_t start_us, shown_us, sample_us; /* times of begin, last output, last rate sample */
    int64_t done, sample_done;
    double rate; /* counts per second, exponential mean; 0 = not known yet */
    char note[SL_PROGRESS_NOTE_MAX];
};

/* sl_progress_begin copies options (NULL = all zero) and shows the first line on a terminal. */
void sl_progress_begin(struct sl_progress *progress, const struct sl_progress_options *options);

/* sl_progress_update says that done counts are done now; note_format (NULL = keep the note) tells more, such as the loss. Draws at most
 * ten times a second on a terminal: cheap enough for every step. */
void sl_progress_update(struct sl_progress *progress, int64_t done, const char *note_format, ...)
        __attribute__((format(printf, 3, 4)));

/* sl_progress_end writes the last state and how long it took, and ends the line. */
void sl_progress_end(struct sl_progress *progress);

/* sl_progress_time writes seconds as "12:31", "1:02:03" or "3 d 04 h", and returns text. Shapes: text has 32 bytes. */
const char *sl_progress_time(char *text, double seconds);
