/* Parsing a safetensors header: see safetensors_private.h. By hand rather than with the JSON library, whose
 * tree would take some fifty times the bytes of a hostile header. */
#include "common/memory.h"
#include "common/safetensors_private.h"

#include <stdbool.h>
#include <string.h>

#define METADATA_MAX 4096 /* pairs of __metadata__ */
#define SHOWN_MAX SL_SAFETENSORS_SHOWN_MAX

/* Where the parser is. Strings are decoded into file->strings, which is as long as the header and so never
 * overflows: each decoded string and its 0 take no more bytes than the quoted one. */
struct parser {
    struct sl_safetensors *file;
    const char *begin, *at, *end;
    struct sl_error *err;
};

static const struct {
    const char *name;
    size_t size;
} dtypes[SL_DTYPES] = {
        [SL_DTYPE_F32] = {"F32", 4},
        [SL_DTYPE_F64] = {"F64", 8},
        [SL_DTYPE_F16] = {"F16", 2},
        [SL_DTYPE_BF16] = {"BF16", 2},
        [SL_DTYPE_I8] = {"I8", 1},
        [SL_DTYPE_I16] = {"I16", 2},
        [SL_DTYPE_I32] = {"I32", 4},
        [SL_DTYPE_I64] = {"I64", 8},
        [SL_DTYPE_U8] = {"U8", 1},
        [SL_DTYPE_U16] = {"U16", 2},
        [SL_DTYPE_U32] = {"U32", 4},
        [SL_DTYPE_U64] = {"U64", 8},
        [SL_DTYPE_BOOL] = {"BOOL", 1},
};

size_t sl_dtype_size(enum sl_dtype dtype)
{
    return (unsigned)dtype < SL_DTYPES ? dtypes[dtype].size : 0;
}

const char *sl_dtype_name(enum sl_dtype dtype)
{
    return (unsigned)dtype < SL_DTYPES ? dtypes[dtype].name : "?";
}

static enum sl_status bad_header(struct parser *p, const char *expected)
{
    return sl_fail(p->err, SL_BAD_DATA, "%s: the safetensors header is damaged at byte %zu: expected %s",
            p->file->name, (size_t)(p->at - p->begin), expected);
}

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r'))
        p->at++;
}

static bool accept(struct parser *p, char c)
{
    skip_space(p);
    if (p->at >= p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static enum sl_status expect(struct parser *p, char c, const char *expected)
{
    return accept(p, c) ? SL_OK : bad_header(p, expected);
}

static enum sl_status parse_number(struct parser *p, uint64_t *ret_number)
{
    skip_space(p);
    uint64_t number = 0;
    const char *first = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') {
        uint64_t digit = (uint64_t)(*p->at - '0');
        if (number > ((uint64_t)INT64_MAX - digit) / 10)
            return bad_header(p, "a number below 2^63");
        number = number * 10 + digit;
        p->at++;
    }
    if (p->at == first || (*first == '0' && p->at - first > 1))
        return bad_header(p, "a whole number that is not negative");
    *ret_number = number;
    return SL_OK;
}

static bool parse_hex4(struct parser *p, uint32_t *ret_code)
{
    if (p->end - p->at < 4)
        return false;
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = *p->at++;
        if (c >= '0' && c <= '9')
            code = code * 16 + (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            code = code * 16 + (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            code = code * 16 + (uint32_t)(c - 'A' + 10);
        else
            return false;
    }
    *ret_code = code;
    return true;
}

/* put_utf8 writes one code point and gives its bytes: at most 3 for what \uXXXX says, 4 for a pair of them.
 */
static size_t put_utf8(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3F));
        to[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3F));
    to[2] = (char)(0x80 | (code >> 6 & 0x3F));
    to[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* parse_escape reads what follows a backslash. A 0 and lone surrogates are refused: names end at their 0 and
 * are printed. */
static enum sl_status parse_escape(struct parser *p, char *to, size_t *ret_size)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (p->at >= p->end)
        return bad_header(p, "the rest of an escape");
    char c = *p->at++;
    const char *found = c == '\0' ? NULL : strchr(from, c);
    if (found != NULL) {
        to[0] = into[found - from];
        *ret_size = 1;
        return SL_OK;
    }
    uint32_t code = 0, low = 0;
    if (c != 'u' || !parse_hex4(p, &code) || code == 0)
        return bad_header(p, "a valid escape");
    if (code >= 0xD800 && code < 0xE000) {
        bool pair = code < 0xDC00 && p->end - p->at >= 2 && p->at[0] == '\\' && p->at[1] == 'u';
        if (pair)
            p->at += 2;
        if (!pair || !parse_hex4(p, &low) || low < 0xDC00 || low >= 0xE000)
            return bad_header(p, "a pair of surrogates");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *ret_size = put_utf8(to, code);
    return SL_OK;
}

/* utf8_length gives the bytes of the well-formed UTF-8 character at `at`, or 0 (Unicode 15, table 3-7). */
static size_t utf8_length(const char *at, const char *end)
{
    const unsigned char *c = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    if (c[0] < 0x80)
        return 1;
    if (c[0] >= 0xC2 && c[0] <= 0xDF)
        return left >= 2 && (c[1] & 0xC0) == 0x80 ? 2 : 0;
    unsigned low = c[0] == 0xE0 ? 0xA0 : c[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = c[0] == 0xED ? 0x9F : c[0] == 0xF4 ? 0x8F : 0xBF;
    size_t length = c[0] >= 0xE0 && c[0] <= 0xEF ? 3 : c[0] >= 0xF0 && c[0] <= 0xF4 ? 4 : 0;
    if (length == 0 || left < length || c[1] < low || c[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((c[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

static enum sl_status parse_string(struct parser *p, const char **ret_text)
{
    enum sl_status s = expect(p, '"', "a quoted text");
    if (s != SL_OK)
        return s;
    char *to = p->file->strings + p->file->strings_size;
    size_t size = 0;
    while (p->at < p->end && *p->at != '"') {
        if ((unsigned char)*p->at < 0x20)
            return bad_header(p, "no control character in a text");
        size_t step = 0;
        if (*p->at == '\\') {
            p->at++;
            s = parse_escape(p, to + size, &step);
            if (s != SL_OK)
                return s;
        } else {
            step = utf8_length(p->at, p->end);
            if (step == 0)
                return bad_header(p, "valid UTF-8");
            memcpy(to + size, p->at, step);
            p->at += step;
        }
        size += step;
    }
    if (p->at >= p->end)
        return bad_header(p, "the end of a text");
    p->at++;
    to[size] = '\0';
    p->file->strings_size += size + 1;
    *ret_text = to;
    return SL_OK;
}

static enum sl_status parse_dtype(struct parser *p, enum sl_dtype *ret_dtype, const char *tensor)
{
    const char *text = NULL;
    enum sl_status s = parse_string(p, &text);
    if (s != SL_OK)
        return s;
    for (int i = 0; i < SL_DTYPES; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *ret_dtype = (enum sl_dtype)i;
            return SL_OK;
        }
    }
    return sl_fail(p->err, SL_BAD_DATA, "%s: tensor \"%.*s\" has dtype \"%.*s\", which is not known here",
            p->file->name, SHOWN_MAX, tensor, SHOWN_MAX, text);
}

/* parse_numbers reads [a, b, …] of at most max numbers. */
static enum sl_status parse_numbers(
        struct parser *p, uint64_t *numbers, int max, int *ret_count, const char *too_many)
{
    enum sl_status s = expect(p, '[', "a list of numbers");
    if (s != SL_OK)
        return s;
    int count = 0;
    if (!accept(p, ']')) {
        do {
            if (count == max)
                return bad_header(p, too_many);
            s = parse_number(p, &numbers[count++]);
            if (s != SL_OK)
                return s;
        } while (accept(p, ','));
        s = expect(p, ']', "',' or ']'");
    }
    *ret_count = count;
    return s;
}

static enum sl_status parse_shape(struct parser *p, struct sl_tensor *tensor)
{
    uint64_t shape[SL_TENSOR_RANK_MAX];
    enum sl_status s =
            parse_numbers(p, shape, SL_TENSOR_RANK_MAX, &tensor->rank, "a shape of at most 8 dimensions");
    if (s != SL_OK)
        return s;
    for (int i = 0; i < tensor->rank; i++)
        tensor->shape[i] = (int64_t)shape[i];
    return SL_OK;
}

static enum sl_status parse_offsets(struct parser *p, struct sl_tensor *tensor)
{
    uint64_t offsets[2] = {0, 0};
    int count = 0;
    enum sl_status s = parse_numbers(p, offsets, 2, &count, "two offsets");
    if (s != SL_OK)
        return s;
    if (count != 2 || offsets[0] > offsets[1])
        return bad_header(p, "two offsets in order");
    tensor->offset = offsets[0];
    tensor->size = offsets[1] - offsets[0];
    return SL_OK;
}

/* check_size makes sure that shape and dtype give just the bytes between the offsets, all inside the data. */
static enum sl_status check_size(struct parser *p, struct sl_tensor *tensor)
{
    uint64_t count = 1;
    bool overflow = false;
    for (int i = 0; i < tensor->rank; i++)
        overflow |= __builtin_mul_overflow(count, (uint64_t)tensor->shape[i], &count);
    /* a zero dimension makes the product 0 wherever it stands, even after an overflow */
    for (int i = 0; i < tensor->rank; i++) {
        if (tensor->shape[i] == 0) {
            count = 0;
            overflow = false;
        }
    }
    uint64_t size = 0;
    overflow |= __builtin_mul_overflow(count, sl_dtype_size(tensor->dtype), &size);
    if (overflow || size != tensor->size)
        return sl_fail(p->err, SL_BAD_DATA,
                "%s: tensor \"%.*s\" has offsets of %llu bytes, which do not agree with its shape and dtype",
                p->file->name, SHOWN_MAX, tensor->name, (unsigned long long)tensor->size);
    if (tensor->offset > p->file->data_size || tensor->size > p->file->data_size - tensor->offset)
        return sl_fail(p->err, SL_BAD_DATA,
                "%s: truncated: tensor \"%.*s\" ends at byte %llu of the data, but there are only %llu",
                p->file->name, SHOWN_MAX, tensor->name, (unsigned long long)(tensor->offset + tensor->size),
                (unsigned long long)p->file->data_size);
    tensor->count = count;
    return SL_OK;
}

static enum sl_status parse_tensor(struct parser *p, const char *name)
{
    struct sl_tensor tensor = {.name = name};
    unsigned seen = 0; /* dtype 1, shape 2, data_offsets 4 */
    enum sl_status s = expect(p, '{', "'{' of a tensor");
    if (s != SL_OK)
        return s;
    do {
        const char *key = NULL;
        s = parse_string(p, &key);
        if (s == SL_OK)
            s = expect(p, ':', "':'");
        if (s != SL_OK)
            return s;
        unsigned field = strcmp(key, "dtype") == 0          ? 1
                         : strcmp(key, "shape") == 0        ? 2
                         : strcmp(key, "data_offsets") == 0 ? 4
                                                            : 0;
        if (field == 0 || (seen & field) != 0)
            return bad_header(p, "dtype, shape and data_offsets, each once");
        seen |= field;
        s = field == 1   ? parse_dtype(p, &tensor.dtype, name)
            : field == 2 ? parse_shape(p, &tensor)
                         : parse_offsets(p, &tensor);
        if (s != SL_OK)
            return s;
    } while (accept(p, ','));
    s = expect(p, '}', "',' or '}' of a tensor");
    if (s != SL_OK)
        return s;
    if (seen != 7)
        return bad_header(p, "dtype, shape and data_offsets before the end of a tensor");
    s = check_size(p, &tensor);
    if (s != SL_OK)
        return s;
    p->file->tensors[p->file->count++] = tensor;
    return SL_OK;
}

/* grow makes room for one more element of an array that doubles. */
static enum sl_status grow(
        struct parser *p, void *array, size_t element, int count, int *capacity, int max, const char *what)
{
    if (count < *capacity)
        return SL_OK;
    if (count >= max)
        return sl_fail(p->err, SL_BAD_DATA, "%s: more than %d %s", p->file->name, max, what);
    int wanted = *capacity == 0 ? 64 : *capacity * 2;
    void *old = NULL;
    memcpy(&old, array, sizeof(old));
    void *new = sl_realloc(old, (size_t)wanted, element);
    if (new == NULL)
        return sl_fail(p->err, SL_NO_MEMORY, "%s: out of memory for %d %s", p->file->name, wanted, what);
    memcpy(array, &new, sizeof(new));
    *capacity = wanted;
    return SL_OK;
}

static enum sl_status parse_metadata(struct parser *p)
{
    struct sl_safetensors *file = p->file;
    enum sl_status s = expect(p, '{', "'{' of __metadata__");
    if (s != SL_OK)
        return s;
    if (accept(p, '}'))
        return SL_OK;
    do {
        s = grow(p, &file->metadata, sizeof(*file->metadata), file->metadata_count, &file->metadata_capacity,
                METADATA_MAX, "pairs of metadata");
        struct sl_safetensors_pair pair = {NULL, NULL};
        if (s == SL_OK)
            s = parse_string(p, &pair.key);
        if (s == SL_OK)
            s = expect(p, ':', "':'");
        if (s == SL_OK)
            s = parse_string(p, &pair.value);
        if (s != SL_OK)
            return s;
        if (sl_safetensors_metadata(file, pair.key) != NULL)
            return bad_header(p, "no key of __metadata__ twice");
        file->metadata[file->metadata_count++] = pair;
    } while (accept(p, ','));
    return expect(p, '}', "',' or '}' of __metadata__");
}

static enum sl_status parse_header(struct parser *p)
{
    bool metadata_seen = false;
    if (p->begin == p->end || *p->begin != '{')
        return bad_header(p, "'{'");
    p->at++;
    if (!accept(p, '}')) {
        enum sl_status s = SL_OK;
        do {
            const char *name = NULL;
            s = grow(p, &p->file->tensors, sizeof(*p->file->tensors), p->file->count, &p->file->capacity,
                    SL_SAFETENSORS_TENSORS_MAX, "tensors");
            if (s == SL_OK)
                s = parse_string(p, &name);
            if (s == SL_OK)
                s = expect(p, ':', "':'");
            if (s != SL_OK)
                return s;
            bool is_metadata = strcmp(name, "__metadata__") == 0;
            if (is_metadata && metadata_seen)
                return bad_header(p, "__metadata__ only once");
            metadata_seen |= is_metadata;
            if (strlen(name) > SL_SAFETENSORS_NAME_MAX)
                return bad_header(p, "a name of at most 1024 bytes");
            s = is_metadata ? parse_metadata(p) : parse_tensor(p, name);
            if (s != SL_OK)
                return s;
        } while (accept(p, ','));
        s = expect(p, '}', "',' or '}'");
        if (s != SL_OK)
            return s;
    }
    skip_space(p);
    return p->at == p->end ? SL_OK : bad_header(p, "nothing but spaces after the last '}'");
}

enum sl_status sl_safetensors_parse(
        struct sl_safetensors *file, const char *text, size_t size, struct sl_error *err)
{
    struct parser parser = {file, text, text, text + size, err};
    return parse_header(&parser);
}
