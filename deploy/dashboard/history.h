#pragma once
/* A run from its first step on, in bounded memory: at most DP_HISTORY_POINTS points, each the mean of `stride` steps. When they are full, neighbours are
 * joined and the stride doubles, so a run of ten million steps costs what one of a thousand does, and lines are read once.
 *
 *     dp_history_create(&history);
 *     dp_history_line(history, line, size);           // a line of metrics.jsonl
 *     dp_history_step(history, step);                 // or a message of the status socket, for a run whose files are elsewhere
 *     dp_history_json(history, &json);
 *
 * A step that is not later than the last one means that the run went back to a snapshot: later points are forgotten.
 * Nothing here touches files, sockets or clocks. Thread: one owner at a time.
 */
#include "common/config.h"
#include "common/error.h"
#include "common/json.h"
#include "proto/status.pb-c.h"

#include <stdbool.h>

#define DP_HISTORY_POINTS 1024     /* even */
#define DP_HISTORY_VALIDATIONS 512 /* even; beyond, every other one is forgotten, never the last */
#define DP_HISTORY_EVENTS 64       /* the newest */

struct dp_history;

SL_MUST_USE enum sl_status dp_history_create(struct dp_history **ret_history, struct sl_error *err);
void dp_history_destroy(struct dp_history *history); /* NULL is fine */
void dp_history_clear(struct dp_history *history);

/* dp_history_line takes one line without its newline. Errors: BAD_DATA when it is not one (nothing has changed), NO_MEMORY. */
SL_MUST_USE enum sl_status dp_history_line(
        struct dp_history *history, const char *line, size_t size, struct sl_error *err);

/* These take messages; names of branches come with the run. Errors: BAD_DATA when lists are longer than a model can have, NO_MEMORY. */
SL_MUST_USE enum sl_status dp_history_run(
        struct dp_history *history, const Shelflife__Status__Run *run, struct sl_error *err);
SL_MUST_USE enum sl_status dp_history_step(
        struct dp_history *history, const Shelflife__Status__Step *step, struct sl_error *err);
SL_MUST_USE enum sl_status dp_history_validation(
        struct dp_history *history, const Shelflife__Status__Validation *validation, struct sl_error *err);

/* dp_history_json writes {"branches":[…],"labels":[…],"stride":n,"step":[…],"loss":[[…],…],…,"validations":[…],"events":[…]}: docs/dashboard.md lists it. */
void dp_history_json(const struct dp_history *history, struct sl_json *json, const char *key);

int64_t dp_history_last_step(const struct dp_history *history); /* 0 when there is none */
double dp_history_last_time(
        const struct dp_history *history); /* Unix seconds of the last line, 0 when there is none */
int dp_history_points(const struct dp_history *history);
/* dp_history_accuracy is the fused branch's in the last validation (best: the highest of all), NaN without one. */
double dp_history_accuracy(const struct dp_history *history, bool best);
