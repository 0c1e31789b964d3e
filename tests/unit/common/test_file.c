/* Files: whole or not at all, limits, folders, and what a full disk gives. */
#include "common/file.h"
#include "common/memory.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER "test_file.d"

static struct sl_error err;

static int set_up(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK &&
                           sl_file_make_directories(FOLDER "/a/b", &err) == SL_OK
                   ? 0
                   : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK && access(FOLDER, F_OK) != 0 ? 0 : -1;
}

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int count = -2;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static void test_write_and_read_back(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(sl_file_write_atomic(FOLDER "/x", "a\0b", 3, &err), SL_OK);
    assert_int_equal(sl_file_write_atomic(FOLDER "/x", "second", 6, &err), SL_OK);
    assert_int_equal(sl_file_read(&bytes, &size, FOLDER "/x", 6, &err), SL_OK);
    assert_int_equal(size, 6);
    assert_string_equal(bytes, "second");
    sl_free(bytes);
    assert_int_equal(sl_file_size(FOLDER "/x"), 6);
    assert_int_equal(count_entries(FOLDER), 2); /* the file and the folder a: no temporary */
    uint64_t hash = 0, other = 0;
    assert_int_equal(sl_file_hash(&hash, FOLDER "/x", &err), SL_OK);
    assert_int_equal(sl_file_write_atomic(FOLDER "/x", "seconD", 6, &err), SL_OK);
    assert_int_equal(sl_file_hash(&other, FOLDER "/x", &err), SL_OK);
    assert_true(hash != other);
    assert_int_equal(unlink(FOLDER "/x"), 0);
}

static void test_reading_has_limits(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(sl_file_write_atomic(FOLDER "/y", "1234", 4, &err), SL_OK);
    assert_int_equal(sl_file_read(&bytes, &size, FOLDER "/y", 3, &err), SL_BAD_DATA);
    assert_int_equal(sl_file_read(&bytes, &size, FOLDER, 3, &err), SL_BAD_DATA);
    assert_int_equal(sl_file_read(&bytes, &size, FOLDER "/none", 3, &err), SL_NOT_FOUND);
    assert_non_null(strstr(err.text, FOLDER "/none"));
    assert_int_equal(mkfifo(FOLDER "/pipe", 0600), 0);
    assert_int_equal(
            sl_file_read(&bytes, &size, FOLDER "/pipe", 3, &err), SL_BAD_DATA); /* and does not hang */
    int fd = open(FOLDER "/y", O_RDONLY);
    char four[4];
    assert_int_equal(sl_file_read_at(fd, four, 3, 2, "y", &err), SL_BAD_DATA);
    (void)close(fd);
    assert_int_equal(unlink(FOLDER "/y"), 0);
    assert_int_equal(unlink(FOLDER "/pipe"), 0);
}

static void test_folders(void **state)
{
    (void)state;
    assert_true(sl_file_is_directory(FOLDER "/a/b"));
    assert_int_equal(sl_file_make_directories(FOLDER "/a/b/", &err), SL_OK);
    assert_int_equal(sl_file_write_atomic(FOLDER "/file", "", 0, &err), SL_OK);
    assert_int_equal(sl_file_make_directories(FOLDER "/file", &err), SL_FAILED);
    assert_int_equal(sl_file_make_directories(FOLDER "/file/c", &err), SL_FAILED);
    assert_int_equal(sl_file_make_directories("", &err), SL_FAILED);
    assert_int_equal(sl_file_write_atomic(FOLDER "/none/x", "", 0, &err), SL_NOT_FOUND);
    assert_int_equal(symlink("/", FOLDER "/a/root"), 0); /* is removed, not followed */
    assert_int_equal(sl_file_remove_tree(FOLDER "/none", &err), SL_OK);
    assert_int_equal(unlink(FOLDER "/file"), 0);
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    assert_int_equal(sl_file_write_atomic(FOLDER "/z", "old", 3, &err), SL_OK);
    pid_t child = fork();
    if (child == 0) {
        static char large[100000];
        (void)signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {.rlim_cur = 5000, .rlim_max = 5000};
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        _exit((int)sl_file_write_atomic(FOLDER "/z", large, sizeof(large), &err));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), SL_DISK);
    assert_int_equal(sl_file_size(FOLDER "/z"), 3);
    assert_int_equal(count_entries(FOLDER), 2);
    assert_int_equal(unlink(FOLDER "/z"), 0);
}

static void expect_path(char *path, const char *wanted)
{
    assert_string_equal(path, wanted);
    sl_free(path);
}

static void test_paths(void **state)
{
    (void)state;
    expect_path(sl_path_join("a", "b"), "a/b");
    expect_path(sl_path_join("a/", "b"), "a/b");
    expect_path(sl_path_join("", "b"), "b");
    expect_path(sl_path_join("a", "/b"), "/b");
    expect_path(sl_path_directory("a/b/c"), "a/b");
    expect_path(sl_path_directory("c"), ".");
    expect_path(sl_path_directory("/c"), "/");
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2; n++) {
        sl_memory_fail_after(n);
        assert_int_equal(sl_file_write_atomic(FOLDER "/w", "x", 1, &err), SL_NO_MEMORY);
        sl_memory_fail_after(0);
    }
    assert_int_equal(sl_file_size(FOLDER "/w"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_write_and_read_back),
            cmocka_unit_test(test_reading_has_limits),
            cmocka_unit_test(test_folders),
            cmocka_unit_test(test_a_failed_write_leaves_the_old_file),
            cmocka_unit_test(test_paths),
            cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
