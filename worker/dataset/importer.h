#pragma once
/* One manifest line into one sample: decode, tokenise, read arrays. Both `import` and `predict` use it, so a video is seen by the model
 * in the same way wherever it comes from.
 *
 *     SL_AUTO(wk_importer_destroy_auto) struct wk_importer *importer = NULL;
 *     enum sl_status s = wk_importer_create(&importer, config, "clips", NULL, err);
 *     struct wk_sample sample = {0};
 *     s = wk_import_row(importer, &row, &sample, err);          // BAD_DATA: err tells what is wrong with this line
 *     wk_sample_fini(&sample);
 *
 * Thread: one importer belongs to one thread at a time; it owns a decoder process, started when the first video comes.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/decoder.h"
#include "worker/dataset/manifest.h"
#include "worker/dataset/sample.h"

struct wk_importer;
struct wk_vocab;

/* wk_importer_create loads the vocabularies. base_dir: folder that relative paths of rows start from ("" = the current one). limits NULL = defaults.
 * config is borrowed until destroy. Owns: *ret_importer. Errors: USAGE for a vocabulary that does not fit the config, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_importer_create(struct wk_importer **ret_importer,
        const struct sl_config *config, const char *base_dir, const struct wk_decoder_limits *limits,
        struct sl_error *err);
void wk_importer_destroy(struct wk_importer *importer);
void wk_importer_destroy_auto(struct wk_importer **importer);

/* wk_import_row makes the sample of a row; its index is 0. Owns: wk_sample_fini(ret_sample). Errors: BAD_DATA when the row is no use (one
 * line naming modality and reason), anything else is a failure of this machine and says nothing about the row. */
SL_MUST_USE enum sl_status wk_import_row(struct wk_importer *importer, const struct wk_manifest_row *row,
        struct wk_sample *ret_sample, struct sl_error *err);

/* wk_import_given is the same where some inputs are there already: given[m] with items > 0 takes the place of what the row would name for modality m.
 * Shapes: given (SL_MODALITIES_MAX,). Owns: takes the arrays of given and zeroes it on success. */
SL_MUST_USE enum sl_status wk_import_given(struct wk_importer *importer, const struct wk_manifest_row *row,
        struct wk_sample_input *given, struct wk_sample *ret_sample, struct sl_error *err);

/* wk_importer_vocab borrows the vocabulary of a modality; NULL when it is not of kind bert. */
const struct wk_vocab *wk_importer_vocab(const struct wk_importer *importer, int modality);
