/* `shelflife dashboard`: a web page about runs, served from their status sockets and files. */
#include "common/clock.h"
#include "common/file.h"
#include "common/keys.h"
#include "common/memory.h"
#include "common/signals.h"
#include "deploy/command.h"
#include "deploy/dashboard/feed.h"
#include "deploy/dashboard/gateway.h"
#include "deploy/http/token.h"

#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char help[] =
        "usage: shelflife dashboard [RUN|DIR|ENDPOINT] [OPTIONS]\n"
        "\n"
        "Serves a web page that shows runs while they train, and what is left of them afterwards: progress,\n"
        "losses, how the modalities are balanced, validation, workers, servers, events, snapshots.\n"
        "RUN is a run's folder (snapshots.dir), DIR a folder of such folders, ENDPOINT the status socket of "
        "a\n"
        "run elsewhere, tcp://HOST:PORT. Without any: this folder. A run is only listened to, never "
        "changed.\n"
        "\n"
        "  --bind ADDRESS:PORT  where to listen (127.0.0.1:0, a free port). Anything but loopback needs a "
        "token.\n"
        "  --token-file FILE    the first line is a token (16 characters or more of A-Z a-z 0-9 - . _ ~) "
        "that\n"
        "                       everybody must show: open /?token=TOKEN once, or send Authorization: Bearer "
        "TOKEN\n"
        "  --allow-host NAME    answer to this name too, not only to addresses and localhost\n"
        "  --keys DIR           keys of a cluster that encrypts (client.key and server.pub)\n"
        "  --open-file FILE     write the address to FILE once it answers\n"
        "  --help               this text\n"
        "\n"
        "/metrics is for Prometheus; docs/dashboard.md has the rest. Ends with Ctrl-C or SIGTERM.\n"
        "\n"
        "exit codes: 0 ended by a signal; 1 cannot listen; 2 wrong usage; 5 keys or token file\n"
        "\n"
        "example: shelflife dashboard runs --bind 127.0.0.1:8080\n";

struct arguments {
    const char *source, *bind, *token_file, *allow_host, *keys, *open_file;
    bool help;
};

static enum sl_status parse_arguments(struct arguments *a, int argc, char **argv, struct sl_error *err)
{
    enum { BIND = 256, TOKEN, HOST, KEYS, OPEN };
    static const struct option flags[] = {{"bind", required_argument, NULL, BIND},
            {"token-file", required_argument, NULL, TOKEN}, {"allow-host", required_argument, NULL, HOST},
            {"keys", required_argument, NULL, KEYS}, {"open-file", required_argument, NULL, OPEN},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    *a = (struct arguments){.source = ".", .bind = "127.0.0.1:0"};
    optind = 0;
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":h", flags, NULL)) != -1;) {
        switch (flag) {
        case BIND:
            a->bind = optarg;
            break;
        case TOKEN:
            a->token_file = optarg;
            break;
        case HOST:
            a->allow_host = optarg;
            break;
        case KEYS:
            a->keys = optarg;
            break;
        case OPEN:
            a->open_file = optarg;
            break;
        case 'h':
            a->help = true;
            return SL_OK;
        default:
            return sl_fail(err, SL_USAGE, "%s: %s; see shelflife dashboard --help", argv[optind - 1],
                    flag == ':' ? "a value is missing" : "there is no such flag");
        }
    }
    if (optind + 1 < argc)
        return sl_fail(err, SL_USAGE, "expected one RUN, DIR or ENDPOINT, found %d", argc - optind);
    if (optind < argc)
        a->source = argv[optind];
    return SL_OK;
}

/* Serves until a signal that asks for the end. */
static enum sl_status serve(
        struct dp_gateway *gateway, const struct arguments *a, int signals, struct sl_error *err)
{
    const char *url = dp_gateway_url(gateway);
    printf("dashboard: %s\n", url);
    (void)fflush(stdout);
    if (a->open_file != NULL) {
        char line[256];
        int length = snprintf(line, sizeof(line), "%s\n", url);
        enum sl_status status = sl_file_write_atomic(a->open_file, line, (size_t)length, err);
        if (status != SL_OK)
            return status;
    }
    for (;;) {
        struct pollfd wait = {.fd = signals, .events = POLLIN};
        (void)poll(&wait, 1, 1000);
        int number = (wait.revents & POLLIN) != 0 ? sl_signals_take(signals) : 0;
        if (number == SIGINT || number == SIGTERM)
            return SL_OK;
        dp_gateway_look(gateway);
    }
}

static enum sl_status run(const struct arguments *a, struct sl_error *err)
{
    int signals = -1;
    char *token = NULL;
    struct sl_keys *keys = NULL;
    struct dp_hub *hub = NULL;
    struct dp_feed *feed = NULL;
    struct dp_gateway *gateway = NULL;
    enum sl_status status = sl_signals_open(&signals, err);
    if (status == SL_OK && a->token_file != NULL)
        status = dp_token_read(&token, a->token_file, err);
    if (status == SL_OK && a->keys != NULL)
        status = sl_keys_load(&keys, a->keys, SL_KEYS_CLIENT, err); /* to say now what is wrong with them */
    if (status == SL_OK)
        status = dp_hub_create(&hub, err);
    if (status == SL_OK)
        status = dp_feed_create(&feed, a->source, a->keys, hub, err);
    const struct dp_gateway_options options = {.bind = a->bind, .token = token, .allow_host = a->allow_host};
    if (status == SL_OK)
        status = dp_gateway_create(&gateway, &options, feed, hub, err);
    if (status == SL_OK)
        status = serve(gateway, a, signals, err);
    dp_gateway_destroy(gateway); /* it asks the feed */
    dp_feed_destroy(feed);       /* it posts to the hub */
    dp_hub_destroy(hub);
    sl_keys_destroy(keys);
    dp_token_free(token);
    if (signals >= 0)
        (void)close(signals);
    return status;
}

int dp_dashboard(int argc, char **argv)
{
    struct arguments a;
    struct sl_error err = {0};
    enum sl_status status = parse_arguments(&a, argc, argv, &err);
    if (status == SL_OK && a.help) {
        (void)fputs(help, stdout);
        return SL_OK;
    }
    if (status == SL_OK)
        status = run(&a, &err);
    return status == SL_OK ? SL_OK : dp_fail("dashboard", status, &err);
}
