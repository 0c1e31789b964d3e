#pragma once
/* The run's metrics.jsonl: one JSON object a line, one line a step, validation or event. docs/training.md lists the fields.
 *
 *     {"kind":"step","step":120,"epoch":3,"lr":0.0005,"loss":{"visual":1.2,…,"fused":0.7},…}
 *
 * Appended to only; a resumed run first cuts off what is later than its snapshot, so that no step stands twice.
 * Thread: the loop's.
 */
#include "common/config.h"
#include "common/evaluation.h"
#include "ps/coordinator.h"

struct ps_metrics;

/* ps_metrics_open opens RUN/metrics.jsonl for appending and removes lines of steps after `step` (a torn last line too). step 0 begins a new file. Errors: DISK, FAILED. */
SL_MUST_USE enum sl_status ps_metrics_open(
        struct ps_metrics **ret_metrics, const struct sl_config *config, int64_t step, struct sl_error *err);
void ps_metrics_close(struct ps_metrics *metrics);

SL_MUST_USE enum sl_status ps_metrics_step(
        struct ps_metrics *metrics, const struct ps_step_record *record, struct sl_error *err);
SL_MUST_USE enum sl_status ps_metrics_validation(struct ps_metrics *metrics, int64_t step, int64_t epoch,
        double seconds, bool best, const struct sl_evaluation *evaluation, struct sl_error *err);
/* ps_metrics_event notes something that happened: a stable word and a text. */
SL_MUST_USE enum sl_status ps_metrics_event(
        struct ps_metrics *metrics, int64_t step, const char *event, const char *text, struct sl_error *err);
