/* Resized grids against the numbers of torch.nn.functional.interpolate(x, size=(to, to), mode="bicubic",
 * align_corners=False) of PyTorch 1.13 in float64, for the pattern of source() laid out as (side, side, dim). */
#include "ps/bicubic.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>

#define TOLERANCE 1e-6

static void fill_source(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)((i * 37 + 11) % 101) / 101.0 - 0.5);
}

static void expect_near(double got, double wanted, double tolerance, const char *what, size_t index)
{
    if (!(fabs(got - wanted) <= tolerance))
        fail_msg("%s[%zu]: %.9g, expected %.9g", what, index, got, wanted);
}

static const double from_4_to_2[] = {0.09619624, -0.01064550, -0.09093634, -0.06887183};
static const double from_3_to_5[] = {-0.43576238, -0.28483168, -0.03425743, 0.21631683, 0.36724752,
        -0.39497030, -0.24922360, 0.00653465, 0.30117291, 0.48695160, -0.32724752, -0.17631683, 0.07425743,
        0.32483168, 0.47576238, -0.25952475, -0.06453006, 0.14198020, 0.01801046, -0.12726685, -0.21873267,
        0.01111002, 0.18277228, -0.23740547, -0.61693877};

static void expect_grid(const double *wanted, int to_side, int from_side, const char *what)
{
    float from[16], to[25];
    fill_source(from, (size_t)from_side * (size_t)from_side);
    ps_bicubic_resize(to, to_side, from, from_side, 1);
    for (size_t i = 0; i < (size_t)to_side * (size_t)to_side; i++)
        expect_near((double)to[i], wanted[i], TOLERANCE, what, i);
}

static void test_small_grids(void **state)
{
    (void)state;
    expect_grid(from_4_to_2, 2, 4, "4 to 2");
    expect_grid(from_3_to_5, 5, 3, "3 to 5");
}

static void test_one_cell_and_the_same_size(void **state)
{
    (void)state;
    float from[50], to[50];
    fill_source(from, 50);
    ps_bicubic_resize(to, 5, from, 5, 2);
    for (size_t i = 0; i < 50; i++)
        expect_near((double)to[i], (double)from[i], 0.0, "5 to 5", i);
    ps_bicubic_resize(to, 3, from, 1, 1);
    for (size_t i = 0; i < 9; i++)
        expect_near((double)to[i], (double)from[0], 1e-7, "1 to 3", i);
}

/* A few cells and two sums over all of them, which no misplaced or swapped cell leaves as they are. */
struct large {
    int to_side;
    struct {
        size_t index;
        double value;
    } cells[6];
    double magnitude, moment; /* sum of |x|, sum of index x */
};

static const struct large larges[] = {
        {24,
                {{0, -0.43859850}, {1, -0.07226186}, {2, 0.39200229}, {576, -0.12841707}, {864, 0.30109227},
                        {1727, -0.40190328}},
                361.5528038646754, -8369.049025053188},
        {4,
                {{0, 0.21394847}, {1, 0.17873481}, {2, -0.0756561}, {16, 0.45636349}, {24, -0.10165118},
                        {47, 0.06575511}},
                9.484376057539837, 29.924960750164356},
};

static void test_patches_of_real_images(void **state)
{
    (void)state;
    float from[14 * 14 * 3], to[24 * 24 * 3];
    fill_source(from, sizeof(from) / sizeof(from[0]));
    for (size_t t = 0; t < sizeof(larges) / sizeof(larges[0]); t++) {
        const struct large *large = &larges[t];
        size_t n = (size_t)large->to_side * (size_t)large->to_side * 3;
        double magnitude = 0.0, moment = 0.0;
        ps_bicubic_resize(to, large->to_side, from, 14, 3);
        for (size_t i = 0; i < n; i++) {
            magnitude += fabs((double)to[i]);
            moment += (double)i * (double)to[i];
        }
        for (size_t i = 0; i < 6; i++)
            expect_near((double)to[large->cells[i].index], large->cells[i].value, TOLERANCE,
                    "14 to more or less", i);
        expect_near(magnitude, large->magnitude, 1e-4, "magnitude", t);
        expect_near(moment, large->moment, 1e-2, "moment", t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_small_grids),
            cmocka_unit_test(test_one_cell_and_the_same_size),
            cmocka_unit_test(test_patches_of_real_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
