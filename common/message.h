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
#include "common/encoding.h"
#include "common/spent.h"
#include "common/stats.h"
#include "common/tree.h"

#include <stdint.h>

#define SL_PROTOCOL_VERSION 7
#define SL_MESSAGE_FRAMES_MAX 4
#define SL_MESSAGE_TEXT_MAX 512
#define SL_ENDPOINT_MAX 240 /* bytes with the 0 */
#define SL_SERVERS_MAX 1024
/* Of step and version: far beyond any run; sums of a few do not overflow. */
#define SL_STEP_MAX ((int64_t)1 << 53)

/* One list makes the enum, the names and the checks of the codec. X(kind, name, least frames, most frames).
 * RESET and ALIVE belong to links.h and never reach a core. */
#define SL_MESSAGE_KINDS(X)                                                                                      \
    X(RESET, "reset", 0, 0) /* any → any: I do not know you (any more); begin anew */                          \
    X(ALIVE, "alive", 0, 0) /* any → any: I am here; carries an acknowledgement */                             \
    X(HELLO, "hello", 0, 2) /* worker, server → coordinator: here I am, this is my config and my data */       \
    X(WELCOME, "welcome", 0, 1) /* coordinator → worker: your rank; the frame lists the servers. → server */ \
    X(REFUSE, "refuse", 0, 0) /* coordinator → worker, server: we do not fit, text says how */                 \
    X(LOAD, "load", 1, 3)     /* coordinator → server: parameters of a block, and moments */                   \
    X(LOADED, "loaded", 0, 0) /* server → coordinator: all my blocks stand at `version` */                     \
    X(ASSIGN, "assign", 0, 0) /* coordinator → worker: compute slots [begin, end) of this step */              \
    X(PULL, "pull", 0, 0) /* worker → server: send me `version` or newer when you have it; I hold `held` */    \
    X(PARAMS, "params", 1, 1) /* server → worker: one block, at `version`, or what changed since `held` */     \
    X(PUSH, "push", 1, 2)     /* worker → server: sums of one node for one block; frames by tag */             \
    X(ACK, "ack", 0, 0)       /* server → worker: that push is accounted for */                                \
    X(STATS, "stats", 0, 0)   /* worker → coordinator: losses and scores of one node: scored, or pushed */     \
    X(VALIDATED, "validated", 1, 1) /* worker → coordinator: what validation counted in [begin, end) */        \
    X(REDUCED, "reduced", 1, 1)     /* server → coordinator: sums of the step by block */                      \
    X(COMMIT, "commit", 0, 0)       /* coordinator → server: apply the step to `version` */                    \
    X(APPLIED, "applied", 1, 1)     /* server → coordinator: `version` stands; its changes by block */         \
    X(SAVE, "save", 0, 0)           /* coordinator → server: send me your blocks as they are now */            \
    X(SAVED, "saved", 1, 3)         /* server → coordinator: parameters of a block, and moments */             \
    X(REPORT, "report", 0, 0)       /* worker, server → coordinator: how I am doing */                         \
    X(STOP, "stop", 0, 0)           /* coordinator → worker, server: training is over, text says why */        \
    X(BYE, "bye", 0, 0)             /* worker, server → coordinator: I am leaving, text says why */

enum sl_message_kind {
    SL_MESSAGE_NONE = 0,
#define X(kind, name, least, most) SL_MESSAGE_##kind,
    SL_MESSAGE_KINDS(X)
#undef X
            SL_MESSAGE_KIND_COUNT
};

/* SKIP: slots whose samples nobody can read, by leave of the config: zeros are pushed. AUDIT: slots that another worker has computed; only the hash
 * of their sums is sent. SCORE: the forward pass alone, of which the statistics are sent; exchange early needs them before anybody can TRAIN. */
enum sl_phase {
    SL_PHASE_TRAIN,
    SL_PHASE_VALIDATE,
    SL_PHASE_SKIP,
    SL_PHASE_AUDIT,
    SL_PHASE_SCORE,
    SL_PHASE_COUNT
};
enum sl_role { SL_ROLE_WORKER, SL_ROLE_SERVER, SL_ROLE_COORDINATOR };

struct sl_hello {
    enum sl_role role; /* worker or server */
    uint64_t config_hash, layout_hash;
    uint64_t train_count, validation_count; /* samples */
    uint64_t train_fingerprint, validation_fingerprint;
    uint32_t threads, pid;
    char host[SL_NAME_MAX];
    uint32_t rank, servers;         /* of a server; how many servers the sender was started for, 0 = any */
    char endpoint[SL_ENDPOINT_MAX]; /* where workers reach this server, "" = through the coordinator */
};

/* One server of WELCOME's frame, which is an array of these by rank. */
struct sl_server_entry {
    uint64_t incarnation;
    char endpoint[SL_ENDPOINT_MAX]; /* "" for the coordinator's own */
};

struct sl_commit {
    double inverse_weight; /* 1 / sum of class weights of the step's samples */
    double clip;           /* factor from the global norm */
    double rate;           /* learning rate */
    /* of each extractor: factors of its two branches' gradients and of its step (ps/balance.h); 1 = as it is */
    double coefficient[SL_MODALITIES_MAX]; /* of the unimodal branch */
    double fused[SL_MODALITIES_MAX];
    double update[SL_MODALITIES_MAX];
};

struct sl_report {
    uint64_t memory;         /* bytes resident */
    uint64_t sent, received; /* bytes, since its start */
    uint64_t queued;         /* messages that wait to be sent or acknowledged */
    uint64_t busy_us;        /* since its start: computing (worker), updating (server) */
    uint64_t dropped;        /* messages that did not count */
};

/* What a server found in one block of the reduced, not yet divided step gradient: the payload of REDUCED is an array of these, for the server's own
 * blocks in their order. */
struct sl_block_sums {
    double norm2;             /* ‖uni + fused‖² */
    double dot;               /* uni · fused */
    double unimodal2, fused2; /* ‖uni‖², ‖fused‖² */
};

/* What an update did to one block: the payload of APPLIED is an array of these, for the server's own blocks in their order. */
struct sl_block_change {
    double update2; /* ‖what was taken away from w‖² */
    double params2; /* ‖w after‖² */
};

struct sl_message {
    enum sl_message_kind kind;
    uint64_t cluster;     /* mark of the run since its last rollback, 0 until WELCOME */
    uint64_t incarnation; /* of the sender */
    uint64_t peer;        /* of the receiver, 0 = not known yet: links.h */
    uint64_t sequence;    /* between the two, 0 = outside the order: links.h */
    uint64_t ack;         /* links.h */
    int64_t step;         /* of training: which samples; 0 … SL_STEP_MAX on the wire */
    int64_t version;      /* of parameters: updates applied; 0 … SL_STEP_MAX on the wire */
    int64_t held; /* PULL: the sender holds this version of the receiver's blocks, or newer ones; -1 = none of some. PARAMS that are CHANGED: what they are relative to; else -1 */
    enum sl_phase phase;
    uint32_t slots; /* that have samples in this step */
    struct sl_node node;
    uint32_t begin, end; /* slots, or units of validation */
    uint32_t block;
    uint32_t rank;       /* WELCOME */
    uint64_t count;      /* LOAD: slots of an epoch. WELCOME: servers */
    uint64_t compute_us; /* STATS, VALIDATED */
    uint64_t hash;       /* STATS of an audited run: of the node's sums */
    double coefficient
            [SL_MODALITIES_MAX]; /* ASSIGN of exchange early: of this step, the same for all its slots */
    char text[SL_MESSAGE_TEXT_MAX];
    struct sl_hello hello;
    struct sl_step_stats stats;
    struct sl_spent spent; /* STATS: since the sender's last ones, and in computing this node */
    struct sl_commit commit;
    struct sl_report report;
    struct sl_frame frames[SL_MESSAGE_FRAMES_MAX];
    enum sl_encoding
            encoding[SL_MESSAGE_FRAMES_MAX]; /* PUSH: of each frame. PARAMS: DENSE or CHANGED. Else DENSE */
    int frame_count;
    uint64_t proof;  /* share.h: for the transport alone */
    uint32_t shared; /* share.h: bit i: frame i is a reference, on the wire */
};

/* sl_message_create gives a zeroed message of that kind, or NULL. Owns: destroy it. */
struct sl_message *sl_message_create(enum sl_message_kind kind);
void sl_message_destroy(struct sl_message *message); /* releases its frames; NULL is fine */
void sl_message_destroy_auto(struct sl_message **message);
/* sl_message_clone gives a copy that shares the frames' buffers, or NULL. */
struct sl_message *sl_message_clone(const struct sl_message *message);
/* sl_message_size is what it weighs on the wire, roughly: bytes of its frames and a header. */
size_t sl_message_size(const struct sl_message *message);
/* sl_message_add_frame adds a view and retains its buffer. At most SL_MESSAGE_FRAMES_MAX (asserted). */
void sl_message_add_frame(
        struct sl_message *message, struct sl_buffer *buffer, const void *data, size_t size);
/* sl_message_name gives "push" and so on; "unknown" for a number that is none. */
const char *sl_message_name(enum sl_message_kind kind);
