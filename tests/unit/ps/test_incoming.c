/* Open steps and applied ones: which are found, what is kept from one step to the next, the window of those that are applied. */
#include "ps/incoming.h"

#include "tests/unit/ps/fixture.h"

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static struct ps_incoming incoming;

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    layout = fixture_layout(config, 4096);
    incoming = (struct ps_incoming){
            .layout = layout, .max_slots = 4, .block_count = layout->block_count, .open_max = 2};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_incoming_fini(&incoming);
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

static struct ps_incoming_step *open_step(int64_t step, uint32_t slots)
{
    struct ps_incoming_step *r = NULL;
    assert_int_equal(ps_incoming_open(&incoming, step, slots, &r, &err), SL_OK);
    assert_true(r->open && r->step == step && r->slots == slots && r->blocks_whole == 0);
    return r;
}

static void test_steps_are_opened_and_closed(void **state)
{
    (void)state;
    ps_incoming_begin(&incoming, 7);
    assert_null(ps_incoming_find(&incoming, 7));
    struct ps_incoming_step *seven = open_step(7, 4), *eight = open_step(8, 2);
    assert_ptr_equal(ps_incoming_find(&incoming, 7), seven);
    assert_ptr_equal(ps_incoming_find(&incoming, 8), eight);
    assert_null(ps_incoming_find(&incoming, 9));
    struct ps_reduction *reduction = seven->reduction;
    struct sl_buffer *sums = sl_buffer_retain(seven->sums);
    ((struct sl_block_sums *)sums->data)[0].norm2 = 3.0;
    (void)snprintf(seven->problem, sizeof(seven->problem), "not finite");
    seven->blocks_whole = 5;
    seven->open = false;
    assert_null(ps_incoming_find(&incoming, 7));
    struct ps_incoming_step *nine = open_step(9, 4);
    assert_ptr_equal(nine->reduction, reduction); /* kept */
    assert_ptr_not_equal(nine->sums, sums);       /* which may still be on their way */
    assert_true(((const struct sl_block_sums *)nine->sums->data)[0].norm2 == 0.0);
    assert_int_equal(nine->sums->size, (size_t)layout->block_count * sizeof(struct sl_block_sums));
    assert_int_equal(nine->problem[0], 0);
    sl_buffer_release(sums);
}

static void test_steps_are_applied_in_any_order(void **state)
{
    (void)state;
    ps_incoming_begin(&incoming, 5);
    assert_true(ps_incoming_is_applied(&incoming, 4) && !ps_incoming_is_applied(&incoming, 5));
    ps_incoming_note_applied(&incoming, 6);
    ps_incoming_note_applied(&incoming, 8);
    assert_int_equal(incoming.low, 5);
    assert_true(ps_incoming_is_applied(&incoming, 6) && !ps_incoming_is_applied(&incoming, 7));
    ps_incoming_note_applied(&incoming, 5);
    assert_int_equal(incoming.low, 7);
    ps_incoming_note_applied(&incoming, 7);
    assert_int_equal(incoming.low, 9);
    for (int64_t step = 9; step < 9 + 3 * PS_WINDOW_MAX; step += 2) { /* round and round the window */
        ps_incoming_note_applied(&incoming, step + 1);
        assert_false(ps_incoming_is_applied(&incoming, step));
        assert_false(ps_incoming_is_applied(&incoming, step + 2));
        ps_incoming_note_applied(&incoming, step);
        assert_int_equal(incoming.low, step + 2);
    }
    ps_incoming_note_applied(&incoming, incoming.low + 3);
    ps_incoming_begin(&incoming, 2); /* loaded again: nothing of before counts */
    for (int64_t step = 2; step < 2 + PS_WINDOW_MAX; step++)
        assert_false(ps_incoming_is_applied(&incoming, step));
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct ps_incoming_step *r = NULL;
        sl_memory_fail_after(n);
        enum sl_status status = ps_incoming_open(&incoming, 0, 4, &r, &err);
        sl_memory_fail_after(0);
        if (status == SL_OK)
            break;
        assert_int_equal(status, SL_NO_MEMORY);
        assert_true(r == NULL && ps_incoming_find(&incoming, 0) == NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_steps_are_opened_and_closed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_steps_are_applied_in_any_order, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
