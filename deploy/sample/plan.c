/* What each clip is, and what can be known about it: see plan.h. */
#include "deploy/sample/plan.h"

#include "deploy/sample/dice.h"

#include <stdio.h>
#include <stdlib.h>

#define SECONDS_MIN 3.0
#define SECONDS_MAX 5.0
#define SPLIT_GROUP 7          /* clips of a label: five to train, one to validate, one to test */
#define FIRST_DAY_S 1735689600 /* 2025-01-01T00:00:00Z */
#define DAYS 365
#define SHARE_CHINESE 0.5
#define TIE 1e-9 /* likelihoods this close are equal: they are products of the same few numbers */

const struct dp_label dp_labels[DP_LABELS] = {
        {"hours", "6h"},
        {"half_day", "12h"},
        {"day", "24h"},
        {"three_days", "72h"},
        {"week", "7d"},
        {"evergreen", "inf"},
};

/* Chosen so that the title alone gives about 0.81, the picture alone 0.83 and both 0.95 (dp_plan_attainable has the digits). */
const struct dp_shares dp_text_shares = {.own = 0.78, .neighbour = 0.02, .none = 0.20};
const struct dp_shares dp_picture_shares = {.own = 0.80, .neighbour = 0.02, .none = 0.18};

const char *const dp_split_names[DP_SPLITS] = {"train", "validation", "test"};

static int neighbour_count(int label)
{
    return label == 0 || label == DP_LABELS - 1 ? 1 : 2;
}

static int draw_sign(struct dp_dice *dice, const struct dp_shares *shares, int label)
{
    double u = dp_dice_float(dice);
    int side = dp_dice_below(dice, 2); /* drawn in every case: later draws keep their places */
    if (u < shares->own)
        return label;
    if (u >= shares->own + shares->neighbour)
        return DP_SIGN_NONE;
    if (label == 0)
        return 1;
    if (label == DP_LABELS - 1)
        return DP_LABELS - 2;
    return side == 0 ? label - 1 : label + 1;
}

static enum dp_split draw_split(uint64_t seed, int label, int rank)
{
    /* rank counts the clips of the label; every group of seven is cut 5 : 1 : 1 in an order of its own */
    int group = rank / SPLIT_GROUP;
    struct dp_dice dice = dp_dice_make(seed, (uint64_t)group * DP_LABELS + (uint64_t)label, DP_DICE_SPLIT);
    int order[SPLIT_GROUP];
    dp_dice_shuffle(&dice, order, SPLIT_GROUP);
    int place = order[rank % SPLIT_GROUP];
    return place == 0 ? DP_SPLIT_VALIDATION : place == 1 ? DP_SPLIT_TEST : DP_SPLIT_TRAIN;
}

struct dp_plan dp_plan_make(uint64_t seed, int clip)
{
    /* every run of DP_LABELS clips holds each label once: the classes are balanced to within one clip */
    int group = clip / DP_LABELS;
    struct dp_dice order_dice = dp_dice_make(seed, (uint64_t)group, DP_DICE_ORDER);
    int order[DP_LABELS];
    dp_dice_shuffle(&order_dice, order, DP_LABELS);
    int label = order[clip % DP_LABELS];

    struct dp_dice dice = dp_dice_make(seed, (uint64_t)clip, DP_DICE_FACTS);
    struct dp_plan plan = {
            .seed = seed, .clip = clip, .label = label, .split = draw_split(seed, label, group)};
    plan.text_sign = draw_sign(&dice, &dp_text_shares, label);
    plan.picture_sign = draw_sign(&dice, &dp_picture_shares, label);
    plan.chinese = dp_dice_chance(&dice, SHARE_CHINESE);
    plan.frames =
            dp_dice_between(&dice, (int)(SECONDS_MIN * DP_FRAME_RATE), (int)(SECONDS_MAX * DP_FRAME_RATE));
    plan.published_s = FIRST_DAY_S + 60 * (int64_t)dp_dice_below(&dice, DAYS * 24 * 60);
    plan.published_offset_min = plan.chinese ? 8 * 60 : 0;
    return plan;
}

void dp_plan_id(const struct dp_plan *plan, char ret_id[DP_CLIP_ID_MAX])
{
    snprintf(ret_id, DP_CLIP_ID_MAX, "clip-%06d", plan->clip % DP_CLIPS_MAX);
}

/* P(sign | label) */
static double likelihood(const struct dp_shares *shares, int label, int sign)
{
    if (sign == DP_SIGN_NONE)
        return shares->none;
    if (sign == label)
        return shares->own;
    if (abs(sign - label) == 1)
        return shares->neighbour / neighbour_count(label);
    return 0;
}

/* Is `label` among the labels of greatest likelihood, and how many are there? Labels are equally frequent, so this is the best guess. */
static double guess(const double likelihoods[DP_LABELS], int label)
{
    double most = 0;
    for (int l = 0; l < DP_LABELS; l++)
        most = likelihoods[l] > most ? likelihoods[l] : most;
    int ties = 0;
    for (int l = 0; l < DP_LABELS; l++)
        ties += likelihoods[l] >= most - TIE;
    return likelihoods[label] >= most - TIE ? 1.0 / ties : 0.0;
}

struct dp_attainable dp_plan_hit(int label, int text_sign, int picture_sign)
{
    double text[DP_LABELS], picture[DP_LABELS], both[DP_LABELS];
    for (int l = 0; l < DP_LABELS; l++) {
        text[l] = likelihood(&dp_text_shares, l, text_sign);
        picture[l] = likelihood(&dp_picture_shares, l, picture_sign);
        both[l] = text[l] * picture[l];
    }
    return (struct dp_attainable){guess(text, label), guess(picture, label), guess(both, label)};
}

struct dp_attainable dp_plan_attainable(void)
{
    struct dp_attainable sum = {0};
    for (int label = 0; label < DP_LABELS; label++) {
        for (int text = DP_SIGN_NONE; text < DP_LABELS; text++) {
            for (int picture = DP_SIGN_NONE; picture < DP_LABELS; picture++) {
                double p = likelihood(&dp_text_shares, label, text) *
                           likelihood(&dp_picture_shares, label, picture) / DP_LABELS;
                struct dp_attainable hit = dp_plan_hit(label, text, picture);
                sum.text += p * hit.text;
                sum.picture += p * hit.picture;
                sum.both += p * hit.both;
            }
        }
    }
    return sum;
}
