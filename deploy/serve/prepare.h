#pragma once
/* A request into the sample that the model reads: videos through the sandboxed decoder, texts through the tokenizer, arrays checked against the model's config. The same
 * importer does it as for `import` and `predict`.
 *
 *     dp_preparer_create(&preparer, config, &options, err);
 *     s = dp_prepare(preparer, &request, &sample, err);       // BAD_DATA: this request is no use to this model, err says why
 *
 * Thread: one preparer belongs to one thread; it owns a decoder process.
 */
#include "common/config.h"
#include "deploy/serve/request.h"
#include "worker/dataset/sample.h"

struct dp_preparer;

struct dp_prepare_options {
    const char *root;      /* a folder: paths of videos lie below; NULL = none are taken */
    const char *temporary; /* a folder of our own for uploaded videos */
    int max_video_s;       /* 0 = any */
};

/* dp_preparer_create loads the vocabularies. config is borrowed until destroy, and so are the options' texts. Owns: *ret_preparer. Errors: as wk_importer_create. */
SL_MUST_USE enum sl_status dp_preparer_create(struct dp_preparer **ret_preparer,
        const struct sl_config *config, const struct dp_prepare_options *options, struct sl_error *err);
void dp_preparer_destroy(struct dp_preparer *preparer); /* NULL is fine */

/* dp_prepare makes the sample. Owns: wk_sample_fini(ret_sample). Errors: BAD_DATA; others are failures of this machine. */
SL_MUST_USE enum sl_status dp_prepare(struct dp_preparer *preparer, const struct dp_request *request,
        struct wk_sample *ret_sample, struct sl_error *err);
