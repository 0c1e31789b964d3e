/* Scenes of a week, an event or a sale: calendar page, countdown, price burst under bunting, lanterns and fireworks. See scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>
#include <stdio.h>

static void confetti(cairo_t *cr, struct dp_dice *dice, double seconds, int count)
{
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 0, DP_WIDTH), phase = dp_dice_float(dice),
               speed = dp_dice_range(dice, 0.15, 0.5);
        double fall = phase + seconds * speed;
        dp_set(cr, dp_draw_colour(dice, 0.75, 0.95));
        dp_box(cr, x + 6 * sin(seconds * 3 + i), (fall - floor(fall)) * 190 - 6, 4, 5);
    }
}

static void calendar_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    dp_panel(cr, dice, 0.75);
    double hue = dp_dice_float(dice), paper = dp_dice_range(dice, 0.88, 1.0),
           x = dp_dice_range(dice, 50, 110), wide = 170;
    int first = dp_dice_below(dice, 7), marked = dp_dice_between(dice, 7, 26);
    bool strikes = dp_dice_chance(dice, 0.5);
    dp_set_alpha(cr, dp_black, 0.3);
    dp_box(cr, x + 5, 15, wide, 160);
    dp_set(cr, dp_hsv(0.12, 0.05, paper));
    dp_box(cr, x, 10, wide, 160);
    dp_set(cr, dp_hsv(hue, 0.8, 0.75));
    dp_box(cr, x, 10, wide, 32);
    dp_set(cr, dp_white);
    dp_lettering(cr, dice, x + 40, 19, 14, 90);
    for (int i = 0; i < 4; i++)
        dp_ring(cr, x + 25 + i * 40, 10, 5, 2.5);
    double cell_x = wide / 7.4, cell_y = 24;
    for (int day = 1; day <= 30; day++) {
        int place = first + day - 1;
        double cx = x + 14 + (place % 7) * cell_x, cy = 56 + (place / 7) * cell_y;
        char text[12];
        snprintf(text, sizeof text, "%d", day);
        dp_set(cr, place % 7 > 4 ? dp_hsv(hue, 0.8, 0.75) : dp_hsv(0, 0, 0.25));
        dp_text_middle(cr, cx + 1, cy - 4, 9, text);
        if (strikes && day < marked && day + 4 > marked)
            dp_line(cr, cx - 7, cy + 6, cx + 8, cy - 6, 1.6);
        if (day == marked) {
            dp_set(cr, dp_hsv(hue + 0.45, 0.9, 0.85));
            dp_ring(cr, cx, cy, 11.5 + 1.5 * sin(seconds * 5), 2.8);
        }
    }
}

static void countdown_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    static const char *const units[] = {"DAYS", "HRS", "MIN", "SEC"};
    dp_panel(cr, dice, 0.75);
    double hue = dp_dice_float(dice), value = dp_dice_range(dice, 0.3, 0.95),
           tile = dp_dice_range(dice, 0.1, 0.35);
    int days = dp_dice_between(dice, 2, 7), hours = dp_dice_below(dice, 24),
        minutes = dp_dice_below(dice, 60);
    int left = dp_dice_between(dice, 10, 59);
    int values[] = {days, hours, minutes, left - (int)seconds};
    dp_gradient(cr, 0, 0, DP_WIDTH, DP_HEIGHT, dp_hsv(hue, 0.7, value), dp_hsv(hue + 0.12, 0.7, value * 0.8));
    confetti(cr, dice, seconds, 18);
    dp_set(cr, dp_white);
    dp_lettering(cr, dice, 70, 18, 18, 180);
    for (int i = 0; i < 4; i++) {
        double x = 14 + i * 75;
        char text[12];
        snprintf(text, sizeof text, "%02d", values[i]);
        dp_set(cr, dp_hsv(hue + 0.5, 0.4, tile));
        dp_round_box(cr, x, 56, 66, 72, 7);
        dp_set(cr, dp_white);
        dp_text_middle(cr, x + 35, 74, 34, text);
        dp_set_alpha(cr, dp_black, 0.6);
        dp_line(cr, x, 92, x + 66, 92, 2);
        dp_set(cr, dp_white);
        dp_text_middle(cr, x + 34, 138, 12, units[i]);
    }
}

static void bunting(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double hue = dp_dice_float(dice), sag = dp_dice_range(dice, 10, 28);
    for (int i = 0; i < 14; i++) {
        double x = i * 24, y = sag * sin(M_PI * i / 13.5) + 2 * sin(seconds * 4 + i);
        dp_set(cr, dp_hsv(hue + 0.31 * (i % 3), 0.8, 0.95));
        cairo_move_to(cr, x, y);
        cairo_line_to(cr, x + 22, y);
        cairo_line_to(cr, x + 11, y + 24);
        cairo_close_path(cr);
        cairo_fill(cr);
    }
}

static void sale_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double hue = dp_dice_float(dice), x = dp_dice_range(dice, 80, 240), y = dp_dice_range(dice, 85, 110);
    double size = dp_dice_range(dice, 60, 78), pulse = 1 + 0.06 * sin(seconds * 6),
           turn = dp_dice_range(dice, -0.5, 0.5);
    int percent = dp_dice_between(dice, 2, 8) * 10, points = dp_dice_between(dice, 10, 18);
    char text[8];
    bunting(cr, dice, seconds);
    dp_set(cr, dp_hsv(hue + 0.15, 0.8, 0.55));
    dp_star(cr, x + 4, y + 4, size * pulse, size * 0.8 * pulse, points, turn * seconds);
    dp_set(cr, dp_hsv(hue, 0.85, 1));
    dp_star(cr, x, y, size * pulse, size * 0.8 * pulse, points, turn * seconds);
    snprintf(text, sizeof text, "%d%%", percent);
    dp_set(cr, dp_white);
    dp_text_middle(cr, x + 4, y - size * 0.42, size * 0.5, text);
    dp_text_middle(cr, x + 2, y + size * 0.25, size * 0.26, "OFF");
}

static void festival_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_range(dice, 0.6, 0.95);
    dp_clear(cr, dp_hsv(hue, 0.8, 0.12), dp_hsv(hue, 0.6, 0.35));
    dp_skyline(cr, dice, 172, 40, DP_WIDTH + DP_MARGIN, true);
}

static void festival_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    for (int i = 0; i < 5; i++) { /* bursts of sparks */
        double x = dp_dice_range(dice, 30, 290), y = dp_dice_range(dice, 20, 90), phase = dp_dice_float(dice);
        double reach = dp_dice_range(dice, 30, 62), hue = dp_dice_float(dice);
        double life = phase + seconds * 0.6;
        life -= floor(life);
        for (int s = 0; s < 18; s++) {
            double a = 2 * M_PI * s / 18, r = reach * sqrt(life);
            dp_set_alpha(cr, dp_hsv(hue, 0.6, 1), 1 - 0.8 * life);
            dp_line(cr, x + r * 0.55 * cos(a), y + r * 0.55 * sin(a) + 8 * life, x + r * cos(a),
                    y + r * sin(a) + 12 * life, 2);
        }
    }
    int lanterns = dp_dice_between(dice, 3, 6);
    double hue = dp_dice_range(dice, -0.03, 0.14);
    for (int i = 0; i < lanterns; i++) {
        double x = 20 + i * 300.0 / lanterns, y = dp_dice_range(dice, 70, 140),
               size = dp_dice_range(dice, 12, 20);
        double sway = 4 * sin(seconds * 1.5 + i);
        dp_glow(cr, x + sway, y, size * 2.2, dp_hsv(hue + 0.05, 0.8, 1), 0.6);
        dp_set(cr, dp_hsv(hue, 0.9, 0.9));
        dp_oval(cr, x + sway, y, size, size * 0.85);
        dp_set(cr, dp_hsv(0.13, 0.7, 0.95));
        dp_box(cr, x + sway - size * 0.4, y - size * 0.95, size * 0.8, 4);
        dp_box(cr, x + sway - size * 0.4, y + size * 0.75, size * 0.8, 4);
        dp_line(cr, x + sway, y + size * 0.8, x + sway, y + size * 1.6, 2);
    }
}

const struct dp_scenery dp_week_sceneries[] = {
        {"calendar", dp_backdrop_still, dp_backdrop_moving, calendar_sign},
        {"countdown", dp_backdrop_still, dp_backdrop_moving, countdown_sign},
        {"sale", dp_backdrop_still, dp_backdrop_moving, sale_sign},
        {"festival", festival_still, festival_moving, NULL},
        {NULL, NULL, NULL, NULL},
};
