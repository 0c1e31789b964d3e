/* Reading vocab.txt and looking tokens up: an open-addressing hash table over the lines of the file. */
#include "worker/dataset/vocab.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"

#include <assert.h>
#include <string.h>
#include <utf8proc.h>

struct wk_vocab {
    char *bytes; /* the file as it was read */
    size_t size;
    uint64_t hash;
    char *text;       /* the same with 0 for line ends: the tokens point into it */
    uint32_t *starts; /* (count,) of each token in text */
    uint32_t *sizes;  /* (count,) its bytes */
    int count;
    int32_t *slots;       /* (slot_mask + 1,) ids, -1 = free */
    uint32_t slot_mask;   /* a power of two, less one */
    int longest_piece[2]; /* bytes of the longest token that begins / continues a word */
    int32_t special[WK_SPECIALS];
};

static const char *const special_names[WK_SPECIALS] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};

const char *wk_special_name(enum wk_special special)
{
    assert((int)special >= 0 && special < WK_SPECIALS);
    return special_names[special];
}

/* A token is kept under its text without "##" and whether it had that. "##" alone is no continuation, as no
 * piece is empty. */
struct key {
    const char *text;
    size_t size;
    bool continuing;
};

static struct key key_of(const char *token, size_t size)
{
    bool continuing = size > 2 && token[0] == '#' && token[1] == '#';
    return continuing ? (struct key){token + 2, size - 2, true} : (struct key){token, size, false};
}

/* find_slot gives the slot that holds the key, or the free one where it belongs. */
static uint32_t find_slot(const struct wk_vocab *vocab, struct key key)
{
    uint32_t slot = (uint32_t)sl_hash64(key.text, key.size, key.continuing) & vocab->slot_mask;
    for (;; slot = (slot + 1) & vocab->slot_mask) {
        int32_t id = vocab->slots[slot];
        if (id < 0)
            return slot;
        struct key other = key_of(vocab->text + vocab->starts[id], vocab->sizes[id]);
        if (other.continuing == key.continuing && other.size == key.size &&
                memcmp(other.text, key.text, key.size) == 0)
            return slot;
    }
}

static bool is_utf8(const char *text, size_t size)
{
    const uint8_t *next = (const uint8_t *)text;
    for (size_t at = 0; at < size;) {
        int32_t c = -1;
        utf8proc_ssize_t used = utf8proc_iterate(next + at, (utf8proc_ssize_t)(size - at), &c);
        if (used <= 0 || c == 0)
            return false;
        at += (size_t)used;
    }
    return true;
}

static enum sl_status check_token(const struct key *line, int number, const char *name, struct sl_error *err)
{
    if (line->size == 0)
        return sl_fail(err, SL_BAD_DATA,
                "vocabulary %s:%d: the line is empty; every line holds one token: remove it", name, number);
    if (line->size > WK_VOCAB_TOKEN_BYTES_MAX)
        return sl_fail(err, SL_BAD_DATA, "vocabulary %s:%d: a token of %zu bytes, at most %d are allowed",
                name, number, line->size, WK_VOCAB_TOKEN_BYTES_MAX);
    if (number == 1 && line->size >= 3 && memcmp(line->text, "\xEF\xBB\xBF", 3) == 0)
        return sl_fail(err, SL_BAD_DATA,
                "vocabulary %s:1: begins with a byte order mark; save the file as UTF-8 without one", name);
    if (!is_utf8(line->text, line->size))
        return sl_fail(
                err, SL_BAD_DATA, "vocabulary %s:%d: not UTF-8; is this really a vocab.txt?", name, number);
    return SL_OK;
}

static int count_lines(const char *bytes, size_t size)
{
    int lines = size > 0 && bytes[size - 1] != '\n';
    const char *end = bytes + size;
    for (const char *at = bytes; lines <= WK_VOCAB_TOKENS_MAX && (at = memchr(at, '\n', (size_t)(end - at)));
            at++)
        lines++;
    return lines;
}

static enum sl_status allocate(struct wk_vocab *vocab, const char *bytes, size_t size, int lines)
{
    uint32_t slots = 4;
    while (slots < 2 * (uint32_t)lines)
        slots *= 2;
    vocab->slot_mask = slots - 1;
    vocab->size = size;
    vocab->hash = sl_hash64(bytes, size, 0);
    vocab->bytes = sl_alloc(size + 1, 1);
    vocab->text = sl_alloc(size + 1, 1);
    vocab->starts = sl_alloc((size_t)lines, sizeof *vocab->starts);
    vocab->sizes = sl_alloc((size_t)lines, sizeof *vocab->sizes);
    vocab->slots = sl_alloc(slots, sizeof *vocab->slots);
    if (!vocab->bytes || !vocab->text || !vocab->starts || !vocab->sizes || !vocab->slots)
        return SL_NO_MEMORY;
    memcpy(vocab->bytes, bytes, size);
    memcpy(vocab->text, bytes, size);
    memset(vocab->slots, 0xFF, slots * sizeof *vocab->slots);
    return SL_OK;
}

/* add_line takes the next line of text, which ends at end, as the token with the next id. */
static enum sl_status add_line(
        struct wk_vocab *vocab, size_t start, size_t end, const char *name, struct sl_error *err)
{
    while (end > start && vocab->text[end - 1] == '\r')
        end--;
    int32_t id = vocab->count;
    struct key line = {vocab->text + start, end - start, false};
    enum sl_status status = check_token(&line, id + 1, name, err);
    if (status != SL_OK)
        return status;
    struct key key = key_of(line.text, line.size);
    uint32_t slot = find_slot(vocab, key);
    if (vocab->slots[slot] >= 0)
        return sl_fail(err, SL_BAD_DATA, "vocabulary %s:%d: token \"%.*s\" is on line %d already; remove one",
                name, id + 1, (int)line.size, line.text, vocab->slots[slot] + 1);
    vocab->text[end] = 0;
    vocab->starts[id] = (uint32_t)start;
    vocab->sizes[id] = (uint32_t)line.size;
    vocab->slots[slot] = id;
    vocab->count++;
    if (vocab->longest_piece[key.continuing] < (int)key.size)
        vocab->longest_piece[key.continuing] = (int)key.size;
    return SL_OK;
}

static enum sl_status find_specials(struct wk_vocab *vocab, const char *name, struct sl_error *err)
{
    for (int i = 0; i < WK_SPECIALS; i++) {
        vocab->special[i] = wk_vocab_find(vocab, special_names[i], strlen(special_names[i]));
        if (vocab->special[i] < 0 && i != WK_SPECIAL_MASK)
            return sl_fail(err, SL_BAD_DATA,
                    "vocabulary %s: the token %s is missing; a BERT vocabulary holds [PAD], [UNK], [CLS] and "
                    "[SEP] (shelflife vocab makes one)",
                    name, special_names[i]);
    }
    return SL_OK;
}

enum sl_status wk_vocab_parse(
        struct wk_vocab **ret_vocab, const char *bytes, size_t size, const char *name, struct sl_error *err)
{
    if (size == 0)
        return sl_fail(err, SL_BAD_DATA, "vocabulary %s: the file is empty", name);
    if (size > WK_VOCAB_FILE_MAX)
        return sl_fail(err, SL_BAD_DATA, "vocabulary %s: larger than %u bytes; is this really a vocab.txt?",
                name, WK_VOCAB_FILE_MAX);
    int lines = count_lines(bytes, size);
    if (lines > WK_VOCAB_TOKENS_MAX)
        return sl_fail(err, SL_BAD_DATA, "vocabulary %s: more than %d tokens", name, WK_VOCAB_TOKENS_MAX);

    SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = sl_alloc(1, sizeof *vocab);
    if (vocab == NULL || allocate(vocab, bytes, size, lines) != SL_OK)
        return sl_fail(err, SL_NO_MEMORY, "vocabulary %s: out of memory for %d tokens", name, lines);
    for (size_t start = 0; start < size;) {
        const char *newline = memchr(bytes + start, '\n', size - start);
        size_t end = newline ? (size_t)(newline - bytes) : size;
        enum sl_status status = add_line(vocab, start, end, name, err);
        if (status != SL_OK)
            return status;
        start = end + 1;
    }
    enum sl_status status = find_specials(vocab, name, err);
    if (status != SL_OK)
        return status;
    *ret_vocab = SL_TAKE(vocab);
    return SL_OK;
}

enum sl_status wk_vocab_load(struct wk_vocab **ret_vocab, const char *path, struct sl_error *err)
{
    SL_AUTO_FREE char *bytes = NULL;
    size_t size = 0;
    enum sl_status status = sl_file_read(&bytes, &size, path, WK_VOCAB_FILE_MAX, err);
    if (status != SL_OK) {
        sl_error_context(err, "vocabulary");
        return status;
    }
    return wk_vocab_parse(ret_vocab, bytes, size, path, err);
}

void wk_vocab_destroy(struct wk_vocab *vocab)
{
    if (vocab == NULL)
        return;
    sl_free(vocab->bytes);
    sl_free(vocab->text);
    sl_free(vocab->starts);
    sl_free(vocab->sizes);
    sl_free(vocab->slots);
    sl_free(vocab);
}

void wk_vocab_destroy_auto(struct wk_vocab **vocab)
{
    wk_vocab_destroy(*vocab);
}

int wk_vocab_size(const struct wk_vocab *vocab)
{
    return vocab->count;
}

int32_t wk_vocab_find(const struct wk_vocab *vocab, const char *token, size_t size)
{
    return vocab->slots[find_slot(vocab, key_of(token, size))];
}

const char *wk_vocab_token(const struct wk_vocab *vocab, int32_t id)
{
    return id >= 0 && id < vocab->count ? vocab->text + vocab->starts[id] : NULL;
}

int32_t wk_vocab_special(const struct wk_vocab *vocab, enum wk_special special)
{
    assert((int)special >= 0 && special < WK_SPECIALS);
    return vocab->special[special];
}

uint64_t wk_vocab_hash(const struct wk_vocab *vocab)
{
    return vocab->hash;
}

const char *wk_vocab_bytes(const struct wk_vocab *vocab, size_t *ret_size)
{
    *ret_size = vocab->size;
    return vocab->bytes;
}

static bool is_boundary(const char *text, int size, int at)
{
    return at == size || ((uint8_t)text[at] & 0xC0) != 0x80;
}

int32_t wk_vocab_longest(
        const struct wk_vocab *vocab, const char *text, int size, bool continuing, int *ret_size)
{
    int try = vocab->longest_piece[continuing];
    for (try = try < size ? try : size; try > 0; try--) {
        if (!is_boundary(text, size, try))
            continue;
        int32_t id = vocab->slots[find_slot(vocab, (struct key){text, (size_t)try, continuing})];
        if (id >= 0) {
            *ret_size = try;
            return id;
        }
    }
    return -1;
}
