/* Slurm's host lists: see hostlist.h. A name is a chain of pieces, literal or bracket; the index of a host is a number whose digits count through its brackets,
 * so that no list is ever expanded in memory. */
#include "deploy/launch/hostlist.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* One name of the list, such as "rack[0-1]n[01-03]". */
struct name {
    const char *begin, *end;
    const char *brackets[DP_HOSTLIST_BRACKETS]; /* the character after each '[' */
    size_t counts[DP_HOSTLIST_BRACKETS];
    int bracket_count;
    size_t count; /* hosts */
};

struct range {
    unsigned long low, high;
    int width; /* digits of low: "01" keeps its zero */
};

static enum sl_status broken(struct sl_error *err, const char *list, const char *at, const char *what)
{
    return sl_fail(
            err, SL_USAGE, "host list \"%.200s\": %s at character %zu", list, what, (size_t)(at - list) + 1);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads up to nine digits. Returns the character after them, NULL when there is none. */
static const char *read_number(unsigned long *ret_number, const char *at)
{
    const char *begin = at;
    *ret_number = 0;
    for (; is_digit(*at) && at - begin < 9; at++)
        *ret_number = *ret_number * 10 + (unsigned long)(*at - '0');
    return at == begin || is_digit(*at) ? NULL : at;
}

/* Reads "7" or "01-03". Returns the character after it, NULL when it is neither. */
static const char *read_range(struct range *ret_range, const char *at)
{
    const char *end = read_number(&ret_range->low, at);
    if (end == NULL)
        return NULL;
    ret_range->width = (int)(end - at);
    ret_range->high = ret_range->low;
    if (*end == '-')
        end = read_number(&ret_range->high, end + 1);
    return end == NULL || ret_range->high < ret_range->low ? NULL : end;
}

static enum sl_status read_bracket(struct name *name, const char **at, const char *list, struct sl_error *err)
{
    if (name->bracket_count == DP_HOSTLIST_BRACKETS)
        return broken(err, list, *at, "too many brackets in one name");
    const char *c = *at + 1;
    size_t count = 0;
    name->brackets[name->bracket_count] = c;
    for (;; c++) {
        struct range range;
        const char *end = read_range(&range, c);
        if (end == NULL || (*end != ',' && *end != ']'))
            return broken(err, list, c, "expected a number or a range such as 01-16");
        count += range.high - range.low + 1;
        if (count > DP_HOSTLIST_MAX)
            return broken(err, list, c, "too many hosts");
        c = end;
        if (*c == ']')
            break;
    }
    name->counts[name->bracket_count++] = count;
    name->count *= count;
    *at = c + 1;
    return name->count > DP_HOSTLIST_MAX ? broken(err, list, c, "too many hosts") : SL_OK;
}

/* Reads the name at *at and moves past its comma. */
static enum sl_status read_name(
        struct name *ret_name, const char **at, const char *list, struct sl_error *err)
{
    enum sl_status status = SL_OK;
    *ret_name = (struct name){.begin = *at, .count = 1};
    while (status == SL_OK && **at != 0 && **at != ',') {
        if (**at == '[')
            status = read_bracket(ret_name, at, list, err);
        else if (**at == ']' || (unsigned char)**at <= ' ')
            status = broken(err, list, *at, "unexpected character");
        else
            ++*at;
    }
    if (status != SL_OK)
        return status;
    ret_name->end = *at;
    if (ret_name->begin == ret_name->end)
        return broken(err, list, *at, "expected a host's name");
    if (**at == ',' && *++*at == 0)
        return broken(err, list, *at, "expected a host's name");
    return SL_OK;
}

/* The index-th number of a bracket that begins at `at`, as text. */
static const char *put_number(char *text, size_t size, const char *at, size_t index)
{
    struct range range;
    for (;;) {
        const char *end = read_range(&range, at);
        size_t count = range.high - range.low + 1;
        if (index < count) {
            (void)snprintf(text, size, "%0*lu", range.width, range.low + index);
            return text;
        }
        index -= count;
        at = end + 1;
    }
}

static enum sl_status put_host(char *host, const struct name *name, size_t index, struct sl_error *err)
{
    size_t digits[DP_HOSTLIST_BRACKETS], size = 0;
    for (int b = name->bracket_count - 1; b >= 0; b--) {
        digits[b] = index % name->counts[b];
        index /= name->counts[b];
    }
    int b = 0;
    for (const char *c = name->begin; c < name->end && size < DP_HOST_MAX; c++) {
        if (*c != '[') {
            host[size++] = *c;
            continue;
        }
        char number[16];
        const char *text = put_number(number, sizeof(number), name->brackets[b], digits[b]);
        while (*text != 0 && size < DP_HOST_MAX)
            host[size++] = *text++;
        b++;
        c = strchr(c, ']');
    }
    if (size == DP_HOST_MAX)
        return sl_fail(err, SL_USAGE, "a host's name is longer than %d characters", DP_HOST_MAX - 1);
    host[size] = 0;
    return SL_OK;
}

/* Walks the whole list, so that a list that breaks late is refused as one that breaks early. host NULL: only counts. */
static enum sl_status walk(
        size_t *ret_count, char *host, bool *ret_found, const char *text, size_t index, struct sl_error *err)
{
    const char *at = text;
    size_t count = 0;
    do {
        struct name name;
        enum sl_status status = read_name(&name, &at, text, err);
        if (status == SL_OK && host != NULL && index >= count && index - count < name.count) {
            *ret_found = true;
            status = put_host(host, &name, index - count, err);
        }
        if (status != SL_OK)
            return status;
        count += name.count;
        if (count > DP_HOSTLIST_MAX)
            return broken(err, text, name.begin, "too many hosts");
    } while (*at != 0);
    *ret_count = count;
    return SL_OK;
}

enum sl_status dp_hostlist_count(size_t *ret_count, const char *text, struct sl_error *err)
{
    bool found = false;
    return walk(ret_count, NULL, &found, text, 0, err);
}

enum sl_status dp_hostlist_nth(char *host, const char *text, size_t index, struct sl_error *err)
{
    bool found = false;
    size_t count = 0;
    enum sl_status status = walk(&count, host, &found, text, index, err);
    if (status == SL_OK && !found)
        return sl_fail(err, SL_NOT_FOUND, "host list \"%.200s\" has %zu hosts, asked for number %zu", text,
                count, index);
    return status;
}
