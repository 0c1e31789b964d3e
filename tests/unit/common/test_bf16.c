/* bfloat16: each way of computing it against what rounding means, for every upper half of a float32; and that what is kept makes up for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/bf16.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOWER 7
#define COUNT (65536 * LOWER)

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* By distance, in doubles: of the two neighbours the nearer one, of equals the even one. The one after the largest finite number stands for infinity. */
static sl_bf16 expected(uint32_t bits)
{
    uint32_t down = bits >> 16, up = down + 1;
    if ((bits & 0x7fffffff) >= 0x7f800000)
        return (sl_bf16)down;
    double x = fabs((double)float_of(bits)), low = fabs((double)float_of(down << 16));
    double high = (up & 0x7fff) == 0x7f80 ? 0x1p128 : fabs((double)float_of(up << 16));
    if (x - low == high - x)
        return (sl_bf16)(down % 2 == 0 ? down : up);
    return (sl_bf16)(x - low < high - x ? down : up);
}

static bool is_nan(sl_bf16 x)
{
    return (x & 0x7fff) > 0x7f80;
}

static void test_every_upper_half(void **state)
{
    (void)state;
    static const uint32_t lower[LOWER] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
    uint32_t *bits = calloc(COUNT, sizeof(*bits));
    float *values = calloc(COUNT, sizeof(*values));
    sl_bf16 *rounded = calloc(COUNT, sizeof(*rounded)), *kept = calloc(COUNT, sizeof(*kept));
    assert_true(bits != NULL && values != NULL && rounded != NULL && kept != NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        bits[i] = i / LOWER << 16 | lower[i % LOWER];
        memcpy(&values[i], &bits[i], sizeof(float));
    }
    for (int k = 0; sl_bf16_kernel_at(k) != NULL; k++) {
        memset(kept, 0, COUNT * sizeof(*kept));
        sl_bf16_kernel_at(k)->round_kept(rounded, kept, values, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            bool zero = (bits[i] & 0x7fffffff) == 0; /* -0 + 0 is 0 */
            sl_bf16 want = zero ? 0 : expected(bits[i]);
            bool good = isnan(values[i]) ? is_nan(rounded[i]) : rounded[i] == want;
            if (!good)
                (void)printf("%s: %08x became %04x, expected %04x\n", sl_bf16_kernel_at(k)->name, bits[i],
                        rounded[i], want);
            assert_true(good);
            float back, error;
            sl_bf16_widen(&back, &rounded[i], 1);
            sl_bf16_widen(&error, &kept[i], 1);
            if (!isfinite(back))
                assert_int_equal(kept[i], 0);
            else /* half a unit of the last place of what is kept */
                assert_true(fabs((double)values[i] - (double)back - (double)error) <=
                            fabs((double)error) * 0x1p-8 + 0x1p-134);
        }
    }
    free(bits);
    free(values);
    free(rounded);
    free(kept);
}

/* Any length, also such as no vector has; what comes after it stays. */
static void test_lengths(void **state)
{
    (void)state;
    enum { MOST = 200 };
    float values[MOST], back[MOST + 1];
    for (int i = 0; i < MOST; i++)
        values[i] = (float)(i + 1) * 1.01F;
    for (int k = 0; sl_bf16_kernel_at(k) != NULL; k++)
        for (size_t n = 0; n < MOST; n++) {
            sl_bf16 rounded[MOST + 1] = {0}, kept[MOST + 1] = {0};
            sl_bf16_kernel_at(k)->round_kept(rounded, kept, values, n);
            back[n] = -7.0F;
            sl_bf16_widen(back, rounded, n);
            for (size_t i = 0; i < n; i++)
                assert_true(fabsf(back[i] - values[i]) <= values[i] * 0x1p-8F);
            assert_true(rounded[n] == 0 && kept[n] == 0 && back[n] == -7.0F);
        }
}

/* A number far below the unit of the last place of its neighbours' sum still arrives in the end. */
static void test_sums_lose_nothing(void **state)
{
    (void)state;
    enum { ROUNDS = 4000 };
    sl_bf16 kept = 0, rounded = 0;
    double sum = 0.0, sent = 0.0;
    srand(5);
    for (int i = 0; i < ROUNDS; i++) {
        float value = 1.0F + (float)rand() / (float)RAND_MAX * 0.003F, back;
        sl_bf16_round_kept(&rounded, &kept, &value, 1);
        sl_bf16_widen(&back, &rounded, 1);
        sum += (double)value;
        sent += (double)back;
    }
    float error;
    sl_bf16_widen(&error, &kept, 1);
    assert_true(fabs((double)error) <= 0x1p-8);
    assert_true(fabs(sum - sent - (double)error) <= ROUNDS * 0x1p-17); /* roundings of what is kept */
    assert_true(fabs(sum - ROUNDS * 1.0) > 1.0); /* plain rounding would send 1 each time */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_every_upper_half),
            cmocka_unit_test(test_lengths),
            cmocka_unit_test(test_sums_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
