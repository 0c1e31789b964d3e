#pragma once
/* What goes over the socket between the importer (worker/dataset/decoder.c) and shelflife-decode: both run on
 * one machine and come from one build, so these are plain structs.
 *
 *     importer -> decoder   struct wk_decode_request, then path_size bytes of path
 *     decoder -> importer   struct wk_decode_reply, then frames * image * image * 3 bytes, R G B
 *
 * The reply's content comes from a process that has read a hostile file: the receiver checks every number and
 * forces every text's end.
 */
#include <stdint.h>

#define WK_DECODE_MAGIC 0x31444c53U /* "SLD1" */
#define WK_DECODE_PATH_MAX 4096     /* bytes with the 0 */
#define WK_DECODE_FRAMES_MAX 1024
#define WK_DECODE_IMAGE_MAX 4096          /* pixels */
#define WK_DECODE_PIXELS_MAX (1ULL << 30) /* bytes of all frames of a reply */
#define WK_DECODE_NAME_MAX 32
#define WK_DECODE_REASON_MAX 256

struct wk_decode_request {
    uint32_t magic;
    uint32_t path_size;      /* bytes, without 0 */
    uint32_t image;          /* pixels: frames come as image x image */
    uint32_t frames;         /* most frames that are wanted */
    uint32_t cpu_s;          /* limits of the process that decodes: CPU time, */
    uint32_t wall_ms;        /* time by the clock, */
    uint32_t memory_mb;      /* address space */
    uint32_t max_megapixels; /* size of a picture, */
    uint32_t max_seconds;    /* and length of the video; 0 = any */
};

enum wk_decode_status { WK_DECODE_OK, WK_DECODE_REJECTED };

struct wk_decode_reply {
    uint32_t magic;
    uint32_t status;        /* enum wk_decode_status */
    uint32_t frames;        /* that follow; 0 unless WK_DECODE_OK */
    uint32_t width, height; /* of the video's pictures, as coded */
    uint32_t rotation;      /* degrees clockwise that were applied: 0, 90, 180, 270 */
    int64_t duration_us;    /* of the picture track */
    double fps;             /* average; 0 when not known */
    char codec[WK_DECODE_NAME_MAX], container[WK_DECODE_NAME_MAX];
    char reason[WK_DECODE_REASON_MAX];     /* of a rejection: one line */
    int64_t time_us[WK_DECODE_FRAMES_MAX]; /* of each frame, from the first picture */
};
