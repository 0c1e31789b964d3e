#pragma once
/* What each clip is: its label, which signs its title and its picture show, its language, length, time of publication and split. All of
 * it is a function of (seed, clip) alone, so that a set of clips is the beginning of every larger set with the same seed.
 *
 * The title shows the signs of one label or of none, and so does the picture; the two are drawn independently given the true label:
 *
 *     own        the signs of the true label
 *     neighbour  the signs of a label next to it in duration: they mislead
 *     none       a title or picture from a grammar or scenery that knows no label
 *
 * Nothing else in a clip depends on its label. An ideal reader who recognises every sign therefore has exactly these two symbols to go by,
 * and the best accuracy that anybody can reach from the title, the picture or both follows from the shares:
 *
 *     struct dp_attainable best = dp_plan_attainable();      // best.both and so on
 */
#include <stdbool.h>
#include <stdint.h>

#define DP_LABELS 6
#define DP_SIGN_NONE (-1)
#define DP_CLIPS_MAX 1000000
#define DP_CLIP_ID_MAX 16 /* bytes of "clip-000000" with its 0, and some */
#define DP_FRAME_RATE 10  /* frames per second */
#define DP_VERSION 1      /* of grammar and scenes: raise it when the same seed gives other clips */

enum dp_split { DP_SPLIT_TRAIN, DP_SPLIT_VALIDATION, DP_SPLIT_TEST, DP_SPLITS };

struct dp_label {
    const char *name;
    const char *duration; /* as the config writes it */
};

/* Probabilities of what one modality shows; they add up to 1. */
struct dp_shares {
    double own, neighbour, none;
};

struct dp_plan {
    uint64_t seed;
    int clip;
    int label;
    enum dp_split split;
    int text_sign;    /* label whose signs the title shows, or DP_SIGN_NONE */
    int picture_sign; /* the same of the picture */
    bool chinese;
    int frames;               /* at DP_FRAME_RATE */
    int64_t published_s;      /* unix time */
    int published_offset_min; /* of the time zone that the time is written in, minutes east of UTC */
};

struct dp_attainable {
    double text, picture, both; /* accuracies, 0..1 */
};

extern const struct dp_label dp_labels[DP_LABELS]; /* in order of duration */
extern const struct dp_shares dp_text_shares, dp_picture_shares;
extern const char *const dp_split_names[DP_SPLITS];

/* dp_plan_make draws clip number `clip` (0 … DP_CLIPS_MAX - 1). */
struct dp_plan dp_plan_make(uint64_t seed, int clip);

/* dp_plan_id writes the clip's id, such as clip-000012. */
void dp_plan_id(const struct dp_plan *plan, char ret_id[DP_CLIP_ID_MAX]);

/* dp_plan_attainable gives the accuracies of the best possible reader, exactly, from the shares. */
struct dp_attainable dp_plan_attainable(void);

/* dp_plan_hit gives the probabilities that this reader is right about one clip: 1, 0, or a fraction where several labels are equally
 * likely and it has to guess. Their mean over a split is what that split's draws allow. */
struct dp_attainable dp_plan_hit(int label, int text_sign, int picture_sign);
