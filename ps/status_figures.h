#pragma once
/* Figures that follow from a run's steps: how fast it is, how long it will take, how often the lead has changed. Pure: times are arguments.
 *
 *     struct ps_pace pace = {0};
 *     ps_pace_step(&pace, now_us, record.seconds, record.samples);
 *     eta = ps_pace_eta(&pace, step, total, steps_per_epoch);
 */
#include <stdbool.h>
#include <stdint.h>

#define PS_PACE_STEPS 64

/* The latest steps. Zero = none. */
struct ps_pace {
    double seconds[PS_PACE_STEPS], samples[PS_PACE_STEPS]; /* a ring */
    int count, next;
    int64_t last_us; /* of the last step, 0 = something else came between */
    double validation_seconds;
};

/* ps_pace_step counts a step that ended at now_us. Its time is that since the step before, because steps may overlap; `seconds`, from its own opening, when there is
 * none before it. */
void ps_pace_step(struct ps_pace *pace, int64_t now_us, double seconds, int64_t samples);
/* ps_pace_pause says that something else than a step took the time: a validation (then seconds is how long), or a wait. */
void ps_pace_pause(struct ps_pace *pace);
void ps_pace_validation(struct ps_pace *pace, double seconds);

/* Means over the middle half of the latest steps, by their time: a stray slow one does not count. 0 = no step yet. */
double ps_pace_step_seconds(const struct ps_pace *pace);
double ps_pace_samples_per_second(const struct ps_pace *pace);

/* ps_pace_eta: seconds until `total` steps are done, with the validations at the ends of epochs; -1 when that cannot be known. */
double ps_pace_eta(const struct ps_pace *pace, int64_t step, int64_t total, int64_t steps_per_epoch);

/* Who leads: the modality with the largest score. */
struct ps_lead {
    int leader; /* index + 1, 0 = nobody yet */
    int64_t flips;
};

/* ps_lead_step takes a step's scores; equal ones and such that are not finite change nothing. Returns the flips so far. */
int64_t ps_lead_step(struct ps_lead *lead, const double *scores, int modalities);

/* Bytes a second between two readings of a counter. Zero = no reading yet. */
struct ps_rate {
    uint64_t total;
    int64_t at_us;
    double value; /* of the last interval, -1 = not known yet */
    bool begun;
};

/* ps_rate_reading takes the counter's value and gives the rate since the reading before; a counter that went back (somebody left) keeps the last rate. */
double ps_rate_reading(struct ps_rate *rate, int64_t now_us, uint64_t total);
