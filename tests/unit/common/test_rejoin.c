/* When a lost process tries again, and when it gives up. */
#include "common/rejoin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND 1000000LL

static void test_patience_is_not_renewed_by_trying(void **state)
{
    (void)state;
    struct sl_rejoin r;
    sl_rejoin_begin(&r, 10 * SECOND, 5 * SECOND);
    assert_int_equal(sl_rejoin_left_us(&r, 5 * SECOND), 10 * SECOND);
    int64_t now_us = 5 * SECOND;
    for (int attempt = 0; attempt < 5; attempt++) {
        now_us = sl_rejoin_lost(&r, false, now_us + SECOND / 2);
        sl_rejoin_again(&r, now_us);
    }
    assert_int_equal(sl_rejoin_left_us(&r, 14 * SECOND), SECOND);
    assert_int_equal(sl_rejoin_left_us(&r, 15 * SECOND), 0);
    assert_int_equal(sl_rejoin_left_us(&r, 99 * SECOND), 0);
}

static void test_patience_begins_anew_with_the_loss_of_what_was_had(void **state)
{
    (void)state;
    struct sl_rejoin r;
    sl_rejoin_begin(&r, 10 * SECOND, 0);
    assert_int_equal(sl_rejoin_lost(&r, true, 100 * SECOND), 100 * SECOND); /* at once */
    assert_int_equal(sl_rejoin_left_us(&r, 100 * SECOND), 10 * SECOND);
}

static void test_pauses_double_up_to_a_bound(void **state)
{
    (void)state;
    struct sl_rejoin r;
    int64_t now_us = 0, pause_us = SL_REJOIN_PAUSE_MIN_US;
    sl_rejoin_begin(&r, 1000 * SECOND, now_us);
    for (int attempt = 0; attempt < 10; attempt++) {
        int64_t again_us = sl_rejoin_lost(
                &r, attempt % 2 == 0, now_us); /* thrown out as soon as it is let in: no better */
        assert_int_equal(again_us - now_us, pause_us);
        now_us = again_us;
        sl_rejoin_again(&r, now_us);
        pause_us = 2 * pause_us < SL_REJOIN_PAUSE_MAX_US ? 2 * pause_us : SL_REJOIN_PAUSE_MAX_US;
    }
    now_us += SL_REJOIN_STEADY_US; /* a while of work: forgiven */
    assert_int_equal(sl_rejoin_lost(&r, true, now_us), now_us);
    sl_rejoin_again(&r, now_us);
    assert_int_equal(sl_rejoin_lost(&r, false, now_us), now_us + SL_REJOIN_PAUSE_MIN_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_patience_is_not_renewed_by_trying),
            cmocka_unit_test(test_patience_begins_anew_with_the_loss_of_what_was_had),
            cmocka_unit_test(test_pauses_double_up_to_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
