/* Forward and backward of one slot: see bench.h. */
#include "common/memory.h"
#include "deploy/bench/bench.h"

enum sl_status dp_slot_init(struct dp_slot *slot, struct dp_subject *subject, struct sl_error *err)
{
    int capacity = subject->config->batch.slot_size;
    *slot = (struct dp_slot){.subject = subject};
    enum sl_status status = wk_batch_create(&slot->batch, subject->config, capacity, err);
    if (status == SL_OK)
        status = wk_workspace_create(&slot->workspace, subject->model, capacity, true, err);
    if (status == SL_OK)
        status = dp_subject_fill(subject, slot->batch, capacity, err);
    if (status != SL_OK)
        return status;
    slot->gradients = sl_alloc_aligned(sl_layout_gradient_floats(subject->layout), sizeof(float));
    if (slot->gradients == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the gradients of %zu parameters",
                subject->layout->count);
    return SL_OK;
}

void dp_slot_fini(struct dp_slot *slot)
{
    wk_workspace_destroy(slot->workspace);
    wk_batch_destroy(slot->batch);
    sl_free(slot->gradients);
    *slot = (struct dp_slot){0};
}

enum sl_status dp_slot_forward_work(struct dp_item *item, struct sl_error *err)
{
    (void)err;
    struct dp_slot *slot = item->context;
    struct sl_step_stats stats;
    struct wk_mode mode = {.training = true, .seed = slot->subject->config->seed, .step = slot->step++};
    wk_model_forward(
            slot->subject->model, slot->subject->params, slot->batch, &mode, slot->workspace, &stats);
    return SL_OK;
}

enum sl_status dp_slot_early_work(struct dp_item *item, struct sl_error *err)
{
    static const double coefficients[SL_MODALITIES_MAX] = {0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0};
    struct dp_slot *slot = item->context;
    enum sl_status status = dp_slot_forward_work(item, err);
    if (status == SL_OK)
        wk_model_backward_early(slot->subject->model, slot->subject->params, slot->batch, slot->workspace,
                coefficients, slot->gradients);
    return status;
}

enum sl_status dp_slot_work(struct dp_item *item, struct sl_error *err)
{
    struct dp_slot *slot = item->context;
    if (slot->subject->layout->vectors == 1)
        return dp_slot_early_work(item, err);
    float *const tags[SL_TAGS] = {slot->gradients, slot->gradients + slot->subject->layout->count};
    enum sl_status status = dp_slot_forward_work(item, err);
    if (status == SL_OK)
        wk_model_backward(slot->subject->model, slot->subject->params, slot->batch, slot->workspace, tags);
    return status;
}
