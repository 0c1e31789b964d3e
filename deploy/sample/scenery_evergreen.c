/* Scenes that do not age: cooking, a landscape, drawing on paper, fish over a reef. See scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>

static void table(cairo_t *cr, struct dp_dice *dice)
{
    bool wood = dp_dice_chance(dice, 0.6);
    double hue = wood ? dp_dice_range(dice, 0.05, 0.1) : dp_dice_float(dice),
           value = dp_dice_range(dice, 0.4, 0.85);
    struct dp_colour ground = dp_hsv(hue, wood ? 0.5 : 0.12, value);
    dp_clear(cr, ground, dp_mix(ground, dp_black, 0.15));
    if (!wood)
        return;
    dp_set(cr, dp_mix(ground, dp_black, 0.25));
    for (double y = -DP_MARGIN; y < DP_HEIGHT + DP_MARGIN; y += 26)
        dp_line(cr, -DP_MARGIN, y, DP_WIDTH + DP_MARGIN, y, 1.5);
}

static void cooking_still(cairo_t *cr, struct dp_dice *dice)
{
    double x = dp_dice_range(dice, 110, 210), y = dp_dice_range(dice, 80, 100),
           size = dp_dice_range(dice, 55, 78);
    table(cr, dice);
    for (int i = 0; i < 7; i++) { /* bowls and vegetables around the pan */
        double angle = 2 * M_PI * i / 7, far = dp_dice_range(dice, 1.35, 1.9),
               radius = dp_dice_range(dice, 8, 19);
        double px = x + far * size * cos(angle) * 1.2, py = y + far * size * sin(angle) * 0.8;
        bool bowl = dp_dice_chance(dice, 0.5);
        if (bowl) {
            dp_set(cr, dp_hsv(0.1, 0.05, 0.95));
            dp_disc(cr, px, py, radius * 1.25);
        }
        dp_set(cr, dp_draw_colour(dice, 0.75, 0.8));
        dp_disc(cr, px, py, radius);
    }
    double metal = dp_dice_range(dice, 0.12, 0.5), handle = dp_dice_range(dice, -0.6, 0.6);
    dp_set(cr, dp_hsv(0.6, 0.05, metal * 0.8));
    dp_line(cr, x, y, x + size * 2.1 * cos(handle), y + size * 2.1 * sin(handle), 12);
    dp_set(cr, dp_hsv(0.6, 0.05, metal + 0.25));
    dp_disc(cr, x, y, size);
    dp_set(cr, dp_hsv(0.6, 0.05, metal));
    dp_disc(cr, x, y, size * 0.9);
}

static void cooking_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double x = dp_dice_range(dice, 110, 210), y = dp_dice_range(dice, 80, 100),
           size = dp_dice_range(dice, 55, 78);
    double sauce = dp_dice_range(dice, -0.02, 0.3), pace = dp_dice_range(dice, 0.8, 2.2);
    dp_set(cr, dp_hsv(sauce, 0.75, 0.6));
    dp_disc(cr, x, y, size * 0.78);
    for (int i = 0; i < 22; i++) {
        double far = dp_dice_range(dice, 0.1, 0.68) * size, angle = dp_dice_range(dice, 0, 2 * M_PI),
               piece = dp_dice_range(dice, 4, 9);
        double hue = dp_dice_range(dice, 0.0, 0.4), light = dp_dice_range(dice, 0.5, 1.0);
        angle += pace * seconds * 0.6;
        dp_set(cr, dp_hsv(hue, 0.7, light));
        dp_oval(cr, x + far * cos(angle), y + far * sin(angle), piece, piece * 0.65);
    }
    double turn = pace * seconds;
    dp_set(cr, dp_hsv(0.09, 0.5, 0.75));
    dp_line(cr, x + size * 0.5 * cos(turn), y + size * 0.5 * sin(turn), x + 95 + 10 * cos(turn), y - 100, 8);
    for (int i = 0; i < 6; i++) { /* steam */
        double side = dp_dice_range(dice, -0.5, 0.5), phase = dp_dice_float(dice);
        double life = phase + seconds * 0.35;
        life -= floor(life);
        dp_set_alpha(cr, dp_white, 0.28 * (1 - life));
        dp_disc(cr, x + side * size + 6 * sin(4 * life), y - life * 90, 10 + 14 * life);
    }
}

static void landscape_still(cairo_t *cr, struct dp_dice *dice)
{
    double sky = dp_dice_range(dice, 0.0, 1.0), ground = dp_dice_range(dice, 0.1, 0.42),
           light = dp_dice_range(dice, 0.6, 1.0);
    double sky_hue = sky < 0.3 ? dp_dice_range(dice, 0.02, 0.1) : dp_dice_range(dice, 0.52, 0.62);
    dp_clear(cr, dp_hsv(sky_hue, 0.5, light), dp_hsv(sky_hue + 0.05, 0.15, 1));
    if (sky < 0.5) {
        double sun = dp_dice_range(dice, 40, 280);
        dp_glow(cr, sun, 50, 60, dp_hsv(0.12, 0.4, 1), 0.9);
    }
    int ridges = dp_dice_between(dice, 2, 4);
    for (int i = 0; i < ridges; i++) {
        double near = (i + 1.0) / ridges, height = dp_dice_range(dice, 40, 95) * (1.2 - 0.6 * near);
        dp_set(cr, dp_mix(dp_hsv(sky_hue, 0.3, light), dp_hsv(ground, 0.6, 0.45 * light), near));
        dp_ridge(cr, dice, 85 + 45 * near, height, DP_WIDTH + DP_MARGIN);
    }
    bool lake = dp_dice_chance(dice, 0.5);
    double shore = dp_dice_range(dice, 128, 145);
    if (lake)
        dp_gradient(cr, -DP_MARGIN, shore, DP_WIDTH + 2 * DP_MARGIN, 90, dp_hsv(sky_hue, 0.35, light),
                dp_hsv(sky_hue, 0.6, light * 0.6));
    int trees = dp_dice_between(dice, 4, 14);
    for (int i = 0; i < trees; i++) {
        double x = dp_dice_range(dice, -20, 340), size = dp_dice_range(dice, 14, 34);
        dp_set(cr, dp_hsv(ground + 0.04, 0.65, 0.3 * light));
        for (int part = 0; part < 3; part++) {
            double y = 182 - size * (0.5 + 0.45 * part), wide = size * (0.45 - 0.1 * part);
            cairo_move_to(cr, x - wide, y);
            cairo_line_to(cr, x + wide, y);
            cairo_line_to(cr, x, y - size * 0.7);
            cairo_close_path(cr);
        }
        cairo_fill(cr);
    }
}

static void birds_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 0, 6);
    double speed = dp_dice_range(dice, 8, 25);
    dp_set(cr, dp_hsv(0.6, 0.2, 0.2));
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 0, 260) + speed * seconds, y = dp_dice_range(dice, 20, 70),
               flap = 4 * sin(seconds * 8 + i);
        cairo_move_to(cr, x - 7, y - flap);
        cairo_line_to(cr, x, y);
        cairo_line_to(cr, x + 7, y - flap);
    }
    cairo_set_line_width(cr, 1.6);
    cairo_stroke(cr);
}

static void paper_still(cairo_t *cr, struct dp_dice *dice)
{
    double x = dp_dice_range(dice, 60, 120), y = dp_dice_range(dice, 10, 30),
           tilt = dp_dice_range(dice, -0.15, 0.15);
    table(cr, dice);
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_rotate(cr, tilt);
    dp_set_alpha(cr, dp_black, 0.25);
    dp_box(cr, 4, 5, 160, 140);
    dp_set(cr, dp_hsv(0.12, 0.06, 0.98));
    dp_box(cr, 0, 0, 160, 140);
    cairo_restore(cr);
    int pencils = dp_dice_between(dice, 2, 6);
    for (int i = 0; i < pencils; i++) {
        double px = dp_dice_range(dice, 235, 300), slant = dp_dice_range(dice, -12, 12);
        dp_set(cr, dp_draw_colour(dice, 0.8, 0.85));
        dp_line(cr, px, 40 + 12 * i, px + slant, 100 + 8 * i, 5);
    }
}

/* A rosette grows on the paper, with the hand and pencil at its end. */
static void paper_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double x = dp_dice_range(dice, 60, 120), y = dp_dice_range(dice, 10, 30);
    double petals = dp_dice_between(dice, 3, 8), size = dp_dice_range(dice, 38, 56),
           hue = dp_dice_float(dice);
    double reach = 2 * M_PI * fmin(0.3 + seconds * 0.16, 1.0), px = 0, py = 0;
    struct dp_colour skin = dp_draw_skin(dice);
    x += 80;
    y += 70;
    cairo_new_path(cr);
    for (double a = 0; a < reach; a += 0.04) {
        double r = size * (0.65 + 0.35 * cos(petals * a));
        px = x + r * cos(a);
        py = y + r * sin(a);
        cairo_line_to(cr, px, py);
    }
    dp_set(cr, dp_hsv(hue, 0.8, 0.55));
    cairo_set_line_width(cr, 3);
    cairo_stroke(cr);
    dp_set(cr, dp_hsv(hue, 0.9, 0.8));
    dp_line(cr, px, py, px + 26, py + 30, 5);
    dp_set(cr, skin);
    dp_line(cr, px + 34, py + 40, px + 110, py + 150, 34);
    dp_oval(cr, px + 28, py + 34, 20, 17);
}

static void reef_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_range(dice, 0.48, 0.62), light = dp_dice_range(dice, 0.6, 0.95);
    dp_clear(cr, dp_hsv(hue, 0.6, light), dp_hsv(hue, 0.8, light * 0.45));
    dp_set(cr, dp_hsv(0.12, 0.35, light * 0.8));
    dp_ridge(cr, dice, 175, 24, DP_WIDTH + DP_MARGIN);
    int corals = dp_dice_between(dice, 6, 12);
    for (int i = 0; i < corals; i++) {
        double x = dp_dice_range(dice, -10, 330), size = dp_dice_range(dice, 8, 22);
        dp_set(cr, dp_draw_colour(dice, 0.6, 0.8));
        for (int branch = -2; branch <= 2; branch++)
            dp_line(cr, x, 182, x + branch * size * 0.5, 178 - size * (1.6 - 0.25 * branch * branch),
                    size * 0.3);
    }
}

static void reef_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 4, 10);
    for (int i = 0; i < count; i++) {
        double start = dp_dice_float(dice), y = dp_dice_range(dice, 20, 140),
               speed = dp_dice_range(dice, 10, 40);
        double size = dp_dice_range(dice, 7, 18), side = dp_dice_chance(dice, 0.5) ? 1 : -1;
        double along = start * 400 + speed * seconds;
        double x = side > 0 ? fmod(along, 400) - 40 : 360 - fmod(along, 400),
               wag = 0.25 * sin(seconds * 9 + i);
        dp_set(cr, dp_draw_colour(dice, 0.8, 0.95));
        dp_oval(cr, x, y, size, size * 0.55);
        cairo_move_to(cr, x - side * size * 0.8, y);
        cairo_line_to(cr, x - side * size * 1.6, y - size * (0.5 - wag));
        cairo_line_to(cr, x - side * size * 1.6, y + size * (0.5 + wag));
        cairo_close_path(cr);
        cairo_fill(cr);
        dp_set(cr, dp_white);
        dp_disc(cr, x + side * size * 0.55, y - size * 0.12, size * 0.14);
    }
    dp_set_alpha(cr, dp_white, 0.5);
    for (int i = 0; i < 8; i++) {
        double x = dp_dice_range(dice, 0, DP_WIDTH), phase = dp_dice_float(dice);
        double rise = phase + seconds * 0.3;
        dp_ring(cr, x + 3 * sin(seconds * 3 + i), 180 - 190 * (rise - floor(rise)), 2.5, 1.2);
    }
}

const struct dp_scenery dp_evergreen_sceneries[] = {
        {"cooking", cooking_still, cooking_moving, NULL},
        {"landscape", landscape_still, birds_moving, NULL},
        {"drawing", paper_still, paper_moving, NULL},
        {"reef", reef_still, reef_moving, NULL},
        {NULL, NULL, NULL, NULL},
};
