#pragma once
/* Cuts text into the words that WordPiece works on, exactly as BERT's normaliser and pre-tokenizer do:
 * control characters go, white space separates, every CJK ideograph and every punctuation mark is a word of
 * its own, and with lower_case the text is decomposed (NFD), its accents are stripped and its letters
 * lower-cased.
 *
 *     struct wk_words words;
 *     struct wk_word word;
 *     wk_words_begin(&words, text, size, true);
 *     while (wk_words_next(&words, &word))
 *         use(word.bytes, word.size);                  // "café 新" gives "cafe", "新"
 *
 * The text need not be UTF-8: bytes that are none count as U+FFFD, which is dropped. Nothing is allocated;
 * time is linear in the text. Which character is what: the Unicode data of utf8proc, corrected by
 * unicode_exceptions.h where Hugging Face's tables are older or newer.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WK_WORD_CHARS_MAX 100                     /* a longer word becomes [UNK], as in BERT */
#define WK_WORD_BYTES_MAX (WK_WORD_CHARS_MAX * 4) /* bytes of the longest word */
#define WK_WORDS_QUEUE 256                        /* characters that wait for their canonical order */

enum wk_char_class { WK_CHAR_SPACE, WK_CHAR_PUNCTUATION, WK_CHAR_IDEOGRAPH, WK_CHAR_OTHER };

struct wk_word {
    const char *bytes; /* UTF-8 without a final 0, until the next call */
    int size;          /* bytes; 0 when too_long */
    bool too_long;     /* more than WK_WORD_CHARS_MAX characters: its bytes are not kept */
};

/* The state of one pass over a text; nobody but words.c looks inside. */
struct wk_words {
    const uint8_t *next, *end; /* what is not read yet */
    bool lower_case;
    int32_t queue[WK_WORDS_QUEUE]; /* normalised characters, [head, count) not yet taken */
    uint8_t order[WK_WORDS_QUEUE]; /* their canonical combining classes */
    int head, count;
    int run; /* start of the run of combining characters that may still be reordered: [head, run) is final */
    char bytes[WK_WORD_BYTES_MAX];
};

/* wk_words_begin starts over on text, which must stay until the last wk_words_next. */
void wk_words_begin(struct wk_words *words, const char *text, size_t size, bool lower_case);

/* wk_words_next gives the next word; false at the end. */
bool wk_words_next(struct wk_words *words, struct wk_word *ret_word);

/* wk_char_class says how a normalised character is cut. */
enum wk_char_class wk_char_class(int32_t c);
