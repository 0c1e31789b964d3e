#pragma once
/* The optimisers of golden sets, for the programs that link the server's library. */
#include "ps/optimiser.h"

#include <jansson.h>
#include <string.h>

/* golden_optimiser reads one of `optimisers` of expected.json. */
static inline struct ps_optimiser golden_optimiser(json_t *object, double *ret_rate)
{
    const char *second = json_string_value(json_object_get(object, "second_moment"));
    *ret_rate = json_number_value(json_object_get(object, "lr"));
    return (struct ps_optimiser){
            .kind = json_object_get(object, "beta1") != NULL ? SL_OPTIMISER_ADAMW : SL_OPTIMISER_SGD,
            .second_moment = second != NULL && strcmp(second, "modulated") == 0 ? SL_SECOND_MODULATED
                                                                                : SL_SECOND_BOUND,
            .beta1 = json_number_value(json_object_get(object, "beta1")),
            .beta2 = json_number_value(json_object_get(object, "beta2")),
            .eps = json_number_value(json_object_get(object, "eps")),
            .momentum = json_number_value(json_object_get(object, "momentum")),
            .weight_decay = json_number_value(json_object_get(object, "weight_decay")),
            .clip_norm = json_number_value(json_object_get(object, "clip_norm")),
            .kernels = ps_kernels_best(),
    };
}
