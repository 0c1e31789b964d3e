/* Packing and unpacking of records: see record.h. */
#include "worker/dataset/record.h"

#include "common/memory.h"
#include "common/random.h"
#include "proto/record.pb-c.h"
#include "worker/dataset/frames.h"
#include "worker/dataset/manifest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_MAGIC 0x31524c53U /* "SLR1" */
#define REJECT_MAGIC 0x31584c53U /* "SLX1" */
#define REASON_MAX 1000          /* bytes of a reject's reason */

static ProtobufCBinaryData borrow(const void *bytes, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)bytes};
}

static void store_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static void store_u64(uint8_t *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t load_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint64_t load_u64(const uint8_t *from)
{
    return (uint64_t)load_u32(from) | (uint64_t)load_u32(from + 4) << 32;
}

/* ---- envelope ---- */

static enum sl_status pack_message(uint8_t **ret_bytes, size_t *ret_size, const ProtobufCMessage *message,
        uint32_t magic, uint64_t key, struct sl_error *err)
{
    size_t payload = protobuf_c_message_get_packed_size(message);
    if (payload > WK_RECORD_MAX - WK_RECORD_ENVELOPE)
        return sl_fail(err, SL_BAD_DATA,
                "the sample takes %zu bytes, a record at most %u; use fewer or smaller frames", payload,
                WK_RECORD_MAX);
    uint8_t *bytes = sl_alloc(WK_RECORD_ENVELOPE + payload, 1);
    if (bytes == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    (void)protobuf_c_message_pack(message, bytes + WK_RECORD_ENVELOPE);
    store_u32(bytes, magic);
    store_u32(bytes + 4, (uint32_t)payload);
    store_u64(bytes + 8, sl_hash64(bytes + WK_RECORD_ENVELOPE, payload, key));
    *ret_bytes = bytes;
    *ret_size = WK_RECORD_ENVELOPE + payload;
    return SL_OK;
}

static enum sl_status open_envelope(uint32_t *ret_magic, uint64_t *ret_checksum, const uint8_t *bytes,
        size_t size, uint64_t key, struct sl_error *err)
{
    if (size < WK_RECORD_ENVELOPE || size > WK_RECORD_MAX)
        return sl_fail(err, SL_BAD_DATA, "the record has %zu bytes; it is damaged", size);
    *ret_magic = load_u32(bytes);
    uint64_t checksum = load_u64(bytes + 8);
    if ((*ret_magic != SAMPLE_MAGIC && *ret_magic != REJECT_MAGIC) ||
            load_u32(bytes + 4) != size - WK_RECORD_ENVELOPE)
        return sl_fail(err, SL_BAD_DATA, "the record's head is damaged");
    if (sl_hash64(bytes + WK_RECORD_ENVELOPE, size - WK_RECORD_ENVELOPE, key) != checksum)
        return sl_fail(err, SL_BAD_DATA, "the record's checksum does not fit; it is damaged");
    *ret_checksum = checksum;
    return SL_OK;
}

enum sl_status wk_record_verify(
        uint64_t *ret_checksum, const void *bytes, size_t size, uint64_t key, struct sl_error *err)
{
    uint32_t magic = 0;
    uint64_t checksum = 0;
    enum sl_status status = open_envelope(&magic, &checksum, bytes, size, key, err);
    if (status == SL_OK && ret_checksum != NULL)
        *ret_checksum = checksum;
    return status;
}

/* ---- memory of one unpacking ---- */

/* protobuf-c turns two bytes into a 64-byte message; a budget in proportion to the record bounds that. */
struct budget {
    size_t left;
    bool no_memory; /* the machine's, not the budget, ran out */
};

static void *budget_alloc(void *context, size_t size)
{
    struct budget *budget = context;
    if (size > budget->left)
        return NULL;
    budget->left -= size;
    void *pointer = sl_alloc(size, 1);
    budget->no_memory = budget->no_memory || pointer == NULL;
    return pointer;
}

static void budget_free(void *context, void *pointer)
{
    (void)context;
    sl_free(pointer);
}

static enum sl_status unpack_message(ProtobufCMessage **ret_message,
        const ProtobufCMessageDescriptor *descriptor, uint32_t wanted, const void *bytes, size_t size,
        uint64_t key, struct sl_error *err)
{
    uint32_t magic = 0;
    uint64_t checksum = 0;
    enum sl_status status = open_envelope(&magic, &checksum, bytes, size, key, err);
    if (status != SL_OK)
        return status;
    if (magic != wanted)
        return sl_fail(err, SL_BAD_DATA, "the record is of another kind than its key says");
    struct budget budget = {.left = size * 8 + 65536};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    *ret_message = protobuf_c_message_unpack(
            descriptor, &allocator, size - WK_RECORD_ENVELOPE, (const uint8_t *)bytes + WK_RECORD_ENVELOPE);
    if (*ret_message != NULL)
        return SL_OK;
    if (budget.no_memory)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a record of %zu bytes", size);
    return sl_fail(err, SL_BAD_DATA, "the record's content cannot be read");
}

static void free_message(ProtobufCMessage *message)
{
    struct budget budget = {0};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, &allocator);
}

static void free_sample_message(Shelflife__Record__Sample **message)
{
    free_message((ProtobufCMessage *)*message);
}

static void free_reject_message(Shelflife__Record__Reject **message)
{
    free_message((ProtobufCMessage *)*message);
}

/* ---- packing ---- */

struct packing {
    Shelflife__Record__Sample sample;
    Shelflife__Record__Input inputs[SL_MODALITIES_MAX];
    Shelflife__Record__Input *input_list[SL_MODALITIES_MAX];
    ProtobufCBinaryData *jpegs[SL_MODALITIES_MAX];
};

static void packing_fini(struct packing *packing)
{
    for (int m = 0; m < SL_MODALITIES_MAX; m++) {
        for (size_t i = 0; packing->jpegs[m] != NULL && i < packing->inputs[m].n_jpegs; i++)
            sl_free(packing->jpegs[m][i].data);
        sl_free(packing->jpegs[m]);
    }
}

static enum sl_status pack_frames(struct packing *packing, int m, const struct wk_sample_input *input,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    Shelflife__Record__Input *message = &packing->inputs[m];
    size_t size = (size_t)modality->image * (size_t)modality->image * 3;
    message->width = (uint32_t)modality->image;
    if (modality->storage == SL_STORAGE_RAW) {
        message->has_frames = true;
        message->frames = borrow(input->frames, (size_t)input->items * size);
        return SL_OK;
    }
    ProtobufCBinaryData *jpegs = sl_alloc((size_t)input->items, sizeof(*jpegs));
    if (jpegs == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    packing->jpegs[m] = message->jpegs = jpegs;
    for (int i = 0; i < input->items; i++) {
        enum sl_status status = wk_jpeg_encode(&jpegs[i].data, &jpegs[i].len,
                input->frames + (size_t)i * size, modality->image, modality->jpeg_quality, err);
        if (status != SL_OK)
            return status;
        message->n_jpegs++;
    }
    return SL_OK;
}

static enum sl_status pack_input(struct packing *packing, int m, const struct wk_sample_input *input,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    Shelflife__Record__Input *message = &packing->inputs[m];
    shelflife__record__input__init(message);
    packing->input_list[m] = message;
    message->has_name = message->has_kind = message->has_items = message->has_width = true;
    message->name = borrow(modality->name, strlen(modality->name));
    message->kind = (uint32_t)modality->kind;
    message->items = (uint32_t)input->items;
    switch (modality->kind) {
    case SL_KIND_VIT:
        return pack_frames(packing, m, input, modality, err);
    case SL_KIND_BERT:
        message->n_tokens = (size_t)input->items;
        message->tokens = (uint32_t *)input->tokens; /* ids are >= 0 */
        return SL_OK;
    case SL_KIND_FEATURES:
        message->has_features = true;
        message->width = (uint32_t)modality->input;
        message->features =
                borrow(input->features, (size_t)input->items * (size_t)modality->input * sizeof(float));
        return SL_OK;
    }
    return sl_fail(err, SL_FAILED, "modality %s has no known kind", modality->name);
}

enum sl_status wk_record_pack(uint8_t **ret_bytes, size_t *ret_size, const struct wk_sample *sample,
        const struct sl_config *config, uint64_t key, struct sl_error *err)
{
    SL_AUTO(packing_fini) struct packing packing = {.sample = SHELFLIFE__RECORD__SAMPLE__INIT};
    Shelflife__Record__Sample *message = &packing.sample;
    size_t title = strlen(sample->title);
    message->has_id = message->has_title = true;
    message->id = borrow(sample->id, strlen(sample->id));
    message->title = borrow(sample->title, title < WK_RECORD_TEXT_MAX ? title : WK_RECORD_TEXT_MAX);
    if (sample->label >= 0 && sample->label < config->label_count) {
        message->has_label = true;
        message->label =
                borrow(config->labels[sample->label].name, strlen(config->labels[sample->label].name));
    }
    message->has_published_s = sample->published_s != INT64_MIN;
    message->published_s = message->has_published_s ? sample->published_s : 0;
    message->n_inputs = (size_t)config->modality_count;
    message->inputs = packing.input_list;
    for (int m = 0; m < config->modality_count; m++) {
        enum sl_status status = pack_input(&packing, m, &sample->inputs[m], &config->modalities[m], err);
        if (status != SL_OK)
            return status;
    }
    return pack_message(ret_bytes, ret_size, &message->base, SAMPLE_MAGIC, key, err);
}

/* ---- unpacking ---- */

static enum sl_status copy_bytes(char **ret_text, const ProtobufCBinaryData *bytes, size_t limit,
        const char *what, struct sl_error *err)
{
    if (bytes->len > limit || (bytes->len > 0 && memchr(bytes->data, '\0', bytes->len) != NULL))
        return sl_fail(err, SL_BAD_DATA, "the record's %s is not a text of at most %zu bytes", what, limit);
    char *text = sl_alloc(bytes->len + 1, 1);
    if (text == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (bytes->len > 0)
        memcpy(text, bytes->data, bytes->len);
    *ret_text = text;
    return SL_OK;
}

static enum sl_status misfit(const struct sl_modality_config *modality, const char *what, long long found,
        long long expected, struct sl_error *err)
{
    return sl_fail(err, SL_BAD_DATA,
            "modality %s: the record has %s %lld, expected %lld; import with this config again",
            modality->name, what, found, expected);
}

static enum sl_status unpack_frames(struct wk_sample_input *input, const Shelflife__Record__Input *message,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    size_t size = (size_t)modality->image * (size_t)modality->image * 3;
    bool raw = message->has_frames;
    if (message->width != (uint32_t)modality->image)
        return misfit(modality, "frames of size", message->width, modality->image, err);
    if (raw ? message->frames.len != (size_t)message->items * size : message->n_jpegs != message->items)
        return sl_fail(err, SL_BAD_DATA, "modality %s: the record's frames do not have the size it states",
                modality->name);
    int stored = (int)message->items;
    input->items = stored < modality->frames ? stored : modality->frames;
    input->frames = sl_alloc((size_t)input->items, size);
    if (input->frames == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (int k = 0; k < input->items; k++) {
        size_t from = (size_t)wk_choose_evenly(k, input->items, stored);
        uint8_t *to = input->frames + (size_t)k * size;
        enum sl_status status = SL_OK;
        if (raw)
            memcpy(to, message->frames.data + from * size, size);
        else
            status = wk_jpeg_decode(
                    to, message->jpegs[from].data, message->jpegs[from].len, modality->image, err);
        if (status != SL_OK)
            return status;
    }
    return SL_OK;
}

static enum sl_status unpack_tokens(struct wk_sample_input *input, const Shelflife__Record__Input *message,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    if (message->n_tokens != message->items)
        return sl_fail(err, SL_BAD_DATA, "modality %s: the record does not have the tokens it states",
                modality->name);
    int stored = (int)message->items;
    input->items = stored < modality->max_tokens ? stored : modality->max_tokens;
    input->tokens = sl_alloc((size_t)input->items, sizeof(*input->tokens));
    if (input->tokens == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (int i = 0; i < input->items; i++) {
        uint32_t id = message->tokens[i + 1 == input->items ? stored - 1 : i]; /* the last one stays [SEP] */
        if (id >= (uint32_t)modality->vocab_size)
            return sl_fail(err, SL_BAD_DATA, "modality %s: token id %u is outside the vocabulary of %d",
                    modality->name, id, modality->vocab_size);
        input->tokens[i] = (int32_t)id;
    }
    return SL_OK;
}

static enum sl_status unpack_features(struct wk_sample_input *input, const Shelflife__Record__Input *message,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    size_t width = (size_t)modality->input;
    if (message->width != width)
        return misfit(modality, "feature rows of", message->width, modality->input, err);
    if (!message->has_features || message->features.len != (size_t)message->items * width * sizeof(float))
        return sl_fail(err, SL_BAD_DATA, "modality %s: the record does not have the feature rows it states",
                modality->name);
    int stored = (int)message->items;
    input->items = stored < modality->max_items ? stored : modality->max_items;
    input->features = sl_alloc((size_t)input->items * width, sizeof(float));
    if (input->features == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    for (int k = 0; k < input->items; k++) {
        size_t from = (size_t)wk_choose_evenly(k, input->items, stored);
        memcpy(input->features + (size_t)k * width, message->features.data + from * width * sizeof(float),
                width * sizeof(float));
    }
    for (size_t i = 0; i < (size_t)input->items * width; i++) {
        if (!isfinite(input->features[i]))
            return sl_fail(err, SL_BAD_DATA, "modality %s: a value is not finite", modality->name);
    }
    return SL_OK;
}

static const Shelflife__Record__Input *find_input(
        const Shelflife__Record__Sample *message, const struct sl_modality_config *modality)
{
    size_t length = strlen(modality->name);
    for (size_t i = 0; i < message->n_inputs; i++) {
        const Shelflife__Record__Input *input = message->inputs[i];
        if (input->has_name && input->name.len == length &&
                memcmp(input->name.data, modality->name, length) == 0)
            return input;
    }
    return NULL;
}

static enum sl_status unpack_input(struct wk_sample_input *input, const Shelflife__Record__Sample *message,
        const struct sl_modality_config *modality, struct sl_error *err)
{
    const Shelflife__Record__Input *stored = find_input(message, modality);
    if (stored == NULL)
        return sl_fail(err, SL_BAD_DATA, "the record has no modality %s; import with this config again",
                modality->name);
    if (!stored->has_kind || stored->kind != (uint32_t)modality->kind)
        return misfit(modality, "kind", stored->kind, modality->kind, err);
    if (stored->items < 1 || stored->items > WK_RECORD_MAX)
        return sl_fail(err, SL_BAD_DATA, "modality %s: the record has no items", modality->name);
    switch (modality->kind) {
    case SL_KIND_VIT:
        return unpack_frames(input, stored, modality, err);
    case SL_KIND_BERT:
        return unpack_tokens(input, stored, modality, err);
    case SL_KIND_FEATURES:
        return unpack_features(input, stored, modality, err);
    }
    return sl_fail(err, SL_FAILED, "modality %s has no known kind", modality->name);
}

static enum sl_status unpack_label(int *ret_label, const Shelflife__Record__Sample *message,
        const struct sl_config *config, struct sl_error *err)
{
    *ret_label = WK_LABEL_NONE;
    if (!message->has_label)
        return SL_OK;
    SL_AUTO_FREE char *name = NULL;
    enum sl_status status = copy_bytes(&name, &message->label, SL_NAME_MAX - 1, "label", err);
    if (status != SL_OK)
        return status;
    *ret_label = sl_config_find_label(config, name);
    if (*ret_label < 0)
        return sl_fail(err, SL_BAD_DATA, "the record's label \"%s\" is not in the config's labels", name);
    return SL_OK;
}

enum sl_status wk_record_unpack(struct wk_sample *ret_sample, const void *bytes, size_t size,
        const struct sl_config *config, uint64_t key, struct sl_error *err)
{
    SL_AUTO(free_sample_message) Shelflife__Record__Sample *message = NULL;
    enum sl_status status = unpack_message((ProtobufCMessage **)&message,
            &shelflife__record__sample__descriptor, SAMPLE_MAGIC, bytes, size, key, err);
    if (status != SL_OK)
        return status;
    SL_AUTO(wk_sample_fini) struct wk_sample sample = {0};
    status = copy_bytes(&sample.id, &message->id, WK_MANIFEST_ID_MAX, "id", err);
    if (status == SL_OK)
        status = copy_bytes(&sample.title, &message->title, WK_RECORD_TEXT_MAX, "title", err);
    if (status == SL_OK)
        status = unpack_label(&sample.label, message, config, err);
    sample.published_s = message->has_published_s ? message->published_s : INT64_MIN;
    for (int m = 0; m < config->modality_count && status == SL_OK; m++)
        status = unpack_input(&sample.inputs[m], message, &config->modalities[m], err);
    if (status != SL_OK)
        return status;
    *ret_sample = sample;
    memset(&sample, 0, sizeof(sample));
    return SL_OK;
}

/* ---- a look at the beginning ---- */

/* Id, title and label come first in the payload, before the megabytes: they are read without unpacking the rest. */
struct fields {
    const uint8_t *at, *end;
};

static bool take_varint(struct fields *fields, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && fields->at < fields->end; shift += 7) {
        uint8_t byte = *fields->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool copy_field(struct fields *fields, char *ret_text, size_t capacity)
{
    uint64_t length = 0;
    if (!take_varint(fields, &length) || length > (uint64_t)(fields->end - fields->at))
        return false;
    if (ret_text != NULL) {
        if (length >= capacity)
            return false;
        memcpy(ret_text, fields->at, length);
        ret_text[length] = '\0';
    }
    fields->at += length;
    return true;
}

enum sl_status wk_record_id(char *ret_id, size_t id_size, char *ret_label, size_t label_size,
        const void *bytes, size_t size, struct sl_error *err)
{
    const uint8_t *start = bytes;
    if (ret_id != NULL)
        ret_id[0] = '\0';
    if (ret_label != NULL)
        ret_label[0] = '\0';
    if (size < WK_RECORD_ENVELOPE || load_u32(start) != SAMPLE_MAGIC)
        return sl_fail(err, SL_BAD_DATA, "the record's head is damaged");
    struct fields fields = {start + WK_RECORD_ENVELOPE, start + size};
    uint64_t tag = 0;
    while (fields.at < fields.end &&
            *fields.at < (4 << 3)) { /* fields 1 to 3, all of length-delimited type 2 */
        bool known = take_varint(&fields, &tag) && (tag & 7) == 2;
        char *to = tag >> 3 == 1 ? ret_id : tag >> 3 == 3 ? ret_label : NULL;
        if (!known || !copy_field(&fields, to, tag >> 3 == 1 ? id_size : label_size))
            return sl_fail(err, SL_BAD_DATA, "the record's content cannot be read");
    }
    return SL_OK;
}

/* ---- rejects ---- */

enum sl_status wk_reject_pack(uint8_t **ret_bytes, size_t *ret_size, const struct wk_reject *reject,
        uint64_t key, struct sl_error *err)
{
    Shelflife__Record__Reject message = SHELFLIFE__RECORD__REJECT__INIT;
    size_t length = strlen(reject->reason);
    message.has_line = message.has_id = message.has_reason = true;
    message.line = (uint64_t)reject->line;
    message.id = borrow(reject->id, strlen(reject->id));
    message.reason = borrow(reject->reason, length < REASON_MAX ? length : REASON_MAX);
    return pack_message(ret_bytes, ret_size, &message.base, REJECT_MAGIC, key, err);
}

enum sl_status wk_reject_unpack(
        struct wk_reject *ret_reject, const void *bytes, size_t size, uint64_t key, struct sl_error *err)
{
    SL_AUTO(free_reject_message) Shelflife__Record__Reject *message = NULL;
    enum sl_status status = unpack_message((ProtobufCMessage **)&message,
            &shelflife__record__reject__descriptor, REJECT_MAGIC, bytes, size, key, err);
    if (status != SL_OK)
        return status;
    SL_AUTO(wk_reject_fini) struct wk_reject reject = {.line = (int64_t)message->line};
    status = copy_bytes(&reject.id, &message->id, WK_MANIFEST_ID_MAX, "id", err);
    if (status == SL_OK)
        status = copy_bytes(&reject.reason, &message->reason, REASON_MAX, "reason", err);
    if (status != SL_OK)
        return status;
    *ret_reject = reject;
    memset(&reject, 0, sizeof(reject));
    return SL_OK;
}

void wk_reject_fini(struct wk_reject *reject)
{
    sl_free(reject->id);
    sl_free(reject->reason);
    memset(reject, 0, sizeof(*reject));
}
