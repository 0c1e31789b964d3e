/* The coordinator's decisions with one server: who takes part, a step's numbers, validation, snapshots, stopping. One test for a row of its tables: an event, and what follows from it as a line of
 * text (trace.h). Many servers, rollback, ssp and asp, stragglers and audits: test_coordinator_cluster.c. */
#include "tests/unit/ps/world.h"

#include <math.h>

/* ---- who takes part ---- */

static void test_they_join_in_any_order(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    open_world(&w, &training);
    assert_int_equal(ps_coordinator_total_steps(w.c), 0);
    expect("s100<welcome 0; joined", server_hello(&w, 0)); /* nobody has told how much there is to learn */
    expect("w1<welcome 0; joined; load 0", hello(&w, 1));
    assert_string_equal(w.updates.actions[0].text, "w0 h:12 with 2 threads");
    assert_int_equal(w.updates.actions[1].count, 7); /* slots of an epoch */
    assert_int_equal(ps_coordinator_steps_per_epoch(w.c), 2);
    assert_int_equal(ps_coordinator_total_steps(w.c), 4);
    expect("w2<welcome 1; joined", hello(&w, 2)); /* while the server loads */
    expect("w1<assign train 0-2 of 4 at 0; w2<assign train 2-4 of 4 at 0; ready", loaded(&w, 0));
    expect("", loaded(&w, 0));
    close_world(&w);
    w = blank_world();
    open_world(&w, &training);
    expect("joined", hello(&w, 1)); /* its welcome waits for the list of servers */
    expect("", hello(&w, 1));
    expect("s100<welcome 0; w1<welcome 0; joined; load 0", server_hello(&w, 0));
    struct sl_message *m = message(&w, SL_MESSAGE_LOADED);
    m->version = 1;
    expect("", from_server(&w, 0, m)); /* of another version */
    expect("w1<assign train 0-4 of 4 at 0; ready", loaded(&w, 0));
    expect("w2<welcome 1; joined", hello(&w, 2)); /* nothing is left of this step */
    expect("", stats(&w, 1, 2, 0));
    expect("s100<commit 0 to 1", reduced(&w));
    expect("w3<welcome 2; joined", hello(&w, 3)); /* between steps */
    expect("w1<assign train 0-1 of 3 at 1; w2<assign train 1-2 of 3 at 1; w3<assign train 2-3 of 3 at 1; "
           "step 1",
            applied(&w));
    close_world(&w);
}

static void refused(struct world *w, struct sl_hello hello, const char *words)
{
    expect("w9<refuse; refused", hello_as(w, 9, hello));
    assert_non_null(strstr(w->updates.outbox.items[0].message->text, words));
    assert_string_equal(w->updates.outbox.items[0].message->text, last_action(w)->text);
}

static void test_workers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    open_world(&w, &training);
    struct sl_hello h = introduction(&w);
    h.train_count = 0;
    refused(&w, h, "training set of 0 samples");
    h.train_count = (uint64_t)UINT32_MAX + 1;
    refused(&w, h, "training set of 4294967296 samples");
    h = introduction(&w);
    h.validation_count = UINT64_MAX;
    refused(&w, h, "validation set of 18446744073709551615 samples");
    h = introduction(&w);
    h.config_hash++;
    refused(&w, h, "worker h:12 has another config (hash 0000000000000006");
    h = introduction(&w);
    h.layout_hash++;
    refused(&w, h, "lays out parameters differently");
    (void)hello(&w, 1);
    h = introduction(&w);
    h.train_count++;
    refused(&w, h, "other training data (15 samples");
    h = introduction(&w);
    h.train_fingerprint = 1;
    refused(&w, h, "other training data");
    h = introduction(&w);
    h.validation_count = 0;
    refused(&w, h, "other validation data (0 samples");
    h = introduction(&w);
    h.validation_fingerprint = 3;
    refused(&w, h, "other validation data");
    close_world(&w);
}

static void test_a_full_house_refuses(void **state)
{
    (void)state;
    struct world w = new_world();
    for (uint64_t id = 100; id < 100 + 4096; id++)
        (void)hello(&w, id);
    refused(&w, introduction(&w), "as many workers as it can take");
    close_world(&w);
}

/* Of a node of a step of 7 slots, all of them whole. */
static const char *stats_of_seven(struct world *w, uint64_t id, uint32_t level, uint32_t index)
{
    struct sl_message *m = statistics(w, 0, 0);
    m->slots = 7;
    m->node = (struct sl_node){level, index};
    m->stats.count = 2 << level;
    m->stats.weight_sum = m->stats.count;
    return from_worker(w, id, m);
}

/* The first worker does not take all slots from one that joins a moment later: until both are known, each takes two for each of its threads. */
static void test_the_first_step_is_for_those_who_come_a_moment_later_too(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->batch.slots = 8; /* of which the data fills 7 */
    open_world(&w, &training);
    struct sl_hello h = introduction(&w);
    h.threads = 1;
    (void)server_hello(&w, 0);
    (void)hello_as(&w, 1, h);
    expect("w1<assign train 0-2 of 7 at 0; ready", loaded(&w, 0));
    expect("w2<welcome 1; w2<assign train 2-4 of 7 at 0; joined", hello_as(&w, 2, h));
    w.now_us += 1000000;
    expect("w1<assign train 4-6 of 7 at 0", stats_of_seven(&w, 1, 1, 0)); /* the other's speed is not known */
    expect("w2<assign train 6-7 of 7 at 0", stats_of_seven(&w, 2, 1, 1));
    expect("", stats_of_seven(&w, 1, 1, 2));
    expect("", stats_of_seven(&w, 2, 0, 6));
    expect("s100<commit 0 to 1", reduced(&w));
    close_world(&w);
}

static void test_a_lost_worker_costs_its_slots_alone(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)hello(&w, 2);
    expect("w2<assign train 0-4 of 4 at 0; lost", gone(&w, 1));
    assert_string_equal(last_action(&w)->text, "w0 h:12: not heard");
    expect("", gone(&w, 1));
    expect("", stats(&w, 1, 2, 0)); /* came too late: it takes part no more */
    expect("w1<welcome 2; joined", hello(&w, 1));
    expect("", stats(&w, 2, 1, 1));
    struct sl_message *bye = message(&w, SL_MESSAGE_BYE);
    (void)snprintf(bye->text, sizeof(bye->text), "SIGTERM");
    expect("w1<assign train 0-2 of 4 at 0; lost", from_worker(&w, 2, bye)); /* what it reported stays */
    assert_string_equal(last_action(&w)->text, "w1 h:12: SIGTERM");
    expect("lost", from_worker(&w, 1, message(&w, SL_MESSAGE_BYE)));
    expect("w4<welcome 3; w4<assign train 0-2 of 4 at 0; joined",
            hello(&w, 4)); /* nobody was left: training waited */
    expect("", stats(&w, 4, 1, 0));
    expect("s100<commit 0 to 1", reduced(&w));
    close_world(&w);
}

/* ---- a step ---- */

/* What changes_of says, joined over each branch's own blocks: an extractor and its head are the modality's, the fusion is the fused branch's. */
static void expect_changes(const struct world *w, const struct ps_step_record *r)
{
    double squares[3] = {0};
    for (int b = 0; b < w->layout->block_count; b++) {
        int modality = w->layout->blocks[b].modality;
        squares[modality < 0 ? 2 : modality] += (b + 1.0) * (b + 1.0);
    }
    for (int branch = 0; branch < 3; branch++) {
        assert_true(squares[branch] > 0.0);
        assert_true(fabs(r->update_norm[branch] - 0.5 * sqrt(squares[branch])) < 1e-9);
        assert_true(fabs(r->parameter_norm[branch] - 2.0 * sqrt(squares[branch])) < 1e-9);
    }
}

static void test_the_numbers_of_a_step(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)stats(&w, 1, 1, 0);
    (void)stats(&w, 1, 1, 1);
    expect("s100<commit 0 to 1", reduced(&w));
    const struct sl_commit *commit = &w.updates.outbox.items[0].message->commit;
    double norm = sqrt(4.0 * w.layout->block_count) / 8.0, clip = 1.0 / (norm + 1e-6);
    assert_true(norm > 1.0);
    assert_true(commit->inverse_weight == 1.0 / 8.0);
    assert_true(commit->clip == clip);
    assert_true(fabs(commit->rate - 1e-3) < 1e-9);
    double ratio = (8 * 0.6) / (8 * 0.3);
    assert_true(fabs(commit->coefficient[0] - (1.0 - tanh(0.5 * (ratio - 1.0)))) < 1e-12);
    assert_true(commit->coefficient[1] == 1.0);
    expect("w1<assign train 0-3 of 3 at 1; step 1", applied(&w));
    const struct ps_step_record *r = &last_action(&w)->record;
    assert_int_equal(r->samples, 8);
    assert_int_equal(r->epoch, 0);
    assert_int_equal(r->workers, 1);
    assert_true(r->loss[0] == 1.0 && r->loss[1] == 2.0 && r->loss[2] == 3.0);
    assert_true(r->accuracy[2] == 0.5 && r->accuracy[0] == 0.0);
    assert_true(fabs(r->score[0] - 0.6) < 1e-12 && fabs(r->ratio[0] - 2.0) < 1e-12 &&
                fabs(r->ratio[1] - 0.5) < 1e-12);
    assert_true(r->norm == norm && r->clip == clip && fabs(r->cosine[0] - 0.5) < 1e-12);
    assert_true(fabs(r->compute_seconds - 0.002) < 1e-12 && r->seconds > 0.0);
    expect_changes(&w, r);
    close_world(&w);
}

static void test_reports_that_do_not_count(void **state)
{
    (void)state;
    struct world w = new_world();
    struct sl_message *m = statistics(&w, 0, 0);
    m->cluster++;
    expect("", from_worker(&w, 1, m)); /* of another run */
    m = statistics(&w, 0, 0);
    m->step = 3;
    expect("", from_worker(&w, 1, m)); /* of another step */
    m = statistics(&w, 0, 0);
    m->slots = 3;
    expect("", from_worker(&w, 1, m));                      /* of another tree */
    expect("", from_worker(&w, 1, result(&w, 0, 1, true))); /* nothing is being validated */
    expect("", from_worker(&w, 1, sums_of(&w, 0, 1.0)));    /* only servers reduce */
    m = changes_of(&w, 0);
    m->step++;
    expect("", from_worker(&w, 1, m));
    expect("", applied(&w)); /* nothing was committed */
    m = sums_of(&w, 0, 1.0);
    m->step = 1;
    expect("", from_server(&w, 0, m));
    expect("", from_server(&w, 0, message(&w, SL_MESSAGE_ALIVE)));
    expect("", stats(&w, 1, 1, 0));
    expect("", stats(&w, 1, 1, 0)); /* twice */
    expect("", stats(&w, 1, 0, 1)); /* a part of what is in */
    expect("", stats(&w, 1, 2, 0)); /* more than what is in: replaces it */
    expect("", stats(&w, 1, 1, 1));
    expect("s100<commit 0 to 1", reduced(&w));
    expect("", reduced(&w));
    expect("w1<assign train 0-3 of 3 at 1; step 1", applied(&w));
    assert_int_equal(last_action(&w)->record.samples, 8);
    close_world(&w);
}

static void test_a_worker_with_another_idea_of_the_data_is_lost(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)hello(&w, 2);
    struct sl_message *m = statistics(&w, 1, 0);
    m->stats.count = INT32_MAX;
    expect("w1<refuse; w2<assign train 0-4 of 4 at 0; refused; lost", from_worker(&w, 1, m));
    assert_non_null(strstr(last_action(&w)->text, "another number of samples"));
    close_world(&w);
}

static void diverges(void (*spoil)(struct sl_message *stats), const char *words)
{
    struct world w = new_world();
    struct sl_message *m = statistics(&w, 2, 0);
    spoil(m);
    (void)from_worker(&w, 1, m);
    expect("w1<stop; s100<stop; finish diverged", reduced(&w));
    assert_non_null(strstr(last_action(&w)->text, words));
    expect("", hello(&w, 2)); /* it is over */
    expect("", stop(&w));
    expect("", tick(&w, BEAT_US));
    close_world(&w);
}

static void spoil_loss(struct sl_message *m)
{
    m->stats.loss[2] = NAN;
}

static void spoil_weight(struct sl_message *m)
{
    m->stats.weight_sum = 0.0;
}

static void spoil_score(struct sl_message *m)
{
    m->stats.score[1] = -1.0;
}

static void test_what_is_not_finite_ends_the_run(void **state)
{
    (void)state;
    diverges(spoil_loss, "not finite: lower optimiser.lr");
    diverges(spoil_weight, "not finite");
    diverges(spoil_score, "score of modality 1");
    struct world w = new_world();
    struct sl_message *m = sums_of(&w, 0, 1.0);
    (void)snprintf(m->text, sizeof(m->text), "step 0: 3 numbers of the gradient of x are not finite");
    expect("w1<stop; s100<stop; finish diverged", from_server(&w, 0, m));
    assert_string_equal(last_action(&w)->text, "step 0: 3 numbers of the gradient of x are not finite");
    close_world(&w);
}

/* ---- validation, snapshots, the end ---- */

static void test_a_whole_run(void **state)
{
    (void)state;
    struct world w = new_world();
    expect("w1<assign train 0-3 of 3 at 1; step 1", whole_step(&w, 1));
    expect("w1<assign validate 0-3 of 3 at 2; step 2", whole_step(&w, 1));
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; validation best; snapshot best",
            validated(&w, 1, 0, 3, true));
    assert_int_equal(ps_coordinator_training(w.c)->best_step, 2);
    expect("", written(&w, SL_OK));
    expect("w1<assign train 0-3 of 3 at 3; step 3", whole_step(&w, 1));
    expect("w1<assign validate 0-3 of 3 at 4; step 4", whole_step(&w, 1));
    expect("s100<save 4; validation; snapshot", validated(&w, 1, 0, 3, true)); /* as good is not better */
    assert_int_equal(ps_coordinator_training(w.c)->validations_without_gain, 1);
    expect("w1<stop; s100<stop; finish ok", written(&w, SL_OK));
    assert_string_equal(last_action(&w)->text, "all steps are done");
    close_world(&w);
}

static void to_validation(struct world *w, uint64_t id)
{
    (void)whole_step(w, id);
    (void)whole_step(w, id);
}

/* Two workers, equally fast, at the validation after the only step. */
static struct world validating_pair(void)
{
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->max_steps = 1;
    open_world(&w, &training);
    (void)server_hello(&w, 0);
    (void)hello(&w, 1);
    (void)hello(&w, 2);
    (void)loaded(&w, 0);
    (void)stats(&w, 1, 1, 0);
    w.now_us -= 10; /* at the same time */
    (void)stats(&w, 2, 1, 1);
    (void)reduced(&w);
    expect("w1<assign validate 0-2 of 3 at 1; w2<assign validate 2-3 of 3 at 1; step 1", applied(&w));
    return w;
}

static void test_validation_is_shared_and_counted_once(void **state)
{
    (void)state;
    struct world w = validating_pair();
    expect("", validated(&w, 1, 0, 1, true)); /* a run is reported as it was given */
    expect("", validated(&w, 2, 0, 2, true)); /* by whom it was given to */
    expect("", validated(&w, 2, 2, 3, true));
    expect("", validated(&w, 2, 2, 3, true)); /* once */
    expect("w2<assign validate 0-2 of 3 at 1; lost", gone(&w, 1));
    struct sl_message *m = result(&w, 0, 2, false);
    m->step--;
    expect("", from_worker(&w, 2, m));
    m = result(&w, 0, 2, false);
    m->end = 4;
    expect("", from_worker(&w, 2, m));
    expect("", stats(&w, 2, 0, 0));
    expect("s100<save 1; validation best; snapshot best", validated(&w, 2, 0, 2, false));
    assert_int_equal(sl_evaluation_count(w.updates.actions[0].evaluation, 2), VALIDATION);
    assert_true(
            fabs(sl_evaluation_metric(w.updates.actions[0].evaluation, 2, SL_METRIC_ACCURACY) - 0.2) < 1e-12);
    close_world(&w);
}

static void bad_result(struct sl_message *(*make)(struct world *w), const char *words)
{
    struct world w = new_world();
    to_validation(&w, 1);
    expect("w1<refuse; refused; lost", from_worker(&w, 1, make(&w)));
    assert_non_null(strstr(last_action(&w)->text, words));
    close_world(&w);
}

static struct sl_message *short_result(struct world *w)
{
    struct sl_message *m = result(w, 0, 3, true);
    m->frames[0].size -= 8;
    return m;
}

static struct sl_message *contradictory_result(struct world *w)
{
    struct sl_message *m = result(w, 0, 3, true);
    ((int64_t *)m->frames[0].buffer->data)[0] = -1;
    return m;
}

static void test_results_that_cannot_be(void **state)
{
    (void)state;
    bad_result(short_result, "another shape");
    bad_result(contradictory_result, "contradict each other");
    struct world w = validating_pair();
    struct sl_message *m = result(&w, 0, 2, true); /* 4 samples in unit 2, which has one */
    m->begin = 2;
    m->end = 3;
    expect("w2<refuse; refused; lost", from_worker(&w, 2, m));
    assert_non_null(strstr(last_action(&w)->text, "more samples than its units have"));
    close_world(&w);
}

static void test_snapshots_between_epochs(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->snapshots.every_steps = 1;
    open_world(&w, &training);
    (void)gather(&w);
    expect("s100<save 1; w1<assign train 0-3 of 3 at 1; step 1; snapshot", whole_step(&w, 1));
    expect("w1<assign validate 0-3 of 3 at 2; step 2", whole_step(&w, 1));
    expect("validation best",
            validated(&w, 1, 0, 3, true)); /* must not be missed: waits for the one before */
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; warn; snapshot best",
            written(&w, SL_DISK)); /* a failure is said, and training goes on */
    assert_non_null(strstr(w.updates.actions[0].text, "snapshot of step 1 could not be written: disk full"));
    expect("w1<assign train 0-3 of 3 at 3; step 3",
            whole_step(&w, 1)); /* every step, but not while one is being written */
    expect("", written(&w, SL_OK));
    expect("w1<assign validate 0-3 of 3 at 4; step 4", whole_step(&w, 1));
    expect("s100<save 4; validation; snapshot", validated(&w, 1, 0, 3, false));
    expect("w1<stop; s100<stop; warn; finish disk",
            written(&w, SL_DISK)); /* the last one is what the run was for */
    assert_string_equal(last_action(&w)->text, "the last snapshot could not be written: disk full");
    close_world(&w);
}

static void test_no_validation_set(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    open_world(&w, &training);
    struct sl_hello h = introduction(&w);
    h.validation_count = 0;
    (void)server_hello(&w, 0);
    (void)hello_as(&w, 1, h);
    (void)loaded(&w, 0);
    (void)whole_step(&w, 1);
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; step 2; snapshot", whole_step(&w, 1));
    close_world(&w);
}

static void test_max_steps_ends_within_an_epoch(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->max_steps = 1;
    open_world(&w, &training);
    (void)gather(&w);
    assert_int_equal(ps_coordinator_total_steps(w.c), 1);
    expect("w1<assign validate 0-3 of 3 at 1; step 1", whole_step(&w, 1));
    expect("s100<save 1; validation best; snapshot best", validated(&w, 1, 0, 3, true));
    expect("w1<stop; s100<stop; finish ok", written(&w, SL_OK));
    close_world(&w);
}

static void early_world(struct world *w, const char *keep_best)
{
    *w = blank_world();
    struct ps_training training = ps_training_begin();
    w->config->early_stopping.patience = 1;
    w->config->epochs = 9;
    (void)snprintf(w->config->snapshots.keep_best, sizeof(w->config->snapshots.keep_best), "%s", keep_best);
    open_world(w, &training);
    (void)gather(w);
}

static void test_early_stopping(void **state)
{
    (void)state;
    struct world w;
    early_world(&w, "fused.accuracy");
    to_validation(&w, 1);
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; validation best; snapshot best",
            validated(&w, 1, 0, 3, true));
    expect("", written(&w, SL_OK));
    to_validation(&w, 1);
    expect("s100<save 4; validation; snapshot", validated(&w, 1, 0, 3, false));
    expect("w1<stop; s100<stop; finish ok", written(&w, SL_OK));
    assert_string_equal(last_action(&w)->text, "early stopping: no gain any more");
    struct ps_training training = *ps_coordinator_training(w.c);
    close_world(&w);
    /* the same command again has nothing to do */
    w = blank_world();
    w.config->early_stopping.patience = 1;
    w.config->epochs = 9;
    open_world(&w, &training);
    expect("w1<stop; s100<stop; ready; finish ok", gather(&w));
    assert_string_equal(last_action(&w)->text, "early stopping: no gain any more");
    expect("w9<stop", hello(&w, 9)); /* who comes late is told why nothing is left to do */
    assert_string_equal(w.updates.outbox.items[0].message->text, "early stopping: no gain any more");
    expect("", gone(&w, 9));
    close_world(&w);
    /* a loss gains by falling */
    early_world(&w, "text.loss");
    to_validation(&w, 1);
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; validation best; snapshot best",
            validated(&w, 1, 0, 3, false));
    expect("", written(&w, SL_OK));
    to_validation(&w, 1);
    expect("s100<save 4; w1<assign train 0-4 of 4 at 4; validation best; snapshot best",
            validated(&w, 1, 0, 3, true));
    close_world(&w);
}

static void test_a_gain_must_exceed_min_delta(void **state)
{
    (void)state;
    struct world w;
    early_world(&w, "fused.accuracy");
    w.config->early_stopping.min_delta = 1.0;
    to_validation(&w, 1);
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; validation best; snapshot best",
            validated(&w, 1, 0, 3, false)); /* 0.0: the first one is the best so far */
    expect("", written(&w, SL_OK));
    to_validation(&w, 1);
    expect("s100<save 4; validation; snapshot",
            validated(&w, 1, 0, 3, true)); /* 1.0 is not more than 1.0 better */
    close_world(&w);
}

/* A run that goes on from a step. */
static struct world resumed_world(int64_t step, int64_t validated_step)
{
    struct world w = blank_world();
    struct ps_training training = at_step(step, validated_step);
    open_world(&w, &training);
    return w;
}

static void test_resume(void **state)
{
    (void)state;
    struct world w = resumed_world(3, 2); /* within an epoch */
    assert_int_equal(ps_coordinator_total_steps(w.c), 4);
    struct sl_hello other = introduction(&w);
    other.train_count = 99;
    refused(&w, other, "other training data");
    expect("w1<assign train 0-3 of 3 at 3; ready", gather(&w));
    close_world(&w);
    w = resumed_world(3, 2); /* the size of the data is known: the servers need not wait for a worker */
    expect("s100<welcome 0; joined; load 0", server_hello(&w, 0));
    expect("ready", loaded(&w, 0));
    expect("w1<welcome 0; w1<assign train 0-3 of 3 at 3; joined", hello(&w, 1));
    close_world(&w);
    w = resumed_world(2, 0); /* stopped at the end of an epoch, before its validation */
    expect("w1<assign validate 0-3 of 3 at 2; ready", gather(&w));
    expect("s100<save 2; w1<assign train 0-4 of 4 at 2; validation best; snapshot best",
            validated(&w, 1, 0, 3, true));
    close_world(&w);
    w = resumed_world(2, 2); /* and after it */
    expect("w1<assign train 0-4 of 4 at 2; ready", gather(&w));
    close_world(&w);
    w = resumed_world(4, 2); /* only the last validation is missing */
    expect("w1<assign validate 0-3 of 3 at 4; ready", gather(&w));
    expect("s100<save 4; validation best; snapshot best", validated(&w, 1, 0, 3, true));
    expect("w1<stop; s100<stop; finish ok", written(&w, SL_OK));
    close_world(&w);
    w = resumed_world(4, 4);
    expect("w1<stop; s100<stop; ready; finish ok", gather(&w));
    assert_string_equal(last_action(&w)->text, "all steps are done");
    close_world(&w);
}

/* ---- stopping ---- */

static void stopped(struct world *w)
{
    assert_int_equal(last_action(w)->status, SL_STOPPED);
    assert_string_equal(last_action(w)->text, "SIGTERM");
    close_world(w);
}

static void test_stop_before_anything(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)gone(&w, 1);
    expect("s100<stop; finish stopped", stop(&w)); /* nothing to save: not a step was made */
    stopped(&w);
    w = resumed_world(1, 0);
    expect("finish stopped", stop(&w)); /* gathering: nothing is newer than the snapshot that it began with */
    stopped(&w);
    w = resumed_world(1, 0);
    (void)server_hello(&w, 0);
    assert_string_equal(ps_coordinator_state(w.c), "loading");
    expect("s100<stop; finish stopped", stop(&w));
    stopped(&w);
    w = resumed_world(1, 0);
    (void)gather(&w);
    (void)gone(&w, 1);
    expect("s100<stop; finish stopped", stop(&w)); /* the same, though it was training */
    stopped(&w);
}

static void test_stop_within_a_step(void **state)
{
    (void)state;
    struct world w = new_world();
    expect("", stop(&w)); /* the step is finished first */
    expect("", stop(&w));
    (void)stats(&w, 1, 2, 0);
    expect("s100<commit 0 to 1", reduced(&w));
    expect("", stop(&w));
    expect("s100<save 1; step 1; snapshot", applied(&w));
    expect("w2<welcome 1; joined", hello(&w, 2)); /* too late for work */
    expect("w1<stop; w2<stop; s100<stop; finish stopped", written(&w, SL_OK));
    stopped(&w);
}

static void test_stop_while_nobody_works(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)whole_step(&w, 1);
    expect("", stop(&w));
    expect("s100<save 1; lost; snapshot", gone(&w, 1)); /* whom the stop waited for */
    expect("s100<stop; finish stopped", written(&w, SL_OK));
    stopped(&w);
    w = new_world();
    (void)whole_step(&w, 1);
    expect("lost", gone(&w, 1));
    expect("s100<save 1; snapshot", stop(&w));
    expect("s100<stop; finish stopped", written(&w, SL_OK));
    stopped(&w);
}

static void test_stop_within_commit_validation_and_saving(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)stats(&w, 1, 2, 0);
    (void)reduced(&w);
    expect("", stop(&w));
    expect("lost", gone(&w, 1));
    expect("s100<save 1; step 1; snapshot", applied(&w));
    expect("s100<stop; finish stopped", written(&w, SL_OK));
    stopped(&w);

    w = new_world();
    to_validation(&w, 1);
    expect("s100<save 2; snapshot",
            stop(&w)); /* the validation is given up, and due again after the resume */
    assert_int_equal(ps_coordinator_training(w.c)->validated_step, 0);
    expect("", validated(&w, 1, 0, 3, true));
    expect("w1<stop; s100<stop; finish stopped", written(&w, SL_OK));
    stopped(&w);

    w = resumed_world(4, 2);
    (void)gather(&w);
    (void)validated(&w, 1, 0, 3, true);
    expect("", stop(&w)); /* the last snapshot is on its way */
    expect("w1<stop; s100<stop; finish stopped", written(&w, SL_OK));
    stopped(&w);
}

static void test_stop_at_the_end_of_an_epoch_leaves_validation_to_the_resume(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)whole_step(&w, 1);
    expect("", stop(&w));
    expect("s100<save 2; step 2; snapshot", whole_step(&w, 1));
    expect("w1<stop; s100<stop; finish stopped", written(&w, SL_OK));
    struct ps_training training = *ps_coordinator_training(w.c);
    stopped(&w);
    w = blank_world();
    open_world(&w, &training);
    expect("w1<assign validate 0-3 of 3 at 2; ready", gather(&w));
    close_world(&w);
}

static void test_stop_waits_for_the_snapshot_before(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->snapshots.every_steps = 1;
    open_world(&w, &training);
    (void)gather(&w);
    expect("s100<save 1; w1<assign train 0-3 of 3 at 1; step 1; snapshot", whole_step(&w, 1));
    expect("", stop(&w));
    expect("step 2", whole_step(&w, 1));
    expect("s100<save 2; snapshot", written(&w, SL_OK));
    expect("w1<stop; s100<stop; warn; finish disk",
            written(&w, SL_DISK)); /* what SIGTERM promises was not kept */
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_they_join_in_any_order),
            cmocka_unit_test(test_workers_that_do_not_fit_are_refused),
            cmocka_unit_test(test_a_full_house_refuses),
            cmocka_unit_test(test_the_first_step_is_for_those_who_come_a_moment_later_too),
            cmocka_unit_test(test_a_lost_worker_costs_its_slots_alone),
            cmocka_unit_test(test_the_numbers_of_a_step),
            cmocka_unit_test(test_reports_that_do_not_count),
            cmocka_unit_test(test_a_worker_with_another_idea_of_the_data_is_lost),
            cmocka_unit_test(test_what_is_not_finite_ends_the_run),
            cmocka_unit_test(test_a_whole_run),
            cmocka_unit_test(test_validation_is_shared_and_counted_once),
            cmocka_unit_test(test_results_that_cannot_be),
            cmocka_unit_test(test_snapshots_between_epochs),
            cmocka_unit_test(test_no_validation_set),
            cmocka_unit_test(test_max_steps_ends_within_an_epoch),
            cmocka_unit_test(test_early_stopping),
            cmocka_unit_test(test_a_gain_must_exceed_min_delta),
            cmocka_unit_test(test_resume),
            cmocka_unit_test(test_stop_before_anything),
            cmocka_unit_test(test_stop_within_a_step),
            cmocka_unit_test(test_stop_while_nobody_works),
            cmocka_unit_test(test_stop_within_commit_validation_and_saving),
            cmocka_unit_test(test_stop_at_the_end_of_an_epoch_leaves_validation_to_the_resume),
            cmocka_unit_test(test_stop_waits_for_the_snapshot_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
