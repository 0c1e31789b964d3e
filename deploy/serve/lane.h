#pragma once
/* One compute thread's place for the model: workspace and batch of the snapshot that its last job met, made anew when a job meets another one. For service.c.
 *
 *     dp_lane_score(&lane, jobs, count);      // fills status, error and prediction of each
 *
 * Thread: one.
 */
#include "deploy/serve/service.h"

struct dp_lane {
    struct dp_bundle *bundle; /* retained; NULL = none yet */
    struct wk_workspace *workspace;
    struct wk_batch *batch;
    int capacity; /* samples of one forward pass: 1, or the batch's size with joint */
};

/* dp_lane_score runs the model on prepared jobs, in order, one forward pass each, or one for as many neighbours of one snapshot as fit the capacity. */
void dp_lane_score(struct dp_lane *lane, struct dp_job *const *jobs, int count);
void dp_lane_fini(struct dp_lane *lane); /* lets go of the snapshot; the capacity stays */
