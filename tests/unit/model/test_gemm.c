/* Products of every shape that takes another way through sgemm: against sums in double, with gaps between rows; a part of a product, a repeated one and one without memory for
 * packing have the same bits. */
#include "tests/unit/model/numbers.h"

#include "common/memory.h"
#include "worker/model/blas.h"
#include "worker/model/gemm.h"
#include "worker/model/vector.h"

#include <pthread.h>
#include <string.h>

struct shape {
    size_t m, n, k, gap; /* gap: floats between the rows of each matrix */
};

static const struct shape shapes[] = {
        {1, 1, 1, 0}, {1, 16, 1, 1}, {5, 17, 3, 2}, {11, 31, 16, 0}, {12, 32, 17, 5}, {13, 33, 33, 1},
        {24, 64, 65, 0}, {65, 65, 64, 7}, {37, 100, 512, 0}, {26, 97, 513, 3},
        {14, 40, 1030, 1},                                        /* two and three runs over k */
        {25, 800, 40, 0}, {13, 1540, 30, 4},                      /* two and three parts of columns */
        {30, 512, 512, 0}, {30, 130, 1024, 0}, {1024, 96, 70, 0}, /* rows that meet in few sets of a cache */
        {40, 700, 300, 0},                                        /* more than a cache holds */
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* The matrices of a product, as stored. */
struct matrices {
    bool a_transposed, b_transposed;
    size_t m, n, k, a_stride, b_stride, c_stride;
    float *a, *b, *c;
};

static float *numbers(size_t count, uint64_t seed)
{
    float *x = sl_alloc(count, sizeof(*x));
    assert_non_null(x);
    fill(x, count, seed, 1.0F);
    return x;
}

static size_t c_count(const struct matrices *x)
{
    return x->m * x->c_stride;
}

static void make(struct matrices *x, struct shape shape, bool a_transposed, bool b_transposed)
{
    *x = (struct matrices){.a_transposed = a_transposed,
            .b_transposed = b_transposed,
            .m = shape.m,
            .n = shape.n,
            .k = shape.k,
            .a_stride = (a_transposed ? shape.m : shape.k) + shape.gap,
            .b_stride = (b_transposed ? shape.k : shape.n) + shape.gap,
            .c_stride = shape.n + shape.gap};
    x->a = numbers((a_transposed ? shape.k : shape.m) * x->a_stride, 1);
    x->b = numbers((b_transposed ? shape.n : shape.k) * x->b_stride, 2);
    x->c = numbers(c_count(x), 3);
}

static void drop(struct matrices *x)
{
    sl_free(x->a);
    sl_free(x->b);
    sl_free(x->c);
}

/* Rows [i, i + m) and columns [j, j + n) of the product. */
static void multiply(const struct matrices *x, size_t i, size_t m, size_t j, size_t n, bool add)
{
    wk_gemm(x->a_transposed, x->b_transposed, x->c + i * x->c_stride + j, x->c_stride,
            x->a + (x->a_transposed ? i : i * x->a_stride), x->a_stride,
            x->b + (x->b_transposed ? j * x->b_stride : j), x->b_stride, m, n, x->k, add);
}

static double element(const struct matrices *x, size_t i, size_t j)
{
    double sum = 0.0;
    for (size_t k = 0; k < x->k; k++)
        sum += (double)x->a[x->a_transposed ? k * x->a_stride + i : i * x->a_stride + k] *
               (double)x->b[x->b_transposed ? j * x->b_stride + k : k * x->b_stride + j];
    return sum;
}

static void check(const struct matrices *x, const float *before, bool add)
{
    double bound = 1e-6 * (double)(x->k < 4 ? 4 : x->k); /* of sums of k products below 1, in float */
    for (size_t i = 0; i < x->m; i++) {
        for (size_t j = 0; j < x->c_stride; j++) {
            float got = x->c[i * x->c_stride + j], was = before[i * x->c_stride + j];
            if (j >= x->n)
                assert_true(got == was); /* what lies between rows stays as it was */
            else if (!(fabs((double)got - element(x, i, j) - (add ? (double)was : 0.0)) <= bound))
                fail_msg("%zu x %zu x %zu %c%c%s: row %zu, column %zu: %g", x->m, x->n, x->k,
                        x->a_transposed ? 'T' : 'N', x->b_transposed ? 'T' : 'N', add ? " +=" : "", i, j,
                        (double)got);
        }
    }
}

static void for_each(void (*check_one)(struct matrices *x, bool add))
{
    wk_blas_single();
    for (size_t s = 0; s < SHAPES; s++) {
        for (int way = 0; way < 8; way++) {
            struct matrices x;
            make(&x, shapes[s], (way & 1) != 0, (way & 2) != 0);
            check_one(&x, (way & 4) != 0);
            drop(&x);
        }
    }
}

static void check_value(struct matrices *x, bool add)
{
    float *before = numbers(c_count(x), 3);
    multiply(x, 0, x->m, 0, x->n, add);
    check(x, before, add);
    sl_free(before);
}

static void test_values(void **state)
{
    (void)state;
    for_each(check_value);
}

/* Cut by rows and by columns, a product has the bits of the whole: of the house's own sgemm alone, for OpenBLAS does not promise it. */
static void check_parts(struct matrices *x, bool add)
{
    if (wk_vector()->sgemm == NULL || x->n < 32)
        return;
    float *before = numbers(c_count(x), 3), *whole = x->c;
    size_t upper = x->m / 3, left = x->n / 2;
    multiply(x, 0, x->m, 0, x->n, add);
    x->c = before;
    for (int part = 0; part < 4; part++) {
        size_t i = part < 2 ? 0 : upper, j = part % 2 == 0 ? 0 : left;
        size_t m = part < 2 ? upper : x->m - upper, n = part % 2 == 0 ? left : x->n - left;
        if (m > 0)
            multiply(x, i, m, j, n, add);
    }
    assert_memory_equal(before, whole, c_count(x) * sizeof(float));
    sl_free(whole);
}

static void test_parts(void **state)
{
    (void)state;
    for_each(check_parts);
}

static void *multiply_all(void *context)
{
    multiply(context, 0, ((struct matrices *)context)->m, 0, ((struct matrices *)context)->n, false);
    return NULL;
}

/* A thread that gets no memory for packed panels borrows what is there for that. */
static void test_no_memory(void **state)
{
    (void)state;
    struct matrices x;
    make(&x, (struct shape){65, 65, 64, 0}, false, true);
    float *borrowed = numbers(c_count(&x), 3), *own = x.c;
    multiply_all(&x);
    x.c = borrowed;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, multiply_all, &x), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_memory_equal(borrowed, own, c_count(&x) * sizeof(float));
    fill(borrowed, c_count(&x), 3, 1.0F);
    sl_memory_fail_after(1);
    assert_int_equal(pthread_create(&thread, NULL, multiply_all, &x), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sl_memory_fail_after(0);
    assert_memory_equal(borrowed, own, c_count(&x) * sizeof(float));
    sl_free(own);
    drop(&x);
}

/* Not a number and infinity come out wherever they went in, and nowhere else. */
static void test_not_finite(void **state)
{
    (void)state;
    struct matrices x;
    make(&x, (struct shape){13, 33, 20, 0}, false, false);
    x.a[5 * x.a_stride + 19] = NAN;
    x.b[0 * x.b_stride + 32] = INFINITY;
    multiply(&x, 0, x.m, 0, x.n, false);
    for (size_t i = 0; i < x.m; i++)
        for (size_t j = 0; j < x.n; j++)
            assert_int_equal(!isfinite(x.c[i * x.c_stride + j]), i == 5 || j == 32);
    drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_values),
            cmocka_unit_test(test_parts),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
