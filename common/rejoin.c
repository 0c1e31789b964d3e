/* Trying again: see rejoin.h. */
#include "common/rejoin.h"

void sl_rejoin_begin(struct sl_rejoin *rejoin, int64_t join_us, int64_t now_us)
{
    *rejoin = (struct sl_rejoin){.join_us = join_us, .begun_us = now_us, .deadline_us = now_us + join_us};
}

int64_t sl_rejoin_lost(struct sl_rejoin *rejoin, bool welcomed, int64_t now_us)
{
    if (welcomed)
        rejoin->deadline_us = now_us + rejoin->join_us;
    if (welcomed && now_us - rejoin->begun_us >= SL_REJOIN_STEADY_US)
        rejoin->pause_us = 0;
    else if (rejoin->pause_us == 0)
        rejoin->pause_us = SL_REJOIN_PAUSE_MIN_US;
    else if ((rejoin->pause_us *= 2) > SL_REJOIN_PAUSE_MAX_US)
        rejoin->pause_us = SL_REJOIN_PAUSE_MAX_US;
    return now_us + rejoin->pause_us;
}

void sl_rejoin_again(struct sl_rejoin *rejoin, int64_t now_us)
{
    rejoin->begun_us = now_us;
}

int64_t sl_rejoin_left_us(const struct sl_rejoin *rejoin, int64_t now_us)
{
    return now_us < rejoin->deadline_us ? rejoin->deadline_us - now_us : 0;
}
