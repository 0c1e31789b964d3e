/* The table of where the steps' time went: means over steps and workers, shares of a worker's time. */
#include "ps/profile.h"

#include "tests/unit/ps/fixture.h"

static void test_means_and_shares(void **state)
{
    (void)state;
    struct ps_profile profile = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    ps_profile_print(&profile, stream); /* no step yet */
    assert_int_equal(ftell(stream), 0);
    struct ps_step_record record = {.workers = 2, .seconds = 0.1, .update_seconds = 0.004};
    record.spent[SL_SPENT_DATA] = 0.002;
    record.spent[SL_SPENT_FORWARD] = 0.040;
    record.spent[SL_SPENT_BACKWARD] = 0.080;
    record.spent[SL_SPENT_JOIN] = 0.004;
    record.spent[SL_SPENT_COMPUTE] = 0.130;
    record.spent[SL_SPENT_PUSH] = 0.020;
    record.spent[SL_SPENT_PULL] = 0.010;
    record.spent[SL_SPENT_WAIT] = 0.040;
    ps_profile_add(&profile, &record);
    ps_profile_add(&profile, &record);
    ps_profile_print(&profile, stream);
    assert_int_equal(fclose(stream), 0);
    assert_non_null(strstr(text, "profile of 2 steps"));
    assert_non_null(strstr(text, "  forward        20.000 ms   20.0 %"));
    assert_non_null(strstr(text, "  backward       40.000 ms   40.0 %"));
    assert_non_null(strstr(text, "  idle            2.000 ms    2.0 %")); /* 130 - 126, of two workers */
    assert_non_null(strstr(text, "  all           100.000 ms  100.0 %"));
    assert_non_null(strstr(text, "takes 100.000 ms from its opening to its commit, 4.000 ms more"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_means_and_shares)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
