/* The coordinator's decisions with several servers and when things go wrong: joining, snapshots over servers, rollback, stragglers, audits, ssp and asp, shards that are local to workers. One
 * test for a row of its tables: an event, and what follows from it as a line of text (trace.h). */
#include "tests/unit/ps/world.h"

static struct world two_servers(void)
{
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.servers = 2;
    open_world(&w, &training);
    (void)gather(&w);
    return w;
}

static struct world two_workers(void)
{
    struct world w = new_world();
    (void)stats(&w, 1, 2, 0); /* in 10 us: 2.5 a slot */
    (void)hello(&w, 2);
    (void)reduced(&w);
    expect("w1<assign train 0-2 of 3 at 1; w2<assign train 2-3 of 3 at 1; step 1", applied(&w));
    return w;
}

/* ---- servers ---- */

static void test_servers_join_in_any_order(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.servers = 2;
    open_world(&w, &training);
    expect("s101<welcome 1; joined", server_hello(&w, 1));
    expect("", server_hello(&w, 1));
    expect("joined", hello(&w, 1));
    expect("s100<welcome 0; w1<welcome 0; joined; load 0; load 1", server_hello(&w, 0));
    const struct sl_message *welcome = w.updates.outbox.items[1].message;
    assert_int_equal(welcome->count, 2);
    const struct sl_server_entry *list = welcome->frames[0].data;
    assert_true(list[0].incarnation == 100 && list[1].incarnation == 101);
    assert_string_equal(list[0].endpoint, "");
    assert_string_equal(list[1].endpoint, "tcp://h:5001");
    expect("", loaded(&w, 1));
    expect("w1<assign train 0-4 of 4 at 0; ready", loaded(&w, 0));
    assert_string_equal(ps_coordinator_state(w.c), "training");
    close_world(&w);
}

static void test_servers_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.servers = 2;
    open_world(&w, &training);
    struct sl_hello h = server_introduction(&w, 1);
    h.config_hash++;
    expect("s101<refuse; refused", server_hello_as(&w, 101, h));
    assert_non_null(strstr(last_action(&w)->text, "server h:12 has another config"));
    h = server_introduction(&w, 1);
    h.layout_hash++;
    expect("s101<refuse; refused", server_hello_as(&w, 101, h));
    h = server_introduction(&w, 1);
    h.servers = 3;
    expect("s101<refuse; refused", server_hello_as(&w, 101, h));
    assert_non_null(strstr(last_action(&w)->text, "started as number 1 of 3 servers; this run has 2"));
    h = server_introduction(&w, 1);
    h.rank = 2;
    expect("s101<refuse; refused", server_hello_as(&w, 101, h));
    h = server_introduction(&w, 1);
    h.endpoint[0] = 0;
    expect("s101<refuse; refused", server_hello_as(&w, 101, h));
    expect("s101<refuse; refused", server_hello_as(&w, 101, server_introduction(&w, 0))); /* 0 is our own */
    expect("s100<refuse; refused", server_hello_as(&w, 100, server_introduction(&w, 1)));
    h = server_introduction(&w, 1);
    h.role = SL_ROLE_WORKER;
    expect("", server_hello_as(&w, 101, h));
    close_world(&w);
    struct sl_layout *layout = fixture_layout(w.config = fixture_config(), FIXTURE_BLOCK);
    (void)snprintf(w.config->snapshots.keep_best, sizeof(w.config->snapshots.keep_best), "fused.accuracy");
    struct ps_coordinator_options options = {
            w.config, layout, CONFIG_HASH, CLUSTER, OWN, layout->block_count + 1, training, NULL};
    assert_int_equal(ps_coordinator_create(&w.c, &options, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "use at most that many servers"));
    sl_layout_destroy(layout);
    sl_free(w.config);
}

static void test_a_server_that_goes_while_gathering_is_waited_for(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.servers = 2;
    open_world(&w, &training);
    (void)server_hello(&w, 0);
    (void)server_hello(&w, 1);
    expect("lost", server_gone(&w, 101));
    expect("joined", hello(&w, 1));
    struct sl_hello again = server_introduction(&w, 1);
    expect("s201<welcome 1; w1<welcome 0; joined; load 0; load 1", server_hello_as(&w, 201, again));
    close_world(&w);
    w = blank_world();
    w.servers = 2;
    open_world(&w, &training);
    (void)server_hello(&w, 1);
    expect("s201<welcome 1; lost; close; joined",
            server_hello_as(&w, 201, again)); /* started again before its end was noticed */
    expect("", server_gone(&w, 101));
    close_world(&w);
}

static void test_a_step_of_two_servers(void **state)
{
    (void)state;
    struct world w = two_servers();
    expect("", reduced_at(&w, 1, 0));
    expect("", reduced_at(&w, 1, 0));
    expect("", stats(&w, 1, 2, 0));
    expect("s100<commit 0 to 1; s101<commit 0 to 1", reduced_at(&w, 0, 0));
    const struct sl_commit *first = &w.updates.outbox.items[0].message->commit,
                           *second = &w.updates.outbox.items[1].message->commit;
    assert_memory_equal(first, second, sizeof(*first)); /* one decides, all use its numbers */
    expect("", applied_at(&w, 1, 0, 1));
    expect("", applied_at(&w, 1, 0, 1));
    expect("", applied_at(&w, 0, 0, 2)); /* another version */
    expect("w1<assign train 0-3 of 3 at 1; step 1", applied_at(&w, 0, 0, 1));
    close_world(&w);
}

/* Who owns nothing that is trained has nothing to reduce: it is told the commit, and waited for from there on. */
static void test_a_server_without_trained_blocks(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->modalities[0].freeze_count = 1;
    (void)snprintf(w.config->modalities[0].freeze[0], sizeof(w.config->modalities[0].freeze[0]), "*");
    struct sl_layout *layout = fixture_layout(w.config, FIXTURE_BLOCK);
    int trained = layout->trained_block_count;
    w.servers = trained + 1;
    assert_true(layout->block_count > trained);
    sl_layout_destroy(layout);
    open_world(&w, &training);
    (void)gather(&w);
    expect("", stats(&w, 1, 2, 0));
    expect("", reduced_at(&w, trained, 0)); /* which it does not say; it is not counted */
    for (int s = 0; s + 1 < trained; s++)
        expect("", reduced_at(&w, s, 0));
    (void)reduced_at(&w, trained - 1, 0);
    assert_int_equal(w.updates.outbox.count, trained + 1);
    for (int s = 0; s <= trained; s++)
        assert_int_equal(w.updates.outbox.items[s].message->kind, SL_MESSAGE_COMMIT);
    for (int s = 0; s < trained; s++)
        expect("", applied_at(&w, s, 0, 1));
    expect("w1<assign train 0-3 of 3 at 1; step 1", applied_at(&w, trained, 0, 1));
    close_world(&w);
}

static void test_sums_over_other_blocks_roll_back(void **state)
{
    (void)state;
    struct world w = two_servers();
    struct sl_message *m = sums_of(&w, 1, 1.0);
    m->frames[0].size -= sizeof(struct sl_block_sums);
    expect("lost; warn; restore", from_server(&w, 1, m));
    assert_non_null(strstr(w.updates.actions[0].text, "its sums are over other blocks than it has"));
    close_world(&w);
}

static void test_changes_of_other_blocks_roll_back(void **state)
{
    (void)state;
    struct world w = two_servers();
    expect("", stats(&w, 1, 2, 0));
    expect("", reduced_at(&w, 1, 0));
    expect("s100<commit 0 to 1; s101<commit 0 to 1", reduced_at(&w, 0, 0));
    struct sl_message *m = changes_of(&w, 1);
    m->version = 1;
    m->frames[0].size -= sizeof(struct sl_block_change);
    expect("lost; warn; restore", from_server(&w, 1, m));
    assert_non_null(strstr(w.updates.actions[0].text, "its changes are of other blocks than it has"));
    close_world(&w);
}

static void test_a_snapshot_of_two_servers(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    int owners[256], other = 0;
    w.servers = 2;
    w.config->snapshots.every_steps = 1;
    open_world(&w, &training);
    (void)gather(&w);
    sl_placement_make(w.layout, 2, owners);
    while (owners[other] != 1)
        other++;
    (void)stats(&w, 1, 2, 0);
    (void)reduced_at(&w, 0, 0);
    (void)reduced_at(&w, 1, 0);
    (void)applied_at(&w, 0, 0, 1);
    expect("s100<save 1; s101<save 1; w1<assign train 0-3 of 3 at 1; step 1; snapshot",
            applied_at(&w, 1, 0, 1));
    expect("", saved(&w, 0, other, 1)); /* not its own */
    expect("", saved(&w, 1, other, 0)); /* of another version */
    expect("saved", saved(&w, 1, other, 1));
    expect("", saved(&w, 1, other, 1)); /* twice */
    expect("saved; write", save_all(&w));
    expect("", saved(&w, 1, other, 1));
    expect("", step(&w, (struct ps_event){.kind = PS_EVENT_SNAPSHOT_WRITTEN, .text = ""}));
    close_world(&w);
}

/* ---- rollback ---- */

static void test_a_lost_server_rolls_back(void **state)
{
    (void)state;
    struct world w = two_servers();
    (void)stats(&w, 1, 2, 0);
    expect("lost; warn; restore", server_gone(&w, 101));
    assert_string_equal(w.updates.actions[1].text, "s1 h:12: not heard: going back to the newest snapshot");
    assert_int_equal(ps_coordinator_rollbacks(w.c), 1);
    assert_string_equal(ps_coordinator_state(w.c), "restoring");
    expect("", reduced_at(&w, 0, 0)); /* links are closed: nobody is known any more */
    expect("", stats(&w, 1, 1, 0));
    struct ps_training fresh = ps_training_begin();
    expect("", restored(&w, &fresh));
    expect("s100<welcome 0; joined", server_hello(&w, 0));
    expect("joined", hello(&w, 11));
    expect("s201<welcome 1; w11<welcome 1; joined; load 0; load 1",
            server_hello_as(&w, 201, server_introduction(&w, 1)));
    assert_true(w.updates.outbox.items[0].message->cluster == CLUSTER + 1);
    assert_true(w.updates.actions[1].cluster == CLUSTER + 1);
    struct sl_message *m = message(&w, SL_MESSAGE_LOADED);
    m->cluster = CLUSTER; /* of the run before */
    expect("", from_server(&w, 0, m));
    expect("", loaded(&w, 0));
    expect("w11<assign train 0-4 of 4 at 0; ready",
            from(&w, SL_ROLE_SERVER, 201, message(&w, SL_MESSAGE_LOADED)));
    close_world(&w);
}

static void test_what_joins_while_restoring_is_not_forgotten(void **state)
{
    (void)state;
    struct world w = two_servers();
    struct ps_training fresh = ps_training_begin();
    (void)server_gone(&w, 101);
    expect("s100<welcome 0; joined", server_hello(&w, 0));
    expect("s101<welcome 1; joined", server_hello(&w, 1));
    expect("lost", server_gone(&w, 101)); /* nothing was built on it: no second rollback */
    assert_int_equal(ps_coordinator_rollbacks(w.c), 1);
    expect("s201<welcome 1; joined", server_hello_as(&w, 201, server_introduction(&w, 1)));
    expect("s301<welcome 1; lost; close; joined", server_hello_as(&w, 301, server_introduction(&w, 1)));
    expect("joined", hello(&w, 1));
    expect("w1<welcome 1; load 0; load 1", restored(&w, &fresh));
    close_world(&w);
}

static void test_a_server_started_again_rolls_back(void **state)
{
    (void)state;
    struct world w = two_servers();
    expect("lost; warn; restore", server_hello_as(&w, 201, server_introduction(&w, 1)));
    assert_non_null(strstr(w.updates.actions[0].text, "it was started again"));
    close_world(&w);
    w = two_servers();
    expect("lost; warn; restore", from_server(&w, 1, message(&w, SL_MESSAGE_BYE)));
    close_world(&w);
}

static void test_rollbacks_that_lead_nowhere_give_up(void **state)
{
    (void)state;
    struct world w = two_servers();
    struct ps_training fresh = ps_training_begin();
    for (int i = 0; i < 11; i++) {
        expect("lost; warn; restore", server_gone(&w, 101));
        (void)restored(&w, &fresh);
        (void)gather(&w);
    }
    expect("w1<stop; s100<stop; s101<stop; lost; warn; finish gave-up", server_gone(&w, 101));
    close_world(&w);
    w = two_servers(); /* each step that is new counts as a beginning */
    for (int i = 0; i < 11; i++) {
        (void)server_gone(&w, 101);
        (void)restored(&w, &fresh);
        (void)gather(&w);
    }
    (void)stats(&w, 1, 2, 0);
    (void)reduced_at(&w, 0, 0);
    (void)reduced_at(&w, 1, 0);
    (void)applied_at(&w, 0, 0, 1);
    (void)applied_at(&w, 1, 0, 1);
    expect("lost; warn; restore", server_gone(&w, 101));
    close_world(&w);
}

static void test_a_rollback_during_the_last_snapshot_takes_the_end_back(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training end = at_step(4, 2), before = at_step(2, 2);
    open_world(&w, &end);
    (void)gather(&w);
    expect("s100<save 4; validation best; snapshot best", validated(&w, 1, 0, 3, true));
    expect("lost; warn; drop; restore", from_server(&w, 0, message(&w, SL_MESSAGE_BYE)));
    (void)restored(&w, &before);
    expect("w1<assign train 0-4 of 4 at 2; ready", gather(&w)); /* there is more to do again */
    close_world(&w);
}

static void test_stop_and_rollback(void **state)
{
    (void)state;
    struct world w = two_servers();
    struct ps_training fresh = ps_training_begin();
    (void)server_gone(&w, 101);
    expect("", stop(&w));
    expect("finish stopped", restored(&w, &fresh));
    close_world(&w);
    w = two_servers();
    (void)server_gone(&w, 101);
    w.cluster++;
    expect("finish disk", step(&w, (struct ps_event){.kind = PS_EVENT_RESTORED,
                                           .status = SL_DISK,
                                           .text = "no snapshot can be read"}));
    expect("", hello(&w, 3));
    close_world(&w);
}

static void test_a_snapshot_being_written_survives_a_rollback(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training fresh = ps_training_begin(), first = at_step(1, 0);
    w.config->snapshots.every_steps = 1;
    open_world(&w, &fresh);
    (void)gather(&w);
    (void)whole_step(&w, 1);
    expect("saved; write", save_all(&w));
    expect("lost; warn; restore", server_gone(&w, 100));
    expect("", step(&w, (struct ps_event){.kind = PS_EVENT_SNAPSHOT_WRITTEN, .text = ""}));
    (void)restored(&w, &first);
    expect("w1<assign train 0-3 of 3 at 1; ready", gather(&w));
    expect("w1<assign validate 0-3 of 3 at 2; step 2", whole_step(&w, 1));
    close_world(&w);
}

/* ---- stragglers ---- */

static void test_a_straggler_is_shadowed(void **state)
{
    (void)state;
    struct world w = two_workers();
    expect("", stats(&w, 1, 1, 0));
    expect("", tick(&w, 0));
    expect("w1<assign train 2-3 of 3 at 1; warn", tick(&w, 3 * BEAT_US));
    assert_string_equal(
            last_action(&w)->text, "w1 h:12 is slow with its part of step 1: w0 h:12 computes it too");
    expect("", tick(&w, 3 * BEAT_US)); /* once */
    expect("", stats(&w, 1, 1, 1));    /* the shadow is first */
    expect("", stats(&w, 2, 1, 1));    /* what it shadowed comes too late */
    expect("s100<commit 1 to 2", reduced(&w));
    close_world(&w);
}

static void test_a_straggler_or_its_shadow_dies(void **state)
{
    (void)state;
    struct world w = two_workers();
    (void)stats(&w, 1, 1, 0);
    (void)tick(&w, 3 * BEAT_US);
    expect("lost", gone(&w, 2)); /* its shadow has the units */
    expect("", stats(&w, 1, 1, 1));
    expect("s100<commit 1 to 2", reduced(&w));
    close_world(&w);
    w = two_workers();
    (void)stats(&w, 1, 1, 0);
    (void)tick(&w, 3 * BEAT_US);
    expect("lost", gone(&w, 1)); /* they stay with the straggler */
    expect("w3<welcome 2; joined", hello(&w, 3));
    expect("w3<assign train 2-3 of 3 at 1; warn", tick(&w, 3 * BEAT_US)); /* who gets another shadow */
    close_world(&w);
}

/* A shadow that is slow has a shadow of its own; whoever is first, all three are free again. */
static void test_a_chain_of_shadows(void **state)
{
    (void)state;
    struct world w = two_workers();
    (void)stats(&w, 1, 1, 0);
    (void)tick(&w, 3 * BEAT_US);
    (void)hello(&w, 3);
    expect("w3<assign train 2-3 of 3 at 1; warn", tick(&w, 3 * BEAT_US));
    expect("", stats(&w, 2, 1, 1)); /* the first one after all */
    for (int i = 0; i < 3; i++)
        assert_false(ps_coordinator_worker(w.c, i).busy);
    expect("", tick(&w, 9 * BEAT_US));
    close_world(&w);
}

static void test_a_validation_is_shadowed_too(void **state)
{
    (void)state;
    struct world w = new_world();
    (void)whole_step(&w, 1);
    (void)whole_step(&w, 1);
    (void)hello(&w, 2);
    expect("w2<assign validate 0-3 of 3 at 2; warn", tick(&w, 3 * BEAT_US));
    expect("s100<save 2; w1<assign train 0-2 of 4 at 2; w2<assign train 2-4 of 4 at 2; validation best; "
           "snapshot best",
            validated(&w, 2, 0, 3, true));
    expect("", validated(&w, 1, 0, 3, true));
    close_world(&w);
}

/* ---- audits ---- */

static struct world audited_world(void)
{
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->cluster.audit = 1.0;
    open_world(&w, &training);
    (void)server_hello(&w, 0);
    (void)hello(&w, 1);
    (void)hello(&w, 2);
    expect("w1<assign train 0-2 of 4 at 0; w2<assign train 2-4 of 4 at 0; ready", loaded(&w, 0));
    assert_true(w.updates.outbox.items[0].message->hash != 0); /* asks for the hash */
    return w;
}

static const char *hashed(
        struct world *w, uint64_t id, enum sl_phase phase, uint32_t level, uint32_t index, uint64_t hash)
{
    struct sl_message *m = statistics(w, level, index);
    m->phase = phase;
    m->hash = hash;
    return from_worker(w, id, m);
}

static void test_audits(void **state)
{
    (void)state;
    struct world w = audited_world();
    expect("", hashed(&w, 1, SL_PHASE_TRAIN, 1, 0, 9));
    expect("", reduced(&w));
    expect("w2<assign audit 0-2 of 4 at 0",
            hashed(&w, 2, SL_PHASE_TRAIN, 1, 1, 8));    /* whole, but not committed yet */
    expect("", hashed(&w, 2, SL_PHASE_AUDIT, 0, 0, 9)); /* a part of it */
    expect("s100<commit 0 to 1", hashed(&w, 2, SL_PHASE_AUDIT, 1, 0, 9));
    close_world(&w);
    w = audited_world();
    (void)hashed(&w, 1, SL_PHASE_TRAIN, 1, 0, 9);
    (void)reduced(&w);
    (void)hashed(&w, 2, SL_PHASE_TRAIN, 1, 1, 8);
    expect("s100<commit 0 to 1; warn", hashed(&w, 2, SL_PHASE_AUDIT, 1, 0, 7));
    assert_non_null(strstr(
            last_action(&w)->text, "audit: w0 h:12 and w1 h:12 computed slots [0, 2) of step 0 differently"));
    close_world(&w);
}

static void test_audits_do_not_hold_up_training(void **state)
{
    (void)state;
    struct world w = audited_world();
    (void)hashed(&w, 1, SL_PHASE_TRAIN, 1, 0, 9);
    (void)reduced(&w);
    (void)hashed(&w, 2, SL_PHASE_TRAIN, 1, 1, 8);
    expect("s100<commit 0 to 1; lost", gone(&w, 2)); /* nobody else is there */
    close_world(&w);
    w = audited_world();
    (void)hashed(&w, 1, SL_PHASE_TRAIN, 1, 0, 9);
    (void)hashed(&w, 2, SL_PHASE_TRAIN, 1, 1, 8);
    (void)reduced(&w);
    (void)hello(&w, 3);
    expect("w3<assign audit 0-2 of 4 at 0; lost", gone(&w, 2)); /* somebody is */
    expect("lost", gone(&w, 1));                                /* its name is kept */
    expect("s100<commit 0 to 1; warn", tick(&w, 31 * BEAT_US));
    assert_non_null(strstr(last_action(&w)->text, "slow with an audit of step 0: given up"));
    close_world(&w);
}

/* ---- steps that overlap ---- */

static struct world overlapping_world(enum sl_consistency mode, int staleness)
{
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->consistency.mode = mode;
    w.config->consistency.staleness = staleness;
    w.config->epochs = 1;
    open_world(&w, &training);
    (void)server_hello(&w, 0);
    struct sl_hello h = introduction(&w);
    h.train_count = 8000; /* 1000 steps of 4 slots */
    (void)hello_as(&w, 1, h);
    (void)hello_as(&w, 2, h);
    expect("w1<assign train 0-2 of 4 at 0; w2<assign train 2-4 of 4 at 0; ready", loaded(&w, 0));
    return w;
}

static const char *half(struct world *w, uint64_t id, int64_t at, uint32_t index, int64_t on)
{
    struct sl_message *m = statistics_of(w, at, on, 1, index);
    m->slots = 4;
    return from_worker(w, id, m);
}

/* Worker 1 computes all of a step, piece by piece as it is given to it. */
static void alone(struct world *w, int64_t at, int64_t on)
{
    for (int i = 0; i < 4; i++) {
        for (uint32_t slot = 0; slot < 4; slot++) {
            struct sl_message *m = statistics_of(w, at, on, 0, slot);
            m->slots = 4;
            m->stats.count = 2;
            m->stats.weight_sum = 2.0;
            (void)from_worker(w, 1, m);
        }
    }
}

/* Worker 2 is stuck with its half of step 0. With a bound of 1, two steps are open at most; one may overtake step 0, and no second one. */
static void test_ssp_keeps_its_bound(void **state)
{
    (void)state;
    struct world w = overlapping_world(SL_CONSISTENCY_SSP, 1);
    expect("w1<assign train 0-2 of 4 at 1 on 0", half(&w, 1, 0, 0, 0));
    alone(&w, 1, 0);
    assert_false(ps_coordinator_worker(w.c, 0).busy); /* nothing more is opened */
    expect("s100<commit 1 to 1", reduced_at(&w, 0, 1));
    const char *line = applied_at(&w, 0, 1, 1);
    assert_int_equal(strncmp(line, "w1<assign train 0-", 18), 0);
    assert_non_null(strstr(line, " at 2 on 1; step 1"));
    alone(&w, 2, 1);
    expect("", reduced_at(&w, 0, 2)); /* it would make step 0 two updates late */
    expect("", reduced_at(&w, 0, 0));
    expect("s100<commit 0 to 2; s100<commit 2 to 3", half(&w, 2, 0, 1, 0));
    close_world(&w);
}

static void test_a_bound_of_none_is_a_step_at_a_time(void **state)
{
    (void)state;
    struct world w = overlapping_world(SL_CONSISTENCY_SSP, 0);
    expect("", half(&w, 1, 0, 0, 0));
    expect("", half(&w, 2, 0, 1, 0));
    expect("s100<commit 0 to 1", reduced_at(&w, 0, 0));
    close_world(&w);
}

static void test_results_on_too_old_parameters_do_not_count(void **state)
{
    (void)state;
    struct world w = overlapping_world(SL_CONSISTENCY_SSP, 1);
    (void)half(&w, 1, 0, 0, 0);
    alone(&w, 1, 0);
    (void)reduced_at(&w, 0, 1);
    (void)applied_at(&w, 0, 1, 1);
    alone(&w, 2, 0); /* step 2 was opened on version 1 */
    assert_true(ps_coordinator_worker(w.c, 0).busy);
    alone(&w, 2, 1);
    assert_false(ps_coordinator_worker(w.c, 0).busy);
    close_world(&w);
}

/* As far as the servers remember which steps are applied: then the stuck one is waited for, or shadowed by whoever is idle. */
static void test_asp_goes_on_without_the_slowest(void **state)
{
    (void)state;
    struct world w = overlapping_world(SL_CONSISTENCY_ASP, 0);
    (void)half(&w, 1, 0, 0, 0);
    for (int64_t at = 1; at < 200; at++) {
        alone(&w, at, at - 1);
        (void)reduced_at(&w, 0, at);
        (void)applied_at(&w, 0, at, at);
        assert_int_equal(now_at(&w), at);
    }
    assert_true(ps_coordinator_worker(w.c, 0).busy && ps_coordinator_worker(w.c, 1).busy);
    close_world(&w);
}

static void test_asp_stays_within_the_window_of_the_servers(void **state)
{
    (void)state;
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->consistency.mode = SL_CONSISTENCY_ASP;
    w.config->batch.slots = 1;
    w.config->batch.slot_size = 1;
    open_world(&w, &training);
    struct sl_hello h = introduction(&w);
    h.train_count = 5000;
    (void)server_hello(&w, 0);
    (void)hello_as(&w, 1, h);
    expect("w1<assign train 0-1 of 1 at 0; ready", loaded(&w, 0));
    expect("w2<welcome 1; w2<assign train 0-1 of 1 at 1 on 0; joined", hello_as(&w, 2, h));
    for (int64_t at = 1; at < 4096; at++) {
        struct sl_message *m = statistics_of(&w, at, at - 1, 0, 0);
        m->slots = 1;
        m->stats.count = 1;
        (void)from_worker(&w, 2, m);
        (void)reduced_at(&w, 0, at);
        (void)applied_at(&w, 0, at, at);
    }
    assert_int_equal(now_at(&w), 4095);
    assert_false(ps_coordinator_worker(w.c, 1).busy);                     /* step 4096 waits for step 0 … */
    expect("w2<assign train 0-1 of 1 at 0; warn", tick(&w, 3 * BEAT_US)); /* … and it need not wait long */
    close_world(&w);
}

/* ---- shards that are local to workers ---- */

static struct world local_world(enum sl_missing missing)
{
    struct world w = blank_world();
    struct ps_training training = ps_training_begin();
    w.config->dataset.locality = SL_LOCALITY_SHARDS;
    w.config->dataset.missing = missing;
    w.local = true;
    memset(w.readable, 1, sizeof(w.readable));
    open_world(&w, &training);
    return w;
}

static void test_shards_that_do_not_fit(void **state)
{
    (void)state;
    struct world w = local_world(SL_MISSING_WAIT);
    w.local = false;
    expect("w1<refuse; refused", hello(&w, 1));
    assert_non_null(strstr(last_action(&w)->text, "does not tell its shards"));
    w.local = true;
    (void)server_hello(&w, 0);
    struct sl_hello h = introduction(&w);
    h.train_count++;
    expect("w1<refuse; refused", hello_as(&w, 1, h)); /* the shards do not add up */
    expect("w1<welcome 0; joined; load 0", hello(&w, 1));
    close_world(&w);
}

static void test_slots_without_a_reader_wait_or_are_skipped(void **state)
{
    (void)state;
    struct world w = local_world(SL_MISSING_WAIT);
    memset(w.readable, 0, sizeof(w.readable));
    expect("warn", gather(&w) + strlen("ready; ")); /* it has nothing at all */
    assert_non_null(strstr(last_action(&w)->text, "training waits for one that has it"));
    memset(w.readable, 1, sizeof(w.readable));
    expect("w2<welcome 1; w2<assign train 0-4 of 4 at 0; joined", hello(&w, 2));
    close_world(&w);
    w = local_world(SL_MISSING_SKIP);
    memset(w.readable, 0, sizeof(w.readable));
    expect("w1<assign skip 0-4 of 4 at 0; ready; warn", gather(&w));
    struct sl_message *m = statistics(&w, 2, 0);
    m->phase = SL_PHASE_SKIP;
    m->stats = (struct sl_step_stats){0};
    expect("", from_worker(&w, 1, m));
    expect("w1<stop; s100<stop; finish bad-data", reduced(&w)); /* a step without one sample */
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_servers_join_in_any_order),
            cmocka_unit_test(test_servers_that_do_not_fit_are_refused),
            cmocka_unit_test(test_a_server_that_goes_while_gathering_is_waited_for),
            cmocka_unit_test(test_a_step_of_two_servers),
            cmocka_unit_test(test_a_server_without_trained_blocks),
            cmocka_unit_test(test_sums_over_other_blocks_roll_back),
            cmocka_unit_test(test_changes_of_other_blocks_roll_back),
            cmocka_unit_test(test_a_snapshot_of_two_servers),
            cmocka_unit_test(test_a_lost_server_rolls_back),
            cmocka_unit_test(test_what_joins_while_restoring_is_not_forgotten),
            cmocka_unit_test(test_a_server_started_again_rolls_back),
            cmocka_unit_test(test_rollbacks_that_lead_nowhere_give_up),
            cmocka_unit_test(test_a_rollback_during_the_last_snapshot_takes_the_end_back),
            cmocka_unit_test(test_stop_and_rollback),
            cmocka_unit_test(test_a_snapshot_being_written_survives_a_rollback),
            cmocka_unit_test(test_a_straggler_is_shadowed),
            cmocka_unit_test(test_a_straggler_or_its_shadow_dies),
            cmocka_unit_test(test_a_chain_of_shadows),
            cmocka_unit_test(test_a_validation_is_shadowed_too),
            cmocka_unit_test(test_audits),
            cmocka_unit_test(test_audits_do_not_hold_up_training),
            cmocka_unit_test(test_ssp_keeps_its_bound),
            cmocka_unit_test(test_a_bound_of_none_is_a_step_at_a_time),
            cmocka_unit_test(test_results_on_too_old_parameters_do_not_count),
            cmocka_unit_test(test_asp_stays_within_the_window_of_the_servers),
            cmocka_unit_test(test_asp_goes_on_without_the_slowest),
            cmocka_unit_test(test_shards_that_do_not_fit),
            cmocka_unit_test(test_slots_without_a_reader_wait_or_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
