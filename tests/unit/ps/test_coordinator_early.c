/* The coordinator's decisions with modulation.exchange early: scores first, then coefficients, then one gradient; what is lost in between; where steps overlap, coefficients from the steps before.
 * One test for a row of its tables: an event, and what follows from it as a line of text (trace.h). */
#include "tests/unit/ps/world.h"

#include <math.h>

static struct world blank_early_world(void)
{
    struct world w = blank_world();
    w.config->modulation.exchange = SL_EXCHANGE_EARLY;
    w.config->modulation.form = SL_FORM_EXCESS;
    w.config->modulation.alpha = 0.5;
    w.config->modulation.end = -1;
    w.config->optimiser.clip_by = SL_CLIP_BY_MODULATED;
    return w;
}

static struct world early_world(void)
{
    struct world w = blank_early_world();
    struct ps_training training = ps_training_begin();
    open_world(&w, &training);
    return w;
}

static const char *scored(struct world *w, uint64_t id, uint32_t level, uint32_t index)
{
    struct sl_message *m = statistics(w, level, index);
    m->phase = SL_PHASE_SCORE;
    return from_worker(w, id, m);
}

/* Scores of 0.6 and 0.3 a sample: the first is twice the second. */
static double leader(void)
{
    return 1.0 - tanh(0.5);
}

static void expect_coefficients(const double *got, double first)
{
    if (!(fabs(got[0] - first) < 1e-12 && got[1] == 1.0))
        fail_msg("coefficients %.17g %.17g, expected %.17g 1", got[0], got[1], first);
}

/* Of the index-th message of what came last. */
static const struct sl_message *sent(const struct world *w, int index)
{
    assert_true(index < w->updates.outbox.count);
    return w->updates.outbox.items[index].message;
}

/* Two workers with two slots each of step 0. */
static struct world two_workers(void)
{
    struct world w = early_world();
    (void)server_hello(&w, 0);
    (void)hello(&w, 1);
    (void)hello(&w, 2);
    expect("w1<assign score 0-2 of 4 at 0; w2<assign score 2-4 of 4 at 0; ready", loaded(&w, 0));
    return w;
}

static void test_scores_then_coefficients_then_gradients(void **state)
{
    (void)state;
    struct world w = early_world();
    expect("w1<assign score 0-4 of 4 at 0; ready", gather(&w));
    expect_coefficients((double[]){sent(&w, 0)->coefficient[0], 1.0}, 0.0); /* not known yet */
    expect("", scored(&w, 1, 1, 0));
    expect("w1<assign train 0-4 of 4 at 0", scored(&w, 1, 1, 1));
    expect_coefficients(sent(&w, 0)->coefficient, leader());
    expect("", reduced(&w));
    expect("", scored(&w, 1, 1, 1)); /* again: its run is another one now */
    expect("s100<commit 0 to 1", stats(&w, 1, 2, 0));
    expect_coefficients(sent(&w, 0)->commit.coefficient, leader());
    expect("w1<assign score 0-3 of 3 at 1; step 1", applied(&w));
    const struct ps_step_record *record = &last_action(&w)->record;
    assert_int_equal(record->samples, 8); /* counted once */
    assert_true(fabs(record->ratio[0] - 2.0) < 1e-12 && fabs(record->score[0] - 0.6) < 1e-12);
    assert_true(record->compute_seconds == 3000e-6); /* of scoring and training */
    assert_int_equal(ps_coordinator_worker(w.c, 0).slots, 4);
    close_world(&w);
}

/* What each scored it trains, whose activations it may have; the coefficients are the same for both. */
static void test_whoever_scored_a_slot_trains_it(void **state)
{
    (void)state;
    struct world w = two_workers();
    expect("", scored(&w, 1, 1, 0));
    expect("w1<assign train 0-2 of 4 at 0; w2<assign train 2-4 of 4 at 0", scored(&w, 2, 1, 1));
    expect_coefficients(sent(&w, 0)->coefficient, leader());
    expect_coefficients(sent(&w, 1)->coefficient, leader());
    close_world(&w);
}

/* Gone before its scores are in: its slots are scored by the other one, who has nothing to do until then. */
static void test_a_worker_that_goes_while_scoring(void **state)
{
    (void)state;
    struct world w = two_workers();
    expect("", scored(&w, 1, 1, 0));
    expect("w1<assign score 2-4 of 4 at 0; lost", gone(&w, 2));
    expect("w1<assign train 0-4 of 4 at 0", scored(&w, 1, 1, 1));
    close_world(&w);
}

/* Gone between forward and backward: its scores have decided the coefficients, its slots are computed anew by the other one, whose statistics count. */
static void test_a_worker_that_goes_between_forward_and_backward(void **state)
{
    (void)state;
    struct world w = two_workers();
    struct sl_message *m = statistics(&w, 1, 1);
    m->phase = SL_PHASE_SCORE;
    m->stats.score[0] *= 1.5; /* what the other one's forward pass would not say again */
    expect("", from_worker(&w, 2, m));
    expect("w1<assign train 0-2 of 4 at 0; w2<assign train 2-4 of 4 at 0", scored(&w, 1, 1, 0));
    double k = sent(&w, 0)->coefficient[0];
    expect("lost", gone(&w, 2));
    expect("w1<assign train 2-4 of 4 at 0", stats(&w, 1, 1, 0));
    assert_true(sent(&w, 0)->coefficient[0] == k);
    expect("", stats(&w, 1, 1, 1));
    expect("s100<commit 0 to 1", reduced(&w));
    assert_true(sent(&w, 0)->commit.coefficient[0] == k);
    (void)applied(&w);
    assert_int_equal(last_action(&w)->record.samples, 8);
    assert_true(fabs(last_action(&w)->record.score[0] - 0.6) < 1e-12);
    close_world(&w);
}

/* The only reader of two slots goes after it has scored them: they are skipped, and have no part in the step's losses and weight. The coefficients stay. */
static void test_slots_that_are_skipped_after_they_were_scored(void **state)
{
    (void)state;
    struct world w = blank_early_world();
    struct ps_training training = ps_training_begin();
    w.config->dataset.locality = SL_LOCALITY_SHARDS;
    w.config->dataset.missing = SL_MISSING_SKIP;
    w.local = true;
    open_world(&w, &training);
    (void)server_hello(&w, 0);
    memset(w.readable, 0, sizeof(w.readable));
    (void)hello(&w, 1);
    memset(w.readable, 1, sizeof(w.readable));
    (void)hello(&w, 2);
    (void)loaded(&w, 0);
    expect("w2<assign train 0-4 of 4 at 0", scored(&w, 2, 2, 0));
    double k = sent(&w, 0)->coefficient[0];
    struct sl_message *m = statistics(&w, 1, 0);
    double weight = m->stats.weight_sum;
    expect("", from_worker(&w, 2, m));
    expect("w1<assign skip 2-4 of 4 at 0; lost; warn", gone(&w, 2));
    m = statistics(&w, 1, 1);
    m->phase = SL_PHASE_SKIP;
    m->stats = (struct sl_step_stats){0};
    expect("", from_worker(&w, 1, m));
    expect("s100<commit 0 to 1", reduced(&w));
    assert_true(sent(&w, 0)->commit.coefficient[0] == k);
    assert_true(sent(&w, 0)->commit.inverse_weight == 1.0 / weight);
    (void)applied(&w);
    assert_int_equal(last_action(&w)->record.samples, 4);
    close_world(&w);
}

/* A straggler's slots are scored by another worker too; whatever it says later does not count. */
static void test_a_straggler_while_scoring(void **state)
{
    (void)state;
    struct world w = two_workers();
    expect("", scored(&w, 1, 1, 0));
    expect("w1<assign score 2-4 of 4 at 0; warn", tick(&w, 20 * BEAT_US));
    expect("w1<assign train 0-4 of 4 at 0", scored(&w, 1, 1, 1));
    expect("", scored(&w, 2, 1, 1));
    close_world(&w);
}

static void test_scores_that_do_not_fit(void **state)
{
    (void)state;
    struct world w = early_world();
    (void)gather(&w);
    expect("", stats(&w, 1, 2, 0)); /* nobody may train yet */
    struct sl_message *m = statistics(&w, 2, 0);
    m->phase = SL_PHASE_SCORE;
    m->stats.score[0] = NAN;
    expect("w1<stop; s100<stop; finish diverged", from_worker(&w, 1, m));
    assert_non_null(strstr(last_action(&w)->text, "score of modality 0"));
    close_world(&w);
    w = early_world();
    (void)gather(&w);
    m = statistics(&w, 2, 0);
    m->phase = SL_PHASE_SCORE;
    m->stats.count++;
    expect("w1<refuse; refused; lost", from_worker(&w, 1, m));
    assert_int_equal(ps_coordinator_worker_count(w.c), 0);
    close_world(&w);
}

/* Nothing depends on the scores: nobody waits for them. */
static void test_foregone_coefficients_are_not_waited_for(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->modulation.exchange = SL_EXCHANGE_EARLY;
    w.config->modulation.alpha = 0.5;
    w.config->modulation.start = 1;
    w.config->modulation.end = -1;
    open_world(&w, &training);
    expect("w1<assign train 0-4 of 4 at 0; ready", gather(&w));
    expect_coefficients(sent(&w, 0)->coefficient, 1.0);
    (void)stats(&w, 1, 2, 0);
    (void)reduced(&w);
    expect("w1<assign score 0-3 of 3 at 1; step 1", applied(&w)); /* the window begins */
    close_world(&w);
}

/* ssp: a step's coefficients are what the steps before say when it is opened, for all its slots. */
static void test_where_steps_overlap_nobody_waits(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->modulation.exchange = SL_EXCHANGE_EARLY;
    w.config->modulation.alpha = 0.5;
    w.config->modulation.decay = 0.9;
    w.config->modulation.end = -1;
    w.config->consistency.mode = SL_CONSISTENCY_SSP;
    w.config->consistency.staleness = 1;
    open_world(&w, &training);
    expect("w1<assign train 0-4 of 4 at 0; ready", gather(&w));
    expect_coefficients(sent(&w, 0)->coefficient, 1.0);
    expect("w1<assign train 0-3 of 3 at 1 on 0", stats(&w, 1, 2, 0));
    expect_coefficients(sent(&w, 0)->coefficient, 1.0); /* opened before anything was committed */
    expect("s100<commit 0 to 1", reduced_at(&w, 0, 0));
    expect_coefficients(sent(&w, 0)->commit.coefficient, 1.0);
    (void)applied_at(&w, 0, 0, 1);
    assert_true(fabs(last_action(&w)->record.ratio[0] - 2.0) < 1e-12);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_scores_then_coefficients_then_gradients),
            cmocka_unit_test(test_whoever_scored_a_slot_trains_it),
            cmocka_unit_test(test_a_worker_that_goes_while_scoring),
            cmocka_unit_test(test_a_worker_that_goes_between_forward_and_backward),
            cmocka_unit_test(test_slots_that_are_skipped_after_they_were_scored),
            cmocka_unit_test(test_a_straggler_while_scoring),
            cmocka_unit_test(test_scores_that_do_not_fit),
            cmocka_unit_test(test_foregone_coefficients_are_not_waited_for),
            cmocka_unit_test(test_where_steps_overlap_nobody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
