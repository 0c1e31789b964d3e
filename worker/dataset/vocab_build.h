#pragma once
/* Builds a WordPiece vocabulary from texts: the special tokens, the letters, digits and punctuation of ASCII,
 * every other character that is frequent enough (letters in both forms, "c" and "##c"; ideographs and
 * punctuation, which are always words of their own, in one), then the most frequent pairs of neighbouring
 * pieces inside words, joined again and again (byte-pair encoding over characters) until the vocabulary is
 * full.
 *
 *     wk_vocab_builder_create(&builder, &(struct wk_vocab_options){.size = 8000, .min_count = 2, .lower_case
 * = true}, err); wk_vocab_builder_add(builder, text, size, err);                  // for each text
 *     wk_vocab_builder_finish(builder, &vocab_text, &vocab_size, &stats, err);
 *
 * The same texts give the same bytes, in whatever order they are added (as long as nothing was forgotten, see
 * stats). Memory is bounded: when there are more than WK_BUILD_WORDS_MAX distinct words the rarest are
 * forgotten.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WK_BUILD_SIZE_MIN 256
#define WK_BUILD_WORDS_MAX (1 << 20)

struct wk_vocab_builder;

struct wk_vocab_options {
    int size;          /* most tokens, WK_BUILD_SIZE_MIN … WK_VOCAB_TOKENS_MAX */
    int64_t min_count; /* a character or pair that occurs less often gives no token; >= 1 */
    bool lower_case;   /* as the tokenizer will be used */
    int words_max;     /* most distinct words kept; 0 = WK_BUILD_WORDS_MAX */
};

struct wk_vocab_stats {
    int64_t texts, words;    /* added */
    int64_t distinct_words;  /* kept to join pairs in */
    int64_t forgotten_words; /* occurrences of words that were forgotten for want of room */
    int64_t characters;      /* occurrences of characters in words */
    int64_t covered;         /* those that the vocabulary has a token for */
    int tokens, character_tokens, joined_tokens;
};

/* wk_vocab_builder_create. Owns: *ret_builder. Errors: USAGE for options out of range, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_vocab_builder_create(
        struct wk_vocab_builder **ret_builder, const struct wk_vocab_options *options, struct sl_error *err);
void wk_vocab_builder_destroy(struct wk_vocab_builder *builder);
void wk_vocab_builder_destroy_auto(struct wk_vocab_builder **builder);

/* wk_vocab_builder_add counts the words of a text (its first WK_TEXT_BYTES_MAX bytes). Errors: NO_MEMORY: the
 * builder can only be destroyed. */
SL_MUST_USE enum sl_status wk_vocab_builder_add(
        struct wk_vocab_builder *builder, const char *text, size_t size, struct sl_error *err);

/* wk_vocab_builder_finish gives the text of a vocab.txt; the builder can only be destroyed after it. Owns:
 * *ret_text, sl_free it. ret_stats may be NULL. Errors: BAD_DATA when no text held a word, NO_MEMORY. Source:
 * Sennrich et al. 2016, alg. 1. */
SL_MUST_USE enum sl_status wk_vocab_builder_finish(struct wk_vocab_builder *builder, char **ret_text,
        size_t *ret_size, struct wk_vocab_stats *ret_stats, struct sl_error *err);
