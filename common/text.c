/* Growing texts: see text.h. */
#include "common/text.h"

#include "common/memory.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FIRST_CAPACITY 256
#define PRINTF_MAX 4096

void sl_text_init(struct sl_text *text, size_t limit)
{
    memset(text, 0, sizeof(*text));
    text->limit = limit;
}

void sl_text_fini(struct sl_text *text)
{
    sl_free(text->bytes);
    memset(text, 0, sizeof(*text));
}

void sl_text_reset(struct sl_text *text)
{
    text->size = 0;
    text->status = SL_OK;
}

/* makes room for `more` bytes and a final 0 */
static bool reserve(struct sl_text *text, size_t more)
{
    if (text->status != SL_OK)
        return false;
    if (more > text->limit - text->size) {
        text->status = SL_FAILED;
        return false;
    }
    size_t wanted = text->size + more + 1;
    if (wanted <= text->capacity)
        return true;
    size_t capacity = text->capacity == 0 ? FIRST_CAPACITY : text->capacity;
    while (capacity < wanted)
        capacity *= 2;
    char *bytes = sl_realloc(text->bytes, capacity, 1);
    if (bytes == NULL) {
        text->status = SL_NO_MEMORY;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void sl_text_put(struct sl_text *text, const char *bytes, size_t size)
{
    if (!reserve(text, size))
        return;
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

void sl_text_printf(struct sl_text *text, const char *format, ...)
{
    char line[PRINTF_MAX];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (length >= 0 && (size_t)length < sizeof(line))
        sl_text_put(text, line, (size_t)length);
    else if (text->status == SL_OK)
        text->status = SL_FAILED;
}

enum sl_status sl_text_finish(
        struct sl_text *text, const char **ret_bytes, size_t *ret_size, struct sl_error *err)
{
    (void)reserve(text, 0);
    if (text->status == SL_NO_MEMORY)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for a text of more than %zu bytes", text->size);
    if (text->status != SL_OK)
        return sl_fail(err, text->status, "a text exceeds its limit of %zu bytes", text->limit);
    text->bytes[text->size] = 0;
    *ret_bytes = text->bytes;
    if (ret_size != NULL)
        *ret_size = text->size;
    return SL_OK;
}
