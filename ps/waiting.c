/* Who waits for parameters: see waiting.h. */
#include "ps/waiting.h"

#include "common/memory.h"

void ps_waiting_fini(struct ps_waiting *waiting)
{
    sl_free(waiting->pulls);
    *waiting = (struct ps_waiting){0};
}

static int find(const struct ps_waiting *waiting, struct sl_address from)
{
    for (int i = 0; i < waiting->count; i++)
        if (sl_address_equal(waiting->pulls[i].from, from))
            return i;
    return -1;
}

enum sl_status ps_waiting_put(struct ps_waiting *waiting, struct ps_waiting_pull pull, struct sl_error *err)
{
    int known = find(waiting, pull.from);
    if (known >= 0) {
        waiting->pulls[known] = pull;
        return SL_OK;
    }
    if (waiting->count == PS_WAITING_MAX)
        return sl_fail(err, SL_USAGE, "more than %d workers wait for parameters", PS_WAITING_MAX);
    if (waiting->count == waiting->capacity) {
        int capacity = waiting->capacity == 0 ? 16 : 2 * waiting->capacity;
        struct ps_waiting_pull *pulls = sl_realloc(waiting->pulls, (size_t)capacity, sizeof(*pulls));
        if (pulls == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %d waiting pulls", capacity);
        waiting->pulls = pulls;
        waiting->capacity = capacity;
    }
    waiting->pulls[waiting->count++] = pull;
    return SL_OK;
}

void ps_waiting_remove(struct ps_waiting *waiting, struct sl_address from)
{
    int known = find(waiting, from);
    if (known >= 0)
        waiting->pulls[known] = waiting->pulls[--waiting->count];
}

void ps_waiting_forget(struct ps_waiting *waiting, int64_t version)
{
    int kept = 0;
    for (int i = 0; i < waiting->count; i++)
        if (waiting->pulls[i].version > version)
            waiting->pulls[kept++] = waiting->pulls[i];
    waiting->count = kept;
}
