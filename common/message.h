#pragma once
/* One message of the cluster as the cores see it: plain fields, and frames of tensor bytes. codec.h turns it into a protobuf-c header and
 * back; transport.h carries it. docs/protocol.md has the order of messages.
 *
 *     struct sl_message *m = sl_message_create(SL_MESSAGE_PUSH);
 *     m->step = step; m->node = node; m->block = block;
 *     sl_message_add_frame(m, buffer, floats, size);
 */
#include "common/buffer.h"
#include "common/config.h"
#include "common/stats.h"
#include "common/tree.h"

#include <stdint.h>

#define SL_PROTOCOL_VERSION 1
#define SL_MESSAGE_FRAMES_MAX 4
#define SL_MESSAGE_TEXT_MAX 512

/* One list makes the enum, the names and the checks of the codec. X(kind, name, least frames, most frames) */
#define SL_MESSAGE_KINDS(X)                                                                                     \
    X(HELLO, "hello", 0, 0)     /* worker → coordinator: here I am, this is my config and my data */          \
    X(WELCOME, "welcome", 0, 0) /* coordinator → worker: your rank */                                         \
    X(REFUSE, "refuse", 0, 0)   /* coordinator → worker: we do not fit, text says how */                      \
    X(ASSIGN, "assign", 0, 0)   /* coordinator → worker: compute slots [begin, end) of this step */           \
    X(PULL, "pull", 0, 0)       /* worker → server: send me version `step` when you have it */                \
    X(PARAMS, "params", 1, 1)   /* server → worker: one block of that version */                              \
    X(PUSH, "push", 1,                                                                                          \
            2) /* worker → server: the sums of one node for one block; frames: by tag, those the block has */ \
    X(ACK, "ack", 0, 0) /* server → worker: that push is accounted for */                                     \
    X(STATS, "stats", 0,                                                                                        \
            0) /* worker → coordinator: losses and scores of one node, all its pushes are acknowledged */     \
    X(VALIDATED, "validated", 1,                                                                                \
            1) /* worker → coordinator: what validation counted in units [begin, end) */                      \
    X(REDUCED, "reduced", 1,                                                                                    \
            1) /* server → coordinator: norms and dot products of the reduced step, by block */               \
    X(COMMIT, "commit", 0, 0)       /* coordinator → server: apply the step with these coefficients */        \
    X(APPLIED, "applied", 0, 0)     /* server → coordinator: version `step` stands */                         \
    X(HEARTBEAT, "heartbeat", 0, 0) /* both ways */                                                             \
    X(STOP, "stop", 0, 0)           /* coordinator → worker: training is over, text says why */               \
    X(BYE, "bye", 0, 0)             /* worker → coordinator: I am leaving, text says why */

enum sl_message_kind {
    SL_MESSAGE_NONE = 0,
#define X(kind, name, least, most) SL_MESSAGE_##kind,
    SL_MESSAGE_KINDS(X)
#undef X
            SL_MESSAGE_KIND_COUNT
};

enum sl_phase { SL_PHASE_TRAIN, SL_PHASE_VALIDATE };
enum sl_role { SL_ROLE_WORKER, SL_ROLE_SERVER };

struct sl_hello {
    enum sl_role role;
    uint64_t config_hash, layout_hash;
    uint64_t train_count, validation_count; /* samples */
    uint64_t train_fingerprint, validation_fingerprint;
    uint32_t threads, pid;
    char host[SL_NAME_MAX];
};

struct sl_commit {
    double inverse_weight; /* 1 / sum of class weights of the step's samples */
    double clip;           /* factor from the global norm */
    double rate;           /* learning rate */
    double coefficient[SL_MODALITIES_MAX];
};

/* What a server found in one block of the reduced, not yet divided step gradient: the payload of REDUCED is an array of these. */
struct sl_block_sums {
    double norm2;             /* ‖uni + fused‖² */
    double dot;               /* uni · fused */
    double unimodal2, fused2; /* ‖uni‖², ‖fused‖² */
};

struct sl_message {
    enum sl_message_kind kind;
    uint64_t cluster;     /* 0 until WELCOME */
    uint64_t incarnation; /* of the sender */
    uint64_t sequence;
    int64_t step; /* of training; for parameters the version: steps applied */
    enum sl_phase phase;
    uint32_t slots; /* that have samples in this step */
    struct sl_node node;
    uint32_t begin, end; /* slots, or units of validation */
    uint32_t block;
    uint32_t rank, servers; /* WELCOME */
    uint64_t compute_us;    /* STATS, VALIDATED */
    char text[SL_MESSAGE_TEXT_MAX];
    struct sl_hello hello;
    struct sl_step_stats stats;
    struct sl_commit commit;
    struct sl_frame frames[SL_MESSAGE_FRAMES_MAX];
    int frame_count;
};

/* sl_message_create gives a zeroed message of that kind, or NULL. Owns: destroy it. */
struct sl_message *sl_message_create(enum sl_message_kind kind);
void sl_message_destroy(struct sl_message *message); /* releases its frames; NULL is fine */
void sl_message_destroy_auto(struct sl_message **message);
/* sl_message_add_frame adds a view and retains its buffer. At most SL_MESSAGE_FRAMES_MAX (asserted). */
void sl_message_add_frame(
        struct sl_message *message, struct sl_buffer *buffer, const void *data, size_t size);
/* sl_message_name gives "push" and so on; "unknown" for a number that is none. */
const char *sl_message_name(enum sl_message_kind kind);
