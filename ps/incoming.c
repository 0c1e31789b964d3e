/* Open and applied steps of a server: see incoming.h. */
#include "ps/incoming.h"

#include <assert.h>
#include <string.h>

void ps_incoming_fini(struct ps_incoming *in)
{
    for (int i = 0; i < PS_OPEN_MAX; i++) {
        ps_reduction_destroy(in->steps[i].reduction);
        sl_buffer_release(in->steps[i].sums);
    }
    memset(in->steps, 0, sizeof(in->steps));
}

void ps_incoming_use_team(struct ps_incoming *in, struct sl_team *team)
{
    in->team = team;
    for (int i = 0; i < PS_OPEN_MAX; i++)
        if (in->steps[i].reduction != NULL)
            ps_reduction_use_team(in->steps[i].reduction, team);
}

void ps_incoming_begin(struct ps_incoming *in, int64_t step)
{
    in->low = step;
    memset(in->applied, 0, sizeof(in->applied));
}

bool ps_incoming_is_applied(const struct ps_incoming *in, int64_t step)
{
    uint64_t at = (uint64_t)step % PS_WINDOW_MAX;
    return step < in->low || (in->applied[at / 64] >> at % 64 & 1) != 0;
}

void ps_incoming_note_applied(struct ps_incoming *in, int64_t step)
{
    uint64_t at = (uint64_t)step % PS_WINDOW_MAX;
    in->applied[at / 64] |= (uint64_t)1 << at % 64;
    for (; ps_incoming_is_applied(in, in->low); in->low++) {
        at = (uint64_t)in->low % PS_WINDOW_MAX;
        in->applied[at / 64] &= ~((uint64_t)1 << at % 64);
    }
}

struct ps_incoming_step *ps_incoming_find(struct ps_incoming *in, int64_t step)
{
    for (int i = 0; i < in->open_max; i++)
        if (in->steps[i].open && in->steps[i].step == step)
            return &in->steps[i];
    return NULL;
}

enum sl_status ps_incoming_open(struct ps_incoming *in, int64_t step, uint32_t slots,
        struct ps_incoming_step **ret_step, struct sl_error *err)
{
    struct ps_incoming_step *r = NULL;
    for (int i = 0; i < in->open_max && r == NULL; i++)
        r = in->steps[i].open ? NULL : &in->steps[i];
    assert(r != NULL);
    enum sl_status status = SL_OK;
    if (r->reduction == NULL)
        status = ps_reduction_create(&r->reduction, in->layout, in->max_slots, err);
    if (status != SL_OK)
        return status;
    ps_reduction_use_team(r->reduction, in->team);
    /* a new buffer for every step: the last one may still be on its way to the coordinator */
    struct sl_buffer *sums = sl_buffer_create((size_t)in->block_count * sizeof(struct sl_block_sums));
    if (sums == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the sums of a step");
    sl_buffer_release(r->sums);
    r->sums = sums;
    r->open = true;
    r->step = step;
    r->slots = slots;
    r->blocks_whole = 0;
    r->problem[0] = 0;
    ps_reduction_reset(r->reduction, slots);
    *ret_step = r;
    return SL_OK;
}
