/* Coefficients from ratios and scores: every form by hand-computed values, its edges, and who is compared with whom. */
#include "common/coefficient.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance))
        fail_msg("got %.17g, expected %.17g", got, wanted);
}

static struct sl_modulation_config base(enum sl_modulation_form form, double alpha)
{
    return (struct sl_modulation_config){.form = form, .alpha = alpha, .beta_max = 3.0, .end = -1};
}

static void test_excess_and_ratio(void **state)
{
    (void)state;
    struct sl_modulation_config excess = base(SL_FORM_EXCESS, 0.5), ratio = base(SL_FORM_RATIO, 0.5);
    expect_near(sl_coefficient(&excess, 1.0), 1.0, 0.0);
    expect_near(sl_coefficient(&excess, 1.0 + 1e-9), 1.0, 1e-9); /* continuous at balance */
    expect_near(sl_coefficient(&ratio, 1.0), 1.0, 0.0);
    expect_near(sl_coefficient(&ratio, 1.0 + 1e-9), 1.0 - tanh(0.5), 1e-9); /* jumps */
    expect_near(sl_coefficient(&excess, 3.0), 1.0 - tanh(1.0), 1e-15);
    expect_near(sl_coefficient(&ratio, 3.0), 1.0 - tanh(1.5), 1e-15);
    expect_near(sl_coefficient(&excess, NAN), 1.0, 0.0);
    excess.dead_zone = 0.1;
    expect_near(sl_coefficient(&excess, exp(0.0999)), 1.0, 0.0);
    assert_true(sl_coefficient(&excess, exp(0.1001)) < 1.0);
    excess.floor = 0.25;
    expect_near(sl_coefficient(&excess, 100.0), 0.25, 0.0);
}

static void test_mlb_slows_the_leader_and_speeds_the_follower(void **state)
{
    (void)state;
    struct sl_modulation_config mlb = base(SL_FORM_MLB, 0.5);
    expect_near(sl_coefficient(&mlb, 1.0), 1.0, 0.0);
    expect_near(sl_coefficient(&mlb, 2.0), 1.0 - tanh(0.25), 1e-15);        /* r = 1/2 */
    expect_near(sl_coefficient(&mlb, 0.5), 1.0 + 2.0 * tanh(0.5), 1e-15);   /* r = 2, beta_max 3 */
    expect_near(sl_coefficient(&mlb, SL_RATIO_MAX), 1.0 - tanh(0.5), 1e-6); /* no lower: bounded in r */
    expect_near(sl_coefficient(&mlb, 0.0), 3.0, 1e-12);
    mlb.alpha = 0.0;
    expect_near(sl_coefficient(&mlb, 0.0), 1.0, 0.0);
    mlb = base(SL_FORM_MLB, 0.5);
    mlb.dead_zone = 0.1;
    expect_near(sl_coefficient(&mlb, exp(-0.0999)), 1.0, 0.0);
    assert_true(sl_coefficient(&mlb, exp(-0.1001)) > 1.0);
    mlb.floor = 0.9;
    expect_near(sl_coefficient(&mlb, 5.0), 0.9, 0.0);
}

static void test_other_forms_do_not_follow_from_ratios(void **state)
{
    (void)state;
    for (enum sl_modulation_form form = SL_FORM_PARETO; form <= SL_FORM_NONE; form++) {
        struct sl_modulation_config config = base(form, 0.5);
        expect_near(sl_coefficient(&config, 3.0), 1.0, 0.0);
    }
}

static void test_ratio(void **state)
{
    (void)state;
    expect_near(sl_coefficient_ratio(3.0, 2.0), 1.5, 0.0);
    expect_near(sl_coefficient_ratio(0.0, 2.0), 0.0, 0.0);
    expect_near(sl_coefficient_ratio(0.0, 0.0), 1.0, 0.0);
    expect_near(sl_coefficient_ratio(1.0, 0.0), SL_RATIO_MAX, 0.0);
    expect_near(sl_coefficient_ratio(1e300, 1e-300), SL_RATIO_MAX, 0.0);
}

static void test_scores(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 0.5);
    const double scores[] = {4.0, 1.0, 3.0};
    expect_near(sl_coefficient_others(&config, scores, 3, 0), 2.0, 0.0);
    expect_near(sl_coefficient_of_scores(&config, scores, 3, 0), 1.0 - tanh(0.5), 1e-15);
    expect_near(sl_coefficient_of_scores(&config, scores, 3, 1), 1.0, 0.0);
    config.unscored[1] = true;
    assert_true(sl_coefficient_compares(&config, 3, 0) && !sl_coefficient_compares(&config, 3, 1));
    expect_near(sl_coefficient_others(&config, scores, 3, 0), 3.0, 0.0);
    expect_near(sl_coefficient_of_scores(&config, scores, 3, 1), 1.0, 0.0);
    config.unscored[2] = true;
    assert_false(sl_coefficient_compares(&config, 3, 0));
    expect_near(sl_coefficient_of_scores(&config, scores, 3, 0), 1.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_excess_and_ratio),
            cmocka_unit_test(test_mlb_slows_the_leader_and_speeds_the_follower),
            cmocka_unit_test(test_other_forms_do_not_follow_from_ratios),
            cmocka_unit_test(test_ratio),
            cmocka_unit_test(test_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
