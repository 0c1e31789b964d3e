/* Versions of blocks in a worker's memory: see holding.h. */
#include "worker/holding.h"

#include "common/memory.h"
#include "common/mutant.h"

#include <string.h>

enum sl_status wk_holding_init(
        struct wk_holding *h, const struct sl_layout *layout, float *params, struct sl_error *err)
{
    size_t blocks = (size_t)layout->block_count;
    *h = (struct wk_holding){.layout = layout,
            .params = params,
            .held = sl_alloc(blocks, sizeof(*h->held)),
            .here = sl_alloc(blocks, 1),
            .wanted = -1,
            .version = -1};
    if (h->held == NULL || h->here == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the versions of %zu blocks", blocks);
    for (size_t b = 0; b < blocks; b++)
        h->held[b] = -1;
    return SL_OK;
}

void wk_holding_fini(struct wk_holding *h)
{
    sl_free(h->held);
    sl_free(h->here);
    h->held = NULL;
    h->here = NULL;
}

void wk_holding_begin(struct wk_holding *h, int64_t version)
{
    h->wanted = version;
    h->missing = h->layout->block_count;
    memset(h->here, 0, (size_t)h->missing);
}

void wk_holding_overwrite(struct wk_holding *h)
{
    h->version = -1;
    if (!sl_mutant("worker: activations outlive their parameters"))
        h->pulls++;
}

void wk_holding_stop(struct wk_holding *h)
{
    h->wanted = -1;
}

int64_t wk_holding_held(const struct wk_holding *h, const int *owners, int rank)
{
    int64_t oldest = INT64_MAX;
    for (int b = 0; b < h->layout->block_count; b++)
        if (owners[b] == rank && h->held[b] < oldest)
            oldest = h->held[b];
    return oldest == INT64_MAX ? -1 : oldest;
}

/* Whether the frame makes sense on what is held of the block. */
static bool fits(const struct wk_holding *h, const struct sl_message *m)
{
    int64_t held = h->held[m->block];
    if (m->encoding[0] == SL_ENCODING_DENSE)
        return m->frames[0].size == h->layout->blocks[m->block].count * sizeof(float);
    return m->encoding[0] == SL_ENCODING_CHANGED && m->held >= 0 && held >= m->held && held <= m->version;
}

static bool write_block(const struct wk_holding *h, const struct sl_message *m)
{
    const struct sl_block *block = &h->layout->blocks[m->block];
    float *values = h->params + block->offset;
    struct sl_error problem = {0};
    if (m->encoding[0] == SL_ENCODING_CHANGED)
        return sl_encoding_get_changed(
                       m->frames[0].data, m->frames[0].size, block->count, values, &problem) == SL_OK;
    memcpy(values, m->frames[0].data, m->frames[0].size);
    return true;
}

static int64_t oldest_of(const struct wk_holding *h)
{
    int64_t oldest = INT64_MAX;
    for (int b = 0; b < h->layout->block_count; b++)
        oldest = h->held[b] < oldest ? h->held[b] : oldest;
    return oldest;
}

bool wk_holding_take(struct wk_holding *h, const struct sl_message *m)
{
    bool old = m->version < h->wanted && !sl_mutant("worker: blocks of any version are taken");
    if (h->wanted < 0 || old || m->block >= (uint32_t)h->layout->block_count || h->here[m->block] ||
            !fits(h, m) || !write_block(h, m))
        return false;
    if (h->version >= 0)
        wk_holding_overwrite(h);
    h->held[m->block] = m->version;
    h->here[m->block] = 1;
    if (--h->missing > 0)
        return true;
    h->version = oldest_of(h);
    h->wanted = -1;
    return true;
}
