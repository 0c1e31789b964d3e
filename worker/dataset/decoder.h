#pragma once
/* Videos into frames through a `shelflife-decode` process: it is started once, serves one file after the other and is started again if
 * it dies. All that reads the video runs there, in a limited child of its own per file (see worker/decode/decode.c).
 *
 *     struct wk_decoder *decoder = NULL;
 *     enum sl_status s = wk_decoder_create(&decoder, NULL, err);
 *     struct wk_clip clip = {0};
 *     s = wk_decoder_run(decoder, "clips/a.mp4", 64, 4, &clip, err);      // BAD_DATA: err tells why this file is no use
 *
 * The executable is $SHELFLIFE_DECODE, or shelflife-decode in the folder of the running program.
 * Thread: one decoder belongs to one thread at a time.
 */
#include "common/error.h"

#include <stdint.h>

#define WK_CLIP_NAME_MAX 32

struct wk_decoder;

/* Of the process that decodes one file. A zero means the default. */
struct wk_decoder_limits {
    int cpu_s;          /* 60 */
    int wall_ms;        /* 120000 */
    int memory_mb;      /* 2048, of address space */
    int max_megapixels; /* 40, of one picture */
    int max_seconds;    /* any, of the video's length */
};

/* What a video gave. Zero it to begin; wk_clip_fini frees it. */
struct wk_clip {
    int items;         /* frames: 1 … as many as were asked for */
    uint8_t *frames;   /* (items, image, image, 3), R G B */
    int64_t *time_us;  /* (items,) from the first picture */
    int width, height; /* pixels, as coded */
    int rotation;      /* degrees clockwise that were applied */
    int64_t duration_us;
    double fps; /* 0 = not known */
    char codec[WK_CLIP_NAME_MAX], container[WK_CLIP_NAME_MAX];
};

/* wk_decoder_create finds the executable and starts it. limits NULL = defaults. Owns: *ret_decoder. Errors: FAILED when it is missing or
 * does not start. */
SL_MUST_USE enum sl_status wk_decoder_create(
        struct wk_decoder **ret_decoder, const struct wk_decoder_limits *limits, struct sl_error *err);
void wk_decoder_destroy(struct wk_decoder *decoder);
void wk_decoder_destroy_auto(struct wk_decoder **decoder);

/* wk_decoder_run takes up to `frames` frames at even times. Errors: BAD_DATA when the file is no use (err holds the reason without the
 * path), FAILED when the decoder itself cannot work, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_decoder_run(struct wk_decoder *decoder, const char *path, int image, int frames,
        struct wk_clip *ret_clip, struct sl_error *err);

void wk_clip_fini(struct wk_clip *clip);
