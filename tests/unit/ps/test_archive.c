/* The run's snapshots as the loop uses them: written in the background, found again at the start, refused where they do not fit. */
#include "ps/archive.h"

#include "common/file.h"
#include "ps/snapshot.h"
#include "tests/unit/ps/fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define RUN "fixture-archive"
#define WAIT_MS 30000

static const char text[] = "labels: [{name: day, duration: 24h}, {name: week, duration: 7d}]\n"
                           "dataset: {train: t, validation: v}\n"
                           "modalities:\n"
                           "  - {name: visual, kind: features, in: 20, hidden: 24}\n"
                           "  - {name: text, kind: bert, vocab: " RUN
                           "/vocab.txt, hidden: 16, layers: 1, heads: 2, mlp: 16, max_tokens: 4}\n"
                           "fusion: {dim: 16, heads: 2, layers: 1, mlp: 16}\n"
                           "batch: {slots: 4, slot_size: 2}\n"
                           "snapshots: {dir: " RUN ", keep: 2}\n";
static const char vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nnews\n";

struct run {
    struct sl_config *config;
    struct sl_layout *layout;
    struct ps_table *table;
    struct ps_archive *archive;
    struct ps_training training;
};

static struct sl_error err;

#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        enum sl_status got_ = (call);                                                                        \
        if (got_ != SL_OK)                                                                                   \
            fail_msg("%s: %s", #call, err.text);                                                             \
    } while (0)

/* The config with one override. */
static struct run open_run(const char *override)
{
    struct run run = {0};
    assert_ok(sl_config_parse(&run.config, text, strlen(text), "run.yaml", NULL, &override,
            override == NULL ? 0 : 1, true, &err));
    run.layout = fixture_layout(run.config, FIXTURE_BLOCK);
    struct ps_optimiser optimiser = ps_optimiser_from_config(run.config);
    assert_ok(ps_table_create(&run.table, run.layout, &optimiser, NULL, 0, &err));
    assert_ok(ps_archive_open(&run.archive, run.config, run.layout, &err));
    return run;
}

static void close_run(struct run *run)
{
    ps_archive_close(run->archive);
    ps_table_destroy(run->table);
    sl_layout_destroy(run->layout);
    sl_config_destroy(run->config);
}

static int set_up(void **state)
{
    (void)state;
    assert_ok(sl_file_remove_tree(RUN, &err));
    assert_ok(sl_file_make_directories(RUN, &err));
    assert_ok(sl_file_write_atomic(RUN "/vocab.txt", vocabulary, strlen(vocabulary), &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_ok(sl_file_remove_tree(RUN, &err));
    return 0;
}

/* Parameters and moments that tell the step, at that step. */
static void fill(struct run *run, int64_t step)
{
    float *params = fixture_vector(run->layout->count, (uint64_t)step, 1.0F);
    float *m = fixture_vector(run->layout->count, 100 + (uint64_t)step, 1.0F);
    float *v = fixture_vector(run->layout->count, 200 + (uint64_t)step, 1.0F);
    /* gaps between parameters stay zero in every real run */
    for (int p = 0; p < run->layout->param_count; p++) {
        size_t end = run->layout->params[p].offset + run->layout->params[p].count;
        size_t next =
                p + 1 < run->layout->param_count ? run->layout->params[p + 1].offset : run->layout->count;
        memset(params + end, 0, (next - end) * sizeof(float));
        memset(m + end, 0, (next - end) * sizeof(float));
        memset(v + end, 0, (next - end) * sizeof(float));
    }
    assert_ok(ps_table_load(run->table, params, m, v, step, &err));
    sl_free(params);
    sl_free(m);
    sl_free(v);
    run->training = ps_training_begin();
    run->training.step = step;
    run->training.train_count = 30;
    run->training.best_value = 0.5;
    run->training.modulation.numerator[1] = 0.1;
}

/* gather puts every block of the table, as servers would send them. */
static void gather(struct run *run, bool best)
{
    assert_ok(ps_archive_begin(run->archive, &run->training, best, &err));
    for (int b = 0; b < run->layout->block_count; b++) {
        struct ps_block_state state = ps_table_capture(run->table, b);
        struct sl_frame params = {state.params, state.params->data, state.params->size},
                        m = {state.m, state.m->data, state.m->size},
                        v = {state.v, state.v->data, state.v->size};
        assert_ok(ps_archive_put(run->archive, b, &params, &m, &v, &err));
        ps_block_state_fini(&state);
    }
}

static struct ps_written take(struct run *run)
{
    struct ps_written written;
    struct pollfd ready = {.fd = ps_archive_fd(run->archive), .events = POLLIN};
    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    assert_ok(ps_archive_take(run->archive, &written));
    assert_int_equal(ps_archive_take(run->archive, &written), SL_AGAIN);
    return written;
}

static struct ps_written save(struct run *run, bool best)
{
    gather(run, best);
    assert_ok(ps_archive_write(run->archive, &err));
    return take(run);
}

static struct sl_frame frame_of(struct sl_buffer *buffer)
{
    return buffer == NULL ? (struct sl_frame){NULL, NULL, 0}
                          : (struct sl_frame){buffer, buffer->data, buffer->size};
}

/* restore puts what the archive gives into the table, as servers do that are sent it. */
static enum sl_status restore(struct run *run, const char *resume)
{
    enum sl_status status = ps_archive_restore(run->archive, resume, &run->training, &err);
    for (int b = 0; status == SL_OK && b < run->layout->block_count; b++) {
        const struct ps_block_state *state = ps_archive_block(run->archive, b);
        struct sl_frame params = frame_of(state->params), m = frame_of(state->m), v = frame_of(state->v);
        status = ps_table_put(run->table, b, &params, &m, &v, run->training.step, &err);
    }
    ps_archive_release(run->archive);
    return status;
}

static void assert_same_tables(struct run *a, struct run *b)
{
    size_t count = a->layout->count;
    float *left = sl_alloc_aligned(3 * count, sizeof(float)),
          *right = sl_alloc_aligned(3 * count, sizeof(float));
    ps_table_copy(a->table, left, left + count, left + 2 * count);
    ps_table_copy(b->table, right, right + count, right + 2 * count);
    assert_memory_equal(left, right, 3 * count * sizeof(float));
    sl_free(left);
    sl_free(right);
}

static void test_a_fresh_start(void **state)
{
    (void)state;
    struct run run = open_run(NULL), strict = open_run(NULL);
    struct ps_written written;
    assert_ok(restore(&run, "auto"));
    assert_int_equal(run.training.step, 0);
    float *want = sl_alloc_aligned(run.layout->count, sizeof(float)),
          *got = sl_alloc_aligned(run.layout->count, sizeof(float));
    sl_layout_initialise(run.layout, run.config->seed, want);
    ps_table_copy(run.table, got, NULL, NULL);
    assert_memory_equal(got, want, run.layout->count * sizeof(float));
    assert_int_equal(ps_archive_take(run.archive, &written), SL_AGAIN);
    assert_ok(restore(&strict, "never"));
    assert_same_tables(&run, &strict);
    sl_free(want);
    sl_free(got);
    close_run(&run);
    close_run(&strict);
}

/* first_restore is what a new process gets. */
static enum sl_status first_restore(struct run *ret_run, const char *override, const char *resume)
{
    *ret_run = open_run(override);
    return restore(ret_run, resume);
}

static void test_saved_and_resumed(void **state)
{
    (void)state;
    struct run run = open_run(NULL), again;
    fill(&run, 12);
    struct ps_written written = save(&run, true);
    assert_int_equal(written.status, SL_OK);
    assert_true(written.step == 12 && written.best && written.size > run.layout->trained * 4);
    assert_true(written.gather_seconds >= written.pause_seconds && written.pause_seconds > 0.0);
    assert_int_equal(access(RUN "/snapshots/best/manifest.json", F_OK), 0);
    static const char *const from[] = {
            "auto", RUN "/snapshots/step-00000012", RUN "/snapshots/best", RUN "/snapshots/latest"};
    for (int i = 0; i < 4; i++) {
        assert_ok(first_restore(&again, NULL, from[i]));
        assert_true(again.training.step == 12 && again.training.best_value == 0.5 &&
                    again.training.train_count == 30);
        assert_true(again.training.modulation.numerator[1] == 0.1);
        assert_same_tables(&run, &again);
        close_run(&again);
    }
    assert_int_equal(first_restore(&again, NULL, "never"), SL_USAGE);
    assert_non_null(strstr(err.text, "holds 1 snapshots of an earlier run"));
    assert_int_equal(restore(&again, RUN "/snapshots/step-9"), SL_NOT_FOUND);
    assert_ok(restore(&again, "auto")); /* what failed was no start */
    close_run(&again);
    close_run(&run);
}

/* A snapshot's folder is all that evaluate and predict need. */
static void test_a_snapshot_holds_config_and_vocabulary(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    fill(&run, 3);
    (void)save(&run, false);
    struct ps_saved *saved = NULL;
    char *bytes = NULL;
    size_t size = 0;
    assert_ok(ps_saved_open(&saved, RUN "/snapshots/latest", &err));
    assert_ok(ps_saved_file(saved, "vocab-text.txt", &bytes, &size, &err));
    assert_string_equal(bytes, vocabulary);
    sl_free(bytes);
    assert_ok(ps_saved_file(saved, "config.yaml", &bytes, &size, &err));
    struct sl_config *config = NULL;
    uint64_t want = 0, got = 0;
    assert_ok(sl_config_parse(
            &config, bytes, size, "config.yaml", RUN "/snapshots/latest", NULL, 0, true, &err));
    assert_ok(sl_config_hash(&want, run.config, &err));
    assert_ok(sl_config_hash(&got, config, &err));
    assert_true(want == got);
    sl_free(bytes);
    sl_config_destroy(config);
    ps_saved_close(saved);
    close_run(&run);
}

static void test_old_ones_are_pruned_but_not_the_best(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    for (int64_t step = 1; step <= 5; step++) {
        fill(&run, step);
        assert_int_equal(save(&run, step == 2).status, SL_OK);
    }
    struct ps_snapshot_entry *entries = NULL;
    int count = 0;
    assert_ok(ps_snapshot_list(&entries, &count, RUN "/snapshots", true, &err));
    assert_int_equal(count, 3);
    assert_true(entries[0].step == 2 && entries[0].best && entries[1].step == 4 && entries[2].step == 5 &&
                entries[2].latest);
    sl_free(entries);
    close_run(&run);
}

static void flip(const char *file)
{
    int fd = open(file, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\xff", 1, 900), 1);
    (void)close(fd);
}

static void test_a_damaged_one_is_passed_over(void **state)
{
    (void)state;
    struct run run = open_run(NULL), again;
    fill(&run, 4);
    (void)save(&run, false);
    fill(&run, 8);
    (void)save(&run, false);
    flip(RUN "/snapshots/step-00000008/model.safetensors");
    assert_ok(first_restore(&again, NULL, "auto"));
    assert_int_equal(again.training.step, 4);
    close_run(&again);
    assert_int_equal(first_restore(&again, NULL, RUN "/snapshots/step-00000008"), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "model.safetensors"));
    close_run(&again);
    flip(RUN "/snapshots/step-00000004/optimiser.safetensors");
    assert_int_equal(first_restore(&again, NULL, "auto"), SL_BAD_DATA);
    close_run(&again);
    close_run(&run);
}

static void test_another_config_is_refused(void **state)
{
    (void)state;
    struct run run = open_run(NULL), other, moved;
    fill(&run, 4);
    (void)save(&run, false);
    assert_int_equal(first_restore(&other, "seed=9", "auto"), SL_MISMATCH);
    assert_non_null(strstr(err.text, "another config"));
    /* what does not change the result may differ */
    assert_ok(first_restore(&moved, "cluster.timeout_ms=9000", "auto"));
    close_run(&run);
    close_run(&other);
    close_run(&moved);
}

/* ---- rollbacks ---- */

/* A rollback finds the newest whole one, whatever became of the later ones, as often as it must; without any, the initial values. */
static void test_rollbacks_of_a_fresh_run(void **state)
{
    (void)state;
    struct run run = open_run(NULL), want = open_run(NULL), initial;
    assert_ok(first_restore(&initial, NULL, "never"));
    assert_ok(restore(&run, "auto"));
    for (int i = 0; i < 2; i++) {
        fill(&run, 2); /* two steps that are lost */
        assert_ok(restore(&run, "never"));
        assert_int_equal(run.training.step, 0);
        assert_same_tables(&run, &initial);
    }
    for (int64_t step = 4; step <= 12; step += 4) {
        fill(&run, step);
        assert_int_equal(save(&run, false).status, SL_OK);
        fill(&run, step + 1);
        assert_ok(restore(&run, "auto"));
        fill(&want, step);
        assert_int_equal(run.training.step, step);
        assert_same_tables(&run, &want);
    }
    flip(RUN "/snapshots/step-00000012/model.safetensors");
    assert_ok(restore(&run, "auto"));
    fill(&want, 8);
    assert_int_equal(run.training.step, 8);
    assert_same_tables(&run, &want);
    /* written again, it is whole again */
    fill(&run, 12);
    assert_int_equal(save(&run, false).status, SL_OK);
    assert_ok(restore(&run, "auto"));
    assert_int_equal(run.training.step, 12);
    flip(RUN "/snapshots/step-00000012/model.safetensors");
    flip(RUN "/snapshots/step-00000008/optimiser.safetensors");
    assert_ok(restore(&run, "auto"));
    assert_int_equal(run.training.step, 0);
    assert_same_tables(&run, &initial);
    close_run(&run);
    close_run(&want);
    close_run(&initial);
}

static void test_rollbacks_of_a_resumed_run(void **state)
{
    (void)state;
    struct run run = open_run(NULL), again;
    fill(&run, 5);
    (void)save(&run, false);
    fill(&run, 6);
    (void)save(&run, false);
    close_run(&run);
    assert_ok(first_restore(&again, NULL, "auto"));
    assert_int_equal(again.training.step, 6);
    fill(&again, 7);
    assert_ok(restore(&again, "auto"));
    assert_int_equal(again.training.step, 6);
    flip(RUN "/snapshots/step-00000006/model.safetensors");
    assert_ok(restore(&again, "auto"));
    assert_int_equal(again.training.step, 5);
    /* here the start was a snapshot: to begin at 0 would throw away what the user has */
    flip(RUN "/snapshots/step-00000005/model.safetensors");
    assert_int_equal(restore(&again, "auto"), SL_BAD_DATA);
    assert_ok(sl_file_remove_tree(RUN "/snapshots/step-00000005", &err));
    assert_ok(sl_file_remove_tree(RUN "/snapshots/step-00000006", &err));
    assert_int_equal(restore(&again, "auto"), SL_NOT_FOUND);
    close_run(&again);
}

/* Begun again from an older snapshot: the later ones of the first life are neither read nor removed nor do they count. */
static void test_rollbacks_of_a_run_from_a_named_snapshot(void **state)
{
    (void)state;
    struct run run = open_run("snapshots.keep=9"), again;
    for (int64_t step = 1; step <= 6; step++) {
        fill(&run, step);
        (void)save(&run, false);
    }
    close_run(&run);
    assert_int_equal(unlink(RUN "/snapshots/latest"), 0);
    assert_int_equal(symlink("step-00000002", RUN "/snapshots/latest"), 0);
    assert_ok(first_restore(&again, NULL, RUN "/snapshots/latest")); /* a link that will move */
    assert_int_equal(again.training.step, 2);
    fill(&again, 3);
    assert_ok(restore(&again, "auto"));
    assert_int_equal(again.training.step, 2);
    for (int64_t step = 3; step <= 4; step++) {
        fill(&again, step);
        assert_int_equal(save(&again, false).status, SL_OK);
        fill(&again, 9);
        assert_ok(restore(&again, RUN "/snapshots/step-00000006"));
        assert_int_equal(again.training.step, step);
        assert_int_equal(access(RUN "/snapshots/step-00000006/manifest.json", F_OK), 0);
    }
    flip(RUN "/snapshots/step-00000004/model.safetensors");
    assert_ok(restore(&again, "auto"));
    assert_int_equal(again.training.step, 3);
    flip(RUN "/snapshots/step-00000003/model.safetensors");
    assert_ok(restore(&again, "auto"));
    assert_int_equal(again.training.step, 2);
    close_run(&again);
}

/* A rollback while one is written finds it, and how it ended can still be taken; while one is gathered, forgets it. */
static void test_a_rollback_meets_a_snapshot_on_its_way(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    assert_ok(restore(&run, "auto"));
    fill(&run, 3);
    gather(&run, false);
    assert_ok(restore(&run, "auto"));
    assert_int_equal(run.training.step, 0);
    struct ps_written written;
    assert_int_equal(ps_archive_take(run.archive, &written), SL_AGAIN);
    struct ps_block_state state_of_0 = ps_table_capture(run.table, 0);
    struct sl_frame frame = frame_of(state_of_0.params);
    assert_int_equal(ps_archive_put(run.archive, 0, &frame, &frame, &frame, &err), SL_BAD_DATA);
    fill(&run, 5);
    gather(&run, false);
    assert_ok(ps_archive_write(run.archive, &err));
    assert_int_equal(ps_archive_put(run.archive, 0, &frame, &frame, &frame, &err), SL_BAD_DATA);
    ps_block_state_fini(&state_of_0);
    assert_ok(restore(&run, "auto"));
    assert_int_equal(run.training.step, 5);
    ps_archive_wait(run.archive);
    written = take(&run);
    assert_true(written.status == SL_OK && written.step == 5);
    assert_int_equal(save(&run, false).status, SL_OK);
    close_run(&run);
}

static void test_one_that_lacks_blocks_is_not_written(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    fill(&run, 3);
    assert_ok(ps_archive_begin(run.archive, &run.training, false, &err));
    assert_int_equal(ps_archive_write(run.archive, &err), SL_BAD_DATA);
    assert_non_null(strstr(err.text, "the snapshot of step 3 lacks"));
    ps_archive_drop(run.archive); /* nothing is there: fine */
    assert_int_equal(save(&run, false).status, SL_OK);
    close_run(&run);
}

/* Training goes on while a captured version is being written: the file has the version that was captured. */
static void test_updates_while_writing(void **state)
{
    (void)state;
    struct run run = open_run(NULL), want = open_run(NULL), again;
    fill(&run, 6);
    fill(&want, 6);
    float *gradient = fixture_vector(run.layout->count, 300, 1.0F);
    struct sl_commit commit = {.inverse_weight = 1.0,
            .clip = 1.0,
            .rate = 1e-2,
            .coefficient = {1.0, 1.0},
            .fused = {1.0, 1.0},
            .update = {1.0, 1.0}};
    gather(&run, false);
    for (int64_t version = 6; version < 9; version++) {
        if (version == 7)
            assert_ok(ps_archive_write(run.archive, &err));
        for (int b = 0; b < run.layout->block_count; b++) {
            const float *grads[SL_TAGS] = {NULL};
            for (int tag = 0; tag < SL_TAGS; tag++)
                if (run.layout->blocks[b].tagged[tag])
                    grads[tag] = gradient + run.layout->blocks[b].offset;
            assert_ok(ps_table_apply(run.table, b, version, &commit, grads, &err));
        }
    }
    assert_int_equal(take(&run).status, SL_OK);
    assert_ok(first_restore(&again, NULL, "auto"));
    assert_same_tables(&again, &want);
    sl_free(gradient);
    close_run(&run);
    close_run(&want);
    close_run(&again);
}

static void test_a_failed_write_is_reported(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    fill(&run, 4);
    struct rlimit before, tiny;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    tiny = (struct rlimit){1000, before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
    struct ps_written written = save(&run, true);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(written.status, SL_OK);
    assert_true(written.error.text[0] != 0);
    assert_int_equal(access(RUN "/snapshots/best", F_OK), -1);
    written = save(&run, true); /* the next one is a new chance */
    assert_int_equal(written.status, SL_OK);
    close_run(&run);
}

/* A file stands where the folder was: the next save says so by name, and a later one is a new chance. */
static void test_a_folder_that_cannot_be_written(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    fill(&run, 4);
    assert_ok(sl_file_remove_tree(RUN "/snapshots", &err));
    assert_ok(sl_file_write_atomic(RUN "/snapshots", "x", 1, &err));
    struct ps_written written = save(&run, false);
    assert_int_not_equal(written.status, SL_OK);
    assert_non_null(strstr(written.error.text, RUN "/snapshots"));
    assert_int_equal(unlink(RUN "/snapshots"), 0);
    assert_int_equal(save(&run, false).status, SL_OK);
    close_run(&run);
}

/* Closing waits for the one that is on its way. */
static void test_close_while_writing(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    fill(&run, 6);
    gather(&run, false);
    assert_ok(ps_archive_write(run.archive, &err));
    close_run(&run);
    struct ps_saved *saved = NULL;
    assert_ok(ps_saved_open(&saved, RUN "/snapshots/latest", &err));
    assert_int_equal(ps_saved_manifest(saved)->training.step, 6);
    ps_saved_close(saved);
}

static void test_what_cannot_be_opened(void **state)
{
    (void)state;
    struct run run = open_run(NULL);
    struct ps_archive *archive = NULL;
    assert_int_equal(unlink(RUN "/vocab.txt"), 0);
    assert_int_not_equal(ps_archive_open(&archive, run.config, run.layout, &err), SL_OK);
    assert_non_null(strstr(err.text, "modalities.text.vocab"));
    (void)snprintf(run.config->snapshots.dir, sizeof(run.config->snapshots.dir), "/dev/null/x");
    assert_int_not_equal(ps_archive_open(&archive, run.config, run.layout, &err), SL_OK);
    assert_null(archive);
    ps_archive_close(NULL);
    close_run(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_a_fresh_start, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_saved_and_resumed, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_snapshot_holds_config_and_vocabulary, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_old_ones_are_pruned_but_not_the_best, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_damaged_one_is_passed_over, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_another_config_is_refused, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_rollbacks_of_a_fresh_run, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_rollbacks_of_a_resumed_run, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_rollbacks_of_a_run_from_a_named_snapshot, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_rollback_meets_a_snapshot_on_its_way, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_one_that_lacks_blocks_is_not_written, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_updates_while_writing, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_failed_write_is_reported, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_a_folder_that_cannot_be_written, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_close_while_writing, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_what_cannot_be_opened, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
