#pragma once
/* A text that grows up to a limit. The first failure (memory, limit) sticks and later calls do nothing, so only sl_text_finish is checked.
 *
 *     SL_AUTO(sl_text_fini) struct sl_text text;
 *     sl_text_init(&text, 1 << 20);
 *     sl_text_printf(&text, "step: %d\n", step);
 *     s = sl_text_finish(&text, &bytes, &size, err);
 */
#include "common/error.h"

#include <stddef.h>

/* Fields are for reading only. */
struct sl_text {
    char *bytes;
    size_t size, capacity, limit; /* bytes, without the final 0 */
    enum sl_status status;
};

/* sl_text_init begins an empty text of at most limit bytes. Nothing is allocated yet. */
void sl_text_init(struct sl_text *text, size_t limit);
void sl_text_fini(struct sl_text *text);
/* sl_text_reset empties the text and forgets a failure; the memory stays. */
void sl_text_reset(struct sl_text *text);

void sl_text_put(struct sl_text *text, const char *bytes, size_t size);
/* sl_text_printf appends formatted text of less than 4096 bytes; longer text counts as beyond the limit. */
void sl_text_printf(struct sl_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* sl_text_finish gives the text, 0-terminated. ret_size may be NULL. Owns: *ret_bytes belongs to text until its next call.
 * Errors: NO_MEMORY, FAILED beyond the limit. */
SL_MUST_USE enum sl_status sl_text_finish(
        struct sl_text *text, const char **ret_bytes, size_t *ret_size, struct sl_error *err);
