#pragma once
/* What the model's tests share: random arrays, comparisons that print both values, and central differences of
 * the plain twins. */
#include "common/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Numbers in [-scale, scale) that depend on the seed alone. */
static inline void fill(float *x, size_t n, uint64_t seed, float scale)
{
    struct sl_random stream = sl_random_make(seed, SL_RANDOM_TEST, 0, 0);
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (2.0F * sl_random_float(&stream, i) - 1.0F);
}

static inline void widen(double *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = (double)x[i];
}

/* |got − expected| ≤ absolute + relative |expected| for each element; NaN fails. */
static inline void expect_near(const char *what, const float *got, const double *expected, size_t n,
        double absolute, double relative)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - expected[i]) <= absolute + relative * fabs(expected[i])))
            fail_msg("%s[%zu]: %.9g, expected %.9g", what, i, (double)got[i], expected[i]);
}

/* A function of x that is summed up with fixed weights to a number. */
typedef double (*scalar_function)(const double *x, void *context);

/* Holds gradient against (f(x + h) − f(x − h)) / 2 h in each of the n directions. */
static inline void expect_gradient(
        const char *what, scalar_function f, void *context, double *x, const double *gradient, size_t n)
{
    const double h = 1e-5;
    for (size_t i = 0; i < n; i++) {
        double at = x[i];
        x[i] = at + h;
        double up = f(x, context);
        x[i] = at - h;
        double down = f(x, context);
        x[i] = at;
        double difference = (up - down) / (2.0 * h);
        if (!(fabs(difference - gradient[i]) <= 1e-7 + 1e-6 * fabs(difference)))
            fail_msg("%s[%zu]: gradient %.12g, central difference %.12g", what, i, gradient[i], difference);
    }
}

static inline double dot(const double *a, const double *b, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}
