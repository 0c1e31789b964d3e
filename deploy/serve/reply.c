/* Answers as bytes: see reply.h. */
#include "deploy/serve/reply.h"

#include "common/memory.h"
#include "proto/serve.pb-c.h"

#include <string.h>

unsigned dp_reply_code(enum sl_status status)
{
    switch (status) {
    case SL_OK:
        return 200;
    case SL_USAGE:
    case SL_MISMATCH:
        return 400;
    case SL_BAD_DATA:
        return 422;
    case SL_AGAIN:
    case SL_STOPPED:
    case SL_NO_MEMORY:
        return 503;
    default:
        return 500;
    }
}

void dp_reply_error_json(struct sl_json *json, const char *id, const char *text)
{
    sl_json_object(json, NULL);
    if (id != NULL)
        sl_json_string(json, "id", id);
    sl_json_string(json, "error", text);
    sl_json_end(json);
}

void dp_reply_json(struct sl_json *json, const struct dp_job *job)
{
    const struct dp_loaded *loaded = dp_job_loaded(job);
    if (job->status != SL_OK) {
        dp_reply_error_json(json, job->request.id, job->error.text);
        return;
    }
    sl_json_object(json, NULL);
    sl_json_string(json, "id", job->request.id);
    dp_prediction_json(json, loaded->config, &job->prediction, job->request.published_s);
    dp_identity_json(json, loaded);
    sl_json_end(json);
}

/* ---- protobuf ---- */

/* The parts of a Reply that need room of their own. */
struct parts {
    Shelflife__Serve__Error error;
    Shelflife__Serve__Model model;
    Shelflife__Serve__Branch branches[SL_BRANCHES_MAX];
    Shelflife__Serve__Branch *branch_list[SL_BRANCHES_MAX];
    char *labels[SL_LABELS_MAX];
};

static void fill_model(Shelflife__Serve__Reply *reply, struct parts *parts, const struct dp_loaded *loaded)
{
    const char *slash = strrchr(loaded->path, '/');
    shelflife__serve__model__init(&parts->model);
    for (int k = 0; k < loaded->config->label_count; k++)
        parts->labels[k] = loaded->config->labels[k].name;
    parts->model.snapshot = (char *)(slash == NULL ? loaded->path : slash + 1);
    parts->model.has_step = parts->model.has_config_hash = true;
    parts->model.step = loaded->step;
    parts->model.config_hash = loaded->config_hash;
    parts->model.weights = (char *)loaded->weights;
    parts->model.labels = parts->labels;
    parts->model.n_labels = (size_t)loaded->config->label_count;
    reply->model = &parts->model;
}

static void fill_prediction(Shelflife__Serve__Reply *reply, struct parts *parts, const struct dp_job *job)
{
    const struct sl_config *config = dp_job_loaded(job)->config;
    int fused = config->modality_count, best = job->prediction.label[fused];
    const struct sl_label_config *label = &config->labels[best];
    reply->label = (char *)label->name;
    reply->has_probability = true;
    reply->probability = job->prediction.probabilities[fused][best];
    reply->has_duration = label->duration_s != SL_DURATION_INFINITE;
    reply->duration = label->duration_s;
    reply->has_expires = dp_expiry(&reply->expires, label, job->request.published_s);
    for (int b = 0; b <= fused; b++) {
        Shelflife__Serve__Branch *branch = &parts->branches[b];
        shelflife__serve__branch__init(branch);
        branch->name = (char *)sl_config_branch_name(config, b);
        branch->label = (char *)config->labels[job->prediction.label[b]].name;
        branch->probabilities = (float *)job->prediction.probabilities[b];
        branch->n_probabilities = (size_t)config->label_count;
        parts->branch_list[b] = branch;
    }
    reply->branches = parts->branch_list;
    reply->n_branches = (size_t)fused + 1;
}

enum sl_status dp_reply_pack(void **ret_bytes, size_t *ret_size, const struct dp_job *job, unsigned code,
        int retry_s, struct sl_error *err)
{
    struct parts parts;
    Shelflife__Serve__Reply reply;
    shelflife__serve__reply__init(&reply);
    reply.has_version = true;
    reply.version = DP_REQUEST_VERSION;
    reply.id = job->request.id;
    if (job->status == SL_OK) {
        fill_prediction(&reply, &parts, job);
        fill_model(&reply, &parts, dp_job_loaded(job));
    } else {
        shelflife__serve__error__init(&parts.error);
        parts.error.has_code = true;
        parts.error.code = code;
        parts.error.text = (char *)job->error.text;
        parts.error.has_retry_after = code == 503;
        parts.error.retry_after = (uint32_t)retry_s;
        reply.error = &parts.error;
    }
    size_t size = shelflife__serve__reply__get_packed_size(&reply);
    uint8_t *bytes = sl_alloc(size, 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an answer");
    *ret_size = shelflife__serve__reply__pack(&reply, bytes);
    *ret_bytes = bytes;
    return SL_OK;
}
