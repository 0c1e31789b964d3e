/* Greedy WordPiece over the words of words.c, special tokens written in the text, and the joining of pieces.
 */
#include "worker/dataset/tokenizer.h"
#include "worker/dataset/words.h"

#include <assert.h>
#include <string.h>

struct encoder {
    const struct wk_vocab *vocab;
    bool lower_case;
    int32_t *ids;
    int count;
    int room;      /* ids that fit before the last [SEP] */
    bool separate; /* a piece with tokens has ended: [SEP] comes before the next token */
    bool full;
};

static void emit(struct encoder *encoder, int32_t id)
{
    if (encoder->full || encoder->count + encoder->separate >= encoder->room) {
        encoder->full = true;
        return;
    }
    if (encoder->separate)
        encoder->ids[encoder->count++] = wk_vocab_special(encoder->vocab, WK_SPECIAL_SEP);
    encoder->separate = false;
    encoder->ids[encoder->count++] = id;
}

/* encode_word covers a word by the longest pieces, from the left; a rest that no piece begins makes the whole
 * word unknown. */
static void encode_word(struct encoder *encoder, const struct wk_word *word)
{
    int32_t pieces[WK_WORD_CHARS_MAX];
    int count = 0;
    for (int at = 0, used = 0; at < word->size; at += used) {
        pieces[count] = wk_vocab_longest(encoder->vocab, word->bytes + at, word->size - at, at > 0, &used);
        if (pieces[count++] < 0)
            break;
    }
    if (count == 0 || pieces[count - 1] < 0) {
        emit(encoder, wk_vocab_special(encoder->vocab, WK_SPECIAL_UNK));
        return;
    }
    for (int i = 0; i < count; i++)
        emit(encoder, pieces[i]);
}

static void encode_plain(struct encoder *encoder, const char *text, size_t size)
{
    struct wk_words words;
    struct wk_word word;
    wk_words_begin(&words, text, size, encoder->lower_case);
    while (!encoder->full && wk_words_next(&words, &word))
        encode_word(encoder, &word);
}

/* match_special gives the id of the special token that text begins with and its bytes, or -1. */
static int32_t match_special(const struct encoder *encoder, const char *text, size_t size, size_t *ret_size)
{
    for (int i = 0; i < WK_SPECIALS; i++) {
        const char *name = wk_special_name((enum wk_special)i);
        size_t length = strlen(name);
        if (length <= size && memcmp(text, name, length) == 0) {
            *ret_size = length;
            return wk_vocab_special(encoder->vocab, (enum wk_special)i);
        }
    }
    return -1;
}

/* encode_piece cuts at special tokens first: they are looked for in the raw text, before anything is
 * normalised. */
static void encode_piece(struct encoder *encoder, const char *text, size_t size)
{
    const char *end = text + size;
    const char *plain = text;
    for (const char *at = text; !encoder->full && at < end;) {
        at = memchr(at, '[', (size_t)(end - at));
        if (at == NULL)
            break;
        size_t length = 0;
        int32_t id = match_special(encoder, at, (size_t)(end - at), &length);
        if (id < 0) {
            at++;
            continue;
        }
        encode_plain(encoder, plain, (size_t)(at - plain));
        emit(encoder, id);
        at += length;
        plain = at;
    }
    encode_plain(encoder, plain, (size_t)(end - plain));
}

int wk_tokenizer_encode(const struct wk_vocab *vocab, bool lower_case, const struct wk_text *pieces,
        int piece_count, int max_tokens, int32_t *ids)
{
    assert(max_tokens >= 2);
    struct encoder encoder = {
            .vocab = vocab,
            .lower_case = lower_case,
            .ids = ids,
            .count = 1,
            .room = max_tokens - 1,
    };
    ids[0] = wk_vocab_special(vocab, WK_SPECIAL_CLS);
    for (int i = 0; i < piece_count && !encoder.full; i++) {
        size_t size = pieces[i].size < WK_TEXT_BYTES_MAX ? pieces[i].size : WK_TEXT_BYTES_MAX;
        if (size == 0)
            continue;
        int before = encoder.count;
        encode_piece(&encoder, pieces[i].bytes, size);
        encoder.separate = encoder.separate || encoder.count > before;
    }
    ids[encoder.count++] = wk_vocab_special(vocab, WK_SPECIAL_SEP);
    return encoder.count;
}
