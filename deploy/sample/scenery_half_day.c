/* Scenes of half a day, a match: playing field with players, court, rink, and a scoreboard with a running clock. See scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>
#include <stdio.h>

static void scoreboard(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double size = dp_dice_range(dice, 15.5, 20), home_hue = dp_dice_float(dice),
           away_hue = dp_dice_float(dice);
    int place = dp_dice_below(dice, 3), home = dp_dice_below(dice, 5), away = dp_dice_below(dice, 5);
    int minute = dp_dice_below(dice, 90), second = dp_dice_below(dice, 54);
    char names[2][4] = {"", ""};
    for (int i = 0; i < 6; i++)
        names[i / 3][i % 3] = (char)('A' + dp_dice_below(dice, 26));
    bool dark = dp_dice_chance(dice, 0.6);
    double unit = size / 6, wide = 148 * unit / 1.6, high = size * 1.7;
    double x = place == 0 ? 8 : place == 1 ? (DP_WIDTH - wide) / 2 : 8, y = place == 2 ? 172 - high : 8;
    cairo_save(cr);
    cairo_translate(cr, x, y);
    dp_set(cr, dark ? dp_hsv(0.62, 0.5, 0.15) : dp_hsv(0, 0, 0.95));
    dp_box(cr, 0, 0, wide, high);
    dp_set(cr, dp_hsv(home_hue, 0.8, 0.7));
    dp_box(cr, 0, 0, wide * 0.25, high);
    dp_set(cr, dp_hsv(away_hue, 0.8, 0.7));
    dp_box(cr, wide * 0.47, 0, wide * 0.25, high);
    dp_set(cr, dp_white);
    dp_text_middle(cr, wide * 0.13, high * 0.28, high * 0.42, names[0]);
    dp_text_middle(cr, wide * 0.60, high * 0.28, high * 0.42, names[1]);
    char text[24];
    dp_set(cr, dark ? dp_white : dp_black);
    snprintf(text, sizeof text, "%d-%d", home, away);
    dp_text_middle(cr, wide * 0.365, high * 0.22, high * 0.55, text);
    snprintf(text, sizeof text, "%02d:%02d", minute, (second + (int)seconds) % 60);
    dp_set(cr, dark ? dp_hsv(0.15, 0.6, 1) : dp_hsv(0, 0.8, 0.5));
    dp_text_middle(cr, wide * 0.865, high * 0.26, high * 0.44, text);
    cairo_restore(cr);
}

static void scoreboard_often_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    if (dp_dice_chance(dice, 0.75))
        scoreboard(cr, dice, seconds);
}

static void players(cairo_t *cr, struct dp_dice *dice, double seconds, int count, double top, double bottom)
{
    double home_hue = dp_dice_float(dice), away = dp_dice_range(dice, 0.2, 0.8),
           size = dp_dice_range(dice, 4.5, 8);
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 20, 300), y = dp_dice_range(dice, top, bottom),
               phase = dp_dice_range(dice, 0, 2 * M_PI);
        double reach = dp_dice_range(dice, 8, 40), pace = dp_dice_range(dice, 0.6, 2.0);
        x += reach * sin(pace * seconds + phase);
        y += 0.3 * reach * cos(pace * 0.8 * seconds + phase);
        double near = size * (0.7 + 0.5 * (y - top) / (bottom - top + 1));
        dp_set_alpha(cr, dp_black, 0.25);
        dp_oval(cr, x, y + near * 1.9, near, near * 0.35);
        dp_set(cr, i % 2 == 0 ? dp_hsv(home_hue, 0.85, 0.85) : dp_hsv(home_hue + away, 0.3, 0.95));
        dp_round_box(cr, x - near * 0.55, y - near * 0.6, near * 1.1, near * 1.4, near * 0.4);
        dp_set(cr, dp_hsv(0.07, 0.5, 0.3 + 0.05 * (i % 10)));
        dp_disc(cr, x, y - near, near * 0.45);
        dp_set(cr, dp_hsv(0.6, 0.3, 0.2));
        dp_line(cr, x, y + near * 0.6, x - near * 0.4 * sin(8 * seconds + phase), y + near * 1.9, near * 0.3);
        dp_line(cr, x, y + near * 0.6, x + near * 0.4 * sin(8 * seconds + phase), y + near * 1.9, near * 0.3);
    }
    double ball = dp_dice_range(dice, 0, 2 * M_PI);
    dp_set(cr, dp_white);
    dp_disc(cr, 160 + 110 * sin(seconds * 1.1 + ball), (top + bottom) / 2 + 30 * cos(seconds * 1.9 + ball),
            size * 0.4);
}

static void field_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_range(dice, 0.24, 0.38), value = dp_dice_range(dice, 0.4, 0.7),
           stands = dp_dice_range(dice, 20, 60);
    double tilt = dp_dice_range(dice, -25, 25);
    dp_clear(cr, dp_hsv(hue, 0.65, value), dp_hsv(hue, 0.65, value * 0.9));
    dp_set(cr, dp_hsv(hue, 0.6, value * 0.88));
    for (int i = -1; i < 6; i++) { /* mown stripes */
        cairo_move_to(cr, i * 64 + tilt, -DP_MARGIN);
        cairo_line_to(cr, i * 64 + 32 + tilt, -DP_MARGIN);
        cairo_line_to(cr, i * 64 + 32 - tilt, DP_HEIGHT + DP_MARGIN);
        cairo_line_to(cr, i * 64 - tilt, DP_HEIGHT + DP_MARGIN);
        cairo_close_path(cr);
    }
    cairo_fill(cr);
    dp_set(cr, dp_hsv(0.6, 0.2, 0.3));
    dp_box(cr, -DP_MARGIN, -DP_MARGIN, DP_WIDTH + 2 * DP_MARGIN, DP_MARGIN + stands);
    for (int i = 0; i < 160; i++) { /* people in the stands */
        double x = dp_dice_range(dice, -20, 340), y = dp_dice_range(dice, -20, 1) + stands;
        dp_set(cr, dp_draw_colour(dice, 0.4, 0.8));
        dp_box(cr, x, y - 3, 3, 3);
    }
    dp_set(cr, dp_hsv(0, 0, 0.95));
    dp_line(cr, -DP_MARGIN, stands + 8, DP_WIDTH + DP_MARGIN, stands + 8, 2.2);
    dp_line(cr, 160 + tilt, stands + 8, 160 - tilt, 210, 2.2);
    cairo_save(cr);
    cairo_translate(cr, 160, (stands + 190) / 2);
    cairo_scale(cr, 1, 0.6);
    dp_ring(cr, 0, 0, 48, 2.4);
    cairo_restore(cr);
    dp_frame(cr, -DP_MARGIN - 4, stands + 40, 64, 70, 2.2);
    dp_frame(cr, DP_WIDTH - 36, stands + 40, 64, 70, 2.2);
}

static void field_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 8, 16);
    players(cr, dice, seconds, count, 75, 160);
}

static void court_still(cairo_t *cr, struct dp_dice *dice)
{
    int kind = dp_dice_below(dice, 3); /* wood, hard court, ice */
    double hue = kind == 0 ? 0.085 : dp_dice_range(dice, 0.5, 0.68), value = dp_dice_range(dice, 0.6, 0.9);
    struct dp_colour ground = kind == 2 ? dp_hsv(hue, 0.08, 0.97) : dp_hsv(hue, 0.55, value);
    double top = dp_dice_range(dice, 40, 65), inset = dp_dice_range(dice, 20, 60);
    dp_clear(cr, dp_hsv(hue + 0.4, 0.4, 0.35), dp_hsv(hue + 0.4, 0.4, 0.5));
    cairo_move_to(cr, inset, top);
    cairo_line_to(cr, DP_WIDTH - inset, top);
    cairo_line_to(cr, DP_WIDTH + 10, 178);
    cairo_line_to(cr, -10, 178);
    cairo_close_path(cr);
    dp_set(cr, ground);
    cairo_fill_preserve(cr);
    struct dp_colour line = kind == 2 ? dp_hsv(0.0, 0.85, 0.8) : dp_white;
    dp_set(cr, line);
    cairo_set_line_width(cr, 2.6);
    cairo_stroke(cr);
    dp_line(cr, 160, top, 160, 178, 2.6);
    cairo_save(cr);
    cairo_translate(cr, 160, (top + 178) / 2);
    cairo_scale(cr, 1, 0.5);
    dp_ring(cr, 0, 0, 38, 3);
    cairo_restore(cr);
    dp_frame(cr, -2, (top + 178) / 2 - 22, 66, 44, 2.4);
    dp_frame(cr, 256, (top + 178) / 2 - 22, 66, 44, 2.4);
}

static void court_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 2, 10);
    players(cr, dice, seconds, count, 75, 155);
}

static void scoreboard_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    scoreboard(cr, dice, seconds);
}

const struct dp_scenery dp_half_day_sceneries[] = {
        {"field", field_still, field_moving, scoreboard_often_sign},
        {"court", court_still, court_moving, scoreboard_often_sign},
        {"scoreboard", dp_backdrop_still, dp_backdrop_moving, scoreboard_sign},
        {NULL, NULL, NULL, NULL},
};
