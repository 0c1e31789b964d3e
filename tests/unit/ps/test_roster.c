/* Who takes part: indices that are used again, ranks that are not, speeds, servers by rank. */
#include "ps/roster.h"

#include "tests/unit/ps/fixture.h"

static struct sl_error err;

static int add(struct ps_roster *roster, uint64_t id)
{
    struct sl_hello hello = {.pid = 7, .host = "h"};
    int index = -1;
    assert_int_equal(ps_roster_add_worker(roster, id, &hello, 0, &index, &err), SL_OK);
    return index;
}

static struct ps_roster new_roster(int servers)
{
    struct ps_roster roster;
    assert_int_equal(ps_roster_init(&roster, servers, &err), SL_OK);
    return roster;
}

static void test_indices_are_used_again_and_ranks_are_not(void **state)
{
    (void)state;
    struct ps_roster roster = new_roster(1);
    for (int i = 0; i < 40; i++)
        assert_int_equal(add(&roster, 100 + (uint64_t)i), i); /* beyond the first capacity */
    assert_int_equal(ps_roster_find_worker(&roster, 117), 17);
    ps_roster_remove_worker(&roster, 17);
    assert_int_equal(ps_roster_find_worker(&roster, 117), -1);
    assert_int_equal(roster.worker_end, 40);
    assert_int_equal(add(&roster, 117), 17);
    assert_int_equal(roster.workers[17].rank, 40);
    assert_string_equal(roster.workers[17].name, "w40 h:7");
    assert_true(roster.workers[17].run.at == -1 && roster.workers[17].run.shadow == -1);
    for (int i = 39; i >= 0; i--)
        ps_roster_remove_worker(&roster, i);
    assert_int_equal(roster.worker_end, 0);
    assert_int_equal(roster.worker_count, 0);
    assert_int_equal(add(&roster, 1), 0);
    roster.workers[0].readable = sl_alloc(4, 1);
    ps_roster_clear(&roster);
    assert_int_equal(ps_roster_find_worker(&roster, 1), -1);
    assert_int_equal(add(&roster, 1), 0);
    assert_null(roster.workers[0].readable);
    assert_int_equal(roster.workers[0].rank, 42);
    ps_roster_fini(&roster);
}

static void test_speeds(void **state)
{
    (void)state;
    struct ps_roster roster = new_roster(1);
    int a = add(&roster, 1), b = add(&roster, 2), c = add(&roster, 3);
    assert_true(ps_roster_weight(&roster, a) == 1.0); /* nobody is known: all are alike */
    ps_roster_set_speed(&roster, a, 0.5);
    ps_roster_set_speed(&roster, b, 0.25);
    assert_true(ps_roster_weight(&roster, a) == 2.0 && ps_roster_weight(&roster, b) == 4.0);
    assert_true(ps_roster_weight(&roster, c) == 3.0); /* the mean of the others */
    ps_roster_set_speed(&roster, b, 0.5);
    assert_true(ps_roster_weight(&roster, c) == 2.0);
    ps_roster_remove_worker(&roster, a);
    ps_roster_remove_worker(&roster, b);
    assert_int_equal(roster.weight_count, 0);
    assert_true(ps_roster_weight(&roster, c) == 2.0); /* of those that were known last */
    ps_roster_fini(&roster);
}

static void test_servers(void **state)
{
    (void)state;
    struct ps_roster roster = new_roster(3);
    struct sl_hello hello = {.rank = 2, .pid = 7, .host = "h", .endpoint = "tcp://h:1"};
    assert_int_equal(ps_roster_find_server(&roster, 0), -1); /* an empty place is nobody */
    ps_roster_set_server(&roster, 55, &hello, 9);
    assert_int_equal(ps_roster_find_server(&roster, 55), 2);
    assert_string_equal(roster.servers[2].name, "s2 h:7");
    assert_int_equal(ps_roster_servers_present(&roster), 1);
    assert_int_equal(ps_roster_servers_loaded(&roster), 0);
    roster.servers[2].loaded = true;
    assert_int_equal(ps_roster_servers_loaded(&roster), 1);
    ps_roster_set_server(&roster, 56, &hello, 9); /* started again: nothing is loaded */
    assert_int_equal(ps_roster_find_server(&roster, 55), -1);
    assert_int_equal(ps_roster_servers_loaded(&roster), 0);
    ps_roster_clear(&roster);
    assert_int_equal(ps_roster_servers_present(&roster), 0);
    ps_roster_fini(&roster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_indices_are_used_again_and_ranks_are_not),
            cmocka_unit_test(test_speeds),
            cmocka_unit_test(test_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
