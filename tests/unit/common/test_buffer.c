/* Counted buffers: alignment, the last reference frees, also from another thread. */
#include "common/buffer.h"
#include "common/memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS 2000

static void count_free(void *context)
{
    ++*(int *)context;
}

static void test_created_zeroed_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 100000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct sl_buffer *buffer = sl_buffer_create(sizes[i]);
        assert_non_null(buffer);
        assert_int_equal(buffer->size, sizes[i]);
        assert_int_equal((uintptr_t)buffer->data % SL_ALIGNMENT, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_int_equal(((unsigned char *)buffer->data)[k], 0);
        sl_buffer_release(buffer);
    }
    sl_buffer_release(NULL);
}

static void test_foreign_memory_is_freed_with_the_last_reference(void **state)
{
    (void)state;
    int freed = 0;
    char bytes[8];
    struct sl_buffer *buffer = sl_buffer_adopt(bytes, sizeof(bytes), count_free, &freed);
    assert_ptr_equal(buffer->data, bytes);
    assert_ptr_equal(sl_buffer_retain(buffer), buffer);
    sl_buffer_release(buffer);
    assert_int_equal(freed, 0);
    sl_buffer_release(buffer);
    assert_int_equal(freed, 1);
}

static void test_no_memory(void **state)
{
    (void)state;
    int freed = 0;
    char byte = 0;
    for (uint64_t n = 1; n <= 2; n++) {
        sl_memory_fail_after(n);
        assert_null(sl_buffer_create(100));
    }
    sl_memory_fail_after(1);
    assert_null(sl_buffer_adopt(&byte, 1, count_free, &freed)); /* nothing was adopted */
    sl_memory_fail_after(0);
    assert_int_equal(freed, 0);
    assert_null(sl_buffer_create(SIZE_MAX));
}

struct shared {
    struct sl_buffer *buffer;
    int freed;
};

static void *hold_main(void *argument)
{
    struct shared *shared = argument;
    for (int i = 0; i < ROUNDS; i++)
        sl_buffer_release(sl_buffer_retain(shared->buffer));
    sl_buffer_release(shared->buffer);
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    struct shared shared = {0};
    char byte = 0;
    pthread_t handles[THREADS];
    shared.buffer = sl_buffer_adopt(&byte, 1, count_free, &shared.freed);
    for (int t = 0; t < THREADS; t++) {
        (void)sl_buffer_retain(shared.buffer);
        assert_int_equal(pthread_create(&handles[t], NULL, hold_main, &shared), 0);
    }
    sl_buffer_release(shared.buffer);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(handles[t], NULL), 0);
    assert_int_equal(shared.freed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_created_zeroed_and_aligned),
            cmocka_unit_test(test_foreign_memory_is_freed_with_the_last_reference),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
