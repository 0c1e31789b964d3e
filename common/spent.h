#pragma once
/* Where a worker's time goes, by kind: what STATS carry to the coordinator, which sums it over workers for each step (ps/profile.h prints it). Always measured: a few looks at
 * the clock for each slot. Times are microseconds on the wire. */
#include <stdint.h>

/* X(kind, name, what it is). The first four are of compute threads, summed over them; the others are the worker's own, by the clock. */
#define SL_SPENT_KINDS(X)                                                                                    \
    X(DATA, "data", "waiting for data: reading samples, making batches")                                     \
    X(FORWARD, "forward", "forward passes")                                                                  \
    X(BACKWARD, "backward", "backward passes, of all branches")                                              \
    X(JOIN, "join", "adding slots of a node")                                                                \
    X(COMPUTE, "compute", "from a run's begin to its last slot")                                             \
    X(PUSH, "push", "after the last slot, until servers have all gradients")                                 \
    X(PULL, "pull", "waiting for parameters: forward passes begin with the first ones")                      \
    X(WAIT, "wait", "without work: waiting for others")

enum sl_spent_kind {
#define X(kind, name, what) SL_SPENT_##kind,
    SL_SPENT_KINDS(X)
#undef X
            SL_SPENT_COUNT
};
#define SL_SPENT_THREADS (SL_SPENT_JOIN + 1) /* kinds of compute threads */

struct sl_spent {
    uint64_t us[SL_SPENT_COUNT];
};

static inline void sl_spent_add(struct sl_spent *sum, const struct sl_spent *x)
{
    for (int i = 0; i < SL_SPENT_COUNT; i++)
        sum->us[i] += x->us[i];
}
