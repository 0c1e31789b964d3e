#pragma once
/* A small YAML reader on libyaml's events: maps, sequences and scalars with their places, for the config alone.
 *
 *     s = sl_yaml_parse(&yaml, text, size, "run.yaml", err);
 *     const struct sl_yaml_node *alpha = sl_yaml_locate(sl_yaml_root(yaml), "modulation.alpha", &whole);
 *
 * Scalars stay texts: the schema says what they mean, so `no` is never false by surprise. Refused, with file, line and column: anchors, aliases and
 * tags (nobody needs them here, and they make small files unfold into big ones), duplicate keys, keys that are not plain texts,
 * several documents, control characters in texts. Paths are keys joined by dots; an item of a sequence goes by index or by its `name`.
 * Limits: 256 KiB of text, 16 levels, 20000 nodes, 1000 members of a map or sequence.
 */
#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>

#define SL_YAML_SIZE_MAX ((size_t)256 * 1024)
#define SL_YAML_DEPTH_MAX 16
#define SL_YAML_NODES_MAX 20000
#define SL_YAML_MEMBERS_MAX 1000

struct sl_yaml; /* a document: owns all nodes */

enum sl_yaml_kind { SL_YAML_SCALAR, SL_YAML_SEQUENCE, SL_YAML_MAP };

/* line and column count from 1; line 0 = origin is all there is to say (an override). */
struct sl_yaml_place {
    const char *origin; /* file name, or the text of the override */
    int line, column;
};

struct sl_yaml_node {
    enum sl_yaml_kind kind;
    const char *text; /* of a scalar; else "" */
    bool quoted;      /* a scalar in quotes or a block: never a special word */
    const char *key;  /* in a map; else NULL */
    struct sl_yaml_place place, key_place;
    int count;                         /* members of a map or sequence */
    struct sl_yaml_node *first, *next; /* first member; next member of the parent */
    struct sl_yaml_node *newer;        /* the document's list of all nodes */
};

/* sl_yaml_parse reads one document. name stands for it in errors. Owns: *ret_yaml. Errors: USAGE, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_yaml_parse(
        struct sl_yaml **ret_yaml, const char *text, size_t size, const char *name, struct sl_error *err);
void sl_yaml_destroy(struct sl_yaml *yaml);
void sl_yaml_destroy_auto(struct sl_yaml **yaml);

/* sl_yaml_set applies an override "path=value" with a YAML value: it replaces what is at path, or adds it, with the maps on the way.
 * In errors its place is "--set path=value". Errors: USAGE, NO_MEMORY. */
SL_MUST_USE enum sl_status sl_yaml_set(struct sl_yaml *yaml, const char *override, struct sl_error *err);

struct sl_yaml_node *sl_yaml_root(struct sl_yaml *yaml);

/* sl_yaml_get gives a map's member, or NULL; node may be NULL or no map. */
struct sl_yaml_node *sl_yaml_get(const struct sl_yaml_node *node, const char *key);

/* sl_yaml_locate follows path as far as it goes and returns the deepest node that exists; *ret_whole tells whether that is all of it. */
const struct sl_yaml_node *sl_yaml_locate(const struct sl_yaml_node *root, const char *path, bool *ret_whole);

/* sl_yaml_fail writes "run.yaml:12:9: path: message" with status USAGE. path "" leaves it out. */
enum sl_status sl_yaml_fail(struct sl_error *err, const struct sl_yaml_place *place, const char *path,
        const char *format, ...) __attribute__((format(printf, 4, 5)));

/* sl_yaml_show writes what a node holds for an error text: a scalar's text in quotes (short, without control characters), "a map" or "a
 * list". Returns buffer. */
const char *sl_yaml_show(char *buffer, size_t size, const struct sl_yaml_node *node);
