/* Rounds, medians, clocks: see measure.h. */
#include "deploy/bench/measure.h"

#include "common/clock.h"
#include "common/signals.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

double dp_now(void)
{
    return (double)sl_clock_monotonic_ns() * 1e-9;
}

void dp_series_add(struct dp_series *series, double value)
{
    assert(series->count < DP_ROUNDS);
    series->values[series->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double dp_series_median(const struct dp_series *series)
{
    double sorted[DP_ROUNDS];
    int n = series->count;
    if (n == 0)
        return 0.0;
    memcpy(sorted, series->values, (size_t)n * sizeof(*sorted));
    qsort(sorted, (size_t)n, sizeof(*sorted), compare);
    return n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0;
}

double dp_series_least(const struct dp_series *series)
{
    double least = series->count == 0 ? 0.0 : series->values[0];
    for (int i = 1; i < series->count; i++)
        least = series->values[i] < least ? series->values[i] : least;
    return least;
}

double dp_item_seconds(const struct dp_item *item)
{
    return dp_series_median(&item->seconds);
}

double dp_item_cpu(const struct dp_item *item)
{
    return dp_series_median(&item->cpu_seconds);
}

double dp_item_part(const struct dp_item *item, int part)
{
    return dp_series_median(&item->parts[part]);
}

static enum sl_status look_for_signals(struct dp_measure *measure, struct sl_error *err)
{
    int number = measure->signals < 0 ? 0 : sl_signals_take(measure->signals);
    if (number == 0 || number == SIGCHLD) /* an end of a child that we ended ourselves */
        return SL_OK;
    measure->signal = number;
    return sl_fail(err, SL_STOPPED, "stopped by a signal");
}

static enum sl_status one_slice(struct dp_measure *measure, struct dp_item *item, struct sl_error *err)
{
    double begin = dp_now(), seconds = 0.0;
    int64_t cpu = sl_clock_cpu_ns();
    double calls = 0.0;
    memset(item->part, 0, sizeof(item->part));
    do {
        enum sl_status status = item->work(item, err);
        if (status == SL_OK)
            status = look_for_signals(measure, err);
        if (status != SL_OK)
            return status;
        calls++;
        seconds = dp_now() - begin;
    } while (seconds < measure->seconds / DP_ROUNDS);
    dp_series_add(&item->seconds, seconds / calls);
    dp_series_add(&item->cpu_seconds, (double)(sl_clock_cpu_ns() - cpu) * 1e-9 / calls);
    for (int p = 0; p < DP_PARTS; p++)
        dp_series_add(&item->parts[p], item->part[p] / calls);
    return SL_OK;
}

enum sl_status dp_measure(struct dp_measure *measure, struct dp_item *items, int count, struct sl_error *err)
{
    for (int i = 0; i < count; i++) {
        enum sl_status status = items[i].work(&items[i], err);
        if (status == SL_OK)
            status = look_for_signals(measure, err);
        if (status != SL_OK)
            return status;
    }
    for (int round = 0; round < DP_ROUNDS; round++) {
        for (int i = 0; i < count; i++) {
            enum sl_status status = one_slice(measure, &items[i], err);
            if (status != SL_OK)
                return status;
        }
    }
    return SL_OK;
}
