/* A product is cut into runs over k, a run into panels of 12 rows by 32 columns, which fill 24 of the 32 vector registers with sums: see sgemm.h. simd.cmake gives this
 * file alone the flags. */
#if defined(__x86_64__)
#include "worker/model/sgemm.h"

#include <immintrin.h>

#define LANES 16
#define ROWS 12      /* of a panel */
#define COLUMNS 32   /* of a panel: two vectors */
#define ROWS_APART 3 /* rows that one pointer reaches by scaled offsets */

/* Rows so many floats apart, or a multiple of it, meet in few sets of a cache, where more than so many of them push each other out. */
#define ALIASING_FLOATS 512
#define DIRECT_DEPTH 64
/* 768 KiB: more of the right matrix does not stay in a level 2 cache while the left one is read across its rows. */
#define CACHED_FLOATS 196608
/* Fewer columns do not repay packing the left matrix. */
#define PACK_LEAST_COLUMNS 96

/* ---- panels ---- */

/* What one panel multiplies, over one run. */
struct panel {
    float *c;
    const float *a, *b;
    size_t c_stride, a_stride, b_stride; /* b_stride: between rows of b */
    size_t a_step; /* from one k to the next where the rows of a panel follow each other */
    size_t k;
    __mmask16 low, high; /* columns of the first and the second vector that there are */
    bool add;
};

/* c (rows, 16 vectors) of one run. A compile-time rows and vectors keep all sums in registers. unit: the numbers of a panel's rows follow each other, for one k. */
static inline __attribute__((always_inline)) void multiply_panel(
        const struct panel *p, const int rows, const int vectors, const bool unit)
{
    __m512 sum[ROWS][2];
    const float *a[ROWS / ROWS_APART], *b = p->b;
    const size_t a_stride = p->a_stride;
    for (int g = 0; g < ROWS / ROWS_APART; g++)
        a[g] = p->a + (g * ROWS_APART < rows && !unit ? (size_t)(g * ROWS_APART) * a_stride : 0);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        sum[i][0] = sum[i][1] = _mm512_setzero_ps();
        __builtin_prefetch(p->c + (size_t)i * p->c_stride, 1);
        __builtin_prefetch(p->c + (size_t)i * p->c_stride + (vectors - 1) * LANES, 1);
    }
    for (size_t k = 0; k < p->k; k++, b += p->b_stride) {
        __m512 low = vectors == 1 ? _mm512_maskz_loadu_ps(p->low, b) : _mm512_loadu_ps(b);
        __m512 high = vectors == 1 ? low : _mm512_maskz_loadu_ps(p->high, b + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            __m512 x =
                    _mm512_set1_ps(unit ? a[0][i] : a[i / ROWS_APART][(size_t)(i % ROWS_APART) * a_stride]);
            sum[i][0] = _mm512_fmadd_ps(x, low, sum[i][0]);
            if (vectors > 1)
                sum[i][1] = _mm512_fmadd_ps(x, high, sum[i][1]);
        }
        /* the last number of the panel below, whose other numbers lie in the line that was just read: no prefetcher of the CPU's follows steps as wide as a row */
        if (unit)
            _mm_prefetch(a[0] + 2 * ROWS - 1, _MM_HINT_T1);
        for (int g = 0; g < (unit ? 1 : ROWS / ROWS_APART); g++)
            a[g] += unit ? p->a_step : 1;
    }
    __mmask16 low_mask = vectors > 1 ? (__mmask16)0xffff : p->low;
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        float *c = p->c + (size_t)i * p->c_stride;
        if (p->add)
            sum[i][0] = _mm512_add_ps(_mm512_maskz_loadu_ps(low_mask, c), sum[i][0]);
        if (p->add && vectors > 1)
            sum[i][1] = _mm512_add_ps(_mm512_maskz_loadu_ps(p->high, c + LANES), sum[i][1]);
        _mm512_mask_storeu_ps(c, low_mask, sum[i][0]);
        if (vectors > 1)
            _mm512_mask_storeu_ps(c + LANES, p->high, sum[i][1]);
    }
}

typedef void panel_kernel(const struct panel *panel);

#define DEFINE_KERNELS(rows)                                                                                 \
    static void strided_##rows##_1(const struct panel *panel)                                                \
    {                                                                                                        \
        multiply_panel(panel, rows, 1, false);                                                               \
    }                                                                                                        \
    static void strided_##rows##_2(const struct panel *panel)                                                \
    {                                                                                                        \
        multiply_panel(panel, rows, 2, false);                                                               \
    }                                                                                                        \
    static void unit_##rows##_1(const struct panel *panel)                                                   \
    {                                                                                                        \
        multiply_panel(panel, rows, 1, true);                                                                \
    }                                                                                                        \
    static void unit_##rows##_2(const struct panel *panel)                                                   \
    {                                                                                                        \
        multiply_panel(panel, rows, 2, true);                                                                \
    }
#define KERNELS(rows)                                                                                        \
    {                                                                                                        \
        {strided_##rows##_1, strided_##rows##_2},                                                            \
        {                                                                                                    \
            unit_##rows##_1, unit_##rows##_2                                                                 \
        }                                                                                                    \
    }

/* clang-format off */
DEFINE_KERNELS(1) DEFINE_KERNELS(2) DEFINE_KERNELS(3) DEFINE_KERNELS(4) DEFINE_KERNELS(5) DEFINE_KERNELS(6)
DEFINE_KERNELS(7) DEFINE_KERNELS(8) DEFINE_KERNELS(9) DEFINE_KERNELS(10) DEFINE_KERNELS(11) DEFINE_KERNELS(12)
        /* clang-format on */

        /* [rows - 1][unit][vectors - 1] */
        static panel_kernel *const kernels[ROWS][2][2] = {KERNELS(1), KERNELS(2), KERNELS(3), KERNELS(4),
                KERNELS(5), KERNELS(6), KERNELS(7), KERNELS(8), KERNELS(9), KERNELS(10), KERNELS(11),
                KERNELS(12)};

/* ---- packing ---- */

static __mmask16 first(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xffffU : (1U << n) - 1U);
}

/* The columns of the second vector, of n. */
static __mmask16 first_of_high(size_t n)
{
    return n > LANES ? first(n - LANES) : 0;
}

static inline __attribute__((always_inline)) void transpose(__m512 r[LANES])
{
    __m512 t[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 1]),
                c = _mm512_castps_pd(t[4 * i + 2]), d = _mm512_castps_pd(t[4 * i + 3]);
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

/* A whole tile: no lane is masked, so that it stays in registers. */
static inline __attribute__((always_inline)) void pack_tile(
        float *packed, size_t width, const float *x, size_t stride)
{
    __m512 r[LANES];
#pragma GCC unroll 16
    for (size_t c = 0; c < LANES; c++)
        r[c] = _mm512_loadu_ps(x + c * stride);
    transpose(r);
#pragma GCC unroll 16
    for (size_t c = 0; c < LANES; c++)
        _mm512_storeu_ps(packed + c * width, r[c]);
}

/* packed (k, width) from the transposed of rows (n, k) that lie stride apart, n <= width; zero past n. */
static void pack_transposed(float *packed, size_t width, const float *x, size_t stride, size_t n, size_t k)
{
    for (size_t j = 0; j < width; j += LANES) {
        size_t present = n > j ? n - j : 0, i = 0;
        __mmask16 columns = first(width - j);
        for (; present >= LANES && i + LANES <= k; i += LANES)
            pack_tile(packed + i * width + j, width, x + j * stride + i, stride);
        for (; i < k; i += LANES) {
            size_t deep = k - i < LANES ? k - i : LANES;
            __m512 r[LANES];
            for (size_t c = 0; c < LANES; c++)
                r[c] = c < present ? _mm512_maskz_loadu_ps(first(deep), x + (j + c) * stride + i)
                                   : _mm512_setzero_ps();
            transpose(r);
            for (size_t c = 0; c < deep; c++)
                _mm512_mask_storeu_ps(packed + (i + c) * width + j, columns, r[c]);
        }
    }
}

/* packed (k, COLUMNS) from x (k, n), n <= COLUMNS; zero past n. */
static void pack_plain(float *packed, const float *x, size_t stride, size_t n, size_t k)
{
    __mmask16 low = first(n), high = first_of_high(n);
    for (size_t i = 0; i < k; i++, x += stride, packed += COLUMNS) {
        _mm512_storeu_ps(packed, _mm512_maskz_loadu_ps(low, x));
        _mm512_storeu_ps(packed + LANES, _mm512_maskz_loadu_ps(high, x + LANES));
    }
}

/* ---- products ---- */

struct product {
    bool a_transposed, b_transposed;
    float *c;
    const float *a, *b;
    size_t c_stride, a_stride, b_stride, m;
    bool pack_a, pack_b;
    float *pack;
};

static size_t even_part(size_t total, size_t most, size_t multiple)
{
    size_t parts = (total + most - 1) / most, part = (total + parts - 1) / parts;
    return (part + multiple - 1) / multiple * multiple;
}

static size_t least(size_t x, size_t y)
{
    return x < y ? x : y;
}

/* One run over k, [from, from + k), of columns [left, left + n). */
static void multiply_run(const struct product *x, size_t left, size_t n, size_t from, size_t k, bool add)
{
    float rows[ROWS * WK_SGEMM_DEPTH];
    struct panel p = {.c_stride = x->c_stride,
            .a_stride = x->a_stride,
            .b_stride = x->pack_b ? COLUMNS : x->b_stride,
            .a_step = x->pack_a ? ROWS : x->a_stride,
            .k = k,
            .add = add};
    for (size_t j = 0; x->pack_b && j < n; j += COLUMNS) {
        if (x->b_transposed)
            pack_transposed(x->pack + j * k, COLUMNS, x->b + (left + j) * x->b_stride + from, x->b_stride,
                    least(n - j, COLUMNS), k);
        else
            pack_plain(x->pack + j * k, x->b + from * x->b_stride + left + j, x->b_stride,
                    least(n - j, COLUMNS), k);
    }
    for (size_t i = 0; i < x->m; i += ROWS) {
        size_t height = least(x->m - i, ROWS);
        p.a = x->a_transposed ? x->a + from * x->a_stride + i : x->a + i * x->a_stride + from;
        if (x->pack_a) {
            pack_transposed(rows, ROWS, p.a, x->a_stride, height, k);
            p.a = rows;
        }
        for (size_t j = 0; j < n; j += COLUMNS) {
            size_t width = least(n - j, COLUMNS);
            p.low = first(width);
            p.high = first_of_high(width);
            p.b = x->pack_b ? x->pack + j * k : x->b + from * x->b_stride + left + j;
            p.c = x->c + i * x->c_stride + left + j;
            kernels[height - 1][x->a_transposed || x->pack_a][width > LANES](&p);
        }
    }
}

void wk_sgemm_avx512(bool a_transposed, bool b_transposed, float *c, size_t c_stride, const float *a,
        size_t a_stride, const float *b, size_t b_stride, size_t m, size_t n, size_t k, bool add, float *pack)
{
    struct product x = {.a_transposed = a_transposed,
            .b_transposed = b_transposed,
            .c = c,
            .a = a,
            .b = b,
            .c_stride = c_stride,
            .a_stride = a_stride,
            .b_stride = b_stride,
            .m = m,
            .pack_a = !a_transposed && a_stride % ALIASING_FLOATS == 0 && n >= PACK_LEAST_COLUMNS && m > ROWS,
            .pack = pack};
    size_t depth = even_part(k, WK_SGEMM_DEPTH, 1), columns = even_part(n, WK_SGEMM_WIDTH, COLUMNS);
    x.pack_b = b_transposed || (a_transposed && depth * columns > CACHED_FLOATS) ||
               (b_stride % ALIASING_FLOATS == 0 && depth > DIRECT_DEPTH);
    for (size_t left = 0; left < n; left += columns)
        for (size_t from = 0; from < k; from += depth)
            multiply_run(&x, left, least(n - left, columns), from, least(k - from, depth), add || from > 0);
}
#else
extern int wk_sgemm_avx512_unused; /* a file may not be empty */
#endif
