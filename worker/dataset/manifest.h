#pragma once
/* One line of a manifest (JSON lines): a video, its text, its label. docs/manifest.md is the reference for people.
 *
 *     {"id": "a1", "video": "clips/a1.mp4", "title": "…", "label": "day", "published": "2026-11-23T08:00:00Z", "split": "train"}
 *     {"id": "a2", "title": "…", "features": {"visual": "a2.npy", "audio": {"path": "all.npy", "row": 17}}, "label": "week"}
 *
 * Keys: id (required), video, title, ocr, asr, label, published (RFC 3339), split (train | validation | test; train when absent), texts (for one
 * modality of kind `bert` alone, in place of title, ocr and asr), features and tokens (arrays for modalities of kind `features`, and of kind `bert` in place of text: a path, or {path, name, row}; features.h says what they may be). Strict: a key
 * that is none of these is an error with the nearest known one, since a "tittle" that is silently passed over costs a training; keys
 * that begin with "_" are the user's own. null counts as absent. Any bytes are an error at worst (fuzzed).
 */
#include "common/config.h"
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WK_MANIFEST_LINE_MAX (1 << 20) /* bytes of a line */
#define WK_MANIFEST_ID_MAX 255         /* bytes of an id */

enum wk_split { WK_SPLIT_TRAIN, WK_SPLIT_VALIDATION, WK_SPLIT_TEST };
#define WK_SPLITS 3

enum wk_text_field { WK_TEXT_TITLE, WK_TEXT_OCR, WK_TEXT_ASR };
#define WK_TEXT_FIELDS 3

/* Where the array of a `features` modality lies, or the token ids of a `bert` one. */
struct wk_manifest_array {
    char *path;  /* NULL = not given */
    char *name;  /* of the tensor in a safetensors file, or NULL */
    int64_t row; /* of a stack, or -1 = the whole array */
};

struct wk_manifest_row {
    char *id;
    char *video;                 /* NULL when not given; relative to the manifest's folder unless absolute */
    char *texts[WK_TEXT_FIELDS]; /* NULL when not given; no 0 inside */
    int label;                   /* index into the config's labels, or WK_LABEL_NONE when not given */
    int64_t published_s;         /* unix time, INT64_MIN when not given */
    enum wk_split split;
    char *own_texts[SL_MODALITIES_MAX];                 /* by modality; NULL = the texts above */
    struct wk_manifest_array arrays[SL_MODALITIES_MAX]; /* by modality */
};

/* wk_manifest_parse reads one line (without its newline). Owns: wk_manifest_row_fini(ret_row). Errors: BAD_DATA with what is wrong and,
 * where it can be told, what to do; if the line has a readable id, ret_id (may be NULL; WK_MANIFEST_ID_MAX + 1 bytes) gets it, else "". */
SL_MUST_USE enum sl_status wk_manifest_parse(struct wk_manifest_row *ret_row, char *ret_id, const char *line,
        size_t size, const struct sl_config *config, struct sl_error *err);

/* wk_manifest_check_inputs tells whether the row names what every modality of the config needs: a video for vit, some text for bert, an array for features.
 * Errors: BAD_DATA. */
SL_MUST_USE enum sl_status wk_manifest_check_inputs(
        const struct wk_manifest_row *row, const struct sl_config *config, struct sl_error *err);

/* wk_manifest_check_input is the same for one modality. */
SL_MUST_USE enum sl_status wk_manifest_check_input(const struct wk_manifest_row *row,
        const struct sl_config *config, int modality, struct sl_error *err);

void wk_manifest_row_fini(struct wk_manifest_row *row);

/* wk_split_name gives "train", "validation" or "test". Never NULL. */
const char *wk_split_name(enum wk_split split);
