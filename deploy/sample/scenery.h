#pragma once
/* The scenes that a clip can show, as tables of three drawing functions; scene.c puts them together with a camera and distractors.
 *
 *     still    painted once, on a sheet that reaches DP_MARGIN pixels beyond the picture on every side
 *     moving   painted for every frame, on that sheet, so it moves with the camera
 *     sign     painted for every frame, fixed to the picture, over the distractors
 *
 * Any of them may be NULL. A function gets a dice that starts at the same place for every frame of a clip: it draws its layout anew each
 * time, in an order that must not depend on the time. still and moving share a dice, so both can begin with the same draws.
 *
 * dp_sceneries[label] lists the scenes that show the signs of a label; dp_plain_sceneries know no label. No scene of one list may hold what
 * makes the scenes of another list recognisable.
 */
#include "deploy/sample/draw.h"
#include "deploy/sample/plan.h"

#define DP_MARGIN 24

typedef void dp_still_draw(cairo_t *cr, struct dp_dice *dice);
typedef void dp_moving_draw(cairo_t *cr, struct dp_dice *dice, double seconds);

struct dp_scenery {
    const char *name; /* NULL ends a list */
    dp_still_draw *still;
    dp_moving_draw *moving, *sign;
};

extern const struct dp_scenery dp_hours_sceneries[], dp_half_day_sceneries[], dp_day_sceneries[],
        dp_three_days_sceneries[], dp_week_sceneries[], dp_evergreen_sceneries[], dp_plain_sceneries[];

/* The backdrops that know no label: studios, streets, rooms, lights, crowds. Labelled scenes put their signs over them. */
dp_still_draw dp_backdrop_still;
dp_moving_draw dp_backdrop_moving;

/* dp_panel moves and scales what is drawn next to a place of the picture, at a scale between least and 1, so that signs of all labels vary
 * alike in size and place. Between cairo_save and cairo_restore. */
void dp_panel(cairo_t *cr, struct dp_dice *dice, double least);
/* dp_clear fills the sheet, margin and all, with a gradient. */
void dp_clear(cairo_t *cr, struct dp_colour top, struct dp_colour bottom);
