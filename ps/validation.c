/* A validation: units are evaluated by whoever is idle, merged, and judged. */
#include "ps/coordinator_parts.h"

#include <math.h>

enum sl_status ps_coordinator_open_validation(struct ps_coordinator *c, struct sl_error *err)
{
    c->state = STATE_VALIDATING;
    sl_evaluation_clear(c->evaluation);
    enum sl_status status = ps_coordinator_open_units(
            c, PS_VALIDATION, SL_PHASE_VALIDATE, c->training.step, ps_coordinator_validation_units(c), err);
    return status == SL_OK ? ps_coordinator_assign_work(c, err) : status;
}

/* Better than the best by more than min_delta; a loss is better when it is lower. */
static bool is_gain(const struct ps_coordinator *c, double value)
{
    double delta = value - c->training.best_value;
    if (c->keep_metric == SL_METRIC_LOSS)
        delta = -delta;
    return isfinite(value) &&
           (isnan(c->training.best_value) || delta > c->options.config->early_stopping.min_delta);
}

static enum sl_status end_validation(struct ps_coordinator *c, struct sl_error *err)
{
    struct ps_action *action = ps_coordinator_add_action(c, PS_ACTION_VALIDATION);
    action->evaluation = c->evaluation;
    action->seconds = (double)(c->now_us - c->steps[PS_VALIDATION].opened_us) * 1e-6;
    c->training.validated_step = c->training.step;
    double value =
            c->keep_branch < 0 ? NAN : sl_evaluation_metric(c->evaluation, c->keep_branch, c->keep_metric);
    c->snapshot_best = is_gain(c, value);
    action->best = c->snapshot_best;
    if (c->snapshot_best) {
        c->training.best_value = value;
        c->training.best_step = c->training.step;
        c->training.validations_without_gain = 0;
    } else {
        c->training.validations_without_gain++;
    }
    c->snapshot_wanted = true;
    ps_coordinator_abandon(c, PS_VALIDATION);
    c->state = STATE_TRAINING;
    return ps_coordinator_proceed(c, err);
}

/* More samples counted than there are in these units (fewer is fine: some have no label). */
static bool counts_too_many(const struct ps_coordinator *c, const struct sl_message *m)
{
    int64_t samples = ps_coordinator_samples_of_units(c, &c->steps[PS_VALIDATION], m->begin, m->end);
    for (int b = 0; b < sl_evaluation_branches(c->part); b++)
        if (sl_evaluation_count(c->part, b) > samples)
            return true;
    return false;
}

enum sl_status ps_coordinator_on_validated(
        struct ps_coordinator *c, int w, const struct sl_message *m, struct sl_error *err)
{
    int branches = sl_evaluation_branches(c->part), classes = sl_evaluation_classes(c->part);
    size_t ints = sl_evaluation_int_count(branches, classes),
           doubles = sl_evaluation_double_count(branches, classes);
    struct ps_open_step *open = &c->steps[PS_VALIDATION];
    const struct ps_run *run = &c->roster.workers[w].run;
    if (c->state != STATE_VALIDATING || m->step != c->training.step || run->at != PS_VALIDATION ||
            m->begin != run->begin || m->end != run->end)
        return SL_OK;
    const int64_t *values = m->frames[0].data;
    struct sl_error problem = {0};
    if (m->frames[0].size != ints * sizeof(int64_t) + doubles * sizeof(double))
        return ps_coordinator_expel_worker(c, w, "its validation result has another shape", err);
    if (sl_evaluation_load(c->part, values, ints, (const double *)(values + ints), doubles, &problem) !=
            SL_OK)
        return ps_coordinator_expel_worker(c, w, problem.text, err);
    if (counts_too_many(c, m))
        return ps_coordinator_expel_worker(
                c, w, "its validation result counts more samples than its units have", err);
    enum sl_status status = SL_OK;
    bool fresh = true;
    for (uint32_t u = m->begin; u < m->end; u++)
        fresh &= open->owner[u] != PS_UNIT_DONE;
    if (fresh) {
        (void)ps_coordinator_close_units(c, open, m->begin, m->end);
        status = sl_evaluation_merge(c->evaluation, c->part, err);
    }
    ps_coordinator_learn_all_speeds(c);
    if (status == SL_OK)
        status = ps_coordinator_assign_work(c, err);
    return status == SL_OK && open->open && open->done == open->units ? end_validation(c, err) : status;
}
