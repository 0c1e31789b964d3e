#pragma once
/* From drawn pixels to the planes that a video encoder takes: the light of the clip's camera, its grain, and RGB to YUV 4:2:0 (BT.601,
 * limited range). Integers only, so the planes have the same bytes on every machine.
 *
 *     struct dp_film film;
 *     dp_film_init(&film, &plan);
 *     dp_film_expose(&film, frame, pixels, planes, strides);
 */
#include "deploy/sample/plan.h"

#include <stdint.h>

#define DP_NOISE_SIZE 65536 /* bytes */

/* Plain data, to be filled by dp_film_init. saturation is in 1/256. */
struct dp_film {
    uint64_t seed;
    int clip;
    int saturation;
    /* what each value of red, green, blue and noise adds to a pixel's luma, in 1/256: a third of the time of multiplying */
    int red[256], green[256], blue[256], speck[256];
    uint8_t noise[DP_NOISE_SIZE]; /* every frame reads it from another place */
};

/* dp_film_init draws the clip's light and grain. */
void dp_film_init(struct dp_film *film, const struct dp_plan *plan);

/* dp_film_expose fills the planes of one frame. Shapes: pixels (DP_HEIGHT, DP_WIDTH) as 0x00RRGGBB; planes Y, U, V with strides in bytes. */
void dp_film_expose(const struct dp_film *film, int frame, const uint32_t *pixels, uint8_t *const planes[3],
        const int strides[3]);
