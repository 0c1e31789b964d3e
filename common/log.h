#pragma once
/* Log lines: level, role, module, stable event id, key=value …; as text for people or as JSON lines for machines.
 *
 *     sl_log(SL_LOG_INFO, "server", "step-applied", "step=%ld loss=%.4f", step, loss);
 *     char quoted[256];
 *     sl_log(SL_LOG_WARN, "import", "row-rejected", "line=%d reason=%s", line, sl_log_quote(quoted, sizeof(quoted), reason));
 *
 *     2026-11-23T08:31:02.123Z INFO  server.0 server step-applied step=12 loss=0.4123
 *     {"time":"2026-11-23T08:31:02.123Z","level":"info","role":"server.0","module":"server","event":"step-applied","step":12,"loss":0.4123}
 *
 * Event ids are stable words: people search for them, dashboards count them. An unquoted value runs to the next " key="; text from outside
 * goes through sl_log_quote so that it cannot pretend to be a key. A line is one write: lines of threads and processes do not mix.
 * An event that comes more than 20 times in 10 s is held back; its next line, or sl_log_close, tells how many were (suppressed=N).
 *
 * There is one logger in a process, the only global state of the house. Before sl_log_open it writes text from SL_LOG_INFO up to standard error.
 * Thread: any. The one who decides logs; others return errors.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

enum sl_log_level { SL_LOG_DEBUG, SL_LOG_INFO, SL_LOG_WARN, SL_LOG_ERROR };
enum sl_log_format { SL_LOG_TEXT, SL_LOG_JSON };

#define SL_LOG_LINE_MAX 4096 /* bytes of a line; a longer one is cut; as text it then ends in "..." */

/* All zero means: everything from debug up, as text, to standard error, without role or limit on repeats: set level at least. */
struct sl_log_options {
    enum sl_log_level level; /* lines below it are dropped */
    enum sl_log_format format;
    const char *path; /* file to append to; NULL = standard error */
    const char *role; /* who writes: "server.0"; NULL = not shown */
    bool every_line;  /* true: repeats are not held back */
};

/* sl_log_open sets up the logger; called again it replaces the old set-up. Errors: as opening the file gives; then nothing has changed. */
SL_MUST_USE enum sl_status sl_log_open(const struct sl_log_options *options, struct sl_error *err);

/* sl_log_close tells what was held back, closes the file and returns to the state before sl_log_open. */
void sl_log_close(void);

/* sl_log writes one line; format gives "key=value key=value …", or is NULL for none. Never fails: what cannot be written is lost. */
void sl_log(enum sl_log_level level, const char *module, const char *event, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* sl_log_enabled tells whether lines of the level are written, to save the work of making one. */
bool sl_log_enabled(enum sl_log_level level);

/* sl_log_quote writes text into buffer in double quotes with JSON's escapes, cut to fit, and returns buffer. size >= 8. */
const char *sl_log_quote(char *buffer, size_t size, const char *text);

/* sl_log_level_parse reads debug, info, warn or error. Errors: USAGE. */
SL_MUST_USE enum sl_status sl_log_level_parse(
        enum sl_log_level *ret_level, const char *text, struct sl_error *err);

/* sl_log_live_line says that an unfinished line stands on the terminal of standard error, so that a log line clears it first. For progress.c. */
void sl_log_live_line(bool live);
