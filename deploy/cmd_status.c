/* `shelflife status`: how a run goes, once. */
#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/proto_json.h"
#include "common/status_client.h"
#include "deploy/command.h"
#include "deploy/watch/target.h"
#include "deploy/watch/words.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WAIT_MS_DEFAULT 5000
#define TURN_MS 200
#define JSON_MAX ((size_t)64 << 20)
#define EVENTS_SHOWN 8

static const char help[] =
        "usage: shelflife status [RUN|ENDPOINT] [OPTIONS]\n\n"
        "Says how a run goes: progress, losses, modulation, workers, servers, what happened. RUN is its "
        "folder "
        "(snapshots.dir);\n"
        "without it, the one run below the current folder. Exit code 0: it runs; 1: it has finished or is "
        "gone.\n\n"
        "  --json           one JSON object: life, text, heard, endpoint, and status as in docs/status.md\n"
        "  --keys DIR       keys of an encrypted run: a folder with server.pub and an allowed client.key\n"
        "  --timeout SECONDS  how long to wait for an answer (default 5)\n\n"
        "example: shelflife status runs/first\n";

struct arguments {
    const char *target, *keys;
    bool json;
    int64_t timeout_ms;
};

static int parse(struct arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
            {"keys", required_argument, NULL, 'k'}, {"timeout", required_argument, NULL, 't'},
            {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    struct sl_error err = {0};
    int64_t seconds = 0;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'j':
            a->json = true;
            break;
        case 'k':
            a->keys = optarg;
            break;
        case 't':
            if (dp_number(&seconds, "--timeout", optarg, 1, 3600, &err) != SL_OK)
                return dp_fail("status", SL_USAGE, &err);
            a->timeout_ms = seconds * 1000;
            break;
        case 'h':
            fputs(help, stdout);
            return -1;
        default:
            return dp_usage("status", "unknown option");
        }
    }
    if (optind + 1 < argc)
        return dp_usage("status", "expected one RUN or ENDPOINT");
    a->target = argv[optind];
    return 0;
}

/* ---- the table ---- */

static void print_list(
        const char *label, const double *values, size_t count, const Shelflife__Status__Run *run)
{
    char word[DP_WORD_MAX], name[SL_NAME_MAX];
    if (count == 0)
        return;
    printf("%-13s", label);
    for (size_t i = 0; i < count; i++)
        printf(" %s %-10s", dp_clean(name, sizeof(name), dp_branch(run, i)), dp_figure(word, values[i]));
    printf("\n");
}

static void print_step(const Shelflife__Status__Step *step, const Shelflife__Status__Run *run)
{
    char words[4][DP_WORD_MAX];
    printf("\nstep %" PRId64 "\n", step->step);
    print_list("  loss", step->loss, step->n_loss, run);
    print_list("  accuracy", step->accuracy, step->n_accuracy, run);
    print_list("  ratio", step->ratio, step->n_ratio, run);
    print_list("  coefficient", step->coefficient, step->n_coefficient, run);
    print_list("  update norm", step->branch_update_norm, step->n_branch_update_norm, run);
    print_list("  of weights", step->branch_parameter_norm, step->n_branch_parameter_norm, run);
    printf("  norm %s  clip %s  learning rate %s  %s  lead changed %" PRId64 " times\n",
            dp_figure(words[0], step->norm), dp_figure(words[1], step->clip), dp_figure(words[2], step->rate),
            dp_span(words[3], step->seconds), step->flips);
}

static void print_validation(
        const Shelflife__Status__Validation *validation, const Shelflife__Status__Run *run)
{
    char words[4][DP_WORD_MAX], name[SL_NAME_MAX];
    printf("\nvalidation after step %" PRId64 "%s\n", validation->step,
            validation->best ? " (the best so far)" : "");
    for (size_t b = 0; b < validation->n_branch; b++) {
        const Shelflife__Status__Branch *branch = validation->branch[b];
        printf("  %-10s loss %s  accuracy %s  macro-F1 %s  calibration error %s\n",
                dp_clean(name, sizeof(name), dp_branch(run, b)), dp_figure(words[0], branch->loss),
                dp_figure(words[1], branch->accuracy), dp_figure(words[2], branch->macro_f1),
                dp_figure(words[3], branch->ece));
    }
}

static void print_members(const Shelflife__Status__Status *status, double now)
{
    char line[512];
    if (status->n_workers > 0)
        printf("\n%zu workers\n" DP_WORKER_HEADING "\n", status->n_workers);
    for (size_t i = 0; i < status->n_workers; i++) {
        dp_worker_line(line, sizeof(line), status->workers[i], now);
        printf("%s\n", line);
    }
    if (status->n_servers > 0)
        printf("\n%zu servers\n" DP_SERVER_HEADING "\n", status->n_servers);
    for (size_t i = 0; i < status->n_servers; i++) {
        dp_server_line(line, sizeof(line), status->servers[i], now);
        printf("%s\n", line);
    }
}

static void print_rest(const Shelflife__Status__Status *status)
{
    char line[1024], word[DP_WORD_MAX];
    if (status->n_snapshots > 0) {
        const Shelflife__Status__Snapshot *last = status->snapshots[status->n_snapshots - 1];
        printf("\nlast snapshot: step %" PRId64 ", %s\n", last->step, dp_bytes(word, last->size));
    }
    if (status->n_events > 0)
        printf("\nevents\n");
    for (size_t i = status->n_events > EVENTS_SHOWN ? status->n_events - EVENTS_SHOWN : 0;
            i < status->n_events; i++) {
        dp_event_line(line, sizeof(line), status->events[i]);
        printf("  %s\n", line);
    }
}

static void print_run(const Shelflife__Status__Run *run)
{
    char texts[3][SL_PATH_MAX], when[SL_TIME_TEXT_MAX], count[DP_WORD_MAX];
    if (sl_time_format(when, sizeof(when), (int64_t)run->started, NULL) != SL_OK)
        (void)snprintf(when, sizeof(when), "?");
    printf("%s  in %s\n", dp_clean(texts[0], sizeof(texts[0]), run->name),
            dp_clean(texts[1], sizeof(texts[1]), run->folder));
    printf("shelflife %s, %s, %s parameters, %" PRId64 " samples a step, since %s\n",
            dp_clean(texts[2], sizeof(texts[2]), run->version),
            run->mode != NULL && strcmp(run->mode, "ssp") == 0   ? "ssp"
            : run->mode != NULL && strcmp(run->mode, "asp") == 0 ? "asp"
                                                                 : "bsp",
            dp_count(count, run->parameters), run->batch, when);
}

static void print_status(const Shelflife__Status__Status *status, const char *text)
{
    char line[512], word[DP_WORD_MAX], clean[SL_ERROR_TEXT_MAX];
    if (status->run != NULL)
        print_run(status->run);
    dp_headline(line, sizeof(line), status);
    printf("%s\n", line);
    if (status->finished != NULL)
        printf("%s (exit code %d)\n", dp_clean(clean, sizeof(clean), text), status->exit_code);
    if (status->has_bytes_per_second)
        printf("traffic %s/s\n",
                dp_bytes(word, status->bytes_per_second > 0.0 ? (uint64_t)status->bytes_per_second : 0));
    if (status->lost_workers + status->rollbacks + status->refused > 0)
        printf("%" PRIu64 " workers lost, %" PRIu64 " rollbacks, %" PRIu64 " peers or messages refused\n",
                status->lost_workers, status->rollbacks, status->refused);
    if (status->last_step != NULL)
        print_step(status->last_step, status->run);
    if (status->last_validation != NULL)
        print_validation(status->last_validation, status->run);
    print_members(status, status->time);
    print_rest(status);
}

static void print_without(const struct sl_status_place *place, const char *text)
{
    char clean[SL_ERROR_TEXT_MAX], when[SL_TIME_TEXT_MAX];
    printf("%s: %s\n", place->folder[0] != 0 ? place->folder : place->endpoint,
            dp_clean(clean, sizeof(clean), text));
    if (place->ended && sl_time_format(when, sizeof(when), (int64_t)place->ended_at, NULL) == SL_OK)
        printf("ended %s after step %" PRId64 " with exit code %d\n", when, place->step, place->exit_code);
}

/* ---- JSON ---- */

static enum sl_status print_json(const struct sl_status_client *client, enum sl_run_life life,
        const char *text, const Shelflife__Status__Status *message, struct sl_error *err)
{
    static const char *const lives[] = {"connecting", "live", "quiet", "finished", "gone"};
    const struct sl_status_place *place = sl_status_client_place(client);
    SL_AUTO(sl_json_fini) struct sl_json json;
    sl_json_init(&json, JSON_MAX);
    sl_json_object(&json, NULL);
    sl_json_string(&json, "life", lives[life]);
    sl_json_string(&json, "text", text);
    sl_json_string(&json, "endpoint", place->endpoint);
    sl_json_double(&json, "heard", sl_status_client_heard(client));
    if (place->ended) {
        sl_json_double(&json, "ended", place->ended_at);
        sl_json_int(&json, "step", place->step);
        sl_json_int(&json, "exit_code", place->exit_code);
    }
    if (message != NULL)
        sl_proto_json(&json, "status", &message->base);
    sl_json_end(&json);
    return sl_json_print(&json, err);
}

/* ---- the command ---- */

/* Waits for the first Status; ret_message stays NULL when there is none to come. */
static enum sl_status wait_for_status(struct sl_status_client *client, int64_t timeout_ms,
        const Shelflife__Status__Status **ret_message, enum sl_run_life *ret_life, char *text, size_t size,
        struct sl_error *err)
{
    int64_t end_us = sl_clock_monotonic_us() + timeout_ms * 1000;
    for (;;) {
        struct sl_status_news news;
        *ret_life = sl_status_client_life(client, text, size);
        if (*ret_life >= SL_LIFE_FINISHED)
            return SL_OK;
        enum sl_status status = sl_status_client_next(client, TURN_MS, &news, err);
        if (status == SL_OK && news.kind == SL_NEWS_STATUS) {
            *ret_message = news.status;
            *ret_life = sl_status_client_life(client, text, size);
            return SL_OK;
        }
        if (status != SL_OK && status != SL_TIMEOUT)
            return status;
        if (sl_clock_monotonic_us() >= end_us) {
            const char *endpoint = sl_status_client_place(client)->endpoint;
            uint64_t dropped = sl_status_client_dropped(client);
            *ret_life = SL_LIFE_GONE;
            if (dropped > 0)
                (void)snprintf(text, size,
                        "%s is no run that this program understands: %" PRIu64
                        " messages made no sense or were larger than %d MiB",
                        endpoint, dropped, SL_STATUS_MESSAGE_MAX >> 20);
            else
                (void)snprintf(text, size,
                        "this run is gone, or does not answer: nothing heard from %s for %" PRId64 " s",
                        endpoint, timeout_ms / 1000);
            return SL_OK;
        }
    }
}

static enum sl_status run(const struct arguments *a, enum sl_run_life *ret_life, struct sl_error *err)
{
    SL_AUTO_FREE struct sl_status_place *place = sl_alloc(1, sizeof(*place));
    struct sl_status_client *client = NULL;
    const Shelflife__Status__Status *message = NULL;
    char text[SL_ERROR_TEXT_MAX];
    if (place == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = dp_target(place, a->target, err);
    if (status == SL_OK)
        status = sl_status_client_open(&client, place, a->keys, SL_STATUS_ONLY, err);
    if (status == SL_OK)
        status = wait_for_status(client, a->timeout_ms, &message, ret_life, text, sizeof(text), err);
    if (status == SL_OK && a->json)
        status = print_json(client, *ret_life, text, message, err);
    else if (status == SL_OK && message != NULL)
        print_status(message, text);
    else if (status == SL_OK)
        print_without(sl_status_client_place(client), text);
    sl_status_client_close(client);
    return status;
}

int dp_status(int argc, char **argv)
{
    struct arguments a = {.timeout_ms = WAIT_MS_DEFAULT};
    int code = parse(&a, argc, argv);
    if (code != 0)
        return code < 0 ? SL_OK : code;
    struct sl_error err = {0};
    enum sl_run_life life = SL_LIFE_GONE;
    enum sl_status status = run(&a, &life, &err);
    if (status != SL_OK)
        return dp_fail("status", status, &err);
    return life < SL_LIFE_FINISHED ? SL_OK : SL_FAILED;
}
