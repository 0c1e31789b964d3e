/* Updating piece by piece: see committing.h. */
#include "ps/committing.h"

#include <stdatomic.h>

static void update_block(void *context, int part, int member)
{
    (void)member;
    struct ps_committing *c = context;
    int block = c->blocks[c->next + part];
    bool trained = !c->layout->blocks[block].frozen; /* else nothing was pushed for it */
    const float *grads[SL_TAGS] = {NULL};
    struct sl_error error = {0};
    if (trained)
        ps_reduction_peek(c->reduction, block, grads);
    enum sl_status status = ps_table_apply(c->table, block, c->version, &c->commit, grads, &error);
    if (status == SL_OK) {
        c->changes[c->place[block]] = ps_table_change(c->table, block);
        if (trained)
            ps_reduction_drop(c->reduction, block);
    } else if (atomic_exchange(&c->failed, 1) == 0) {
        c->status = status;
        c->error = error;
    }
}

enum sl_status ps_committing_advance(
        struct ps_committing *c, struct sl_team *team, size_t floats, int *ret_first, struct sl_error *err)
{
    size_t wanted = floats * (size_t)sl_team_threads(team), got = 0;
    int parts = 0;
    while (c->next + parts < c->count && (parts == 0 || got < wanted))
        got += c->layout->blocks[c->blocks[c->next + parts++]].count;
    c->failed = 0;
    sl_team_run(team, parts, update_block, c);
    if (c->failed)
        return sl_fail(err, c->status, "%s", c->error.text);
    *ret_first = c->next;
    c->next += parts;
    return SL_OK;
}
