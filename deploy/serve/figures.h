#pragma once
/* What the server counts: requests by outcome, how long they took, how large batches were. Percentiles are exact ones over the last DP_FIGURES_WINDOW answers. Pure: no
 * clock and no lock; the owner has both.
 *
 *     dp_figures_answer(&figures, SL_OK, &times);
 *     double p99 = dp_figures_quantile(&figures, DP_STAGE_TOTAL, 0.99);
 */
#include "common/error.h"
#include "common/json.h"
#include "common/text.h"

#include <stdint.h>

#define DP_FIGURES_WINDOW 2048
#define DP_FIGURES_BUCKETS 9 /* of batch sizes: 1, 2, 4 … 256 */

/* Where an answer's time went. */
enum dp_stage {
    DP_STAGE_TOTAL,   /* from the whole request to its answer */
    DP_STAGE_PREPARE, /* waiting for, and doing, decoding and tokenising */
    DP_STAGE_WAIT,    /* waiting for a batch and a thread */
    DP_STAGE_COMPUTE, /* the model */
    DP_STAGES
};

enum dp_outcome { DP_OUTCOME_OK, DP_OUTCOME_REFUSED, DP_OUTCOME_BUSY, DP_OUTCOME_FAILED, DP_OUTCOMES };

struct dp_times {
    float seconds[DP_STAGES];
};

struct dp_figures {
    uint64_t answers[DP_OUTCOMES];
    uint64_t batches[DP_FIGURES_BUCKETS + 1]; /* by size, the last one larger than all */
    uint64_t batch_samples;
    uint64_t reloads, reloads_refused;
    double sum[DP_STAGES]; /* seconds of all OK answers */
    struct dp_times window[DP_FIGURES_WINDOW];
    int window_count, window_next;
};

/* What is not counted but is so now. */
struct dp_figures_now {
    int in_flight, queue;
    int64_t step;
    double loaded; /* Unix seconds */
};

/* dp_figures_outcome sorts a status: who sent it is at fault, we are full or stopping, or something failed here. */
enum dp_outcome dp_figures_outcome(enum sl_status status);
/* dp_figures_answer counts one answer; times counts when it is OK. */
void dp_figures_answer(struct dp_figures *figures, enum sl_status status, const struct dp_times *times);
void dp_figures_batch(struct dp_figures *figures, int size);
/* dp_figures_quantile gives the smallest time that a share q of the window does not exceed, 0 when it is empty. Units: seconds. */
double dp_figures_quantile(const struct dp_figures *figures, enum dp_stage stage, double q);

/* dp_figures_json writes members of an open object; dp_figures_prometheus all families. */
void dp_figures_json(
        const struct dp_figures *figures, const struct dp_figures_now *now, struct sl_json *json);
void dp_figures_prometheus(
        const struct dp_figures *figures, const struct dp_figures_now *now, struct sl_text *text);
