/* Writing safetensors: see safetensors.h. The header is built whole in memory, the data are streamed from
 * where they lie. */
#include "common/memory.h"
#include "common/safetensors.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX 8

/* A text that grows; once an allocation has failed it stays as it is and `failed` says so, so that the caller
 * asks once at the end. */
struct text {
    char *bytes;
    size_t size, capacity;
    bool failed;
};

static void put(struct text *text, const char *bytes, size_t size)
{
    if (text->failed)
        return;
    if (size > text->capacity - text->size) {
        size_t wanted = (text->capacity + size) * 2;
        char *grown = sl_realloc(text->bytes, wanted, 1);
        if (grown == NULL) {
            text->failed = true;
            return;
        }
        text->bytes = grown;
        text->capacity = wanted;
    }
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

static void put_text(struct text *text, const char *string)
{
    put(text, string, strlen(string));
}

static void put_quoted(struct text *text, const char *string)
{
    put(text, "\"", 1);
    for (const char *c = string; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            put(text, "\\", 1);
            put(text, c, 1);
        } else if ((unsigned char)*c < 0x20) {
            char escape[8];
            (void)snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)*c);
            put_text(text, escape);
        } else {
            put(text, c, 1);
        }
    }
    put(text, "\"", 1);
}

static uint64_t view_size(const struct sl_tensor_view *view)
{
    uint64_t size = sl_dtype_size(view->dtype);
    assert(view->rank >= 0 && view->rank <= SL_TENSOR_RANK_MAX && size > 0);
    for (int i = 0; i < view->rank; i++) {
        assert(view->shape[i] >= 0);
        bool overflow = __builtin_mul_overflow(size, (uint64_t)view->shape[i], &size);
        assert(!overflow);
    }
    return size;
}

static void put_tensor(struct text *text, const struct sl_tensor_view *view, uint64_t offset)
{
    char number[64];
    put_quoted(text, view->name);
    put_text(text, ":{\"dtype\":\"");
    put_text(text, sl_dtype_name(view->dtype));
    put_text(text, "\",\"shape\":[");
    for (int i = 0; i < view->rank; i++) {
        (void)snprintf(number, sizeof(number), "%s%lld", i > 0 ? "," : "", (long long)view->shape[i]);
        put_text(text, number);
    }
    (void)snprintf(number, sizeof(number), "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
            (unsigned long long)(offset + view_size(view)));
    put_text(text, number);
}

static void put_metadata(struct text *text, const struct sl_metadata *metadata, int count)
{
    put_text(text, "\"__metadata__\":{");
    for (int i = 0; i < count; i++) {
        if (i > 0)
            put(text, ",", 1);
        put_quoted(text, metadata[i].key);
        put(text, ":", 1);
        put_quoted(text, metadata[i].value);
    }
    put(text, "}", 1);
}

/* check_names opens a header of these names as a reader would, each over no data: what the reader refuses (a
 * name that comes twice, bad UTF-8) is refused before a byte is written, without a second set of rules. */
static enum sl_status check_names(const struct sl_tensor_view *tensors, int count, struct sl_error *err)
{
    struct text text = {0};
    for (uint64_t i = 0; i < PREFIX; i++)
        put(&text, "\0", 1);
    put(&text, "{", 1);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            put(&text, ",", 1);
        put_quoted(&text, tensors[i].name);
        put_text(&text, ":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
    }
    put(&text, "}", 1);
    SL_AUTO_FREE char *bytes = text.bytes;
    if (text.failed)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a header of %d tensors", count);
    uint64_t length = text.size - PREFIX;
    memcpy(bytes, &length, PREFIX);
    struct sl_safetensors *file = NULL;
    enum sl_status s = sl_safetensors_open_memory(&file, bytes, text.size, "header", err);
    sl_safetensors_close(file);
    if (s == SL_BAD_DATA)
        return sl_fail(err, SL_USAGE,
                "a tensor's name cannot be written: it comes twice, is too long or is no valid UTF-8");
    return s;
}

enum sl_status sl_safetensors_header(char **ret_bytes, size_t *ret_size, const struct sl_tensor_view *tensors,
        int count, const struct sl_metadata *metadata, int metadata_count, struct sl_error *err)
{
    enum sl_status s = check_names(tensors, count, err);
    if (s != SL_OK)
        return s;
    struct text text = {0};
    uint64_t offset = 0;
    for (uint64_t i = 0; i < PREFIX; i++)
        put(&text, "\0", 1);
    put(&text, "{", 1);
    if (metadata_count > 0)
        put_metadata(&text, metadata, metadata_count);
    for (int i = 0; i < count; i++) {
        if (i > 0 || metadata_count > 0)
            put(&text, ",", 1);
        put_tensor(&text, &tensors[i], offset);
        offset += view_size(&tensors[i]);
    }
    put(&text, "}", 1);
    while (!text.failed && text.size % 8 != 0)
        put(&text, " ", 1);
    SL_AUTO_FREE char *bytes = text.bytes;
    if (text.failed)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a header of %d tensors", count);
    uint64_t length = text.size - PREFIX;
    memcpy(bytes, &length, PREFIX); /* little-endian, as all machines that this runs on are */
    *ret_size = text.size;
    *ret_bytes = SL_TAKE(bytes);
    return SL_OK;
}

enum sl_status sl_safetensors_write(const struct sl_sink *sink, const struct sl_tensor_view *tensors,
        int count, const struct sl_metadata *metadata, int metadata_count, struct sl_error *err)
{
    SL_AUTO_FREE char *header = NULL;
    size_t size = 0;
    enum sl_status s = sl_safetensors_header(&header, &size, tensors, count, metadata, metadata_count, err);
    if (s == SL_OK)
        s = sink->write(sink->context, header, size, err);
    for (int i = 0; s == SL_OK && i < count; i++)
        s = sink->write(sink->context, tensors[i].data, (size_t)view_size(&tensors[i]), err);
    return s;
}

enum sl_status sl_sink_fd(void *context, const void *bytes, size_t size, struct sl_error *err)
{
    int fd = *(int *)context;
    const char *at = bytes;
    while (size > 0) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return sl_fail_errno(err, "cannot write");
        at += done;
        size -= (size_t)done;
    }
    return SL_OK;
}
