#pragma once
/* A dice: numbers drawn one after the other from the counter-based generator. Two dice with the same key give the same numbers.
 *
 *     struct dp_dice dice = dp_dice_make(seed, clip, DP_DICE_PICTURE);
 *     double x = dp_dice_range(&dice, 20, 60);
 *
 * C leaves the order open in which arguments, operands and listed initialisers are evaluated, so an expression draws at most once from a dice:
 * otherwise the pictures would depend on the compiler.
 */
#include "common/random.h"

#include <stdbool.h>
#include <stdint.h>

/* What the numbers are for: each purpose has its own stream, so that a change in one leaves the others as they are. */
enum dp_dice_purpose {
    DP_DICE_ORDER = 1, /* order of the labels within a group of clips */
    DP_DICE_SPLIT,
    DP_DICE_FACTS, /* signs, language, length, time of publication */
    DP_DICE_TITLE,
    DP_DICE_CAMERA,
    DP_DICE_PICTURE,
    DP_DICE_SIGN,
    DP_DICE_DISTRACTORS,
    DP_DICE_FILM,
    DP_DICE_GRAIN,
};

/* Plain data: a stream and the place in it. */
struct dp_dice {
    struct sl_random stream;
    uint64_t index;
};

/* dp_dice_make gives the dice for a number (of a clip or a group) and a purpose. */
struct dp_dice dp_dice_make(uint64_t seed, uint64_t number, enum dp_dice_purpose purpose);
/* dp_dice_float is uniform in [0, 1), with 32 bits. */
double dp_dice_float(struct dp_dice *dice);
/* dp_dice_range is uniform in [low, high). */
double dp_dice_range(struct dp_dice *dice, double low, double high);
/* dp_dice_below is uniform over 0 … bound - 1; bound > 0. */
int dp_dice_below(struct dp_dice *dice, int bound);
/* dp_dice_between is uniform over low … high, both included. */
int dp_dice_between(struct dp_dice *dice, int low, int high);
/* dp_dice_chance is true with the given probability. */
bool dp_dice_chance(struct dp_dice *dice, double probability);
/* dp_dice_shuffle fills order with a permutation of 0 … count - 1. Shapes: order (count,). */
void dp_dice_shuffle(struct dp_dice *dice, int *order, int count);
