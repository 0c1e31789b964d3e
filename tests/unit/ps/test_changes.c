/* Changed lines of a block over its last updates, against copies of what it was. */
#include "ps/changes.h"

#include "common/encoding.h"
#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 1101 /* 69 lines, the last one of 13 numbers */
#define LINES 69
#define SIZE 16

static struct sl_error err;

static struct ps_changes *make(int64_t version)
{
    struct ps_changes *changes = NULL;
    assert_int_equal(ps_changes_create(&changes, COUNT, &err), SL_OK);
    ps_changes_begin(changes, version);
    return changes;
}

static bool has(const unsigned char *lines, int line)
{
    return (lines[line / 8] >> line % 8 & 1) != 0;
}

static void test_lines_are_compared_bit_by_bit(void **state)
{
    (void)state;
    float before[COUNT] = {0}, after[COUNT] = {0};
    unsigned char lines[SIZE] = {0}, expected[SIZE] = {0};
    after[17] = -0.0F; /* another bit */
    after[1100] = 2.0F;
    ps_changes_compare(lines, 0, before, after, COUNT);
    expected[0] = 2;
    expected[8] = 16;
    assert_memory_equal(lines, expected, SIZE);
    /* the same in runs that begin and end within lines */
    memset(lines, 0, SIZE);
    for (size_t at = 0; at < COUNT; at += 37)
        ps_changes_compare(lines, at, before + at, after + at, COUNT - at < 37 ? COUNT - at : 37);
    assert_memory_equal(lines, expected, SIZE);
}

static void test_runs_that_are_not_compared(void **state)
{
    (void)state;
    for (size_t offset = 0; offset < COUNT; offset += 7)
        for (size_t n = 1; offset + n <= COUNT; n += 13) {
            unsigned char lines[SIZE] = {0};
            ps_changes_mark(lines, offset, n);
            for (int line = 0; line < LINES; line++)
                assert_int_equal(has(lines, line),
                        (size_t)line >= offset / 16 && (size_t)line <= (offset + n - 1) / 16);
        }
}

/* Whichever of the last versions somebody holds, what differs from it is named, and nothing else is. */
static void test_since_any_of_the_last_versions(void **state)
{
    (void)state;
    enum { UPDATES = 30, BEGIN = 5 };
    struct ps_changes *changes = make(BEGIN);
    unsigned char lines[SIZE];
    int touched[BEGIN + UPDATES + 1]; /* the line that made this version */
    for (int64_t v = BEGIN; v <= BEGIN + UPDATES; v++) {
        for (int64_t held = BEGIN - 3; held <= v + 2; held++) {
            bool known = held >= BEGIN && held <= v && v - held <= PS_CHANGES_UPDATES;
            assert_int_equal(ps_changes_since(changes, held, lines), known);
            for (int line = 0; line < LINES && known; line++) {
                bool expected = false;
                for (int64_t u = held + 1; u <= v; u++)
                    expected |= touched[u] == line;
                assert_int_equal(has(lines, line), expected);
            }
        }
        touched[v + 1 <= BEGIN + UPDATES ? v + 1 : v] = (int)(v * 31 % LINES);
        if (v < BEGIN + UPDATES) {
            unsigned char *next = ps_changes_next(changes);
            next[touched[v + 1] / 8] |= (unsigned char)(1U << touched[v + 1] % 8);
        }
    }
    ps_changes_destroy(changes);
}

static void test_a_new_beginning_forgets(void **state)
{
    (void)state;
    struct ps_changes *changes = make(0);
    unsigned char lines[SIZE];
    ps_changes_next(changes)[0] = 1;
    assert_true(ps_changes_since(changes, 0, lines) && lines[0] == 1);
    ps_changes_begin(changes, 1); /* a version of that number there was before */
    assert_false(ps_changes_since(changes, 0, lines));
    assert_true(ps_changes_since(changes, 1, lines) && lines[0] == 0);
    assert_false(ps_changes_since(changes, -1, lines));
    ps_changes_destroy(changes);
    ps_changes_destroy(NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        struct ps_changes *changes = NULL;
        sl_memory_fail_after(n);
        enum sl_status status = ps_changes_create(&changes, COUNT, &err);
        sl_memory_fail_after(0);
        assert_int_equal(status, SL_NO_MEMORY);
        assert_null(changes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_lines_are_compared_bit_by_bit),
            cmocka_unit_test(test_runs_that_are_not_compared),
            cmocka_unit_test(test_since_any_of_the_last_versions),
            cmocka_unit_test(test_a_new_beginning_forgets),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
