/* Peers that send what makes no sense: see offenders.h. */
#include "ps/offenders.h"

#include <stddef.h>

static struct ps_offender *find(const struct ps_offenders *offenders, uint64_t peer)
{
    for (int i = 0; i < offenders->count; i++)
        if (offenders->items[i].peer == peer)
            return (struct ps_offender *)&offenders->items[i];
    return NULL;
}

static struct ps_offender *make_place(struct ps_offenders *offenders)
{
    struct ps_offender *least = &offenders->items[0];
    if (offenders->count < PS_OFFENDERS_MAX)
        return &offenders->items[offenders->count++];
    for (int i = 1; i < offenders->count; i++)
        if (offenders->items[i].count < least->count)
            least = &offenders->items[i];
    return least;
}

bool ps_offenders_note(struct ps_offenders *offenders, uint64_t peer)
{
    offenders->total++;
    if (peer == 0)
        return false;
    struct ps_offender *offender = find(offenders, peer);
    if (offender == NULL) {
        offender = make_place(offenders);
        *offender = (struct ps_offender){.peer = peer};
    }
    if (offender->count < PS_OFFENCES_MAX)
        return ++offender->count == PS_OFFENCES_MAX;
    return false;
}

bool ps_offenders_ignored(const struct ps_offenders *offenders, uint64_t peer)
{
    const struct ps_offender *offender = find(offenders, peer);
    return offender != NULL && offender->count >= PS_OFFENCES_MAX;
}
