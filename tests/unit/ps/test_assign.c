/* Shares of work and stragglers. */
#include "ps/assign.h"

#include "tests/unit/ps/fixture.h"

#define SECOND 1000000

static struct sl_error err;

struct world {
    struct ps_roster roster;
    struct ps_open_step step;
};

/* Workers of these speeds (seconds a slot, 0 = not known) and a step of `slots` slots. */
static struct world new_world(const double *seconds, int workers, uint32_t slots)
{
    struct world w = {0};
    assert_int_equal(ps_roster_init(&w.roster, 1, &err), SL_OK);
    for (int i = 0; i < workers; i++) {
        struct sl_hello hello = {.host = "h"};
        int index = -1;
        assert_int_equal(ps_roster_add_worker(&w.roster, 1 + (uint64_t)i, &hello, 0, &index, &err), SL_OK);
        if (seconds[i] > 0.0)
            ps_roster_set_speed(&w.roster, index, seconds[i]);
    }
    assert_int_equal(ps_open_step_begin(&w.step, SL_PHASE_TRAIN, 1, 0, slots, slots, 1, 1, 0, &err), SL_OK);
    return w;
}

static void close_world(struct world *w)
{
    ps_roster_fini(&w->roster);
    ps_open_step_fini(&w->step);
}

/* Gives a worker units from `begin` on, as the coordinator does. */
static void give(struct world *w, int worker, uint32_t begin, uint32_t end, int64_t now_us)
{
    w->roster.workers[worker].run = (struct ps_run){
            .at = 0, .begin = begin, .end = end, .left = end - begin, .assigned_us = now_us, .shadow = -1};
    for (uint32_t u = begin; u < end; u++) {
        w->step.todo -= w->step.owner[u] == PS_UNIT_TODO;
        w->step.owner[u] = worker;
    }
}

static uint32_t share(struct world *w, int worker, bool among_idle)
{
    uint32_t begin = 0, end = 0;
    if (!ps_assign_share(&w->roster, &w->step, worker, among_idle, &begin, &end))
        return 0;
    give(w, worker, begin, end, 0);
    return end - begin;
}

static void test_shares_follow_speed(void **state)
{
    (void)state;
    struct world w = new_world((const double[]){1.0, 0.5, 1.0}, 3, 8);
    assert_int_equal(share(&w, 0, true), 2);
    assert_int_equal(share(&w, 1, true), 4);
    assert_int_equal(share(&w, 2, true), 2);
    assert_int_equal(w.step.todo, 0);
    close_world(&w);
    w = new_world((const double[]){0.0, 0.0, 0.0, 0.0}, 4, 2); /* more workers than slots */
    assert_int_equal(share(&w, 0, true) + share(&w, 1, true) + share(&w, 2, true) + share(&w, 3, true), 2);
    close_world(&w);
}

/* Whatever the speeds and however many are idle, all units are given out in a step that everybody waits for. */
static void test_nothing_is_left_over(void **state)
{
    (void)state;
    for (uint32_t slots = 1; slots <= 40; slots++) {
        for (int slow = 0; slow < 5; slow++) {
            double seconds[5] = {1.0, 1.3, 0.7, 2.2, 1.1};
            seconds[slow] = 50.0;
            struct world w = new_world(seconds, 5, slots);
            for (int i = 0; i < 5 && w.step.todo > 0; i++)
                (void)share(&w, i, true);
            assert_int_equal(w.step.todo, 0);
            close_world(&w);
        }
    }
}

static void test_a_very_slow_worker_gets_a_second_chance(void **state)
{
    (void)state;
    int given = 0;
    for (int64_t at = 0; at < 64; at++) {
        struct world w = new_world((const double[]){100.0, 1.0, 1.0, 1.0}, 4, 8);
        w.step.step = at;
        given += share(&w, 0, true) > 0;
        close_world(&w);
    }
    assert_int_equal(given, 4); /* every 16th step */
    struct world w = new_world((const double[]){100.0, 1.0, 1.0, 1.0}, 4, 8);
    unsigned char all[1] = {1};
    w.roster.workers[0].readable = all;
    assert_int_equal(share(&w, 0, true), 1); /* it may be the only one that has the data */
    w.roster.workers[0].readable = NULL;
    close_world(&w);
}

static void test_stragglers(void **state)
{
    (void)state;
    struct world w = new_world((const double[]){1.0, 1.0, 1.0}, 3, 9);
    assert_int_equal(ps_assign_straggler(&w.roster, 100 * SECOND, 3.0, SECOND), -1); /* nobody has work */
    give(&w, 0, 0, 1, 0);
    give(&w, 1, 1, 3, 0);
    assert_int_equal(ps_assign_straggler(&w.roster, 2 * SECOND, 3.0, SECOND), -1);
    assert_int_equal(ps_assign_straggler(&w.roster, 4 * SECOND, 3.0, SECOND), 0);
    assert_int_equal(ps_assign_straggler(&w.roster, 4 * SECOND, 3.0, 10 * SECOND), -1);
    w.roster.workers[0].run.shadow = 2;
    assert_int_equal(ps_assign_straggler(&w.roster, 7 * SECOND, 3.0, SECOND), 1);
    w.roster.workers[1].run.phase = SL_PHASE_AUDIT;
    assert_int_equal(ps_assign_straggler(&w.roster, 7 * SECOND, 3.0, SECOND), -1);
    assert_true(ps_assign_overdue(&w.roster, 1, 7 * SECOND, 3.0, SECOND));
    close_world(&w);
    w = new_world((const double[]){0.0, 0.0}, 2, 9); /* nobody's speed is known */
    give(&w, 0, 0, 9, 0);
    assert_int_equal(ps_assign_straggler(&w.roster, 14 * SECOND, 3.0, SECOND), -1);
    assert_int_equal(ps_assign_straggler(&w.roster, 16 * SECOND, 3.0, SECOND), 0);
    close_world(&w);
}

static void test_the_rest_of_a_run(void **state)
{
    (void)state;
    struct world w = new_world((const double[]){1.0}, 1, 8);
    uint32_t begin = 0, end = 0;
    give(&w, 0, 2, 7, 0);
    w.step.owner[2] = PS_UNIT_DONE;
    w.step.owner[5] = PS_UNIT_DONE;
    assert_true(ps_assign_rest(&w.step, &w.roster.workers[0].run, &begin, &end));
    assert_true(begin == 3 && end == 5);
    for (uint32_t u = 2; u < 7; u++)
        w.step.owner[u] = PS_UNIT_DONE;
    assert_false(ps_assign_rest(&w.step, &w.roster.workers[0].run, &begin, &end));
    close_world(&w);
}

static void test_speeds_are_learnt(void **state)
{
    (void)state;
    struct world w = new_world((const double[]){0.0}, 1, 8);
    give(&w, 0, 0, 4, 0);
    ps_assign_learn(&w.roster, 0, 0); /* a clock that did not move says nothing */
    assert_true(w.roster.workers[0].seconds_per_slot <= 0.0);
    ps_assign_learn(&w.roster, 0, 4 * SECOND);
    assert_true(w.roster.workers[0].seconds_per_slot == 1.0);
    ps_assign_learn(&w.roster, 0, 8 * SECOND);
    assert_true(w.roster.workers[0].seconds_per_slot > 1.29 && w.roster.workers[0].seconds_per_slot < 1.31);
    close_world(&w);
}

/* Workers whose speed is not known: nobody is given much until it is, but for those who have nothing to do. */
static void test_shares_are_small_until_speeds_are_known(void **state)
{
    (void)state;
    struct world w = new_world((const double[]){0.0, 0.0}, 2, 16);
    w.roster.workers[0].threads = 3;
    assert_int_equal(share(&w, 0, true), 6);
    assert_int_equal(share(&w, 1, true), 2); /* threads are not known: one */
    close_world(&w);
    w = new_world((const double[]){0.0}, 1, 16);
    w.roster.workers[0].threads = UINT32_C(1) << 31;
    assert_int_equal(share(&w, 0, true), 16);
    close_world(&w);
    w = new_world((const double[]){1.0, 0.0}, 2, 16);
    assert_int_equal(share(&w, 0, true), 8); /* the other has nothing: maybe it never will */
    assert_int_equal(share(&w, 1, true), 8);
    close_world(&w);
    w = new_world((const double[]){1.0, 0.0}, 2, 16);
    give(&w, 1, 0, 2, 0);
    assert_int_equal(share(&w, 0, true), 2);  /* the other's speed is soon known */
    assert_int_equal(share(&w, 0, false), 8); /* where nobody waits it does not matter */
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_shares_follow_speed),
            cmocka_unit_test(test_shares_are_small_until_speeds_are_known),
            cmocka_unit_test(test_nothing_is_left_over),
            cmocka_unit_test(test_a_very_slow_worker_gets_a_second_chance),
            cmocka_unit_test(test_stragglers),
            cmocka_unit_test(test_the_rest_of_a_run),
            cmocka_unit_test(test_speeds_are_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
