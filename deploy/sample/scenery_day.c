/* Scenes of a day, the markets: candles, curves and boards of prices. See scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>
#include <stdio.h>

struct theme {
    struct dp_colour ground, line, up, down;
};

static struct theme draw_theme(struct dp_dice *dice)
{
    bool dark = dp_dice_chance(dice, 0.6);
    double hue = dp_dice_float(dice);
    int pair = dp_dice_below(dice, 3); /* green up, red up (as in China), blue up */
    struct dp_colour green = dp_hsv(0.38, 0.8, dark ? 0.8 : 0.6), red = dp_hsv(0.99, 0.8, 0.85);
    struct theme theme = {
            .ground = dark ? dp_hsv(hue, 0.5, 0.13) : dp_hsv(hue, 0.08, 0.95),
            .line = dark ? dp_hsv(hue, 0.2, 0.35) : dp_hsv(hue, 0.2, 0.75),
            .up = pair == 0   ? green
                  : pair == 1 ? red
                              : dp_hsv(0.58, 0.8, 0.85),
            .down = pair == 0   ? red
                    : pair == 1 ? green
                                : dp_hsv(0.08, 0.85, 0.9),
    };
    return theme;
}

static void grid(cairo_t *cr, struct dp_dice *dice, const struct theme *theme)
{
    int level = dp_dice_between(dice, 20, 900);
    dp_set(cr, theme->ground);
    dp_box(cr, 0, 0, DP_WIDTH, DP_HEIGHT);
    dp_set(cr, theme->line);
    for (int i = 1; i < 6; i++)
        dp_line(cr, 0, i * 30, 290, i * 30, 1);
    for (int i = 1; i < 6; i++)
        dp_line(cr, i * 56, 0, i * 56, DP_HEIGHT, 1);
    for (int i = 1; i < 6; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", level + 10 * (6 - i));
        dp_text(cr, 293, i * 30 - 3, 7, text);
    }
}

static double walk_step(struct dp_dice *dice, double level)
{
    double step = dp_dice_range(dice, -22, 22);
    double next = level + step;
    return next < 25 || next > 155 ? level - step : next;
}

static void candles_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    dp_panel(cr, dice, 0.7);
    struct theme theme = draw_theme(dice);
    grid(cr, dice, &theme);
    double wide = dp_dice_range(dice, 9, 18), speed = dp_dice_range(dice, 5, 22),
           level = dp_dice_range(dice, 50, 130);
    int last = (int)(290 / wide) + (int)(speed * 5 / wide) + 1;
    double shift = speed * seconds;
    cairo_rectangle(cr, 0, 0, 288, DP_HEIGHT);
    cairo_clip(cr);
    for (int i = 0; i < last; i++) {
        double next = walk_step(dice, level), high = dp_dice_range(dice, 2, 14),
               low = dp_dice_range(dice, 2, 14);
        double x = i * wide - shift;
        double top = fmin(level, next), bottom = fmax(level, next);
        dp_set(cr, next < level ? theme.up : theme.down);
        dp_line(cr, x + wide / 2, top - high, x + wide / 2, bottom + low, 1.6);
        dp_box(cr, x + 1.5, top, wide - 3, fmax(bottom - top, 2));
        level = next;
    }
}

static void curve_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    dp_panel(cr, dice, 0.7);
    struct theme theme = draw_theme(dice);
    grid(cr, dice, &theme);
    int curves = dp_dice_between(dice, 1, 3);
    bool filled = dp_dice_chance(dice, 0.5);
    for (int c = 0; c < curves; c++) {
        double level = dp_dice_range(dice, 50, 130), x = 0;
        double reach = 150 + 28 * seconds; /* the curve grows */
        cairo_new_path(cr);
        cairo_move_to(cr, 0, level);
        for (int i = 0; i < 48; i++) {
            level = walk_step(dice, level);
            x = fmin(i * 6.2, reach);
            if (i * 6.2 <= reach)
                cairo_line_to(cr, x, level);
        }
        dp_set(cr, c == 0 ? theme.up : c == 1 ? theme.down : theme.line);
        cairo_set_line_width(cr, 3.4);
        cairo_stroke_preserve(cr);
        if (c == 0 && filled) {
            cairo_line_to(cr, x, DP_HEIGHT);
            cairo_line_to(cr, 0, DP_HEIGHT);
            dp_set_alpha(cr, theme.up, 0.3);
            cairo_fill(cr);
        }
        cairo_new_path(cr);
    }
}

static void arrow(cairo_t *cr, double x, double y, double size, bool up)
{
    double tip = up ? -size : size;
    cairo_move_to(cr, x - size, y - tip * 0.6);
    cairo_line_to(cr, x + size, y - tip * 0.6);
    cairo_line_to(cr, x, y + tip);
    cairo_close_path(cr);
    cairo_fill(cr);
}

static void board_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    dp_panel(cr, dice, 0.7);
    struct theme theme = draw_theme(dice);
    dp_set(cr, theme.ground);
    dp_box(cr, 0, 0, DP_WIDTH, DP_HEIGHT);
    int rows = dp_dice_between(dice, 4, 7);
    double high = 180.0 / rows;
    for (int r = 0; r < rows; r++) {
        char text[32] = "";
        for (int i = 0; i < 3; i++)
            text[i] = (char)('A' + dp_dice_below(dice, 26));
        double pace = dp_dice_range(dice, 0.5, 2.0), y = r * high + high * 0.28;
        int price = dp_dice_between(dice, 100, 9000), change = dp_dice_between(dice, 1, 99);
        bool up = dp_dice_chance(dice, 0.5);
        int tick = (int)(seconds * pace + 0.1 * r);
        dp_set(cr, theme.line);
        dp_line(cr, 0, (r + 1) * high, DP_WIDTH, (r + 1) * high, 1);
        dp_text(cr, 10, y, high * 0.45, text);
        dp_set(cr, up ? theme.up : theme.down);
        snprintf(text, sizeof text, "%d.%02d", price / 10, (price * 7 + tick * 13) % 100);
        dp_text(cr, 90, y, high * 0.45, text);
        arrow(cr, 208, y + high * 0.22, high * 0.22, up);
        snprintf(text, sizeof text, "%c%d.%02d%%", up ? '+' : '-', change / 20, (change * 5 + tick) % 100);
        dp_text(cr, 226, y, fmin(high * 0.45, 15), text);
    }
}

const struct dp_scenery dp_day_sceneries[] = {
        {"candles", dp_backdrop_still, dp_backdrop_moving, candles_sign},
        {"curve", dp_backdrop_still, dp_backdrop_moving, curve_sign},
        {"board", dp_backdrop_still, dp_backdrop_moving, board_sign},
        {NULL, NULL, NULL, NULL},
};
