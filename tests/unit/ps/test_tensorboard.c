/* Event files byte for byte as far as their frame goes; an independent reader checks the rest (tests/e2e/status.sh). */
#include "ps/tensorboard.h"

#include "common/file.h"
#include "proto/tensorboard.pb-c.h"
#include "tests/unit/ps/fixture.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>

#define FOLDER "test_tensorboard.d"

static struct sl_error err;

static int set_up(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK && sl_file_make_directories(FOLDER, &err) == SL_OK ? 0
                                                                                                         : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK ? 0 : -1;
}

static struct sl_config *make_config(const char *folder)
{
    struct sl_config *config = fixture_config();
    (void)snprintf(config->snapshots.dir, sizeof(config->snapshots.dir), "%s", folder);
    config->snapshots.tensorboard = true;
    return config;
}

static void test_checksum(void **state)
{
    (void)state;
    unsigned char bytes[32] = {0};
    assert_int_equal(ps_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(ps_crc32c(bytes, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(ps_crc32c(bytes, 32), 0x62a8ab43);
    assert_int_equal(ps_crc32c("", 0), 0);
}

/* The only file of the folder but `not`. */
static char *find_file(const char * not )
{
    char *path = NULL;
    DIR *folder = opendir(FOLDER "/tensorboard");
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) != 0)
            continue;
        char *found = sl_strdup_printf(FOLDER "/tensorboard/%s", entry->d_name);
        assert_non_null(found);
        if (not != NULL && strcmp(found, not ) == 0) {
            sl_free(found);
            continue;
        }
        assert_null(path);
        path = found;
    }
    (void)closedir(folder);
    assert_non_null(path);
    return path;
}

static uint64_t number_at(const char *bytes, int size)
{
    uint64_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    return value;
}

/* Calls check for each event; gives how many there were. */
static int read_events(const char *path, void (*check)(int index, const Shelflife__Tensorboard__Event *event))
{
    SL_AUTO_FREE char *bytes = NULL;
    size_t size = 0, at = 0;
    int count = 0;
    assert_int_equal(sl_file_read(&bytes, &size, path, 1 << 20, &err), SL_OK);
    for (; at < size; count++) {
        size_t length = (size_t)number_at(bytes + at, 8);
        assert_true(at + length + 16 <= size);
        Shelflife__Tensorboard__Event *event =
                shelflife__tensorboard__event__unpack(NULL, length, (const uint8_t *)bytes + at + 12);
        assert_non_null(event);
        check(count, event);
        shelflife__tensorboard__event__free_unpacked(event, NULL);
        at += length + 16;
    }
    return count;
}

static float value_of(const Shelflife__Tensorboard__Event *event, const char *tag)
{
    for (size_t i = 0; i < event->summary->n_value; i++)
        if (strcmp(event->summary->value[i]->tag, tag) == 0)
            return event->summary->value[i]->simple_value;
    return NAN;
}

static void check_first(int index, const Shelflife__Tensorboard__Event *event)
{
    if (index == 0) {
        assert_string_equal(event->file_version, "brain.Event:2");
        return;
    }
    assert_int_equal(event->step, 3);
    assert_true(event->wall_time > 1.7e9);
    assert_true(value_of(event, "loss/fused") == 3.0F);
    assert_true(value_of(event, "ratio/text") == 0.25F);
    assert_true(isnan(value_of(event, "ratio/fused")));
    assert_true(isnan(value_of(event, "cosine/visual"))); /* it was not finite */
    assert_true(
            value_of(event, "update_norm/text") == 0.5F && value_of(event, "parameter_norm/fused") == 4.0F);
    assert_true(value_of(event, "train/samples_per_second") == 64.0F);
}

static void check_second(int index, const Shelflife__Tensorboard__Event *event)
{
    if (index == 0)
        assert_string_equal(event->file_version, "brain.Event:2");
    if (index == 1) { /* later steps of the first file are void */
        assert_int_equal(event->session_log->status, 1);
        assert_int_equal(event->step, 3);
    }
    if (index == 2)
        assert_true(isfinite(value_of(event, "validation_accuracy/fused")));
}

static void test_files(void **state)
{
    (void)state;
    SL_AUTO_FREE struct sl_config *config = make_config(FOLDER);
    struct ps_tensorboard *tensorboard = NULL;
    struct ps_step_record record = {.step = 3,
            .samples = 32,
            .seconds = 0.5,
            .loss = {1, 2, 3},
            .ratio = {4, 0.25},
            .cosine = {NAN, 0},
            .update_norm = {1, 0.5, 0.25},
            .parameter_norm = {16, 8, 4}};
    assert_int_equal(ps_tensorboard_open(&tensorboard, config, 0, &err), SL_OK);
    assert_int_equal(ps_tensorboard_step(tensorboard, &record, &err), SL_OK);
    SL_AUTO_FREE char *first = find_file(NULL); /* whole while the run goes on */
    assert_int_equal(read_events(first, check_first), 2);
    ps_tensorboard_close(tensorboard);
    SL_AUTO(sl_evaluation_destroy_auto) struct sl_evaluation *evaluation = NULL;
    static const float sure[] = {1.0F, 0.0F, 0.0F};
    assert_int_equal(sl_evaluation_create(&evaluation, 3, 3, &err), SL_OK);
    for (int b = 0; b < 3; b++)
        assert_int_equal(sl_evaluation_add(evaluation, b, sure, 0, &err), SL_OK);
    assert_int_equal(ps_tensorboard_open(&tensorboard, config, 2, &err), SL_OK);
    assert_int_equal(ps_tensorboard_validation(tensorboard, 2, evaluation, &err), SL_OK);
    ps_tensorboard_close(tensorboard);
    SL_AUTO_FREE char *second = find_file(first);
    assert_int_equal(read_events(second, check_second), 3);
}

static void test_off_and_refused(void **state)
{
    (void)state;
    SL_AUTO_FREE struct sl_config *config = make_config(FOLDER "/file");
    struct ps_tensorboard *tensorboard = NULL;
    assert_int_equal(sl_file_write_atomic(FOLDER "/file", "x", 1, &err), SL_OK);
    assert_int_equal(ps_tensorboard_open(&tensorboard, config, 0, &err), SL_FAILED);
    assert_non_null(strstr(err.text, FOLDER "/file"));
    config->snapshots.tensorboard = false;
    assert_int_equal(ps_tensorboard_open(&tensorboard, config, 0, &err), SL_OK);
    assert_null(tensorboard);
    assert_int_equal(ps_tensorboard_step(NULL, NULL, &err), SL_OK);
    assert_int_equal(ps_tensorboard_validation(NULL, 0, NULL, &err), SL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_checksum), cmocka_unit_test(test_files),
            cmocka_unit_test(test_off_and_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
