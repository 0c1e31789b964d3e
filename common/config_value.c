/* Single values of the config: reading, writing and describing by type. See config_schema.h. */
#include "common/config_schema.h"
#include "common/json.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOATS_MAX 4
#define DURATION_MAX_S (INT64_C(100) * 366 * 86400) /* a century */

enum sl_status sl_config_fail(
        const struct sl_config_reader *reader, const char *path, const char *format, ...)
{
    char message[SL_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    bool whole = false;
    const struct sl_yaml_node *node = sl_yaml_locate(reader->root, path, &whole);
    return sl_yaml_fail(reader->err, &node->place, path, "%s", message);
}

static void *place_in(const struct sl_field *field, void *base)
{
    return (char *)base + field->offset;
}

static const void *value_in(const struct sl_field *field, const void *base)
{
    return (const char *)base + field->offset;
}

static bool is_number_type(enum sl_field_type type)
{
    return type == SL_FIELD_INT || type == SL_FIELD_INT64 || type == SL_FIELD_UINT64 ||
           type == SL_FIELD_FLOAT || type == SL_FIELD_DOUBLE;
}

static void store_number(const struct sl_field *field, void *place, double value)
{
    int as_int = 0;
    int64_t as_int64 = 0;
    float as_float = (float)value;
    switch (field->type) {
    case SL_FIELD_INT:
        as_int = (int)value;
        memcpy(place, &as_int, sizeof(as_int));
        break;
    case SL_FIELD_INT64:
        as_int64 = (int64_t)value;
        memcpy(place, &as_int64, sizeof(as_int64));
        break;
    case SL_FIELD_FLOAT:
        memcpy(place, &as_float, sizeof(as_float));
        break;
    default:
        memcpy(place, &value, sizeof(value));
        break;
    }
}

static bool in_range(const struct sl_field *field, double value)
{
    bool low = field->above ? value > field->min : value >= field->min;
    bool high = field->below ? value < field->max : value <= field->max;
    return low && high;
}

/* decimal integers only: no hexadecimal, no octal, no underscore */
static bool read_int(const char *text, double *ret_value)
{
    size_t digits = strspn(text[0] == '-' || text[0] == '+' ? text + 1 : text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits + (text[0] == '-' || text[0] == '+' ? 1 : 0)] != 0)
        return false;
    *ret_value = (double)strtoll(text, NULL, 10);
    return true;
}

static bool read_real(const char *text, double *ret_value)
{
    char *end = NULL;
    if (strspn(text, "0123456789+-.eE") != strlen(text))
        return false; /* strtod would take hexadecimal, inf and nan */
    *ret_value = strtod(text, &end);
    return end != text && *end == 0 && isfinite(*ret_value);
}

static bool read_uint64(const char *text, void *place)
{
    if (text[0] == 0 || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    uint64_t value = strtoull(text, NULL, 10);
    memcpy(place, &value, sizeof(value));
    return errno == 0;
}

static bool read_number(const struct sl_field *field, const char *text, void *place)
{
    double value = 0.0;
    if (field->type == SL_FIELD_UINT64)
        return read_uint64(text, place);
    bool real =
            field->type == SL_FIELD_FLOAT || field->type == SL_FIELD_DOUBLE || field->type == SL_FIELD_FLOATS;
    if (!(real ? read_real(text, &value) : read_int(text, &value)))
        return false;
    /* a float may round out of an open range: 0.99999999 to 1 */
    double stored =
            field->type == SL_FIELD_FLOAT || field->type == SL_FIELD_FLOATS ? (double)(float)value : value;
    if (!in_range(field, value) || !in_range(field, stored))
        return false;
    store_number(field, place, value);
    return true;
}

static bool read_word(const struct sl_field *field, const char *text, void *place)
{
    for (int i = 0; field->words[i] != NULL; i++) {
        if (strcmp(field->words[i], text) == 0) {
            memcpy(place, &i, sizeof(i)); /* an enum is as wide as an int */
            return true;
        }
    }
    return false;
}
_Static_assert(sizeof(enum sl_kind) == sizeof(int), "words are stored as int");

static bool read_bool(const char *text, void *place)
{
    bool value = strcmp(text, "true") == 0;
    memcpy(place, &value, sizeof(value));
    return value || strcmp(text, "false") == 0;
}

static bool read_duration(const char *text, void *place)
{
    static const char units[] = "smhdw";
    static const int64_t seconds[] = {1, 60, 3600, 86400, 604800};
    int64_t value = SL_DURATION_INFINITE;
    if (strcmp(text, "inf") != 0) {
        size_t digits = strspn(text, "0123456789");
        const char *unit = text[digits] == 0 ? NULL : strchr(units, text[digits]);
        if (digits == 0 || digits > 12 || unit == NULL || text[digits + 1] != 0)
            return false;
        value = strtoll(text, NULL, 10) * seconds[unit - units];
        if (value < 1 || value > DURATION_MAX_S)
            return false;
    }
    memcpy(place, &value, sizeof(value));
    return true;
}

static bool is_name(const char *text)
{
    return text[0] >= 'a' && text[0] <= 'z' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(text);
}

static bool is_label(const char *text)
{
    size_t size = strlen(text);
    return size > 0 && text[0] != ' ' && text[size - 1] != ' ';
}

static bool is_endpoint(const char *text)
{
    const char *host = text + strlen("tcp://"), *colon = strrchr(text, ':');
    if (strncmp(text, "tcp://", strlen("tcp://")) != 0 || colon <= host || strpbrk(host, "/ @") != NULL)
        return false;
    size_t digits = strspn(colon + 1, "0123456789");
    return digits > 0 && digits <= 5 && colon[1 + digits] == 0 && strtol(colon + 1, NULL, 10) <= 65535;
}

static size_t text_size(const struct sl_field *field)
{
    return field->type == SL_FIELD_PATH || field->type == SL_FIELD_ENDPOINT ? SL_PATH_MAX : SL_NAME_MAX;
}

static bool read_text(const struct sl_field *field, const char *text, void *place, const char *base_dir)
{
    bool sound = text[0] != 0;
    if (field->type == SL_FIELD_NAME)
        sound = is_name(text);
    else if (field->type == SL_FIELD_LABEL)
        sound = is_label(text);
    else if (field->type == SL_FIELD_METRIC)
        sound = strchr(text, '.') != NULL;
    else if (field->type == SL_FIELD_ENDPOINT)
        sound = is_endpoint(text);
    bool join = field->type == SL_FIELD_PATH && text[0] != '/' && base_dir != NULL && base_dir[0] != 0;
    const char *folder = join ? base_dir : "", *slash = join && strcmp(base_dir, "/") != 0 ? "/" : "";
    if (!sound || strlen(folder) + strlen(slash) + strlen(text) >= text_size(field))
        return false;
    int length = snprintf(place, text_size(field), "%s%s%s", folder, slash, text);
    return length > 0 && (size_t)length < text_size(field);
}

static bool read_scalar(
        const struct sl_field *field, void *place, const struct sl_yaml_node *node, const char *base_dir)
{
    const char *text = node->text;
    if (field->none && !node->quoted && strcmp(text, "none") == 0) {
        if (is_number_type(field->type))
            store_number(field, place, field->none_value);
        else
            memset(place, 0, 1); /* the empty text */
        return true;
    }
    switch (field->type) {
    case SL_FIELD_INT:
    case SL_FIELD_INT64:
    case SL_FIELD_UINT64:
    case SL_FIELD_FLOAT:
    case SL_FIELD_DOUBLE:
        return read_number(field, text, place);
    case SL_FIELD_BOOL:
        return read_bool(text, place);
    case SL_FIELD_WORD:
        return read_word(field, text, place);
    case SL_FIELD_DURATION:
        return read_duration(text, place);
    default:
        return read_text(field, text, place, base_dir);
    }
}

static bool read_floats(const struct sl_field *field, void *place, const struct sl_yaml_node *node)
{
    float values[FLOATS_MAX];
    assert(field->count <= FLOATS_MAX);
    if (node->count != field->count)
        return false;
    const struct sl_field item = {.type = SL_FIELD_FLOAT,
            .min = field->min,
            .max = field->max,
            .above = field->above,
            .below = field->below};
    int i = 0;
    for (const struct sl_yaml_node *child = node->first; child != NULL; child = child->next)
        if (child->kind != SL_YAML_SCALAR || !read_number(&item, child->text, &values[i++]))
            return false;
    memcpy(place, values, (size_t)field->count * sizeof(float));
    return true;
}

static bool read_patterns(struct sl_modality_config *modality, const struct sl_yaml_node *node)
{
    if (node->count > SL_PATTERNS_MAX)
        return false;
    int i = 0;
    for (const struct sl_yaml_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind != SL_YAML_SCALAR || child->text[0] == 0 ||
                strlen(child->text) >= sizeof(modality->freeze[0]))
            return false;
        (void)snprintf(modality->freeze[i++], sizeof(modality->freeze[0]), "%s", child->text);
    }
    modality->freeze_count = i;
    return true;
}

/* the first member that is not sound, or NULL */
static const struct sl_yaml_node *read_scales(
        const struct sl_field *number, struct sl_modality_config *modality, const struct sl_yaml_node *node)
{
    int i = 0;
    for (const struct sl_yaml_node *child = node->first; child != NULL; child = child->next, i++) {
        struct sl_lr_scale *scale = &modality->lr_scale[i];
        if (child->kind != SL_YAML_SCALAR || strlen(child->key) >= sizeof(scale->pattern) ||
                !read_number(number, child->text, &scale->scale))
            return child;
        (void)snprintf(scale->pattern, sizeof(scale->pattern), "%s", child->key);
    }
    modality->lr_scale_count = i;
    return NULL;
}

static bool read_numbers(
        const struct sl_field *field, struct sl_numbers *numbers, const struct sl_yaml_node *node)
{
    const struct sl_field item = {.type = SL_FIELD_DOUBLE, .min = field->min, .max = field->max};
    int i = 0;
    if (node->count > SL_MODALITIES_MAX)
        return false;
    for (const struct sl_yaml_node *child = node->first; child != NULL; child = child->next)
        if (child->kind != SL_YAML_SCALAR || !read_number(&item, child->text, &numbers->values[i++]))
            return false;
    numbers->count = i;
    return true;
}

static bool read_list(const struct sl_field *field, void *base, const struct sl_yaml_node *node)
{
    switch (field->type) {
    case SL_FIELD_FLOATS:
        return read_floats(field, place_in(field, base), node);
    case SL_FIELD_NUMBERS:
        return read_numbers(field, place_in(field, base), node);
    default:
        return read_patterns(base, node);
    }
}

static bool is_list_type(enum sl_field_type type)
{
    return type == SL_FIELD_FLOATS || type == SL_FIELD_NUMBERS || type == SL_FIELD_PATTERNS;
}

/* member: what the value stands for in a map, or NULL */
static enum sl_status fail_field(const struct sl_field *field, const struct sl_yaml_node *node,
        const char *path, const char *member, const struct sl_config_reader *reader)
{
    char found[160], expected[256], whole[512];
    (void)snprintf(whole, sizeof(whole), member != NULL ? "%.200s: \"%.200s\"" : "%.256s", path, member);
    return sl_yaml_fail(reader->err, &node->place, whole, "found %s; expected %s",
            sl_yaml_show(found, sizeof(found), node), sl_field_describe(field, expected, sizeof(expected)));
}

enum sl_status sl_field_read(const struct sl_field *field, void *base, const struct sl_yaml_node *node,
        const char *path, const struct sl_config_reader *reader)
{
    bool sound = false;
    if (field->type == SL_FIELD_SCALES) {
        const struct sl_field number = {
                .type = SL_FIELD_FLOAT, .min = field->min, .max = field->max, .above = field->above};
        sound = node->kind == SL_YAML_MAP && node->count <= SL_SCALES_MAX;
        const struct sl_yaml_node *bad = sound ? read_scales(&number, base, node) : NULL;
        if (bad != NULL)
            return fail_field(&number, bad, path, bad->key, reader);
    } else if (!is_list_type(field->type))
        sound = node->kind == SL_YAML_SCALAR &&
                read_scalar(field, place_in(field, base), node, reader->base_dir);
    else if (node->kind == SL_YAML_SEQUENCE)
        sound = read_list(field, base, node);
    return sound ? SL_OK : fail_field(field, node, path, NULL, reader);
}

void sl_field_read_default(const struct sl_field *field, void *base)
{
    if (field->type == SL_FIELD_PATTERNS || field->type == SL_FIELD_SCALES ||
            field->type == SL_FIELD_NUMBERS || field->derived != NULL)
        return; /* empty, or filled in once the values that it follows from are known */
    assert(field->fallback != NULL);
    char text[64];
    (void)snprintf(text, sizeof(text), "%s", field->fallback);
    struct sl_yaml_node items[FLOATS_MAX] = {0},
                        node = {.kind = SL_YAML_SCALAR, .text = text, .first = &items[0]};
    bool sound = false;
    if (field->type != SL_FIELD_FLOATS) {
        sound = read_scalar(field, place_in(field, base), &node, NULL);
    } else {
        char *rest = NULL;
        for (char *word = strtok_r(text, "[, ]", &rest); word != NULL; word = strtok_r(NULL, "[, ]", &rest)) {
            items[node.count] = (struct sl_yaml_node){.kind = SL_YAML_SCALAR, .text = word};
            if (node.count > 0)
                items[node.count - 1].next = &items[node.count];
            node.count++;
        }
        sound = read_floats(field, place_in(field, base), &node);
    }
    assert(sound); /* the table's own mistake */
}

static void write_quoted(struct sl_text *out, const char *text)
{
    sl_text_put(out, "\"", 1);
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\')
            sl_text_put(out, "\\", 1);
        sl_text_put(out, text, 1);
    }
    sl_text_put(out, "\"", 1);
}

static void write_duration(struct sl_text *out, int64_t seconds)
{
    static const struct {
        int64_t seconds;
        char unit;
    } units[] = {{604800, 'w'}, {86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    if (seconds == SL_DURATION_INFINITE) {
        sl_text_printf(out, "inf");
        return;
    }
    size_t i = 0;
    while (seconds % units[i].seconds != 0)
        i++;
    sl_text_printf(out, "%lld%c", (long long)(seconds / units[i].seconds), units[i].unit);
}

static double load_number(const struct sl_field *field, const void *place)
{
    int as_int = 0;
    int64_t as_int64 = 0;
    float as_float = 0.0F;
    double value = 0.0;
    switch (field->type) {
    case SL_FIELD_INT:
        memcpy(&as_int, place, sizeof(as_int));
        return (double)as_int;
    case SL_FIELD_INT64:
        memcpy(&as_int64, place, sizeof(as_int64));
        return (double)as_int64; /* exact: the table's ranges end below 2^53 */
    case SL_FIELD_FLOAT:
        memcpy(&as_float, place, sizeof(as_float));
        return (double)as_float;
    default:
        memcpy(&value, place, sizeof(value));
        return value;
    }
}

static void write_number(const struct sl_field *field, const void *place, struct sl_text *out)
{
    char text[SL_JSON_NUMBER_MAX];
    double value = load_number(field, place);
    if (field->none && value == field->none_value)
        sl_text_printf(out, "none");
    else if (field->type == SL_FIELD_FLOAT)
        sl_text_printf(out, "%s", sl_format_float(text, (float)value));
    else if (field->type == SL_FIELD_DOUBLE)
        sl_text_printf(out, "%s", sl_format_double(text, value));
    else
        sl_text_printf(out, "%lld", (long long)value);
}

static void write_list(const struct sl_field *field, const void *base, struct sl_text *out)
{
    const struct sl_modality_config *modality = base; /* of PATTERNS */
    const struct sl_numbers *numbers = value_in(field, base);
    char text[SL_JSON_NUMBER_MAX];
    int count = field->type == SL_FIELD_FLOATS    ? field->count
                : field->type == SL_FIELD_NUMBERS ? numbers->count
                                                  : modality->freeze_count;
    sl_text_put(out, "[", 1);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            sl_text_put(out, ", ", 2);
        float value = 0.0F;
        if (field->type == SL_FIELD_FLOATS) {
            memcpy(&value, (const char *)value_in(field, base) + (size_t)i * sizeof(value), sizeof(value));
            sl_text_printf(out, "%s", sl_format_float(text, value));
        } else if (field->type == SL_FIELD_NUMBERS) {
            sl_text_printf(out, "%s", sl_format_double(text, numbers->values[i]));
        } else {
            write_quoted(out, modality->freeze[i]);
        }
    }
    sl_text_put(out, "]", 1);
}

static void write_scales(const struct sl_modality_config *modality, struct sl_text *out)
{
    char text[SL_JSON_NUMBER_MAX];
    sl_text_put(out, "{", 1);
    for (int i = 0; i < modality->lr_scale_count; i++) {
        if (i > 0)
            sl_text_put(out, ", ", 2);
        write_quoted(out, modality->lr_scale[i].pattern);
        sl_text_printf(out, ": %s", sl_format_float(text, modality->lr_scale[i].scale));
    }
    sl_text_put(out, "}", 1);
}

void sl_field_write(const struct sl_field *field, const void *base, struct sl_text *out)
{
    const void *place = value_in(field, base);
    int word = 0;
    int64_t duration = 0;
    uint64_t uint64 = 0;
    bool flag = false;
    switch (field->type) {
    case SL_FIELD_WORD:
        memcpy(&word, place, sizeof(word));
        sl_text_printf(out, "%s", field->words[word]);
        break;
    case SL_FIELD_BOOL:
        memcpy(&flag, place, sizeof(flag));
        sl_text_printf(out, "%s", flag ? "true" : "false");
        break;
    case SL_FIELD_UINT64:
        memcpy(&uint64, place, sizeof(uint64));
        sl_text_printf(out, "%llu", (unsigned long long)uint64);
        break;
    case SL_FIELD_DURATION:
        memcpy(&duration, place, sizeof(duration));
        write_duration(out, duration);
        break;
    case SL_FIELD_FLOATS:
    case SL_FIELD_NUMBERS:
    case SL_FIELD_PATTERNS:
        write_list(field, base, out);
        break;
    case SL_FIELD_SCALES:
        write_scales(base, out);
        break;
    case SL_FIELD_INT:
    case SL_FIELD_INT64:
    case SL_FIELD_FLOAT:
    case SL_FIELD_DOUBLE:
        write_number(field, place, out);
        break;
    default:
        if (field->none && *(const char *)place == 0)
            sl_text_printf(out, "none");
        else
            write_quoted(out, place);
        break;
    }
}

static void describe_range(const struct sl_field *field, const char *noun, char *text, size_t size)
{
    char low[SL_JSON_NUMBER_MAX], high[SL_JSON_NUMBER_MAX];
    bool whole = field->type == SL_FIELD_INT || field->type == SL_FIELD_INT64;
    (void)snprintf(low, sizeof(low), whole ? "%.0f" : "%.6g", field->min);
    (void)snprintf(high, sizeof(high), whole ? "%.0f" : "%.6g", field->max);
    (void)snprintf(text, size, "%s %s %s %s %s", noun, field->above ? "above" : "from", low,
            field->below   ? "to below"
            : field->above ? "up to"
                           : "to",
            high);
}

static void describe_words(const struct sl_field *field, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "one of");
    for (int i = 0; field->words[i] != NULL && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s %s", i > 0 ? "," : "", field->words[i]);
}

const char *sl_field_describe(const struct sl_field *field, char *text, size_t size)
{
    static const char *const texts[] = {[SL_FIELD_BOOL] = "true or false",
            [SL_FIELD_UINT64] = "an integer from 0 to 18446744073709551615",
            [SL_FIELD_NAME] = "a name of a-z, 0-9 and _ that begins with a letter",
            [SL_FIELD_LABEL] = "a text of at most 63 bytes without blanks at its ends",
            [SL_FIELD_METRIC] = "BRANCH.METRIC, such as fused.accuracy",
            [SL_FIELD_ENDPOINT] = "tcp://HOST:PORT",
            [SL_FIELD_PATH] = "a path",
            [SL_FIELD_DURATION] = "a duration such as 90m, 24h, 7d, 2w or inf",
            [SL_FIELD_PATTERNS] = "a list of at most 16 name patterns"};
    char noun[64];
    switch (field->type) {
    case SL_FIELD_INT:
    case SL_FIELD_INT64:
        describe_range(field, "an integer", text, size);
        break;
    case SL_FIELD_FLOAT:
    case SL_FIELD_DOUBLE:
        describe_range(field, "a number", text, size);
        break;
    case SL_FIELD_FLOATS:
        (void)snprintf(noun, sizeof(noun), "a list of %d numbers", field->count);
        describe_range(field, noun, text, size);
        break;
    case SL_FIELD_NUMBERS:
        (void)snprintf(noun, sizeof(noun), "a list of one number per modality");
        describe_range(field, noun, text, size);
        break;
    case SL_FIELD_SCALES:
        (void)snprintf(noun, sizeof(noun), "a map of at most %d name patterns to numbers", SL_SCALES_MAX);
        describe_range(field, noun, text, size);
        break;
    case SL_FIELD_WORD:
        describe_words(field, text, size);
        break;
    default:
        (void)snprintf(text, size, "%s", texts[field->type]);
        break;
    }
    size_t used = strlen(text);
    if (field->none)
        (void)snprintf(text + used, size - used, ", or none");
    return text;
}
