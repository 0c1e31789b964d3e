/* Large memory. That of this process alone; the segment that is shown to others: pieces are given, kept and joined again; nobody can shrink it or write it from outside; when it is full, other memory is given. */
#include "common/buffer.h"
#include "common/memory.h"
#include "common/shared_heap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* of AddressSanitizer, where the tests are built with it */
extern int __asan_address_is_poisoned(const volatile void *address) __attribute__((weak));

#define MIB ((size_t)1 << 20)
#define SEGMENT (16 * MIB)

static bool lies_in_segment(const void *pointer, size_t size)
{
    uint64_t offset = 0;
    return sl_shared_offset(pointer, size, &offset);
}

static void test_closed_gives_ordinary_memory(void **state)
{
    (void)state;
    assert_int_equal(sl_shared_heap_fd(), -1);
    assert_int_equal(sl_shared_heap_size(), 0);
    char *data = sl_shared_alloc(MIB, true);
    assert_non_null(data);
    assert_false(lies_in_segment(data, MIB));
    sl_shared_free(data);
    sl_shared_free(NULL);
}

/* ---- closed: the region of this process alone ---- */

static void test_own_memory_is_given_again_zeroed(void **state)
{
    (void)state;
    char *data = sl_shared_alloc(MIB, false), *other = sl_shared_alloc(MIB, false);
    assert_non_null(data);
    assert_true(other >= data + MIB || data >= other + MIB);
    assert_int_equal((uintptr_t)data % SL_ALIGNMENT, 0);
    memset(data, 7, MIB);
    memset(other, 9, MIB);
    sl_shared_free(data);
    char *again = sl_shared_alloc(MIB, true);
    assert_ptr_equal(again, data);
    for (size_t i = 0; i < MIB; i++)
        assert_int_equal(again[i], 0);
    assert_int_equal(other[0], 9);
    assert_int_equal(other[MIB - 1], 9);
    sl_shared_free(again);
    sl_shared_free(other);
}

/* A snapshot in another thread holds the old version while updates go on: it stays as it was, and three pieces are enough for ever. */
struct holding {
    struct sl_buffer *buffer;
    int version;
};

static void *look_and_release(void *argument)
{
    struct holding *holding = argument;
    const unsigned char *bytes = holding->buffer->data;
    for (size_t i = 0; i < holding->buffer->size; i += 997)
        assert_int_equal(bytes[i], holding->version);
    sl_buffer_release(holding->buffer);
    return NULL;
}

static struct sl_buffer *version_of(int version)
{
    struct sl_buffer *buffer = sl_buffer_create_unset(MIB);
    assert_non_null(buffer);
    memset(buffer->data, version, MIB);
    return buffer;
}

static void test_versions_come_and_go_in_the_same_places(void **state)
{
    (void)state;
    enum { ROUNDS = 60, PLACES = 3 };
    const void *places[PLACES] = {NULL};
    int count = 0;
    struct sl_buffer *current = version_of(0);
    for (int round = 0; round < ROUNDS; round++) {
        struct holding holding = {sl_buffer_retain(current), round};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, look_and_release, &holding), 0);
        for (int update = 0; update < 2;
                update++) { /* the first one must not write what is held, nor does the second one */
            struct sl_buffer *next = version_of(round + 1);
            sl_buffer_release(current);
            current = next;
            int known = 0;
            while (known < count && places[known] != current->data)
                known++;
            assert_true(known < PLACES);
            places[known] = current->data;
            count = known == count ? count + 1 : count;
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    sl_buffer_release(current);
}

static void test_own_without_memory(void **state)
{
    (void)state;
    char *held = sl_shared_alloc(64 * MIB, false); /* all that is free, and more */
    assert_non_null(held);
    sl_memory_fail_after(1);
    assert_null(sl_shared_alloc(MIB, false)); /* neither its books nor other memory */
    assert_null(sl_buffer_create(MIB));
    sl_memory_fail_after(0);
    sl_shared_free(held);
    assert_null(sl_shared_alloc(SIZE_MAX, false));
}

static void test_sanitizer_sees_what_is_not_given(void **state)
{
    (void)state;
    if (__asan_address_is_poisoned == NULL)
        skip();
    char *data = sl_shared_alloc(MIB - 100, false);
    assert_false(__asan_address_is_poisoned(data));
    assert_false(__asan_address_is_poisoned(data + MIB - 101));
    assert_true(__asan_address_is_poisoned(data + MIB - 100)); /* the rest of its page */
    assert_true(__asan_address_is_poisoned(data + MIB));       /* the gap before the next one */
    sl_shared_free(data);
    assert_true(__asan_address_is_poisoned(data));
}

/* ---- open ---- */

static void test_open(void **state)
{
    (void)state;
    struct sl_error err = {0};
    assert_int_equal(sl_shared_heap_open(SEGMENT, &err), SL_OK);
    int fd = sl_shared_heap_fd();
    assert_true(fd >= 0);
    assert_int_equal(sl_shared_heap_open(2 * SEGMENT, &err), SL_OK); /* nothing happens */
    assert_int_equal(sl_shared_heap_fd(), fd);
    assert_int_equal(sl_shared_heap_size(), SEGMENT);
}

static void test_what_is_large_lies_in_it(void **state)
{
    (void)state;
    char *small = sl_shared_alloc(SL_SHARED_MIN - 1, true), *large = sl_shared_alloc(SL_SHARED_MIN, true);
    uint64_t offset = 0;
    assert_false(lies_in_segment(small, 1));
    assert_true(sl_shared_offset(large, SL_SHARED_MIN, &offset));
    assert_int_equal((uintptr_t)large % SL_ALIGNMENT, 0);
    assert_true(lies_in_segment(large + 100, 1));
    assert_false(lies_in_segment(large, SEGMENT + 1 - offset)); /* beyond its end */
    struct sl_buffer *buffer = sl_buffer_create(2 * SL_SHARED_MIN);
    assert_true(lies_in_segment(buffer->data, buffer->size));
    assert_false(buffer->read_only);
    sl_buffer_release(buffer);
    sl_shared_free(small);
    sl_shared_free(large);
}

static void test_freed_memory_is_given_again_zeroed(void **state)
{
    (void)state;
    char *data = sl_shared_alloc(MIB, true);
    memset(data, 7, MIB);
    sl_shared_free(data);
    char *again = sl_shared_alloc(MIB, false);
    assert_ptr_equal(again, data);
    assert_int_equal(again[5], 7);
    sl_shared_free(again);
    again = sl_shared_alloc(MIB, true);
    assert_ptr_equal(again, data);
    for (size_t i = 0; i < MIB; i++)
        assert_int_equal(again[i], 0);
    sl_shared_free(again);
}

/* In whatever order they come back, all that was ever given out is one piece again. */
static void test_neighbours_are_joined(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    static const int orders[][COUNT] = {{0, 1, 2, 3, 4, 5, 6, 7}, {7, 6, 5, 4, 3, 2, 1, 0},
            {0, 2, 4, 6, 1, 3, 5, 7}, {3, 4, 2, 5, 1, 6, 0, 7}};
    for (size_t o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
        char *pieces[COUNT];
        for (int i = 0; i < COUNT; i++) {
            pieces[i] = sl_shared_alloc(MIB, false);
            assert_true(lies_in_segment(pieces[i], MIB));
            memset(pieces[i], i, MIB);
        }
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < i; j++)
                assert_true(pieces[i] + MIB <= pieces[j] || pieces[j] + MIB <= pieces[i]);
        for (int i = 0; i < COUNT; i++)
            sl_shared_free(pieces[orders[o][i]]);
        char *whole = sl_shared_alloc(COUNT * MIB, false);
        assert_ptr_equal(whole, pieces[0]);
        sl_shared_free(whole);
    }
}

static void test_full_gives_ordinary_memory(void **state)
{
    (void)state;
    char *most = sl_shared_alloc(SEGMENT - MIB, false), *more = sl_shared_alloc(2 * MIB, true);
    assert_true(lies_in_segment(most, SEGMENT - MIB));
    assert_non_null(more);
    assert_false(lies_in_segment(more, 2 * MIB));
    sl_shared_free(more);
    sl_shared_free(most);
    assert_null(sl_shared_alloc(SIZE_MAX, false));
}

static void test_without_memory_for_its_books(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        sl_memory_fail_after(n);
        char *data = sl_shared_alloc(3 * MIB, false);
        sl_memory_fail_after(0);
        sl_shared_free(data);
    }
    char *whole = sl_shared_alloc(SEGMENT, false);
    assert_true(lies_in_segment(whole, SEGMENT)); /* nothing was lost */
    sl_shared_free(whole);
}

/* What another process that was given the descriptor could try. */
static void test_sealed(void **state)
{
    (void)state;
    int fd = sl_shared_heap_fd();
    assert_int_equal(ftruncate(fd, (off_t)MIB), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, (off_t)(2 * SEGMENT)), -1);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    if ((fcntl(fd, F_GET_SEALS) & F_SEAL_FUTURE_WRITE) == 0)
        skip(); /* a kernel before 5.1 */
    assert_ptr_equal(mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)MIB), -1);
    const char *seen = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(seen, MAP_FAILED);
    assert_int_equal(mprotect((void *)(uintptr_t)seen, MIB, PROT_READ | PROT_WRITE), -1);
    (void)munmap((void *)(uintptr_t)seen, MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_closed_gives_ordinary_memory),
            cmocka_unit_test(test_own_memory_is_given_again_zeroed),
            cmocka_unit_test(test_versions_come_and_go_in_the_same_places),
            cmocka_unit_test(test_own_without_memory),
            cmocka_unit_test(test_sanitizer_sees_what_is_not_given), cmocka_unit_test(test_open),
            cmocka_unit_test(test_what_is_large_lies_in_it),
            cmocka_unit_test(test_freed_memory_is_given_again_zeroed),
            cmocka_unit_test(test_neighbours_are_joined), cmocka_unit_test(test_full_gives_ordinary_memory),
            cmocka_unit_test(test_without_memory_for_its_books), cmocka_unit_test(test_sealed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
