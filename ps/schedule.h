#pragma once
/* The learning rate of each step: a linear warm-up, then a constant, a line or half a cosine. Pure.
 *
 * min_ratio. Pure.
 *
 *     double rate = ps_schedule_rate(&schedule, step);     // step 0 is the first
 */
#include "common/config.h"

#include <stdint.h>

struct ps_schedule {
    enum sl_schedule kind;
    double lr;            /* the highest rate */
    double min_ratio;     /* the last step's rate is lr * min_ratio; in [0, 1] */
    int64_t warmup_steps; /* steps until lr is reached */
    int64_t total_steps;  /* steps of the whole training, warm-up included; <= 0 = unknown: constant after the
                             warm-up */
};

struct ps_schedule ps_schedule_from_config(const struct sl_config *config, int64_t total_steps);

/* ps_schedule_rate: in the warm-up lr * (step + 1) / (warmup_steps + 1), so that no step has rate 0 and the
 * first step after it has lr; then lr * (min_ratio + (1 - min_ratio) * f(t)) with
 *
 *     t = (step - warmup_steps) / (total_steps - 1 - warmup_steps), at most 1
 *     f(t) = 1 - t for linear, (1 + cos(pi t)) / 2 for cosine
 */
double ps_schedule_rate(const struct ps_schedule *schedule, int64_t step);
