#pragma once
/* What a core wants sent: messages with their receivers, in order. Cores fill it, loops (or the simulator) empty it. */
#include "common/message.h"

/* Whom a message goes to or comes from: a worker by the incarnation of its process, a server by its rank, the coordinator by rank 0 too. */
struct sl_address {
    enum sl_role role;
    uint64_t id;
};

struct sl_outgoing {
    struct sl_address to;
    struct sl_message *message;
};

struct sl_outbox {
    struct sl_outgoing *items;
    int count, capacity;
};

/* sl_outbox_add takes the message (also when it fails: then it is destroyed). message may be NULL, from a failed create: NO_MEMORY. */
SL_MUST_USE enum sl_status sl_outbox_add(
        struct sl_outbox *outbox, struct sl_address to, struct sl_message *message, struct sl_error *err);
void sl_outbox_clear(struct sl_outbox *outbox); /* destroys the messages, keeps the memory */
void sl_outbox_fini(struct sl_outbox *outbox);
