#pragma once
/* What the tests of the dataset share: a folder of their own, a small config, and video files written by hand (Motion JPEG in AVI) whose every picture is
 * known, so that no encoder is needed. */
#include "common/config.h"
#include "common/file.h"
#include "common/memory.h"
#include "worker/dataset/frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE_IMAGE 16

static struct sl_error fixture_error;

/* assert_ok shows the error's text. */
#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        memset(&fixture_error, 0, sizeof(fixture_error));                                                    \
        enum sl_status got_ = (call);                                                                        \
        if (got_ != SL_OK)                                                                                   \
            fail_msg("%s: %s (%s)", #call, fixture_error.text, sl_status_name(got_));                        \
    } while (0)

/* assert_error expects a status and a piece of its text. */
#define assert_error(call, wanted, piece)                                                                    \
    do {                                                                                                     \
        memset(&fixture_error, 0, sizeof(fixture_error));                                                    \
        enum sl_status got_ = (call);                                                                        \
        if (got_ != (wanted) || strstr(fixture_error.text, piece) == NULL)                                   \
            fail_msg("%s: %s, text \"%s\"; expected %s with \"%s\"", #call, sl_status_name(got_),            \
                    fixture_error.text, sl_status_name(wanted), piece);                                      \
    } while (0)

/* fixture_folder makes an empty folder below the current one, and removes what an earlier run left there. */
static inline char *fixture_folder(const char *name)
{
    char *path = sl_strdup_printf("fixture-%s", name);
    assert_non_null(path);
    assert_ok(sl_file_remove_tree(path, &fixture_error));
    assert_ok(sl_file_make_directories(path, &fixture_error));
    return path;
}

static inline void fixture_remove(char *folder)
{
    assert_ok(sl_file_remove_tree(folder, &fixture_error));
    sl_free(folder);
}

static inline char *fixture_path(const char *folder, const char *name)
{
    char *path = sl_path_join(folder, name);
    assert_non_null(path);
    return path;
}

static inline void fixture_write(const char *folder, const char *name, const void *bytes, size_t size)
{
    char *path = fixture_path(folder, name);
    assert_ok(sl_file_write_atomic(path, bytes, size, &fixture_error));
    sl_free(path);
}

static inline void fixture_text(const char *folder, const char *name, const char *text)
{
    fixture_write(folder, name, text, strlen(text));
}

static inline const char *fixture_vocabulary(void)
{
    return "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nnews\ntoday\ncooking\nrice\nfire\nlive\n##s\n天\n气\n今\n";
}

/* fixture_config gives what sl_config_load would, for a video and a text modality, with the vocabulary in folder. Owns: sl_free it. */
static inline struct sl_config *fixture_config(const char *folder)
{
    struct sl_config *config = sl_alloc(1, sizeof(*config));
    assert_non_null(config);
    static const char *const labels[] = {"day", "week", "evergreen"};
    config->label_count = 3;
    for (int k = 0; k < 3; k++)
        (void)snprintf(config->labels[k].name, SL_NAME_MAX, "%s", labels[k]);
    config->modality_count = 2;
    struct sl_modality_config *visual = &config->modalities[0], *text = &config->modalities[1];
    (void)snprintf(visual->name, SL_NAME_MAX, "visual");
    visual->kind = SL_KIND_VIT;
    visual->image = FIXTURE_IMAGE;
    visual->patch = 8;
    visual->frames = 4;
    visual->jpeg_quality = 95;
    (void)snprintf(text->name, SL_NAME_MAX, "text");
    text->kind = SL_KIND_BERT;
    text->max_tokens = 8;
    text->max_position = 8;
    text->vocab_size = 15;
    text->lower_case = true;
    (void)snprintf(text->vocab, sizeof(text->vocab), "%s/vocab.txt", folder);
    fixture_text(folder, "vocab.txt", fixture_vocabulary());
    return config;
}

/* ---- AVI ---- */

struct fixture_bytes {
    uint8_t *bytes;
    size_t size, capacity;
};

static inline void put(struct fixture_bytes *to, const void *bytes, size_t size)
{
    if (to->size + size > to->capacity) {
        to->capacity = (to->size + size) * 2;
        to->bytes = sl_realloc(to->bytes, to->capacity, 1);
        assert_non_null(to->bytes);
    }
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

static inline void put_u32(struct fixture_bytes *to, uint32_t value)
{
    put(to, &value, sizeof(value));
}

static inline void put_u16(struct fixture_bytes *to, uint16_t value)
{
    put(to, &value, sizeof(value));
}

static inline void set_u32(struct fixture_bytes *to, size_t at, uint32_t value)
{
    memcpy(to->bytes + at, &value, sizeof(value));
}

/* The headers of an AVI with one Motion JPEG stream. */
static inline void put_avi_head(struct fixture_bytes *avi, int side, uint32_t fps, uint32_t count)
{
    put(avi, "RIFF....AVI LIST", 16);
    put_u32(avi, 4 + 8 + 56 + 12 + 8 + 56 + 8 + 40);
    put(avi, "hdrlavih", 8);
    put_u32(avi, 56);
    uint32_t main_head[14] = {
            1000000 / fps, 0, 0, 0x10, count, 0, 1, 0, (uint32_t)side, (uint32_t)side, 0, 0, 0, 0};
    put(avi, main_head, sizeof(main_head));
    put(avi, "LIST", 4);
    put_u32(avi, 4 + 8 + 56 + 8 + 40);
    put(avi, "strlstrh", 8);
    put_u32(avi, 56);
    put(avi, "vidsMJPG", 8);
    uint32_t stream_head[12] = {0, 0, 0, 1, fps, 0, count, 0, 0xffffffff, 0, 0, 0};
    put(avi, stream_head, sizeof(stream_head));
    put(avi, "strf", 4);
    put_u32(avi, 40);
    put_u32(avi, 40);
    put_u32(avi, (uint32_t)side);
    put_u32(avi, (uint32_t)side);
    put_u16(avi, 1);
    put_u16(avi, 24);
    put(avi, "MJPG", 4);
    put_u32(avi, (uint32_t)(side * side * 3));
    uint32_t none[4] = {0};
    put(avi, none, sizeof(none));
}

/* fixture_avi makes a video of count pictures of one colour each: picture k is grey of level levels(k). Owns: sl_free(result.bytes). */
static inline struct fixture_bytes fixture_avi(int side, uint32_t fps, uint32_t count, int (*level)(uint32_t))
{
    struct fixture_bytes avi = {0}, index = {0};
    put_avi_head(&avi, side, fps, count);
    size_t list = avi.size;
    put(&avi, "LIST....movi", 12);
    uint8_t *pixels = sl_alloc((size_t)side * (size_t)side, 3);
    assert_non_null(pixels);
    for (uint32_t k = 0; k < count; k++) {
        uint8_t *jpeg = NULL;
        size_t size = 0;
        memset(pixels, level(k), (size_t)side * (size_t)side * 3);
        assert_ok(wk_jpeg_encode(&jpeg, &size, pixels, side, 95, &fixture_error));
        put(&index, "00dc", 4);
        put_u32(&index, 0x10);
        put_u32(&index, (uint32_t)(avi.size - list - 8));
        put_u32(&index, (uint32_t)size);
        put(&avi, "00dc", 4);
        put_u32(&avi, (uint32_t)size);
        put(&avi, jpeg, size);
        if (size % 2 != 0)
            put(&avi, "", 1);
        sl_free(jpeg);
    }
    sl_free(pixels);
    set_u32(&avi, list + 4, (uint32_t)(avi.size - list - 8));
    put(&avi, "idx1", 4);
    put_u32(&avi, (uint32_t)index.size);
    put(&avi, index.bytes, index.size);
    sl_free(index.bytes);
    set_u32(&avi, 4, (uint32_t)(avi.size - 8));
    return avi;
}

static inline int fixture_ramp(uint32_t k)
{
    return (int)(20 + 5 * (k % 40));
}

static inline void fixture_video(const char *folder, const char *name, uint32_t count)
{
    struct fixture_bytes avi = fixture_avi(64, 10, count, fixture_ramp);
    fixture_write(folder, name, avi.bytes, avi.size);
    sl_free(avi.bytes);
}
