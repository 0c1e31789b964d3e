/* Whole imports: the same records for any number of threads, after kill -9, after a full disk; strange manifests and folders; reading back what was imported. */
#include "tests/unit/dataset/fixture.h"
#include "worker/dataset/dataset.h"
#include "worker/dataset/import.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define ROWS 40 /* of the manifest; every 10th video is broken */

static char *folder;
static struct sl_config *config;

static void write_manifest(const char *name, int rows)
{
    char *text = sl_alloc((size_t)rows + 4, 256);
    size_t used = 0;
    static const char *const labels[] = {"day", "week", "evergreen"};
    for (int i = 0; i < rows; i++) {
        const char *video = i % 10 == 9 ? "broken.avi" : i % 2 == 0 ? "a.avi" : "b.avi";
        used += (size_t)sprintf(text + used,
                "{\"id\": \"row-%02d\", \"video\": \"%s\", \"title\": \"%s %d\", \"label\": \"%s\", "
                "\"split\": \"%s\", "
                "\"published\": \"2026-11-23T08:00:00+08:00\"}\n",
                i, video, i % 3 == 0 ? "cooking rice" : "news today", i, labels[i % 3],
                i % 5 == 4 ? "validation" : "train");
    }
    used += (size_t)sprintf(text + used,
            "\n{\"id\": \"row-00\", \"video\": \"a.avi\", \"title\": \"twice\", \"label\": \"day\"}\n");
    used += (size_t)sprintf(text + used, "{\"id\": \"bad\", \"tittle\": \"x\"}\r\nno json");
    fixture_write(folder, name, text, used);
    sl_free(text);
}

static int set_up(void **state)
{
    (void)state;
    const char *programs = getenv("SHELFLIFE_BIN");
    char *program = sl_strdup_printf("%s/shelflife-decode", programs != NULL ? programs : ".");
    if (program == NULL || access(program, X_OK) != 0) {
        print_message("skipped: %s is not built\n", program);
        exit(0);
    }
    (void)setenv("SHELFLIFE_DECODE", program, 1);
    sl_free(program);
    folder = fixture_folder("import");
    config = fixture_config(folder);
    fixture_video(folder, "a.avi", 20);
    fixture_video(folder, "b.avi", 3);
    fixture_text(folder, "broken.avi", "no video at all");
    write_manifest("manifest.jsonl", ROWS);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sl_free(config);
    fixture_remove(folder);
    return 0;
}

struct call {
    char *manifest, *out;
    struct wk_import_options options;
    struct wk_import_result result;
};

static struct call make_call(const char *out, int jobs)
{
    struct call call = {.manifest = fixture_path(folder, "manifest.jsonl"), .out = fixture_path(folder, out)};
    call.options = (struct wk_import_options){
            .manifest = call.manifest, .out = call.out, .jobs = jobs, .shard_size = 7, .commit_rows = 2};
    return call;
}

static void drop_call(struct call *call)
{
    sl_free(call->manifest);
    sl_free(call->out);
}

static struct wk_dataset *open_split(const char *out, const char *split)
{
    char *path = sl_strdup_printf("%s/%s/%s", folder, out, split);
    struct wk_dataset *dataset = NULL;
    assert_ok(wk_dataset_open(&dataset, path, config, &fixture_error));
    sl_free(path);
    return dataset;
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char *path_a = sl_strdup_printf("%s/%s/%s", folder, a, name),
         *path_b = sl_strdup_printf("%s/%s/%s", folder, b, name);
    char *bytes_a = NULL, *bytes_b = NULL;
    size_t size_a = 0, size_b = 0;
    assert_ok(sl_file_read(&bytes_a, &size_a, path_a, 1 << 20, &fixture_error));
    assert_ok(sl_file_read(&bytes_b, &size_b, path_b, 1 << 20, &fixture_error));
    assert_string_equal(bytes_a, bytes_b);
    sl_free(bytes_a);
    sl_free(bytes_b);
    sl_free(path_a);
    sl_free(path_b);
}

/* Two imports hold the same records: by their fingerprints, which cover all checksums, and once by their content. */
static void assert_same_datasets(const char *a, const char *b)
{
    static const char *const splits[] = {"train", "validation"};
    for (int i = 0; i < 2; i++) {
        struct wk_dataset *left = open_split(a, splits[i]), *right = open_split(b, splits[i]);
        assert_int_equal(wk_dataset_count(left), wk_dataset_count(right));
        assert_true(wk_dataset_fingerprint(left) == wk_dataset_fingerprint(right));
        for (uint32_t shard = 0; shard < wk_dataset_index(right)->shard_count; shard++)
            assert_ok(wk_dataset_verify(right, shard, &fixture_error));
        for (uint64_t k = 0; k < wk_dataset_count(left); k++) {
            struct wk_sample one = {0}, other = {0};
            assert_ok(wk_dataset_read(left, k, &one, &fixture_error));
            assert_ok(wk_dataset_read(right, k, &other, &fixture_error));
            assert_string_equal(one.id, other.id);
            assert_int_equal(one.inputs[0].items, other.inputs[0].items);
            assert_memory_equal(one.inputs[0].frames, other.inputs[0].frames,
                    (size_t)one.inputs[0].items * FIXTURE_IMAGE * FIXTURE_IMAGE * 3);
            wk_sample_fini(&one);
            wk_sample_fini(&other);
        }
        wk_dataset_close(left);
        wk_dataset_close(right);
    }
    assert_same_file(a, b, "rejects.jsonl");
}

static void test_everything_is_imported_or_listed(void **state)
{
    (void)state;
    struct call call = make_call("one", 1);
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_int_equal(call.result.lines, ROWS + 3);
    assert_int_equal(call.result.imported[WK_SPLIT_TRAIN], 32);
    assert_int_equal(call.result.imported[WK_SPLIT_VALIDATION], 4);
    assert_int_equal(call.result.rejected, 7);
    char *path = sl_strdup_printf("%s/rejects.jsonl", call.out), *text = NULL;
    size_t size = 0;
    assert_ok(sl_file_read(&text, &size, path, 1 << 20, &fixture_error));
    assert_non_null(
            strstr(text, "{\"line\":10,\"id\":\"row-09\",\"reason\":\"video broken.avi: not a video"));
    assert_non_null(strstr(
            text, "{\"line\":42,\"id\":\"row-00\",\"reason\":\"\\\"id\\\" was used before, in line 1"));
    assert_non_null(strstr(text, "{\"line\":43,\"id\":\"bad\",\"reason\":\"unknown key \\\"tittle\\\"; is "
                                 "\\\"title\\\" meant?\"}"));
    assert_non_null(strstr(text, "{\"line\":44,\"id\":null,\"reason\":\"not JSON"));
    sl_free(text);
    sl_free(path);
    drop_call(&call);
}

static void test_samples_come_back_as_they_were(void **state)
{
    (void)state;
    struct wk_dataset *dataset = open_split("one", "train");
    assert_int_equal(wk_dataset_count(dataset), 32);
    assert_int_equal(wk_dataset_index(dataset)->shard_count, 5); /* 32 rows in sevens */
    assert_int_equal(wk_dataset_label_count(dataset, 0) + wk_dataset_label_count(dataset, 1) +
                             wk_dataset_label_count(dataset, 2),
            32);
    uint64_t index = 0;
    assert_ok(wk_dataset_find(dataset, "row-12", &index, &fixture_error));
    assert_error(wk_dataset_find(dataset, "row-04", &index, &fixture_error), SL_NOT_FOUND,
            "row-04"); /* of the other split */
    assert_ok(wk_dataset_find(dataset, "row-12", &index, &fixture_error));
    struct wk_sample sample = {0};
    assert_ok(wk_dataset_read(dataset, index, &sample, &fixture_error));
    assert_string_equal(sample.id, "row-12");
    assert_string_equal(sample.title, "cooking rice 12");
    assert_int_equal(sample.label, 0);
    assert_int_equal(sample.published_s, 1795392000);
    assert_int_equal(sample.index, index);
    assert_int_equal(sample.inputs[0].items, 4);
    assert_in_range(sample.inputs[0].frames[0], fixture_ramp(2) - 3,
            fixture_ramp(2) + 3); /* 20 pictures, 4 parts: 2, 7, 12, 17 */
    assert_int_equal(sample.inputs[1].items, 5);
    const int32_t tokens[] = {2, 7, 8, 1, 3}; /* [CLS] cooking rice [UNK] [SEP] */
    assert_memory_equal(sample.inputs[1].tokens, tokens, sizeof(tokens));
    wk_sample_fini(&sample);
    assert_error(wk_dataset_read(dataset, 32, &sample, &fixture_error), SL_USAGE, "32 samples");
    wk_dataset_close(dataset);
}

static void test_threads_do_not_change_records(void **state)
{
    (void)state;
    struct call call = make_call("three", 3);
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_same_datasets("one", "three");
    drop_call(&call);
}

static void die_at(void *context, uint64_t done, uint64_t total, uint64_t rejected)
{
    (void)total;
    (void)rejected;
    if (done >= *(uint64_t *)context)
        (void)raise(SIGKILL);
}

static void test_killed_imports_go_on(void **state)
{
    (void)state;
    struct call call = make_call("killed", 2);
    for (uint64_t at = 1; at < ROWS; at += 6) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            call.options.progress = die_at;
            call.options.context = &at;
            (void)!wk_import_run(&call.options, config, &call.result, NULL);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    struct wk_dataset *dataset = NULL;
    char *path = fixture_path(call.out, "train");
    assert_error(wk_dataset_open(&dataset, path, config, &fixture_error), SL_BAD_DATA, "did not finish");
    sl_free(path);
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_true(call.result.resumed >= 30);
    assert_same_datasets("one", "killed");
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_int_equal(call.result.resumed, ROWS); /* nothing is left to do */
    assert_int_equal(call.result.rejected, 7);
    drop_call(&call);
}

static void test_damaged_partial_shards_are_done_again(void **state)
{
    (void)state;
    struct call call = make_call("damaged", 1);
    uint64_t at = 5;
    pid_t child = fork();
    if (child == 0) {
        call.options.progress = die_at;
        call.options.context = &at;
        (void)!wk_import_run(&call.options, config, &call.result, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    char *path = sl_strdup_printf("%s/train/shard-00000.partial/data.mdb", call.out);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "garbage!", 8, 4096 * 3 + 100), 8);
    (void)close(fd);
    sl_free(path);
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_same_datasets("one", "damaged");
    drop_call(&call);
}

static void stop_at(void *context, uint64_t done, uint64_t total, uint64_t rejected)
{
    (void)total;
    (void)rejected;
    if (done >= 11)
        atomic_store((atomic_bool *)context, true);
}

static void test_a_stopped_import_keeps_what_is_done(void **state)
{
    (void)state;
    struct call call = make_call("stopped", 2);
    atomic_bool stop = false;
    call.options.stop = &stop;
    call.options.progress = stop_at;
    call.options.context = &stop;
    call.options.commit_rows = 0;
    assert_error(wk_import_run(&call.options, config, &call.result, &fixture_error), SL_STOPPED,
            "stopped after 11 of 40");
    atomic_store(&stop, false);
    call.options.progress = NULL;
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_int_equal(call.result.resumed, 11);
    assert_same_datasets("one", "stopped");
    drop_call(&call);
}

/* A file size limit acts on one file as a full disk does. */
static void test_a_write_that_fails_is_the_disk(void **state)
{
    (void)state;
    struct call call = make_call("limited", 1);
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {.rlim_cur = 28672, .rlim_max = 28672};
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        struct sl_error err = {0};
        enum sl_status status = wk_import_run(&call.options, config, &call.result, &err);
        _exit(strstr(err.text, "run the same again") != NULL ? (int)status : 99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), SL_DISK);
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    assert_same_datasets("one", "limited");
    drop_call(&call);
}

static void test_a_full_disk_is_told_and_resumable(void **state)
{
    (void)state;
    struct call call = make_call("full", 2);
    assert_ok(sl_file_make_directories(call.out, &fixture_error));
    if (mount("tmpfs", call.out, "tmpfs", 0, "size=160k") != 0) {
        print_message("skipped: tmpfs cannot be mounted here\n");
        drop_call(&call);
        skip();
        return;
    }
    enum sl_status status = wk_import_run(&call.options, config, &call.result, &fixture_error);
    bool told = strstr(fixture_error.text, "full") != NULL;
    (void)mount("tmpfs", call.out, "tmpfs", MS_REMOUNT, "size=8m");
    struct sl_error err = {0};
    enum sl_status again = wk_import_run(&call.options, config, &call.result, &err);
    if (again == SL_OK)
        assert_same_datasets("one", "full");
    assert_int_equal(umount(call.out), 0);
    assert_int_equal(status, SL_DISK);
    assert_true(told);
    assert_int_equal(again, SL_OK);
    drop_call(&call);
}

static void test_another_import_is_refused(void **state)
{
    (void)state;
    struct call call = make_call("one", 1);
    struct sl_config *other = sl_alloc(1, sizeof(*other));
    memcpy(other, config, sizeof(*other));
    other->modalities[0].image = 24;
    assert_error(wk_import_run(&call.options, other, &call.result, &fixture_error), SL_USAGE,
            "modalities[0].image was 16, now it is 24");
    call.options.shard_size = 8;
    assert_error(wk_import_run(&call.options, config, &call.result, &fixture_error), SL_USAGE,
            "shard_size was 7, now it is 8");
    call.options.shard_size = 7;
    write_manifest("manifest.jsonl", ROWS - 1);
    assert_error(
            wk_import_run(&call.options, config, &call.result, &fixture_error), SL_USAGE, "another manifest");
    write_manifest("manifest.jsonl", ROWS);
    assert_ok(wk_import_run(&call.options, config, &call.result, &fixture_error));
    call.options.out = folder;
    assert_error(
            wk_import_run(&call.options, config, &call.result, &fixture_error), SL_USAGE, "is not empty");
    sl_free(other);
    drop_call(&call);
}

static void test_useless_manifests(void **state)
{
    (void)state;
    struct call call = make_call("useless", 1);
    char *path = fixture_path(folder, "useless.jsonl");
    call.options.manifest = path;
    assert_error(wk_import_run(&call.options, config, &call.result, &fixture_error), SL_NOT_FOUND,
            "useless.jsonl");
    fixture_text(folder, "useless.jsonl", "\n \r\n");
    assert_error(
            wk_import_run(&call.options, config, &call.result, &fixture_error), SL_BAD_DATA, "has no lines");
    fixture_text(
            folder, "useless.jsonl", "\xef\xbb\xbf{\"id\": \"a\", \"title\": \"x\", \"label\": \"day\"}\n");
    assert_error(wk_import_run(&call.options, config, &call.result, &fixture_error), SL_BAD_DATA,
            "\"video\" is missing");
    assert_int_equal(call.result.rejected, 1);
    char *rejects = fixture_path(call.out, "rejects.jsonl");
    assert_true(sl_file_size(rejects) > 0);
    sl_free(rejects);
    sl_free(path);
    drop_call(&call);
}

static void expect_open(const char *path, const struct sl_config *with, const char *piece)
{
    struct wk_dataset *dataset = NULL;
    assert_error(wk_dataset_open(&dataset, path, with, &fixture_error), SL_BAD_DATA, piece);
}

static void test_datasets_that_do_not_fit(void **state)
{
    (void)state;
    struct sl_config *other = sl_alloc(1, sizeof(*other));
    memcpy(other, config, sizeof(*other));
    char *train = sl_strdup_printf("%s/one/train", folder), *root = sl_strdup_printf("%s/one", folder);
    expect_open("nowhere", config, "does not exist");
    expect_open(root, config, "one/train is one");
    expect_open(folder, config, "not a dataset");
    other->modalities[0].image = 24;
    expect_open(train, other, "modality visual has image 16, the config says 24");
    memcpy(other, config, sizeof(*other));
    (void)snprintf(other->labels[2].name, SL_NAME_MAX, "never");
    expect_open(train, other, "label evergreen");
    memcpy(other, config, sizeof(*other));
    (void)snprintf(other->modalities[1].name, SL_NAME_MAX, "words");
    expect_open(train, other, "no modality words");
    memcpy(other, config, sizeof(*other));
    fixture_text(folder, "other.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    (void)snprintf(other->modalities[1].vocab, SL_PATH_MAX, "%s/other.txt", folder);
    expect_open(train, other, "another vocabulary");
    sl_free(other);
    sl_free(train);
    sl_free(root);
}

static void flip(const char *path, int64_t at)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    char byte = 0;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte = (char)(byte ^ 0x10);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

/* One bit in each of many places of a shard: each is either noticed at opening or at reading, or lies where nothing is stored. What is read
 * without error is right. */
static void test_flipped_bits_are_noticed(void **state)
{
    (void)state;
    char *train = sl_strdup_printf("%s/one/train", folder),
         *file = sl_strdup_printf("%s/shard-00000/data.mdb", train);
    int64_t size = sl_file_size(file);
    int noticed = 0, harmless = 0;
    for (int64_t at = 0; at < size; at += 97) {
        flip(file, at);
        struct wk_dataset *dataset = NULL;
        struct sl_error err = {0};
        enum sl_status status = wk_dataset_open(&dataset, train, config, &err);
        if (status == SL_OK)
            status = wk_dataset_verify(dataset, 0, &err);
        wk_dataset_close(dataset);
        assert_true(status == SL_OK || status == SL_BAD_DATA);
        noticed += status == SL_BAD_DATA;
        harmless += status == SL_OK;
        flip(file, at);
    }
    print_message("%d flips noticed, %d in unused bytes\n", noticed, harmless);
    assert_true(noticed > harmless / 4 && noticed > 100);
    assert_int_equal(truncate(file, size - 4096), 0);
    expect_open(train, config, "its manifest says");
    sl_free(train);
    sl_free(file);
}

static void test_missing_parts_are_named(void **state)
{
    (void)state;
    char *train = sl_strdup_printf("%s/three/train", folder),
         *shard = sl_strdup_printf("%s/shard-00002", train);
    char *away = sl_strdup_printf("%s/away", folder), *manifest = sl_strdup_printf("%s/manifest.json", train);
    assert_int_equal(rename(shard, away), 0);
    expect_open(train, config, "lacks shard-00002");
    assert_int_equal(rename(away, shard), 0);
    assert_int_equal(unlink(manifest), 0);
    expect_open(train, config, "has no manifest.json");
    sl_free(train);
    sl_free(shard);
    sl_free(away);
    sl_free(manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_everything_is_imported_or_listed),
            cmocka_unit_test(test_samples_come_back_as_they_were),
            cmocka_unit_test(test_threads_do_not_change_records),
            cmocka_unit_test(test_killed_imports_go_on),
            cmocka_unit_test(test_damaged_partial_shards_are_done_again),
            cmocka_unit_test(test_a_stopped_import_keeps_what_is_done),
            cmocka_unit_test(test_a_write_that_fails_is_the_disk),
            cmocka_unit_test(test_a_full_disk_is_told_and_resumable),
            cmocka_unit_test(test_another_import_is_refused),
            cmocka_unit_test(test_useless_manifests),
            cmocka_unit_test(test_datasets_that_do_not_fit),
            cmocka_unit_test(test_missing_parts_are_named),
            cmocka_unit_test(test_flipped_bits_are_noticed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
