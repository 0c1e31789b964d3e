/* Bicubic resizing of position embeddings: see bicubic.h. */
#include "ps/bicubic.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#define TAPS 4
#define A (-0.75) /* of Keys' kernel; PyTorch's and OpenCV's choice, where others take -0.5 */

/* Where an output coordinate reads on one axis. */
struct taps {
    int index[TAPS]; /* clamped to the grid: the border repeats */
    double weight[TAPS];
};

static double near_weight(double x) /* |x| <= 1 */
{
    return ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
}

static double far_weight(double x) /* 1 < |x| < 2 */
{
    return ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
}

/* Centres of cells lie at 0.5, 1.5, …: that is what align_corners=False means. */
static struct taps make_taps(int at, int to_side, int from_side)
{
    double place = (double)from_side / (double)to_side * ((double)at + 0.5) - 0.5;
    double whole = floor(place), t = place - whole;
    struct taps taps = {
            .weight = {far_weight(t + 1.0), near_weight(t), near_weight(1.0 - t), far_weight(2.0 - t)}};
    for (int i = 0; i < TAPS; i++) {
        int index = (int)whole - 1 + i;
        taps.index[i] = index < 0 ? 0 : index >= from_side ? from_side - 1 : index;
    }
    return taps;
}

static void resize_cell(float *to, const float *from, int from_side, int dim, const struct taps *rows,
        const struct taps *columns)
{
    for (int d = 0; d < dim; d++) {
        double sum = 0.0;
        for (int r = 0; r < TAPS; r++) {
            const float *row = from + (size_t)rows->index[r] * (size_t)from_side * (size_t)dim;
            double line = 0.0;
            for (int c = 0; c < TAPS; c++)
                line += columns->weight[c] * (double)row[(size_t)columns->index[c] * (size_t)dim + (size_t)d];
            sum += rows->weight[r] * line;
        }
        to[d] = (float)sum;
    }
}

void ps_bicubic_resize(float *to, int to_side, const float *from, int from_side, int dim)
{
    assert(to_side >= 1 && from_side >= 1 && dim >= 1);
    for (int y = 0; y < to_side; y++) {
        struct taps rows = make_taps(y, to_side, from_side);
        for (int x = 0; x < to_side; x++) {
            struct taps columns = make_taps(x, to_side, from_side);
            resize_cell(to, from, from_side, dim, &rows, &columns);
            to += dim;
        }
    }
}
