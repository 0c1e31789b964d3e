/* Gradient buffers: zero where backward writes, used again, brought back by any thread. */
#include "worker/gradient_pool.h"

#include "tests/unit/worker/fixture.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS 200

static struct sl_error err;
static struct sl_config *config;
static struct sl_layout *layout;
static struct wk_gradient_pool *pool;

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    layout = fixture_layout(config);
    assert_int_equal(wk_gradient_pool_create(&pool, layout, &err), SL_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wk_gradient_pool_destroy(pool);
    sl_layout_destroy(layout);
    sl_free(config);
    return 0;
}

static struct sl_buffer *take(void)
{
    struct sl_buffer *buffer = NULL;
    if (wk_gradient_pool_take(pool, NULL, &buffer, &err) != SL_OK)
        abort(); /* in a thread cmocka cannot be told */
    return buffer;
}

static size_t written(size_t i)
{
    return i < layout->extractor_end || i >= layout->count + layout->head_end;
}

static void test_zero_where_it_is_written(void **state)
{
    (void)state;
    struct sl_buffer *first = take();
    assert_int_equal(first->size, SL_TAGS * layout->count * sizeof(float));
    assert_int_equal((uintptr_t)first->data % SL_ALIGNMENT, 0);
    float *values = first->data;
    for (size_t i = 0; i < SL_TAGS * layout->count; i++)
        values[i] = 1.0F;
    sl_buffer_release(first);
    struct sl_buffer *again = take();
    assert_ptr_equal(again->data, values); /* the same memory */
    for (size_t i = 0; i < SL_TAGS * layout->count; i++)
        assert_true(!written(i) || values[i] == 0.0F);
    struct sl_buffer *other = take();
    assert_ptr_not_equal(other->data, values);
    sl_buffer_release(sl_buffer_retain(other));
    sl_buffer_release(other);
    sl_buffer_release(again);
    wk_gradient_pool_destroy(NULL);
}

static void test_addition_of_both_tags(void **state)
{
    (void)state;
    struct sl_buffer *left = take(), *right = take();
    float *sum = left->data, *x = right->data;
    for (size_t i = 0; i < SL_TAGS * layout->count; i++) {
        sum[i] = (float)i;
        x[i] = 0.5F;
    }
    for (int b = 0; b < layout->block_count; b++)
        wk_gradient_add_block(layout, b, sum, x);
    for (size_t i = 0; i < SL_TAGS * layout->count; i++)
        assert_true(sum[i] == (written(i) ? (float)i + 0.5F : (float)i));
    sl_buffer_release(left);
    sl_buffer_release(right);
}

static void *release_main(void *argument)
{
    sl_buffer_release(argument);
    return NULL;
}

static void *take_main(void *argument)
{
    (void)argument;
    for (int i = 0; i < ROUNDS; i++) {
        struct sl_buffer *buffer = take();
        float *values = buffer->data;
        for (size_t k = 0; k < layout->count; k += 64) {
            if (values[0] != 0.0F)
                abort();
            values[k + layout->count] = (float)i;
        }
        values[0] = (float)i;
        pthread_t handle;
        if (i % 50 == 0 && pthread_create(&handle, NULL, release_main, buffer) == 0)
            (void)pthread_join(handle, NULL);
        else
            sl_buffer_release(buffer);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    pthread_t handles[THREADS];
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&handles[t], NULL, take_main, NULL), 0);
    for (int t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(handles[t], NULL), 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct sl_buffer *buffer = NULL;
    for (uint64_t n = 1; n <= 3; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = wk_gradient_pool_take(pool, NULL, &buffer, &err);
        sl_memory_fail_after(0);
        assert_int_equal(status, SL_NO_MEMORY);
        assert_null(buffer);
    }
    sl_buffer_release(take()); /* nothing is lost */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_zero_where_it_is_written, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_addition_of_both_tags, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_many_threads, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_no_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
