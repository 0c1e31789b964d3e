/* What the server counts: outcomes, nearest-rank percentiles over a window, batch sizes, both texts. */
#include "deploy/serve/figures.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_outcomes(void **state)
{
    (void)state;
    assert_int_equal(dp_figures_outcome(SL_OK), DP_OUTCOME_OK);
    assert_int_equal(dp_figures_outcome(SL_USAGE), DP_OUTCOME_REFUSED);
    assert_int_equal(dp_figures_outcome(SL_BAD_DATA), DP_OUTCOME_REFUSED);
    assert_int_equal(dp_figures_outcome(SL_MISMATCH), DP_OUTCOME_REFUSED);
    assert_int_equal(dp_figures_outcome(SL_AGAIN), DP_OUTCOME_BUSY);
    assert_int_equal(dp_figures_outcome(SL_STOPPED), DP_OUTCOME_BUSY);
    assert_int_equal(dp_figures_outcome(SL_FAILED), DP_OUTCOME_FAILED);
    assert_int_equal(dp_figures_outcome(SL_NO_MEMORY), DP_OUTCOME_FAILED);
}

static void answer(struct dp_figures *figures, float seconds)
{
    struct dp_times times = {{seconds, seconds / 2, 0.0F, seconds / 4}};
    dp_figures_answer(figures, SL_OK, &times);
}

static void test_percentiles(void **state)
{
    (void)state;
    SL_AUTO_FREE struct dp_figures *figures = sl_alloc(1, sizeof(*figures));
    assert_true(dp_figures_quantile(figures, DP_STAGE_TOTAL, 0.5) == 0.0);
    for (int i = 100; i >= 1; i--)
        answer(figures, (float)i);
    dp_figures_answer(figures, SL_BAD_DATA, NULL); /* does not count here */
    assert_true(dp_figures_quantile(figures, DP_STAGE_TOTAL, 0.5) == 50.0);
    assert_true(dp_figures_quantile(figures, DP_STAGE_TOTAL, 0.9) == 90.0);
    assert_true(dp_figures_quantile(figures, DP_STAGE_TOTAL, 0.99) == 99.0);
    assert_true(dp_figures_quantile(figures, DP_STAGE_TOTAL, 1.0) == 100.0);
    assert_true(dp_figures_quantile(figures, DP_STAGE_PREPARE, 0.5) == 25.0);
    for (int i = 0; i < DP_FIGURES_WINDOW; i++) /* the old ones leave the window, not the sums */
        answer(figures, 1.0F);
    assert_true(dp_figures_quantile(figures, DP_STAGE_TOTAL, 1.0) == 1.0);
    assert_true(figures->sum[DP_STAGE_TOTAL] == 5050.0 + DP_FIGURES_WINDOW);
    assert_true(figures->answers[DP_OUTCOME_OK] == 100 + DP_FIGURES_WINDOW);
    assert_true(figures->answers[DP_OUTCOME_REFUSED] == 1);
}

static void test_batches_and_texts(void **state)
{
    (void)state;
    SL_AUTO_FREE struct dp_figures *figures = sl_alloc(1, sizeof(*figures));
    struct dp_figures_now now = {.in_flight = 2, .queue = 64, .step = 1200, .loaded = 1.5};
    static const int sizes[] = {1, 2, 3, 8, 256, 257};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        dp_figures_batch(figures, sizes[i]);
    answer(figures, 0.25F);
    SL_AUTO(sl_text_fini) struct sl_text text;
    SL_AUTO(sl_json_fini) struct sl_json json;
    const char *bytes = NULL;
    sl_text_init(&text, 1 << 20);
    dp_figures_prometheus(figures, &now, &text);
    assert_int_equal(sl_text_finish(&text, &bytes, NULL, NULL), SL_OK);
    static const char *const lines[] = {"batch_size_bucket{le=\"1\"} 1\n", "batch_size_bucket{le=\"2\"} 2\n",
            "batch_size_bucket{le=\"4\"} 3\n", "batch_size_bucket{le=\"256\"} 5\n",
            "batch_size_bucket{le=\"+Inf\"} 6\n", "batch_size_sum 527\n", "snapshot_step 1200\n",
            "latency_seconds{stage=\"total\",quantile=\"0.99\"} 0.25\n",
            "requests_total{outcome=\"ok\"} 1\n"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (strstr(bytes, lines[i]) == NULL)
            fail_msg("no %s in %s", lines[i], bytes);
    sl_json_init(&json, 1 << 20);
    sl_json_object(&json, NULL);
    dp_figures_json(figures, &now, &json);
    sl_json_end(&json);
    assert_int_equal(sl_json_finish(&json, &bytes, NULL, NULL), SL_OK);
    assert_non_null(strstr(bytes, "\"total\":{\"p50\":250,\"p90\":250,\"p99\":250}"));
    assert_non_null(strstr(bytes, "\"batches\":{\"count\":6,"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_outcomes), cmocka_unit_test(test_percentiles),
            cmocka_unit_test(test_batches_and_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
