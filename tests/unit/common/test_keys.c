/* Keys: made whole or not at all, never overwritten, refused when others may read them or when they make no sense; the list of those allowed follows
 * its folder. */
#include "common/allow_list.h"
#include "common/file.h"
#include "common/keys.h"
#include "common/memory.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#define FOLDER "test_keys.d"
#define KEYS FOLDER "/deep/keys"

static struct sl_error err;

static int set_up(void **state)
{
    (void)state;
    err = (struct sl_error){0};
    if (sl_file_remove_tree(FOLDER, &err) != SL_OK || sl_file_make_directories(FOLDER, &err) != SL_OK)
        return -1;
    return sl_keys_generate(KEYS, &err) == SL_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK ? 0 : -1;
}

static unsigned mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(sl_file_write_atomic(path, text, strlen(text), &err), SL_OK);
}

static enum sl_status load(const char *dir, enum sl_keys_role role)
{
    struct sl_keys *keys = NULL;
    err = (struct sl_error){0};
    enum sl_status status = sl_keys_load(&keys, dir, role, &err);
    sl_keys_destroy(keys);
    return status;
}

static void refuses(const char *words, const char *dir, enum sl_keys_role role)
{
    assert_int_equal(load(dir, role), SL_KEYS);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, words);
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

static void test_a_fresh_folder_is_whole(void **state)
{
    (void)state;
    struct sl_keys *server = NULL, *client = NULL;
    assert_int_equal(mode_of(KEYS), 0700);
    assert_int_equal(mode_of(KEYS "/server.key"), 0600);
    assert_int_equal(mode_of(KEYS "/client.key"), 0600);
    assert_int_equal(count_entries(FOLDER "/deep"), 1); /* no temporary folder stays */
    assert_int_equal(sl_keys_load(&server, KEYS, SL_KEYS_SERVER, &err), SL_OK);
    assert_int_equal(sl_keys_load(&client, KEYS, SL_KEYS_CLIENT, &err), SL_OK);
    assert_int_equal(sl_keys_role(server), SL_KEYS_SERVER);
    assert_string_equal(sl_keys_folder(client), KEYS);
    assert_string_equal(sl_keys_public(server), sl_keys_server(client));
    assert_string_equal(sl_keys_public(server), sl_keys_server(server));
    assert_string_not_equal(sl_keys_public(server), sl_keys_public(client));
    assert_string_not_equal(sl_keys_secret(server), sl_keys_secret(client));
    char public_text[SL_KEY_TEXT_SIZE];
    assert_int_equal(zmq_curve_public(public_text, sl_keys_secret(client)), 0);
    assert_string_equal(public_text, sl_keys_public(client));
    sl_keys_destroy(server);
    sl_keys_destroy(client);
}

static void test_nothing_is_overwritten(void **state)
{
    (void)state;
    uint64_t before = 0, after = 0;
    assert_int_equal(sl_file_hash(&before, KEYS "/server.key", &err), SL_OK);
    assert_int_equal(sl_keys_generate(KEYS, &err), SL_USAGE);
    assert_non_null(strstr(err.text, "never overwritten"));
    assert_int_equal(sl_file_hash(&after, KEYS "/server.key", &err), SL_OK);
    assert_true(before == after);
    put(FOLDER "/file", "x");
    assert_int_equal(sl_keys_generate(FOLDER "/file", &err), SL_USAGE);
    assert_int_equal(sl_file_make_directories(FOLDER "/empty", &err), SL_OK);
    assert_int_equal(sl_keys_generate(FOLDER "/empty/", &err), SL_OK);
    assert_int_equal(load(FOLDER "/empty", SL_KEYS_SERVER), SL_OK);
    assert_int_equal(count_entries(FOLDER), 3);
}

static void test_one_more_client(void **state)
{
    (void)state;
    char mine[SL_KEY_TEXT_SIZE], allowed[SL_KEY_TEXT_SIZE], other[SL_KEY_TEXT_SIZE];
    assert_int_equal(sl_keys_add_client(KEYS, "gpu-1.a", &err), SL_OK);
    assert_int_equal(load(KEYS "/clients/gpu-1.a", SL_KEYS_CLIENT), SL_OK);
    assert_int_equal(mode_of(KEYS "/clients/gpu-1.a/client.key"), 0600);
    assert_int_equal(count_entries(KEYS "/clients/gpu-1.a"), 3);
    assert_int_equal(sl_key_read_public(mine, KEYS "/clients/gpu-1.a/client.pub", &err), SL_OK);
    assert_int_equal(sl_key_read_public(allowed, KEYS "/allowed/gpu-1.a.pub", &err), SL_OK);
    assert_int_equal(sl_key_read_public(other, KEYS "/client.pub", &err), SL_OK);
    assert_string_equal(mine, allowed);
    assert_string_not_equal(mine, other);
    refuses("server.key", KEYS "/clients/gpu-1.a", SL_KEYS_SERVER);

    assert_int_equal(sl_keys_add_client(KEYS, "gpu-1.a", &err), SL_USAGE);
    assert_int_equal(
            sl_keys_add_client(KEYS, "client", &err), SL_USAGE); /* the one of keygen without a name */
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "-x", ".hidden", "a b", "\xc3\xa4", "a\n",
            "12345678901234567890123456789012345678901234567890123456789012345"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(sl_keys_add_client(KEYS, bad[i], &err), SL_USAGE);
    assert_int_equal(sl_keys_add_client(FOLDER, "a", &err), SL_KEYS);
    assert_non_null(strstr(err.text, "server.pub"));
    assert_int_equal(count_entries(KEYS "/clients"), 1);
    assert_int_equal(count_entries(KEYS "/allowed"), 2);
}

static void test_permissions(void **state)
{
    (void)state;
    static const mode_t bad[] = {0640, 0604, 0620, 0601, 0644, 0666};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(chmod(KEYS "/server.key", bad[i]), 0);
        refuses("chmod 600", KEYS, SL_KEYS_SERVER);
    }
    assert_int_equal(load(KEYS, SL_KEYS_CLIENT), SL_OK); /* does not need that one */
    assert_int_equal(chmod(KEYS "/server.key", 0400), 0);
    assert_int_equal(load(KEYS, SL_KEYS_SERVER), SL_OK);
    assert_int_equal(chmod(KEYS "/client.key", 0660), 0);
    refuses("chmod 600", KEYS, SL_KEYS_CLIENT);
}

static void test_what_is_missing_or_senseless(void **state)
{
    (void)state;
    refuses("shelflife keygen", FOLDER "/none", SL_KEYS_SERVER);
    refuses("shelflife keygen", KEYS "/server.pub", SL_KEYS_SERVER);
    assert_int_equal(unlink(KEYS "/server.pub"), 0);
    assert_int_equal(load(KEYS, SL_KEYS_SERVER), SL_OK); /* follows from the secret */
    refuses("server.pub", KEYS, SL_KEYS_CLIENT);
    static const struct {
        const char *text, *words;
    } bad[] = {
            {"", "no key"}, {"# only a comment\n\n#\n", "no key"},
            {"0123456789012345678901234567890123456789\n0123456789012345678901234567890123456789\n",
                    "one key"},
            {"012345678901234567890123456789012345678\n", "39 characters"},
            {"01234567890123456789012345678901234567890", "41 characters"},
            {"01234567890123456789012345678901234567 9", "character 39"},
            {"0123456789\"1234567890123456789012345678x", "character 11"},
            {"%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%", "32 bytes"}, /* five such digits are past 32 bits */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put(KEYS "/server.pub", bad[i].text);
        refuses(bad[i].words, KEYS, SL_KEYS_CLIENT);
    }
    char long_text[4096];
    memset(long_text, '#', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = 0;
    put(KEYS "/server.pub", long_text);
    refuses("at most", KEYS, SL_KEYS_CLIENT);
    assert_int_equal(unlink(KEYS "/server.pub"), 0);
    assert_int_equal(mkfifo(KEYS "/server.pub", 0600), 0);
    refuses("regular file", KEYS, SL_KEYS_CLIENT);
}

static void test_an_error_never_shows_a_secret(void **state)
{
    (void)state;
    static const char secret[] = "S3cretS3cretS3cretS3cretS3cretS3cretS3c\"";
    static const mode_t mode = 0600;
    put(KEYS "/client.key", secret);
    assert_int_equal(chmod(KEYS "/client.key", mode), 0);
    refuses("character 40", KEYS, SL_KEYS_CLIENT);
    assert_null(strstr(err.text, "S3cret"));
}

static void test_halves_of_different_pairs(void **state)
{
    (void)state;
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(sl_keys_add_client(KEYS, "b", &err), SL_OK);
    assert_int_equal(sl_file_read(&bytes, &size, KEYS "/clients/b/client.pub", 1024, &err), SL_OK);
    put(KEYS "/client.pub", bytes);
    refuses("does not belong", KEYS, SL_KEYS_CLIENT);
    put(KEYS "/server.pub", bytes);
    refuses("does not belong", KEYS, SL_KEYS_SERVER);
    sl_free(bytes);
}

static void test_lines_of_other_systems(void **state)
{
    (void)state;
    char key[SL_KEY_TEXT_SIZE], text[256], back[SL_KEY_TEXT_SIZE];
    assert_int_equal(sl_key_read_public(key, KEYS "/server.pub", &err), SL_OK);
    (void)snprintf(text, sizeof(text), "# carriage returns\r\n\r\n%s\r\n", key);
    put(KEYS "/server.pub", text);
    assert_int_equal(sl_key_read_public(back, KEYS "/server.pub", &err), SL_OK);
    assert_string_equal(key, back);
    assert_int_equal(load(KEYS, SL_KEYS_SERVER), SL_OK);
}

static const char *look(struct sl_allow_list *list, const char *path)
{
    char text[SL_KEY_TEXT_SIZE];
    uint8_t key[SL_KEY_SIZE];
    assert_int_equal(sl_key_read_public(text, path, &err), SL_OK);
    assert_non_null(zmq_z85_decode(key, text));
    return sl_allow_list_find(list, key);
}

static void test_the_allow_list_follows_its_folder(void **state)
{
    (void)state;
    struct sl_allow_list *list = NULL;
    put(KEYS "/allowed/.hidden.pub", "no key");
    put(KEYS "/allowed/README", "no key");
    assert_int_equal(sl_allow_list_open(&list, KEYS "/allowed", &err), SL_OK);
    assert_int_equal(sl_allow_list_count(list), 1);
    assert_string_equal(look(list, KEYS "/client.pub"), "client");
    assert_null(look(list, KEYS "/server.pub"));
    for (int i = 0; i < 40; i++) { /* more than the first room */
        char name[32], path[128];
        (void)snprintf(name, sizeof(name), "w%d", i);
        (void)snprintf(path, sizeof(path), KEYS "/clients/%s/client.pub", name);
        assert_int_equal(sl_keys_add_client(KEYS, name, &err), SL_OK);
        assert_string_equal(look(list, path), name);
    }
    assert_int_equal(sl_allow_list_count(list), 41);
    assert_int_equal(unlink(KEYS "/allowed/w7.pub"), 0);
    assert_null(look(list, KEYS "/clients/w7/client.pub"));
    put(KEYS "/allowed/bad.pub", "no key"); /* is left out, the others stay */
    assert_string_equal(look(list, KEYS "/clients/w8/client.pub"), "w8");
    assert_int_equal(rename(KEYS "/allowed", KEYS "/elsewhere"), 0);
    assert_null(look(list, KEYS "/clients/w8/client.pub"));
    sl_allow_list_close(list);
    assert_int_equal(sl_allow_list_open(&list, KEYS "/elsewhere", &err), SL_KEYS);
    assert_non_null(strstr(err.text, "bad.pub"));
    assert_int_equal(sl_allow_list_open(&list, KEYS "/allowed", &err), SL_KEYS);
    assert_non_null(strstr(err.text, "allowed"));
}

/* Whatever allocation fails: an error, and neither half a folder nor half a client. */
static void test_memory_runs_out(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t n = 1; !done && n < 200; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = sl_keys_generate(FOLDER "/more", &err);
        sl_memory_fail_after(0);
        done = status == SL_OK;
        assert_int_equal(count_entries(FOLDER), done ? 2 : 1);
        assert_true(done || status == SL_NO_MEMORY);
    }
    assert_true(done);
    done = false;
    for (uint64_t n = 1; !done && n < 200; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = sl_keys_add_client(KEYS, "c", &err);
        sl_memory_fail_after(0);
        done = status == SL_OK;
        assert_int_equal(count_entries(KEYS "/clients"), done ? 1 : 0);
        assert_true(done || status == SL_NO_MEMORY);
    }
    assert_true(done);
    done = false;
    for (uint64_t n = 1; !done && n < 200; n++) {
        sl_memory_fail_after(n);
        enum sl_status status = load(KEYS, SL_KEYS_CLIENT);
        sl_memory_fail_after(0);
        done = status == SL_OK;
        assert_true(done || status == SL_NO_MEMORY);
    }
    assert_true(done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_a_fresh_folder_is_whole, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_nothing_is_overwritten, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_one_more_client, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_permissions, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_what_is_missing_or_senseless, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_an_error_never_shows_a_secret, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_halves_of_different_pairs, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_lines_of_other_systems, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_the_allow_list_follows_its_folder, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_memory_runs_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
