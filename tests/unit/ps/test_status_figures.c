/* Pace, lead and rates from hand-computed steps. */
#include "ps/status_figures.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>

#define NEAR(a, b) assert_true(fabs((a) - (b)) <= 1e-9 * (1.0 + fabs(b)))

static void test_pace(void **state)
{
    (void)state;
    struct ps_pace pace = {0};
    assert_true(ps_pace_step_seconds(&pace) == 0.0);
    assert_true(ps_pace_samples_per_second(&pace) == 0.0);
    assert_true(ps_pace_eta(&pace, 0, 100, 10) == -1.0); /* nothing is known yet */
    ps_pace_step(&pace, 1000000, 0.5, 40);               /* the first: its own time */
    NEAR(ps_pace_step_seconds(&pace), 0.5);
    ps_pace_step(&pace, 1300000, 0.9, 40); /* steps overlap: the time since the last one counts */
    NEAR(ps_pace_step_seconds(&pace), 0.4);
    NEAR(ps_pace_samples_per_second(&pace), 80.0 / 0.8);
}

static void test_strays_do_not_count(void **state)
{
    (void)state;
    struct ps_pace pace = {0};
    int64_t now_us = 1;
    for (int i = 0; i < 16; i++) {
        now_us += i == 7 ? 60000000 : i == 9 ? 1000 : 100000; /* one step waited for a minute */
        ps_pace_step(&pace, now_us, 0.1, 10);
    }
    NEAR(ps_pace_step_seconds(&pace), 0.1);
    NEAR(ps_pace_samples_per_second(&pace), 100.0);
    for (int i = 0; i < PS_PACE_STEPS; i++) /* the past is forgotten */
        ps_pace_step(&pace, now_us += 200000, 0.1, 10);
    NEAR(ps_pace_samples_per_second(&pace), 50.0);
}

static void test_a_pause_is_no_step(void **state)
{
    (void)state;
    struct ps_pace pace = {0};
    ps_pace_step(&pace, 1000000, 0.25, 8);
    ps_pace_validation(&pace, 30.0);
    ps_pace_step(&pace, 31250000, 0.25, 8); /* not 30.25 */
    NEAR(ps_pace_step_seconds(&pace), 0.25);
    ps_pace_pause(&pace);
    ps_pace_step(&pace, 99000000, 0.0, 8); /* a step of no time is none */
    NEAR(ps_pace_step_seconds(&pace), 0.25);
}

static void test_eta(void **state)
{
    (void)state;
    struct ps_pace pace = {0};
    for (int i = 1; i <= 20; i++)
        ps_pace_step(&pace, i * 500000, 0.5, 8);
    NEAR(ps_pace_eta(&pace, 20, 100, 10), 40.0);
    ps_pace_validation(&pace, 3.0); /* at steps 30, 40, … 100 */
    NEAR(ps_pace_eta(&pace, 20, 100, 10), 40.0 + 8 * 3.0);
    NEAR(ps_pace_eta(&pace, 25, 100, 10), 37.5 + 8 * 3.0);
    NEAR(ps_pace_eta(&pace, 95, 97, 10), 1.0 + 1 * 3.0); /* max_steps ends within an epoch */
    assert_true(ps_pace_eta(&pace, 100, 100, 10) == 0.0);
    assert_true(ps_pace_eta(&pace, 5, 0, 0) == -1.0);
}

static void test_lead(void **state)
{
    (void)state;
    struct ps_lead lead = {0};
    static const double first[] = {0.6, 0.4, 0.1}, second[] = {0.2, 0.4, 0.1}, tie[] = {0.4, 0.1, 0.4},
                        broken[] = {0.1, 0.2, NAN}, third[] = {0.2, 0.4, 0.5};
    assert_int_equal(ps_lead_step(&lead, first, 3), 0); /* the first leader is no change */
    assert_int_equal(ps_lead_step(&lead, first, 3), 0);
    assert_int_equal(ps_lead_step(&lead, second, 3), 1);
    assert_int_equal(ps_lead_step(&lead, tie, 3), 1); /* nobody leads: the one before still does */
    assert_int_equal(ps_lead_step(&lead, broken, 3), 1);
    assert_int_equal(ps_lead_step(&lead, second, 3), 1);
    assert_int_equal(ps_lead_step(&lead, third, 3), 2);
    assert_int_equal(ps_lead_step(&lead, first, 3), 3);
}

static void test_rate(void **state)
{
    (void)state;
    struct ps_rate rate = {0};
    assert_true(ps_rate_reading(&rate, 1000000, 500) == -1.0);
    NEAR(ps_rate_reading(&rate, 3000000, 4500), 2000.0);
    NEAR(ps_rate_reading(&rate, 4000000, 100), 2000.0); /* somebody left */
    NEAR(ps_rate_reading(&rate, 5000000, 600), 500.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pace),
            cmocka_unit_test(test_strays_do_not_count), cmocka_unit_test(test_a_pause_is_no_step),
            cmocka_unit_test(test_eta), cmocka_unit_test(test_lead), cmocka_unit_test(test_rate)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
