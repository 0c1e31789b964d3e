/* Messages in memory: copies share frames and outlive each other; sizes count frames. */
#include "common/memory.h"
#include "common/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_a_clone_shares_frames(void **unused)
{
    (void)unused;
    struct sl_buffer *buffer = sl_buffer_create(100);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
    m->step = 5;
    sl_message_add_frame(m, buffer, buffer->data, 60);
    sl_message_add_frame(m, buffer, (char *)buffer->data + 60, 40);
    sl_buffer_release(buffer);
    assert_int_equal(m->frames[0].buffer->references, 2);
    struct sl_message *clone = sl_message_clone(m);
    assert_int_equal(m->frames[0].buffer->references, 4);
    assert_memory_equal(clone, m, sizeof(*m));
    sl_message_destroy(m);
    ((char *)clone->frames[1].buffer->data)[99] = 1; /* still there */
    assert_int_equal(clone->frames[0].buffer->references, 2);
    assert_int_equal(clone->step, 5);
    sl_message_destroy(clone);
    sl_message_destroy(NULL);
}

static void test_no_memory(void **unused)
{
    (void)unused;
    struct sl_buffer *buffer = sl_buffer_create(10);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
    sl_message_add_frame(m, buffer, buffer->data, 10);
    sl_memory_fail_after(1);
    struct sl_message *clone = sl_message_clone(m), *created = sl_message_create(SL_MESSAGE_ACK);
    sl_memory_fail_after(0);
    assert_null(clone);
    assert_null(created);
    assert_int_equal(buffer->references, 2);
    sl_message_destroy(m);
    sl_buffer_release(buffer);
}

static void test_sizes(void **unused)
{
    (void)unused;
    struct sl_buffer *buffer = sl_buffer_create(1000);
    struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
    size_t empty = sl_message_size(m);
    assert_true(empty > 0 && empty < 1000);
    sl_message_add_frame(m, buffer, buffer->data, 1000);
    sl_message_add_frame(m, buffer, buffer->data, 7);
    assert_int_equal(sl_message_size(m), empty + 1007);
    sl_message_destroy(m);
    sl_buffer_release(buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_a_clone_shares_frames),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
