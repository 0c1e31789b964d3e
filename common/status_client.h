#pragma once
/* Listening to a run: subscribes to the coordinator's status socket, checks and unpacks what comes (proto/status.proto), and knows whether the run lives.
 *
 *     s = sl_status_place_read(&place, "runs/first", err);
 *     s = sl_status_client_open(&client, &place, NULL, SL_STATUS_ALL, err);
 *     while ((s = sl_status_client_next(client, 1000, &news, err)) == SL_OK || s == SL_TIMEOUT) {
 *         if (s == SL_OK && news.kind == SL_NEWS_STATUS) show(news.status);
 *         if (sl_status_client_life(client, text, sizeof(text)) >= SL_LIFE_FINISHED) break;
 *         …
 *     }
 *     sl_status_client_close(client);
 *
 * A whole Status comes first and every second. When the run's coordinator is started again the client finds it by itself, through the folder.
 * Nothing that comes over the wire can make it fail: what does not fit the schema or is too large is dropped and counted; ZeroMQ hangs up on what is too large, so the client connects
 * again, and says why nothing is heard.
 * Thread: one owner. The run never notices a client that is slow, or gone.
 */
#include "common/error.h"
#include "common/status_place.h"
#include "proto/status.pb-c.h"

#include <stdint.h>

#define SL_STATUS_MESSAGE_MAX (4 << 20) /* bytes of one message */

struct sl_status_client;

/* What to subscribe to; Status always comes. */
enum {
    SL_STATUS_ONLY = 0,
    SL_STATUS_STEPS = 1,
    SL_STATUS_VALIDATIONS = 2,
    SL_STATUS_EVENTS = 4,
    SL_STATUS_ALL = 7
};

enum sl_news_kind { SL_NEWS_STATUS, SL_NEWS_STEP, SL_NEWS_VALIDATION, SL_NEWS_EVENT };

/* One message. Owned by the client until its next call of sl_status_client_next. Lists have the length that was sent, texts any characters, every field may be absent: check n_x,
 * has_x, NULL. */
struct sl_status_news {
    enum sl_news_kind kind;
    union {
        const Shelflife__Status__Status *status;
        const Shelflife__Status__Step *step;
        const Shelflife__Status__Validation *validation;
        const Shelflife__Status__Event *event;
        const ProtobufCMessage *message; /* any of them */
    };
};

/* In order of hope. */
enum sl_run_life {
    SL_LIFE_CONNECTING, /* nothing heard yet */
    SL_LIFE_LIVE,
    SL_LIFE_QUIET,    /* no news for more than SL_STATUS_QUIET_MS */
    SL_LIFE_FINISHED, /* it said that it is over, or its file says so */
    SL_LIFE_GONE,     /* its process is no more, or nothing was heard for SL_STATUS_GONE_MS */
};

#define SL_STATUS_QUIET_MS 4000
#define SL_STATUS_GONE_MS 20000

/* sl_status_client_open begins to listen; it returns at once. keys: a folder with client.key and server.pub, NULL = not encrypted. Owns: *ret_client.
 * Errors: KEYS when place has a public key and keys is NULL, or the keys cannot be read, or are another server's; USAGE when the place has no endpoint
 * (the run publishes nothing) ; FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_status_client_open(struct sl_status_client **ret_client,
        const struct sl_status_place *place, const char *keys, unsigned topics, struct sl_error *err);
void sl_status_client_close(struct sl_status_client *client); /* NULL is fine */

/* sl_status_client_next waits at most timeout_ms (0 = not at all) for the next message. Errors: TIMEOUT; KEYS when the run will never let us in;
 * NO_MEMORY; FAILED. After KEYS and FAILED another try makes no sense. A signal may end the wait early with TIMEOUT. */
SL_MUST_USE enum sl_status sl_status_client_next(struct sl_status_client *client, int64_t timeout_ms,
        struct sl_status_news *ret_news, struct sl_error *err);

/* sl_status_client_fd is a descriptor that becomes readable when there may be something: call next with timeout 0 until TIMEOUT, then poll again. (It is ZeroMQ's, which
 * tells only once: poll with a time limit of a second or so anyway, for sl_status_client_life, and ask for
 * the descriptor each time: it is another one after the run was started again.) -1 when there is none. */
int sl_status_client_fd(const struct sl_status_client *client);

/* sl_status_client_life judges, and writes a sentence for people: "training", "no news for 12 s", "finished: all steps done", "this run is gone: its process 4711 on a
 * ended without a word (last heard 2026-11-23T08:31:02Z)". Looks at the run's file and process at most once a second, when it is quiet. */
enum sl_run_life sl_status_client_life(struct sl_status_client *client, char *text, size_t size);

/* sl_status_client_heard is when the last message came, Unix seconds; before the first, the sign of life of the run's file, or 0. */
double sl_status_client_heard(const struct sl_status_client *client);
/* sl_status_client_place borrows where it listens now: another endpoint after the run was started again. */
const struct sl_status_place *sl_status_client_place(const struct sl_status_client *client);
/* sl_status_client_dropped counts messages that made no sense. */
uint64_t sl_status_client_dropped(const struct sl_status_client *client);
