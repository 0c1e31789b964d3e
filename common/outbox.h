#pragma once
/* What a core wants sent: messages with their receivers, in order. Cores fill it, loops (or the simulator) empty it. */
#include "common/message.h"

#include <stdbool.h>

/* Whom a message goes to or comes from: workers and servers by their incarnation, the coordinator by 0 (there is one, whatever process it lives in). */
struct sl_address {
    enum sl_role role;
    uint64_t id;
};

#define SL_COORDINATOR ((struct sl_address){SL_ROLE_COORDINATOR, 0})

static inline bool sl_address_equal(struct sl_address a, struct sl_address b)
{
    return a.role == b.role && a.id == b.id;
}

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
