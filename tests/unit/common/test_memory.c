/* Allocation: zeroed, aligned, overflow, clean-up, and the switch that makes it fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/memory.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* AddressSanitizer ends the program at an allocation that overflows, unless told otherwise */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_zeroed_and_aligned(void **state)
{
    (void)state;
    for (size_t count = 0; count < 300; count += 7) {
        unsigned char *plain = sl_alloc(count, 3), *aligned = sl_alloc_aligned(count, 3);
        assert_true(plain != NULL && aligned != NULL);
        assert_int_equal((uintptr_t)aligned % SL_ALIGNMENT, 0);
        for (size_t i = 0; i < count * 3; i++)
            assert_true(plain[i] == 0 && aligned[i] == 0);
        sl_free(plain);
        sl_free(aligned);
    }
    sl_free(NULL);
}

static void test_overflow(void **state)
{
    (void)state;
    volatile size_t huge = SIZE_MAX / 2 + 1; /* volatile: the compiler must not see the overflow */
    assert_null(sl_alloc(huge, 2));
    assert_null(sl_alloc_aligned(huge, 2));
    assert_null(sl_alloc_aligned(SIZE_MAX - huge + huge, 1));
    char *text = sl_strdup("kept");
    assert_null(sl_realloc(text, huge, 2));
    assert_string_equal(text, "kept");
    sl_free(text);
}

static void test_realloc_and_text(void **state)
{
    (void)state;
    char *text = sl_strdup_printf("%s-%05d", "step", 12);
    assert_string_equal(text, "step-00012");
    text = sl_realloc(text, 100, 10);
    assert_non_null(text);
    assert_string_equal(text, "step-00012");
    sl_free(text);
}

static void test_take_and_clean_up(void **state)
{
    (void)state;
    char *kept = NULL;
    {
        SL_AUTO_FREE char *text = sl_strdup("taken");
        kept = SL_TAKE(text);
        assert_null(text);
    }
    assert_string_equal(kept, "taken");
    sl_free(kept);
    int number = -1;
    {
        SL_AUTO_CLOSE int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        number = fd;
    }
    assert_int_equal(fcntl(number, F_GETFD), -1);
}

static void test_failing(void **state)
{
    (void)state;
    sl_memory_fail_after(2);
    void *first = sl_alloc(1, 1);
    assert_non_null(first);
    assert_null(sl_alloc(1, 1));
    assert_null(sl_alloc_aligned(1, 1));
    assert_null(sl_realloc(first, 2, 1));
    assert_null(sl_strdup("x"));
    assert_null(sl_strdup_printf("x"));
    sl_memory_fail_after(0);
    sl_free(first);
    void *again = sl_alloc(1, 1);
    assert_non_null(again);
    sl_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_zeroed_and_aligned),
            cmocka_unit_test(test_overflow),
            cmocka_unit_test(test_realloc_and_text),
            cmocka_unit_test(test_take_and_clean_up),
            cmocka_unit_test(test_failing),
    };
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
