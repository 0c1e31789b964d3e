#pragma once
/* A WordPiece vocabulary: vocab.txt as Hugging Face has it, one token a line, the line number (from 0) being
 * its id; "##" begins a token that continues a word. Immutable after loading.
 *
 *     SL_AUTO(wk_vocab_destroy_auto) struct wk_vocab *vocab = NULL;
 *     enum sl_status s = wk_vocab_load(&vocab, "vocab.txt", err);
 *     int32_t sep = wk_vocab_special(vocab, WK_SPECIAL_SEP);
 *
 * Invariants: [PAD], [UNK], [CLS] and [SEP] exist; no token is empty, occurs twice or is not UTF-8.
 * Thread: any number of threads may read one vocabulary.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WK_VOCAB_FILE_MAX (64u << 20) /* bytes of a vocab.txt */
#define WK_VOCAB_TOKENS_MAX (1 << 20) /* its lines */
#define WK_VOCAB_TOKEN_BYTES_MAX 1024 /* bytes of one token */

enum wk_special { WK_SPECIAL_PAD, WK_SPECIAL_UNK, WK_SPECIAL_CLS, WK_SPECIAL_SEP, WK_SPECIAL_MASK };
#define WK_SPECIALS 5

struct wk_vocab;

/* wk_vocab_load reads a file. Owns: *ret_vocab. Errors: NOT_FOUND or FAILED when it cannot be read, BAD_DATA
 * with the line for what is wrong in it (empty, no UTF-8, a token that is empty, too long or twice, a special
 * token missing, too large), NO_MEMORY. */
SL_MUST_USE enum sl_status wk_vocab_load(struct wk_vocab **ret_vocab, const char *path, struct sl_error *err);

/* wk_vocab_parse is wk_vocab_load on bytes in memory, which it copies; name stands for the file in errors. */
SL_MUST_USE enum sl_status wk_vocab_parse(
        struct wk_vocab **ret_vocab, const char *bytes, size_t size, const char *name, struct sl_error *err);

void wk_vocab_destroy(struct wk_vocab *vocab);
void wk_vocab_destroy_auto(struct wk_vocab **vocab);

/* wk_vocab_size counts the tokens; ids are 0 … size - 1. */
int wk_vocab_size(const struct wk_vocab *vocab);
/* wk_vocab_find gives the id of a token (with its "##"), or -1. */
int32_t wk_vocab_find(const struct wk_vocab *vocab, const char *token, size_t size);
/* wk_vocab_token borrows the text of an id, or NULL when there is no such id. */
const char *wk_vocab_token(const struct wk_vocab *vocab, int32_t id);
/* wk_vocab_special gives the id of a special token; -1 only for [MASK], which a vocabulary may lack. */
int32_t wk_vocab_special(const struct wk_vocab *vocab, enum wk_special special);
/* wk_special_name is "[PAD]" and so on. Never NULL. */
const char *wk_special_name(enum wk_special special);
/* wk_vocab_hash is XXH3-64 of the file's bytes: a dataset and a model made with the same one fit each other.
 */
uint64_t wk_vocab_hash(const struct wk_vocab *vocab);
/* wk_vocab_bytes borrows the file's bytes as they were read, to store beside a dataset or snapshot. */
const char *wk_vocab_bytes(const struct wk_vocab *vocab, size_t *ret_size);

/* wk_vocab_longest gives the id of the longest token that text begins with and its bytes, or -1. continuing:
 * only tokens with "##", compared without it; otherwise only those without. text is whole UTF-8 characters.
 */
int32_t wk_vocab_longest(
        const struct wk_vocab *vocab, const char *text, int size, bool continuing, int *ret_size);
