#pragma once
/* What a server decides about its blocks: when a pushed node counts, when a step is reduced, when to apply it, whom to send parameters, what goes into a snapshot.
 * Pure: messages in, messages out; the arithmetic is in table.h and reduction.h. Messages come and go through links.h: in order, once.
 *
 *     START ─▶ HELLO to the coordinator ─▶ WELCOME ─▶ LOAD of every own block ─▶ LOADED
 *     PUSH ─▶ joined in the step's reduction tree, acknowledged; a block that is whole is measured while it is in cache
 *             all own blocks that are trained whole ─▶ REDUCED to the coordinator; who has none of those says nothing
 *     COMMIT ─▶ own blocks updated piece by piece, those that are needed first before the others; each answers the waiting PULLs
 *             every own block updated ─▶ APPLIED to the coordinator
 *     PULL ─▶ answered when that version or a newer one stands, once
 *     SAVE ─▶ SAVED for every own block, as it stands, without a copy
 *
 * Steps and versions: a step names samples, a version counts updates. In bsp step t makes version t + 1. In ssp and asp up to `open_max` steps are open at a time, and
 * are committed in any order.
 */
#include "common/config.h"
#include "common/layout.h"
#include "common/outbox.h"
#include "common/team.h"
#include "ps/incoming.h"
#include "ps/table.h"

struct ps_server;

/* ps_server_open_max is how many steps the config lets be open at a time: 1 in bsp, staleness + 1 in ssp, PS_OPEN_MAX at most. */
int ps_server_open_max(const struct sl_config *config);

enum ps_server_event_kind {
    PS_SERVER_START,   /* says hello */
    PS_SERVER_TICK,    /* deadline of joining; a report now and then */
    PS_SERVER_WORK,    /* goes on with what the last updates said there is `more` of */
    PS_SERVER_MESSAGE, /* frames may be taken (frame_count becomes 0) */
    PS_SERVER_GONE,    /* the link to `from` has ended, text says why */
    PS_SERVER_LEAVE,   /* say goodbye, finish with STOPPED; text says why */
};

struct ps_server_event {
    enum ps_server_event_kind kind;
    int64_t now_us;
    struct sl_address from;
    struct sl_message *message;
    struct sl_report report; /* TICK */
    const char *text;        /* GONE, LEAVE: why */
};

struct ps_server_updates {
    struct sl_outbox outbox;
    bool finished; /* leave with status and text; AGAIN: make a new core with a new incarnation and join again */
    enum sl_status status;
    char text[SL_MESSAGE_TEXT_MAX];
    bool more;       /* a commit is under way: send what there is, take what has come, then WORK */
    int64_t wake_us; /* when TICK is due */
};

/* Borrowed: config, layout and table outlive the server. table owns the blocks that placement.h gives to hello.rank of hello.servers. */
struct ps_server_options {
    const struct sl_config *config;
    const struct sl_layout *layout;
    struct ps_table *table;
    struct sl_hello hello; /* with role, hashes, rank, servers, endpoint, host and pid */
    uint64_t incarnation;
    int64_t join_us, report_us; /* as wk_core_options */
    size_t piece_floats;        /* that a thread updates between two events; 0 = some blocks */
};

/* Owns: *ret_server. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_server_create(
        struct ps_server **ret_server, const struct ps_server_options *options, struct sl_error *err);
void ps_server_destroy(struct ps_server *server);
/* ps_server_use_team lets a team add, measure and update from now on; NULL = the caller alone, as at first. Any team gives the same bits. Borrows team. */
void ps_server_use_team(struct ps_server *server, struct sl_team *team);

/* ps_server_step advances by one event. updates is cleared first. Kinds of messages that are not for servers are ignored. Errors: NO_MEMORY. */
SL_MUST_USE enum sl_status ps_server_step(struct ps_server *server, const struct ps_server_event *event,
        struct ps_server_updates *updates, struct sl_error *err);

int64_t ps_server_version(
        const struct ps_server *server); /* updates applied to all its blocks, -1 before LOADED */
uint64_t ps_server_dropped(
        const struct ps_server *server); /* messages that did not count: duplicates, late or senseless ones */
