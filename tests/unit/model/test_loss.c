/* Cross-entropy: against the plain twin, smoothing and weights, samples without label, ties, values that are
 * not finite. */
#include "tests/unit/model/numbers.h"

#include "worker/model/loss.h"
#include "worker/model/reference.h"

#include <string.h>

#define B 5
#define K 4

static const int labels[B] = {0, 3, 1, 1, 2};
static const float weights[K] = {0.5F, 2.0F, 1.0F, 3.0F};

static void test_twin(void **state)
{
    (void)state;
    float logits[B * K], d[B * K];
    double wide[B * K], expected[B * K];
    fill(logits, B * K, 1, 4.0F);
    widen(wide, logits, B * K);
    for (int weighted = 0; weighted < 2; weighted++) {
        for (int step = 0; step < 3; step++) {
            float smoothing = 0.1F * (float)step;
            double sum = 0.0, weight_sum = 0.0;
            struct wk_loss loss;
            wk_loss_forward(&loss, d, logits, labels, weighted ? weights : NULL, B, K, smoothing, 2.0F);
            for (size_t b = 0; b < B; b++) {
                double weight = weighted ? (double)weights[labels[b]] : 1.0;
                weight_sum += weight;
                sum += wk_reference_loss(wide + b * K, K, (size_t)labels[b], weight, (double)smoothing);
                wk_reference_loss_backward(expected + b * K, wide + b * K, K, (size_t)labels[b], 2.0 * weight,
                        (double)smoothing);
            }
            assert_true(fabs(loss.loss - sum) < 1e-9);
            assert_true(fabs(loss.weight_sum - weight_sum) < 1e-12);
            assert_int_equal(loss.count, B);
            expect_near("dlogits", d, expected, B * K, 1e-7, 1e-6);
        }
    }
}

static void test_hand(void **state)
{
    (void)state;
    /* softmax of (0, ln 3) is (1/4, 3/4) */
    const float logits[] = {0.0F, logf(3.0F), 0.0F, logf(3.0F)};
    const int y[] = {1, 0};
    struct wk_loss loss;
    wk_loss_forward(&loss, NULL, logits, y, NULL, 2, 2, 0.0F, 1.0F);
    assert_true(fabs(loss.loss - (log(4.0 / 3.0) + log(4.0))) < 1e-7);
    assert_true(fabs(loss.score - 1.0) < 1e-7);
    assert_int_equal(loss.correct, 1);
    wk_loss_forward(&loss, NULL, logits, y, NULL, 1, 2, 0.2F, 1.0F);
    assert_true(fabs(loss.loss - (0.9 * log(4.0 / 3.0) + 0.1 * log(4.0))) < 1e-7);
}

static void test_unlabelled_and_ties(void **state)
{
    (void)state;
    const float logits[] = {1.0F, 1.0F, 0.0F, 2.0F, 1.0F, 0.0F};
    const int y[] = {0, -1}, second[] = {1, -1};
    float d[6];
    struct wk_loss loss;
    wk_loss_forward(&loss, d, logits, y, NULL, 2, 3, 0.0F, 1.0F);
    assert_int_equal(loss.count, 1);
    assert_int_equal(loss.correct, 1); /* the first of equals */
    assert_true(d[3] == 0.0F && d[4] == 0.0F && d[5] == 0.0F && d[0] < 0.0F);
    wk_loss_forward(&loss, d, logits, second, NULL, 2, 3, 0.0F, 0.0F);
    assert_int_equal(loss.correct, 0);
    assert_true(d[0] == 0.0F && d[1] == 0.0F); /* loss.weight 0 */
}

static void test_extremes(void **state)
{
    (void)state;
    const float far[] = {1e30F, -1e30F}, bad[] = {NAN, 0.0F}, infinite[] = {INFINITY, 0.0F};
    const int first[] = {0}, second[] = {1};
    struct wk_loss loss;
    wk_loss_forward(&loss, NULL, far, first, NULL, 1, 2, 0.0F, 1.0F);
    assert_true(loss.loss == 0.0 && loss.score == 1.0);
    wk_loss_forward(&loss, NULL, far, second, NULL, 1, 2, 0.0F, 1.0F);
    assert_true(loss.loss > 1e30 && isfinite(loss.loss) && loss.score == 0.0);
    wk_loss_forward(&loss, NULL, bad, second, NULL, 1, 2, 0.0F, 1.0F);
    assert_true(!isfinite(loss.loss));
    wk_loss_forward(&loss, NULL, infinite, second, NULL, 1, 2, 0.0F, 1.0F);
    assert_true(!isfinite(loss.loss));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_twin),
            cmocka_unit_test(test_hand),
            cmocka_unit_test(test_unlabelled_and_ties),
            cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
