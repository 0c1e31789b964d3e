/* The status from end to end within one process: what is published is what a client hears; strangers do no harm; the end is told, by socket and file. */
#include "ps/status.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/status_client.h"
#include "ps/status_publisher.h"
#include "tests/unit/ps/fixture.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define FOLDER "test_status.d"
#define RUN FOLDER "/a run"
#define KEYS FOLDER "/keys"
#define WAIT_MS 15000

static struct sl_error err;

static int set_up(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK && sl_file_make_directories(RUN, &err) == SL_OK &&
                           sl_keys_generate(KEYS, &err) == SL_OK
                   ? 0
                   : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sl_file_remove_tree(FOLDER, &err) == SL_OK ? 0 : -1;
}

static struct sl_config *make_config(const char *endpoint)
{
    struct sl_config *config = fixture_config();
    (void)snprintf(config->snapshots.dir, sizeof(config->snapshots.dir), RUN);
    (void)snprintf(config->cluster.status, sizeof(config->cluster.status), "%s", endpoint);
    return config;
}

static struct ps_status *open_status(const struct sl_config *config, const struct sl_keys *keys)
{
    struct ps_status *status = NULL;
    struct ps_status_options options = {
            .config = config, .keys = keys, .config_hash = 0x1234567890abcdef, .parameters = 4711};
    if (ps_status_open(&status, &options, &err) != SL_OK)
        fail_msg("%s", err.text);
    return status;
}

static struct ps_step_record make_record(int64_t step)
{
    struct ps_step_record r = {.step = step,
            .epoch = 1,
            .samples = 32,
            .norm = 2.5,
            .clip = 0.4,
            .rate = 1e-3,
            .seconds = 0.25,
            .compute_seconds = 0.5,
            .workers = 2};
    for (int b = 0; b < 3; b++) {
        r.update_norm[b] = 1.0 + b;
        r.parameter_norm[b] = 8.0 * (1.0 + b);
        r.loss[b] = 1.0 + b;
        r.accuracy[b] = 0.25 * b;
    }
    for (int m = 0; m < 2; m++) {
        r.score[m] = 0.5 + 0.125 * m;
        r.ratio[m] = 1.25 - m;
        r.coefficient[m] = 1.0 - 0.5 * m;
        r.cosine[m] = m;
    }
    return r;
}

static struct sl_status_client *open_client(const char *keys, unsigned topics)
{
    struct sl_status_place place;
    struct sl_status_client *client = NULL;
    assert_int_equal(sl_status_place_read(&place, RUN, &err), SL_OK);
    if (sl_status_client_open(&client, &place, keys, topics, &err) != SL_OK)
        fail_msg("%s", err.text);
    return client;
}

/* The next message of a kind; others are passed over. */
static struct sl_status_news expect(struct sl_status_client *client, enum sl_news_kind kind)
{
    struct sl_status_news news = {0};
    int64_t end_us = sl_clock_monotonic_us() + WAIT_MS * 1000;
    do {
        enum sl_status status = sl_status_client_next(client, WAIT_MS, &news, &err);
        if (status != SL_OK)
            fail_msg("no message of kind %d: %s %s", (int)kind, sl_status_name(status), err.text);
    } while (news.kind != kind && sl_clock_monotonic_us() < end_us);
    assert_int_equal(news.kind, kind);
    return news;
}

static void test_what_is_published(void **state)
{
    (void)state;
    SL_AUTO_FREE struct sl_config *config = make_config("tcp://127.0.0.1:0");
    struct ps_status *status = open_status(config, NULL);
    struct ps_status_worker worker = {.rank = 3,
            .host = "a",
            .pid = 12,
            .threads = 4,
            .heard_us = 1000000,
            .slots = 9,
            .doing = "pushing",
            .wait_share = 0.5};
    struct ps_status_server servers[2] = {
            {.rank = 0, .host = "b", .endpoint = "tcp://b:1", .sent = 1000, .version = 5},
            {.rank = 1, .host = "c", .received = 500}};
    struct ps_status_view view = {.state = PS_STATUS_TRAINING,
            .step = 5,
            .total_steps = 50,
            .steps_per_epoch = 5,
            .best_value = 0.75,
            .best_step = 4,
            .workers = &worker,
            .worker_count = 1,
            .servers = servers,
            .server_count = 2,
            .lost_workers = 1,
            .rollbacks = 2,
            .refused = 3};
    struct ps_step_record record = make_record(5);
    ps_status_step(status, &record);
    ps_status_event(status, 5, SL_LOG_WARN, "worker-lost", "w1 c:99: silent");
    ps_status_snapshot(status, 4, 1000, true, 0.5);
    ps_status_update(status, &view, 2000000);
    struct sl_status_client *client = open_client(NULL, SL_STATUS_ALL);
    const Shelflife__Status__Status *s =
            expect(client, SL_NEWS_STATUS).status; /* who comes late hears all of it */
    assert_string_equal(s->state, "training");
    assert_string_equal(s->run->name, "a run");
    assert_true(s->run->config_hash == 0x1234567890abcdef);
    assert_int_equal(s->run->n_branches, 3);
    assert_string_equal(s->run->branches[1], "text");
    assert_string_equal(s->run->branches[2], "fused");
    assert_int_equal(s->run->n_labels, 3);
    assert_int_equal(s->run->total_steps, 50);
    assert_int_equal(s->run->batch, 32);
    assert_true(s->eta_seconds == 45 * 0.25);
    assert_true(s->samples_per_second == 128.0);
    assert_false(s->has_bytes_per_second); /* one reading is no rate */
    assert_int_equal(s->last_step->step, 5);
    assert_int_equal(s->last_step->n_loss, 3);
    assert_true(s->last_step->loss[2] == 3.0);
    assert_int_equal(s->last_step->n_ratio, 2);
    assert_true(s->last_step->coefficient[1] == 0.5);
    assert_true(s->last_step->update_norm == sqrt(1.0 + 4.0 + 9.0)); /* of all parameters */
    assert_int_equal(s->last_step->n_branch_update_norm, 3);
    assert_true(s->last_step->branch_update_norm[1] == 2.0 && s->last_step->branch_parameter_norm[2] == 24.0);
    assert_null(s->last_validation);
    assert_true(s->best_value == 0.75);
    assert_int_equal(s->n_workers, 1);
    assert_string_equal(s->workers[0]->doing, "pushing");
    assert_true(fabs(s->time - s->workers[0]->heard - 1.0) <
                1e-3); /* a second before now, on the wall's clock too */
    assert_int_equal(s->n_servers, 2);
    assert_string_equal(s->servers[0]->endpoint, "tcp://b:1");
    assert_int_equal(s->n_snapshots, 1);
    assert_int_equal(s->snapshots[0]->step, 4);
    assert_int_equal(s->n_events, 1);
    assert_string_equal(s->events[0]->level, "warning");
    assert_int_equal(s->lost_workers, 1);
    assert_int_equal(s->rollbacks, 2);
    assert_int_equal(s->refused, 3);
    servers[0].sent += 4000;
    ps_status_update(status, &view, 4000000);
    assert_true(expect(client, SL_NEWS_STATUS).status->bytes_per_second == 2000.0);
    record = make_record(6);
    ps_status_step(status, &record);
    assert_int_equal(expect(client, SL_NEWS_STEP).step->step, 6);
    ps_status_event(status, 6, SL_LOG_INFO, "hello", "there");
    assert_string_equal(expect(client, SL_NEWS_EVENT).event->text, "there");
    assert_int_equal(sl_status_client_dropped(client), 0);
    sl_status_client_close(client);
    ps_status_close(status, 0, "done");
}

static void test_validation(void **state)
{
    (void)state;
    SL_AUTO_FREE struct sl_config *config = make_config("tcp://127.0.0.1:0");
    SL_AUTO(sl_evaluation_destroy_auto) struct sl_evaluation *evaluation = NULL;
    assert_int_equal(sl_evaluation_create(&evaluation, 3, 3, &err), SL_OK);
    static const float sure[] = {0.0F, 1.0F, 0.0F};
    for (int b = 0; b < 3; b++)
        for (int label = 1; label < 3; label++)
            assert_int_equal(sl_evaluation_add(evaluation, b, sure, label, &err), SL_OK);
    struct ps_status *status = open_status(config, NULL);
    struct ps_status_view view = {.state = PS_STATUS_VALIDATING, .best_value = NAN};
    ps_status_update(status, &view, 1000000);
    assert_true(ps_status_due_us(status) == 1000000 + PS_STATUS_INTERVAL_US);
    struct sl_status_client *client = open_client(NULL, SL_STATUS_VALIDATIONS);
    (void)expect(client, SL_NEWS_STATUS);
    ps_status_validation(status, 7, 2, 1.5, true, evaluation);
    assert_true(ps_status_due_us(status) < 1000000 + PS_STATUS_INTERVAL_US); /* soon */
    const Shelflife__Status__Validation *v = expect(client, SL_NEWS_VALIDATION).validation;
    assert_int_equal(v->step, 7);
    assert_int_equal(v->samples, 2);
    assert_true(v->best);
    assert_int_equal(v->n_branch, 3);
    assert_true(v->branch[2]->accuracy == 0.5);
    assert_int_equal(v->branch[2]->n_confusion, 9);
    assert_int_equal(v->branch[2]->confusion[1 * 3 + 1], 1);
    assert_int_equal(v->branch[2]->confusion[2 * 3 + 1], 1); /* rows are the truth */
    sl_status_client_close(client);
    ps_status_close(status, 0, "done");
}

static void test_the_end(void **state)
{
    (void)state;
    SL_AUTO_FREE struct sl_config *config = make_config("tcp://127.0.0.1:0");
    char text[512];
    struct sl_status_place place;
    struct ps_status *status = open_status(config, NULL);
    struct ps_status_view view = {.state = PS_STATUS_TRAINING, .step = 9, .best_value = NAN};
    ps_status_update(status, &view, 1000000);
    struct sl_status_client *client = open_client(NULL, SL_STATUS_ONLY);
    assert_int_equal(sl_status_client_life(client, text, sizeof(text)), SL_LIFE_CONNECTING);
    (void)expect(client, SL_NEWS_STATUS);
    assert_int_equal(sl_status_client_life(client, text, sizeof(text)), SL_LIFE_LIVE);
    assert_string_equal(text, "training");
    ps_status_close(status, 143, "SIGTERM");
    const Shelflife__Status__Status *s = expect(client, SL_NEWS_STATUS).status;
    assert_string_equal(s->state, "finished");
    assert_string_equal(s->finished, "SIGTERM");
    assert_int_equal(s->exit_code, 143);
    assert_int_equal(sl_status_client_life(client, text, sizeof(text)), SL_LIFE_FINISHED);
    assert_string_equal(text, "finished: SIGTERM");
    assert_int_equal(sl_status_place_read(&place, RUN, &err), SL_OK);
    assert_true(place.ended);
    assert_int_equal(place.exit_code, 143);
    assert_int_equal(place.step, 9);
    /* the run begins again: the same client finds it */
    status = open_status(config, NULL);
    view.step = 10;
    ps_status_update(status, &view, 2000000);
    struct sl_status_news news = {0};
    int64_t end_us = sl_clock_monotonic_us() + WAIT_MS * 1000;
    while (sl_status_client_next(client, 100, &news, &err) != SL_OK && sl_clock_monotonic_us() < end_us)
        (void)sl_status_client_life(client, text, sizeof(text));
    assert_non_null(news.message);
    assert_int_equal(news.status->step, 10);
    sl_status_client_close(client);
    ps_status_close(status, 0, "done");
}

static void test_who_is_late_hears_of_the_dead(void **state)
{
    (void)state;
    char text[512];
    struct sl_status_client *client = NULL;
    struct sl_status_place place = {.folder = RUN, .endpoint = "tcp://127.0.0.1:1", .started = 1.0};
    assert_int_equal(gethostname(place.host, sizeof(place.host) - 1), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_true(waitpid(child, NULL, 0) == child);
    place.pid = child;
    assert_int_equal(sl_status_place_write(&place, &err), SL_OK);
    client = open_client(NULL, SL_STATUS_ONLY);
    assert_int_equal(sl_status_client_life(client, text, sizeof(text)), SL_LIFE_GONE);
    assert_non_null(strstr(text, "this run is gone"));
    assert_non_null(strstr(text, "ended without a word (last heard 2"));
    sl_status_client_close(client);
}

/* ---- strangers ---- */

static void test_rubbish_reaches_nobody(void **state)
{
    (void)state;
    struct sl_status_place place = {.folder = RUN, .host = "elsewhere", .started = 1.0};
    size_t size = sizeof(place.endpoint);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_XPUB);
    int linger = 0, verbose = 1;
    unsigned char bytes[300];
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_XPUB_VERBOSE, &verbose, sizeof(verbose)), 0);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, place.endpoint, &size), 0);
    assert_int_equal(sl_status_place_write(&place, &err), SL_OK);
    struct sl_status_client *client = open_client(NULL, SL_STATUS_ALL);
    for (int i = 0; i < 4; i++)
        assert_true(zmq_recv(socket, bytes, sizeof(bytes), 0) > 0); /* its subscriptions */
    memset(bytes, 0xff, sizeof(bytes));
    (void)zmq_send(socket, "status", 6, 0); /* no second part */
    (void)zmq_send(socket, "status", 6, ZMQ_SNDMORE), (void)zmq_send(socket, bytes, 300, 0);
    (void)zmq_send(socket, "stepping", 8, ZMQ_SNDMORE),
            (void)zmq_send(socket, "", 0, 0); /* a topic with our prefix */
    (void)zmq_send(socket, "event", 5, ZMQ_SNDMORE), (void)zmq_send(socket, "", 0, ZMQ_SNDMORE);
    (void)zmq_send(socket, "", 0, 0); /* a third part */
    (void)zmq_send(socket, "event", 5, ZMQ_SNDMORE), (void)zmq_send(socket, "\x22\x02hi", 4, 0);
    assert_string_equal(expect(client, SL_NEWS_EVENT).event->name, "hi");
    assert_int_equal(sl_status_client_dropped(client), 4);
    sl_status_client_close(client);
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
}

/* Too large a message ends the connection inside ZeroMQ; the client says what came, listens again, and hears what is sent then. */
static void test_what_is_too_large_is_told_and_survived(void **state)
{
    (void)state;
    struct sl_status_place place = {.folder = RUN, .host = "elsewhere", .started = 1.0};
    size_t size = sizeof(place.endpoint);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_XPUB);
    int linger = 0, verbose = 1;
    char text[SL_ERROR_TEXT_MAX];
    struct sl_status_news news;
    SL_AUTO_FREE unsigned char *bytes = sl_alloc(SL_STATUS_MESSAGE_MAX + 1, 1);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)), 0);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_XPUB_VERBOSE, &verbose, sizeof(verbose)), 0);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, place.endpoint, &size), 0);
    assert_int_equal(sl_status_place_write(&place, &err), SL_OK);
    struct sl_status_client *client = open_client(NULL, SL_STATUS_ONLY);
    assert_int_equal(zmq_recv(socket, bytes, 300, 0), 7); /* its subscription */
    (void)zmq_send(socket, "status", 6, ZMQ_SNDMORE);
    (void)zmq_send(socket, bytes, SL_STATUS_MESSAGE_MAX + 1, 0);
    for (int i = 0; i < WAIT_MS / 100 && sl_status_client_dropped(client) == 0; i++)
        assert_int_equal(sl_status_client_next(client, 100, &news, &err), SL_TIMEOUT);
    assert_int_equal(sl_status_client_dropped(client), 1);
    assert_int_equal(sl_status_client_life(client, text, sizeof(text)), SL_LIFE_CONNECTING);
    assert_non_null(strstr(text, "sends more than 4 MiB at once"));
    while (zmq_recv(socket, bytes, 300, 0) != 7 || bytes[0] != 1)
        continue; /* until it subscribes again */
    (void)zmq_send(socket, "status", 6, ZMQ_SNDMORE), (void)zmq_send(socket, "\x12\x02hi", 4, 0);
    assert_string_equal(expect(client, SL_NEWS_STATUS).status->state, "hi");
    assert_int_equal(sl_status_client_life(client, text, sizeof(text)), SL_LIFE_LIVE);
    sl_status_client_close(client);
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
}

static void test_a_flood_is_stopped(void **state)
{
    (void)state;
    struct sl_status_place place = {.folder = RUN, .host = "here", .started = 1.0};
    struct ps_publisher *publisher = NULL;
    struct ps_publisher_options options = {.endpoint = "tcp://127.0.0.1:0", .place = &place};
    assert_int_equal(ps_publisher_open(&publisher, &options, &err), SL_OK);
    void *context = zmq_ctx_new(), *hostile = zmq_socket(context, ZMQ_XSUB),
         *deaf = zmq_socket(context, ZMQ_SUB);
    int zero = 0, one = 1;
    assert_int_equal(zmq_setsockopt(hostile, ZMQ_LINGER, &zero, sizeof(zero)), 0);
    assert_int_equal(zmq_setsockopt(deaf, ZMQ_LINGER, &zero, sizeof(zero)), 0);
    assert_int_equal(zmq_setsockopt(deaf, ZMQ_RCVHWM, &one, sizeof(one)), 0);
    assert_int_equal(zmq_setsockopt(deaf, ZMQ_SUBSCRIBE, "", 0), 0);
    assert_int_equal(zmq_connect(hostile, ps_publisher_place(publisher)->endpoint), 0);
    assert_int_equal(zmq_connect(deaf, ps_publisher_place(publisher)->endpoint), 0); /* and it never reads */
    int64_t end_us = sl_clock_monotonic_us() + 2 * WAIT_MS * 1000;
    for (uint64_t i = 0; ps_publisher_resets(publisher) == 0 && sl_clock_monotonic_us() < end_us; i++) {
        char topic[32];
        int size = snprintf(topic, sizeof(topic), "\1zzz%llu", (unsigned long long)i);
        (void)zmq_send(hostile, topic, (size_t)size, ZMQ_DONTWAIT);
        if (i % 64 == 0) {
            void *bytes = sl_alloc(1, 4096);
            assert_non_null(bytes);
            ps_publisher_put(publisher, PS_TOPIC_STEP, bytes, 4096);
        }
    }
    assert_true(ps_publisher_resets(publisher) > 0);
    assert_int_equal(zmq_close(hostile), 0);
    /* who means well is served all the same */
    struct sl_status_client *client = open_client(NULL, SL_STATUS_EVENTS);
    struct sl_status_news news = {0};
    Shelflife__Status__Event event = SHELFLIFE__STATUS__EVENT__INIT;
    event.name = "still-here";
    end_us = sl_clock_monotonic_us() + WAIT_MS * 1000;
    while (news.message == NULL && sl_clock_monotonic_us() < end_us) {
        size_t size = shelflife__status__event__get_packed_size(&event);
        void *bytes = sl_alloc(1, size);
        assert_non_null(bytes);
        (void)shelflife__status__event__pack(&event, bytes);
        ps_publisher_put(publisher, PS_TOPIC_EVENT, bytes, size);
        (void)!sl_status_client_next(client, 50, &news, &err);
    }
    assert_non_null(news.message);
    assert_string_equal(news.event->name, "still-here");
    sl_status_client_close(client);
    assert_int_equal(zmq_close(deaf), 0);
    (void)zmq_ctx_term(context);
    ps_publisher_close(publisher);
}

/* ---- keys ---- */

static void test_keys(void **state)
{
    (void)state;
    SL_AUTO_FREE struct sl_config *config = make_config("tcp://127.0.0.1:0");
    struct sl_keys *keys = NULL;
    struct sl_status_place place;
    struct sl_status_client *client = NULL;
    struct sl_status_news news;
    assert_int_equal(sl_keys_load(&keys, KEYS, SL_KEYS_SERVER, &err), SL_OK);
    struct ps_status *status = open_status(config, keys);
    struct ps_status_view view = {.best_value = NAN};
    ps_status_update(status, &view, 1000000);
    client = open_client(KEYS, SL_STATUS_ONLY);
    assert_string_equal(expect(client, SL_NEWS_STATUS).status->state, "waiting");
    sl_status_client_close(client);
    client = NULL;
    assert_int_equal(sl_status_place_read(&place, RUN, &err), SL_OK);
    assert_int_equal(sl_status_client_open(&client, &place, NULL, SL_STATUS_ONLY, &err), SL_KEYS);
    assert_non_null(strstr(err.text, "--keys"));
    assert_int_equal(sl_keys_generate(FOLDER "/others", &err), SL_OK);
    assert_int_equal(sl_status_client_open(&client, &place, FOLDER "/others", SL_STATUS_ONLY, &err), SL_KEYS);
    assert_non_null(strstr(err.text, "another key"));
    /* a client that is not on the list */
    assert_int_equal(sl_keys_add_client(KEYS, "stranger", &err), SL_OK);
    assert_int_equal(sl_file_remove_tree(KEYS "/allowed/stranger.pub", &err), SL_OK);
    assert_int_equal(
            sl_status_client_open(&client, &place, KEYS "/clients/stranger", SL_STATUS_ONLY, &err), SL_OK);
    assert_int_equal(sl_status_client_next(client, WAIT_MS, &news, &err), SL_KEYS);
    assert_non_null(strstr(err.text, "does not let this key in"));
    sl_status_client_close(client);
    /* one that knows the endpoint alone, and has no keys */
    place.folder[0] = place.public_key[0] = 0;
    assert_int_equal(sl_status_client_open(&client, &place, NULL, SL_STATUS_ONLY, &err), SL_OK);
    assert_int_not_equal(
            sl_status_client_next(client, WAIT_MS, &news, &err), SL_TIMEOUT); /* ZeroMQ does not tell why */
    assert_non_null(strstr(err.text, "--keys"));
    sl_status_client_close(client);
    ps_status_close(status, 0, "done");
    sl_keys_destroy(keys);
}

/* ---- what is refused ---- */

static void test_refusals(void **state)
{
    (void)state;
    struct ps_status *status = NULL;
    SL_AUTO_FREE struct sl_config *open = make_config("tcp://0.0.0.0:0"), *none = make_config(""),
                                  *first = make_config("tcp://127.0.0.1:0");
    struct ps_status_options options = {.config = open};
    assert_int_equal(ps_status_open(&status, &options, &err), SL_KEYS);
    assert_non_null(strstr(err.text, "cluster.status tcp://0.0.0.0:0"));
    options.config = none;
    assert_int_equal(ps_status_open(&status, &options, &err), SL_OK);
    assert_null(status);
    assert_true(ps_status_due_us(NULL) == INT64_MAX); /* and everything else does nothing */
    ps_status_step(NULL, NULL);
    ps_status_update(NULL, NULL, 0);
    ps_status_close(NULL, 0, "");
    status = open_status(first, NULL);
    SL_AUTO_FREE struct sl_config *second = make_config(ps_status_endpoint(status));
    struct ps_status *other = NULL;
    options.config = second;
    assert_int_equal(ps_status_open(&other, &options, &err), SL_FAILED); /* the port is taken */
    assert_non_null(strstr(err.text, "cannot publish on cluster.status"));
    ps_status_close(status, 0, "done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_published),
            cmocka_unit_test(test_validation), cmocka_unit_test(test_the_end),
            cmocka_unit_test(test_who_is_late_hears_of_the_dead),
            cmocka_unit_test(test_rubbish_reaches_nobody),
            cmocka_unit_test(test_what_is_too_large_is_told_and_survived),
            cmocka_unit_test(test_a_flood_is_stopped), cmocka_unit_test(test_keys),
            cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
