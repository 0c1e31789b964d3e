/* The importer's side of the decoder process: see decoder.h and worker/decode/protocol.h. */
#include "worker/dataset/decoder.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "worker/decode/protocol.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLACK_MS 10000 /* the decoder kills a late child itself; this long after that it counts as stuck */
#define EXIT_MS 2000   /* for the process to end by itself when its socket closes */

extern char **environ;

struct wk_decoder {
    char *executable;
    struct wk_decoder_limits limits;
    pid_t process; /* 0 = none */
    int socket;
    struct wk_decode_reply reply; /* of the last request: too large for a stack */
};

static char *find_executable(void)
{
    const char *named = getenv("SHELFLIFE_DECODE");
    if (named != NULL && named[0] != '\0')
        return sl_strdup(named);
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length <= 0)
        return sl_strdup("shelflife-decode");
    self[length] = '\0';
    SL_AUTO_FREE char *folder = sl_path_directory(self);
    return folder == NULL ? NULL : sl_path_join(folder, "shelflife-decode");
}

static void stop_process(struct wk_decoder *decoder)
{
    if (decoder->socket >= 0)
        (void)close(decoder->socket);
    decoder->socket = -1;
    if (decoder->process == 0)
        return;
    int64_t deadline = sl_clock_monotonic_us() + (int64_t)EXIT_MS * 1000;
    while (waitpid(decoder->process, NULL, WNOHANG) == 0) {
        if (sl_clock_monotonic_us() > deadline) {
            (void)kill(decoder->process, SIGKILL);
            (void)waitpid(decoder->process, NULL, 0);
            break;
        }
        (void)poll(NULL, 0, 1); /* between looks; there is no descriptor to wait on */
    }
    decoder->process = 0;
}

/* Own process group: Ctrl-C is for the importer, which then stops in good order; a decoder that died of it would look like a bad file. */
static enum sl_status spawn(struct wk_decoder *decoder, int child_end, struct sl_error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    (void)sigemptyset(&none);
    (void)sigfillset(&defaults);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawn_file_actions_adddup2(&actions, child_end, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, child_end, STDOUT_FILENO);
    (void)posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setpgroup(&attributes, 0);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &defaults);
    char *arguments[] = {decoder->executable, NULL};
    pid_t process = 0;
    int rc = posix_spawn(&process, decoder->executable, &actions, &attributes, arguments, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    if (rc != 0)
        return sl_fail(err, SL_FAILED,
                "cannot start the video decoder %s: %s; build shelflife-decode beside this program or set "
                "SHELFLIFE_DECODE to it",
                decoder->executable, strerror(rc));
    decoder->process = process;
    return SL_OK;
}

static enum sl_status start_process(struct wk_decoder *decoder, struct sl_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return sl_fail_errno(err, "cannot make a socket for the video decoder");
    enum sl_status status = spawn(decoder, ends[1], err);
    (void)close(ends[1]);
    decoder->socket = ends[0];
    if (status != SL_OK)
        stop_process(decoder);
    return status;
}

static int or_default(int value, int standard)
{
    return value > 0 ? value : standard;
}

enum sl_status wk_decoder_create(
        struct wk_decoder **ret_decoder, const struct wk_decoder_limits *limits, struct sl_error *err)
{
    SL_AUTO(wk_decoder_destroy_auto) struct wk_decoder *decoder = sl_alloc(1, sizeof(*decoder));
    if (decoder == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    decoder->socket = -1;
    struct wk_decoder_limits given = {0};
    if (limits != NULL)
        given = *limits;
    decoder->limits = (struct wk_decoder_limits){.cpu_s = or_default(given.cpu_s, 60),
            .wall_ms = or_default(given.wall_ms, 120000),
            .memory_mb = or_default(given.memory_mb, 2048),
            .max_megapixels = or_default(given.max_megapixels, 40),
            .max_seconds = given.max_seconds};
    decoder->executable = find_executable();
    if (decoder->executable == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = start_process(decoder, err);
    if (status == SL_OK)
        *ret_decoder = SL_TAKE(decoder);
    return status;
}

void wk_decoder_destroy(struct wk_decoder *decoder)
{
    if (decoder == NULL)
        return;
    stop_process(decoder);
    sl_free(decoder->executable);
    sl_free(decoder);
}

void wk_decoder_destroy_auto(struct wk_decoder **decoder)
{
    wk_decoder_destroy(*decoder);
}

static bool send_all(int socket, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(socket, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

/* False when the other end is gone or late. */
static bool receive_all(int socket, void *bytes, size_t size, int64_t deadline_us)
{
    char *at = bytes;
    while (size > 0) {
        int64_t left_us = deadline_us - sl_clock_monotonic_us();
        struct pollfd wait = {.fd = socket, .events = POLLIN};
        int ready = left_us <= 0 ? 0 : poll(&wait, 1, (int)(left_us / 1000) + 1);
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        ssize_t got = recv(socket, at, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        size -= (size_t)got;
    }
    return true;
}

/* One request and its answer. False when the process died on the way or its answer makes no sense: then it is of no more use. */
static bool exchange(struct wk_decoder *decoder, const struct wk_decode_request *request, const char *path,
        struct wk_clip *clip)
{
    int64_t deadline = sl_clock_monotonic_us() + (int64_t)(request->wall_ms + SLACK_MS) * 1000;
    struct wk_decode_reply *reply = &decoder->reply;
    if (!send_all(decoder->socket, request, sizeof(*request)) ||
            !send_all(decoder->socket, path, request->path_size) ||
            !receive_all(decoder->socket, reply, sizeof(*reply), deadline))
        return false;
    if (reply->magic != WK_DECODE_MAGIC || reply->status > WK_DECODE_REJECTED ||
            reply->frames > request->frames || (reply->status == WK_DECODE_OK) != (reply->frames > 0))
        return false;
    reply->reason[WK_DECODE_REASON_MAX - 1] = reply->codec[WK_DECODE_NAME_MAX - 1] = '\0';
    reply->container[WK_DECODE_NAME_MAX - 1] = '\0';
    if (reply->frames == 0)
        return true;
    size_t size = (size_t)reply->frames * request->image * request->image * 3;
    clip->frames = sl_alloc(size, 1);
    clip->time_us = sl_alloc(reply->frames, sizeof(*clip->time_us));
    return clip->frames != NULL && clip->time_us != NULL &&
           receive_all(decoder->socket, clip->frames, size, deadline);
}

/* Control characters from a file's own texts must not reach a terminal or a log. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
    }
}

static void describe(struct wk_clip *clip, struct wk_decode_reply *reply)
{
    clip->items = (int)reply->frames;
    memcpy(clip->time_us, reply->time_us, reply->frames * sizeof(*clip->time_us));
    clip->width = (int)(reply->width & 0x7fffffff);
    clip->height = (int)(reply->height & 0x7fffffff);
    clip->rotation = (int)(reply->rotation % 360);
    clip->duration_us = reply->duration_us;
    clip->fps = reply->fps;
    make_printable(reply->codec);
    make_printable(reply->container);
    (void)snprintf(clip->codec, sizeof(clip->codec), "%s", reply->codec);
    (void)snprintf(clip->container, sizeof(clip->container), "%s", reply->container);
}

enum sl_status wk_decoder_run(struct wk_decoder *decoder, const char *path, int image, int frames,
        struct wk_clip *ret_clip, struct sl_error *err)
{
    size_t length = strlen(path);
    if (length >= WK_DECODE_PATH_MAX)
        return sl_fail(err, SL_BAD_DATA, "its path is longer than %d bytes", WK_DECODE_PATH_MAX - 1);
    if (image < 1 || image > WK_DECODE_IMAGE_MAX || frames < 1 || frames > WK_DECODE_FRAMES_MAX ||
            (uint64_t)image * (uint64_t)image * 3 * (uint64_t)frames + sizeof(struct wk_decode_reply) >
                    WK_DECODE_PIXELS_MAX)
        return sl_fail(err, SL_USAGE, "%d frames of %dx%d pixels are more than the decoder gives", frames,
                image, image);
    struct wk_decode_request request = {.magic = WK_DECODE_MAGIC,
            .path_size = (uint32_t)length,
            .image = (uint32_t)image,
            .frames = (uint32_t)frames,
            .cpu_s = (uint32_t)decoder->limits.cpu_s,
            .wall_ms = (uint32_t)decoder->limits.wall_ms,
            .memory_mb = (uint32_t)decoder->limits.memory_mb,
            .max_megapixels = (uint32_t)decoder->limits.max_megapixels,
            .max_seconds = (uint32_t)decoder->limits.max_seconds};
    for (int attempt = 0; attempt < 2; attempt++) {
        struct wk_clip clip = {0};
        enum sl_status status = decoder->process == 0 ? start_process(decoder, err) : SL_OK;
        if (status != SL_OK)
            return status;
        if (exchange(decoder, &request, path, &clip)) {
            if (decoder->reply.status == WK_DECODE_REJECTED) {
                make_printable(decoder->reply.reason);
                return sl_fail(err, SL_BAD_DATA, "%s", decoder->reply.reason);
            }
            describe(&clip, &decoder->reply);
            *ret_clip = clip;
            return SL_OK;
        }
        wk_clip_fini(&clip);
        stop_process(
                decoder); /* it never reads the video itself, so its end says nothing about the file: once more */
    }
    return sl_fail(err, SL_FAILED, "the video decoder %s died twice without an answer; does `%s FILE` work?",
            decoder->executable, decoder->executable);
}

void wk_clip_fini(struct wk_clip *clip)
{
    sl_free(clip->frames);
    sl_free(clip->time_us);
    memset(clip, 0, sizeof(*clip));
}
