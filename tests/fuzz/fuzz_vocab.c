/* Any bytes as a vocab.txt: an error or a vocabulary in which every token is found under its own id; and any bytes as text to build a
 * vocabulary from: what is built must load. */
#include "common/memory.h"
#include "worker/dataset/vocab.h"
#include "worker/dataset/vocab_build.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static void read_as_vocabulary(const char *bytes, size_t size)
{
    struct sl_error err = {0};
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    enum sl_status status = wk_vocab_parse(&vocab, bytes, size, "fuzz", &err);
    CHECK((status == SL_OK) == (vocab != NULL));
    CHECK(status == SL_OK || (status == SL_BAD_DATA && err.text[0] != 0));
    if (vocab == NULL)
        return;
    for (int32_t id = 0; id < wk_vocab_size(vocab); id++) {
        const char *token = wk_vocab_token(vocab, id);
        CHECK(token[0] != 0 && wk_vocab_find(vocab, token, strlen(token)) == id);
    }
}

static void build_from(const char *bytes, size_t size)
{
    struct sl_error err = {0};
    struct wk_vocab_options options = {.size = 400, .min_count = 1, .lower_case = size % 2, .words_max = 256};
    SL_AUTO(wk_vocab_builder_destroy_auto) struct wk_vocab_builder *builder = NULL;
    CHECK(wk_vocab_builder_create(&builder, &options, &err) == SL_OK);
    CHECK(wk_vocab_builder_add(builder, bytes, size, &err) == SL_OK);
    SL_AUTO_FREE char *text = NULL;
    size_t text_size = 0;
    struct wk_vocab_stats stats;
    enum sl_status status = wk_vocab_builder_finish(builder, &text, &text_size, &stats, &err);
    CHECK(status == SL_OK || status == SL_BAD_DATA);
    if (status != SL_OK)
        return;
    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
    CHECK(wk_vocab_parse(&vocab, text, text_size, "built", &err) == SL_OK);
    CHECK(wk_vocab_size(vocab) == stats.tokens && stats.tokens <= options.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] % 8 == 0)
        build_from((const char *)data + 1, size - 1);
    else
        read_as_vocabulary((const char *)data + 1, size - 1);
    return 0;
}
