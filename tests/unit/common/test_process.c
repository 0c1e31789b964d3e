/* What a process says of itself. */
#include "common/process.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_drawn_numbers_differ(void **state)
{
    (void)state;
    uint64_t numbers[16];
    struct sl_error err = {0};
    for (int i = 0; i < 16; i++) {
        assert_int_equal(sl_process_draw(&numbers[i], &err), SL_OK);
        assert_true(numbers[i] != 0);
        for (int k = 0; k < i; k++)
            assert_true(numbers[i] != numbers[k]);
    }
}

static void test_a_long_name_is_cut(void **state)
{
    (void)state;
    char host[256], short_host[2];
    sl_process_host(host, sizeof(host));
    assert_true(strlen(host) > 0);
    sl_process_host(short_host, sizeof(short_host));
    assert_true(strlen(short_host) <= 1);
}

static void test_memory_grows_with_use(void **state)
{
    (void)state;
    size_t size = 64 << 20;
    uint64_t before = sl_process_memory();
    char *bytes = sl_alloc(size, 1);
    assert_non_null(bytes);
    memset(bytes, 1, size);
    uint64_t after = sl_process_memory();
    assert_true(before > 0 && after >= before + size / 2);
    sl_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_drawn_numbers_differ),
            cmocka_unit_test(test_a_long_name_is_cut),
            cmocka_unit_test(test_memory_grows_with_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
