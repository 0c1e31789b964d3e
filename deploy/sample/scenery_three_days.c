/* Scenes of three days, the weather: map with isobars, forecast columns, rain, a cyclone seen from above. See scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>
#include <stdio.h>

enum icon { ICON_SUN, ICON_CLOUD, ICON_RAIN, ICON_SNOW, ICONS };

static void icon(
        cairo_t *cr, struct dp_dice *dice, enum icon kind, double x, double y, double size, double seconds)
{
    struct dp_dice own = *dice; /* every icon takes one draw from the caller's dice, whatever it shows */
    dp_dice_float(dice);
    if (kind == ICON_SUN) {
        dp_sun(cr, x, y, size * 0.5, seconds * 0.6);
        return;
    }
    dp_cloud(cr, x, y - size * 0.15, size * 0.7, dp_hsv(0.6, 0.08, kind == ICON_CLOUD ? 0.95 : 0.7));
    if (kind == ICON_RAIN) {
        dp_set(cr, dp_hsv(0.57, 0.75, 0.95));
        dp_rain(cr, &own, x - size * 0.5, y + size * 0.2, size, size * 0.5, 7, seconds);
    } else if (kind == ICON_SNOW) {
        dp_set(cr, dp_white);
        for (int i = 0; i < 5; i++) {
            double fall = 0.2 * i + seconds * 0.5;
            dp_disc(cr, x + (i - 2) * size * 0.22, y + size * (0.25 + 0.5 * (fall - floor(fall))),
                    size * 0.07);
        }
    }
}

static void land(cairo_t *cr, struct dp_dice *dice)
{
    double sea_hue = dp_dice_range(dice, 0.52, 0.66), land_hue = dp_dice_range(dice, 0.12, 0.4),
           light = dp_dice_range(dice, 0.5, 0.9);
    dp_gradient(
            cr, 0, 0, DP_WIDTH, DP_HEIGHT, dp_hsv(sea_hue, 0.5, light), dp_hsv(sea_hue, 0.6, light * 0.8));
    int parts = dp_dice_between(dice, 1, 3);
    for (int i = 0; i < parts; i++) {
        double x = dp_dice_range(dice, 30, 290), y = dp_dice_range(dice, 30, 150),
               size = dp_dice_range(dice, 40, 110);
        dp_blob(cr, dice, x, y, size, size * 0.7);
        dp_set(cr, dp_hsv(land_hue, 0.45, light * 0.9));
        cairo_fill_preserve(cr);
        dp_set(cr, dp_hsv(land_hue, 0.3, light * 0.5));
        cairo_set_line_width(cr, 1);
        cairo_stroke(cr);
    }
}

static void map_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    dp_panel(cr, dice, 0.65);
    cairo_rectangle(cr, 0, 0, DP_WIDTH, DP_HEIGHT);
    cairo_clip(cr);
    land(cr, dice);
    double drift = dp_dice_range(dice, -12, 12) * seconds;
    int centres = dp_dice_between(dice, 1, 2);
    for (int c = 0; c < centres; c++) { /* isobars around highs and lows */
        double x = dp_dice_range(dice, 60, 260) + drift, y = dp_dice_range(dice, 40, 140),
               gap = dp_dice_range(dice, 12, 20);
        bool high = dp_dice_chance(dice, 0.5);
        struct dp_dice shape = *dice;
        dp_dice_float(dice);
        for (int i = 1; i < 6; i++) {
            struct dp_dice same = shape;
            dp_blob(cr, &same, x, y, gap * i, gap * i * 0.75);
            dp_set(cr, dp_hsv(0, 0, 0.98));
            cairo_set_line_width(cr, 1.6);
            cairo_stroke(cr);
        }
        dp_set(cr, high ? dp_hsv(0.62, 0.8, 0.7) : dp_hsv(0.0, 0.85, 0.8));
        dp_text_middle(cr, x, y - 9, 18, high ? "H" : "L");
    }
    int icons = dp_dice_between(dice, 2, 4);
    for (int i = 0; i < icons; i++) {
        enum icon kind = (enum icon)dp_dice_below(dice, ICONS);
        double x = dp_dice_range(dice, 25, 295), y = dp_dice_range(dice, 25, 155),
               size = dp_dice_range(dice, 24, 38);
        icon(cr, dice, kind, x + drift, y, size, seconds);
    }
}

static void forecast_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    static const char *const days[] = {"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"};
    dp_panel(cr, dice, 0.65);
    int columns = dp_dice_between(dice, 3, 4), first = dp_dice_below(dice, 7);
    double hue = dp_dice_range(dice, 0.5, 0.72), value = dp_dice_range(dice, 0.35, 0.8),
           wide = 320.0 / columns;
    for (int c = 0; c < columns; c++) {
        enum icon kind = (enum icon)dp_dice_below(dice, ICONS);
        int warm = dp_dice_between(dice, 2, 38), range = dp_dice_between(dice, 4, 11);
        warm = kind == ICON_SNOW ? warm / 8 - 2 : warm;
        double x = c * wide + wide / 2, rise = 3 * sin(seconds * 2 + c);
        char text[16];
        dp_gradient(cr, c * wide + 2, 4, wide - 4, 172, dp_hsv(hue, 0.6, value), dp_hsv(hue, 0.35, value));
        dp_set(cr, dp_white);
        dp_text_middle(cr, x, 14, 15, days[(first + c) % 7]);
        icon(cr, dice, kind, x, 80 + rise, 50, seconds);
        dp_set(cr, dp_white);
        snprintf(text, sizeof text, "%d*", warm);
        dp_text_middle(cr, x, 122, 19, text);
        dp_set(cr, dp_hsv(hue, 0.3, 1));
        snprintf(text, sizeof text, "%d*", warm - range);
        dp_text_middle(cr, x, 150, 13, text);
    }
}

static void rain_still(cairo_t *cr, struct dp_dice *dice)
{
    double grey = dp_dice_range(dice, 0.3, 0.6);
    dp_clear(cr, dp_hsv(0.6, 0.15, grey * 0.8), dp_hsv(0.6, 0.1, grey * 1.3));
    dp_skyline(cr, dice, 150, 70, DP_WIDTH + DP_MARGIN, false);
    dp_set_alpha(cr, dp_hsv(0.6, 0.1, grey), 0.55); /* haze over the town */
    dp_box(cr, -DP_MARGIN, -DP_MARGIN, DP_WIDTH + 2 * DP_MARGIN, DP_HEIGHT + 2 * DP_MARGIN);
    for (int i = 0; i < 6; i++) {
        double x = i * 66 - 10, y = dp_dice_range(dice, 12, 40), size = dp_dice_range(dice, 40, 62);
        dp_cloud(cr, x, y, size, dp_hsv(0.6, 0.1, grey * 0.9));
    }
}

static void rain_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int drops = dp_dice_between(dice, 60, 140);
    bool snow = dp_dice_chance(dice, 0.3), flash = dp_dice_chance(dice, 0.3);
    dp_set(cr, snow ? dp_white : dp_hsv(0.58, 0.25, 0.95));
    if (!snow) {
        dp_rain(cr, dice, -DP_MARGIN, 20, DP_WIDTH + 2 * DP_MARGIN, 170, drops, seconds);
    } else {
        for (int i = 0; i < drops; i++) {
            double x = dp_dice_range(dice, -20, 340), phase = dp_dice_float(dice);
            double fall = phase + seconds * 0.25;
            dp_disc(cr, x + 4 * sin(seconds * 2 + i), 20 + 180 * (fall - floor(fall)), 2.2);
        }
    }
    if (flash && fmod(seconds, 1.7) < 0.18) {
        dp_set_alpha(cr, dp_white, 0.5);
        dp_box(cr, -DP_MARGIN, -DP_MARGIN, DP_WIDTH + 2 * DP_MARGIN, DP_HEIGHT + 2 * DP_MARGIN);
    }
}

static void degrees_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    (void)seconds;
    int warm = dp_dice_between(dice, -5, 38);
    double x = dp_dice_range(dice, 10, 220), y = dp_dice_range(dice, 60, 130);
    bool shown = dp_dice_chance(dice, 0.6);
    if (!shown)
        return;
    char text[16];
    snprintf(text, sizeof text, "%d*C", warm);
    dp_set(cr, dp_white);
    dp_text(cr, x, y, 28, text);
}

static void cyclone_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    dp_panel(cr, dice, 0.65);
    cairo_rectangle(cr, 0, 0, DP_WIDTH, DP_HEIGHT);
    cairo_clip(cr);
    land(cr, dice);
    double x = dp_dice_range(dice, 90, 230), y = dp_dice_range(dice, 70, 110),
           size = dp_dice_range(dice, 50, 85);
    double speed = dp_dice_range(dice, 0.6, 1.6), tight = dp_dice_range(dice, 2.2, 3.4);
    for (int arm = 0; arm < 3; arm++) {
        for (int i = 3; i < 24; i++) {
            double r = size * i / 24, a = 2 * M_PI * arm / 3 + tight * r / size * 1.6 - speed * seconds;
            dp_set_alpha(cr, dp_white, 0.75 - 0.55 * r / size);
            dp_disc(cr, x + r * cos(a), y + r * sin(a) * 0.8, 5 + 9 * r / size);
        }
    }
    dp_set(cr, dp_hsv(0.0, 0.85, 0.9));
    dp_ring(cr, x, y, 5, 3);
}

const struct dp_scenery dp_three_days_sceneries[] = {
        {"map", dp_backdrop_still, dp_backdrop_moving, map_sign},
        {"forecast", dp_backdrop_still, dp_backdrop_moving, forecast_sign},
        {"rain", rain_still, rain_moving, degrees_sign},
        {"cyclone", dp_backdrop_still, dp_backdrop_moving, cyclone_sign},
        {NULL, NULL, NULL, NULL},
};
