/* Dropout masks from counter-based random numbers: see dropout.h. */
#include "worker/model/dropout.h"

#include "common/random.h"

#include <assert.h>

#define WORDS_PER_ONE 65536.0F /* an element is decided by 16 random bits */
#define MASK_PADDING 8         /* bytes: the widest kernel reads one byte past a row's last */

static uint32_t threshold(float p)
{
    float words = p * WORDS_PER_ONE + 0.5F;
    return words >= WORDS_PER_ONE - 1.0F ? (uint32_t)WORDS_PER_ONE - 1 : (uint32_t)words;
}

float wk_dropout_scale(float p)
{
    return WORDS_PER_ONE / (WORDS_PER_ONE - (float)threshold(p));
}

uint8_t *wk_dropout_plan(struct wk_arena *arena, const struct wk_dropout *dropout, size_t rows, size_t n)
{
    if (!(dropout->p > 0.0F))
        return NULL;
    return wk_arena_take(arena, rows * ((n + 7) / 8) + MASK_PADDING, 1);
}

/* Eight decisions from one call of the generator: byte i of the sample's stretch at this site. */
static uint8_t draw_byte(const struct sl_random *stream, uint64_t index, uint32_t drop_below)
{
    uint32_t words[4], byte = 0;
    sl_random_u32x4(stream, index, words);
    for (uint32_t i = 0; i < 4; i++) {
        byte |= (uint32_t)((words[i] & 0xFFFFU) >= drop_below) << (2 * i);
        byte |= (uint32_t)((words[i] >> 16) >= drop_below) << (2 * i + 1);
    }
    return (uint8_t)byte;
}

const uint8_t *wk_dropout_draw(const struct wk_run *run, const struct wk_dropout *dropout, uint8_t *mask,
        int layer, enum wk_site site, const int *offset, size_t every, size_t n)
{
    if (!wk_dropout_on(run, dropout))
        return NULL;
    assert(dropout->part >= 0 && dropout->part < 16 && layer >= 0 && layer < 4096);
    uint64_t place = (((uint64_t)dropout->part * 4096 + (uint64_t)layer) * WK_SITES + site) << 40;
    size_t row_bytes = (n + 7) / 8;
    uint32_t drop_below = threshold(dropout->p);
    for (int b = 0; b < run->batch->count; b++) {
        struct sl_random stream = sl_random_make(run->seed, SL_RANDOM_DROPOUT, run->step, run->batch->ids[b]);
        size_t bytes = (size_t)(offset[b + 1] - offset[b]) * every * row_bytes;
        uint8_t *at = mask + (size_t)offset[b] * every * row_bytes;
        for (size_t i = 0; i < bytes; i++)
            at[i] = draw_byte(&stream, place + i, drop_below);
    }
    return mask;
}
