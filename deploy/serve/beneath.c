/* A file below a folder: see beneath.h. */
#include "deploy/serve/beneath.h"

#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAND_FOR (O_PATH | O_CLOEXEC)

static enum sl_status refuse(const char *named, int number, struct sl_error *err)
{
    if (number == EXDEV)
        return sl_fail(err, SL_BAD_DATA, "video %.200s: lies outside the server's root", named);
    return sl_fail(err, SL_BAD_DATA, "video %.200s: %s", named, strerror(number));
}

static enum sl_status open_root(int *ret_root, const char *root, struct sl_error *err)
{
    *ret_root = open(root, STAND_FOR | O_DIRECTORY);
    return *ret_root >= 0 ? SL_OK : sl_fail(err, SL_BAD_DATA, "the server's root: %s", strerror(errno));
}

/* With O_PATH alone a link would be opened itself. Returns -1 and errno. */
static int step_into(int folder, const char *name, bool last)
{
    struct stat seen;
    int fd = openat(folder, name, STAND_FOR | O_NOFOLLOW | (last ? 0 : O_DIRECTORY));
    if (fd < 0 || fstat(fd, &seen) != 0 || !S_ISLNK(seen.st_mode))
        return fd;
    (void)close(fd);
    errno = ELOOP;
    return -1;
}

enum sl_status dp_walk_beneath(int *ret_fd, const char *root, const char *named, struct sl_error *err)
{
    int folder = -1;
    char *rest = NULL;
    SL_AUTO_FREE char *copy = sl_strdup(named);
    if (copy == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    if (named[0] == '/')
        return refuse(named, EXDEV, err);
    enum sl_status status = open_root(&folder, root, err);
    for (char *name = strtok_r(copy, "/", &rest); name != NULL && status == SL_OK;) {
        char *next = strtok_r(NULL, "/", &rest);
        int fd = -1;
        if (strcmp(name, "..") == 0)
            status = refuse(named, EXDEV, err);
        else if ((fd = step_into(folder, name, next == NULL)) < 0)
            status = refuse(named, errno, err);
        (void)close(folder);
        folder = fd;
        name = next;
    }
    if (status == SL_OK)
        *ret_fd = folder;
    return status;
}

enum sl_status dp_open_beneath(int *ret_fd, const char *root, const char *named, struct sl_error *err)
{
    SL_AUTO_CLOSE int folder = -1;
    struct open_how how = {.flags = STAND_FOR, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    enum sl_status status = open_root(&folder, root, err);
    if (status != SL_OK)
        return status;
    int fd = (int)syscall(SYS_openat2, folder, named, &how, sizeof(how));
    /* An older kernel, a container's filter that does not know the call, something that was renamed meanwhile. */
    if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EAGAIN))
        return dp_walk_beneath(ret_fd, root, named, err);
    if (fd < 0)
        return refuse(named, errno, err);
    *ret_fd = fd;
    return SL_OK;
}
