#pragma once
/* Random numbers of a simulation (splitmix64): a state that every draw moves, so that the same seed and the same order of events give the same run. Not for training. */
#include <stdbool.h>
#include <stdint.h>

struct sim_dice {
    uint64_t state;
};

static inline uint64_t sim_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

static inline uint64_t sim_draw(struct sim_dice *dice)
{
    dice->state += 0x9e3779b97f4a7c15U;
    return sim_mix(dice->state);
}

/* Uniform in [0, bound), bound > 0. */
static inline uint64_t sim_below(struct sim_dice *dice, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)sim_draw(dice) * bound) >> 64);
}

/* Uniform in [low, high]. */
static inline int64_t sim_between(struct sim_dice *dice, int64_t low, int64_t high)
{
    return low + (int64_t)sim_below(dice, (uint64_t)(high - low) + 1);
}

/* True in `per_million` of a million draws; draws nothing when that is 0. */
static inline bool sim_chance(struct sim_dice *dice, uint64_t per_million)
{
    return per_million > 0 && sim_below(dice, 1000000) < per_million;
}
