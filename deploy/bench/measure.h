#pragma once
/* Measuring: pieces of work are run in turn, round after round, and medians over the rounds are what counts.
 *
 *     struct dp_item items[] = {{.work = run_limit, .context = &x}, {.work = run_figure, .context = &x}};
 *     s = dp_measure(measure, items, 2, err);
 *     double seconds = dp_series_median(&items[1].seconds);     // of one call
 *
 * A figure and the limit it is held against run in the same rounds, so that a machine whose speed wanders
 * slows both. Each round gives every item its slice of the time, at least one call.
 */
#include "common/error.h"

#include <stddef.h>
#include <stdint.h>

#define DP_ROUNDS 7
#define DP_PARTS 7

/* One number of each round. */
struct dp_series {
    double values[DP_ROUNDS];
    int count;
};

struct dp_item;

/* One call of what is measured. It may add to item->part[i]: seconds of parts of a call that it timed
 * itself, or what it counted. */
typedef enum sl_status dp_work(struct dp_item *item, struct sl_error *err);

struct dp_item {
    dp_work *work;
    void *context;
    struct dp_series seconds, cpu_seconds; /* per call: wall clock; of all threads of the process */
    struct dp_series parts[DP_PARTS];      /* per call */
    double part[DP_PARTS];                 /* of the round that runs */
};

struct dp_measure {
    double seconds; /* to spend on each item */
    int signals;    /* descriptor of signals.h, -1 = none */
    int signal;     /* that came: measuring stops */
};

/* dp_measure calls every item once to warm up, then DP_ROUNDS rounds of all items in turn. Errors: what work
 * returns, STOPPED after a signal. */
SL_MUST_USE enum sl_status dp_measure(
        struct dp_measure *measure, struct dp_item *items, int count, struct sl_error *err);

void dp_series_add(struct dp_series *series, double value);
double dp_series_median(const struct dp_series *series); /* 0 when empty */
double dp_series_least(const struct dp_series *series);

/* dp_item_seconds and its kin are medians per call. */
double dp_item_seconds(const struct dp_item *item);
double dp_item_cpu(const struct dp_item *item);
double dp_item_part(const struct dp_item *item, int part);

/* dp_now is the monotonic clock. Units: seconds. */
double dp_now(void);
