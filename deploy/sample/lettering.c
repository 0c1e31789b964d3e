/* Lettering of strokes for the pictures: see draw.h. A glyph is a text of strokes with a space between; a stroke is a run of points,
 * two digits each, on a grid five wide and seven high. */
#include "deploy/sample/draw.h"

#include <stddef.h>
#include <string.h>

#define GRID_HEIGHT 6.0
#define ADVANCE 5.6 /* from glyph to glyph, in grid units */
#define PEN 0.115   /* width of the line over the height of the letter */

static const char *const letters[26] = {"062046 1434", "0006 003041423303 033344453606", "4130100105163645",
        "00063645413000", "40000646 0333", "400006 0333", "41301001051636454323", "0006 4046 0343",
        "2026 1030 1636", "4045361605", "0006 400346", "000646", "0600234046", "06004640",
        "100105163645413010", "06003041423303", "100105163645413010 2446", "06003041423303 2346",
        "4130100102133344453616 05", "0040 2026", "000516364540", "002640", "0016233640", "0046 4006",
        "002340 2326", "00400646"};
static const char *const digits[10] = {"100105163645413010", "112026 1636", "01103041420646",
        "0110304142331333 334445361605", "36300444", "400002324345361605", "4130100105163645443303", "004016",
        "100102133342413010 1304051636454433", "4313020110304145361605"};

static const char *glyph_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return letters[c - 'A'];
    if (c >= '0' && c <= '9')
        return digits[c - '0'];
    switch (c) {
    case ':':
        return "2122 2425";
    case '.':
        return "2526";
    case '-':
        return "1333";
    case '+':
        return "1333 2224";
    case '%':
        return "4006 0011 3546";
    case '/':
        return "4006";
    case '!':
        return "2024 2526";
    case '*': /* a degree sign */
        return "1030321210";
    default:
        return "";
    }
}

static void path_glyph(cairo_t *cr, double x, double y, double unit, const char *glyph)
{
    bool first = true;
    for (const char *at = glyph; *at != '\0';) {
        if (*at == ' ') {
            first = true;
            at++;
            continue;
        }
        double px = x + (at[0] - '0') * unit, py = y + (at[1] - '0') * unit;
        if (first)
            cairo_move_to(cr, px, py);
        else
            cairo_line_to(cr, px, py);
        first = false;
        at += 2;
    }
}

double dp_text_width(double height, const char *text)
{
    return (double)strlen(text) * ADVANCE * height / GRID_HEIGHT;
}

void dp_text(cairo_t *cr, double x, double y, double height, const char *text)
{
    double unit = height / GRID_HEIGHT;
    cairo_new_path(cr);
    for (size_t i = 0; text[i] != '\0'; i++)
        path_glyph(cr, x + (double)i * ADVANCE * unit, y, unit, glyph_of(text[i]));
    cairo_set_line_width(cr, height * PEN < 1.0 ? 1.0 : height * PEN);
    cairo_stroke(cr);
}

void dp_text_middle(cairo_t *cr, double x, double y, double height, const char *text)
{
    dp_text(cr, x - dp_text_width(height, text) / 2, y, height, text);
}

void dp_script(cairo_t *cr, struct dp_dice *dice, double x, double y, double height, int count)
{
    cairo_new_path(cr);
    for (int i = 0; i < count; i++) {
        double left = x + i * height * 1.15;
        int strokes = dp_dice_between(dice, 3, 6);
        for (int s = 0; s < strokes; s++) {
            double across = dp_dice_below(dice, 4) / 3.0;
            double length = dp_dice_range(dice, 0.6, 1.0);
            bool level = dp_dice_chance(dice, 0.55);
            double tilt = dp_dice_range(dice, -0.15, 0.15);
            double from = (1 - length) / 2;
            double x0 = level ? from : across, y0 = level ? across : from;
            double x1 = level ? from + length : across + tilt,
                   y1 = level ? across + tilt * 0.3 : from + length;
            cairo_move_to(cr, left + x0 * height, y + y0 * height);
            cairo_line_to(cr, left + x1 * height, y + y1 * height);
        }
    }
    cairo_set_line_width(cr, height * PEN < 1.0 ? 1.0 : height * PEN);
    cairo_stroke(cr);
}

void dp_lettering(cairo_t *cr, struct dp_dice *dice, double x, double y, double height, double width)
{
    if (dp_dice_chance(dice, 0.5)) {
        dp_script(cr, dice, x, y, height, (int)(width / (height * 1.15)));
        return;
    }
    char text[64];
    int count = (int)(width / (ADVANCE * height / GRID_HEIGHT));
    if (count > (int)sizeof text - 1)
        count = (int)sizeof text - 1;
    for (int i = 0; i < count; i++) {
        bool gap = dp_dice_chance(dice, 0.18);
        int letter = dp_dice_below(dice, 26);
        text[i] = gap ? ' ' : (char)('A' + letter);
    }
    text[count < 0 ? 0 : count] = '\0';
    dp_text(cr, x, y, height, text);
}
