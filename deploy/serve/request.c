/* Requests from bytes: see request.h. */
#include "deploy/serve/request.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/proto_unpack.h"
#include "proto/serve.pb-c.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define UNPACKED_MAX ((size_t)4 << 20) /* bytes that a header may become in memory */

static const char *const text_keys[WK_TEXT_FIELDS] = {
        [WK_TEXT_TITLE] = "title", [WK_TEXT_OCR] = "ocr", [WK_TEXT_ASR] = "asr"};

void dp_request_fini(struct dp_request *request)
{
    sl_free(request->id);
    sl_free(request->video);
    for (int i = 0; i < WK_TEXT_FIELDS; i++)
        sl_free(request->texts[i]);
    for (int i = 0; i < request->own_text_count; i++)
        sl_free(request->own_texts[i].text);
    for (int i = 0; i < request->upload_count; i++)
        sl_free(request->uploads[i].bytes);
    *request = (struct dp_request){0};
}

/* ---- what all forms have in common ---- */

static enum sl_status set_text(char **ret_text, const char *key, const char *value, struct sl_error *err)
{
    if (value == NULL)
        return SL_OK;
    if (*ret_text != NULL)
        return sl_fail(err, SL_USAGE, "\"%s\" is given twice", key);
    *ret_text = sl_strdup(value);
    return *ret_text != NULL ? SL_OK : sl_fail(err, SL_NO_MEMORY, "out of memory for \"%s\"", key);
}

static enum sl_status set_id(struct dp_request *request, const char *id, struct sl_error *err)
{
    if (id != NULL && strlen(id) > WK_MANIFEST_ID_MAX)
        return sl_fail(
                err, SL_USAGE, "\"id\" has %zu bytes; at most %d are taken", strlen(id), WK_MANIFEST_ID_MAX);
    return set_text(&request->id, "id", id, err);
}

static enum sl_status add_own_text(
        struct dp_request *request, const char *name, const char *text, struct sl_error *err)
{
    if (name == NULL || name[0] == 0 || strlen(name) >= SL_NAME_MAX || text == NULL)
        return sl_fail(err, SL_USAGE, "\"texts\": expected a modality's name and a text");
    for (int i = 0; i < request->own_text_count; i++)
        if (strcmp(request->own_texts[i].name, name) == 0)
            return sl_fail(err, SL_USAGE, "texts.%s is given twice", name);
    if (request->own_text_count == SL_MODALITIES_MAX)
        return sl_fail(err, SL_USAGE, "\"texts\" has more than %d texts", SL_MODALITIES_MAX);
    struct dp_own_text *own = &request->own_texts[request->own_text_count];
    own->text = sl_strdup(text);
    if (own->text == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for texts.%s", name);
    memcpy(own->name, name, strlen(name) + 1);
    request->own_text_count++;
    return SL_OK;
}

/* A place for one more upload, not yet counted; name "" for a video. */
static enum sl_status place_upload(
        struct dp_request *request, struct dp_upload **ret_upload, const char *name, struct sl_error *err)
{
    const char *shown = name[0] == 0 ? "video" : name;
    if (strlen(name) >= SL_NAME_MAX)
        return sl_fail(err, SL_USAGE, "a part's name has %zu bytes; it is \"video\" or a modality's name",
                strlen(name));
    for (int i = 0; i < request->upload_count; i++)
        if (strcmp(request->uploads[i].name, name) == 0)
            return sl_fail(err, SL_USAGE, "\"%.64s\" is given twice", shown);
    if (request->upload_count == DP_REQUEST_UPLOADS_MAX)
        return sl_fail(
                err, SL_USAGE, "more than %d arrays and videos in one request", DP_REQUEST_UPLOADS_MAX);
    *ret_upload = &request->uploads[request->upload_count];
    **ret_upload = (struct dp_upload){0};
    memcpy((*ret_upload)->name, name, strlen(name) + 1);
    return SL_OK;
}

enum sl_status dp_request_upload(
        struct dp_request *request, const char *name, char **bytes, size_t size, struct sl_error *err)
{
    bool video = strcmp(name, "video") == 0;
    struct dp_upload *upload = NULL;
    enum sl_status status = place_upload(request, &upload, video ? "" : name, err);
    if (status != SL_OK)
        return status;
    upload->kind = video ? DP_UPLOAD_VIDEO : DP_UPLOAD_NPY;
    upload->bytes = SL_TAKE(*bytes);
    upload->size = size;
    request->upload_count++;
    return SL_OK;
}

/* ---- JSON ---- */

static enum sl_status check_keys(const json_t *object, struct sl_error *err)
{
    static const char *const known[] = {"id", "video", "title", "ocr", "asr", "published", "features",
            "texts", "tokens", "label",
            "split"}; /* the last two are a manifest's, so that its lines can be sent as they are */
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, key, value)
    {
        bool found = key[0] == '_';
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && !found; i++)
            found = strcmp(key, known[i]) == 0;
        if (!found)
            return sl_fail(err, SL_USAGE,
                    "unknown key \"%.64s\"; expected id, title, ocr, asr, published, video, texts, tokens or "
                    "features",
                    key);
    }
    return SL_OK;
}

static enum sl_status text_of(
        const char **ret_text, const json_t *object, const char *key, struct sl_error *err)
{
    const json_t *value = json_object_get(object, key);
    *ret_text = NULL;
    if (value == NULL || json_is_null(value))
        return SL_OK;
    if (!json_is_string(value))
        return sl_fail(err, SL_USAGE, "\"%s\" is not a text", key);
    *ret_text = json_string_value(value);
    return SL_OK;
}

/* Before anything is allocated: rows times columns of a text may be far more numbers than it has. */
static enum sl_status check_rows(
        const json_t *array, size_t rows, size_t columns, const char *name, struct sl_error *err)
{
    for (size_t r = 0; r < rows; r++)
        if (json_array_size(json_array_get(array, r)) != columns)
            return sl_fail(err, SL_USAGE,
                    "features.%s: row %zu is not a list of %zu numbers as the first one", name, r, columns);
    return SL_OK;
}

static enum sl_status parse_row(float *values, const json_t *row, size_t columns, const char *name,
        size_t index, struct sl_error *err)
{
    for (size_t i = 0; i < columns; i++) {
        const json_t *number = json_array_get(row, i);
        values[i] = json_is_number(number) ? (float)json_number_value(number) : NAN;
        if (!isfinite(values[i]))
            return sl_fail(err, SL_USAGE, "features.%s: number %zu of row %zu is not a finite float32", name,
                    i, index);
    }
    return SL_OK;
}

/* [1, 2] or [[1, 2], [3, 4]]. */
static enum sl_status parse_array(
        struct dp_request *request, const char *name, const json_t *value, struct sl_error *err)
{
    bool flat = json_is_array(value) && !json_is_array(json_array_get(value, 0));
    size_t rows = flat ? 1 : json_array_size(value);
    size_t columns = json_array_size(flat ? value : json_array_get(value, 0));
    struct dp_upload *upload = NULL;
    if (rows == 0 || columns == 0 || name[0] == 0)
        return sl_fail(err, SL_USAGE,
                "features.%.64s: expected rows of numbers, [[…], …]; a larger array goes as an .npy part of "
                "a "
                "form",
                name);
    enum sl_status status = place_upload(request, &upload, name, err);
    if (status == SL_OK && !flat)
        status = check_rows(value, rows, columns, name, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE float *values = sl_alloc(rows * columns, sizeof(*values));
    if (values == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for features.%s", name);
    for (size_t r = 0; r < rows && status == SL_OK; r++)
        status = parse_row(
                values + r * columns, flat ? value : json_array_get(value, r), columns, name, r, err);
    if (status != SL_OK)
        return status;
    upload->kind = DP_UPLOAD_ROWS;
    upload->size = rows * columns * sizeof(*values);
    upload->bytes = SL_TAKE(values);
    upload->rank = 2;
    upload->shape[0] = (int64_t)rows;
    upload->shape[1] = (int64_t)columns;
    request->upload_count++;
    return SL_OK;
}

/* [101, 7, 102] */
static enum sl_status parse_tokens(
        struct dp_request *request, const char *name, const json_t *value, struct sl_error *err)
{
    struct dp_upload *upload = NULL;
    size_t count = json_array_size(value);
    if (count == 0 || name[0] == 0)
        return sl_fail(err, SL_USAGE, "tokens.%.64s: expected token ids, [101, …]", name);
    enum sl_status status = place_upload(request, &upload, name, err);
    if (status != SL_OK)
        return status;
    SL_AUTO_FREE int64_t *ids = sl_alloc(count, sizeof(*ids));
    if (ids == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for tokens.%s", name);
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(value, i);
        if (!json_is_integer(id))
            return sl_fail(err, SL_USAGE, "tokens.%s: token %zu is not a whole number", name, i);
        ids[i] = json_integer_value(id);
    }
    upload->kind = DP_UPLOAD_TOKENS;
    upload->size = count * sizeof(*ids);
    upload->bytes = SL_TAKE(ids);
    upload->rank = 1;
    upload->shape[0] = (int64_t)count;
    request->upload_count++;
    return SL_OK;
}

static enum sl_status parse_own_text(
        struct dp_request *request, const char *name, const json_t *value, struct sl_error *err)
{
    return add_own_text(request, name, json_string_value(value), err);
}

typedef enum sl_status parse_member(
        struct dp_request *request, const char *name, const json_t *value, struct sl_error *err);

/* {MODALITY: value, …} */
static enum sl_status parse_by_modality(struct dp_request *request, const json_t *object, const char *key,
        parse_member *parse, struct sl_error *err)
{
    const json_t *members = json_object_get(object, key);
    const char *name = NULL;
    json_t *value = NULL;
    enum sl_status status = SL_OK;
    if (members == NULL || json_is_null(members))
        return SL_OK;
    if (!json_is_object(members))
        return sl_fail(err, SL_USAGE, "\"%s\" is not an object {MODALITY: …}", key);
    json_object_foreach((json_t *)members, name, value)
    {
        if (status == SL_OK)
            status = parse(request, name, value, err);
    }
    return status;
}

static enum sl_status parse_object(struct dp_request *request, const json_t *object, struct sl_error *err)
{
    const char *text = NULL;
    enum sl_status status = check_keys(object, err);
    if (status == SL_OK)
        status = text_of(&text, object, "id", err);
    if (status == SL_OK)
        status = set_id(request, text, err);
    for (int i = 0; i < WK_TEXT_FIELDS && status == SL_OK; i++) {
        status = text_of(&text, object, text_keys[i], err);
        if (status == SL_OK)
            status = set_text(&request->texts[i], text_keys[i], text, err);
    }
    if (status == SL_OK)
        status = text_of(&text, object, "video", err);
    if (status == SL_OK)
        status = set_text(&request->video, "video", text, err);
    if (status == SL_OK)
        status = text_of(&text, object, "published", err);
    if (status == SL_OK && text != NULL && sl_time_parse_rfc3339(&request->published_s, text, err) != SL_OK) {
        (void)sl_error_context(err, "\"published\"");
        status = err != NULL ? err->status = SL_USAGE : SL_USAGE;
    }
    if (status == SL_OK)
        status = parse_by_modality(request, object, "texts", parse_own_text, err);
    if (status == SL_OK)
        status = parse_by_modality(request, object, "tokens", parse_tokens, err);
    if (status == SL_OK)
        status = parse_by_modality(request, object, "features", parse_array, err);
    return status;
}

enum sl_status dp_request_parse(
        struct dp_request *request, const char *text, size_t size, struct sl_error *err)
{
    json_error_t problem;
    request->published_s = INT64_MIN;
    if (size > DP_REQUEST_JSON_MAX)
        return sl_fail(err, SL_USAGE,
                "the JSON text has %zu bytes; at most %zu are taken: send arrays as .npy parts of a form",
                size, DP_REQUEST_JSON_MAX);
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (object == NULL)
        return sl_fail(err, SL_USAGE, "not JSON: line %d, column %d: %.160s", problem.line, problem.column,
                problem.text);
    enum sl_status status = json_is_object(object) ? parse_object(request, object, err)
                                                   : sl_fail(err, SL_USAGE, "not a JSON object {…}");
    json_decref(object);
    return status;
}

/* ---- protobuf ---- */

/* Whether the shape's product in bytes is the frame's size. */
static enum sl_status take_shape(struct dp_upload *upload, const Shelflife__Serve__Tensor *tensor,
        size_t size, int item_size, struct sl_error *err)
{
    int64_t bytes = item_size;
    if (tensor->n_shape < 1 || tensor->n_shape > sizeof(upload->shape) / sizeof(upload->shape[0]))
        return sl_fail(err, SL_USAGE, "tensor %.64s: its shape has %zu dimensions; expected 1 to 4",
                upload->name, tensor->n_shape);
    upload->rank = (int)tensor->n_shape;
    for (size_t i = 0; i < tensor->n_shape; i++) {
        upload->shape[i] = tensor->shape[i];
        if (tensor->shape[i] < 1 || __builtin_mul_overflow(bytes, tensor->shape[i], &bytes))
            bytes = -1;
        if (bytes < 0)
            break;
    }
    if (bytes < 0 || (uint64_t)bytes != size)
        return sl_fail(err, SL_USAGE,
                "tensor %.64s: its frame has %zu bytes, which is not what its shape asks for", upload->name,
                size);
    return SL_OK;
}

static enum sl_status take_tensor(struct dp_request *request, const Shelflife__Serve__Tensor *tensor,
        const struct dp_frame *frame, struct sl_error *err)
{
    static const enum dp_upload_kind kinds[] = {[SHELFLIFE__SERVE__TENSOR__KIND__VIDEO] = DP_UPLOAD_VIDEO,
            [SHELFLIFE__SERVE__TENSOR__KIND__FRAMES] = DP_UPLOAD_FRAMES,
            [SHELFLIFE__SERVE__TENSOR__KIND__ROWS] = DP_UPLOAD_ROWS,
            [SHELFLIFE__SERVE__TENSOR__KIND__NPY] = DP_UPLOAD_NPY,
            [SHELFLIFE__SERVE__TENSOR__KIND__TOKENS] = DP_UPLOAD_TOKENS};
    static const int item_size[] = {[DP_UPLOAD_VIDEO] = 0,
            [DP_UPLOAD_FRAMES] = 1,
            [DP_UPLOAD_ROWS] = 4,
            [DP_UPLOAD_TOKENS] = 8,
            [DP_UPLOAD_NPY] = 0};
    struct dp_upload *upload = NULL;
    unsigned kind = tensor->has_kind ? (unsigned)tensor->kind : 0;
    if (kind >= sizeof(kinds) / sizeof(kinds[0]))
        return sl_fail(err, SL_USAGE,
                "a tensor of kind %u: this version knows VIDEO, FRAMES, ROWS, TOKENS and NPY", kind);
    bool video = kinds[kind] == DP_UPLOAD_VIDEO;
    if (!video && (tensor->modality == NULL || tensor->modality[0] == 0))
        return sl_fail(err, SL_USAGE, "a tensor does not say of which modality it is");
    enum sl_status status = place_upload(request, &upload, video ? "" : tensor->modality, err);
    if (status == SL_OK && item_size[kinds[kind]] > 0)
        status = take_shape(upload, tensor, frame->size, item_size[kinds[kind]], err);
    if (status != SL_OK)
        return status;
    upload->bytes = sl_alloc(frame->size + 1, 1);
    if (upload->bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a tensor of %zu bytes", frame->size);
    memcpy(upload->bytes, frame->bytes, frame->size);
    upload->kind = kinds[kind];
    upload->size = frame->size;
    request->upload_count++;
    return SL_OK;
}

static enum sl_status take_message(struct dp_request *request, const Shelflife__Serve__Request *message,
        const struct dp_frame *frames, int frame_count, struct sl_error *err)
{
    const char *const texts[WK_TEXT_FIELDS] = {
            [WK_TEXT_TITLE] = message->title, [WK_TEXT_OCR] = message->ocr, [WK_TEXT_ASR] = message->asr};
    if (message->has_version && message->version != DP_REQUEST_VERSION)
        return sl_fail(err, SL_MISMATCH, "the request has version %u; this server speaks %d",
                message->version, DP_REQUEST_VERSION);
    if (message->n_tensors != (size_t)frame_count)
        return sl_fail(
                err, SL_USAGE, "%zu tensors are announced, %d frames came", message->n_tensors, frame_count);
    enum sl_status status = set_id(request, message->id, err);
    for (int i = 0; i < WK_TEXT_FIELDS && status == SL_OK; i++)
        status = set_text(&request->texts[i], text_keys[i], texts[i], err);
    if (status == SL_OK)
        status = set_text(&request->video, "video", message->video, err);
    if (status == SL_OK && message->has_published)
        request->published_s = message->published;
    for (size_t i = 0; i < message->n_texts && status == SL_OK; i++)
        status = add_own_text(request, message->texts[i]->modality, message->texts[i]->text, err);
    for (int i = 0; i < frame_count && status == SL_OK; i++)
        status = take_tensor(request, message->tensors[i], &frames[i], err);
    return status;
}

enum sl_status dp_request_unpack(struct dp_request *request, const void *header, size_t size,
        const struct dp_frame *frames, int frame_count, struct sl_error *err)
{
    request->published_s = INT64_MIN;
    if (size > DP_REQUEST_HEADER_MAX)
        return sl_fail(err, SL_USAGE, "the header has %zu bytes; at most %zu are taken", size,
                DP_REQUEST_HEADER_MAX);
    ProtobufCMessage *message =
            sl_proto_unpack(&shelflife__serve__request__descriptor, header, size, UNPACKED_MAX);
    if (message == NULL)
        return sl_fail(err, SL_USAGE,
                "the first part of the message is no shelflife.serve.Request (proto/serve.proto)");
    enum sl_status status =
            take_message(request, (const Shelflife__Serve__Request *)message, frames, frame_count, err);
    sl_proto_free(message);
    return status;
}
