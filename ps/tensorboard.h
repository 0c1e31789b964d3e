#pragma once
/* The run's figures as TensorBoard reads them: RUN/tensorboard/events.out.tfevents.TIME.HOST.PID, when snapshots.tensorboard is true. metrics.jsonl stays the run's own record.
 *
 *     loss/BRANCH accuracy/BRANCH score/MODALITY ratio/MODALITY coefficient/MODALITY cosine/MODALITY
 *     train/gradient_norm train/clip train/learning_rate train/samples_per_second                      each step
 *     validation_loss/BRANCH validation_accuracy/BRANCH validation_macro_f1/BRANCH                     each validation
 *
 * A record is one write, so that a reader sees whole steps. A resumed run begins a new file, whose start tells TensorBoard to forget later steps of earlier files.
 * Values that are not finite are left out. Thread: the loop's. NULL is fine everywhere: nothing is written.
 */
#include "common/config.h"
#include "common/evaluation.h"
#include "ps/coordinator.h"

struct ps_tensorboard;

/* ps_tensorboard_open begins a file for a run that stands at `step`; NULL in *ret_tensorboard when the config wants none. Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_tensorboard_open(struct ps_tensorboard **ret_tensorboard,
        const struct sl_config *config, int64_t step, struct sl_error *err);
void ps_tensorboard_close(struct ps_tensorboard *tensorboard);

/* Errors: DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_tensorboard_step(
        struct ps_tensorboard *tensorboard, const struct ps_step_record *record, struct sl_error *err);
SL_MUST_USE enum sl_status ps_tensorboard_validation(struct ps_tensorboard *tensorboard, int64_t step,
        const struct sl_evaluation *evaluation, struct sl_error *err);

/* ps_crc32c is the Castagnoli CRC of some bytes, as the records' frames want it. */
uint32_t ps_crc32c(const void *bytes, size_t size);
