/* Scenes of the shortest label, something happening now: news ticker and LIVE badge, emergency lights, fire, a headline card. See
 * scenery.h. */
#include "deploy/sample/scenery.h"

#include <math.h>
#include <stdio.h>

static struct dp_colour draw_red(struct dp_dice *dice)
{
    double hue = dp_dice_range(dice, -0.03, 0.035), value = dp_dice_range(dice, 0.65, 0.95);
    return dp_hsv(hue, 0.9, value);
}

static void badge(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    struct dp_colour red = draw_red(dice);
    bool right = dp_dice_chance(dice, 0.5);
    double size = dp_dice_range(dice, 12, 19), x = right ? 312 - size * 5.4 : 8,
           y = dp_dice_range(dice, 6, 14);
    dp_set(cr, red);
    dp_round_box(cr, x, y, size * 5.4, size * 1.5, 3);
    dp_set_alpha(cr, dp_white, sin(seconds * 7) > 0 ? 1.0 : 0.35);
    dp_disc(cr, x + size * 0.75, y + size * 0.75, size * 0.32);
    dp_set(cr, dp_white);
    dp_text(cr, x + size * 1.45, y + size * 0.3, size * 0.9, "LIVE");
}

static void ticker(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    static const char *const heads[] = {"BREAKING", "ALERT", "JUST IN", "URGENT", "NEWS NOW"};
    struct dp_colour red = draw_red(dice);
    double high = dp_dice_range(dice, 18, 28), y = 180 - high - dp_dice_range(dice, 0, 12),
           speed = dp_dice_range(dice, 35, 80);
    const char *head = heads[dp_dice_below(dice, 5)];
    bool headline = dp_dice_chance(dice, 0.7);
    dp_set(cr, red);
    dp_box(cr, 0, y, DP_WIDTH, high);
    dp_set(cr, dp_white);
    struct dp_dice words = *dice; /* the text runs through a window, the same each frame */
    cairo_save(cr);
    cairo_rectangle(cr, 0, y, DP_WIDTH, high);
    cairo_clip(cr);
    dp_lettering(cr, &words, 200 - speed * seconds, y + high * 0.3, high * 0.42, 520);
    cairo_restore(cr);
    if (!headline)
        return;
    double wide = dp_text_width(high * 0.6, head) + 16;
    dp_set(cr, dp_hsv(0.15, 0.75, 1));
    dp_box(cr, 0, y - high * 0.95, wide, high * 0.95);
    dp_set(cr, dp_mix(red, dp_black, 0.4));
    dp_text(cr, 8, y - high * 0.78, high * 0.6, head);
}

static void ticker_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    badge(cr, dice, seconds);
    ticker(cr, dice, seconds);
}

static void siren_still(cairo_t *cr, struct dp_dice *dice)
{
    double hue = dp_dice_range(dice, 0.58, 0.75);
    dp_clear(cr, dp_hsv(hue, 0.7, 0.12), dp_hsv(hue, 0.5, 0.25));
    dp_skyline(cr, dice, 130, 110, DP_WIDTH + DP_MARGIN, true);
    dp_set(cr, dp_hsv(0.6, 0.1, 0.14));
    dp_box(cr, -DP_MARGIN, 130, DP_WIDTH + 2 * DP_MARGIN, 80);
}

static void siren_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    int count = dp_dice_between(dice, 1, 3);
    for (int i = 0; i < count; i++) {
        double x = dp_dice_range(dice, 30, 260), y = dp_dice_range(dice, 128, 150),
               pace = dp_dice_range(dice, 1.5, 3.0);
        double body = dp_dice_range(dice, 0.5, 0.95), size = dp_dice_range(dice, 0.9, 1.5);
        bool red_on = sin(2 * M_PI * pace * seconds + i) > 0;
        dp_set(cr, dp_hsv(0.6, 0.1, body));
        dp_round_box(cr, x, y - 10 * size, 62 * size, 20 * size, 4);
        dp_set(cr, dp_hsv(0, 0, 0.1));
        dp_disc(cr, x + 13 * size, y + 10 * size, 6 * size);
        dp_disc(cr, x + 48 * size, y + 10 * size, 6 * size);
        dp_glow(cr, x + 22 * size, y - 14 * size, 70 * size, dp_hsv(0.0, 1, 1), red_on ? 0.95 : 0.15);
        dp_glow(cr, x + 40 * size, y - 14 * size, 70 * size, dp_hsv(0.62, 1, 1), red_on ? 0.15 : 0.95);
    }
    if (dp_dice_chance(dice, 0.4))
        dp_person(cr, dice, 240, 130, 38, seconds);
}

static void fire_moving(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    double x = dp_dice_range(dice, 60, 240), wide = dp_dice_range(dice, 25, 55);
    for (int i = 0; i < 14; i++) { /* smoke rises and spreads */
        double phase = dp_dice_float(dice), side = dp_dice_range(dice, -1, 1),
               grey = dp_dice_range(dice, 0.1, 0.35);
        double life = phase + seconds * 0.3;
        life -= floor(life);
        dp_set_alpha(cr, dp_hsv(0, 0, grey), 0.55 * (1 - life));
        dp_disc(cr, x + side * wide * (0.5 + life), 110 - life * 130, 12 + 26 * life);
    }
    for (int i = 0; i < 16; i++) {
        double place = dp_dice_range(dice, -1, 1), tall = dp_dice_range(dice, 25, 60),
               pace = dp_dice_range(dice, 6, 14);
        double hue = dp_dice_range(dice, 0.02, 0.13);
        double lick = tall * (0.7 + 0.3 * sin(pace * seconds + i));
        dp_set_alpha(cr, dp_hsv(hue, 0.95, 1), 0.8);
        dp_oval(cr, x + place * wide, 136 - lick * 0.4, 8, lick * 0.5);
    }
}

static void badge_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    badge(cr, dice, seconds);
    if (dp_dice_chance(dice, 0.35))
        ticker(cr, dice, seconds);
}

static void card_sign(cairo_t *cr, struct dp_dice *dice, double seconds)
{
    static const char *const words[] = {"BREAKING", "SPECIAL", "ALERT", "URGENT"};
    struct dp_colour red = draw_red(dice);
    const char *word = words[dp_dice_below(dice, 4)];
    double slope = dp_dice_range(dice, 0.3, 1.0), speed = dp_dice_range(dice, 20, 60),
           height = dp_dice_range(dice, 26, 34);
    double cover = dp_dice_range(dice, 90, 180), top = dp_dice_range(dice, 0, 180 - cover);
    cairo_save(cr);
    cairo_rectangle(cr, 0, top, DP_WIDTH, cover);
    cairo_clip(cr);
    dp_set(cr, red);
    cairo_paint(cr);
    dp_set(cr, dp_mix(red, dp_black, 0.35));
    for (int i = -6; i < 12; i++) {
        double x = i * 48 + speed * seconds - 48 * floor(speed * seconds / 48);
        dp_line(cr, x, -10, x + 190 * slope, 190, 16);
    }
    cairo_restore(cr);
    double middle = top + cover / 2;
    dp_set(cr, dp_white);
    dp_box(cr, 20, middle - height, 280, height * 1.5);
    dp_set(cr, red);
    dp_text_middle(cr, 162, middle - height * 0.75, height, word);
    dp_set(cr, dp_white);
    dp_text_middle(cr, 160, middle + height * 0.65, height * 0.5, "NEWS LIVE");
}

const struct dp_scenery dp_hours_sceneries[] = {
        {"ticker", dp_backdrop_still, dp_backdrop_moving, ticker_sign},
        {"siren", siren_still, siren_moving, badge_sign},
        {"fire", siren_still, fire_moving, badge_sign},
        {"card", dp_backdrop_still, dp_backdrop_moving, card_sign},
        {NULL, NULL, NULL, NULL},
};
