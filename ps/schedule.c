/* Learning rates: see schedule.h. */
#include "ps/schedule.h"

#include <math.h>

struct ps_schedule ps_schedule_from_config(const struct sl_config *config, int64_t total_steps)
{
    struct ps_schedule schedule = {
            .kind = config->optimiser.schedule,
            .lr = (double)config->optimiser.lr,
            .min_ratio = (double)config->optimiser.min_lr_ratio,
            .warmup_steps = config->optimiser.warmup_steps,
            .total_steps = total_steps,
    };
    return schedule;
}

double ps_schedule_rate(const struct ps_schedule *schedule, int64_t step)
{
    if (step < schedule->warmup_steps)
        return schedule->lr * (double)(step + 1) / (double)(schedule->warmup_steps + 1);
    if (schedule->kind == SL_SCHEDULE_CONSTANT || schedule->total_steps <= 0)
        return schedule->lr;
    int64_t last = schedule->total_steps - 1 - schedule->warmup_steps, now = step - schedule->warmup_steps;
    double t = last <= 0 ? (now > 0 ? 1.0 : 0.0) : (double)now / (double)last;
    if (t > 1.0)
        t = 1.0;
    double shape = schedule->kind == SL_SCHEDULE_LINEAR ? 1.0 - t : 0.5 * (1.0 + cos(M_PI * t));
    return schedule->lr * (schedule->min_ratio + (1.0 - schedule->min_ratio) * shape);
}
