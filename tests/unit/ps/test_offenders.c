/* Peers that send garbage: counted one by one, ignored past the bound; the table is bounded. */
#include "ps/offenders.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_the_bound(void **state)
{
    (void)state;
    struct ps_offenders offenders = {0};
    for (int i = 1; i < PS_OFFENCES_MAX; i++)
        assert_false(ps_offenders_note(&offenders, 7));
    assert_false(ps_offenders_ignored(&offenders, 7));
    assert_true(ps_offenders_note(&offenders, 7));
    assert_true(ps_offenders_ignored(&offenders, 7));
    assert_false(ps_offenders_note(&offenders, 7)); /* said once */
    assert_true(ps_offenders_ignored(&offenders, 7));
    assert_false(ps_offenders_ignored(&offenders, 8));
    assert_int_equal(offenders.total, PS_OFFENCES_MAX + 1);
}

static void test_nobody_in_particular(void **state)
{
    (void)state;
    struct ps_offenders offenders = {0};
    for (int i = 0; i < 3 * PS_OFFENCES_MAX; i++)
        assert_false(ps_offenders_note(&offenders, 0));
    assert_false(ps_offenders_ignored(&offenders, 0));
    assert_int_equal(offenders.total, 3 * PS_OFFENCES_MAX);
}

static void test_a_full_table(void **state)
{
    (void)state;
    struct ps_offenders offenders = {0};
    for (int i = 0; i < PS_OFFENCES_MAX; i++)
        (void)ps_offenders_note(&offenders, 7);
    for (uint64_t peer = 100; peer < 100 + 5 * PS_OFFENDERS_MAX; peer++)
        assert_false(ps_offenders_note(&offenders, peer));
    assert_int_equal(offenders.count, PS_OFFENDERS_MAX);
    assert_true(ps_offenders_ignored(&offenders, 7)); /* the worst stays */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_the_bound),
            cmocka_unit_test(test_nobody_in_particular),
            cmocka_unit_test(test_a_full_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
