/* Any bytes as text: the tokenizer must give 2 … max ids of the vocabulary, the same twice, and as many ids or fewer when the limit is
 * lower. The first byte picks the limit, case and how the rest is cut into pieces. */
#include "common/error.h"
#include "worker/dataset/tokenizer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_TOKENS 96
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static const char vocab_text[] =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##a\nb\n##b\nab\n##ab\nthe\n##s\n新\n视\n!\n[\n]\nmask\n#\n"
        "\xE1\x84\x92\n##\xE1\x85\xA1\n##\xE1\x86\xAB\n##\xE3\x80\xAE\n";

static const struct wk_vocab *vocabulary(void)
{
    static struct wk_vocab *vocab;
    if (vocab == NULL)
        CHECK(wk_vocab_parse(&vocab, vocab_text, sizeof vocab_text - 1, "fuzz", NULL) == SL_OK);
    return vocab;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct wk_vocab *vocab = vocabulary();
    int max = 2 + data[0] % (MAX_TOKENS - 1);
    bool lower_case = data[0] & 0x80;
    size_t cut = data[0] % size;
    const char *text = (const char *)data + 1;
    struct wk_text pieces[] = {{text, cut < size - 1 ? cut : size - 1}, {NULL, 0}, {NULL, 0}};
    pieces[1] = (struct wk_text){text + pieces[0].size, size - 1 - pieces[0].size};

    int32_t ids[MAX_TOKENS + 1];
    int32_t again[MAX_TOKENS + 1];
    int32_t few[MAX_TOKENS + 1];
    int count = wk_tokenizer_encode(vocab, lower_case, pieces, 3, max, ids);
    CHECK(count >= 2 && count <= max);
    for (int i = 0; i < count; i++)
        CHECK(ids[i] >= 0 && ids[i] < wk_vocab_size(vocab));
    CHECK(ids[0] == wk_vocab_special(vocab, WK_SPECIAL_CLS));
    CHECK(ids[count - 1] == wk_vocab_special(vocab, WK_SPECIAL_SEP));
    CHECK(wk_tokenizer_encode(vocab, lower_case, pieces, 3, max, again) == count);
    CHECK(memcmp(ids, again, (size_t)count * sizeof *ids) == 0);
    int half = wk_tokenizer_encode(vocab, lower_case, pieces, 3, 2 + (max - 2) / 2, few);
    CHECK(half <= count && memcmp(ids, few, (size_t)(half - 1) * sizeof *ids) == 0);
    return 0;
}
