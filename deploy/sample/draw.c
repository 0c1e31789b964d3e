/* Colours, shapes and figures for the scenes: see draw.h. */
#include "deploy/sample/draw.h"

#include <math.h>

#define GLOW_STEPS 7

const struct dp_colour dp_white = {1, 1, 1}, dp_black = {0, 0, 0};

struct dp_colour dp_mix(struct dp_colour a, struct dp_colour b, double share_of_b)
{
    double rest = 1 - share_of_b;
    return (struct dp_colour){a.red * rest + b.red * share_of_b, a.green * rest + b.green * share_of_b,
            a.blue * rest + b.blue * share_of_b};
}

struct dp_colour dp_hsv(double hue, double saturation, double value)
{
    double sixth = (hue - floor(hue)) * 6;
    struct dp_colour pure = {fmin(fmax(fabs(sixth - 3) - 1, 0), 1), fmin(fmax(2 - fabs(sixth - 2), 0), 1),
            fmin(fmax(2 - fabs(sixth - 4), 0), 1)};
    struct dp_colour full = dp_mix(dp_white, pure, saturation);
    return dp_mix(dp_black, full, value);
}

struct dp_colour dp_draw_colour(struct dp_dice *dice, double saturation, double value)
{
    return dp_hsv(dp_dice_float(dice), saturation, value);
}

struct dp_colour dp_draw_skin(struct dp_dice *dice)
{
    double tone = dp_dice_range(dice, 0.35, 0.95);
    return dp_hsv(0.07, 0.45, tone);
}

void dp_set(cairo_t *cr, struct dp_colour colour)
{
    cairo_set_source_rgb(cr, colour.red, colour.green, colour.blue);
}

void dp_set_alpha(cairo_t *cr, struct dp_colour colour, double alpha)
{
    cairo_set_source_rgba(cr, colour.red, colour.green, colour.blue, alpha);
}

void dp_box(cairo_t *cr, double x, double y, double width, double height)
{
    cairo_rectangle(cr, x, y, width, height);
    cairo_fill(cr);
}

void dp_round_box(cairo_t *cr, double x, double y, double width, double height, double radius)
{
    cairo_new_path(cr);
    cairo_arc(cr, x + width - radius, y + radius, radius, -M_PI / 2, 0);
    cairo_arc(cr, x + width - radius, y + height - radius, radius, 0, M_PI / 2);
    cairo_arc(cr, x + radius, y + height - radius, radius, M_PI / 2, M_PI);
    cairo_arc(cr, x + radius, y + radius, radius, M_PI, 1.5 * M_PI);
    cairo_close_path(cr);
    cairo_fill(cr);
}

void dp_disc(cairo_t *cr, double x, double y, double radius)
{
    cairo_new_path(cr);
    cairo_arc(cr, x, y, radius, 0, 2 * M_PI);
    cairo_fill(cr);
}

void dp_oval(cairo_t *cr, double x, double y, double radius_x, double radius_y)
{
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_scale(cr, radius_x, radius_y);
    dp_disc(cr, 0, 0, 1);
    cairo_restore(cr);
}

void dp_star(cairo_t *cr, double x, double y, double radius, double inner, int points, double angle)
{
    cairo_new_path(cr);
    for (int i = 0; i < 2 * points; i++) {
        double r = i % 2 == 0 ? radius : inner, a = angle + M_PI * i / points;
        cairo_line_to(cr, x + r * cos(a), y + r * sin(a));
    }
    cairo_close_path(cr);
    cairo_fill(cr);
}

void dp_gradient(cairo_t *cr, double x, double y, double width, double height, struct dp_colour top,
        struct dp_colour bottom)
{
    cairo_pattern_t *pattern = cairo_pattern_create_linear(0, y, 0, y + height);
    cairo_pattern_add_color_stop_rgb(pattern, 0, top.red, top.green, top.blue);
    cairo_pattern_add_color_stop_rgb(pattern, 1, bottom.red, bottom.green, bottom.blue);
    cairo_set_source(cr, pattern);
    dp_box(cr, x, y, width, height);
    cairo_pattern_destroy(pattern);
}

/* Discs in steps: a radial pattern takes several times as long, and the camera's grain hides the steps. */
void dp_glow(cairo_t *cr, double x, double y, double radius, struct dp_colour colour, double alpha)
{
    dp_set_alpha(cr, colour, alpha / GLOW_STEPS * 1.5);
    for (int i = 1; i <= GLOW_STEPS; i++)
        dp_disc(cr, x, y, radius * i / GLOW_STEPS);
}

void dp_line(cairo_t *cr, double x0, double y0, double x1, double y1, double width)
{
    cairo_set_line_width(cr, width);
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    cairo_stroke(cr);
}

void dp_ring(cairo_t *cr, double x, double y, double radius, double width)
{
    cairo_set_line_width(cr, width);
    cairo_new_path(cr);
    cairo_arc(cr, x, y, radius, 0, 2 * M_PI);
    cairo_stroke(cr);
}

void dp_frame(cairo_t *cr, double x, double y, double width, double height, double line)
{
    cairo_set_line_width(cr, line);
    cairo_rectangle(cr, x, y, width, height);
    cairo_stroke(cr);
}

void dp_cloud(cairo_t *cr, double x, double y, double size, struct dp_colour colour)
{
    dp_set(cr, colour);
    dp_disc(cr, x - size * 0.55, y, size * 0.38);
    dp_disc(cr, x, y - size * 0.22, size * 0.5);
    dp_disc(cr, x + size * 0.55, y, size * 0.4);
    dp_round_box(cr, x - size * 0.9, y, size * 1.85, size * 0.4, size * 0.2);
}

void dp_sun(cairo_t *cr, double x, double y, double radius, double angle)
{
    dp_set(cr, dp_hsv(0.12, 0.85, 1));
    dp_star(cr, x, y, radius * 1.5, radius * 1.05, 12, angle);
    dp_set(cr, dp_hsv(0.14, 0.75, 1));
    dp_disc(cr, x, y, radius);
}

void dp_rain(cairo_t *cr, struct dp_dice *dice, double x, double y, double width, double height, int drops,
        double seconds)
{
    cairo_set_line_width(cr, 1.4);
    for (int i = 0; i < drops; i++) {
        double across = dp_dice_float(dice), phase = dp_dice_float(dice);
        double fall = phase + seconds * 1.3;
        double top = y + (fall - floor(fall)) * height;
        cairo_move_to(cr, x + across * width, top);
        cairo_line_to(cr, x + across * width - 2.5, top + 8);
    }
    cairo_stroke(cr);
}

void dp_person(cairo_t *cr, struct dp_dice *dice, double x, double y, double size, double seconds)
{
    struct dp_colour skin = dp_draw_skin(dice);
    double value = dp_dice_range(dice, 0.2, 0.9);
    struct dp_colour cloth = dp_draw_colour(dice, 0.5, value);
    double hair_tone = dp_dice_range(dice, 0.05, 0.6);
    double hair_length = dp_dice_range(dice, 0.75, 1.15);
    double pace = dp_dice_range(dice, 2.0, 5.0);
    double sway = 0.04 * size * sin(seconds * pace), nod = 0.03 * size * sin(seconds * pace * 1.7);
    dp_set(cr, cloth);
    dp_oval(cr, x, y + size * 1.35, size * 1.15, size * 1.0);
    dp_set(cr, dp_mix(skin, dp_black, 0.15));
    dp_box(cr, x - size * 0.16, y - size * 0.15, size * 0.32, size * 0.6);
    dp_set(cr, dp_hsv(0.07, 0.5, hair_tone));
    dp_oval(cr, x + sway, y - size * 0.48 + nod, size * 0.5, size * 0.6 * hair_length);
    dp_set(cr, skin);
    dp_oval(cr, x + sway, y - size * 0.38 + nod, size * 0.4, size * 0.5);
    dp_set(cr, dp_hsv(0.0, 0.6, 0.45));
    dp_oval(cr, x + sway, y - size * 0.12 + nod, size * 0.12,
            size * (0.03 + 0.04 * fabs(sin(seconds * pace * 2.3))));
}

void dp_ridge(cairo_t *cr, struct dp_dice *dice, double y, double height, double width)
{
    double phase = dp_dice_range(dice, 0, 2 * M_PI), waves = dp_dice_range(dice, 1.0, 2.5);
    double detail = dp_dice_range(dice, 4, 9);
    cairo_new_path(cr);
    cairo_move_to(cr, -40, DP_HEIGHT + 40);
    for (double x = -40; x <= width + 40; x += 5) {
        double a = 2 * M_PI * x / DP_WIDTH;
        double rise = 0.5 + 0.35 * sin(a * waves + phase) + 0.12 * sin(a * detail + 2 * phase);
        cairo_line_to(cr, x, y - rise * height);
    }
    cairo_line_to(cr, width + 40, DP_HEIGHT + 40);
    cairo_close_path(cr);
    cairo_fill(cr);
}

void dp_skyline(cairo_t *cr, struct dp_dice *dice, double y, double height, double width, bool night)
{
    double hue = dp_dice_float(dice);
    for (double x = -40; x < width + 40;) {
        double wide = dp_dice_range(dice, 16, 40);
        double tall = dp_dice_range(dice, 0.3, 1.0) * height;
        double shade = dp_dice_range(dice, 0.7, 1.0);
        dp_set(cr, dp_hsv(hue, 0.25, shade * (night ? 0.22 : 0.6)));
        dp_box(cr, x, y - tall, wide - 1, tall + 200);
        struct dp_colour pane = night ? dp_hsv(0.13, 0.6, 0.9) : dp_hsv(hue + 0.1, 0.15, 0.85);
        dp_set(cr, pane);
        for (double wy = y - tall + 4; wy < y - 5; wy += 8) {
            for (double wx = x + 3; wx < x + wide - 6; wx += 7) {
                if (dp_dice_chance(dice, night ? 0.4 : 0.7))
                    cairo_rectangle(cr, wx, wy, 3, 4);
            }
        }
        cairo_fill(cr);
        x += wide;
    }
}

void dp_blob(cairo_t *cr, struct dp_dice *dice, double x, double y, double radius_x, double radius_y)
{
    double a = dp_dice_range(dice, 0, 2 * M_PI), b = dp_dice_range(dice, 0, 2 * M_PI),
           c = dp_dice_range(dice, 0, 2 * M_PI);
    cairo_new_path(cr);
    for (int i = 0; i < 60; i++) {
        double angle = 2 * M_PI * i / 60;
        double r = 1 + 0.18 * sin(2 * angle + a) + 0.12 * sin(3 * angle + b) + 0.06 * sin(7 * angle + c);
        cairo_line_to(cr, x + radius_x * r * cos(angle), y + radius_y * r * sin(angle));
    }
    cairo_close_path(cr);
}
