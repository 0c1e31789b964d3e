/* Counting words and characters, choosing the characters that get tokens, and writing vocab.txt. The joining of pairs
 * is vocab_join.c's. */
#include "worker/dataset/vocab_build.h"
#include "common/memory.h"
#include "worker/dataset/strings.h"
#include "worker/dataset/tokenizer.h"
#include "worker/dataset/vocab.h"
#include "worker/dataset/vocab_join.h"
#include "worker/dataset/words.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define PAGE_POINTS 256 /* code points whose counts lie together */
#define PAGES (0x110000 / PAGE_POINTS)
#define WORD_BYTES_MEAN 16 /* words_max times this many bytes of words are kept */

struct wk_vocab_builder {
    struct wk_vocab_options options;
    struct wk_vocab_stats stats;
    int64_t *pages[PAGES];   /* (PAGE_POINTS,) occurrences of characters; NULL where none has occurred */
    struct wk_strings words; /* distinct words of two or more characters */
    int64_t *counts;         /* (words_max,) occurrences of each */
    int64_t forget_below;    /* grows each time that room runs out */
};

enum sl_status wk_vocab_builder_create(
        struct wk_vocab_builder **ret_builder, const struct wk_vocab_options *options, struct sl_error *err)
{
    if (options->size < WK_BUILD_SIZE_MIN || options->size > WK_VOCAB_TOKENS_MAX)
        return sl_fail(err, SL_USAGE, "a vocabulary of %d tokens: the size must be from %d to %d",
                options->size, WK_BUILD_SIZE_MIN, WK_VOCAB_TOKENS_MAX);
    if (options->min_count < 1)
        return sl_fail(
                err, SL_USAGE, "a least count of %lld: it must be 1 or more", (long long)options->min_count);
    SL_AUTO(wk_vocab_builder_destroy_auto) struct wk_vocab_builder *builder = sl_alloc(1, sizeof *builder);
    if (builder == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for building a vocabulary");
    builder->options = *options;
    if (builder->options.words_max <= 0)
        builder->options.words_max = WK_BUILD_WORDS_MAX;
    builder->forget_below = 1;
    builder->counts = sl_alloc((size_t)builder->options.words_max, sizeof *builder->counts);
    if (builder->counts == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for building a vocabulary");
    *ret_builder = SL_TAKE(builder);
    return SL_OK;
}

void wk_vocab_builder_destroy(struct wk_vocab_builder *builder)
{
    if (builder == NULL)
        return;
    wk_strings_fini(&builder->words);
    for (int i = 0; i < PAGES; i++)
        sl_free(builder->pages[i]);
    sl_free(builder->counts);
    sl_free(builder);
}

void wk_vocab_builder_destroy_auto(struct wk_vocab_builder **builder)
{
    wk_vocab_builder_destroy(*builder);
}

/* next_point decodes the code point at *at of text that is known to be UTF-8, and moves on. */
static int32_t next_point(const char *text, size_t size, size_t *at)
{
    int32_t c = 0;
    utf8proc_ssize_t used = utf8proc_iterate((const uint8_t *)text + *at, (utf8proc_ssize_t)(size - *at), &c);
    assert(used > 0);
    *at += (size_t)used;
    return c;
}

static bool is_full(const struct wk_vocab_builder *builder)
{
    return builder->words.count >= builder->options.words_max ||
           builder->words.used / WORD_BYTES_MEAN >= (size_t)builder->options.words_max;
}

/* forget drops the rarest words until half of the room is free. */
static bool forget(struct wk_vocab_builder *builder)
{
    struct wk_strings kept = {0};
    do {
        builder->forget_below++;
        wk_strings_fini(&kept);
        for (int32_t i = 0; i < builder->words.count; i++) {
            size_t size;
            const char *word = wk_strings_get(&builder->words, i, &size);
            if (builder->counts[i] >= builder->forget_below && wk_strings_intern(&kept, word, size) < 0) {
                wk_strings_fini(&kept);
                return false;
            }
        }
    } while (kept.count > builder->options.words_max / 2 ||
             kept.used / WORD_BYTES_MEAN > (size_t)builder->options.words_max / 2);
    int32_t at = 0;
    for (int32_t i = 0; i < builder->words.count; i++) {
        if (builder->counts[i] >= builder->forget_below)
            builder->counts[at++] = builder->counts[i];
        else
            builder->stats.forgotten_words += builder->counts[i];
    }
    wk_strings_fini(&builder->words);
    builder->words = kept;
    return true;
}

static bool count_character(struct wk_vocab_builder *builder, int32_t point)
{
    int64_t **page = &builder->pages[point / PAGE_POINTS];
    if (*page == NULL)
        *page = sl_alloc(PAGE_POINTS, sizeof **page);
    if (*page == NULL)
        return false;
    (*page)[point % PAGE_POINTS]++;
    builder->stats.characters++;
    return true;
}

static bool add_word(struct wk_vocab_builder *builder, const struct wk_word *word)
{
    builder->stats.words++;
    int chars = 0;
    for (size_t at = 0; at < (size_t)word->size; chars++)
        if (!count_character(builder, next_point(word->bytes, (size_t)word->size, &at)))
            return false;
    if (chars < 2)
        return true;
    if (is_full(builder) && !forget(builder))
        return false;
    int32_t known = builder->words.count;
    int32_t index = wk_strings_intern(&builder->words, word->bytes, (size_t)word->size);
    if (index < 0)
        return false;
    builder->counts[index] = index == known ? 1 : builder->counts[index] + 1;
    return true;
}

enum sl_status wk_vocab_builder_add(
        struct wk_vocab_builder *builder, const char *text, size_t size, struct sl_error *err)
{
    struct wk_words words;
    struct wk_word word;
    builder->stats.texts++;
    wk_words_begin(
            &words, text, size < WK_TEXT_BYTES_MAX ? size : WK_TEXT_BYTES_MAX, builder->options.lower_case);
    while (wk_words_next(&words, &word))
        if (!add_word(builder, &word))
            return sl_fail(err, SL_NO_MEMORY, "out of memory at %d distinct words", builder->words.count);
    return SL_OK;
}

/* A character that has tokens: a letter has two, "c" and "##c"; what always stands alone has one. */
struct character {
    int32_t point;
    int64_t count;
    bool letter;
    int32_t begin, go_on; /* token numbers, -1 for none */
};

/* Those that have tokens, in order of code point. */
struct alphabet {
    struct character *characters;
    int count;
};

static void fini_alphabet(struct alphabet *alphabet)
{
    sl_free(alphabet->characters);
}

static bool is_basic(int32_t point, bool lower_case)
{
    return point > ' ' && point < 0x7F && !(lower_case && point >= 'A' && point <= 'Z');
}

static int by_count(const void *a, const void *b)
{
    const struct character *x = a;
    const struct character *y = b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return x->point < y->point ? -1 : 1;
}

static int by_point(const void *a, const void *b)
{
    const struct character *x = a;
    const struct character *y = b;
    return x->point < y->point ? -1 : x->point > y->point;
}

static bool is_wanted(const struct wk_vocab_builder *builder, int32_t point, int64_t *ret_count)
{
    const int64_t *page = builder->pages[point / PAGE_POINTS];
    *ret_count = page == NULL ? 0 : page[point % PAGE_POINTS];
    return *ret_count >= builder->options.min_count || is_basic(point, builder->options.lower_case);
}

/* list_characters appends the wanted ones of a page, or counts them when characters is NULL. */
static int list_characters(
        const struct wk_vocab_builder *builder, int page, struct character *characters, int count)
{
    if (page > 0 && builder->pages[page] == NULL)
        return count;
    for (int32_t c = page * PAGE_POINTS; c < (page + 1) * PAGE_POINTS; c++) {
        int64_t occurrences;
        if (!is_wanted(builder, c, &occurrences))
            continue;
        if (characters != NULL)
            characters[count] = (struct character){c, occurrences, wk_char_class(c) == WK_CHAR_OTHER, -1, -1};
        count++;
    }
    return count;
}

/* choose_characters takes ASCII whether it occurs or not, so that no later title is unknown for a letter, then the
 * most frequent others. */
static bool choose_characters(const struct wk_vocab_builder *builder, struct alphabet *alphabet)
{
    int found = 0;
    for (int page = 0; page < PAGES; page++)
        found = list_characters(builder, page, NULL, found);
    alphabet->characters = sl_alloc((size_t)found, sizeof *alphabet->characters);
    if (alphabet->characters == NULL)
        return false;
    int count = 0;
    for (int page = 0; page < PAGES; page++)
        count = list_characters(builder, page, alphabet->characters, count);
    int basic = 0; /* the rest of ASCII, controls and space, is in no word */
    while (basic < count && alphabet->characters[basic].point < 0x7F)
        basic++;
    qsort(alphabet->characters + basic, (size_t)(count - basic), sizeof *alphabet->characters, by_count);
    int room = builder->options.size - WK_SPECIALS;
    for (int i = 0; i < count && room >= 1 + alphabet->characters[i].letter; i++) {
        room -= 1 + alphabet->characters[i].letter;
        alphabet->count++;
    }
    qsort(alphabet->characters, (size_t)alphabet->count, sizeof *alphabet->characters, by_point);
    return true;
}

static int32_t add_character(struct wk_strings *tokens, int32_t point, bool continuing)
{
    char text[2 + 4] = "##";
    size_t prefix = continuing ? 2 : 0;
    size_t size = (size_t)utf8proc_encode_char(point, (uint8_t *)text + prefix);
    return wk_strings_intern(tokens, text, prefix + size);
}

/* number_characters gives the special tokens and then the chosen characters their numbers. */
static bool number_characters(struct alphabet *alphabet, struct wk_strings *tokens)
{
    for (int i = 0; i < WK_SPECIALS; i++) {
        const char *name = wk_special_name((enum wk_special)i);
        if (wk_strings_intern(tokens, name, strlen(name)) < 0)
            return false;
    }
    for (int continuing = 0; continuing < 2; continuing++) {
        for (int i = 0; i < alphabet->count; i++) {
            struct character *character = &alphabet->characters[i];
            if (continuing && !character->letter)
                continue;
            int32_t number = add_character(tokens, character->point, continuing);
            if (number < 0)
                return false;
            *(continuing ? &character->go_on : &character->begin) = number;
        }
    }
    return true;
}

struct counted_word {
    const char *bytes;
    size_t size;
    int64_t count;
};

static int by_bytes(const void *a, const void *b)
{
    const struct counted_word *x = a;
    const struct counted_word *y = b;
    return strcmp(x->bytes, y->bytes);
}

static enum sl_status add_to_join(
        struct wk_join *join, const struct alphabet *alphabet, const struct counted_word *word)
{
    int32_t pieces[WK_WORD_CHARS_MAX];
    int count = 0;
    for (size_t at = 0; at < word->size;) {
        int32_t point = next_point(word->bytes, word->size, &at);
        const struct character *known = bsearch(&(struct character){.point = point}, alphabet->characters,
                (size_t)alphabet->count, sizeof *alphabet->characters, by_point);
        int32_t piece = known == NULL ? -1 : count == 0 ? known->begin : known->go_on;
        if (piece < 0)
            return SL_OK; /* a word with a rare character is unknown as a whole: nothing to gain in it */
        pieces[count++] = piece;
    }
    return wk_join_add_word(join, pieces, count, word->count);
}

/* join_words runs the words through vocab_join.h in the order of their bytes, so that the order of the texts does
 * not matter. */
static enum sl_status join_words(
        const struct wk_vocab_builder *builder, const struct alphabet *alphabet, struct wk_strings *tokens)
{
    int32_t count = builder->words.count;
    SL_AUTO_FREE struct counted_word *sorted = sl_alloc((size_t)count + 1, sizeof *sorted);
    SL_AUTO(wk_join_destroy_auto) struct wk_join *join = wk_join_create();
    if (sorted == NULL || join == NULL)
        return SL_NO_MEMORY;
    for (int32_t i = 0; i < count; i++) {
        sorted[i].bytes = wk_strings_get(&builder->words, i, &sorted[i].size);
        sorted[i].count = builder->counts[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_bytes);
    for (int32_t i = 0; i < count; i++)
        if (add_to_join(join, alphabet, &sorted[i]) != SL_OK)
            return SL_NO_MEMORY;
    return wk_join_run(join, tokens, builder->options.size, builder->options.min_count);
}

static char *write_lines(const struct wk_strings *tokens)
{
    char *text = sl_alloc(tokens->used + 1, 1);
    if (text == NULL)
        return NULL;
    memcpy(text, tokens->bytes, tokens->used);
    for (int32_t i = 0; i < tokens->count; i++) {
        size_t size;
        const char *token = wk_strings_get(tokens, i, &size);
        text[(size_t)(token - tokens->bytes) + size] = '\n';
    }
    return text;
}

enum sl_status wk_vocab_builder_finish(struct wk_vocab_builder *builder, char **ret_text, size_t *ret_size,
        struct wk_vocab_stats *ret_stats, struct sl_error *err)
{
    if (builder->stats.characters == 0)
        return sl_fail(err, SL_BAD_DATA, "no text to build a vocabulary from: %lld texts, not one word",
                (long long)builder->stats.texts);
    SL_AUTO(fini_alphabet) struct alphabet alphabet = {0};
    SL_AUTO(wk_strings_fini) struct wk_strings tokens = {0};
    if (!choose_characters(builder, &alphabet) || !number_characters(&alphabet, &tokens))
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the characters of a vocabulary");
    struct wk_vocab_stats stats = builder->stats;
    for (int i = 0; i < alphabet.count; i++)
        stats.covered += alphabet.characters[i].count;
    stats.distinct_words = builder->words.count;
    stats.character_tokens = tokens.count - WK_SPECIALS;
    if (join_words(builder, &alphabet, &tokens) != SL_OK)
        return sl_fail(
                err, SL_NO_MEMORY, "out of memory for joining the pieces of %d words", builder->words.count);
    stats.tokens = tokens.count;
    stats.joined_tokens = tokens.count - WK_SPECIALS - stats.character_tokens;
    char *text = write_lines(&tokens);
    if (text == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a vocabulary of %d tokens", tokens.count);
    *ret_text = text;
    *ret_size = tokens.used;
    if (ret_stats != NULL)
        *ret_stats = stats;
    return SL_OK;
}
