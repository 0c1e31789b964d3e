/* The files of an export: all of them, or none and the old ones. */
#include "common/file.h"
#include "common/memory.h"
#include "deploy/export/files.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#define FOLDER "test_files.d"
#define MAIN FOLDER "/model.onnx"

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

static int count_entries(void)
{
    DIR *dir = opendir(FOLDER);
    assert_non_null(dir);
    int count = -2;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static void assert_content(const char *path, const char *content)
{
    SL_AUTO_FREE char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(sl_file_read(&bytes, &size, path, 1 << 20, &err), SL_OK);
    assert_string_equal(bytes, content);
}

/* Begins a set of two files with a few bytes each. */
static struct dp_files *begin(struct dp_file **ret_main)
{
    struct dp_files *files = NULL;
    struct dp_file *sidecar = NULL;
    assert_int_equal(dp_files_create(&files, MAIN, &err), SL_OK);
    assert_int_equal(dp_files_add(files, "", ret_main, &err), SL_OK);
    assert_int_equal(dp_files_add(files, ".json", &sidecar, &err), SL_OK);
    assert_int_equal(dp_file_write(*ret_main, "model", 5, &err), SL_OK);
    assert_int_equal(dp_file_write(sidecar, "{}", 2, &err), SL_OK);
    return files;
}

static void test_commit(void **state)
{
    (void)state;
    struct dp_file *file = NULL;
    SL_AUTO(dp_files_destroy_auto) struct dp_files *files = begin(&file);
    char name[64];
    assert_int_equal(sl_file_write_atomic(MAIN, "old", 3, &err), SL_OK);
    assert_content(MAIN, "old");
    assert_int_equal(dp_files_commit(files, &err), SL_OK);
    assert_content(MAIN, "model");
    assert_content(MAIN ".json", "{}");
    assert_int_equal(count_entries(), 2);
    assert_int_equal(dp_files_count(files), 2);
    assert_string_equal(dp_files_path(files, 1), MAIN ".json");
    assert_int_equal(dp_files_size(files, 0), 5);
    dp_files_name(files, ".data", name, sizeof(name));
    assert_string_equal(name, "model.onnx.data");
}

static void test_destroy_without_commit_leaves_nothing(void **state)
{
    (void)state;
    struct dp_file *file = NULL;
    assert_int_equal(sl_file_write_atomic(MAIN, "old", 3, &err), SL_OK);
    dp_files_destroy(begin(&file));
    assert_content(MAIN, "old");
    assert_int_equal(count_entries(), 1);
}

static void test_pieces_and_padding(void **state)
{
    (void)state;
    struct dp_file *file = NULL;
    SL_AUTO(dp_files_destroy_auto) struct dp_files *files = begin(&file);
    SL_AUTO_FREE char *large = sl_alloc(200000, 1);
    SL_AUTO_FREE char *bytes = NULL;
    size_t size = 0;
    assert_non_null(large);
    memset(large, 'x', 200000);
    assert_int_equal(dp_file_pad(file, 4096, &err), SL_OK);
    assert_int_equal(dp_file_size(file), 4096);
    assert_int_equal(dp_file_pad(file, 4096, &err), SL_OK);
    assert_int_equal(dp_file_write(file, large, 200000, &err), SL_OK);
    for (int i = 0; i < 70000; i++)
        assert_int_equal(dp_file_write(file, "yz", 2, &err), SL_OK);
    assert_int_equal(dp_files_commit(files, &err), SL_OK);
    assert_int_equal(sl_file_read(&bytes, &size, MAIN, 1 << 20, &err), SL_OK);
    assert_int_equal(size, 4096 + 200000 + 140000);
    assert_memory_equal(bytes, "model\0\0\0", 8);
    assert_memory_equal(bytes + 4096, large, 200000);
    for (size_t i = 0; i < 140000; i++)
        assert_int_equal(bytes[204096 + i], i % 2 == 0 ? 'y' : 'z');
}

static void test_bad_paths(void **state)
{
    (void)state;
    struct dp_files *files = NULL;
    struct dp_file *file = NULL;
    assert_int_equal(dp_files_create(&files, FOLDER, &err), SL_USAGE);
    assert_int_equal(dp_files_create(&files, "", &err), SL_USAGE);
    assert_int_equal(dp_files_create(&files, FOLDER "/none/model.onnx", &err), SL_OK);
    assert_int_equal(dp_files_add(files, "", &file, &err), SL_NOT_FOUND);
    assert_non_null(strstr(err.text, "none/model.onnx"));
    dp_files_destroy(files);
    assert_int_equal(sl_file_make_directories(MAIN ".json/in", &err), SL_OK);
    assert_int_equal(dp_files_create(&files, MAIN, &err), SL_OK);
    assert_int_equal(dp_files_add(files, "", &file, &err), SL_OK);
    assert_int_equal(dp_files_add(files, ".json", &file, &err), SL_USAGE);
    dp_files_destroy(files);
    assert_int_equal(count_entries(), 1);
}

/* A file size limit stands for a full disk. */
static void test_full_disk(void **state)
{
    (void)state;
    struct dp_file *file = NULL;
    assert_int_equal(sl_file_write_atomic(MAIN, "old", 3, &err), SL_OK);
    struct dp_files *files = begin(&file);
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 100000;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum sl_status status = SL_OK;
    for (int i = 0; i < 300000 && status == SL_OK; i++)
        status = dp_file_write(file, "more", 4, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, SL_DISK);
    assert_non_null(strstr(err.text, "model.onnx"));
    dp_files_destroy(files);
    assert_content(MAIN, "old");
    assert_int_equal(count_entries(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_commit, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_destroy_without_commit_leaves_nothing, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_pieces_and_padding, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_bad_paths, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
