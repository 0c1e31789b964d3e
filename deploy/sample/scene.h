#pragma once
/* One clip's pictures: a scenery chosen by the sign that the picture shows (scenery.h), a camera, and distractors that know no label.
 *
 *     struct dp_scene *scene = NULL;
 *     enum sl_status s = dp_scene_create(&scene, &plan, err);
 *     for (int i = 0; i < plan.frames; i++)
 *         const uint32_t *pixels = dp_scene_draw(scene, i);      // DP_WIDTH x DP_HEIGHT, 0x00RRGGBB
 *     dp_scene_destroy(scene);
 *
 * Each picture is a function of (plan, frame) alone: any order of frames gives the same ones. One thread per scene.
 */
#include "common/error.h"
#include "deploy/sample/plan.h"

#include <stdint.h>

struct dp_scene;

/* dp_scene_create paints the clip's backdrop. Owns: *ret_scene. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status dp_scene_create(
        struct dp_scene **ret_scene, const struct dp_plan *plan, struct sl_error *err);
void dp_scene_destroy(struct dp_scene *scene);
void dp_scene_destroy_auto(struct dp_scene **scene);

/* dp_scene_draw draws frame number `frame`. Shapes: (DP_HEIGHT, DP_WIDTH), without gaps. Owns: the scene keeps the pixels, until the next
 * call. NULL when memory is out. */
const uint32_t *dp_scene_draw(struct dp_scene *scene, int frame);

/* dp_scene_name names the scenery, for people: "hours/ticker", "plain/talk". Never NULL. */
const char *dp_scene_name(const struct dp_scene *scene);
