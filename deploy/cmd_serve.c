/* `shelflife serve`: a snapshot behind HTTP and ZeroMQ. */
#include "common/clock.h"
#include "common/cpu.h"
#include "common/endpoint.h"
#include "common/file.h"
#include "common/json.h"
#include "common/keys.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/command.h"
#include "deploy/http/token.h"
#include "deploy/serve/batcher.h"
#include "deploy/serve/service.h"
#include "deploy/serve/socket.h"
#include "deploy/serve/web.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define JOINT_WAIT_MS 2 /* what a joint batch waits for others, unless --wait-ms says otherwise */
#define TICK_MS 200

static const char help[] =
        "usage: shelflife serve SNAPSHOT [OPTIONS]\n\n"
        "Scores requests over HTTP (JSON) and ZeroMQ (protobuf): label, probabilities of each branch, "
        "expiry\n"
        "time, and which snapshot said so. SNAPSHOT is a snapshot's folder, or a run's (then its best one, "
        "and\n"
        "a newer one is taken while it serves, without losing a request). docs/serving.md describes "
        "requests\n"
        "and answers, and has an example client.\n\n"
        "  --bind ADDRESS:PORT   where HTTP listens (127.0.0.1:0, a free port), or none. Anything but "
        "loopback\n"
        "                        needs a token\n"
        "  --socket ENDPOINT     where ZeroMQ listens (tcp://127.0.0.1:0), or none. Anything but loopback\n"
        "                        needs keys\n"
        "  --token-file FILE     the first line is a token (16 characters or more of A-Z a-z 0-9 - . _ ~) "
        "that\n"
        "                        HTTP clients send as Authorization: Bearer TOKEN\n"
        "  --allow-host NAME     without a token: answer to this name too, not only to addresses and "
        "localhost\n"
        "  --keys DIR            keys of the ZeroMQ socket (server.key, allowed/), as shelflife keygen makes "
        "them\n"
        "  --insecure            listen with ZeroMQ beyond loopback without keys, in a network that you "
        "trust\n"
        "  --root DIR            take paths of videos below this folder; without it videos are uploaded\n"
        "  --threads N           threads that run the model (default: all cores)\n"
        "  --decoders N          threads that decode videos and tokenise (default: all cores)\n"
        "  --batch N             requests that are taken together, at most (8)\n"
        "  --wait-ms MS          how long the first of them waits for others (0; 2 with --joint)\n"
        "  --joint               one forward pass for a whole batch: faster, but last bits of an answer "
        "then\n"
        "                        depend on which requests came together\n"
        "  --queue N             requests on their way, at most (64); beyond that 503 with Retry-After\n"
        "  --max-request-mb N    size of a request (32)\n"
        "  --max-video-s S       length of a video (600)\n"
        "  --receive-s S         seconds for a request to arrive whole (30)\n"
        "  --reload-ms MS        how often to look for a newer snapshot (2000), 0 = never\n"
        "  --drain-s S           seconds to finish what is on its way after SIGTERM (30)\n"
        "  --open-file FILE      write both addresses to FILE as JSON once they answer\n"
        "  --help                this text\n\n"
        "exit codes: 0 ended by SIGTERM or SIGINT, after finishing what was on its way; 1 cannot listen, or "
        "not\n"
        "finished in time; 2 wrong usage; 3 damaged snapshot; 5 keys or token file\n\n"
        "example: shelflife serve runs/a --bind 127.0.0.1:8080 --root clips\n";

struct arguments {
    const char *snapshot, *bind, *socket, *token_file, *allow_host, *keys, *root, *open_file;
    int64_t threads, decoders, batch, wait_ms, queue, request_mb, video_s, receive_s, reload_ms, drain_s;
    bool joint, insecure;
};

/* Everything that runs. */
struct server {
    const struct arguments *a;
    char *token;
    struct sl_keys *keys;
    struct dp_service *service;
    struct dp_web *web;       /* NULL: none */
    struct dp_socket *socket; /* NULL: none */
    int signals;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    const struct dp_option options[] = {{"bind", DP_TEXT, &a->bind, 0, 0},
            {"socket", DP_TEXT, &a->socket, 0, 0}, {"token-file", DP_TEXT, &a->token_file, 0, 0},
            {"allow-host", DP_TEXT, &a->allow_host, 0, 0}, {"keys", DP_TEXT, &a->keys, 0, 0},
            {"insecure", DP_FLAG, &a->insecure, 0, 0}, {"root", DP_TEXT, &a->root, 0, 0},
            {"threads", DP_NUMBER, &a->threads, 1, 1024}, {"decoders", DP_NUMBER, &a->decoders, 1, 1024},
            {"batch", DP_NUMBER, &a->batch, 1, DP_BATCH_MAX}, {"wait-ms", DP_NUMBER, &a->wait_ms, 0, 10000},
            {"joint", DP_FLAG, &a->joint, 0, 0}, {"queue", DP_NUMBER, &a->queue, 1, 65536},
            {"max-request-mb", DP_NUMBER, &a->request_mb, 1, 1024},
            {"max-video-s", DP_NUMBER, &a->video_s, 1, 1000000},
            {"receive-s", DP_NUMBER, &a->receive_s, 1, 3600},
            {"reload-ms", DP_NUMBER, &a->reload_ms, 0, 86400000},
            {"drain-s", DP_NUMBER, &a->drain_s, 0, 86400}, {"open-file", DP_TEXT, &a->open_file, 0, 0}};
    *a = (struct arguments){.bind = "127.0.0.1:0",
            .socket = "tcp://127.0.0.1:0",
            .threads = sl_cpu_count(),
            .decoders = sl_cpu_count(),
            .batch = 8,
            .wait_ms = -1,
            .queue = 64,
            .request_mb = 32,
            .video_s = 600,
            .receive_s = 30,
            .reload_ms = 2000,
            .drain_s = 30};
    int code = dp_parse(
            "serve", help, options, (int)(sizeof(options) / sizeof(options[0])), argc, argv, &a->snapshot);
    if (code == 0 && a->wait_ms < 0)
        a->wait_ms = a->joint ? JOINT_WAIT_MS : 0;
    return code;
}

/* ---- beginning ---- */

static enum sl_status start_socket(struct server *server, struct sl_error *err)
{
    const struct arguments *a = server->a;
    if (strcmp(a->socket, "none") == 0)
        return SL_OK;
    if (!sl_endpoint_is_local(a->socket) && a->keys == NULL && !a->insecure)
        return sl_fail(err, SL_KEYS,
                "--socket %s can be reached from other machines, unencrypted: make keys (shelflife keygen "
                "DIR) "
                "and give --keys DIR, or use a loopback address, or --insecure in a network that you trust",
                a->socket);
    if (a->keys != NULL) {
        enum sl_status status = sl_keys_load(&server->keys, a->keys, SL_KEYS_SERVER, err);
        if (status != SL_OK)
            return status;
    }
    const struct dp_socket_options options = {
            .endpoint = a->socket, .keys = server->keys, .request_max = (size_t)a->request_mb << 20};
    return dp_socket_create(&server->socket, &options, server->service, err);
}

static enum sl_status start_web(struct server *server, struct sl_error *err)
{
    const struct arguments *a = server->a;
    if (strcmp(a->bind, "none") == 0)
        return SL_OK;
    if (a->token_file != NULL) {
        enum sl_status status = dp_token_read(&server->token, a->token_file, err);
        if (status != SL_OK)
            return status;
    }
    const struct dp_web_options options = {.bind = a->bind,
            .token = server->token,
            .allow_host = a->allow_host,
            .request_max = (size_t)a->request_mb << 20,
            .receive_us = a->receive_s * 1000000};
    return dp_web_create(&server->web, &options, server->service, err);
}

static enum sl_status start(struct server *server, struct sl_error *err)
{
    const struct arguments *a = server->a;
    const struct dp_service_options options = {.snapshot = a->snapshot,
            .root = a->root,
            .threads = (int)a->threads,
            .decoders = (int)a->decoders,
            .queue = (int)a->queue,
            .batch = (int)a->batch,
            .wait_us = a->wait_ms * 1000,
            .joint = a->joint,
            .max_video_s = (int)a->video_s};
    if (strcmp(a->bind, "none") == 0 && strcmp(a->socket, "none") == 0)
        return sl_fail(err, SL_USAGE, "--bind none and --socket none leave nothing to answer on");
    enum sl_status status = sl_signals_open(&server->signals, err);
    if (status == SL_OK)
        status = dp_service_create(&server->service, &options, err);
    if (status == SL_OK)
        status = start_socket(server, err);
    if (status == SL_OK)
        status = start_web(server, err);
    return status;
}

/* Where it answers: as lines for people, and as JSON in a file that is whole or not there. */
static enum sl_status announce(const struct server *server, struct sl_error *err)
{
    const char *text = NULL;
    size_t size = 0;
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, 4096);
    sl_json_object(&json, NULL);
    if (server->web != NULL)
        printf("serve: %s\n", dp_web_url(server->web));
    if (server->socket != NULL)
        printf("serve: %s\n", dp_socket_endpoint(server->socket));
    (void)fflush(stdout);
    sl_json_string(&json, "http", server->web == NULL ? NULL : dp_web_url(server->web));
    sl_json_string(&json, "socket", server->socket == NULL ? NULL : dp_socket_endpoint(server->socket));
    sl_json_string(&json, "public_key", server->keys == NULL ? NULL : sl_keys_public(server->keys));
    sl_json_end(&json);
    if (server->a->open_file == NULL)
        return SL_OK;
    enum sl_status status = sl_json_finish(&json, &text, &size, err);
    return status == SL_OK ? sl_file_write_atomic(server->a->open_file, text, size, err) : status;
}

/* ---- the loop, and the end ---- */

static bool is_end(int number)
{
    return number == SIGINT || number == SIGTERM;
}

/* Waits for a signal that asks for the end, a tick at most. */
static bool asked_to_end(const struct server *server, int timeout_ms)
{
    struct pollfd wait = {.fd = server->signals, .events = POLLIN};
    (void)poll(&wait, 1, timeout_ms);
    return (wait.revents & POLLIN) != 0 && is_end(sl_signals_take(server->signals));
}

static void loop(struct server *server)
{
    int64_t reload_us = server->a->reload_ms * 1000, look_us = sl_clock_monotonic_us() + reload_us;
    int tick_ms =
            server->a->reload_ms > 0 && server->a->reload_ms < TICK_MS ? (int)server->a->reload_ms : TICK_MS;
    while (!asked_to_end(server, tick_ms)) {
        if (server->web != NULL)
            dp_web_look(server->web);
        if (reload_us > 0 && sl_clock_monotonic_us() >= look_us) {
            (void)dp_service_look(server->service);
            look_us = sl_clock_monotonic_us() + reload_us;
        }
    }
}

static int busy(struct server *server)
{
    return (server->web == NULL ? 0 : dp_web_busy(server->web)) +
           (server->socket == NULL ? 0 : dp_socket_busy(server->socket));
}

/* Nothing new; what is on its way is answered. A second signal, or the end of the time, leaves the rest. */
static enum sl_status drain(struct server *server, struct sl_error *err)
{
    int64_t until = sl_clock_monotonic_us() + server->a->drain_s * 1000000;
    bool again = false;
    dp_service_stop(server->service);
    if (server->web != NULL)
        dp_web_quiesce(server->web);
    while (!again && (!dp_service_drain(server->service, 20) || busy(server) > 0) &&
            sl_clock_monotonic_us() < until) {
        again = asked_to_end(server, 10);
        if (server->web != NULL)
            dp_web_look(server->web);
    }
    int left = busy(server);
    sl_log(SL_LOG_INFO, "serve", "stopped", "left=%d", left);
    return left == 0 ? SL_OK
                     : sl_fail(err, SL_FAILED, "%d requests were not answered within %lld s (--drain-s)",
                               left, (long long)server->a->drain_s);
}

int dp_serve(int argc, char **argv)
{
    struct arguments a;
    struct sl_error err = {0};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct server server = {.a = &a, .signals = -1};
    enum sl_status status = start(&server, &err);
    if (status == SL_OK)
        status = announce(&server, &err);
    bool left = false;
    if (status == SL_OK) {
        loop(&server);
        status = drain(&server, &err);
        left = status != SL_OK;
    } else if (server.service != NULL) { /* on what did open somebody may have asked already */
        left = !dp_service_drain(server.service, a.drain_s * 1000);
    }
    if (left) { /* threads may be inside a decoder for minutes: the process ends with them */
        code = dp_fail("serve", status, &err);
        (void)fflush(NULL);
        _exit(code);
    }
    dp_web_destroy(server.web);
    dp_socket_destroy(server.socket);
    dp_service_destroy(server.service);
    sl_keys_destroy(server.keys);
    dp_token_free(server.token);
    if (server.signals >= 0)
        (void)close(server.signals);
    return status == SL_OK ? SL_OK : dp_fail("serve", status, &err);
}
