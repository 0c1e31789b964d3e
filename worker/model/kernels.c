/* Matrix products on OpenBLAS: see kernels.h. */
#include "worker/model/kernels.h"

#include "worker/model/gemm.h"

#define CHUNK_FLOATS ((size_t)256 * 1024) /* 1 MiB: half of a common level 2 cache */
#define CHUNK_LEAST                                                                                          \
    800 /* rows: with fewer, packing the weights for each chunk costs more than the cache saves */

size_t wk_chunk_most(size_t width)
{
    size_t rows = CHUNK_FLOATS / (width == 0 ? 1 : width);
    return rows < CHUNK_LEAST ? CHUNK_LEAST : rows;
}

static size_t divide_up(size_t total, size_t by)
{
    return (total + by - 1) / by;
}

size_t wk_chunk(size_t width, size_t rows)
{
    return rows == 0 ? 1 : divide_up(rows, divide_up(rows, wk_chunk_most(width)));
}

/* ---- tiles ---- */

#define TILED_LEAST                                                                                          \
    2.56e8 /* floating-point operations: some milliseconds, many times what waking a thread takes */
#define TILE_ROWS                                                                                            \
    768 /* a tile packs its part of both matrices once more: it must be large in one direction, … */
#define TILE_COLUMNS 384
#define TILES_MOST 4 /* … so there are not many of them */
#define TILE_ALIGNMENT 16

struct product {
    bool a_transposed, b_transposed, add;
    float *c;
    const float *a, *b;
    size_t c_stride, a_stride, b_stride, m, n, k;
    size_t tile_m, tile_n, tiles_n;
};

static size_t tile_of(size_t total, size_t least)
{
    size_t tiles = total / least;
    tiles = tiles < 1 ? 1 : tiles > TILES_MOST ? TILES_MOST : tiles;
    return divide_up(divide_up(total, tiles), TILE_ALIGNMENT) * TILE_ALIGNMENT;
}

static void multiply_tile(void *context, int part, int member)
{
    (void)member;
    const struct product *p = context;
    size_t i = (size_t)part / p->tiles_n * p->tile_m, j = (size_t)part % p->tiles_n * p->tile_n;
    wk_blas_single();
    wk_gemm(p->a_transposed, p->b_transposed, p->c + i * p->c_stride + j, p->c_stride,
            p->a + (p->a_transposed ? i : i * p->a_stride), p->a_stride,
            p->b + (p->b_transposed ? j * p->b_stride : j), p->b_stride,
            p->m - i < p->tile_m ? p->m - i : p->tile_m, p->n - j < p->tile_n ? p->n - j : p->tile_n, p->k,
            p->add);
}

static void multiply(const struct wk_run *run, struct product p)
{
    if (p.m == 0 || p.k == 0)
        return;
    bool tiled = 2.0 * (double)p.m * (double)p.n * (double)p.k >= TILED_LEAST;
    p.tile_m = tiled ? tile_of(p.m, TILE_ROWS) : p.m;
    p.tile_n = tiled ? tile_of(p.n, TILE_COLUMNS) : p.n;
    p.tiles_n = divide_up(p.n, p.tile_n);
    sl_team_run(run->team, (int)(divide_up(p.m, p.tile_m) * p.tiles_n), multiply_tile, &p);
}

void wk_product_forward(const struct wk_run *run, float *y, size_t y_stride, const float *x, size_t x_stride,
        const float *w, size_t rows, size_t out, size_t in)
{
    multiply(run, (struct product){.b_transposed = WK_TRANSPOSED,
                          .c = y,
                          .c_stride = y_stride,
                          .a = x,
                          .a_stride = x_stride,
                          .b = w,
                          .b_stride = in,
                          .m = rows,
                          .n = out,
                          .k = in});
}

void wk_product_input(const struct wk_run *run, float *dx, size_t dx_stride, const float *dy,
        size_t dy_stride, const float *w, size_t rows, size_t out, size_t in, bool add)
{
    multiply(run, (struct product){.add = add,
                          .c = dx,
                          .c_stride = dx_stride,
                          .a = dy,
                          .a_stride = dy_stride,
                          .b = w,
                          .b_stride = in,
                          .m = rows,
                          .n = in,
                          .k = out});
}

void wk_product_weight(const struct wk_run *run, float *dw, const float *dy, size_t dy_stride, const float *x,
        size_t x_stride, size_t rows, size_t out, size_t in)
{
    multiply(run, (struct product){.a_transposed = WK_TRANSPOSED,
                          .add = true,
                          .c = dw,
                          .c_stride = in,
                          .a = dy,
                          .a_stride = dy_stride,
                          .b = x,
                          .b_stride = x_stride,
                          .m = out,
                          .n = in,
                          .k = rows});
}

void wk_linear_forward(const struct wk_run *run, float *y, const float *x, struct wk_linear_at at,
        size_t rows, size_t out, size_t in)
{
    size_t chunk = wk_chunk(out, rows);
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        wk_product_forward(run, y + r * out, out, x + r * in, in, run->params + at.weight, n, out, in);
        run->v->bias(y + r * out, out, run->params + at.bias, n, out);
    }
}

void wk_linear_gradient(const struct wk_run *run, const struct wk_tags *tags, int tag, struct wk_linear_at at,
        const float *dy, size_t dy_stride, const float *x, size_t x_stride, size_t rows, size_t out,
        size_t in)
{
    if (!at.weight_frozen)
        wk_product_weight(
                run, wk_gradient_at(tags, tag, at.weight), dy, dy_stride, x, x_stride, rows, out, in);
    if (!at.bias_frozen)
        run->v->column_sum(wk_gradient_at(tags, tag, at.bias), dy, dy_stride, rows, out);
}

void wk_linear_backward(const struct wk_run *run, const struct wk_tags *tags, float *dx, const float *dy,
        const float *x, struct wk_linear_at at, size_t rows, size_t out, size_t in, bool add)
{
    for (int t = 0; t < tags->count; t++)
        wk_linear_gradient(run, tags, t, at, dy + (size_t)t * rows * out, out, x, in, rows, out, in);
    if (dx != NULL)
        wk_product_input(
                run, dx, in, dy, out, run->params + at.weight, (size_t)tags->count * rows, out, in, add);
}

double wk_linear_flops(struct wk_linear_at at, size_t rows, size_t out, size_t in, int tags, bool input)
{
    double each = 2.0 * (double)rows * (double)out * (double)in;
    return tags == 0 ? each : tags * each * ((at.weight_frozen ? 0.0 : 1.0) + (input ? 1.0 : 0.0));
}
