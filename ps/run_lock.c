/* One run at a time in a folder: see run_lock.h. */
#include "ps/run_lock.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCK_FILE ".lock"
#define HOLDER_MAX 320 /* bytes of "process PID on HOST" */

/* Who holds it wrote its name there; somebody may be between lock and name. */
static void read_holder(char holder[HOLDER_MAX], int fd)
{
    ssize_t size = pread(fd, holder, HOLDER_MAX - 1, 0);
    holder[size > 0 ? size : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    for (char *c = holder; *c != 0; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    if (holder[0] == 0)
        (void)snprintf(holder, HOLDER_MAX, "another process");
}

/* For people who meet the lock; that it cannot be written is no reason not to train. */
static void write_holder(int fd)
{
    char host[HOLDER_MAX - 64], holder[HOLDER_MAX];
    sl_process_host(host, sizeof(host));
    int size = snprintf(holder, sizeof(holder), "process %d on %s\n", (int)getpid(), host);
    if (ftruncate(fd, 0) == 0 && pwrite(fd, holder, (size_t)size, 0) != size)
        (void)!ftruncate(fd, 0);
}

enum sl_status ps_run_lock_take(int *ret_lock, const char *folder, struct sl_error *err)
{
    char holder[HOLDER_MAX];
    SL_AUTO_FREE char *path = sl_path_join(folder, LOCK_FILE);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a path");
    enum sl_status status = sl_file_make_directories(folder, err);
    if (status != SL_OK)
        return status;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return sl_fail_errno(err, "cannot make %s", path);
    *ret_lock = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        write_holder(fd);
        return SL_OK;
    }
    bool held = errno == EWOULDBLOCK;
    if (held)
        read_holder(holder, fd);
    (void)close(fd);
    *ret_lock = -1;
    return held ? sl_fail(err, SL_FAILED,
                          "a run is at work in %s (%s): stop it first, or give another snapshots.dir", folder,
                          holder)
                : SL_OK;
}

void ps_run_lock_release(int lock)
{
    if (lock >= 0)
        (void)close(lock);
}
