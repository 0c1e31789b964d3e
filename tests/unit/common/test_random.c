/* Philox against the published known answers, and that what is drawn from it has the right shape. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/random.h"

#include <math.h>
#include <stdlib.h>

static void expect_words(
        uint64_t index, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, const uint32_t expected[4])
{
    struct sl_random stream = {{k0, k1}, {c2, c3}};
    uint32_t words[4];
    sl_random_u32x4(&stream, index, words);
    for (int i = 0; i < 4; i++)
        assert_int_equal(words[i], expected[i]);
}

/* kat_vectors of Random123 1.14 for philox4x32, 10 rounds */
static void test_known_answers(void **state)
{
    (void)state;
    const uint32_t zeros[] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    const uint32_t ones[] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    const uint32_t pi[] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    expect_words(0, 0, 0, 0, 0, zeros);
    expect_words(UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, ones);
    expect_words(0x85a308d3243f6a88U, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, pi);
}

static void test_words_are_one_stream(void **state)
{
    (void)state;
    struct sl_random stream = sl_random_make(5, SL_RANDOM_TEST, 6, 7);
    for (uint64_t i = 0; i < 64; i++) {
        uint32_t words[4];
        sl_random_u32x4(&stream, i / 4, words);
        assert_int_equal(sl_random_u32(&stream, i), words[i % 4]);
    }
}

static void test_streams_differ(void **state)
{
    (void)state;
    const struct sl_random base = sl_random_make(1, SL_RANDOM_DROPOUT, 2, 3);
    const struct sl_random others[] = {sl_random_make(2, SL_RANDOM_DROPOUT, 2, 3),
            sl_random_make(1, SL_RANDOM_INITIAL, 2, 3), sl_random_make(1, SL_RANDOM_DROPOUT, 3, 3),
            sl_random_make(1, SL_RANDOM_DROPOUT, 2, 4), sl_random_make(1, SL_RANDOM_DROPOUT, 3, 2)};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        int same = 0;
        for (uint64_t n = 0; n < 64; n++)
            same += sl_random_u32(&base, n) == sl_random_u32(&others[i], n) ? 1 : 0;
        assert_true(same <= 1);
    }
    const struct sl_random again = sl_random_make(1, SL_RANDOM_DROPOUT, 2, 3);
    assert_int_equal(sl_random_u32(&base, 9), sl_random_u32(&again, 9));
}

#define DRAWS 200000

static void test_shapes(void **state)
{
    (void)state;
    struct sl_random stream = sl_random_make(11, SL_RANDOM_TEST, 0, 0);
    double sum = 0, square = 0, normal = 0, normal_square = 0, normal_cube = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double u = (double)sl_random_float(&stream, i), z = (double)sl_random_normal(&stream, i);
        assert_true(u >= 0.0 && u < 1.0);
        sum += u;
        square += u * u;
        normal += z;
        normal_square += z * z;
        normal_cube += z * z * z;
    }
    /* five standard errors of each mean */
    assert_true(fabs(sum / DRAWS - 0.5) < 5 * sqrt(1.0 / 12 / DRAWS));
    assert_true(fabs(square / DRAWS - 1.0 / 3) < 5 * sqrt(4.0 / 45 / DRAWS));
    assert_true(fabs(normal / DRAWS) < 5 * sqrt(1.0 / DRAWS));
    assert_true(fabs(normal_square / DRAWS - 1) < 5 * sqrt(2.0 / DRAWS));
    assert_true(fabs(normal_cube / DRAWS) < 5 * sqrt(15.0 / DRAWS));
}

static void test_below(void **state)
{
    (void)state;
    struct sl_random stream = sl_random_make(12, SL_RANDOM_TEST, 0, 0);
    int counts[7] = {0};
    for (uint64_t i = 0; i < 70000; i++) {
        uint64_t value = sl_random_below(&stream, i, 7);
        assert_true(value < 7);
        counts[value]++;
    }
    for (int k = 0; k < 7; k++)
        assert_true(abs(counts[k] - 10000) < 5 * 93); /* sqrt(70000 · 1/7 · 6/7) = 92.6 */
    assert_int_equal(sl_random_below(&stream, 0, 1), 0);
    assert_true(sl_random_below(&stream, 0, UINT64_MAX) < UINT64_MAX);
}

static void test_hash(void **state)
{
    (void)state;
    /* XXH3_64bits of the empty input, from the specification's test vectors */
    assert_true(sl_hash64("", 0, 0) == 0x2d06800538d394c2U);
    assert_true(sl_hash64("a", 1, 0) != sl_hash64("a", 1, 1));
    assert_true(sl_hash64("ab", 2, 0) != sl_hash64("ba", 2, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_known_answers),
            cmocka_unit_test(test_words_are_one_stream),
            cmocka_unit_test(test_streams_differ),
            cmocka_unit_test(test_shapes),
            cmocka_unit_test(test_below),
            cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
