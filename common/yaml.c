/* The YAML reader: see yaml.h. */
#include "common/yaml.h"

#include "common/memory.h"
#include "common/utf8.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define OVERRIDE_MAX 4096 /* bytes of an override */

struct sl_yaml {
    struct sl_yaml_node *root;
    struct sl_yaml_node *newest; /* list of all nodes, through newer */
    struct origin *origins;
    int node_count;
};

/* Names of files and overrides live as long as the document, because places point to them. */
struct origin {
    struct origin *next;
    char text[];
};

/* One parse in progress. */
struct reader {
    struct sl_yaml *yaml;
    yaml_parser_t *parser;
    const char *origin;
    bool is_override; /* line and column would count within the value: left out */
    struct sl_error *err;
};

void sl_yaml_destroy(struct sl_yaml *yaml)
{
    if (yaml == NULL)
        return;
    while (yaml->newest != NULL) {
        struct sl_yaml_node *node = yaml->newest;
        yaml->newest = node->newer;
        sl_free(node);
    }
    while (yaml->origins != NULL) {
        struct origin *origin = yaml->origins;
        yaml->origins = origin->next;
        sl_free(origin);
    }
    sl_free(yaml);
}

void sl_yaml_destroy_auto(struct sl_yaml **yaml)
{
    sl_yaml_destroy(*yaml);
}

enum sl_status sl_yaml_fail(
        struct sl_error *err, const struct sl_yaml_place *place, const char *path, const char *format, ...)
{
    char message[SL_ERROR_TEXT_MAX], where[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    if (place->line > 0)
        (void)snprintf(where, sizeof(where), "%.200s:%d:%d", place->origin, place->line, place->column);
    else
        (void)snprintf(where, sizeof(where), "%.200s", place->origin);
    return sl_fail(err, SL_USAGE, "%s: %s%s%s", where, path, path[0] != 0 ? ": " : "", message);
}

const char *sl_yaml_show(char *buffer, size_t size, const struct sl_yaml_node *node)
{
    if (node->kind != SL_YAML_SCALAR) {
        (void)snprintf(buffer, size, "%s", node->kind == SL_YAML_MAP ? "a map" : "a list");
        return buffer;
    }
    if (node->text[0] == 0) {
        (void)snprintf(buffer, size, "nothing");
        return buffer;
    }
    size_t bytes = sl_utf8_cut(node->text, 60);
    (void)snprintf(buffer, size, "\"%.*s%s\"", (int)bytes, node->text, node->text[bytes] != 0 ? "..." : "");
    for (char *c = buffer; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
    return buffer;
}

static struct sl_yaml_place place_of(const struct reader *reader, yaml_mark_t mark)
{
    struct sl_yaml_place place = {reader->origin, (int)mark.line + 1, (int)mark.column + 1};
    if (reader->is_override)
        place.line = place.column = 0;
    return place;
}

static enum sl_status add_origin(const char **ret_origin, struct sl_yaml *yaml, const char *prefix,
        const char *name, struct sl_error *err)
{
    size_t size = strlen(prefix) + strlen(name) + 1;
    struct origin *origin = sl_alloc(1, sizeof(*origin) + size);
    if (origin == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory while reading %s", name);
    (void)snprintf(origin->text, size, "%s%s", prefix, name);
    for (char *c = origin->text; *c != 0; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
    origin->next = yaml->origins;
    yaml->origins = origin;
    *ret_origin = origin->text;
    return SL_OK;
}

/* a node with room for its text behind it */
static enum sl_status add_node(struct sl_yaml_node **ret_node, const struct reader *reader,
        enum sl_yaml_kind kind, const char *text, size_t size, struct sl_yaml_place place)
{
    if (reader->yaml->node_count >= SL_YAML_NODES_MAX)
        return sl_yaml_fail(reader->err, &place, "", "more than %d values in one config", SL_YAML_NODES_MAX);
    struct sl_yaml_node *node = sl_alloc(1, sizeof(*node) + size + 1);
    if (node == NULL)
        return sl_fail(reader->err, SL_NO_MEMORY, "out of memory while reading %s", reader->origin);
    char *copy = (char *)(node + 1);
    if (size > 0)
        memcpy(copy, text, size);
    node->kind = kind;
    node->text = copy;
    node->place = node->key_place = place;
    node->newer = reader->yaml->newest;
    reader->yaml->newest = node;
    reader->yaml->node_count++;
    *ret_node = node;
    return SL_OK;
}

static void destroy_event(yaml_event_t *event)
{
    yaml_event_delete(event);
}

/* the next event, or an error that tells libyaml's reason */
static enum sl_status next_event(const struct reader *reader, yaml_event_t *ret_event)
{
    const yaml_parser_t *parser = reader->parser;
    memset(ret_event, 0, sizeof(*ret_event));
    if (yaml_parser_parse(reader->parser, ret_event))
        return SL_OK;
    if (parser->error == YAML_MEMORY_ERROR)
        return sl_fail(reader->err, SL_NO_MEMORY, "out of memory while reading %s", reader->origin);
    yaml_mark_t mark = parser->error == YAML_READER_ERROR ? parser->mark : parser->problem_mark;
    struct sl_yaml_place place = place_of(reader, mark);
    return sl_yaml_fail(reader->err, &place, "", "is not YAML: %s%s%s",
            parser->context != NULL ? parser->context : "", parser->context != NULL ? ", " : "",
            parser->problem != NULL ? parser->problem : "cannot be read");
}

static enum sl_status read_scalar(
        struct sl_yaml_node **ret_node, const struct reader *reader, const yaml_event_t *event)
{
    struct sl_yaml_place place = place_of(reader, event->start_mark);
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (!sl_utf8_is_text(text, size))
        return sl_yaml_fail(
                reader->err, &place, "", "a text holds a control character or line break; take it out");
    enum sl_status s = add_node(ret_node, reader, SL_YAML_SCALAR, text, size, place);
    if (s == SL_OK)
        (*ret_node)->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    return s;
}

/* what YAML offers and a config does not need */
static enum sl_status refuse_extras(const struct reader *reader, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    struct sl_yaml_place place = place_of(reader, event->start_mark);
    if (event->type == YAML_ALIAS_EVENT || anchor != NULL)
        return sl_yaml_fail(reader->err, &place, "",
                "anchors (&name) and aliases (*name) are not supported; write the value out, or in quotes");
    if (tag != NULL)
        return sl_yaml_fail(reader->err, &place, "",
                "tags (!name) are not supported; write the plain value, or in quotes");
    return SL_OK;
}

static enum sl_status read_value(
        struct sl_yaml_node **ret_node, const struct reader *reader, const yaml_event_t *event, int depth);

/* reads the event that begins the next member; *ret_end: the map or sequence ends here */
static enum sl_status next_member(const struct reader *reader, const struct sl_yaml_node *parent,
        yaml_event_t *ret_event, bool *ret_end)
{
    enum sl_status s = next_event(reader, ret_event);
    if (s != SL_OK)
        return s;
    *ret_end = ret_event->type == YAML_MAPPING_END_EVENT || ret_event->type == YAML_SEQUENCE_END_EVENT;
    if (!*ret_end && parent->count >= SL_YAML_MEMBERS_MAX) {
        struct sl_yaml_place place = place_of(reader, ret_event->start_mark);
        return sl_yaml_fail(reader->err, &place, "", "more than %d members", SL_YAML_MEMBERS_MAX);
    }
    return SL_OK;
}

/* the key node becomes the value's name; the key's own node only keeps the text alive */
static enum sl_status read_member_value(struct sl_yaml_node **ret_value, const struct reader *reader,
        const struct sl_yaml_node *parent, const struct sl_yaml_node *key, int depth)
{
    if (key->kind != SL_YAML_SCALAR || key->text[0] == 0)
        return sl_yaml_fail(reader->err, &key->place, "", "a key must be a word; found %s",
                key->kind == SL_YAML_SCALAR ? "nothing" : "a map or list");
    const struct sl_yaml_node *twin = sl_yaml_get(parent, key->text);
    if (twin != NULL)
        return sl_yaml_fail(reader->err, &key->place, "",
                "key \"%.60s\" is given twice (before on line %d); remove one", key->text,
                twin->key_place.line);
    SL_AUTO(destroy_event) yaml_event_t event;
    enum sl_status s = next_event(reader, &event);
    if (s == SL_OK)
        s = read_value(ret_value, reader, &event, depth);
    if (s != SL_OK)
        return s;
    (*ret_value)->key = key->text;
    (*ret_value)->key_place = key->place;
    return SL_OK;
}

static enum sl_status read_members(struct sl_yaml_node *parent, const struct reader *reader, int depth)
{
    struct sl_yaml_node **link = &parent->first;
    for (;;) {
        SL_AUTO(destroy_event) yaml_event_t event;
        bool end = false;
        enum sl_status s = next_member(reader, parent, &event, &end);
        if (s != SL_OK || end)
            return s;
        struct sl_yaml_node *member = NULL;
        s = read_value(&member, reader, &event, depth);
        if (s == SL_OK && parent->kind == SL_YAML_MAP) {
            const struct sl_yaml_node *key = member;
            s = read_member_value(&member, reader, parent, key, depth);
        }
        if (s != SL_OK)
            return s;
        *link = member;
        link = &member->next;
        parent->count++;
    }
}

static enum sl_status read_value(
        struct sl_yaml_node **ret_node, const struct reader *reader, const yaml_event_t *event, int depth)
{
    enum sl_status s = refuse_extras(reader, event);
    if (s != SL_OK)
        return s;
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(ret_node, reader, event);
    struct sl_yaml_place place = place_of(reader, event->start_mark);
    if (event->type != YAML_MAPPING_START_EVENT && event->type != YAML_SEQUENCE_START_EVENT)
        return sl_yaml_fail(reader->err, &place, "", "is empty; expected a value");
    if (depth >= SL_YAML_DEPTH_MAX)
        return sl_yaml_fail(reader->err, &place, "", "nested deeper than %d levels", SL_YAML_DEPTH_MAX);
    struct sl_yaml_node *node = NULL;
    enum sl_yaml_kind kind = event->type == YAML_MAPPING_START_EVENT ? SL_YAML_MAP : SL_YAML_SEQUENCE;
    s = add_node(&node, reader, kind, "", 0, place);
    if (s == SL_OK)
        s = read_members(node, reader, depth + 1);
    if (s == SL_OK)
        *ret_node = node;
    return s;
}

/* skips one event that must be of the given type */
static enum sl_status expect_event(const struct reader *reader, yaml_event_type_t type, const char *otherwise)
{
    SL_AUTO(destroy_event) yaml_event_t event;
    enum sl_status s = next_event(reader, &event);
    if (s != SL_OK || event.type == type)
        return s;
    struct sl_yaml_place place = place_of(reader, event.start_mark);
    return sl_yaml_fail(reader->err, &place, "", "%s", otherwise);
}

static enum sl_status read_document(struct sl_yaml_node **ret_node, const struct reader *reader)
{
    enum sl_status s = expect_event(reader, YAML_STREAM_START_EVENT, "is not YAML");
    if (s == SL_OK)
        s = expect_event(reader, YAML_DOCUMENT_START_EVENT, "is empty; expected a value");
    if (s != SL_OK)
        return s;
    SL_AUTO(destroy_event) yaml_event_t event;
    s = next_event(reader, &event);
    if (s == SL_OK)
        s = read_value(ret_node, reader, &event, 0);
    if (s == SL_OK)
        s = expect_event(reader, YAML_DOCUMENT_END_EVENT, "goes on after its value");
    if (s == SL_OK)
        s = expect_event(reader, YAML_STREAM_END_EVENT, "holds a second document (---); keep one");
    return s;
}

static void delete_parser(yaml_parser_t *parser)
{
    yaml_parser_delete(parser);
}

/* parses text into nodes that the document owns */
static enum sl_status read_text(
        struct sl_yaml_node **ret_node, struct reader *reader, const char *text, size_t size)
{
    if (size > SL_YAML_SIZE_MAX)
        return sl_fail(reader->err, SL_USAGE, "%s: has %zu bytes; a config has at most %zu", reader->origin,
                size, SL_YAML_SIZE_MAX);
    SL_AUTO(delete_parser) yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        memset(&parser, 0, sizeof(parser));
        return sl_fail(reader->err, SL_NO_MEMORY, "out of memory while reading %s", reader->origin);
    }
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark says nothing in UTF-8 */
        text += 3;
        size -= 3;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    reader->parser = &parser;
    return read_document(ret_node, reader);
}

enum sl_status sl_yaml_parse(
        struct sl_yaml **ret_yaml, const char *text, size_t size, const char *name, struct sl_error *err)
{
    SL_AUTO(sl_yaml_destroy_auto) struct sl_yaml *yaml = sl_alloc(1, sizeof(*yaml));
    if (yaml == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory while reading %s", name);
    struct reader reader = {.yaml = yaml, .err = err};
    enum sl_status s = add_origin(&reader.origin, yaml, "", name, err);
    if (s == SL_OK)
        s = read_text(&yaml->root, &reader, text, size);
    if (s == SL_OK)
        *ret_yaml = SL_TAKE(yaml);
    return s;
}

struct sl_yaml_node *sl_yaml_root(struct sl_yaml *yaml)
{
    return yaml->root;
}

struct sl_yaml_node *sl_yaml_get(const struct sl_yaml_node *node, const char *key)
{
    if (node == NULL || node->kind != SL_YAML_MAP)
        return NULL;
    struct sl_yaml_node *member = node->first;
    while (member != NULL && strcmp(member->key, key) != 0)
        member = member->next;
    return member;
}

/* an item by index when the word is a number, else by its `name` */
static struct sl_yaml_node *get_item(const struct sl_yaml_node *sequence, const char *word)
{
    bool is_number = word[0] != 0 && strspn(word, "0123456789") == strlen(word) && strlen(word) < 6;
    long index = is_number ? strtol(word, NULL, 10) : -1;
    for (struct sl_yaml_node *item = sequence->first; item != NULL; item = item->next) {
        const struct sl_yaml_node *name = sl_yaml_get(item, "name");
        if (is_number ? index-- == 0
                      : name != NULL && name->kind == SL_YAML_SCALAR && strcmp(name->text, word) == 0)
            return item;
    }
    return NULL;
}

static struct sl_yaml_node *get_member(const struct sl_yaml_node *node, const char *word)
{
    return node->kind == SL_YAML_SEQUENCE ? get_item(node, word) : sl_yaml_get(node, word);
}

/* cuts the first word off a path; false at its end */
static bool take_word(const char **path, char *word, size_t size)
{
    if (**path == 0)
        return false;
    size_t length = strcspn(*path, ".");
    (void)snprintf(word, size, "%.*s", (int)(length < size ? length : size - 1), *path);
    *path += length + ((*path)[length] == '.' ? 1 : 0);
    return true;
}

const struct sl_yaml_node *sl_yaml_locate(const struct sl_yaml_node *root, const char *path, bool *ret_whole)
{
    const struct sl_yaml_node *node = root;
    char word[128];
    *ret_whole = true;
    while (take_word(&path, word, sizeof(word))) {
        const struct sl_yaml_node *next = get_member(node, word);
        if (next == NULL) {
            *ret_whole = false;
            break;
        }
        node = next;
    }
    return node;
}

/* puts value in the place of old, which is a member of parent */
static void replace_member(
        struct sl_yaml_node *parent, const struct sl_yaml_node *old, struct sl_yaml_node *value)
{
    struct sl_yaml_node **link = &parent->first;
    while (*link != old)
        link = &(*link)->next;
    value->key = old->key;
    value->next = old->next;
    *link = value;
}

static void append_member(struct sl_yaml_node *parent, struct sl_yaml_node *value)
{
    struct sl_yaml_node **link = &parent->first;
    while (*link != NULL)
        link = &(*link)->next;
    *link = value;
    parent->count++;
}

/* a new member named word; the key's text lives in a node of its own */
static enum sl_status add_member(struct sl_yaml_node *parent, const struct reader *reader, const char *word,
        struct sl_yaml_node *value)
{
    struct sl_yaml_place place = {reader->origin, 0, 0};
    if (parent->kind == SL_YAML_SEQUENCE)
        return sl_yaml_fail(reader->err, &place, "",
                "the list has no item \"%.60s\" (it has %d, counted from 0)", word, parent->count);
    if (parent->kind != SL_YAML_MAP)
        return sl_yaml_fail(
                reader->err, &place, "", "\"%.60s\" would be below a single value; check the key", word);
    struct sl_yaml_node *key = NULL;
    enum sl_status s = add_node(&key, reader, SL_YAML_SCALAR, word, strlen(word), place);
    if (s != SL_OK)
        return s;
    value->key = key->text;
    value->key_place = place;
    append_member(parent, value);
    return SL_OK;
}

static enum sl_status graft(
        struct sl_yaml_node *root, const struct reader *reader, const char *path, struct sl_yaml_node *value)
{
    struct sl_yaml_node *parent = root;
    struct sl_yaml_place place = {reader->origin, 0, 0};
    char word[128];
    while (take_word(&path, word, sizeof(word))) {
        struct sl_yaml_node *next = get_member(parent, word);
        bool last = *path == 0;
        if (last && next != NULL) {
            value->key_place = place;
            replace_member(parent, next, value);
        } else if (last) {
            return add_member(parent, reader, word, value);
        } else if (next == NULL) {
            enum sl_status s = add_node(&next, reader, SL_YAML_MAP, "", 0, place);
            if (s == SL_OK)
                s = add_member(parent, reader, word, next);
            if (s != SL_OK)
                return s;
        }
        parent = next;
    }
    return SL_OK;
}

/* the whole path before the tree is touched: words, and not too many levels */
static bool path_is_sound(const char *path)
{
    int words = 0;
    char word[128];
    size_t length = strlen(path);
    if (length == 0 || path[length - 1] == '.')
        return false;
    while (take_word(&path, word, sizeof(word)))
        if (word[0] == 0 || strlen(word) == sizeof(word) - 1 || ++words > SL_YAML_DEPTH_MAX / 2)
            return false;
    return true;
}

enum sl_status sl_yaml_set(struct sl_yaml *yaml, const char *override, struct sl_error *err)
{
    struct reader reader = {.yaml = yaml, .err = err, .is_override = true};
    if (strlen(override) > OVERRIDE_MAX)
        return sl_fail(err, SL_USAGE, "--set %.40s...: longer than %d bytes", override, OVERRIDE_MAX);
    enum sl_status s = add_origin(&reader.origin, yaml, "--set ", override, err);
    if (s != SL_OK)
        return s;
    struct sl_yaml_place place = {reader.origin, 0, 0};
    const char *equals = strchr(override, '=');
    SL_AUTO_FREE char *path =
            equals == NULL ? sl_strdup("") : sl_strdup_printf("%.*s", (int)(equals - override), override);
    if (path == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory while reading %s", reader.origin);
    if (!path_is_sound(path))
        return sl_yaml_fail(err, &place, "", "expected key=value, such as modulation.alpha=0.5");
    struct sl_yaml_node *value = NULL;
    s = read_text(&value, &reader, equals + 1, strlen(equals + 1));
    return s == SL_OK ? graft(yaml->root, &reader, path, value) : s;
}
