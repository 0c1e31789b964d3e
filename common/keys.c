/* CURVE keys in a folder: see keys.h. Making and reading them; who is let in is allow_list.c. */
#include "common/keys.h"

#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define KEY_FILE_MAX 1024 /* bytes */
#define SECRET_MODE 0600
#define PUBLIC_MODE 0644
#define FOLDER_MODE 0700

struct pair {
    char public_text[SL_KEY_TEXT_SIZE], secret_text[SL_KEY_TEXT_SIZE];
};

/* One page of its own, see keys.h. */
struct secret {
    char text[SL_KEY_TEXT_SIZE];
};

struct sl_keys {
    char *folder;
    enum sl_keys_role role;
    struct secret *secret;
    char public_text[SL_KEY_TEXT_SIZE], server_text[SL_KEY_TEXT_SIZE];
};

static void forget_pair(struct pair *pair)
{
    explicit_bzero(pair, sizeof(*pair));
}

/* ---- one file ---- */

static bool is_z85(char c)
{
    return c != 0 &&
           strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
                   c) != NULL;
}

/* A key never begins with '#': as a first digit it is beyond 32 bits. */
static bool is_comment(const char *line, size_t size)
{
    return size == 0 || line[0] == '#';
}

static enum sl_status check_text(const char *line, size_t size, const char *path, struct sl_error *err)
{
    uint8_t bytes[SL_KEY_SIZE];
    char text[SL_KEY_TEXT_SIZE] = {0};
    if (size != SL_KEY_TEXT_SIZE - 1)
        return sl_fail(err, SL_KEYS,
                "%s: the key has %zu characters instead of %d: is the file cut or not a key?", path, size,
                SL_KEY_TEXT_SIZE - 1);
    for (size_t i = 0; i < size; i++)
        if (!is_z85(line[i]))
            return sl_fail(err, SL_KEYS, "%s: character %zu of the key is none of Z85's", path, i + 1);
    memcpy(text, line, size);
    bool good = zmq_z85_decode(bytes, text) != NULL;
    explicit_bzero(bytes, sizeof(bytes));
    explicit_bzero(text, sizeof(text));
    return good ? SL_OK : sl_fail(err, SL_KEYS, "%s: the key is not 32 bytes in Z85", path);
}

static enum sl_status parse_key(char ret_text[static SL_KEY_TEXT_SIZE], const char *bytes, size_t size,
        const char *path, struct sl_error *err)
{
    const char *key = NULL, *end = bytes + size;
    size_t key_size = 0;
    for (const char *line = bytes; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop != NULL ? stop : end) - line);
        size_t next = length + (stop != NULL);
        if (length > 0 && line[length - 1] == '\r')
            length--;
        if (!is_comment(line, length)) {
            if (key != NULL)
                return sl_fail(
                        err, SL_KEYS, "%s: more than one line that is no comment; expected one key", path);
            key = line;
            key_size = length;
        }
        line += next;
    }
    if (key == NULL)
        return sl_fail(err, SL_KEYS, "%s: there is no key in it", path);
    enum sl_status status = check_text(key, key_size, path, err);
    if (status != SL_OK)
        return status;
    memcpy(ret_text, key, SL_KEY_TEXT_SIZE - 1);
    ret_text[SL_KEY_TEXT_SIZE - 1] = 0;
    return SL_OK;
}

/* The open file is checked, not its name, so that nobody can exchange it in between. */
static enum sl_status check_file(int fd, const char *path, bool is_secret, struct sl_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return sl_fail(err, SL_KEYS, "%s: cannot be examined: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode) || info.st_size > KEY_FILE_MAX)
        return sl_fail(err, SL_KEYS, "%s: not a key: expected a regular file of at most %d bytes", path,
                KEY_FILE_MAX);
    if (is_secret && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return sl_fail(err, SL_KEYS,
                "%s: others may read this secret (mode %04o): chmod 600 it, and make new keys if they could "
                "have done so",
                path, (unsigned)info.st_mode & 07777);
    return SL_OK;
}

static enum sl_status read_key(
        char ret_text[static SL_KEY_TEXT_SIZE], const char *path, bool is_secret, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return sl_fail(err, SL_KEYS, "%s: %s%s", path, strerror(errno),
                errno == ENOENT ? ": make keys with shelflife keygen, or copy them here" : "");
    enum sl_status status = check_file(fd, path, is_secret, err);
    if (status != SL_OK)
        return status;
    char bytes[KEY_FILE_MAX];
    size_t size = 0;
    for (ssize_t got; size < sizeof(bytes) && (got = read(fd, bytes + size, sizeof(bytes) - size)) != 0;) {
        if (got < 0 && errno != EINTR) {
            status = sl_fail(err, SL_KEYS, "%s: cannot be read: %s", path, strerror(errno));
            break;
        }
        size += got > 0 ? (size_t)got : 0;
    }
    if (status == SL_OK)
        status = parse_key(ret_text, bytes, size, path, err);
    explicit_bzero(bytes, sizeof(bytes));
    return status;
}

enum sl_status sl_key_read_public(
        char ret_text[static SL_KEY_TEXT_SIZE], const char *path, struct sl_error *err)
{
    return read_key(ret_text, path, false, err);
}

static enum sl_status write_key(const char *dir, const char *name, mode_t mode, const char *comment,
        const char *key, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, name);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    SL_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return sl_fail_errno(err, "cannot create %s", path);
    char text[KEY_FILE_MAX];
    int size = snprintf(text, sizeof(text), "# %s\n%s\n", comment, key);
    enum sl_status status = sl_file_write_all(fd, text, (size_t)size, path, err);
    explicit_bzero(text, sizeof(text));
    if (status == SL_OK && fsync(fd) != 0)
        status = sl_fail_errno(err, "cannot write %s", path);
    return status;
}

/* ---- make ---- */

static enum sl_status make_pair(struct pair *ret_pair, struct sl_error *err)
{
    if (zmq_curve_keypair(ret_pair->public_text, ret_pair->secret_text) != 0)
        return sl_fail(err, SL_FAILED, "ZeroMQ cannot make keys: %s", zmq_strerror(zmq_errno()));
    return SL_OK;
}

static enum sl_status make_folder(const char *dir, const char *name, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_path_join(dir, name);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    return mkdir(path, FOLDER_MODE) == 0 || errno == EEXIST ? SL_OK
                                                            : sl_fail_errno(err, "cannot make %s", path);
}

static enum sl_status write_client(
        const char *dir, const struct pair *client, const char *server, struct sl_error *err)
{
    enum sl_status status = write_key(dir, "client.key", SECRET_MODE,
            "Shelflife: SECRET key of a client. Keep it to its machine.", client->secret_text, err);
    if (status == SL_OK)
        status = write_key(dir, "client.pub", PUBLIC_MODE,
                "Shelflife: public key of a client, for the servers' folder allowed.", client->public_text,
                err);
    if (status == SL_OK)
        status = write_key(dir, "server.pub", PUBLIC_MODE,
                "Shelflife: public key of the servers, for every client.", server, err);
    return status == SL_OK ? sl_file_sync_directory(dir, err) : status;
}

static enum sl_status allow(const char *dir, const char *name, const char *key, struct sl_error *err)
{
    SL_AUTO_FREE char *path = sl_strdup_printf("%s/allowed/%s.pub", dir, name);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    char text[KEY_FILE_MAX];
    int size = snprintf(
            text, sizeof(text), "# Shelflife: public key of client %s, who may come in.\n%s\n", name, key);
    return sl_file_write_atomic(path, text, (size_t)size, err);
}

static enum sl_status fill_folder(const char *dir, struct sl_error *err)
{
    SL_AUTO(forget_pair) struct pair server = {0}, client = {0};
    enum sl_status status = make_pair(&server, err);
    if (status == SL_OK)
        status = make_pair(&client, err);
    if (status == SL_OK)
        status = make_folder(dir, "allowed", err);
    if (status == SL_OK)
        status = make_folder(dir, "clients", err);
    if (status == SL_OK)
        status = write_key(dir, "server.key", SECRET_MODE,
                "Shelflife: SECRET key of the servers. Keep it to their machines.", server.secret_text, err);
    if (status == SL_OK)
        status = allow(dir, "client", client.public_text, err);
    return status == SL_OK ? write_client(dir, &client, server.public_text, err) : status;
}

/* mkdtemp beside the target: hidden, mode 0700. Owns: *ret_path. */
static enum sl_status make_temporary(char **ret_path, const char *target, struct sl_error *err)
{
    SL_AUTO_FREE char *parent = sl_path_directory(target);
    SL_AUTO_FREE char *path = parent == NULL ? NULL : sl_strdup_printf("%s/.keys-XXXXXX", parent);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = sl_file_make_directories(parent, err);
    if (status != SL_OK)
        return status;
    if (mkdtemp(path) == NULL)
        return sl_fail_errno(err, "cannot make a folder in %s", parent);
    *ret_path = SL_TAKE(path);
    return SL_OK;
}

/* rename puts a folder over an empty one or a name that is free, never over anything else: nothing is overwritten, nothing is half there. */
static enum sl_status publish(const char *temporary, const char *target, struct sl_error *err)
{
    SL_AUTO_FREE char *parent = sl_path_directory(target);
    if (parent == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    if (rename(temporary, target) == 0)
        return sl_file_sync_directory(parent, err);
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
        return sl_fail(err, SL_USAGE,
                "%s is there already, and keys are never overwritten: choose another place", target);
    return sl_fail_errno(err, "cannot create %s", target);
}

enum sl_status sl_keys_generate(const char *dir, struct sl_error *err)
{
    SL_AUTO_FREE char *target = sl_strdup(dir), *temporary = NULL;
    if (target == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    for (size_t size = strlen(target); size > 1 && target[size - 1] == '/'; size--)
        target[size - 1] = 0;
    enum sl_status status = make_temporary(&temporary, target, err);
    if (status != SL_OK)
        return status;
    status = fill_folder(temporary, err);
    if (status == SL_OK)
        status = publish(temporary, target, err);
    if (status != SL_OK)
        (void)!sl_file_remove_tree(temporary, NULL);
    return status;
}

static enum sl_status check_name(const char *name, struct sl_error *err)
{
    size_t size = strlen(name);
    bool good = size > 0 && size < SL_CLIENT_NAME_MAX && name[0] != '.' && name[0] != '-';
    for (size_t i = 0; i < size && good; i++)
        good = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
               (name[i] >= '0' && name[i] <= '9') || strchr("._-", name[i]) != NULL;
    return good ? SL_OK
                : sl_fail(err, SL_USAGE,
                          "a client's name is 1 to %d letters, digits, '.', '_' or '-', beginning with a "
                          "letter, a digit or '_'",
                          SL_CLIENT_NAME_MAX - 1);
}

static enum sl_status add_client(const char *dir, const char *name, const char *server, struct sl_error *err)
{
    SL_AUTO(forget_pair) struct pair client = {0};
    SL_AUTO_FREE char *target = sl_strdup_printf("%s/clients/%s", dir, name), *temporary = NULL;
    if (target == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = make_pair(&client, err);
    if (status == SL_OK)
        status = make_temporary(&temporary, target, err);
    if (status != SL_OK)
        return status;
    status = write_client(temporary, &client, server, err);
    if (status == SL_OK)
        status = publish(temporary, target, err);
    if (status != SL_OK) {
        (void)!sl_file_remove_tree(temporary, NULL);
        return status;
    }
    status = allow(dir, name, client.public_text, err);
    if (status != SL_OK)
        (void)!sl_file_remove_tree(target, NULL);
    return status;
}

enum sl_status sl_keys_add_client(const char *dir, const char *name, struct sl_error *err)
{
    char server[SL_KEY_TEXT_SIZE];
    SL_AUTO_FREE char *server_path = sl_path_join(dir, "server.pub");
    SL_AUTO_FREE char *allowed = sl_strdup_printf("%s/allowed/%s.pub", dir, name);
    if (server_path == NULL || allowed == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = check_name(name, err);
    if (status == SL_OK)
        status = sl_key_read_public(server, server_path, err);
    if (status == SL_OK && access(allowed, F_OK) == 0)
        status = sl_fail(err, SL_USAGE,
                "client %s has a key already (%s), and keys are never overwritten: choose another name", name,
                allowed);
    if (status == SL_OK)
        status = make_folder(dir, "allowed", err);
    if (status == SL_OK)
        status = make_folder(dir, "clients", err);
    return status == SL_OK ? add_client(dir, name, server, err) : status;
}

/* ---- load ---- */

static enum sl_status hold_secret(struct secret **ret_secret, struct sl_error *err)
{
    struct secret *secret =
            mmap(NULL, sizeof(*secret), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (secret == MAP_FAILED)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a key");
    (void)madvise(secret, sizeof(*secret), MADV_DONTDUMP);
    (void)mlock(secret, sizeof(*secret)); /* fails where RLIMIT_MEMLOCK is 0: no reason not to train */
    *ret_secret = secret;
    return SL_OK;
}

/* A .pub that belongs to another .key would only show when a handshake fails on another machine. */
static enum sl_status load_pair(
        struct sl_keys *keys, const char *secret_name, const char *public_name, struct sl_error *err)
{
    char written[SL_KEY_TEXT_SIZE];
    SL_AUTO_FREE char *secret_path = sl_path_join(keys->folder, secret_name);
    SL_AUTO_FREE char *public_path = sl_path_join(keys->folder, public_name);
    if (secret_path == NULL || public_path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = read_key(keys->secret->text, secret_path, true, err);
    if (status != SL_OK)
        return status;
    if (zmq_curve_public(keys->public_text, keys->secret->text) != 0)
        return sl_fail(err, SL_KEYS, "%s: ZeroMQ does not take this key: %s", secret_path,
                zmq_strerror(zmq_errno()));
    if (access(public_path, F_OK) != 0)
        return SL_OK;
    status = read_key(written, public_path, false, err);
    if (status == SL_OK && strcmp(written, keys->public_text) != 0)
        return sl_fail(err, SL_KEYS, "%s does not belong to %s: copy both from the same folder", public_path,
                secret_name);
    return status;
}

static enum sl_status load_all(struct sl_keys *keys, struct sl_error *err)
{
    SL_AUTO_FREE char *server_path = sl_path_join(keys->folder, "server.pub");
    if (server_path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    if (!sl_file_is_directory(keys->folder))
        return sl_fail(err, SL_KEYS, "the folder of keys %s is not there: make it with shelflife keygen %s",
                keys->folder, keys->folder);
    enum sl_status status = hold_secret(&keys->secret, err);
    if (status == SL_OK && keys->role == SL_KEYS_SERVER) {
        status = load_pair(keys, "server.key", "server.pub", err);
        memcpy(keys->server_text, keys->public_text, sizeof(keys->server_text));
        return status;
    }
    if (status == SL_OK)
        status = load_pair(keys, "client.key", "client.pub", err);
    return status == SL_OK ? read_key(keys->server_text, server_path, false, err) : status;
}

enum sl_status sl_keys_load(
        struct sl_keys **ret_keys, const char *dir, enum sl_keys_role role, struct sl_error *err)
{
    struct sl_keys *keys = sl_alloc(1, sizeof(*keys));
    if (keys == NULL || (keys->folder = sl_strdup(dir)) == NULL) {
        sl_free(keys);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for keys");
    }
    keys->role = role;
    enum sl_status status = load_all(keys, err);
    if (status != SL_OK) {
        sl_keys_destroy(keys);
        return status;
    }
    *ret_keys = keys;
    return SL_OK;
}

void sl_keys_destroy(struct sl_keys *keys)
{
    if (keys == NULL)
        return;
    if (keys->secret != NULL) {
        explicit_bzero(keys->secret, sizeof(*keys->secret));
        (void)munmap(keys->secret, sizeof(*keys->secret));
    }
    sl_free(keys->folder);
    sl_free(keys);
}

enum sl_keys_role sl_keys_role(const struct sl_keys *keys)
{
    return keys->role;
}

const char *sl_keys_folder(const struct sl_keys *keys)
{
    return keys->folder;
}

const char *sl_keys_public(const struct sl_keys *keys)
{
    return keys->public_text;
}

const char *sl_keys_secret(const struct sl_keys *keys)
{
    return keys->secret->text;
}

const char *sl_keys_server(const struct sl_keys *keys)
{
    return keys->server_text;
}
