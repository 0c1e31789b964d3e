/* What a commit does to each extractor: factors by scale and form, the window, and files of coefficients with everything that can be wrong with them. (Numbers of pareto: golden_forms.) */
#include "common/npy.h"
#include "ps/replay.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static struct sl_error err;

static struct sl_commit factors(
        const struct sl_modulation_config *config, int64_t step, double first, double *ret_recorded)
{
    static const struct ps_angle angles[2] = {{-0.5, 1.0, 1.0}, {0.5, 1.0, 1.0}};
    static double rows[] = {0.5, 1.0, 0.25, 2.0};
    const struct ps_replay replay = {rows, 2};
    struct sl_commit commit = {0};
    double k[2] = {first, 1.0};
    ps_balance_factors(config, step, 2, angles, &replay, k, &commit);
    *ret_recorded = k[0];
    for (int m = 2; m < SL_MODALITIES_MAX; m++)
        assert_true(commit.coefficient[m] == 1.0 && commit.fused[m] == 1.0 && commit.update[m] == 1.0);
    return commit;
}

static void expect_factors(const struct sl_commit *c, double unimodal, double fused, double update)
{
    if (!(fabs(c->coefficient[0] - unimodal) < 1e-12 && fabs(c->fused[0] - fused) < 1e-12 &&
                fabs(c->update[0] - update) < 1e-12))
        fail_msg("got %.17g %.17g %.17g, expected %g %g %g", c->coefficient[0], c->fused[0], c->update[0],
                unimodal, fused, update);
}

static void test_scales(void **state)
{
    (void)state;
    double k = 0.0;
    struct sl_modulation_config config = {.form = SL_FORM_EXCESS, .end = -1};
    struct sl_commit c = factors(&config, 0, 0.25, &k);
    expect_factors(&c, 0.25, 1.0, 1.0);
    config.scale = SL_SCALE_GRADIENT;
    c = factors(&config, 0, 0.25, &k);
    expect_factors(&c, 0.25, 0.25, 1.0);
    config.scale = SL_SCALE_UPDATE;
    c = factors(&config, 0, 0.25, &k);
    expect_factors(&c, 1.0, 1.0, 0.25);
    assert_true(k == 0.25);
}

static void test_slots_arrive_modulated(void **state)
{
    (void)state;
    double k = 0.0;
    struct sl_modulation_config config = {
            .form = SL_FORM_EXCESS, .statistics = SL_STATISTICS_SLOT, .end = -1};
    struct sl_commit c = factors(&config, 0, 0.25, &k);
    expect_factors(&c, 1.0, 1.0, 1.0);
}

static void test_given_coefficients(void **state)
{
    (void)state;
    double k = 0.0;
    struct sl_modulation_config config = {.form = SL_FORM_CONSTANT,
            .scale = SL_SCALE_GRADIENT,
            .constant = {{0.75, 1.0}, 2},
            .start = 1,
            .end = 2};
    struct sl_commit c = factors(&config, 0, 1.0, &k);
    expect_factors(&c, 1.0, 1.0, 1.0); /* before the window */
    assert_true(k == 1.0);
    c = factors(&config, 1, 1.0, &k);
    expect_factors(&c, 0.75, 0.75, 1.0);
    assert_true(k == 0.75);
    c = factors(&config, 2, 1.0, &k);
    expect_factors(&c, 1.0, 1.0, 1.0);
    config = (struct sl_modulation_config){.form = SL_FORM_REPLAY, .end = -1};
    static const double by_step[] = {0.5, 0.25, 0.25}; /* the last row holds on */
    for (int64_t step = 0; step < 3; step++) {
        c = factors(&config, step, 1.0, &k);
        expect_factors(&c, by_step[step], 1.0, 1.0);
        assert_true(k == by_step[step]);
    }
}

static void test_pareto_has_a_window_too(void **state)
{
    (void)state;
    double k = 0.0;
    struct sl_modulation_config config = {.form = SL_FORM_PARETO, .gamma = 1.5, .start = 1, .end = -1};
    struct sl_commit c = factors(&config, 0, 1.0, &k);
    expect_factors(&c, 1.0, 1.0, 1.0);
    c = factors(&config, 1, 1.0, &k);
    expect_factors(&c, 1.5, 1.5, 1.0); /* as long as each other: in equal parts */
    assert_true(k == 1.5 && c.coefficient[1] == 1.5 && c.fused[1] == 1.5);
}

static char folder[] = "/tmp/shelflife-balance-XXXXXX";
static char path[64];

static enum sl_status load(const float *values, int rank, const int64_t *shape, struct ps_replay *ret_replay)
{
    assert_int_equal(sl_npy_write(path, values, rank, shape, &err), SL_OK);
    return ps_replay_load(ret_replay, path, 2, &err);
}

static void test_replay_files(void **state)
{
    (void)state;
    struct ps_replay replay = {0};
    const float good[] = {0.5F, 1.0F, 0.25F, 2.0F}, negative[] = {0.5F, -1.0F}, infinite[] = {INFINITY, 1.0F};
    assert_int_equal(load(good, 2, (const int64_t[]){2, 2}, &replay), SL_OK);
    assert_true(replay.steps == 2 && replay.values[2] == 0.25 && replay.values[3] == 2.0);
    ps_replay_fini(&replay);
    assert_int_equal(load(good, 1, (const int64_t[]){2}, &replay), SL_OK);
    assert_int_equal(replay.steps, 1);
    ps_replay_fini(&replay);
    ps_replay_fini(&replay); /* twice is fine */
    assert_int_equal(load(good, 2, (const int64_t[]){1, 4}, &replay), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "(steps, 2)"));
    assert_int_equal(load(good, 2, (const int64_t[]){0, 2}, &replay), SL_BAD_DATA);
    assert_int_equal(load(good, 3, (const int64_t[]){1, 2, 2}, &replay), SL_BAD_DATA);
    assert_int_equal(load(negative, 2, (const int64_t[]){1, 2}, &replay), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "row 0"));
    assert_int_equal(load(infinite, 2, (const int64_t[]){1, 2}, &replay), SL_BAD_DATA);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ps_replay_load(&replay, path, 2, &err), SL_NOT_FOUND);
    assert_null(replay.values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_scales),
            cmocka_unit_test(test_slots_arrive_modulated),
            cmocka_unit_test(test_given_coefficients),
            cmocka_unit_test(test_pareto_has_a_window_too),
            cmocka_unit_test(test_replay_files),
    };
    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(path, sizeof(path), "%s/k.npy", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)rmdir(folder);
    return failed;
}
