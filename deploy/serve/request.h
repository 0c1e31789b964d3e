#pragma once
/* One sample that somebody wants scored, as it came over the wire: JSON, parts of a form, or a protobuf header with raw frames. What is decided here needs no
 * model: form, types, limits. Whether the model can use it is prepare.h's business.
 *
 *     struct dp_request request = {0};
 *     s = dp_request_parse(&request, text, size, err);        // {"id":"a","title":"…","video":"a.mp4","published":"2026-11-23T08:00:00Z"}
 *     …
 *     dp_request_fini(&request);
 *
 * Any bytes are an error at worst (fuzzed). Errors: USAGE for what is no request, with key, what is expected and what to do.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/manifest.h"

#include <stddef.h>
#include <stdint.h>

#define DP_REQUEST_JSON_MAX ((size_t)4 << 20)   /* bytes: a parsed text takes many times its size */
#define DP_REQUEST_HEADER_MAX ((size_t)1 << 20) /* bytes of a protobuf header */
#define DP_REQUEST_UPLOADS_MAX (SL_MODALITIES_MAX + 1)
#define DP_REQUEST_VERSION 1

enum dp_upload_kind {
    DP_UPLOAD_VIDEO,  /* the bytes of a video file */
    DP_UPLOAD_FRAMES, /* uint8 (frames, height, width, 3) */
    DP_UPLOAD_ROWS,   /* float32 (rows, in) or (in,) */
    DP_UPLOAD_TOKENS, /* int64 (tokens,) */
    DP_UPLOAD_NPY,    /* an .npy file with one of these */
};

struct dp_upload {
    enum dp_upload_kind kind;
    char name[SL_NAME_MAX]; /* the modality's; "" for a video */
    void *bytes;            /* owned */
    size_t size;
    int rank; /* of FRAMES, ROWS and TOKENS; the product of the shape fits the size */
    int64_t shape[4];
};

/* A text for one modality alone. */
struct dp_own_text {
    char name[SL_NAME_MAX]; /* the modality's */
    char *text;             /* owned */
};

/* Zero it to begin. */
struct dp_request {
    char *id;                    /* NULL when not given */
    char *texts[WK_TEXT_FIELDS]; /* NULL when not given */
    char *video;                 /* path below the server's root, NULL when not given */
    int64_t published_s; /* unix time, INT64_MIN when not given: set by dp_request_parse and _unpack */
    struct dp_own_text own_texts[SL_MODALITIES_MAX];
    int own_text_count;
    struct dp_upload uploads[DP_REQUEST_UPLOADS_MAX];
    int upload_count;
};

void dp_request_fini(struct dp_request *request); /* zeroes it too */

/* dp_request_parse adds what a JSON text says; uploads may be there already. */
SL_MUST_USE enum sl_status dp_request_parse(
        struct dp_request *request, const char *text, size_t size, struct sl_error *err);

/* dp_request_upload adds a file that came under a name: "video", or a modality's with an .npy. Owns: takes *bytes on success. Errors: USAGE for a name twice,
 * too many, or too long a name. */
SL_MUST_USE enum sl_status dp_request_upload(
        struct dp_request *request, const char *name, char **bytes, size_t size, struct sl_error *err);

/* A raw frame that came with a header. */
struct dp_frame {
    const void *bytes;
    size_t size;
};

/* dp_request_unpack reads a protobuf header (proto/serve.proto) and copies the frames that it describes. Errors also: NO_MEMORY, MISMATCH for a version that is not known. */
SL_MUST_USE enum sl_status dp_request_unpack(struct dp_request *request, const void *header, size_t size,
        const struct dp_frame *frames, int frame_count, struct sl_error *err);
