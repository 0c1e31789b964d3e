/* Learning rates at the corners of every schedule. */
#include "ps/schedule.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>

static void expect_rate(const struct ps_schedule *schedule, int64_t step, double wanted)
{
    double got = ps_schedule_rate(schedule, step);
    if (!(fabs(got - wanted) <= 1e-15))
        fail_msg("step %lld: got %.17g, expected %.17g", (long long)step, got, wanted);
}

static void test_warmup(void **state)
{
    (void)state;
    struct ps_schedule schedule = {
            .kind = SL_SCHEDULE_CONSTANT, .lr = 1.0, .warmup_steps = 3, .total_steps = 10};
    const double wanted[] = {0.25, 0.5, 0.75, 1.0, 1.0, 1.0};
    for (int step = 0; step < 6; step++)
        expect_rate(&schedule, step, wanted[step]);
    expect_rate(&schedule, 1000000, 1.0);
}

static void test_shapes(void **state)
{
    (void)state;
    struct ps_schedule linear = {SL_SCHEDULE_LINEAR, 2.0, 0.1, 2, 13},
                       cosine = {SL_SCHEDULE_COSINE, 2.0, 0.1, 2, 13};
    expect_rate(&linear, 2, 2.0);
    expect_rate(&linear, 7, 2.0 * 0.55);
    expect_rate(&linear, 12, 0.2);
    expect_rate(&linear, 50, 0.2);
    expect_rate(&cosine, 2, 2.0);
    expect_rate(&cosine, 7, 2.0 * 0.55);
    expect_rate(&cosine, 12, 0.2);
    expect_rate(&cosine, 50, 0.2);
    for (int64_t step = 3; step < 13; step++)
        assert_true(ps_schedule_rate(&cosine, step) < ps_schedule_rate(&cosine, step - 1));
}

static void test_corners(void **state)
{
    (void)state;
    struct ps_schedule unknown = {SL_SCHEDULE_COSINE, 2.0, 0.0, 0, 0};
    expect_rate(&unknown, 0, 2.0);
    expect_rate(&unknown, 99, 2.0);
    struct ps_schedule single = {SL_SCHEDULE_LINEAR, 2.0, 0.5, 0, 1};
    expect_rate(&single, 0, 2.0);
    expect_rate(&single, 1, 1.0);
    struct ps_schedule all_warmup = {SL_SCHEDULE_LINEAR, 2.0, 0.5, 9, 4};
    expect_rate(&all_warmup, 3, 0.8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_warmup),
            cmocka_unit_test(test_shapes),
            cmocka_unit_test(test_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
