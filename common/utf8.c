/* UTF-8 walking: see utf8.h. */
#include "common/utf8.h"

#include <string.h>

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xC0U) == 0x80U;
}

size_t sl_utf8_next(const char *text, size_t size, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t first = (unsigned char)text[0], point = first;
    size_t length = 1;
    if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        point = first & 0x07U;
    } else if (first >= 0xE0 && first < 0xF0) {
        length = 3;
        point = first & 0x0FU;
    } else if (first >= 0xC2 && first < 0xE0) {
        length = 2;
        point = first & 0x1FU;
    } else if (first >= 0x80) {
        return 0;
    }
    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (!is_continuation(text[i]))
            return 0;
        point = point << 6 | ((unsigned char)text[i] & 0x3FU);
    }
    if (point < least[length] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
        return 0;
    if (ret_point != NULL)
        *ret_point = point;
    return length;
}

/* East Asian wide ranges, coarsely: enough to keep a line within the terminal */
static int point_columns(uint32_t point)
{
    bool wide = (point >= 0x1100 && point <= 0x115F) || (point >= 0x2E80 && point <= 0xA4CF) ||
                (point >= 0xAC00 && point <= 0xD7A3) || (point >= 0xF900 && point <= 0xFAFF) ||
                (point >= 0xFE30 && point <= 0xFE6F) || (point >= 0xFF00 && point <= 0xFF60) ||
                (point >= 0x1F300 && point <= 0x1FAFF) || (point >= 0x20000 && point <= 0x3FFFD);
    bool combining = point >= 0x0300 && point <= 0x036F;
    if (combining)
        return 0;
    return wide ? 2 : 1;
}

/* bytes that fit, and the columns they take */
static size_t walk(const char *text, int columns, int *ret_used)
{
    size_t size = strlen(text), at = 0;
    int used = 0;
    while (at < size) {
        uint32_t point = 0;
        size_t length = sl_utf8_next(text + at, size - at, &point);
        int width = length == 0 ? 1 : point_columns(point);
        if (used > columns - width)
            break;
        used += width;
        at += length == 0 ? 1 : length;
    }
    *ret_used = used;
    return at;
}

int sl_utf8_columns(const char *text)
{
    int used = 0;
    (void)walk(text, 1 << 30, &used);
    return used;
}

size_t sl_utf8_cut(const char *text, int columns)
{
    int used = 0;
    return walk(text, columns, &used);
}

static bool is_text_point(uint32_t point)
{
    bool control = point < 0x20 || (point >= 0x7F && point <= 0x9F);
    bool separator = point == 0x2028 || point == 0x2029 || point == 0xFEFF;
    return !control && !separator && (point & 0xFFFEU) != 0xFFFEU;
}

bool sl_utf8_is_text(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint32_t point = 0;
        size_t length = sl_utf8_next(text + at, size - at, &point);
        if (length == 0 || !is_text_point(point))
            return false;
        at += length;
    }
    return true;
}
