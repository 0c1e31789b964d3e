/* Following metrics.jsonl: see tail.h. */
#include "deploy/dashboard/tail.h"

#include "common/memory.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void dp_tail_init(struct dp_tail *tail)
{
    *tail = (struct dp_tail){0};
}

void dp_tail_fini(struct dp_tail *tail)
{
    sl_free(tail->rest);
    *tail = (struct dp_tail){0};
}

static void give_lines(struct dp_tail *tail, const char *bytes, size_t size, const struct dp_tail_sink *sink)
{
    size_t at = 0;
    while (at < size) {
        const char *end = memchr(bytes + at, '\n', size - at);
        if (end == NULL)
            break;
        size_t length = (size_t)(end - bytes) - at;
        if (!tail->skipping && length > 0)
            sink->line(sink->context, bytes + at, length);
        tail->skipping = false;
        at += length + 1;
    }
    size_t left = size - at;
    if (left > DP_TAIL_LINE_MAX)
        tail->skipping = true;
    tail->rest_size = 0;
    if (tail->skipping || left == 0)
        return;
    char *rest = sl_realloc(tail->rest, left, 1);
    if (rest == NULL) {
        tail->skipping = true; /* one line is lost, the next ones are not */
        return;
    }
    memcpy(rest, bytes + at, left);
    tail->rest = rest;
    tail->rest_size = left;
}

bool dp_tail_read(struct dp_tail *tail, const char *path, const struct dp_tail_sink *sink)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat found;
    if (fd < 0 || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
        return false;
    bool same = tail->device == (uint64_t)found.st_dev && tail->inode == (uint64_t)found.st_ino;
    if ((tail->inode != 0 && !same) || found.st_size < tail->offset) {
        dp_tail_fini(tail);
        sink->restart(sink->context);
    }
    tail->device = (uint64_t)found.st_dev;
    tail->inode = (uint64_t)found.st_ino;
    if (found.st_size == tail->offset)
        return false;
    SL_AUTO_FREE char *bytes = sl_alloc(tail->rest_size + DP_TAIL_CHUNK_MAX, 1);
    if (bytes == NULL)
        return false;
    if (tail->rest_size > 0)
        memcpy(bytes, tail->rest, tail->rest_size);
    ssize_t got = pread(fd, bytes + tail->rest_size, DP_TAIL_CHUNK_MAX, tail->offset);
    if (got <= 0)
        return false;
    tail->offset += got;
    give_lines(tail, bytes, tail->rest_size + (size_t)got, sink);
    return tail->offset < found.st_size;
}
