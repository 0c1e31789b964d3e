/* The server's process in a thread: what it refuses before it listens, and that a peer which sends garbage is ignored in the end while others are answered. */
#include "common/file.h"
#include "common/log.h"
#include "common/transport.h"
#include "ps/loop.h"
#include "ps/offenders.h"
#include "tests/unit/ps/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define FOLDER "test_loop.d"
#define KEYS FOLDER "/keys"
#define RUN FOLDER "/run"
#define WAIT_MS 10000

static struct sl_error err;

struct server {
    struct sl_config *config;
    struct ps_run_options options;
    pthread_t thread;
    int stop_fd; /* takes what a signalfd would give */
    char endpoint[256];
    enum sl_status status;
    int signal_number;
    struct sl_error error;
};

static int set_up(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK && sl_keys_generate(KEYS, &err) == SL_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK ? 0 : -1;
}

static struct sl_config *make_config(const char *endpoint, const char *keys)
{
    struct sl_config *config = fixture_config();
    (void)snprintf(config->cluster.coordinator, sizeof(config->cluster.coordinator), "%s", endpoint);
    (void)snprintf(config->cluster.keys, sizeof(config->cluster.keys), "%s", keys);
    (void)snprintf(config->snapshots.dir, sizeof(config->snapshots.dir), RUN);
    (void)snprintf(config->snapshots.keep_best, sizeof(config->snapshots.keep_best), "fused.accuracy");
    config->snapshots.keep = 1;
    config->cluster.servers = config->cluster.workers = 1;
    config->cluster.heartbeat_ms = 1000;
    config->cluster.timeout_ms = config->cluster.resend_ms = config->cluster.join_ms = 60000;
    return config;
}

static void refuses(const char *endpoint, const char *keys, const char *words)
{
    SL_AUTO_FREE struct sl_config *config = make_config(endpoint, keys);
    int number = 0;
    struct ps_run_options options = {.config = config, .resume = "auto", .signal_fd = -1, .ready_fd = -1};
    assert_int_equal(ps_run(&options, &number, &err), SL_KEYS);
    if (strstr(err.text, words) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, words);
    assert_false(sl_file_is_directory(RUN)); /* nothing was written */
}

static void test_what_it_refuses(void **state)
{
    (void)state;
    refuses("tcp://0.0.0.0:0", "", "cluster.keys");
    refuses("tcp://*:0", "", "cluster.keys");
    refuses("tcp://192.0.2.1:0", "", "cluster.keys");
    refuses("tcp://[::]:0", "", "cluster.keys");
    refuses("tcp://127.0.0.1:0", FOLDER "/none", "keygen");
    refuses("tcp://127.0.0.1:0", KEYS "/clients", "server.key");
}

static void *run(void *argument)
{
    struct server *server = argument;
    server->status = ps_run(&server->options, &server->signal_number, &server->error);
    return NULL;
}

static void start(struct server *server, const char *keys)
{
    int ready[2], stop[2];
    *server = (struct server){.config = make_config("tcp://127.0.0.1:0", keys)};
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(stop), 0);
    server->stop_fd = stop[1];
    server->options = (struct ps_run_options){
            .config = server->config, .resume = "auto", .signal_fd = stop[0], .ready_fd = ready[1]};
    assert_int_equal(fcntl(stop[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(pthread_create(&server->thread, NULL, run, server), 0);
    size_t size = 0;
    while (size < sizeof(server->endpoint) - 1 && read(ready[0], server->endpoint + size, 1) == 1 &&
            server->endpoint[size] != '\n')
        size++;
    server->endpoint[size] = 0;
    (void)close(ready[0]);
    assert_true(size > 0);
}

static void stop(struct server *server)
{
    struct signalfd_siginfo signal = {.ssi_signo = SIGTERM};
    assert_int_equal(write(server->stop_fd, &signal, sizeof(signal)), sizeof(signal));
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->stop_fd);
    (void)close(server->options.signal_fd);
    assert_int_equal(server->status, SL_STOPPED);
    assert_int_equal(server->signal_number, SIGTERM);
    sl_free(server->config);
}

/* A hello of a config that the server does not know: always refused, so it shows whether somebody is listened to. */
static void say_hello(struct sl_socket *socket, uint64_t incarnation, uint64_t sequence)
{
    struct sl_message *m = sl_message_create(SL_MESSAGE_HELLO);
    assert_non_null(m);
    m->incarnation = incarnation;
    m->sequence = sequence;
    m->hello.config_hash = 1;
    assert_int_equal(sl_socket_send(socket, SL_COORDINATOR, m, &err), SL_OK);
    sl_message_destroy(m);
}

/* Waits for the refusal of that number; signs of life and refusals that are sent again are passed over. */
static void expect_refusal(struct sl_socket *socket, uint64_t sequence)
{
    for (;;) {
        SL_AUTO(sl_message_destroy_auto) struct sl_message *m = NULL;
        struct sl_address from = {0};
        uint64_t ready = 0;
        enum sl_status status = sl_socket_receive(socket, &from, &m, &err);
        if (status == SL_AGAIN) {
            assert_int_equal(sl_transport_wait(&socket, 1, NULL, 0, WAIT_MS, &ready, &err), SL_OK);
            assert_true(ready != 0);
            continue;
        }
        assert_int_equal(status, SL_OK);
        if (m->kind == SL_MESSAGE_REFUSE && m->sequence == sequence)
            return;
        assert_true(m->kind == SL_MESSAGE_ALIVE || m->kind == SL_MESSAGE_REFUSE);
    }
}

static void garbage_is_borne_up_to_a_bound(const char *keys)
{
    struct server server;
    struct sl_keys *client_keys = NULL;
    struct sl_transport *transport = NULL;
    struct sl_socket *bad = NULL, *good = NULL;
    start(&server, keys);
    if (keys[0] != 0)
        assert_int_equal(sl_keys_load(&client_keys, keys, SL_KEYS_CLIENT, &err), SL_OK);
    assert_int_equal(sl_transport_create_secure(&transport, client_keys, &err), SL_OK);
    assert_int_equal(
            sl_socket_connect(&bad, transport, server.endpoint, SL_ROLE_WORKER, 42, SL_COORDINATOR, &err),
            SL_OK);
    assert_int_equal(
            sl_socket_connect(&good, transport, server.endpoint, SL_ROLE_WORKER, 43, SL_COORDINATOR, &err),
            SL_OK);
    for (int i = 1; i < PS_OFFENCES_MAX; i++)
        say_hello(bad, 4711, 1); /* names another sender than its connection */
    say_hello(bad, 42, 1);
    expect_refusal(bad, 1); /* one short of the bound: still listened to */
    say_hello(bad, 4711, 2);
    for (uint64_t i = 1; i <= 5; i++) {
        say_hello(bad, 42, 1 + i);
        say_hello(good, 43, i);
        expect_refusal(good, i);
    }
    struct sl_message *m = NULL;
    struct sl_address from = {0};
    while (sl_socket_receive(bad, &from, &m, &err) == SL_OK) {
        assert_false(m->kind == SL_MESSAGE_REFUSE && m->sequence > 1);
        sl_message_destroy(SL_TAKE(m));
    }
    sl_socket_close(bad);
    sl_socket_close(good);
    sl_transport_destroy(transport);
    sl_keys_destroy(client_keys);
    stop(&server);
}

static void test_garbage(void **state)
{
    (void)state;
    garbage_is_borne_up_to_a_bound("");
}

static void test_garbage_with_a_key(void **state)
{
    (void)state;
    garbage_is_borne_up_to_a_bound(KEYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test_setup_teardown(test_what_it_refuses, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_garbage, set_up, tear_down),
            cmocka_unit_test_setup_teardown(test_garbage_with_a_key, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
