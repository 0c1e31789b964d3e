#pragma once
/* The config's one table: key, type, range, default and place in struct sl_config of every value. Parsing, defaults, dump, error texts
 * and the check of docs/config.md all come from it. For the config's own files and its tests.
 *
 *     for (int i = 0; i < sl_section_fields(section); i++)
 *         s = sl_field_read(&section->fields[i], base, node, &reader);
 */
#include "common/config.h"
#include "common/error.h"
#include "common/text.h"
#include "common/yaml.h"

#include <stdbool.h>
#include <stddef.h>

enum sl_field_type {
    SL_FIELD_INT,
    SL_FIELD_INT64,
    SL_FIELD_UINT64,
    SL_FIELD_FLOAT,
    SL_FIELD_DOUBLE,
    SL_FIELD_BOOL,
    SL_FIELD_WORD,     /* an enum: index into words */
    SL_FIELD_NAME,     /* [a-z][a-z0-9_]* in SL_NAME_MAX */
    SL_FIELD_LABEL,    /* any text without blanks at its ends in SL_NAME_MAX */
    SL_FIELD_METRIC,   /* BRANCH.METRIC in SL_NAME_MAX */
    SL_FIELD_ENDPOINT, /* tcp://HOST:PORT in SL_PATH_MAX */
    SL_FIELD_PATH,     /* in SL_PATH_MAX */
    SL_FIELD_DURATION, /* int64_t seconds */
    SL_FIELD_FLOATS,   /* `count` floats one after the other */
    SL_FIELD_PATTERNS, /* freeze and freeze_count of a modality */
    SL_FIELD_SCALES,   /* lr_scale and lr_scale_count of a modality: a map */
    SL_FIELD_NUMBERS,  /* struct sl_numbers: as many as there are modalities, or none */
};

#define SL_KINDS_ALL 7U
#define SL_KIND_BIT(kind) (1U << (kind))

struct sl_field {
    const char *key;
    enum sl_field_type type;
    size_t offset;            /* in struct sl_config, or in the item of a list */
    double min, max;          /* of numbers */
    bool above, below;        /* min, max themselves are not allowed */
    int count;                /* of SL_FIELD_FLOATS */
    const char *const *words; /* of SL_FIELD_WORD, ends with NULL */
    const char *fallback;     /* default, as it stands in a file; NULL = required */
    const char *
            derived; /* default that follows from other values, for the docs; the value reads as 0 until then */
    bool none;       /* `none` is allowed: "" for texts, none_value for numbers */
    double none_value;
    unsigned kinds; /* of modality that have it, by SL_KIND_BIT */
    bool result;    /* the training's result depends on it: part of sl_config_hash */
    bool later; /* with result: it came later, and its default is what was done before. Only another value counts, so that configs, and snapshots, keep their hash */
};

enum sl_section_shape { SL_SECTION_MAP, SL_SECTION_LIST, SL_SECTION_LOSS };

struct sl_section {
    const char *key;             /* "" = values at the top of the file */
    enum sl_section_shape shape; /* LOSS: a map that has a weight for each branch besides */
    size_t offset, stride;       /* of the items of a list; also where the count lies */
    size_t count_offset;
    int items_max;
    const struct sl_field *fields;
    int field_count;
};

extern const struct sl_section sl_config_sections[];
extern const int sl_config_section_count;
extern const struct sl_field sl_config_weight_field; /* of loss.BRANCH, offset 0 */

/* Who reads, and where: for errors and relative paths. */
struct sl_config_reader {
    const struct sl_yaml_node *root;
    const char *base_dir; /* NULL or "" = paths stay as they are */
    struct sl_error *err;
};

/* sl_config_fail writes an error at the value that path names, or at what exists of it. Status USAGE. */
enum sl_status sl_config_fail(const struct sl_config_reader *reader, const char *path, const char *format,
        ...) __attribute__((format(printf, 3, 4)));

/* sl_field_read reads node into base; path is for errors. Errors: USAGE. */
SL_MUST_USE enum sl_status sl_field_read(const struct sl_field *field, void *base,
        const struct sl_yaml_node *node, const char *path, const struct sl_config_reader *reader);
/* sl_field_read_default reads the field's default, or leaves zero for a derived one. The field has one (asserted). */
void sl_field_read_default(const struct sl_field *field, void *base);

/* sl_field_write appends the value as it would stand in a file. */
void sl_field_write(const struct sl_field *field, const void *base, struct sl_text *out);

/* sl_field_describe writes what is expected: "an integer from 1 to 128". Returns text. */
const char *sl_field_describe(const struct sl_field *field, char *text, size_t size);

/* sl_config_check does the checks that need more than one value, derives what can be, and with resolve reads vocabularies. */
SL_MUST_USE enum sl_status sl_config_check(
        struct sl_config *config, const struct sl_config_reader *reader, bool resolve);

/* sl_config_check_vocabulary reads a bert modality's vocabulary, checks it and sets vocab_size. For sl_config_check. */
SL_MUST_USE enum sl_status sl_config_check_vocabulary(
        struct sl_modality_config *modality, const struct sl_config_reader *reader);

/* sl_nearest_word gives the candidate that text was probably meant to be, or NULL when none is near. */
const char *sl_nearest_word(const char *text, const char *const *candidates, int count);
