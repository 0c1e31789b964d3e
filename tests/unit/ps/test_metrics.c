/* metrics.jsonl: what a line holds, and what a resumed run cuts off. */
#include "ps/metrics.h"

#include "common/file.h"
#include "tests/unit/ps/fixture.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

static struct sl_error err;
static struct sl_config *config;
static char *path;

static int set_up(void **state)
{
    (void)state;
    config = fixture_config();
    (void)snprintf(config->snapshots.dir, sizeof(config->snapshots.dir), "fixture-metrics");
    path = sl_path_join(config->snapshots.dir, "metrics.jsonl");
    assert_int_equal(sl_file_remove_tree(config->snapshots.dir, &err), SL_OK);
    assert_int_equal(sl_file_make_directories(config->snapshots.dir, &err), SL_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(sl_file_remove_tree(config->snapshots.dir, &err), SL_OK);
    sl_free(path);
    sl_free(config);
    return 0;
}

static struct ps_metrics *open_at(int64_t step)
{
    struct ps_metrics *metrics = NULL;
    if (ps_metrics_open(&metrics, config, step, &err) != SL_OK)
        fail_msg("%s", err.text);
    return metrics;
}

static void put_step(struct ps_metrics *metrics, int64_t step)
{
    struct ps_step_record r = {.step = step,
            .epoch = 1,
            .samples = 8,
            .loss = {1.5, 2.5, 0.5},
            .ratio = {2.0, 0.5},
            .coefficient = {0.25, 1.0},
            .cosine = {NAN, 0.5},
            .update_norm = {0.5, 0.25, 0.125},
            .parameter_norm = {8.0, 4.0, 2.0},
            .rate = 1e-3,
            .seconds = 0.5,
            .workers = 2};
    assert_int_equal(ps_metrics_step(metrics, &r, &err), SL_OK);
}

/* The n-th line, from 0; NULL when there is none. Owns: json_decref it. */
static json_t *line(int n)
{
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(sl_file_read(&text, &size, path, 1 << 20, &err), SL_OK);
    char *at = text;
    for (; n > 0 && at != NULL; n--)
        at = strchr(at, '\n') == NULL ? NULL : strchr(at, '\n') + 1;
    json_t *found = at == NULL || *at == 0 ? NULL : json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
    sl_free(text);
    return found;
}

static double number(const json_t *object, const char *first, const char *second)
{
    const json_t *value = json_object_get(object, first);
    return json_number_value(second == NULL ? value : json_object_get(value, second));
}

static void test_lines(void **state)
{
    (void)state;
    struct ps_metrics *metrics = open_at(0);
    struct sl_evaluation *evaluation = NULL;
    const float logits[3] = {3.0F, 0.0F, 1.0F};
    assert_int_equal(sl_evaluation_create(&evaluation, 3, 3, &err), SL_OK);
    assert_int_equal(sl_evaluation_add_logits(evaluation, 2, logits, 0, &err), SL_OK);
    put_step(metrics, 7);
    assert_int_equal(ps_metrics_validation(metrics, 7, 1, 0.25, true, evaluation, &err), SL_OK);
    assert_int_equal(ps_metrics_event(metrics, 7, "worker-lost", "w1 \"h\":\n12", &err), SL_OK);
    ps_metrics_close(metrics);
    sl_evaluation_destroy(evaluation);
    json_t *step = line(0), *validation = line(1), *event = line(2), *none = line(3);
    assert_string_equal(json_string_value(json_object_get(step, "kind")), "step");
    assert_true(number(step, "step", NULL) == 7 && number(step, "loss", "visual") == 1.5 &&
                number(step, "loss", "fused") == 0.5);
    assert_true(number(step, "ratio", "visual") == 2.0 && number(step, "coefficient", "text") == 1.0);
    assert_null(json_object_get(json_object_get(step, "ratio"), "fused"));
    assert_true(
            number(step, "update_norm", "text") == 0.25 && number(step, "parameter_norm", "fused") == 2.0);
    assert_true(json_is_null(json_object_get(
            json_object_get(step, "cosine"), "visual"))); /* not a number has no name in JSON */
    assert_true(number(step, "samples_per_second", NULL) == 16.0 && number(step, "workers", NULL) == 2);
    assert_string_equal(json_string_value(json_object_get(validation, "kind")), "validation");
    assert_true(json_is_true(json_object_get(validation, "best")));
    assert_true(number(json_object_get(validation, "branches"), "fused", "accuracy") == 1.0);
    assert_string_equal(json_string_value(json_object_get(event, "text")), "w1 \"h\":\n12");
    assert_null(none);
    json_decref(step);
    json_decref(validation);
    json_decref(event);
}

static void expect_steps(int count)
{
    for (int n = 0; n < count; n++) {
        json_t *found = line(n);
        assert_non_null(found);
        assert_int_equal(json_integer_value(json_object_get(found, "step")), n + 1);
        json_decref(found);
    }
    assert_null(line(count));
}

static void append(const char *bytes)
{
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    (void)fputs(bytes, file);
    (void)fclose(file);
}

static void test_a_resumed_run_cuts_off_what_is_later(void **state)
{
    (void)state;
    struct ps_metrics *metrics = open_at(0);
    for (int64_t step = 1; step <= 5; step++)
        put_step(metrics, step);
    ps_metrics_close(metrics);
    append("{\"kind\":\"step\",\"step\":3,\"tor"); /* kill -9 in the middle of a line */
    ps_metrics_close(open_at(5));
    expect_steps(5);
    metrics = open_at(3);
    expect_steps(3);
    put_step(metrics, 4);
    ps_metrics_close(metrics);
    expect_steps(4);
    append("no json\n{\"kind\":\"step\",\"step\":5}\n"); /* what cannot be read ends what is kept */
    ps_metrics_close(open_at(9));
    expect_steps(4);
    ps_metrics_close(open_at(0)); /* a fresh run */
    expect_steps(0);
}

static void test_what_cannot_be_written_says_where(void **state)
{
    (void)state;
    struct ps_metrics *metrics = open_at(0);
    struct rlimit before, tiny;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tiny = (struct rlimit){100, before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    struct ps_step_record r = {.step = 1};
    enum sl_status status = ps_metrics_step(metrics, &r, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(status, SL_OK);
    assert_non_null(strstr(err.text, "metrics.jsonl"));
    ps_metrics_close(metrics);
    ps_metrics_close(NULL);
    char kept[SL_PATH_MAX];
    memcpy(kept, config->snapshots.dir, sizeof(kept));
    (void)snprintf(config->snapshots.dir, sizeof(config->snapshots.dir), "fixture-metrics/absent");
    metrics = NULL;
    assert_int_not_equal(ps_metrics_open(&metrics, config, 0, &err), SL_OK);
    assert_non_null(strstr(err.text, "fixture-metrics/absent"));
    assert_null(metrics);
    memcpy(config->snapshots.dir, kept, sizeof(kept));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_resumed_run_cuts_off_what_is_later, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_what_cannot_be_written_says_where, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
