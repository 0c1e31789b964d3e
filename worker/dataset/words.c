/* BERT's normaliser and pre-tokenizer as one pass over the text: bytes → characters → normalised characters
 * in a small queue → words. It knows nothing of vocabularies and of special tokens. */
#include "worker/dataset/words.h"
#include "worker/dataset/unicode_exceptions.h"

#include <assert.h>
#include <string.h>
#include <utf8proc.h>

#define DECOMPOSITION_MAX 32 /* characters that one character can become; Unicode's longest is 4 */

/* What Hugging Face's tables say of a character, as far as it matters here. */
struct character {
    utf8proc_category_t category;
    uint8_t order; /* canonical combining class */
    bool decomposes;
};

static int find_exception(int32_t c)
{
    int low = 0;
    int high = (int)(sizeof unicode_exceptions / sizeof *unicode_exceptions);
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (c > unicode_exceptions[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < (int)(sizeof unicode_exceptions / sizeof *unicode_exceptions) &&
                 c >= unicode_exceptions[low].first;
    return found ? low : -1;
}

static struct character look_up(int32_t c)
{
    const utf8proc_property_t *property = utf8proc_get_property(c);
    struct character character = {
            .category = (utf8proc_category_t)property->category,
            .order = (uint8_t)property->combining_class,
            .decomposes = true,
    };
    int exception = find_exception(c);
    if (exception < 0)
        return character;
    switch (unicode_exceptions[exception].kind) {
    case KIND_MARK:
        character.category = UTF8PROC_CATEGORY_MN;
        break;
    case KIND_PUNCTUATION:
        character.category = UTF8PROC_CATEGORY_PO;
        break;
    case KIND_SORTED:
        character.category = UTF8PROC_CATEGORY_LO;
        character.decomposes = false;
        break;
    case KIND_OTHER:
        character = (struct character){.category = UTF8PROC_CATEGORY_LO};
        break;
    }
    return character;
}

static bool is_ideograph(int32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
           /* BERT begins this block 0x100 late; so does everything trained with it */
           (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static bool is_space(int32_t c, utf8proc_category_t category)
{
    return c == '\t' || c == '\n' || c == '\r' || category == UTF8PROC_CATEGORY_ZS ||
           category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

/* Unassigned characters (Cn) are kept, as there; they are no control characters. */
static bool is_dropped(int32_t c, utf8proc_category_t category)
{
    return c == 0 || c == 0xFFFD || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CO || category == UTF8PROC_CATEGORY_CS;
}

static int32_t to_lower(int32_t c)
{
    for (size_t i = 0; i < sizeof unicode_lower / sizeof *unicode_lower; i++)
        if (c >= unicode_lower[i].first && c <= unicode_lower[i].last)
            return c + unicode_lower[i].delta;
    return utf8proc_tolower(c);
}

enum wk_char_class wk_char_class(int32_t c)
{
    if (c < 0x80) {
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
            return WK_CHAR_OTHER;
        if (c == ' ' || (c >= '\t' && c <= '\r'))
            return WK_CHAR_SPACE;
        return c > ' ' && c < 0x7F ? WK_CHAR_PUNCTUATION : WK_CHAR_OTHER;
    }
    if (is_ideograph(c))
        return WK_CHAR_IDEOGRAPH;
    utf8proc_category_t category = look_up(c).category;
    if (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO)
        return WK_CHAR_PUNCTUATION;
    return is_space(c, category) ? WK_CHAR_SPACE : WK_CHAR_OTHER;
}

/* push puts a character into its canonical place: combining characters (order > 0) are sorted by order,
 * stably, within their run. */
static void push(struct wk_words *words, int32_t c, uint8_t order)
{
    assert(words->count < WK_WORDS_QUEUE);
    int at = words->count++;
    if (order > 0) {
        for (; at > words->run && words->order[at - 1] > order; at--) {
            words->queue[at] = words->queue[at - 1];
            words->order[at] = words->order[at - 1];
        }
    } else {
        words->run = words->count;
    }
    words->queue[at] = c;
    words->order[at] = order;
}

/* push_folded decomposes a character and pushes what is left of it without accents, in lower case. */
static void push_folded(struct wk_words *words, int32_t c)
{
    int32_t parts[DECOMPOSITION_MAX] = {c};
    utf8proc_ssize_t count = 1;
    if (look_up(c).decomposes) {
        int boundary = 0;
        count = utf8proc_decompose_char(
                c, parts, DECOMPOSITION_MAX, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
        assert(count >= 0 && count <= DECOMPOSITION_MAX);
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        struct character part = look_up(parts[i]);
        if (part.category != UTF8PROC_CATEGORY_MN)
            push(words, to_lower(parts[i]), part.order);
        else if (part.order == 0)
            words->run = words->count; /* an accent of class 0 goes too, but nothing is sorted across it */
    }
}

/* read_character takes one character from the text and pushes what it becomes: nothing, itself, or a few. */
static void read_character(struct wk_words *words)
{
    int32_t c = *words->next;
    if (c < 0x80) {
        words->next++;
        if (c >= 'A' && c <= 'Z' && words->lower_case)
            c += 'a' - 'A';
        if (c >= ' ' && c != 0x7F)
            push(words, c, 0);
        else if (c == '\t' || c == '\n' || c == '\r')
            push(words, ' ', 0);
        return;
    }
    utf8proc_ssize_t used = utf8proc_iterate(words->next, words->end - words->next, &c);
    if (used <= 0) {
        words->next++; /* no UTF-8: U+FFFD, which is dropped */
        return;
    }
    words->next += used;
    bool ideograph = is_ideograph(c);
    utf8proc_category_t category = ideograph ? UTF8PROC_CATEGORY_LO : look_up(c).category;
    if (is_dropped(c, category))
        return;
    if (is_space(c, category)) {
        push(words, ' ', 0);
        return;
    }
    if (ideograph)
        push(words, ' ', 0);
    if (words->lower_case)
        push_folded(words, c);
    else
        push(words, c, 0);
    if (ideograph)
        push(words, ' ', 0);
}

/* peek gives the next normalised character, or -1 at the end. */
static int32_t peek(struct wk_words *words)
{
    if (words->head < words->run)
        return words->queue[words->head];
    int waiting = words->count - words->head;
    memmove(words->queue, words->queue + words->head, (size_t)waiting * sizeof *words->queue);
    memmove(words->order, words->order + words->head, (size_t)waiting);
    words->head = words->run = 0;
    words->count = waiting;
    /* A run that outgrows the queue is given up unsorted: it lies within one word, which is too long for the
     * order to matter. */
    while (words->run == 0 && words->next < words->end) {
        if (words->count + DECOMPOSITION_MAX + 2 > WK_WORDS_QUEUE)
            words->run = words->count;
        else
            read_character(words);
    }
    if (words->next == words->end)
        words->run = words->count;
    return words->run > 0 ? words->queue[0] : -1;
}

void wk_words_begin(struct wk_words *words, const char *text, size_t size, bool lower_case)
{
    words->next = (const uint8_t *)(size > 0 ? text : "");
    words->end = words->next + size;
    words->lower_case = lower_case;
    words->head = words->count = words->run = 0;
}

bool wk_words_next(struct wk_words *words, struct wk_word *ret_word)
{
    int size = 0;
    int chars = 0;
    for (int32_t c; (c = peek(words)) >= 0; words->head++) {
        enum wk_char_class class = wk_char_class(c);
        bool alone = class == WK_CHAR_PUNCTUATION;
        if (chars > 0 && (alone || class == WK_CHAR_SPACE))
            break;
        if (class == WK_CHAR_SPACE)
            continue;
        if (chars < WK_WORD_CHARS_MAX)
            size += (int)utf8proc_encode_char(c, (uint8_t *)words->bytes + size);
        chars += chars <= WK_WORD_CHARS_MAX;
        if (alone) {
            words->head++;
            break;
        }
    }
    bool too_long = chars > WK_WORD_CHARS_MAX;
    *ret_word = (struct wk_word){.bytes = words->bytes, .size = too_long ? 0 : size, .too_long = too_long};
    return chars > 0;
}
