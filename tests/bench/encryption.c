/* What keys cost: blocks to a server and back over loopback, through the same sockets as training, with CURVE and without, in turn.
 *
 *     bench_encryption [ROUNDS]        prints medians of the rounds (default 7): name, size, ns a message, GB/s both ways together, CPU s/GB
 *
 * Makes its keys in a temporary folder. Not a test: it measures and judges nothing.
 */
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/transport.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 10000
#define INCARNATION 7
#define ROUNDS_MAX 101
#define WINDOW 16 /* messages on their way at a time */

static const struct {
    size_t size;  /* bytes */
    int messages; /* of a round, one way */
} loads[] = {{4 << 10, 8192}, {64 << 10, 2048}, {1 << 20, 192}, {4 << 20, 48}};

#define LOADS (sizeof(loads) / sizeof(loads[0]))

struct wire {
    struct sl_keys *server_keys, *client_keys; /* NULL = not encrypted */
    struct sl_transport *server_side, *client_side;
    struct sl_socket *server, *client;
    struct sl_buffer *block;
    size_t size;
    pthread_t thread;
};

struct sample {
    double seconds, cpu_seconds;
};

static struct sl_error err;

static void need(bool good)
{
    if (good)
        return;
    fprintf(stderr, "bench_encryption: %s\n", err.text);
    exit(1);
}

static void send_block(struct sl_socket *socket, struct sl_address peer, enum sl_message_kind kind,
        struct sl_buffer *block, size_t size)
{
    struct sl_error problem = {0};
    struct sl_message *m = sl_message_create(kind);
    need(m != NULL);
    m->incarnation = INCARNATION;
    m->slots = 1;
    if (kind != SL_MESSAGE_BYE)
        sl_message_add_frame(m, block, block->data, size);
    need(sl_socket_send(socket, peer, m, &problem) == SL_OK);
    sl_message_destroy(m);
}

/* Returns NULL when nothing came in time. */
static struct sl_message *take(struct sl_socket *socket, struct sl_address *ret_peer)
{
    for (;;) {
        struct sl_error problem = {0};
        struct sl_message *m = NULL;
        uint64_t ready = 0;
        enum sl_status status = sl_socket_receive(socket, ret_peer, &m, &problem);
        if (status == SL_OK)
            return m;
        if (status != SL_AGAIN ||
                sl_transport_wait(&socket, 1, NULL, 0, WAIT_MS, &ready, &problem) != SL_OK || ready == 0)
            return NULL;
    }
}

static void *serve(void *argument)
{
    struct wire *wire = argument;
    for (;;) {
        struct sl_address peer = {0};
        struct sl_message *m = take(wire->server, &peer);
        bool over = m == NULL || m->kind == SL_MESSAGE_BYE;
        size_t size = over ? 0 : m->frames[0].size;
        sl_message_destroy(m);
        if (over)
            return NULL;
        send_block(wire->server, peer, SL_MESSAGE_PARAMS, wire->block, size);
    }
}

static void open_wire(struct wire *wire, const char *keys)
{
    *wire = (struct wire){.block = sl_buffer_create(loads[LOADS - 1].size)};
    need(wire->block != NULL);
    if (keys != NULL) {
        need(sl_keys_load(&wire->server_keys, keys, SL_KEYS_SERVER, &err) == SL_OK);
        need(sl_keys_load(&wire->client_keys, keys, SL_KEYS_CLIENT, &err) == SL_OK);
    }
    need(sl_transport_create_secure(&wire->server_side, wire->server_keys, &err) == SL_OK);
    need(sl_transport_create_secure(&wire->client_side, wire->client_keys, &err) == SL_OK);
    need(sl_socket_bind(&wire->server, wire->server_side, "tcp://127.0.0.1:0", &err) == SL_OK);
    need(sl_socket_connect(&wire->client, wire->client_side, sl_socket_endpoint(wire->server), SL_ROLE_WORKER,
                 INCARNATION, SL_COORDINATOR, &err) == SL_OK);
    need(pthread_create(&wire->thread, NULL, serve, wire) == 0);
}

static void close_wire(struct wire *wire)
{
    send_block(wire->client, SL_COORDINATOR, SL_MESSAGE_BYE, NULL, 0);
    (void)pthread_join(wire->thread, NULL);
    sl_socket_close(wire->client);
    sl_socket_close(wire->server);
    sl_transport_destroy(wire->client_side);
    sl_transport_destroy(wire->server_side);
    sl_keys_destroy(wire->client_keys);
    sl_keys_destroy(wire->server_keys);
    sl_buffer_release(wire->block);
}

static struct sample exchange(struct wire *wire, size_t size, int messages)
{
    int64_t begin_ns = sl_clock_monotonic_ns(), cpu_ns = sl_clock_cpu_ns();
    for (int sent = 0, taken = 0; taken < messages; taken++) {
        struct sl_address peer = {0};
        for (; sent < messages && sent < taken + WINDOW; sent++)
            send_block(wire->client, SL_COORDINATOR, SL_MESSAGE_PUSH, wire->block, size);
        struct sl_message *m = take(wire->client, &peer);
        (void)snprintf(err.text, sizeof(err.text), "no block came back");
        need(m != NULL && m->frames[0].size == size);
        sl_message_destroy(m);
    }
    return (struct sample){
            (double)(sl_clock_monotonic_ns() - begin_ns) * 1e-9, (double)(sl_clock_cpu_ns() - cpu_ns) * 1e-9};
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const struct sample *)a)->seconds, y = ((const struct sample *)b)->seconds;
    return (x > y) - (x < y);
}

/* Returns the median time. */
static double report(const char *name, size_t load, struct sample *samples, int rounds)
{
    qsort(samples, (size_t)rounds, sizeof(*samples), by_seconds);
    struct sample median = samples[rounds / 2];
    double bytes = 2.0 * (double)loads[load].size * loads[load].messages;
    printf("%-6s %8zu B %10.0f ns/message %7.3f GB/s %7.2f CPU s/GB\n", name, loads[load].size,
            median.seconds * 1e9 / (2.0 * loads[load].messages), bytes * 1e-9 / median.seconds,
            median.cpu_seconds / (bytes * 1e-9));
    return median.seconds;
}

int main(int argc, char **argv)
{
    char dir[] = "bench-encryption-XXXXXX";
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 7;
    struct wire plain, sealed;
    struct sample plain_samples[ROUNDS_MAX], sealed_samples[ROUNDS_MAX];
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_encryption [ROUNDS], 1 to %d\n", ROUNDS_MAX);
        return 2;
    }
    (void)snprintf(err.text, sizeof(err.text), "cannot make a folder here");
    need(mkdtemp(dir) != NULL);
    need(sl_keys_generate(dir, &err) == SL_OK);
    open_wire(&plain, NULL);
    open_wire(&sealed, dir);
    for (size_t load = 0; load < LOADS; load++) {
        (void)exchange(&plain, loads[load].size, WINDOW);
        (void)exchange(&sealed, loads[load].size, WINDOW);
        for (int r = 0; r < rounds; r++) {
            plain_samples[r] = exchange(&plain, loads[load].size, loads[load].messages);
            sealed_samples[r] = exchange(&sealed, loads[load].size, loads[load].messages);
        }
        double ratio =
                report("plain", load, plain_samples, rounds) / report("keys", load, sealed_samples, rounds);
        printf("%-6s %8zu B %10.2f of the plain rate\n", "ratio", loads[load].size, ratio);
    }
    close_wire(&sealed);
    close_wire(&plain);
    need(sl_file_remove_tree(dir, &err) == SL_OK);
    return 0;
}
