/* A run's pace and lead: see status_figures.h. */
#include "ps/status_figures.h"

#include <math.h>
#include <stdlib.h>

struct step {
    double seconds, samples;
};

static void add(struct ps_pace *pace, double seconds, double samples)
{
    if (!(seconds > 0.0))
        return;
    pace->seconds[pace->next] = seconds;
    pace->samples[pace->next] = samples;
    pace->next = (pace->next + 1) % PS_PACE_STEPS;
    pace->count += pace->count < PS_PACE_STEPS;
}

void ps_pace_step(struct ps_pace *pace, int64_t now_us, double seconds, int64_t samples)
{
    double since = pace->last_us > 0 ? (double)(now_us - pace->last_us) * 1e-6 : seconds;
    pace->last_us = now_us;
    add(pace, since, (double)samples);
}

void ps_pace_pause(struct ps_pace *pace)
{
    pace->last_us = 0;
}

void ps_pace_validation(struct ps_pace *pace, double seconds)
{
    pace->validation_seconds = seconds;
    ps_pace_pause(pace);
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const struct step *)a)->seconds, y = ((const struct step *)b)->seconds;
    return (x > y) - (x < y);
}

/* The sums of the middle half; returns how many steps that are. */
static int middle(const struct ps_pace *pace, struct step *ret_sum)
{
    struct step steps[PS_PACE_STEPS];
    for (int i = 0; i < pace->count; i++)
        steps[i] = (struct step){pace->seconds[i], pace->samples[i]};
    qsort(steps, (size_t)pace->count, sizeof(steps[0]), by_seconds);
    int cut = pace->count / 4;
    *ret_sum = (struct step){0};
    for (int i = cut; i < pace->count - cut; i++) {
        ret_sum->seconds += steps[i].seconds;
        ret_sum->samples += steps[i].samples;
    }
    return pace->count - 2 * cut;
}

double ps_pace_step_seconds(const struct ps_pace *pace)
{
    struct step sum;
    int count = middle(pace, &sum);
    return count > 0 ? sum.seconds / count : 0.0;
}

double ps_pace_samples_per_second(const struct ps_pace *pace)
{
    struct step sum;
    return middle(pace, &sum) > 0 ? sum.samples / sum.seconds : 0.0;
}

double ps_pace_eta(const struct ps_pace *pace, int64_t step, int64_t total, int64_t steps_per_epoch)
{
    if (total <= 0 || pace->count == 0)
        return -1.0;
    if (step >= total)
        return 0.0;
    double validations = 0.0;
    if (steps_per_epoch > 0) /* one at every end of an epoch, and one at the end */
        validations = (double)((total + steps_per_epoch - 1) / steps_per_epoch - step / steps_per_epoch);
    return (double)(total - step) * ps_pace_step_seconds(pace) + validations * pace->validation_seconds;
}

int64_t ps_lead_step(struct ps_lead *lead, const double *scores, int modalities)
{
    int best = 0;
    bool tie = false;
    for (int m = 0; m < modalities; m++) {
        if (!isfinite(scores[m]))
            return lead->flips;
        if (m > 0 && scores[m] == scores[best])
            tie = true;
        if (m > 0 && scores[m] > scores[best]) {
            best = m;
            tie = false;
        }
    }
    if (tie || modalities == 0)
        return lead->flips;
    lead->flips += lead->leader != 0 && lead->leader != best + 1;
    lead->leader = best + 1;
    return lead->flips;
}

double ps_rate_reading(struct ps_rate *rate, int64_t now_us, uint64_t total)
{
    if (!rate->begun)
        rate->value = -1.0;
    else if (now_us > rate->at_us && total >= rate->total)
        rate->value = (double)(total - rate->total) / ((double)(now_us - rate->at_us) * 1e-6);
    rate->begun = true;
    rate->total = total;
    rate->at_us = now_us;
    return rate->value;
}
