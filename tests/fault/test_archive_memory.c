/* The way of a snapshot with its n-th allocation failing for n = 1, 2, 3 …: restored, put into the tables of three servers, gathered from them and put into
 * another snapshot. NO_MEMORY each time, no crash, no leak, and the next try works. */
#include "common/file.h"
#include "common/placement.h"
#include "ps/archive.h"
#include "ps/snapshot.h"
#include "tests/unit/ps/fixture.h"

#include <poll.h>

#define RUN "fault-archive"
#define SERVERS 3
#define ALLOCATIONS_MAX 5000
#define WAIT_MS 30000

static struct {
    struct sl_config *config;
    struct sl_layout *layout;
    int *owners; /* (layout->block_count,) */
    struct ps_archive *archive;
} set;

static struct sl_error problem;

static int set_up(void **state)
{
    (void)state;
    set.config = fixture_config();
    set.config->snapshots.keep = 2;
    (void)snprintf(set.config->snapshots.dir, sizeof(set.config->snapshots.dir), RUN);
    set.layout = fixture_layout(set.config, FIXTURE_BLOCK);
    set.owners = sl_alloc((size_t)set.layout->block_count, sizeof(int));
    sl_placement_make(set.layout, SERVERS, set.owners);
    if (sl_file_remove_tree(RUN, &problem) != SL_OK ||
            ps_archive_open(&set.archive, set.config, set.layout, &problem) != SL_OK)
        fail_msg("%s", problem.text);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_archive_close(set.archive);
    sl_free(set.owners);
    sl_layout_destroy(set.layout);
    sl_free(set.config);
    return sl_file_remove_tree(RUN, &problem) != SL_OK;
}

static struct sl_frame frame_of(struct sl_buffer *buffer)
{
    return buffer == NULL ? (struct sl_frame){NULL, NULL, 0}
                          : (struct sl_frame){buffer, buffer->data, buffer->size};
}

static enum sl_status make_table(struct ps_table **ret_table, int rank, struct sl_error *err)
{
    struct ps_optimiser optimiser = ps_optimiser_from_config(set.config);
    SL_AUTO_FREE int *own = sl_alloc((size_t)set.layout->block_count, sizeof(int));
    int count = 0;
    if (own == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a list of blocks");
    for (int b = 0; b < set.layout->block_count; b++)
        if (set.owners[b] == rank)
            own[count++] = b;
    return ps_table_create(ret_table, set.layout, &optimiser, own, count, err);
}

/* One server takes its blocks, makes a step and sends them to the snapshot. */
static enum sl_status serve(int rank, struct sl_error *err)
{
    SL_AUTO(ps_table_destroy_auto) struct ps_table *table = NULL;
    static const struct sl_commit commit = {.inverse_weight = 1.0, .clip = 1.0, .rate = 1e-3};
    static const float *const none[SL_TAGS];
    enum sl_status status = make_table(&table, rank, err);
    for (int b = 0; status == SL_OK && b < set.layout->block_count; b++) {
        if (set.owners[b] != rank)
            continue;
        const struct ps_block_state *from = ps_archive_block(set.archive, b);
        struct sl_frame params = frame_of(from->params), m = frame_of(from->m), v = frame_of(from->v);
        status = ps_table_put(table, b, &params, &m, &v, 0, err);
        if (status == SL_OK)
            status = ps_table_apply(table, b, 0, &commit, none, err);
        if (status != SL_OK)
            break;
        SL_AUTO(ps_block_state_fini) struct ps_block_state state = ps_table_capture(table, b);
        params = frame_of(state.params);
        m = frame_of(state.m);
        v = frame_of(state.v);
        status = ps_archive_put(set.archive, b, &params, &m, &v, err);
    }
    return status;
}

static enum sl_status life(struct sl_error *err)
{
    struct ps_training training = {0};
    enum sl_status status = ps_archive_restore(set.archive, "auto", &training, err);
    if (status == SL_OK)
        status = ps_archive_begin(set.archive, &training, false, err);
    for (int rank = 0; status == SL_OK && rank < SERVERS; rank++)
        status = serve(rank, err);
    ps_archive_release(set.archive);
    if (status != SL_OK)
        ps_archive_drop(set.archive);
    return status;
}

/* Fails at every n until the life gets through; what it gathered is then written. */
static void exhaust(int64_t at_least)
{
    for (uint64_t n = 1; n < ALLOCATIONS_MAX; n++) {
        struct sl_error err = {0};
        sl_memory_fail_after(n);
        enum sl_status status = life(&err);
        sl_memory_fail_after(0);
        if (status == SL_OK) {
            struct ps_written written;
            struct pollfd ready = {.fd = ps_archive_fd(set.archive), .events = POLLIN};
            assert_true(n > (uint64_t)at_least);
            assert_int_equal(ps_archive_write(set.archive, &err), SL_OK);
            assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
            assert_int_equal(ps_archive_take(set.archive, &written), SL_OK);
            assert_int_equal(written.status, SL_OK);
            return;
        }
        if (status != SL_NO_MEMORY || err.text[0] == 0)
            fail_msg("allocation %d fails: status %s, \"%s\"", (int)n, sl_status_name(status), err.text);
    }
    fail_msg("it never gets through");
}

static void test_life_of_a_snapshot(void **state)
{
    (void)state;
    exhaust(3 * set.layout->block_count); /* from initial values */
    exhaust(3 * set.layout->block_count); /* from the snapshot that the first one wrote */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_life_of_a_snapshot, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
