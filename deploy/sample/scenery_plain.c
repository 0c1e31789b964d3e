/* Backdrops that know no label, and the scenes made of them alone: see scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>

#define SHEET_WIDTH (DP_WIDTH + DP_MARGIN)

enum backdrop {
    BACKDROP_STUDIO,
    BACKDROP_DAY_STREET,
    BACKDROP_NIGHT_STREET,
    BACKDROP_LIGHTS,
    BACKDROP_ROOM,
    BACKDROP_CROWD,
    BACKDROPS
};

void dp_panel(cairo_t *cr, struct dp_dice *dice, double least)
{
    double scale = dp_dice_range(dice, least, 1.0);
    double across = dp_dice_float(dice), down = dp_dice_float(dice);
    cairo_translate(cr, across * DP_WIDTH * (1 - scale), down * DP_HEIGHT * (1 - scale));
    cairo_scale(cr, scale, scale);
}

void dp_clear(cairo_t *cr, struct dp_colour top, struct dp_colour bottom)
{
    dp_gradient(cr, -DP_MARGIN, -DP_MARGIN, DP_WIDTH + 2 * DP_MARGIN, DP_HEIGHT + 2 * DP_MARGIN, top, bottom);
}

static void studio_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_float(dice), value = dp_dice_range(dice, 0.25, 0.8),
           saturation = dp_dice_range(dice, 0.1, 0.7);
    dp_clear(cr, dp_hsv(hue, saturation, value), dp_hsv(hue, saturation, value * 0.5));
    int panels = dp_dice_between(dice, 2, 6);
    for (int i = 0; i < panels; i++) {
        double x = dp_dice_range(dice, -20, 300), wide = dp_dice_range(dice, 15, 80);
        double light = dp_dice_range(dice, 0.3, 1.0);
        dp_set_alpha(cr, dp_hsv(hue + 0.06, saturation, light), 0.5);
        dp_box(cr, x, -DP_MARGIN, wide, 150);
    }
    double desk = dp_dice_range(dice, 0.2, 0.7);
    dp_set(cr, dp_hsv(hue + 0.5, 0.3, desk));
    dp_box(cr, -DP_MARGIN, 150, DP_WIDTH + 2 * DP_MARGIN, 60);
}

static void street_still(cairo_t *cr, struct dp_dice *dice, bool night)
{
    double hue = dp_dice_range(dice, 0.52, 0.7), light = dp_dice_range(dice, 0.75, 1.0);
    struct dp_colour top = night ? dp_hsv(hue, 0.7, 0.15) : dp_hsv(hue, 0.4, light);
    dp_clear(cr, top, night ? dp_hsv(hue, 0.5, 0.3) : dp_hsv(hue, 0.08, light));
    dp_skyline(cr, dice, 135, 120, SHEET_WIDTH, night);
    dp_set(cr, dp_hsv(0.6, 0.05, night ? 0.16 : 0.42));
    dp_box(cr, -DP_MARGIN, 135, DP_WIDTH + 2 * DP_MARGIN, 80);
    dp_set(cr, dp_hsv(0.15, 0.2, night ? 0.5 : 0.9));
    for (double x = -DP_MARGIN; x < SHEET_WIDTH; x += 34)
        cairo_rectangle(cr, x, 158, 17, 2.5);
    cairo_fill(cr);
}

static void room_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_float(dice), value = dp_dice_range(dice, 0.5, 0.95),
           floor_line = dp_dice_range(dice, 120, 150);
    dp_clear(cr, dp_hsv(hue, 0.2, value), dp_hsv(hue, 0.3, value * 0.8));
    double wood = dp_dice_range(dice, 0.3, 0.6);
    dp_set(cr, dp_hsv(0.08, 0.5, wood));
    dp_box(cr, -DP_MARGIN, floor_line, DP_WIDTH + 2 * DP_MARGIN, 100);
    double shelf = dp_dice_range(dice, 20, 200);
    for (int row = 0; row < 2; row++) {
        double y = 45 + row * 38;
        dp_set(cr, dp_hsv(0.08, 0.55, wood * 0.8));
        dp_box(cr, shelf, y, 100, 4);
        for (double x = shelf + 3; x < shelf + 90;) {
            double thick = dp_dice_range(dice, 4, 10), tall = dp_dice_range(dice, 14, 28);
            dp_set(cr, dp_draw_colour(dice, 0.5, 0.7));
            dp_box(cr, x, y - tall, thick, tall);
            x += thick + 1;
        }
    }
}

static void crowd_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_float(dice);
    dp_clear(cr, dp_hsv(hue, 0.3, 0.55), dp_hsv(hue, 0.4, 0.2));
}

static void crowd_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    for (int row = 0; row < 4; row++) {
        for (int i = 0; i < 13; i++) {
            double hue = dp_dice_float(dice), phase = dp_dice_float(dice),
                   light = dp_dice_range(dice, 0.25, 0.8);
            double x = -20 + i * 29 + (row % 2) * 14,
                   y = 75 + row * 30 + 3 * sin(seconds * 3 + 2 * M_PI * phase);
            dp_set(cr, dp_hsv(hue, 0.5, light));
            dp_oval(cr, x, y + 20, 13, 15);
            dp_set(cr, dp_hsv(0.07, 0.45, light + 0.1));
            dp_disc(cr, x, y, 7);
        }
    }
}

static void lights_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 6, 12);
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 0, DP_WIDTH), y = dp_dice_range(dice, 0, DP_HEIGHT),
               radius = dp_dice_range(dice, 8, 36);
        double heading = dp_dice_range(dice, 0, 2 * M_PI), speed = dp_dice_range(dice, 3, 16),
               alpha = dp_dice_range(dice, 0.2, 0.6);
        dp_set_alpha(cr, dp_draw_colour(dice, 0.6, 1), alpha);
        dp_disc(cr, x + cos(heading) * speed * seconds, y + sin(heading) * speed * seconds, radius);
    }
}

static void cars_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 1, 3);
    for (int i = 0; i < count; i++) {
        double start = dp_dice_float(dice), speed = dp_dice_range(dice, 30, 80);
        bool leftwards = dp_dice_chance(dice, 0.5);
        double travelled = start * 420 + (leftwards ? -speed : speed) * seconds;
        double x = travelled - 420 * floor(travelled / 420) - 60, y = leftwards ? 142 : 160;
        dp_set(cr, dp_draw_colour(dice, 0.6, 0.75));
        dp_round_box(cr, x, y - 4, 42, 12, 4);
        dp_round_box(cr, x + 9, y - 12, 23, 12, 4);
        dp_set(cr, dp_hsv(0, 0, 0.1));
        dp_disc(cr, x + 10, y + 8, 4.5);
        dp_disc(cr, x + 32, y + 8, 4.5);
    }
}

static void people_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 1, 2);
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 60, 260), size = dp_dice_range(dice, 30, 52);
        dp_person(cr, dice, x, 125, size, seconds);
    }
}

void dp_backdrop_still(cairo_t *cr, struct dp_dice *dice)
{
    switch ((enum backdrop)dp_dice_below(dice, BACKDROPS)) {
    case BACKDROP_STUDIO:
        studio_still(cr, dice);
        break;
    case BACKDROP_DAY_STREET:
        street_still(cr, dice, false);
        break;
    case BACKDROP_NIGHT_STREET:
        street_still(cr, dice, true);
        break;
    case BACKDROP_ROOM:
        room_still(cr, dice);
        break;
    default:
        crowd_still(cr, dice);
        break;
    }
}

void dp_backdrop_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    switch ((enum backdrop)dp_dice_below(dice, BACKDROPS)) {
    case BACKDROP_DAY_STREET:
    case BACKDROP_NIGHT_STREET:
        cars_moving(cr, dice, seconds);
        break;
    case BACKDROP_LIGHTS:
        lights_moving(cr, dice, seconds);
        break;
    case BACKDROP_CROWD:
        crowd_moving(cr, dice, seconds);
        break;
    default:
        people_moving(cr, dice, seconds);
        break;
    }
}

/* Big shapes that turn and drift: a title sequence of nothing in particular. */
static void shapes_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 3, 7);
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 20, 300), y = dp_dice_range(dice, 10, 170),
               size = dp_dice_range(dice, 15, 50);
        double turn = dp_dice_range(dice, -1, 1), drift = dp_dice_range(dice, -20, 20),
               alpha = dp_dice_range(dice, 0.4, 0.9);
        int corners = dp_dice_between(dice, 3, 6);
        dp_set_alpha(cr, dp_draw_colour(dice, 0.6, 0.8), alpha);
        dp_star(cr, x + drift * seconds, y, size, size * 0.8, corners, turn * seconds);
    }
}

/* A box of lettering that says nothing, where a labelled scene has its sign. */
static void caption_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double x = dp_dice_range(dice, 10, 120), y = dp_dice_range(dice, 10, 130),
           wide = dp_dice_range(dice, 100, 190);
    double hue = dp_dice_float(dice), high = dp_dice_range(dice, 14, 36),
           value = dp_dice_range(dice, 0.2, 0.95);
    double shift = fmin(seconds * 60, 30) - 30;
    dp_set(cr, dp_hsv(hue, 0.6, value));
    dp_box(cr, x + shift, y, wide, high);
    dp_set(cr, value > 0.6 ? dp_black : dp_white);
    dp_lettering(cr, dice, x + shift + 6, y + high * 0.28, high * 0.42, wide - 14);
}

const struct dp_scenery dp_plain_sceneries[] = {
        {"talk", dp_backdrop_still, dp_backdrop_moving, NULL},
        {"shapes", dp_backdrop_still, dp_backdrop_moving, shapes_sign},
        {"caption", dp_backdrop_still, dp_backdrop_moving, caption_sign},
        {NULL, NULL, NULL, NULL},
};
