/* Requests into samples: see prepare.h. */
#include "deploy/serve/prepare.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/npy.h"
#include "deploy/serve/beneath.h"
#include "worker/dataset/features.h"
#include "worker/dataset/frames.h"
#include "worker/dataset/importer.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dp_preparer {
    const struct sl_config *config;
    struct dp_prepare_options options;
    struct wk_importer *importer;
};

enum sl_status dp_preparer_create(struct dp_preparer **ret_preparer, const struct sl_config *config,
        const struct dp_prepare_options *options, struct sl_error *err)
{
    struct wk_decoder_limits limits = {.max_seconds = options->max_video_s};
    struct dp_preparer *preparer = sl_alloc(1, sizeof(*preparer));
    if (preparer == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    preparer->config = config;
    preparer->options = *options;
    enum sl_status status = wk_importer_create(&preparer->importer, config, "", &limits, err);
    if (status == SL_OK)
        *ret_preparer = preparer;
    else
        dp_preparer_destroy(preparer);
    return status;
}

void dp_preparer_destroy(struct dp_preparer *preparer)
{
    if (preparer == NULL)
        return;
    wk_importer_destroy(preparer->importer);
    sl_free(preparer);
}

/* ---- videos ---- */

/* The file below the root that a request names. The decoder, another process, is told a path that leads to what was opened here whatever becomes of its name. Owns: *ret_fd, which must be
 * open for as long as path is used. Shapes: path has PATH_MAX bytes. */
static enum sl_status find_video(
        const struct dp_preparer *preparer, const char *named, int *ret_fd, char *path, struct sl_error *err)
{
    const char *root = preparer->options.root;
    if (root == NULL)
        return sl_fail(err, SL_BAD_DATA,
                "\"video\" is a path, and this server was started without --root; upload the video instead");
    if (named[0] == '/')
        return sl_fail(err, SL_BAD_DATA, "\"video\": expected a path below the server's root, not from /");
    enum sl_status status = dp_open_beneath(ret_fd, root, named, err);
    if (status == SL_OK)
        (void)snprintf(path, PATH_MAX, "/proc/%ld/fd/%d", (long)getpid(), *ret_fd);
    return status;
}

/* An uploaded video as a file, which the decoder needs. Shapes: path has PATH_MAX bytes. */
static enum sl_status write_video(
        const struct dp_preparer *preparer, const struct dp_upload *upload, char *path, struct sl_error *err)
{
    (void)snprintf(path, PATH_MAX, "%s/video-XXXXXX", preparer->options.temporary);
    SL_AUTO_CLOSE int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0) {
        path[0] = 0;
        return sl_fail_errno(err, "cannot write an uploaded video to %s", preparer->options.temporary);
    }
    enum sl_status status = sl_file_write_all(fd, upload->bytes, upload->size, path, err);
    if (status == SL_OK)
        return SL_OK;
    (void)unlink(path);
    path[0] = 0;
    return status;
}

/* ---- arrays ---- */

static enum sl_status find_modality(
        const struct sl_config *config, const char *name, int *ret_modality, struct sl_error *err)
{
    char names[256] = "";
    for (int m = 0; m < config->modality_count; m++) {
        size_t used = strlen(names);
        if (strcmp(config->modalities[m].name, name) == 0) {
            *ret_modality = m;
            return SL_OK;
        }
        (void)snprintf(
                names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "", config->modalities[m].name);
    }
    return sl_fail(err, SL_BAD_DATA, "the model has no modality \"%s\"; it has %s", name, names);
}

/* The shape as text, "(2, 32, 32, 3)". */
static const char *shape_text(char text[128], const int64_t *shape, int rank)
{
    size_t used = (size_t)snprintf(text, 128, "(");
    for (int i = 0; i < rank && used < 100; i++)
        used += (size_t)snprintf(text + used, 128 - used, "%s%lld", i > 0 ? ", " : "", (long long)shape[i]);
    (void)snprintf(text + used, 128 - used, ")");
    return text;
}

static enum sl_status take_frames(struct wk_sample_input *input, const struct sl_modality_config *modality,
        const uint8_t *bytes, const int64_t *shape, int rank, struct sl_error *err)
{
    char shown[128];
    int64_t image = modality->image;
    if (rank != 4 || shape[0] < 1 || shape[0] > modality->frames || shape[1] != image || shape[2] != image ||
            shape[3] != 3)
        return sl_fail(err, SL_BAD_DATA,
                "modality %s: its frames have the shape %s; expected (1 to %d, %d, %d, 3), R G B",
                modality->name, shape_text(shown, shape, rank), modality->frames, modality->image,
                modality->image);
    size_t size = (size_t)(shape[0] * image * image * 3);
    input->frames = sl_alloc(size, 1);
    if (input->frames == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for frames");
    memcpy(input->frames, bytes, size);
    input->items = (int)shape[0];
    return SL_OK;
}

/* Where an array goes. */
struct place {
    const struct sl_modality_config *modality;
    char shown[SL_NAME_MAX + 16]; /* "modality NAME", for errors */
    const struct wk_vocab *vocab; /* of kind bert */
    struct wk_sample_input *input;
};

/* More rows than the model takes are left out evenly, as features.h does. Shapes: values of shape. */
static enum sl_status take_rows(
        const struct place *p, const float *values, const int64_t *shape, int rank, struct sl_error *err)
{
    const struct sl_modality_config *modality = p->modality;
    struct wk_sample_input *input = p->input;
    int64_t rows = 0, width = 0;
    enum sl_status status = wk_features_shape(&rows, &width, shape, rank, modality->input, p->shown, err);
    if (status != SL_OK)
        return status;
    size_t columns = (size_t)width;
    int kept = rows < modality->max_items ? (int)rows : modality->max_items;
    input->features = sl_alloc((size_t)kept * columns, sizeof(*input->features));
    if (input->features == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for features");
    for (int k = 0; k < kept; k++)
        memcpy(input->features + (size_t)k * columns,
                values + (size_t)wk_choose_evenly(k, kept, (int)rows) * columns,
                columns * sizeof(*input->features));
    input->items = kept;
    return SL_OK;
}

static enum sl_status take_tokens(
        const struct place *p, const int64_t *ids, const int64_t *shape, int rank, struct sl_error *err)
{
    int64_t items = 0, count = 0;
    enum sl_status status = wk_features_shape(&items, &count, shape, rank, 0, p->shown, err);
    if (status == SL_OK)
        status = wk_features_frame_tokens(ids, count, p->vocab, p->modality->max_tokens, p->shown,
                &p->input->tokens, &p->input->items, err);
    return status;
}

static enum sl_status take_ids(
        const struct place *p, const struct sl_npy_header *header, const float *values, struct sl_error *err)
{
    SL_AUTO_FREE int64_t *ids = sl_alloc((size_t)header->count, sizeof(*ids));
    if (ids == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an array");
    for (int64_t i = 0; i < header->count; i++) /* exact below 2^24; a vocabulary never has so many */
        ids[i] = fabsf(values[i]) < 0x1p24F ? (int64_t)values[i] : INT32_MAX;
    return take_tokens(p, ids, header->shape, header->rank, err);
}

static enum sl_status take_npy(const struct place *p, const struct dp_upload *upload, struct sl_error *err)
{
    struct sl_npy_header header;
    enum sl_status status = sl_npy_parse(&header, upload->bytes, upload->size, upload->size, p->shown, err);
    if (status != SL_OK)
        return status;
    bool frames = p->modality->kind == SL_KIND_VIT, ids = p->modality->kind == SL_KIND_BERT;
    if ((frames && header.type != SL_NPY_U1) ||
            (ids && (header.type < SL_NPY_I1 || header.type == SL_NPY_BOOL)))
        return sl_fail(err, SL_BAD_DATA, "%s: its array has numbers of type %s; expected %s", p->shown,
                sl_npy_type_name(header.type), frames ? "uint8" : "whole numbers, token ids");
    if (frames)
        return take_frames(p->input, p->modality, (const uint8_t *)upload->bytes + header.data_offset,
                header.shape, header.rank, err);
    SL_AUTO_FREE float *values = sl_alloc((size_t)header.count, sizeof(*values));
    if (values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for an array");
    sl_npy_convert(&header, upload->bytes, values);
    return ids ? take_ids(p, &header, values, err) : take_rows(p, values, header.shape, header.rank, err);
}

static enum sl_status take_array(struct dp_preparer *preparer, struct wk_sample_input *given,
        const struct dp_upload *upload, struct sl_error *err)
{
    static const struct {
        enum dp_upload_kind kind;
        const char *noun;
    } wanted[] = {[SL_KIND_VIT] = {DP_UPLOAD_FRAMES, "frames, uint8 (frames, image, image, 3)"},
            [SL_KIND_BERT] = {DP_UPLOAD_TOKENS, "token ids"},
            [SL_KIND_FEATURES] = {DP_UPLOAD_ROWS, "rows of float32 numbers"}};
    int m = 0;
    enum sl_status status = find_modality(preparer->config, upload->name, &m, err);
    if (status != SL_OK)
        return status;
    struct place p = {.modality = &preparer->config->modalities[m],
            .vocab = wk_importer_vocab(preparer->importer, m),
            .input = &given[m]};
    (void)snprintf(p.shown, sizeof(p.shown), "modality %s", p.modality->name);
    if (upload->kind == DP_UPLOAD_NPY)
        return take_npy(&p, upload, err);
    if (upload->kind != wanted[p.modality->kind].kind)
        return sl_fail(
                err, SL_BAD_DATA, "modality %s takes %s", p.modality->name, wanted[p.modality->kind].noun);
    if (upload->kind == DP_UPLOAD_FRAMES)
        return take_frames(p.input, p.modality, upload->bytes, upload->shape, upload->rank, err);
    if (upload->kind == DP_UPLOAD_TOKENS)
        return take_tokens(&p, upload->bytes, upload->shape, upload->rank, err);
    return take_rows(&p, upload->bytes, upload->shape, upload->rank, err);
}

/* Texts for one modality each. The row borrows them. */
static enum sl_status take_own_texts(const struct sl_config *config, const struct dp_request *request,
        struct wk_manifest_row *row, struct sl_error *err)
{
    for (int i = 0; i < request->own_text_count; i++) {
        int m = 0;
        enum sl_status status = find_modality(config, request->own_texts[i].name, &m, err);
        if (status != SL_OK)
            return status;
        if (config->modalities[m].kind != SL_KIND_BERT)
            return sl_fail(
                    err, SL_BAD_DATA, "texts.%s: this modality reads no text", config->modalities[m].name);
        row->own_texts[m] = request->own_texts[i].text;
    }
    return SL_OK;
}

/* ---- the whole request ---- */

/* Errors of the importer begin with "video PATH"; people get the name that they gave, not where it lies here. */
static void hide_path(struct sl_error *err, const char *path, const char *shown)
{
    char text[SL_ERROR_TEXT_MAX];
    char *at = path[0] == 0 ? NULL : strstr(err->text, path);
    if (at == NULL)
        return;
    (void)snprintf(
            text, sizeof(text), "%.*s%.256s%s", (int)(at - err->text), err->text, shown, at + strlen(path));
    memcpy(err->text, text, sizeof(text));
}

static void free_inputs(struct wk_sample_input *inputs)
{
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        sl_free(inputs[m].frames);
        sl_free(inputs[m].tokens);
        sl_free(inputs[m].features);
    }
}

enum sl_status dp_prepare(struct dp_preparer *preparer, const struct dp_request *request,
        struct wk_sample *ret_sample, struct sl_error *err)
{
    char path[PATH_MAX] = "", id[] = "request";
    SL_AUTO_CLOSE int file = -1;
    struct wk_sample_input given[SL_MODALITIES_MAX] = {{0}};
    const struct dp_upload *video = NULL;
    enum sl_status status = SL_OK;
    for (int i = 0; i < request->upload_count && status == SL_OK; i++) {
        if (request->uploads[i].kind == DP_UPLOAD_VIDEO)
            video = &request->uploads[i];
        else
            status = take_array(preparer, given, &request->uploads[i], err);
    }
    if (status == SL_OK && video != NULL && request->video != NULL)
        status = sl_fail(err, SL_BAD_DATA, "there is both a path and an upload of a video; give one of them");
    if (status == SL_OK && video != NULL)
        status = write_video(preparer, video, path, err);
    else if (status == SL_OK && request->video != NULL)
        status = find_video(preparer, request->video, &file, path, err);
    struct wk_manifest_row row = {.id = request->id != NULL && request->id[0] != 0 ? request->id : id,
            .video = path[0] != 0 ? path : NULL,
            .label = WK_LABEL_NONE,
            .published_s = request->published_s};
    memcpy(row.texts, request->texts, sizeof(row.texts));
    if (status == SL_OK)
        status = take_own_texts(preparer->config, request, &row, err);
    if (status == SL_OK)
        status = wk_import_given(preparer->importer, &row, given, ret_sample, err);
    if (status != SL_OK && err != NULL)
        hide_path(err, path, video != NULL ? "(uploaded)" : request->video == NULL ? "" : request->video);
    if (video != NULL && path[0] != 0)
        (void)unlink(path);
    free_inputs(given);
    return status;
}
