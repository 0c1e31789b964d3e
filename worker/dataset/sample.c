/* See sample.h. */
#include "worker/dataset/sample.h"

#include "common/memory.h"

#include <string.h>

void wk_sample_fini(struct wk_sample *sample)
{
    sl_free(sample->id);
    sl_free(sample->title);
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        sl_free(sample->inputs[m].frames);
        sl_free(sample->inputs[m].tokens);
        sl_free(sample->inputs[m].features);
    }
    memset(sample, 0, sizeof(*sample));
}
