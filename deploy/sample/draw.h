#pragma once
/* What scenes are drawn with: colours, shapes, lettering of strokes, a few figures. All lengths are in pixels of a DP_WIDTH x DP_HEIGHT
 * picture. Letters are strokes of our own (capitals, digits, some signs), so pictures need no font and are the same on every machine.
 *
 *     dp_set(cr, dp_hsv(0.0, 0.9, 0.8));
 *     dp_box(cr, 0, 150, DP_WIDTH, 30);
 *     dp_set(cr, dp_white);
 *     dp_text(cr, 8, 158, 14, "BREAKING");
 */
#include "deploy/sample/dice.h"

#include <cairo.h>

#define DP_WIDTH 320
#define DP_HEIGHT 180

struct dp_colour {
    double red, green, blue; /* 0..1 */
};

extern const struct dp_colour dp_white, dp_black;

/* Colours. hue is taken modulo 1. */
struct dp_colour dp_hsv(double hue, double saturation, double value);
struct dp_colour dp_mix(struct dp_colour a, struct dp_colour b, double share_of_b);
struct dp_colour dp_draw_colour(struct dp_dice *dice, double saturation, double value); /* of any hue */
struct dp_colour dp_draw_skin(struct dp_dice *dice);
void dp_set(cairo_t *cr, struct dp_colour colour);
void dp_set_alpha(cairo_t *cr, struct dp_colour colour, double alpha);

/* Filled shapes in the current colour, but for the gradient, which has its own. */
void dp_box(cairo_t *cr, double x, double y, double width, double height);
void dp_round_box(cairo_t *cr, double x, double y, double width, double height, double radius);
void dp_disc(cairo_t *cr, double x, double y, double radius);
void dp_oval(cairo_t *cr, double x, double y, double radius_x, double radius_y);
void dp_star(cairo_t *cr, double x, double y, double radius, double inner, int points, double angle);
void dp_gradient(cairo_t *cr, double x, double y, double width, double height, struct dp_colour top,
        struct dp_colour bottom);
void dp_glow(cairo_t *cr, double x, double y, double radius, struct dp_colour colour, double alpha);

/* Lines in the current colour. */
void dp_line(cairo_t *cr, double x0, double y0, double x1, double y1, double width);
void dp_ring(cairo_t *cr, double x, double y, double radius, double width);
void dp_frame(cairo_t *cr, double x, double y, double width, double height, double line);

/* dp_text writes text with its upper left corner at x, y; characters without strokes leave a gap. dp_text_middle centres it on x. */
void dp_text(cairo_t *cr, double x, double y, double height, const char *text);
void dp_text_middle(cairo_t *cr, double x, double y, double height, const char *text);
double dp_text_width(double height, const char *text);
/* dp_script writes count made-up square characters, for lettering that should look like Chinese without saying anything. */
void dp_script(cairo_t *cr, struct dp_dice *dice, double x, double y, double height, int count);
/* dp_lettering fills a line of the given width with script or with made-up Latin words: text that carries no meaning. */
void dp_lettering(cairo_t *cr, struct dp_dice *dice, double x, double y, double height, double width);

/* Figures. */
void dp_cloud(cairo_t *cr, double x, double y, double size, struct dp_colour colour);
void dp_sun(cairo_t *cr, double x, double y, double radius, double angle);
void dp_rain(cairo_t *cr, struct dp_dice *dice, double x, double y, double width, double height, int drops,
        double seconds);
void dp_person(cairo_t *cr, struct dp_dice *dice, double x, double y, double size,
        double seconds); /* x, y: the chin */
void dp_ridge(cairo_t *cr, struct dp_dice *dice, double y, double height,
        double width); /* hills from y down to the lower edge */
void dp_skyline(cairo_t *cr, struct dp_dice *dice, double y, double height, double width, bool night);
void dp_blob(cairo_t *cr, struct dp_dice *dice, double x, double y, double radius_x,
        double radius_y); /* a path, to fill or stroke */
