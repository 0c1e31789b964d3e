/* Evaluation figures against values worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/evaluation.h"
#include "common/memory.h"
#include "common/random.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct sl_evaluation *create(int branches, int classes)
{
    struct sl_evaluation *evaluation = NULL;
    assert_int_equal(sl_evaluation_create(&evaluation, branches, classes, NULL), SL_OK);
    return evaluation;
}

static void add(struct sl_evaluation *evaluation, int branch, const float *probabilities, int label)
{
    assert_int_equal(sl_evaluation_add(evaluation, branch, probabilities, label, NULL), SL_OK);
}

/* four samples of four classes, of which the last never occurs:
 *   true 0 said 0 at .6875 (bin 10) · true 1 said 1 at .75 (bin 11) · true 0 said 2 at .625 (bin 9) · true 1 said 0 at .5 (bin 7) */
static const float four[4][4] = {{0.6875F, 0.25F, 0.0625F, 0}, {0.125F, 0.75F, 0.125F, 0},
        {0.125F, 0.25F, 0.625F, 0}, {0.5F, 0.25F, 0.25F, 0}};
static const int four_labels[] = {0, 1, 0, 1};

static void add_four(struct sl_evaluation *evaluation, int branch)
{
    for (int i = 0; i < 4; i++)
        add(evaluation, branch, four[i], four_labels[i]);
}

static void expect_near(double got, double expected)
{
    if (!(fabs(got - expected) <= 0x1p-28)) /* losses and confidences are rounded to that */
        fail_msg("got %.17g, expected %.17g", got, expected);
}

static void test_by_hand(void **state)
{
    (void)state;
    struct sl_evaluation *evaluation = create(2, 4);
    add_four(evaluation, 1);
    struct sl_evaluation_report report;
    sl_evaluation_report(evaluation, 1, &report);
    assert_int_equal(report.count, 4);
    expect_near(report.accuracy, 0.5);
    /* F1: class 0: 2·1/(2+2) = 1/2; class 1: 2·1/(1+2) = 2/3; class 2: said once, never true: 0; class 3 is left out */
    expect_near(report.macro_f1, (0.5 + 2.0 / 3.0 + 0.0) / 3.0);
    expect_near(report.class_distance, (0 + 0 + 2 + 1) / 4.0);
    /* each bin holds one sample: .3125 + .25 + .625 + .5 */
    expect_near(report.calibration_error, 1.6875 / 4.0);
    expect_near(report.loss, -(log(0.6875) + log(0.75) + log(0.125) + log(0.25)) / 4.0);
    expect_near(report.precision[0], 0.5);
    expect_near(report.precision[1], 1.0);
    expect_near(report.recall[0], 0.5);
    assert_true(isnan(report.recall[2]));
    assert_true(isnan(report.precision[3]) && isnan(report.f1[3]));
    assert_int_equal(report.support[0], 2);
    assert_int_equal(report.predicted[0], 2);
    assert_int_equal(report.bins[10].count, 1);
    assert_int_equal(report.bins[11].count, 1);
    assert_int_equal(report.bins[9].count, 1);
    assert_int_equal(report.bins[7].count, 1);
    assert_int_equal(sl_evaluation_confusion(evaluation, 1, 0, 2), 1);
    expect_near(sl_evaluation_metric(evaluation, 1, SL_METRIC_ACCURACY), 0.5);
    expect_near(sl_evaluation_metric(evaluation, 1, SL_METRIC_MACRO_F1), report.macro_f1);
    expect_near(sl_evaluation_metric(evaluation, 1, SL_METRIC_LOSS), report.loss);
    sl_evaluation_report(evaluation, 0, &report);
    assert_int_equal(report.count, 0);
    assert_true(isnan(report.accuracy) && isnan(report.macro_f1) && isnan(report.loss) &&
                isnan(report.calibration_error));
    sl_evaluation_clear(evaluation);
    assert_int_equal(sl_evaluation_count(evaluation, 1), 0);
    sl_evaluation_destroy(evaluation);
}

static void test_ties_and_bin_edges(void **state)
{
    (void)state;
    struct sl_evaluation *evaluation = create(1, 3);
    const float tie[] = {0.25F, 0.375F, 0.375F}, sure[] = {1.0F, 0.0F, 0.0F};
    add(evaluation, 0, tie, 2);
    add(evaluation, 0, sure, 1); /* p of the label is 0: a large but finite loss */
    struct sl_evaluation_report report;
    sl_evaluation_report(evaluation, 0, &report);
    assert_int_equal(sl_evaluation_confusion(evaluation, 0, 2, 1), 1);
    assert_int_equal(report.bins[14].count, 1);
    assert_int_equal(report.bins[5].count, 1); /* 0.375 · 15 = 5.625 */
    assert_true(isfinite(report.loss) && report.loss > 50);
    sl_evaluation_destroy(evaluation);
}

static void test_logits(void **state)
{
    (void)state;
    struct sl_evaluation *a = create(1, 3);
    const float logits[] = {2.0F, -1.0F, 0.5F};
    double sum = exp(2.0) + exp(-1.0) + exp(0.5);
    assert_int_equal(sl_evaluation_add_logits(a, 0, logits, 2, NULL), SL_OK);
    struct sl_evaluation_report report;
    sl_evaluation_report(a, 0, &report);
    expect_near(report.loss, -log(exp(0.5) / sum));
    expect_near(report.bins[(int)ceil(exp(2.0) / sum * 15) - 1].confidence, exp(2.0) / sum);
    const float huge[] = {3e38F, -3e38F, 0.0F};
    sl_evaluation_clear(a);
    assert_int_equal(sl_evaluation_add_logits(a, 0, huge, 0, NULL), SL_OK);
    sl_evaluation_report(a, 0, &report);
    expect_near(report.loss, 0.0);
    expect_near(report.bins[14].confidence, 1.0);
    sl_evaluation_destroy(a);
}

static void test_not_finite(void **state)
{
    (void)state;
    struct sl_evaluation *evaluation = create(1, 2);
    struct sl_error err = {0};
    const float bad[][2] = {{NAN, 0.5F}, {0.5F, INFINITY}, {-0.1F, 0.5F}, {0.5F, 1.1F}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(sl_evaluation_add(evaluation, 0, bad[i], 0, &err), SL_DIVERGED);
    assert_int_equal(sl_evaluation_add_logits(evaluation, 0, bad[0], 0, &err), SL_DIVERGED);
    assert_string_equal(err.text, "logit nan of class 0 is not finite");
    assert_int_equal(sl_evaluation_count(evaluation, 0), 0);
    sl_evaluation_destroy(evaluation);
}

static void random_sample(struct sl_random *random, uint64_t i, float logits[5], int *ret_label)
{
    for (uint64_t k = 0; k < 5; k++)
        logits[k] = 3.0F * sl_random_normal(random, i * 8 + k);
    *ret_label = (int)sl_random_below(random, i * 8 + 5, 5);
}

static void test_merge_is_the_whole(void **state)
{
    (void)state;
    struct sl_random random = sl_random_make(3, SL_RANDOM_TEST, 0, 0);
    struct sl_evaluation *whole = create(2, 5), *left = create(2, 5), *right = create(2, 5),
                         *other = create(2, 4);
    for (uint64_t i = 0; i < 300; i++) {
        float logits[5];
        int label = 0;
        random_sample(&random, i, logits, &label);
        int branch = (int)(i % 2);
        assert_int_equal(sl_evaluation_add_logits(whole, branch, logits, label, NULL), SL_OK);
        assert_int_equal(
                sl_evaluation_add_logits(i < 120 ? left : right, branch, logits, label, NULL), SL_OK);
    }
    assert_int_equal(sl_evaluation_merge(left, right, NULL), SL_OK);
    assert_memory_equal(sl_evaluation_ints(left), sl_evaluation_ints(whole),
            sl_evaluation_int_count(2, 5) * sizeof(int64_t));
    assert_memory_equal(sl_evaluation_doubles(left), sl_evaluation_doubles(whole),
            sl_evaluation_double_count(2, 5) *
                    sizeof(double)); /* the same bits, though added in another order */
    struct sl_evaluation_report a, b;
    sl_evaluation_report(left, 1, &a);
    sl_evaluation_report(whole, 1, &b);
    expect_near(a.loss, b.loss);
    expect_near(a.calibration_error, b.calibration_error);
    assert_int_equal(a.count, 150);
    struct sl_error err = {0};
    assert_int_equal(sl_evaluation_merge(left, other, &err), SL_MISMATCH);
    assert_string_equal(err.text, "cannot add an evaluation of 2 branches and 4 classes to one of 2 and 5");
    sl_evaluation_destroy(whole);
    sl_evaluation_destroy(left);
    sl_evaluation_destroy(right);
    sl_evaluation_destroy(other);
}

/* changes one integer or double of a good pair of arrays and expects refusal */
static void expect_refused(
        const struct sl_evaluation *good, size_t int_at, int64_t value, double first_double)
{
    size_t ints = sl_evaluation_int_count(1, 4), doubles = sl_evaluation_double_count(1, 4);
    int64_t *int_copy = malloc(ints * sizeof(*int_copy));
    double *double_copy = malloc(doubles * sizeof(*double_copy));
    assert_true(int_copy != NULL && double_copy != NULL);
    memcpy(int_copy, sl_evaluation_ints(good), ints * sizeof(*int_copy));
    memcpy(double_copy, sl_evaluation_doubles(good), doubles * sizeof(*double_copy));
    int_copy[int_at] += value;
    double_copy[0] += first_double;
    struct sl_evaluation *target = create(1, 4);
    assert_int_equal(sl_evaluation_load(target, int_copy, ints, double_copy, doubles, NULL), SL_BAD_DATA);
    assert_int_equal(sl_evaluation_count(target, 0), 0);
    sl_evaluation_destroy(target);
    free(int_copy);
    free(double_copy);
}

static void test_load(void **state)
{
    (void)state;
    struct sl_evaluation *good = create(1, 4), *target = create(1, 4);
    add_four(good, 0);
    size_t ints = sl_evaluation_int_count(1, 4), doubles = sl_evaluation_double_count(1, 4);
    assert_int_equal(sl_evaluation_load(target, sl_evaluation_ints(good), ints, sl_evaluation_doubles(good),
                             doubles, NULL),
            SL_OK);
    expect_near(
            sl_evaluation_metric(target, 0, SL_METRIC_LOSS), sl_evaluation_metric(good, 0, SL_METRIC_LOSS));
    struct sl_error err = {0};
    assert_int_equal(sl_evaluation_load(target, sl_evaluation_ints(good), ints - 1,
                             sl_evaluation_doubles(good), doubles, &err),
            SL_BAD_DATA);
    assert_int_equal(sl_evaluation_count(target, 0), 4);
    expect_refused(good, 0, 1, 0.0); /* one more in the matrix than in the bins */
    expect_refused(good, 0, -2, 0.0);
    expect_refused(good, 0, INT64_MAX - 1, 0.0);
    expect_refused(good, 16 + 10, 1, 0.0);
    expect_refused(good, 16 + 15 + 10, 1, 0.0);
    expect_refused(good, 0, 0, NAN);
    sl_evaluation_destroy(good);
    sl_evaluation_destroy(target);
}

static const char *const branch_names[] = {"text", "fused"};
static const char *const class_names[] = {"day", "week", "常青", "never"};

static void test_print(void **state)
{
    (void)state;
    struct sl_evaluation *evaluation = create(2, 4);
    add_four(evaluation, 1);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    assert_non_null(stream);
    sl_evaluation_print(evaluation, stream, branch_names, class_names);
    (void)fclose(stream);
    assert_string_equal(text, "branch       samples  accuracy  macro-F1      loss       ECE  distance\n"
                              "text               0         -         -         -         -         -\n"
                              "fused              4    0.5000    0.3889    1.0320    0.4219    0.7500\n"
                              "\n"
                              "fused\n"
                              "class          samples precision    recall        F1\n"
                              "day                  2    0.5000    0.5000    0.5000\n"
                              "week                 2    1.0000    0.5000    0.6667\n"
                              "常青                 0    0.0000         -    0.0000\n"
                              "never                0         -         -         -\n"
                              "\n"
                              "true \\ said  day    week   常青   never \n"
                              "day               1      0      1      0\n"
                              "week              1      1      0      0\n"
                              "常青              0      0      0      0\n"
                              "never             0      0      0      0\n");
    free(text);
    sl_evaluation_destroy(evaluation);
}

static void test_json(void **state)
{
    (void)state;
    struct sl_evaluation *evaluation = create(2, 4);
    add_four(evaluation, 1);
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 1 << 16);
    sl_evaluation_json(evaluation, &json, NULL, branch_names, class_names);
    const char *text = NULL;
    assert_int_equal(sl_json_finish(&json, &text, NULL, NULL), SL_OK);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    const json_t *fused = json_object_get(root, "fused");
    assert_int_equal(json_integer_value(json_object_get(fused, "count")), 4);
    expect_near(json_real_value(json_object_get(fused, "class_distance")), 0.75);
    assert_int_equal(
            json_integer_value(json_array_get(json_array_get(json_object_get(fused, "confusion"), 0), 2)), 1);
    assert_int_equal(json_array_size(json_object_get(fused, "calibration")), SL_EVALUATION_BINS);
    assert_string_equal(
            json_string_value(json_object_get(json_array_get(json_object_get(fused, "classes"), 2), "name")),
            "常青");
    assert_true(json_is_null(json_object_get(json_object_get(root, "text"), "accuracy")));
    json_decref(root);
    sl_evaluation_destroy(evaluation);
}

static void test_no_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 3; n++) {
        struct sl_evaluation *evaluation = NULL;
        sl_memory_fail_after(n);
        assert_int_equal(sl_evaluation_create(&evaluation, 3, 6, NULL), SL_NO_MEMORY);
        sl_memory_fail_after(0);
        assert_null(evaluation);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_by_hand),
            cmocka_unit_test(test_ties_and_bin_edges),
            cmocka_unit_test(test_logits),
            cmocka_unit_test(test_not_finite),
            cmocka_unit_test(test_merge_is_the_whole),
            cmocka_unit_test(test_load),
            cmocka_unit_test(test_print),
            cmocka_unit_test(test_json),
            cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("evaluation", tests, NULL, NULL);
}
