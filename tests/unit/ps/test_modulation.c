/* Ratios and coefficients against hand-computed values, the two golden sets' numbers among them. */
#include "ps/modulation.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>

static struct sl_error err;

static void expect_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance))
        fail_msg("got %.17g, expected %.17g", got, wanted);
}

static struct sl_modulation_config base(enum sl_modulation_form form, double alpha)
{
    return (struct sl_modulation_config){.form = form, .alpha = alpha, .end = -1};
}

/* one step on a fresh state */
static void once(
        const struct sl_modulation_config *config, const double *scores, int count, double *ratios, double *k)
{
    struct ps_modulation state = {0};
    assert_int_equal(ps_modulation_step(&state, config, 0, scores, count, ratios, k, &err), SL_OK);
}

static void test_golden_numbers(void **state)
{
    (void)state;
    double ratios[3], k[3];
    struct sl_modulation_config config = base(SL_FORM_RATIO, 0.5);
    const double two[] = {1.5294763465477426, 0.6363376259829248};
    once(&config, two, 2, ratios, k);
    expect_near(ratios[0], 2.403561072135602, 1e-14);
    expect_near(ratios[1], 0.41604934095204166, 1e-14);
    expect_near(k[0], 0.16580309941088367, 1e-14);
    expect_near(k[1], 1.0, 0.0);
    config = base(SL_FORM_EXCESS, 0.3);
    const double three[] = {2.971260815543334, 2.5139467861684635, 2.5896553190600002};
    once(&config, three, 3, ratios, k);
    expect_near(ratios[0], 1.1643779253478168, 1e-14);
    expect_near(ratios[1], 0.9041484263807499, 1e-14);
    expect_near(ratios[2], 0.9442323817431569, 1e-14);
    expect_near(k[0], 1.0 - tanh(0.3 * 0.1643779253478168), 1e-14);
    expect_near(k[1], 1.0, 0.0);
    expect_near(k[2], 1.0, 0.0);
}

static void test_window(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 1.0);
    config.start = 2;
    config.end = 4;
    struct ps_modulation modulation = {0};
    const double scores[] = {2.0, 1.0};
    for (int64_t step = 0; step < 6; step++) {
        double ratios[2], k[2];
        assert_int_equal(ps_modulation_step(&modulation, &config, step, scores, 2, ratios, k, &err), SL_OK);
        expect_near(ratios[0], 2.0, 1e-15); /* known outside the window, too */
        expect_near(k[0], step == 2 || step == 3 ? 1.0 - tanh(1.0) : 1.0, 1e-15);
    }
    assert_int_equal(modulation.count, 6);
}

static void test_mean_of_scores_not_of_ratios(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 1.0);
    config.statistics = SL_STATISTICS_MEAN;
    config.decay = 0.5;
    struct ps_modulation modulation = {0};
    double ratios[2], k[2];
    const double first[] = {1.0, 1.0}, second[] = {3.0, 1.0};
    assert_int_equal(ps_modulation_step(&modulation, &config, 0, first, 2, ratios, k, &err), SL_OK);
    expect_near(ratios[0], 1.0, 0.0); /* the first step is not biased by the start at 0 */
    assert_int_equal(ps_modulation_step(&modulation, &config, 1, second, 2, ratios, k, &err), SL_OK);
    /* numerator 0.25 * 1 + 0.5 * 3, denominator 0.25 + 0.5 */
    expect_near(ratios[0], 1.75 / 0.75, 1e-15);
    expect_near(ratios[1], 0.75 / 1.75, 1e-15);
    expect_near(k[0], 1.0 - tanh(1.75 / 0.75 - 1.0), 1e-15);
}

static void test_nothing_scores(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 0.5);
    double ratios[3], k[3];
    const double one[] = {2.0, 0.0, 0.0}, zero[] = {0.0, 0.0, 0.0};
    once(&config, one, 3, ratios, k);
    expect_near(ratios[0], SL_RATIO_MAX, 0.0);
    expect_near(k[0], 0.0, 0.0);
    expect_near(ratios[1], 0.0, 0.0);
    once(&config, zero, 3, ratios, k);
    for (int m = 0; m < 3; m++) {
        expect_near(ratios[m], 1.0, 0.0);
        expect_near(k[m], 1.0, 0.0);
    }
}

static void test_not_finite_is_refused(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 0.5);
    const double bad[] = {NAN, INFINITY, -1.0};
    for (int i = 0; i < 3; i++) {
        struct ps_modulation modulation = {.count = 3, .numerator = {1.0, 2.0}, .denominator = {2.0, 1.0}},
                             before = modulation;
        double scores[] = {1.0, bad[i]}, ratios[2] = {7.0, 7.0}, k[2] = {7.0, 7.0};
        assert_int_equal(
                ps_modulation_step(&modulation, &config, 12, scores, 2, ratios, k, &err), SL_DIVERGED);
        assert_non_null(strstr(err.text, "step 12"));
        assert_memory_equal(&modulation, &before, sizeof(before));
        expect_near(k[0] + ratios[1], 14.0, 0.0);
    }
}

/* A head that learns nothing says nothing: its modality is left out of all ratios. */
static void test_unscored_modalities_are_left_out(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 0.5);
    double ratios[3], k[3];
    const double scores[] = {3.0, 1.0, 0.5};
    config.unscored[2] = true;
    once(&config, scores, 3, ratios, k);
    expect_near(ratios[0], 3.0, 0.0);
    expect_near(ratios[1], 1.0 / 3.0, 1e-15);
    expect_near(ratios[2], 1.0, 0.0);
    expect_near(k[0], 1.0 - tanh(1.0), 1e-15);
    expect_near(k[2], 1.0, 0.0);
    config.unscored[1] = true; /* nobody is left to compare with */
    once(&config, scores, 3, ratios, k);
    for (int m = 0; m < 3; m++) {
        expect_near(ratios[m], 1.0, 0.0);
        expect_near(k[m], 1.0, 0.0);
    }
}

/* What is known of a step before its scores. */
static void test_before_the_scores(void **state)
{
    (void)state;
    struct sl_modulation_config config = base(SL_FORM_EXCESS, 0.5), none = base(SL_FORM_NONE, 0.5);
    config.decay = 0.9;
    config.start = 1;
    config.end = 3;
    assert_true(ps_modulation_foregone(&none, 0) && ps_modulation_foregone(&config, 0));
    assert_false(ps_modulation_foregone(&config, 1) || ps_modulation_foregone(&config, 2));
    assert_true(ps_modulation_foregone(&config, 3));
    struct ps_modulation state_of = {0};
    double k[2], ratios[2];
    const double scores[] = {2.0, 1.0};
    ps_modulation_expect(&state_of, &config, 1, 2, k);
    expect_near(k[0], 1.0, 0.0); /* nothing is known yet */
    assert_int_equal(ps_modulation_step(&state_of, &config, 0, scores, 2, ratios, k, &err), SL_OK);
    ps_modulation_expect(&state_of, &config, 1, 2, k);
    expect_near(k[0], 1.0 - tanh(0.5), 1e-15);
    expect_near(k[1], 1.0, 0.0);
    ps_modulation_expect(&state_of, &config, 3, 2, k);
    expect_near(k[0], 1.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_golden_numbers),
            cmocka_unit_test(test_window),
            cmocka_unit_test(test_before_the_scores),
            cmocka_unit_test(test_mean_of_scores_not_of_ratios),
            cmocka_unit_test(test_nothing_scores),
            cmocka_unit_test(test_not_finite_is_refused),
            cmocka_unit_test(test_unscored_modalities_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
