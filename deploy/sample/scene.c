/* Puts a clip's pictures together: see scene.h. From back to front: the sheet that was painted once and what moves on it, both under the
 * camera; then distractors; then the sign. */
#include "deploy/sample/scene.h"

#include "common/memory.h"
#include "deploy/sample/scenery.h"

#include <math.h>
#include <stdio.h>

#define NAME_MAX_SIZE 48

static const struct dp_scenery *const sceneries[DP_LABELS] = {dp_hours_sceneries, dp_half_day_sceneries,
        dp_day_sceneries, dp_three_days_sceneries, dp_week_sceneries, dp_evergreen_sceneries};

/* Plain data: where the camera looks, and the format of the picture. */
struct camera {
    double from_x, from_y, to_x, to_y; /* pixels, within the margin */
    double zoom, zoom_speed;
    double shake, pace;
    double squeeze_x, squeeze_y; /* < 1: black bars at the sides, or above and below */
};

struct dp_scene {
    struct dp_plan plan;
    const struct dp_scenery *scenery;
    struct camera camera;
    cairo_surface_t *sheet, *picture;
    char name[NAME_MAX_SIZE];
};

static struct dp_dice dice_of(const struct dp_plan *plan, enum dp_dice_purpose purpose)
{
    return dp_dice_make(plan->seed, (uint64_t)plan->clip, purpose);
}

static const struct dp_scenery *choose_scenery(const struct dp_plan *plan, struct dp_dice *dice)
{
    const struct dp_scenery *list =
            plan->picture_sign == DP_SIGN_NONE ? dp_plain_sceneries : sceneries[plan->picture_sign];
    int count = 0;
    while (list[count].name != NULL)
        count++;
    return &list[dp_dice_below(dice, count)];
}

static struct camera draw_camera(struct dp_dice *dice)
{
    double reach = DP_MARGIN * 0.75;
    struct camera camera = {.squeeze_x = 1, .squeeze_y = 1};
    camera.from_x = dp_dice_range(dice, -reach, reach);
    camera.from_y = dp_dice_range(dice, -reach, reach) * 0.6;
    camera.to_x = dp_dice_range(dice, -reach, reach);
    camera.to_y = dp_dice_range(dice, -reach, reach) * 0.6;
    if (dp_dice_chance(dice, 0.35)) { /* a tripod */
        camera.to_x = camera.from_x;
        camera.to_y = camera.from_y;
    }
    camera.zoom = dp_dice_range(dice, 1.0, 1.2);
    camera.zoom_speed = dp_dice_range(dice, -0.01, 0.03);
    if (dp_dice_chance(dice, 0.3)) {
        camera.shake = dp_dice_range(dice, 0.5, 2.0);
        camera.pace = dp_dice_range(dice, 4, 9);
    }
    double format = dp_dice_float(dice);
    if (format < 0.12)
        camera.squeeze_y = dp_dice_range(dice, 0.76, 0.9);
    else if (format < 0.22)
        camera.squeeze_x = dp_dice_range(dice, 0.72, 0.9);
    return camera;
}

static void look_through(cairo_t *cr, const struct camera *camera, double seconds, double progress)
{
    double x = camera->from_x + (camera->to_x - camera->from_x) * progress +
               camera->shake * sin(camera->pace * seconds);
    double y = camera->from_y + (camera->to_y - camera->from_y) * progress +
               camera->shake * cos(camera->pace * 1.3 * seconds);
    double zoom = camera->zoom + camera->zoom_speed * seconds;
    cairo_translate(cr, DP_WIDTH / 2.0, DP_HEIGHT / 2.0);
    cairo_scale(cr, zoom, zoom);
    cairo_translate(cr, x - DP_WIDTH / 2.0, y - DP_HEIGHT / 2.0);
}

static void logo(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_float(dice), size = dp_dice_range(dice, 7, 13),
           alpha = dp_dice_range(dice, 0.4, 0.95);
    int corner = dp_dice_below(dice, 4), shape = dp_dice_below(dice, 3);
    double x = corner % 2 == 0 ? 18 : DP_WIDTH - 18, y = corner / 2 == 0 ? 18 : DP_HEIGHT - 18;
    dp_set_alpha(cr, dp_hsv(hue, 0.6, 0.95), alpha);
    if (shape == 0)
        dp_disc(cr, x, y, size);
    else if (shape == 1)
        dp_star(cr, x, y, size, size * 0.5, 5, hue);
    else
        dp_round_box(cr, x - size, y - size * 0.7, size * 2, size * 1.4, 3);
    dp_set_alpha(cr, dp_black, alpha);
    dp_lettering(cr, dice, x - size * 0.6, y - size * 0.3, size * 0.6, size * 1.3);
}

static void lower_third(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double hue = dp_dice_float(dice), value = dp_dice_range(dice, 0.2, 0.95),
           wide = dp_dice_range(dice, 110, 230);
    double y = dp_dice_range(dice, 128, 146), delay = dp_dice_range(dice, 0, 1);
    double slide = fmin(fmax((seconds - delay) * 2.5, 0), 1);
    dp_set_alpha(cr, dp_hsv(hue, 0.65, value), 0.9);
    dp_box(cr, -2, y, wide * slide, 24);
    if (slide < 1)
        return;
    dp_set(cr, value > 0.6 ? dp_black : dp_white);
    dp_lettering(cr, dice, 10, y + 7, 10, wide - 22);
}

static void subtitle(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double wide = dp_dice_range(dice, 90, 200), y = dp_dice_range(dice, 158, 166),
           pace = dp_dice_range(dice, 0.6, 1.2);
    int line = (int)(seconds * pace);
    dice->index += (uint64_t)line * 1000; /* every line has words of its own */
    dp_set_alpha(cr, dp_black, 0.5);
    dp_box(cr, 160 - wide / 2 - 4, y - 3, wide + 8, 14);
    dp_set(cr, dp_white);
    dp_lettering(cr, dice, 160 - wide / 2, y, 8, wide);
}

static void inset(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    bool right = dp_dice_chance(dice, 0.5), low = dp_dice_chance(dice, 0.5);
    double wide = dp_dice_range(dice, 58, 84), value = dp_dice_range(dice, 0.3, 0.8);
    struct dp_colour ground = dp_draw_colour(dice, 0.4, value);
    double high = wide * 0.75, x = right ? DP_WIDTH - wide - 6 : 6, y = low ? DP_HEIGHT - high - 6 : 6;
    cairo_save(cr);
    cairo_rectangle(cr, x, y, wide, high);
    cairo_clip(cr);
    dp_set(cr, ground);
    cairo_paint(cr);
    dp_person(cr, dice, x + wide / 2, y + high * 0.72, high * 0.5, seconds);
    cairo_restore(cr);
    dp_set(cr, dp_white);
    dp_frame(cr, x, y, wide, high, 1.5);
}

static void distract(cairo_t *cr, const struct dp_plan *plan, double seconds, double progress)
{
    struct dp_dice dice = dice_of(plan, DP_DICE_DISTRACTORS);
    bool has_inset = dp_dice_chance(&dice, 0.12), has_logo = dp_dice_chance(&dice, 0.5),
         has_name = dp_dice_chance(&dice, 0.25);
    bool has_bar = dp_dice_chance(&dice, 0.1), has_subtitle = dp_dice_chance(&dice, 0.25);
    if (has_inset)
        inset(cr, &dice, seconds);
    if (has_logo)
        logo(cr, &dice);
    if (has_name)
        lower_third(cr, &dice, seconds);
    if (has_bar) {
        dp_set(cr, dp_draw_colour(&dice, 0.8, 0.9));
        dp_box(cr, 0, DP_HEIGHT - 4, DP_WIDTH * progress, 4);
    }
    if (has_subtitle)
        subtitle(cr, &dice, seconds);
}

/* Coarse edges and curves: half the time, and no difference that survives the encoder. */
static cairo_t *open_canvas(cairo_surface_t *surface)
{
    cairo_t *cr = cairo_create(surface);
    cairo_set_antialias(cr, CAIRO_ANTIALIAS_FAST);
    cairo_set_tolerance(cr, 0.3);
    return cr;
}

static void paint_sheet(struct dp_scene *scene)
{
    cairo_t *cr = open_canvas(scene->sheet);
    cairo_translate(cr, DP_MARGIN, DP_MARGIN);
    dp_set(cr, dp_hsv(0, 0, 0.3));
    cairo_paint(cr);
    struct dp_dice dice = dice_of(&scene->plan, DP_DICE_PICTURE);
    if (scene->scenery->still != NULL)
        scene->scenery->still(cr, &dice);
    cairo_destroy(cr);
}

enum sl_status dp_scene_create(struct dp_scene **ret_scene, const struct dp_plan *plan, struct sl_error *err)
{
    SL_AUTO(dp_scene_destroy_auto) struct dp_scene *scene = sl_alloc(1, sizeof *scene);
    if (scene == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a scene");
    scene->plan = *plan;
    struct dp_dice dice = dice_of(plan, DP_DICE_CAMERA);
    scene->scenery = choose_scenery(plan, &dice);
    scene->camera = draw_camera(&dice);
    snprintf(scene->name, sizeof scene->name, "%s/%s",
            plan->picture_sign == DP_SIGN_NONE ? "plain" : dp_labels[plan->picture_sign].name,
            scene->scenery->name);
    scene->sheet = cairo_image_surface_create(
            CAIRO_FORMAT_RGB24, DP_WIDTH + 2 * DP_MARGIN, DP_HEIGHT + 2 * DP_MARGIN);
    scene->picture = cairo_image_surface_create(CAIRO_FORMAT_RGB24, DP_WIDTH, DP_HEIGHT);
    if (cairo_surface_status(scene->sheet) != CAIRO_STATUS_SUCCESS ||
            cairo_surface_status(scene->picture) != CAIRO_STATUS_SUCCESS)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a picture");
    paint_sheet(scene);
    *ret_scene = SL_TAKE(scene);
    return SL_OK;
}

void dp_scene_destroy(struct dp_scene *scene)
{
    if (scene == NULL)
        return;
    if (scene->sheet != NULL)
        cairo_surface_destroy(scene->sheet);
    if (scene->picture != NULL)
        cairo_surface_destroy(scene->picture);
    sl_free(scene);
}

void dp_scene_destroy_auto(struct dp_scene **scene)
{
    dp_scene_destroy(*scene);
}

const uint32_t *dp_scene_draw(struct dp_scene *scene, int frame)
{
    double seconds = (double)frame / DP_FRAME_RATE, progress = (double)frame / scene->plan.frames;
    const struct dp_scenery *scenery = scene->scenery;
    cairo_t *cr = open_canvas(scene->picture);
    dp_set(cr, dp_black);
    cairo_paint(cr);
    cairo_translate(
            cr, DP_WIDTH * (1 - scene->camera.squeeze_x) / 2, DP_HEIGHT * (1 - scene->camera.squeeze_y) / 2);
    cairo_scale(cr, scene->camera.squeeze_x, scene->camera.squeeze_y);
    cairo_rectangle(cr, 0, 0, DP_WIDTH, DP_HEIGHT);
    cairo_clip(cr);

    cairo_save(cr);
    look_through(cr, &scene->camera, seconds, progress);
    cairo_set_source_surface(cr, scene->sheet, -DP_MARGIN, -DP_MARGIN);
    cairo_pattern_set_filter(cairo_get_source(cr), CAIRO_FILTER_BILINEAR);
    cairo_paint(cr);
    if (scenery->moving != NULL) {
        struct dp_dice dice = dice_of(&scene->plan, DP_DICE_PICTURE);
        scenery->moving(cr, &dice, seconds);
    }
    cairo_restore(cr);

    distract(cr, &scene->plan, seconds, progress);
    if (scenery->sign != NULL) {
        struct dp_dice dice = dice_of(&scene->plan, DP_DICE_SIGN);
        cairo_save(cr);
        scenery->sign(cr, &dice, seconds);
        cairo_restore(cr);
    }
    bool drawn = cairo_status(cr) == CAIRO_STATUS_SUCCESS;
    cairo_destroy(cr);
    cairo_surface_flush(scene->picture);
    return drawn ? (const uint32_t *)(const void *)cairo_image_surface_get_data(scene->picture) : NULL;
}

const char *dp_scene_name(const struct dp_scene *scene)
{
    return scene->name;
}
