/* `bench transport`: blocks to a server and back, through the sockets alone and through all that training runs, against a raw ZeroMQ stream, plain sockets
 * and a copy in memory. */
#include "common/memory.h"
#include "deploy/bench/bench.h"
#include "deploy/bench/echo.h"
#include "deploy/bench/exchange.h"
#include "deploy/bench/limits.h"
#include "deploy/bench/plain.h"

#include <stdio.h>
#include <string.h>

#define NAME "transport"
#define GIGA 1e-9

enum { ITEM_COPY, ITEM_RAW, ITEM_ECHO, ITEMS };

#define CALL_BYTES ((size_t)64 << 20)   /* one way */
#define WINDOW_BYTES ((size_t)16 << 20) /* on their way at a time, as when a worker pushes sixteen blocks */
#define WINDOW_LEAST 4
#define REFERENCES_WINDOW 256
#define REFERENCES 4096 /* messages of a call where only references are handed over */

static const size_t sizes[] = {(size_t)64 << 10, (size_t)1 << 20, (size_t)4 << 20};

static void name_subject(char *subject, size_t room, const char *kind, size_t size)
{
    if (size < (size_t)1 << 20)
        (void)snprintf(subject, room, "%s %zu KiB", kind, size >> 10);
    else
        (void)snprintf(subject, room, "%s %zu MiB", kind, size >> 20);
}

static void print(struct dp_bench *bench, const char *subject, struct dp_row row)
{
    row.benchmark = NAME;
    row.subject = subject;
    dp_report_row(&bench->report, &row);
}

/* Where bytes are copied from process to process. */
static void report_bytes(struct dp_bench *bench, const char *subject, const struct dp_item items[ITEMS],
        const struct dp_load *load)
{
    double one_way = (double)load->messages * (double)load->size,
           seconds = dp_item_seconds(&items[ITEM_ECHO]);
    double raw = one_way / dp_item_seconds(&items[ITEM_RAW]) * GIGA;
    double copy = (double)load->size / dp_item_seconds(&items[ITEM_COPY]) * GIGA;
    print(bench, subject,
            (struct dp_row){.figure = "push + pull, both ways together",
                    .value = 2.0 * one_way / seconds * GIGA,
                    .unit = "GB/s",
                    .limit = raw,
                    .limit_of = "raw ZeroMQ, one way"});
    print(bench, subject,
            (struct dp_row){.figure = "push + pull, blocks there and back",
                    .value = one_way / seconds * GIGA,
                    .unit = "GB/s",
                    .limit = copy,
                    .limit_of = "memcpy"});
    print(bench, subject,
            (struct dp_row){.figure = "cost of push + pull",
                    .value = dp_item_cpu(&items[ITEM_ECHO]) / (2.0 * one_way * GIGA),
                    .unit = "CPU s/GB"});
}

/* Where only references are handed over, a rate of bytes would mean nothing. */
static void report_messages(struct dp_bench *bench, const char *subject, const struct dp_item items[ITEMS],
        const struct dp_load *load)
{
    double messages = (double)load->messages;
    print(bench, subject,
            (struct dp_row){.figure = "push + pull, messages both ways",
                    .value = 2.0 * messages / dp_item_seconds(&items[ITEM_ECHO]),
                    .unit = "/s",
                    .limit = messages / dp_item_seconds(&items[ITEM_RAW]),
                    .limit_of = "raw ZeroMQ, one way"});
}

static enum sl_status measure(struct dp_bench *bench, const char *kind, const char *endpoint,
        const char *raw_endpoint, size_t size, struct sl_error *err)
{
    struct dp_echo *echo = NULL;
    struct dp_raw *raw = NULL;
    struct dp_stream_limit copy = {0};
    char subject[32];
    bool inproc = strcmp(kind, "inproc") == 0;
    struct dp_load load = {
            .size = size, .messages = inproc ? REFERENCES : CALL_BYTES / size, .window = WINDOW_BYTES / size};
    load.window = inproc ? REFERENCES_WINDOW : load.window < WINDOW_LEAST ? WINDOW_LEAST : load.window;
    enum sl_status status = dp_echo_open(&echo, endpoint, &load, err);
    if (status == SL_OK)
        status = dp_raw_open(&raw, raw_endpoint, &load, err);
    if (status == SL_OK)
        status = dp_stream_limit_init(&copy, 2 * size, err);
    struct dp_item items[ITEMS] = {[ITEM_COPY] = {.work = dp_stream_copy_work, .context = &copy},
            [ITEM_RAW] = {.work = dp_raw_work, .context = raw},
            [ITEM_ECHO] = {.work = dp_echo_work, .context = echo}};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, ITEMS, err);
    if (status == SL_OK)
        name_subject(subject, sizeof(subject), kind, size);
    if (status == SL_OK && inproc)
        report_messages(bench, subject, items, &load);
    else if (status == SL_OK)
        report_bytes(bench, subject, items, &load);
    dp_stream_limit_fini(&copy);
    dp_raw_close(raw);
    dp_echo_close(echo);
    return status == SL_OK || status == SL_STOPPED ? status : sl_error_context(err, "%s", endpoint);
}

/* ---- the whole way ---- */

enum {
    WHOLE_COPY,
    WHOLE_TWO_COPIES,
    WHOLE_PLAIN,
    WHOLE_RAW,
    WHOLE_TCP,
    WHOLE_TCP_COPIES,
    WHOLE_SHARED,
    WHOLE_SHARED_COPIES,
    WHOLE_ITEMS
};

#define EXCHANGES_FROM WHOLE_TCP

#define STEP_BYTES ((size_t)64 << 20) /* of a worker, one way, at most: beyond caches */
#define STEP_BYTES_BRIEF ((size_t)8 << 20)
#define BRIEF_SECONDS 0.1 /* less than this is for trying whether it runs, not for figures */
#define STEP_BLOCKS 40    /* at most */

static double rate(const struct dp_item *item, double bytes)
{
    return bytes / dp_item_seconds(item) * GIGA;
}

static void report_whole(struct dp_bench *bench, const char *subject, const struct dp_item items[WHOLE_ITEMS],
        const struct dp_load *load, double bytes)
{
    double one_way = (double)load->messages * (double)load->size;
    double raw = rate(&items[WHOLE_RAW], one_way), plain = rate(&items[WHOLE_PLAIN], one_way),
           copy = rate(&items[WHOLE_COPY], one_way), two_copies = rate(&items[WHOLE_TWO_COPIES], one_way);
    double tcp = rate(&items[WHOLE_TCP], bytes), tcp_copies = rate(&items[WHOLE_TCP_COPIES], bytes),
           shared = rate(&items[WHOLE_SHARED], bytes), copies = rate(&items[WHOLE_SHARED_COPIES], bytes);
    const struct dp_row rows[] = {{.figure = "server over tcp, there and back",
                                          .value = tcp,
                                          .limit = raw,
                                          .limit_of = "raw ZeroMQ, one way"},
            {.figure = "server over tcp, there and back",
                    .value = tcp,
                    .limit = plain,
                    .limit_of = "plain sockets, one way"},
            {.figure = "tcp alone, there and back",
                    .value = tcp_copies,
                    .limit = raw,
                    .limit_of = "raw ZeroMQ, one way"},
            {.figure = "server by shared memory, there and back",
                    .value = shared,
                    .limit = copy,
                    .limit_of = "memcpy"},
            {.figure = "shared memory alone, there and back",
                    .value = copies,
                    .limit = copy,
                    .limit_of = "memcpy"},
            {.figure = "shared memory alone, there and back",
                    .value = copies,
                    .limit = two_copies / 2.0, /* each block is copied on either side */
                    .limit_of = "two cores copying each block twice"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dp_row row = rows[i];
        row.unit = "GB/s";
        print(bench, subject, row);
    }
    static const char *const costs[] = {"cost of tcp, by bytes one way", "cost of tcp alone",
            "cost of shared memory", "cost of shared memory alone"};
    for (int e = 0; e < WHOLE_ITEMS - EXCHANGES_FROM; e++)
        print(bench, subject,
                (struct dp_row){.figure = costs[e],
                        .value = dp_item_part(&items[EXCHANGES_FROM + e], DP_EXCHANGE_CPU) /
                                 (2.0 * bytes * GIGA),
                        .unit = "CPU s/GB",
                        .limit = dp_item_cpu(&items[WHOLE_RAW]) / (one_way * GIGA),
                        .limit_of = "raw ZeroMQ"});
}

static enum sl_status measure_whole(struct dp_bench *bench, size_t size, int workers, struct sl_error *err)
{
    struct dp_exchange *exchanges[WHOLE_ITEMS] = {NULL};
    struct dp_plain *plain = NULL;
    struct dp_raw *raw = NULL;
    struct dp_stream_limit copy = {0};
    struct dp_team_stream two = {.stream = &copy};
    size_t bytes = bench->measure.seconds < BRIEF_SECONDS ? STEP_BYTES_BRIEF : STEP_BYTES;
    size_t blocks = bytes / size < STEP_BLOCKS ? bytes / size : STEP_BLOCKS;
    struct dp_exchange_options options = {
            .endpoint = "tcp://127.0.0.1:0", .size = size, .blocks = (int)blocks, .workers = workers};
    struct dp_load load = {
            .size = size, .messages = bytes / size, .window = WINDOW_BYTES / size, .spread = true};
    enum sl_status status = SL_OK;
    for (int e = EXCHANGES_FROM; e < WHOLE_ITEMS && status == SL_OK; e++) {
        options.shared = e == WHOLE_SHARED || e == WHOLE_SHARED_COPIES;
        options.copies = e == WHOLE_TCP_COPIES || e == WHOLE_SHARED_COPIES;
        status = dp_exchange_open(&exchanges[e], bench->subject->config, &options, err);
    }
    if (status == SL_OK)
        status = dp_plain_open(&plain, &load, err);
    if (status == SL_OK)
        status = dp_raw_open(&raw, "tcp://127.0.0.1:*", &load, err);
    if (status == SL_OK)
        status = dp_stream_limit_init(&copy, 2 * bytes, err);
    if (status == SL_OK)
        status = sl_team_create(&two.team, 2, err);
    struct dp_item items[WHOLE_ITEMS] = {[WHOLE_COPY] = {.work = dp_stream_copy_work, .context = &copy},
            [WHOLE_TWO_COPIES] = {.work = dp_team_stream_copy_work, .context = &two},
            [WHOLE_PLAIN] = {.work = dp_plain_work, .context = plain},
            [WHOLE_RAW] = {.work = dp_raw_work, .context = raw}};
    for (int e = EXCHANGES_FROM; e < WHOLE_ITEMS; e++)
        items[e] = (struct dp_item){.work = dp_exchange_work, .context = exchanges[e]};
    if (status == SL_OK)
        status = dp_measure(&bench->measure, items, WHOLE_ITEMS, err);
    if (status == SL_OK) {
        char subject[32];
        name_subject(subject, sizeof(subject), workers == 1 ? "1x1" : "1x2", size);
        report_whole(bench, subject, items, &load, dp_exchange_bytes(exchanges[WHOLE_TCP]));
    }
    sl_team_destroy(two.team);
    dp_stream_limit_fini(&copy);
    dp_raw_close(raw);
    dp_plain_close(plain);
    for (int e = EXCHANGES_FROM; e < WHOLE_ITEMS; e++)
        dp_exchange_close(exchanges[e]);
    return status == SL_OK || status == SL_STOPPED
                   ? status
                   : sl_error_context(err, "push + pull of %d workers", workers);
}

/* One server with one worker, and with two. */
static enum sl_status measure_cluster(struct dp_bench *bench, struct sl_error *err)
{
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (int workers = 1; workers <= DP_EXCHANGE_WORKERS_MAX; workers++) {
            enum sl_status status = measure_whole(bench, sizes[s], workers, err);
            if (status != SL_OK)
                return status;
        }
    }
    return SL_OK;
}

enum sl_status dp_bench_transport(struct dp_bench *bench, struct sl_error *err)
{
    SL_AUTO_FREE char *ipc = sl_strdup_printf("ipc://%s/blocks", bench->subject->dir);
    SL_AUTO_FREE char *raw_ipc = sl_strdup_printf("ipc://%s/raw", bench->subject->dir);
    if (ipc == NULL || raw_ipc == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    const struct {
        const char *kind, *endpoint, *raw_endpoint;
    } kinds[] = {{"tcp", "tcp://127.0.0.1:0", "tcp://127.0.0.1:*"}, {"ipc", ipc, raw_ipc},
            {"inproc", "inproc://blocks", "inproc://raw"}};
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            enum sl_status status =
                    measure(bench, kinds[k].kind, kinds[k].endpoint, kinds[k].raw_endpoint, sizes[s], err);
            if (status != SL_OK)
                return status;
        }
    }
    return measure_cluster(bench, err);
}
