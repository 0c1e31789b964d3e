/* Files below a folder: found, refused with a reason, and the same ones whatever becomes of names afterwards. */
#include "deploy/serve/beneath.h"

#include "common/file.h"
#include "common/memory.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef enum sl_status opener(int *ret_fd, const char *root, const char *named, struct sl_error *err);

struct fixture {
    char dir[64], root[80];
};

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[256];
    struct sl_error err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(sl_file_write_atomic(path, text, strlen(text), &err), SL_OK);
}

static void link_to(const struct fixture *f, const char *target, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", f->root, name);
    assert_int_equal(symlink(target, path), 0);
}

static int setup(void **state)
{
    struct fixture *f = sl_alloc(1, sizeof(*f));
    char path[128];
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_beneath-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return 1;
    (void)snprintf(f->root, sizeof(f->root), "%s/root", f->dir);
    (void)snprintf(path, sizeof(path), "%s/sub", f->root);
    if (mkdir(f->root, 0700) != 0 || mkdir(path, 0700) != 0)
        return 1;
    write_text(f->dir, "secret", "outside");
    write_text(f->root, "a", "at the top");
    write_text(f->root, "sub/b", "below");
    (void)snprintf(path, sizeof(path), "%s/a", f->root);
    link_to(f, "../a", "sub/within");
    link_to(f, "..", "out");
    link_to(f, "../secret", "up");
    link_to(f, path, "absolute");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct sl_error err = {0};
    (void)!sl_file_remove_tree(f->dir, &err);
    sl_free(f);
    return 0;
}

/* What another process reads by the path that it is told. */
static void expect_text(int fd, const char *text)
{
    char path[64], read_text[64] = "";
    (void)snprintf(path, sizeof(path), "/proc/%ld/fd/%d", (long)getpid(), fd);
    SL_AUTO_CLOSE int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(read(file, read_text, sizeof(read_text) - 1), strlen(text));
    assert_string_equal(read_text, text);
}

static void expect_found(const struct fixture *f, opener *open_file, const char *named, const char *text)
{
    SL_AUTO_CLOSE int fd = -1;
    struct sl_error err = {0};
    if (open_file(&fd, f->root, named, &err) != SL_OK)
        fail_msg("%s: %s", named, err.text);
    expect_text(fd, text);
}

static void expect_refused(const struct fixture *f, opener *open_file, const char *named, const char *words)
{
    int fd = -1;
    struct sl_error err = {0};
    assert_int_equal(open_file(&fd, f->root, named, &err), SL_BAD_DATA);
    assert_int_equal(fd, -1);
    if (strstr(err.text, words) == NULL)
        fail_msg("%s: no \"%s\" in \"%s\"", named, words, err.text);
}

static void test_found_and_refused(void **state)
{
    const struct fixture *f = *state;
    opener *const both[] = {dp_open_beneath, dp_walk_beneath};
    for (int i = 0; i < 2; i++) {
        expect_found(f, both[i], "a", "at the top");
        expect_found(f, both[i], "sub/b", "below");
        expect_found(f, both[i], "./sub//b", "below");
        expect_refused(f, both[i], "none", "No such file");
        expect_refused(f, both[i], "sub/none/c", "No such file");
        expect_refused(f, both[i], "a/b", "Not a directory");
        expect_refused(f, both[i], "../secret", "outside the server's root");
        expect_refused(f, both[i], "sub/../../secret", "outside the server's root");
        expect_refused(f, both[i], "/etc/passwd", "outside the server's root");
        expect_refused(f, both[i], "out/secret", i == 0 ? "outside the server's root" : "Not a directory");
    }
    expect_found(f, dp_open_beneath, "sub/within", "at the top");
    expect_refused(f, dp_open_beneath, "up", "outside the server's root");
    expect_refused(f, dp_open_beneath, "absolute", "outside the server's root");
    expect_refused(f, dp_walk_beneath, "sub/within", "symbolic links");
    expect_refused(f, dp_walk_beneath, "up", "symbolic links");
    struct fixture gone = {.root = "/nowhere/at/all"};
    expect_refused(&gone, dp_open_beneath, "a", "the server's root: No such file");
}

/* Whoever can write below the root exchanges the file for a link after it was looked up. */
static void test_a_link_that_comes_later(void **state)
{
    const struct fixture *f = *state;
    char path[128];
    SL_AUTO_CLOSE int fd = -1;
    struct sl_error err = {0};
    assert_int_equal(dp_open_beneath(&fd, f->root, "a", &err), SL_OK);
    (void)snprintf(path, sizeof(path), "%s/a", f->root);
    assert_int_equal(unlink(path), 0);
    link_to(f, "../secret", "a");
    expect_text(fd, "at the top");
    expect_refused(f, dp_open_beneath, "a", "outside the server's root");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_found_and_refused, setup, teardown),
            cmocka_unit_test_setup_teardown(test_a_link_that_comes_later, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
