/* Numbers drawn one after the other: see dice.h. */
#include "deploy/sample/dice.h"

#include <assert.h>

struct dp_dice dp_dice_make(uint64_t seed, uint64_t number, enum dp_dice_purpose purpose)
{
    return (struct dp_dice){.stream = sl_random_make(seed, SL_RANDOM_SAMPLE, number, (uint64_t)purpose)};
}

double dp_dice_float(struct dp_dice *dice)
{
    uint32_t words[4];
    sl_random_u32x4(&dice->stream, dice->index++, words);
    return (double)words[0] * 0x1p-32;
}

double dp_dice_range(struct dp_dice *dice, double low, double high)
{
    return low + (high - low) * dp_dice_float(dice);
}

int dp_dice_below(struct dp_dice *dice, int bound)
{
    assert(bound > 0);
    return (int)sl_random_below(&dice->stream, dice->index++, (uint64_t)bound);
}

int dp_dice_between(struct dp_dice *dice, int low, int high)
{
    return low + dp_dice_below(dice, high - low + 1);
}

bool dp_dice_chance(struct dp_dice *dice, double probability)
{
    return dp_dice_float(dice) < probability;
}

void dp_dice_shuffle(struct dp_dice *dice, int *order, int count)
{
    for (int i = 0; i < count; i++)
        order[i] = i;
    for (int i = count - 1; i > 0; i--) {
        int j = dp_dice_below(dice, i + 1);
        int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}
