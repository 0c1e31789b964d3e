/* shelflife-decode: the only program of the house that reads video files, and the only one linked with
 * FFmpeg's libraries.
 *
 * It reads requests from standard input (a socket) and answers on standard output, see protocol.h. It never
 * touches a video itself: for each request it opens the file and forks a child that decodes into shared
 * memory under limits and ends. So a hostile file can at worst end its own child; the next file starts from a
 * clean process, and the start costs a fork, not the loading of a hundred libraries.
 *
 * The child has: no descriptor but the video, and can open none (so no file, no network); no new privileges;
 * limits on address space, CPU time, time by the clock, file size 0, no core dump. `shelflife-decode FILE`
 * decodes one file in the same way and tells what it found.
 */
#include "worker/decode/clip.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static int null_fd = -1;

static size_t shared_size(const struct wk_decode_request *request)
{
    return sizeof(struct wk_decode_reply) + (size_t)request->frames * request->image * request->image * 3;
}

static void limit(int what, uint64_t value)
{
    struct rlimit bound = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit((__rlimit_resource_t)what, &bound) != 0)
        _exit(125); /* without its limits nothing is decoded */
}

static void enter_limits(const struct wk_decode_request *request)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        _exit(125);
#ifndef SANITIZED /* AddressSanitizer maps terabytes */
    limit(RLIMIT_AS, (uint64_t)request->memory_mb << 20);
#endif
    limit(RLIMIT_CPU, request->cpu_s);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NPROC, 0);
    limit(RLIMIT_NOFILE, 0);
}

static _Noreturn void run_child(
        const struct wk_decode_request *request, struct wk_decode_reply *shared, int fd)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)dup2(null_fd, STDIN_FILENO);
    (void)dup2(null_fd, STDOUT_FILENO);
#ifndef SANITIZED
    (void)dup2(null_fd, STDERR_FILENO);
#endif
    enter_limits(request);
    wk_clip_decode(shared, (uint8_t *)(shared + 1), request, fd);
    _exit(0);
}

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for the child. Kills it after the time limit, or when whoever asked has gone. SIGCHLD is blocked
 * except inside ppoll. */
static int await_child(pid_t child, const struct wk_decode_request *request, bool watch_input, bool *ret_late)
{
    int64_t deadline = now_ms() + request->wall_ms;
    int status = 0;
    *ret_late = false;
    for (;;) {
        pid_t done = waitpid(child, &status, WNOHANG);
        if (done == child)
            return status;
        if (done < 0 && errno != EINTR)
            return 0xff00;
        int64_t left = deadline - now_ms();
        struct pollfd input = {.fd = watch_input ? STDIN_FILENO : -1, .events = POLLRDHUP};
        struct timespec wait = {
                .tv_sec = left > 0 ? left / 1000 : 0, .tv_nsec = left > 0 ? left % 1000 * 1000000 : 0};
        sigset_t none;
        (void)sigemptyset(&none);
        int ready = ppoll(&input, 1, &wait, &none);
        bool gone = ready > 0 && (input.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
        *ret_late = *ret_late || left <= 0;
        if (gone || left <= 0)
            (void)kill(child, SIGKILL);
        if (gone || left <= 0) {
            while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
            if (gone)
                _exit(0);
            return status;
        }
    }
}

static void refuse(struct wk_decode_reply *reply, const char *reason)
{
    reply->status = WK_DECODE_REJECTED;
    reply->frames = 0;
    (void)snprintf(reply->reason, sizeof(reply->reason), "%s", reason);
}

/* How the child ended, into the reply, when it did not end by itself. */
static void judge_end(
        struct wk_decode_reply *reply, const struct wk_decode_request *request, int status, bool late)
{
    char reason[WK_DECODE_REASON_MAX];
    if (late)
        (void)snprintf(
                reason, sizeof(reason), "decoding took longer than %u s", (request->wall_ms + 999) / 1000);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        (void)snprintf(reason, sizeof(reason), "decoding took more than %u s of CPU time", request->cpu_s);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && request->cpu_s > 0)
        (void)snprintf(reason, sizeof(reason),
                "the decoder was killed while it read this file: out of memory or CPU time");
    else if (WIFSIGNALED(status))
        (void)snprintf(reason, sizeof(reason), "the decoder crashed on this file (signal %d, %s)",
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    else
        (void)snprintf(
                reason, sizeof(reason), "the decoder failed on this file (status %d)", WEXITSTATUS(status));
    refuse(reply, reason);
}

/* The child has had the reply in its hands. */
static void sanitise(struct wk_decode_reply *reply, const struct wk_decode_request *request)
{
    reply->magic = WK_DECODE_MAGIC;
    reply->codec[WK_DECODE_NAME_MAX - 1] = reply->container[WK_DECODE_NAME_MAX - 1] = '\0';
    reply->reason[WK_DECODE_REASON_MAX - 1] = '\0';
    if (reply->status > WK_DECODE_REJECTED || reply->frames > request->frames)
        refuse(reply, "the decoder gave a senseless answer for this file");
}

/* Opens the file; only regular files, so that a pipe or a device cannot block. */
static int open_video(const char *path, struct wk_decode_reply *reply)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat info;
    char reason[WK_DECODE_REASON_MAX];
    if (fd < 0 || fstat(fd, &info) != 0) {
        (void)snprintf(reason, sizeof(reason), "cannot be opened: %s", strerror(errno));
        refuse(reply, reason);
    } else if (!S_ISREG(info.st_mode)) {
        refuse(reply, S_ISDIR(info.st_mode) ? "is a folder, not a file" : "is not a regular file");
    } else if (info.st_size == 0) {
        refuse(reply, "is empty");
    } else {
        return fd;
    }
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

/* Gives shared memory with the reply and its pixels, to be unmapped by the caller; NULL when there is none.
 */
static struct wk_decode_reply *serve(
        const struct wk_decode_request *request, const char *path, bool watch_input)
{
    struct wk_decode_reply *shared =
            mmap(NULL, shared_size(request), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return NULL;
    int fd = open_video(path, shared);
    if (fd >= 0) {
        pid_t child = fork();
        if (child == 0)
            run_child(request, shared, fd);
        if (child < 0) {
            refuse(shared, "the decoder could not start a process");
        } else {
            bool late = false;
            int status = await_child(child, request, watch_input, &late);
            judge_end(shared, request, status, late);
        }
        (void)close(fd);
    }
    sanitise(shared, request);
    return shared;
}

static bool read_all(void *bytes, size_t size)
{
    char *at = bytes;
    while (size > 0) {
        ssize_t got = read(STDIN_FILENO, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

static bool write_all(const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t put = write(STDOUT_FILENO, at, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        at += put;
        size -= (size_t)put;
    }
    return true;
}

static bool valid(const struct wk_decode_request *request)
{
    return request->magic == WK_DECODE_MAGIC && request->path_size < WK_DECODE_PATH_MAX &&
           request->image > 0 && request->image <= WK_DECODE_IMAGE_MAX && request->frames > 0 &&
           request->frames <= WK_DECODE_FRAMES_MAX && shared_size(request) <= WK_DECODE_PIXELS_MAX;
}

static int serve_all(void)
{
    struct wk_decode_request request;
    while (read_all(&request, sizeof(request))) {
        char path[WK_DECODE_PATH_MAX] = "";
        if (!valid(&request) || !read_all(path, request.path_size))
            return 1;
        path[request.path_size] = '\0';
        struct wk_decode_reply *reply = serve(&request, path, true);
        if (reply == NULL)
            return 1;
        size_t pixels = (size_t)reply->frames * request.image * request.image * 3;
        bool sent = write_all(reply, sizeof(*reply) + pixels);
        (void)munmap(reply, shared_size(&request));
        if (!sent)
            return 1;
    }
    return 0;
}

static int tell_about(const char *path)
{
    struct wk_decode_request request = {.magic = WK_DECODE_MAGIC,
            .image = 64,
            .frames = 8,
            .cpu_s = 60,
            .wall_ms = 120000,
            .memory_mb = 2048,
            .max_megapixels = 40};
    struct wk_decode_reply *reply = serve(&request, path, false);
    if (reply == NULL) {
        fprintf(stderr, "shelflife-decode: out of memory\n");
        return 1;
    }
    int rc = reply->status == WK_DECODE_OK ? 0 : 3;
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", path, reply->reason);
    else
        printf("%s: %s in %s, %ux%u, %.3f s, %.2f frames/s, rotation %u, %u frames taken from %.3f s to %.3f "
               "s\n",
                path, reply->codec, reply->container, reply->width, reply->height,
                (double)reply->duration_us * 1e-6, reply->fps, reply->rotation, reply->frames,
                (double)reply->time_us[0] * 1e-6, (double)reply->time_us[reply->frames - 1] * 1e-6);
    (void)munmap(reply, shared_size(&request));
    return rc;
}

/* The end of a child must interrupt ppoll: an ignored signal would not. */
static void wake(int signal_number)
{
    (void)signal_number;
}

static const char usage[] =
        "Usage: shelflife-decode FILE     decode one video under the importer's limits and tell what it is\n"
        "       shelflife-decode          serve requests on standard input: for `shelflife import`\n"
        "Exit: 0 decoded, 2 wrong usage, 3 the file cannot be decoded.\n";

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-') || (argc == 1 && isatty(STDIN_FILENO))) {
        bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
        (void)fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &child, NULL);
    struct sigaction action = {.sa_handler = wake};
    (void)sigaction(SIGCHLD, &action, NULL);
    (void)syscall(SYS_close_range, 3U, ~0U, 0U); /* nothing of the importer's comes along */
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0) {
        fprintf(stderr, "shelflife-decode: cannot open /dev/null: %s\n", strerror(errno));
        return 1;
    }
    return argc == 2 ? tell_about(argv[1]) : serve_all();
}
