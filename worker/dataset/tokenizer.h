#pragma once
/* Text to token ids, token for token as Hugging Face's BertTokenizer: words.h cuts, then each word is covered
 * greedily by the longest pieces of the vocabulary, or becomes [UNK] when that is impossible.
 *
 *     struct wk_text pieces[] = {{title, strlen(title)}, {ocr, strlen(ocr)}};
 *     int count = wk_tokenizer_encode(vocab, true, pieces, 2, 48, ids);           // [CLS] title [SEP] ocr
 * [SEP]
 *
 * lower_case means what do_lower_case means there: NFD, accents stripped, lower case (strip_accents follows
 * it). A special token written out in the text ("[MASK]", in capitals, even inside a word) becomes that
 * token, as in Hugging Face; where the vocabulary lacks [MASK] it is plain text. Several pieces are joined by
 * [SEP]; a piece that yields no token leaves no [SEP] behind. What is over max_tokens is cut off at the end,
 * and the last id is always [SEP]. A text with nothing in it is [CLS] [SEP].
 */
#include "worker/dataset/vocab.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WK_TEXT_BYTES_MAX                                                                                    \
    (1u << 20) /* bytes of a piece that are read; what comes after is as if it were not there */

/* A piece of text: any bytes, 0 included. bytes may be NULL when size is 0. */
struct wk_text {
    const char *bytes;
    size_t size;
};

/* wk_tokenizer_encode writes the ids and gives their number, 2 … max_tokens. Shapes: ids (max_tokens,),
 * max_tokens >= 2. Cannot fail: every input has a tokenisation. Source: Devlin et al. 2019; Hugging Face
 * tokenizers, BertNormalizer, BertPreTokenizer and WordPiece. */
int wk_tokenizer_encode(const struct wk_vocab *vocab, bool lower_case, const struct wk_text *pieces,
        int piece_count, int max_tokens, int32_t *ids);
