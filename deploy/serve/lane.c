/* One thread's model: see lane.h. */
#include "deploy/serve/lane.h"

#include "deploy/serve/bundle.h"

#include <math.h>

void dp_lane_fini(struct dp_lane *lane)
{
    wk_workspace_destroy(lane->workspace);
    wk_batch_destroy(lane->batch);
    dp_bundle_release(lane->bundle);
    *lane = (struct dp_lane){.capacity = lane->capacity};
}

static enum sl_status meet(struct dp_lane *lane, struct dp_bundle *bundle, struct sl_error *err)
{
    if (lane->bundle == bundle)
        return SL_OK;
    dp_lane_fini(lane);
    const struct dp_loaded *loaded = bundle->loaded;
    enum sl_status status = wk_workspace_create(&lane->workspace, loaded->model, lane->capacity, false, err);
    if (status == SL_OK)
        status = wk_batch_create(&lane->batch, loaded->config, lane->capacity, err);
    if (status == SL_OK)
        lane->bundle = dp_bundle_retain(bundle);
    else
        dp_lane_fini(lane);
    return status;
}

/* Takes what the model said of sample `index` of the last forward pass. */
static void take(struct dp_lane *lane, struct dp_job *job, int index)
{
    const struct sl_config *config = lane->bundle->loaded->config;
    dp_prediction_take(&job->prediction, lane->workspace, config, index);
    for (int b = 0; b <= config->modality_count && job->status == SL_OK; b++)
        if (!isfinite(job->prediction.probabilities[b][0]))
            job->status = sl_fail(&job->error, SL_FAILED,
                    "the model gives no finite probabilities (branch %s): its snapshot is of a run that "
                    "diverged",
                    sl_config_branch_name(config, b));
}

/* One forward pass of the jobs that fit; those that the batch refuses fail alone. */
static void pass(struct dp_lane *lane, struct dp_job *const *jobs, int count)
{
    const struct dp_loaded *loaded = lane->bundle->loaded;
    const struct wk_mode mode = {.training = false};
    struct sl_step_stats stats;
    wk_batch_clear(lane->batch);
    for (int i = 0; i < count; i++)
        jobs[i]->status = wk_batch_add(lane->batch, loaded->config, &jobs[i]->sample, &jobs[i]->error);
    if (lane->batch->count == 0)
        return;
    wk_model_forward(loaded->model, loaded->params, lane->batch, &mode, lane->workspace, &stats);
    int index = 0;
    for (int i = 0; i < count; i++)
        if (jobs[i]->status == SL_OK)
            take(lane, jobs[i], index++);
}

void dp_lane_score(struct dp_lane *lane, struct dp_job *const *jobs, int count)
{
    for (int first = 0, n = 0; first < count; first += n) {
        struct sl_error err = {0};
        enum sl_status status = meet(lane, jobs[first]->bundle, &err);
        for (n = 1;
                n < lane->capacity && first + n < count && jobs[first + n]->bundle == jobs[first]->bundle;)
            n++;
        if (status == SL_OK)
            pass(lane, jobs + first, n);
        for (int i = 0; i < n && status != SL_OK; i++) {
            jobs[first + i]->status = status;
            jobs[first + i]->error = err;
        }
    }
}
