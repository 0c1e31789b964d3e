/* Step statistics: every field is summed, and nothing that is not finite passes for finite. */
#include "common/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct sl_step_stats make_stats(double scale)
{
    struct sl_step_stats stats = {.count = (int)(2 * scale), .weight_sum = 1.5 * scale};
    for (int b = 0; b < SL_BRANCHES_MAX; b++) {
        stats.loss[b] = scale * (b + 1);
        stats.correct[b] = (int64_t)scale * b;
    }
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        stats.score[m] = scale * (m + 0.25);
        stats.coefficient[m] = scale * (m + 0.5);
    }
    return stats;
}

static void test_add(void **state)
{
    (void)state;
    struct sl_step_stats sum = make_stats(1.0), x = make_stats(2.0), wanted = make_stats(3.0);
    sl_step_stats_add(&sum, &x);
    assert_memory_equal(&sum, &wanted, sizeof(sum));
}

static void test_finite(void **state)
{
    (void)state;
    struct sl_step_stats stats = make_stats(1.0);
    assert_true(sl_step_stats_finite(&stats));
    double *fields[] = {&stats.weight_sum, &stats.loss[0], &stats.loss[SL_BRANCHES_MAX - 1],
            &stats.score[SL_MODALITIES_MAX - 1], &stats.coefficient[0]};
    for (int i = 0; i < 5; i++) {
        double kept = *fields[i];
        *fields[i] = i % 2 == 0 ? (double)NAN : (double)INFINITY;
        assert_false(sl_step_stats_finite(&stats));
        *fields[i] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_add),
            cmocka_unit_test(test_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
