#pragma once
/* The little of UTF-8 that common needs: walking over it safely, and how wide it stands on a terminal. Text processing proper is the
 * tokenizer's. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* sl_utf8_next decodes the code point at the start of text (size >= 1 bytes are there). Returns its length in bytes, or 0 when the bytes are not
 * UTF-8 (overlong forms, surrogates and values above U+10FFFF are not). ret_point may be NULL. */
size_t sl_utf8_next(const char *text, size_t size, uint32_t *ret_point);

/* sl_utf8_columns counts the terminal columns of 0-terminated text: wide East Asian characters count two, bytes that are not UTF-8 one. */
int sl_utf8_columns(const char *text);

/* sl_utf8_cut gives how many bytes of text fit into columns without cutting a character. */
size_t sl_utf8_cut(const char *text, int columns);

/* sl_utf8_is_text tells whether the bytes are UTF-8 without control characters, line separators, byte order marks and noncharacters: what can stand in one
 * line of any text format. */
bool sl_utf8_is_text(const char *text, size_t size);
