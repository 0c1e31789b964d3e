#pragma once
/* A screen in memory: rows of cells, each a character and a colour. Pure; `top` draws into it and a terminal library shows it.
 *
 *     dp_canvas_resize(&canvas, 24, 80);
 *     dp_canvas_put(&canvas, 0, 0, 80, DP_INK_BOLD, "first  training");
 *     dp_plot(&canvas, &box, series, 3);
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_CANVAS_ROWS_MAX 512
#define DP_CANVAS_COLUMNS_MAX 1024
#define DP_CELL_TAIL UINT32_MAX /* the second column of a wide character */

enum dp_ink {
    DP_INK_PLAIN,
    DP_INK_BOLD,
    DP_INK_DIM,
    DP_INK_WARN,
    DP_INK_SERIES
}; /* DP_INK_SERIES + i: the i-th branch */

struct dp_cell {
    uint32_t point; /* Unicode; 0 = blank */
    uint8_t ink;
};

/* Zero to begin. Fields are for reading. ascii: only characters up to 126 are ever put; others become '?'. letters: curves are letters, because there are no colours. */
struct dp_canvas {
    int rows, columns;
    bool ascii, letters;
    struct dp_cell *cells; /* (rows, columns) */
};

/* dp_canvas_resize empties it; sizes are clamped to what is sensible. False when memory is out: then it has no rows. */
bool dp_canvas_resize(struct dp_canvas *canvas, int rows, int columns);
void dp_canvas_fini(struct dp_canvas *canvas);

/* dp_canvas_put writes text from (row, column) in at most `width` columns; what is outside is left out. Returns the column behind it. */
int dp_canvas_put(struct dp_canvas *canvas, int row, int column, int width, int ink, const char *text);

/* dp_canvas_row gives a row as UTF-8 without blanks at its end: for tests and plain output. Shapes: text has 4 * columns + 1 bytes. */
void dp_canvas_row(const struct dp_canvas *canvas, int row, char *text);

/* A curve: values at places 0 … count - 1 from left to right; NaN = no value there. */
struct dp_curve {
    const double *values; /* (count,) */
    char letter;
    int ink;
};

struct dp_box {
    int row, column, rows, columns;
};

/* How many values fit side by side into so many columns. */
int dp_plot_places(const struct dp_canvas *canvas, int columns);
/* dp_plot draws curves of dp_plot_places values with one scale from low to high; in Braille dots, or letters. Values outside stay at the edge. */
void dp_plot(struct dp_canvas *canvas, const struct dp_box *box, const struct dp_curve *curves,
        int curve_count, double low, double high);
