#pragma once
/* From what ps/status.h is told to packed messages of proto/status.proto. For status.c. Pure: no clock, no socket.
 *
 *     size = ps_pack(&step_message.base, &bytes);
 *
 * Messages are filled in place and borrow what they are filled from: pack them before it changes.
 */
#include "ps/status.h"

#include "proto/status.pb-c.h"

/* Where the monotonic clock's times lie in the world. */
struct ps_clock_pair {
    int64_t monotonic_us, wall_us; /* of the same moment */
};

/* ps_clock_unix gives Unix seconds of a monotonic time, 0 for 0. */
double ps_clock_unix(const struct ps_clock_pair *clock, int64_t monotonic_us);

/* ps_pack packs into fresh memory. Owns: *ret_bytes, sl_free it. Returns 0 when memory is out. */
size_t ps_pack(void **ret_bytes, const ProtobufCMessage *message);

/* A Step and what it borrows from. */
struct ps_status_step_message {
    Shelflife__Status__Step message;
    struct ps_step_record record;
};

void ps_fill_step(struct ps_status_step_message *to, const struct sl_config *config,
        const struct ps_step_record *record, int64_t flips, double time);

/* A Validation and its parts. */
struct ps_status_validation_message {
    Shelflife__Status__Validation message;
    Shelflife__Status__Branch branches[SL_BRANCHES_MAX], *pointers[SL_BRANCHES_MAX];
    int64_t *confusion; /* (branches, labels, labels), owned; NULL = none yet */
};

/* ps_fill_validation: false when memory is out; then it is empty. ps_free_validation frees the confusion. */
bool ps_fill_validation(struct ps_status_validation_message *to, const struct sl_evaluation *evaluation);
void ps_free_validation(struct ps_status_validation_message *validation);

/* Workers and servers of a view as messages: one allocation that holds all of them, or NULL. The lists stay empty then. */
void *ps_fill_members(
        Shelflife__Status__Status *to, const struct ps_status_view *view, const struct ps_clock_pair *clock);

const char *ps_status_state_name(enum ps_status_state state);
