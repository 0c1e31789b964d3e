/* Messages and the outbox: order, ownership, names, what happens without memory. */
#include "common/memory.h"
#include "common/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT 200

static struct sl_error err;

static void test_order_and_growth(void **state)
{
    (void)state;
    struct sl_outbox outbox = {0};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            struct sl_message *m = sl_message_create(SL_MESSAGE_ACK);
            m->step = i;
            assert_int_equal(
                    sl_outbox_add(&outbox, (struct sl_address){SL_ROLE_WORKER, (uint64_t)i}, m, &err), SL_OK);
        }
        assert_int_equal(outbox.count, COUNT);
        for (int i = 0; i < COUNT; i++)
            assert_true(outbox.items[i].to.id == (uint64_t)i && outbox.items[i].message->step == i);
        sl_outbox_clear(&outbox);
        assert_int_equal(outbox.count, 0);
    }
    sl_outbox_fini(&outbox);
    assert_null(outbox.items);
    sl_outbox_fini(&outbox);
}

/* Frames are references: clearing gives them back. */
static void test_frames_are_given_back(void **state)
{
    (void)state;
    struct sl_outbox outbox = {0};
    struct sl_buffer *buffer = sl_buffer_create(16);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PARAMS);
    sl_message_add_frame(m, buffer, buffer->data, 16);
    sl_message_add_frame(m, buffer, (char *)buffer->data + 8, 8);
    assert_int_equal(atomic_load(&buffer->references), 3);
    assert_int_equal(sl_outbox_add(&outbox, (struct sl_address){SL_ROLE_WORKER, 1}, m, &err), SL_OK);
    sl_outbox_clear(&outbox);
    assert_int_equal(atomic_load(&buffer->references), 1);
    sl_outbox_fini(&outbox);
    sl_buffer_release(buffer);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct sl_outbox outbox = {0};
    struct sl_address to = {SL_ROLE_SERVER, 0};
    assert_int_equal(sl_outbox_add(&outbox, to, NULL, &err), SL_NO_MEMORY); /* from a create that failed */
    struct sl_message *m = sl_message_create(SL_MESSAGE_ACK);
    sl_memory_fail_after(1);
    assert_int_equal(sl_outbox_add(&outbox, to, m, &err), SL_NO_MEMORY); /* destroyed all the same */
    assert_null(sl_message_create(SL_MESSAGE_ACK));
    sl_memory_fail_after(0);
    assert_int_equal(outbox.count, 0);
    sl_outbox_fini(&outbox);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(sl_message_name(SL_MESSAGE_HELLO), "hello");
    assert_string_equal(sl_message_name(SL_MESSAGE_BYE), "bye");
    assert_string_equal(sl_message_name(SL_MESSAGE_NONE), "unknown");
    assert_string_equal(sl_message_name(SL_MESSAGE_KIND_COUNT), "unknown");
    assert_string_equal(sl_message_name((enum sl_message_kind) - 1), "unknown");
    sl_message_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_order_and_growth),
            cmocka_unit_test(test_frames_are_given_back),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
