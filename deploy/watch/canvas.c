/* Cells and curves: see canvas.h. */
#include "deploy/watch/canvas.h"

#include "common/memory.h"
#include "common/utf8.h"

#include <math.h>
#include <string.h>

#define BRAILLE 0x2800U

bool dp_canvas_resize(struct dp_canvas *canvas, int rows, int columns)
{
    rows = rows < 1 ? 1 : rows > DP_CANVAS_ROWS_MAX ? DP_CANVAS_ROWS_MAX : rows;
    columns = columns < 1 ? 1 : columns > DP_CANVAS_COLUMNS_MAX ? DP_CANVAS_COLUMNS_MAX : columns;
    if (canvas->rows != rows || canvas->columns != columns) {
        sl_free(canvas->cells);
        canvas->cells = sl_alloc((size_t)rows * (size_t)columns, sizeof(*canvas->cells));
        canvas->rows = canvas->cells != NULL ? rows : 0;
        canvas->columns = canvas->cells != NULL ? columns : 0;
        return canvas->cells != NULL;
    }
    memset(canvas->cells, 0, (size_t)rows * (size_t)columns * sizeof(*canvas->cells));
    return true;
}

void dp_canvas_fini(struct dp_canvas *canvas)
{
    sl_free(canvas->cells);
    canvas->cells = NULL;
    canvas->rows = canvas->columns = 0;
}

static struct dp_cell *cell_at(struct dp_canvas *canvas, int row, int column)
{
    bool inside = row >= 0 && row < canvas->rows && column >= 0 && column < canvas->columns;
    return inside ? &canvas->cells[(size_t)row * (size_t)canvas->columns + (size_t)column] : NULL;
}

int dp_canvas_put(struct dp_canvas *canvas, int row, int column, int width, int ink, const char *text)
{
    int end = column + width < canvas->columns ? column + width : canvas->columns;
    for (size_t left = strlen(text), step; left > 0; text += step, left -= step) {
        uint32_t point = 0;
        char one[8] = "";
        step = sl_utf8_next(text, left, &point);
        if (step > 0 && step < sizeof(one))
            memcpy(one, text, step);
        int columns = step > 0 ? sl_utf8_columns(one) : 1;
        bool plain = step > 0 && sl_utf8_is_text(text, step) && !(canvas->ascii && point > 126);
        step = step > 0 ? step : 1;
        if (column + columns > end)
            break;
        if (columns == 0)
            continue; /* a mark above the letter before: a cell holds one character */
        for (int i = 0; i < columns; i++) {
            struct dp_cell *cell = cell_at(canvas, row, column + i);
            if (cell != NULL)
                *cell = (struct dp_cell){!plain ? '?' : i == 0 ? point : DP_CELL_TAIL, (uint8_t)ink};
        }
        column += columns;
    }
    return column;
}

static size_t encode(uint32_t point, char *to)
{
    if (point < 0x80) {
        to[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        to[0] = (char)(0xc0 | (point >> 6));
        to[1] = (char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        to[0] = (char)(0xe0 | (point >> 12));
        to[1] = (char)(0x80 | ((point >> 6) & 0x3f));
        to[2] = (char)(0x80 | (point & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | (point >> 18));
    to[1] = (char)(0x80 | ((point >> 12) & 0x3f));
    to[2] = (char)(0x80 | ((point >> 6) & 0x3f));
    to[3] = (char)(0x80 | (point & 0x3f));
    return 4;
}

void dp_canvas_row(const struct dp_canvas *canvas, int row, char *text)
{
    const struct dp_cell *cells = canvas->cells + (size_t)row * (size_t)canvas->columns;
    int last = canvas->columns;
    while (last > 0 && (cells[last - 1].point == 0 || cells[last - 1].point == ' '))
        last--;
    size_t used = 0;
    for (int c = 0; c < last; c++)
        if (cells[c].point != DP_CELL_TAIL)
            used += encode(cells[c].point == 0 ? ' ' : cells[c].point, text + used);
    text[used] = 0;
}

/* ---- curves ---- */

static bool has_dots(const struct dp_canvas *canvas)
{
    return !canvas->ascii && !canvas->letters;
}

int dp_plot_places(const struct dp_canvas *canvas, int columns)
{
    return has_dots(canvas) ? 2 * columns : columns;
}

/* Rows of places from the top; -1 for no value. */
static int height_of(double value, double low, double high, int places)
{
    if (!isfinite(value))
        return -1;
    double share = high > low ? (value - low) / (high - low) : 0.5;
    share = share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
    return (int)lround((1.0 - share) * (places - 1));
}

/* The dot (x, y) of a Braille cell, two wide and four high, has the bit of this table. */
static void set_dot(struct dp_canvas *canvas, const struct dp_box *box, int x, int y, int ink)
{
    static const uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    struct dp_cell *cell = cell_at(canvas, box->row + y / 4, box->column + x / 2);
    if (cell == NULL)
        return;
    uint32_t before = cell->point >= BRAILLE && cell->point < BRAILLE + 256 ? cell->point : BRAILLE;
    *cell = (struct dp_cell){before | bits[y % 4][x % 2], (uint8_t)ink};
}

/* From the value before to this one, so that a steep curve does not fall apart. */
static void draw_dots(struct dp_canvas *canvas, const struct dp_box *box, const struct dp_curve *curve,
        double low, double high)
{
    int before = -1;
    for (int x = 0; x < 2 * box->columns; x++) {
        int y = height_of(curve->values[x], low, high, 4 * box->rows);
        int from = before < 0 || y < 0 ? y : before < y ? before + 1 : before > y ? before - 1 : y;
        for (int at = from; y >= 0; at += at < y ? 1 : -1) {
            set_dot(canvas, box, x, at, curve->ink);
            if (at == y)
                break;
        }
        before = y;
    }
}

static void draw_letters(struct dp_canvas *canvas, const struct dp_box *box, const struct dp_curve *curve,
        double low, double high)
{
    for (int x = 0; x < box->columns; x++) {
        int y = height_of(curve->values[x], low, high, box->rows);
        struct dp_cell *cell = y >= 0 ? cell_at(canvas, box->row + y, box->column + x) : NULL;
        if (cell != NULL)
            *cell = (struct dp_cell){(uint32_t)(unsigned char)curve->letter, (uint8_t)curve->ink};
    }
}

void dp_plot(struct dp_canvas *canvas, const struct dp_box *box, const struct dp_curve *curves,
        int curve_count, double low, double high)
{
    for (int i = 0; i < curve_count; i++)
        if (has_dots(canvas))
            draw_dots(canvas, box, &curves[i], low, high);
        else
            draw_letters(canvas, box, &curves[i], low, high);
}
