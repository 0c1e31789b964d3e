/* The config as a whole: loading, dumping, hashing. The table of keys is in config_schema.c, single values in config_value.c, checks across
 * values in config_check.c. See config.h. */
#include "common/config.h"

#include "common/config_schema.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/utf8.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_WORDS_MAX 256 /* bytes of a key path in an error */
#define DUMP_MAX ((size_t)4 << 20)
#define KEYS_MAX 64 /* keys that one map can have */

/* The keys that a map may have. */
struct key_list {
    const char *keys[KEYS_MAX];
    int count;
};

static void add_key(struct key_list *list, const char *key)
{
    if (list->count < KEYS_MAX)
        list->keys[list->count++] = key;
}

static void add_fields(struct key_list *list, const struct sl_field *fields, int count, unsigned kinds)
{
    for (int i = 0; i < count; i++)
        if (kinds == 0 || (fields[i].kinds & kinds) != 0)
            add_key(list, fields[i].key);
}

static void join_path(char *path, size_t size, const char *parent, const char *key)
{
    (void)snprintf(path, size, "%.120s%s%.120s", parent, parent[0] != 0 ? "." : "", key);
}

static enum sl_status fail_unknown(const struct sl_config_reader *reader, const struct sl_yaml_node *member,
        const char *parent, const struct key_list *list)
{
    char path[PATH_WORDS_MAX], known[512] = "";
    join_path(path, sizeof(path), parent, member->key);
    const char *nearest = sl_nearest_word(member->key, list->keys, list->count);
    if (nearest != NULL)
        return sl_yaml_fail(
                reader->err, &member->key_place, path, "unknown key; did you mean \"%s\"?", nearest);
    for (int i = 0; i < list->count; i++) {
        size_t used = strlen(known);
        (void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "", list->keys[i]);
    }
    return sl_yaml_fail(reader->err, &member->key_place, path, "unknown key; expected one of %s", known);
}

/* refuses the first member of the map that the list does not hold */
static enum sl_status check_keys(const struct sl_config_reader *reader, const struct sl_yaml_node *map,
        const char *parent, const struct key_list *list)
{
    if (map->kind != SL_YAML_MAP) {
        char found[160];
        return sl_yaml_fail(reader->err, &map->place, parent,
                "found %s; expected a map with keys such as \"%s: ...\"",
                sl_yaml_show(found, sizeof(found), map), list->keys[0]);
    }
    for (const struct sl_yaml_node *member = map->first; member != NULL; member = member->next) {
        int i = 0;
        while (i < list->count && strcmp(list->keys[i], member->key) != 0)
            i++;
        if (i == list->count)
            return fail_unknown(reader, member, parent, list);
    }
    return SL_OK;
}

/* one value of a map, or its default; map may be NULL */
static enum sl_status read_field(const struct sl_field *field, void *base, const struct sl_yaml_node *map,
        const char *parent, const struct sl_config_reader *reader)
{
    char path[PATH_WORDS_MAX], expected[256];
    const struct sl_yaml_node *node = sl_yaml_get(map, field->key);
    join_path(path, sizeof(path), parent, field->key);
    if (node != NULL)
        return sl_field_read(field, base, node, path, reader);
    if (field->fallback == NULL && field->derived == NULL)
        return sl_config_fail(reader, path, "is missing; expected %s",
                sl_field_describe(field, expected, sizeof(expected)));
    sl_field_read_default(field, base);
    return SL_OK;
}

static enum sl_status read_map(
        const struct sl_section *section, struct sl_config *config, const struct sl_config_reader *reader)
{
    const struct sl_yaml_node *map =
            section->key[0] == 0 ? reader->root : sl_yaml_get(reader->root, section->key);
    enum sl_status s = SL_OK;
    if (map != NULL && map != reader->root) {
        struct key_list list = {.count = 0};
        add_fields(&list, section->fields, section->field_count, 0);
        s = check_keys(reader, map, section->key, &list);
    }
    for (int i = 0; s == SL_OK && i < section->field_count; i++)
        s = read_field(&section->fields[i], config, map, section->key, reader);
    return s;
}

static enum sl_status read_loss(
        const struct sl_section *section, struct sl_config *config, const struct sl_config_reader *reader)
{
    const struct sl_yaml_node *map = sl_yaml_get(reader->root, section->key);
    struct key_list list = {.count = 0};
    for (int branch = 0; branch <= config->modality_count; branch++)
        add_key(&list, sl_config_branch_name(config, branch));
    add_fields(&list, section->fields, section->field_count, 0);
    enum sl_status s = map == NULL ? SL_OK : check_keys(reader, map, section->key, &list);
    for (int branch = 0; s == SL_OK && branch <= config->modality_count; branch++) {
        struct sl_field field = sl_config_weight_field;
        field.key = sl_config_branch_name(config, branch);
        s = read_field(&field, &config->loss.weight[branch], map, section->key, reader);
    }
    for (int i = 0; s == SL_OK && i < section->field_count; i++)
        s = read_field(&section->fields[i], config, map, section->key, reader);
    return s;
}

/* a key that only other kinds of modality have gets a better error than an unknown one */
static enum sl_status check_kind_keys(const struct sl_section *section, const struct sl_config_reader *reader,
        const struct sl_yaml_node *item, const char *path, enum sl_kind kind)
{
    static const char *const kinds[] = {"vit", "bert", "features"};
    for (int i = 0; i < section->field_count; i++) {
        const struct sl_field *field = &section->fields[i];
        const struct sl_yaml_node *member = sl_yaml_get(item, field->key);
        if (member == NULL || (field->kinds & SL_KIND_BIT(kind)) != 0)
            continue;
        char whole[PATH_WORDS_MAX];
        join_path(whole, sizeof(whole), path, field->key);
        return sl_yaml_fail(reader->err, &member->key_place, whole,
                "modalities of kind %s have no such key; remove it", kinds[kind]);
    }
    return SL_OK;
}

/* fields of kind `kinds` (0 = all) of one item */
static enum sl_status read_item_fields(const struct sl_section *section, void *base,
        const struct sl_yaml_node *item, const char *path, unsigned kinds,
        const struct sl_config_reader *reader)
{
    for (int i = 0; i < section->field_count; i++) {
        const struct sl_field *field = &section->fields[i];
        if (kinds != 0 && (field->kinds & kinds) == 0)
            continue;
        enum sl_status s = read_field(field, base, item, path, reader);
        if (s != SL_OK)
            return s;
    }
    return SL_OK;
}

static enum sl_status read_label(const struct sl_section *section, struct sl_config *config,
        const struct sl_yaml_node *item, const struct sl_config_reader *reader)
{
    char path[PATH_WORDS_MAX], name_path[PATH_WORDS_MAX];
    (void)snprintf(path, sizeof(path), "labels.%d", config->label_count);
    (void)snprintf(name_path, sizeof(name_path), "labels.%d.name", config->label_count);
    struct key_list list = {.count = 0};
    add_fields(&list, section->fields, section->field_count, 0);
    enum sl_status s = check_keys(reader, item, path, &list);
    struct sl_label_config *label = &config->labels[config->label_count];
    if (s == SL_OK)
        s = read_item_fields(section, label, item, path, 0, reader);
    if (s == SL_OK && sl_config_find_label(config, label->name) >= 0)
        return sl_config_fail(
                reader, name_path, "\"%s\" is the name of an earlier label; give each its own", label->name);
    config->label_count += s == SL_OK ? 1 : 0;
    return s;
}

static bool is_reserved(const char *name)
{
    return strcmp(name, "fused") == 0 || strcmp(name, "label_smoothing") == 0 ||
           strcmp(name, "class_weights") == 0;
}

/* name and kind come first: the name stands in every error after it, and the kind says which keys there are */
static enum sl_status read_modality(const struct sl_section *section, struct sl_config *config,
        const struct sl_yaml_node *item, const struct sl_config_reader *reader)
{
    char path[PATH_WORDS_MAX], name_path[PATH_WORDS_MAX];
    (void)snprintf(path, sizeof(path), "modalities.%d", config->modality_count);
    (void)snprintf(name_path, sizeof(name_path), "modalities.%d.name", config->modality_count);
    struct sl_modality_config *modality = &config->modalities[config->modality_count];
    struct key_list list = {.count = 0};
    add_fields(&list, section->fields, section->field_count, 0);
    enum sl_status s = check_keys(reader, item, path, &list);
    if (s == SL_OK)
        s = read_field(&section->fields[0], modality, item, path, reader);
    if (s != SL_OK)
        return s;
    if (is_reserved(modality->name))
        return sl_config_fail(reader, name_path, "\"%s\" is reserved; choose another name", modality->name);
    if (sl_config_find_modality(config, modality->name) >= 0)
        return sl_config_fail(reader, name_path,
                "\"%s\" is the name of an earlier modality; give each its own", modality->name);
    (void)snprintf(path, sizeof(path), "modalities.%s", modality->name);
    s = read_field(&section->fields[1], modality, item, path, reader);
    if (s == SL_OK)
        s = check_kind_keys(section, reader, item, path, modality->kind);
    if (s == SL_OK)
        s = read_item_fields(section, modality, item, path, SL_KIND_BIT(modality->kind), reader);
    config->modality_count += s == SL_OK ? 1 : 0;
    return s;
}

static enum sl_status read_list(
        const struct sl_section *section, struct sl_config *config, const struct sl_config_reader *reader)
{
    const struct sl_yaml_node *list = sl_yaml_get(reader->root, section->key);
    char found[160] = "nothing";
    if (list == NULL)
        return sl_config_fail(
                reader, section->key, "is missing; expected a list of 2 to %d", section->items_max);
    if (list->kind != SL_YAML_SEQUENCE)
        return sl_config_fail(reader, section->key, "found %s; expected a list of 2 to %d",
                sl_yaml_show(found, sizeof(found), list), section->items_max);
    if (list->count < 2 || list->count > section->items_max)
        return sl_config_fail(
                reader, section->key, "has %d items; expected 2 to %d", list->count, section->items_max);
    bool labels = strcmp(section->key, "labels") == 0;
    for (const struct sl_yaml_node *item = list->first; item != NULL; item = item->next) {
        enum sl_status s = labels ? read_label(section, config, item, reader)
                                  : read_modality(section, config, item, reader);
        if (s != SL_OK)
            return s;
    }
    return SL_OK;
}

static enum sl_status check_top_keys(const struct sl_config_reader *reader)
{
    struct key_list list = {.count = 0};
    for (int i = 0; i < sl_config_section_count; i++) {
        const struct sl_section *section = &sl_config_sections[i];
        if (section->key[0] != 0)
            add_key(&list, section->key);
        else
            add_fields(&list, section->fields, section->field_count, 0);
    }
    return check_keys(reader, reader->root, "", &list);
}

static enum sl_status read_sections(struct sl_config *config, const struct sl_config_reader *reader)
{
    enum sl_status s = check_top_keys(reader);
    for (int i = 0; s == SL_OK && i < sl_config_section_count; i++) {
        const struct sl_section *section = &sl_config_sections[i];
        if (section->shape == SL_SECTION_LIST)
            s = read_list(section, config, reader);
        else if (section->shape == SL_SECTION_LOSS)
            s = read_loss(section, config, reader);
        else
            s = read_map(section, config, reader);
    }
    return s;
}

enum sl_status sl_config_parse(struct sl_config **ret_config, const char *text, size_t size, const char *name,
        const char *base_dir, const char *const *overrides, int override_count, bool resolve,
        struct sl_error *err)
{
    if (base_dir != NULL && !sl_utf8_is_text(base_dir, strlen(base_dir)))
        return sl_fail(err, SL_USAGE,
                "%s: its folder's name is not clean UTF-8; move the config to another folder", name);
    SL_AUTO(sl_config_destroy_auto) struct sl_config *config = sl_alloc(1, sizeof(*config));
    if (config == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory while reading %s", name);
    (void)snprintf(config->path, sizeof(config->path), "%s", name);
    SL_AUTO(sl_yaml_destroy_auto) struct sl_yaml *yaml = NULL;
    enum sl_status s = sl_yaml_parse(&yaml, text, size, name, err);
    for (int i = 0; s == SL_OK && i < override_count; i++)
        s = sl_yaml_set(yaml, overrides[i], err);
    if (s != SL_OK)
        return s;
    struct sl_config_reader reader = {sl_yaml_root(yaml), base_dir, err};
    s = read_sections(config, &reader);
    if (s == SL_OK)
        s = sl_config_check(config, &reader, resolve);
    if (s == SL_OK)
        *ret_config = SL_TAKE(config);
    return s;
}

static void close_file(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

/* one byte more than a config may have is read, so that a longer file is noticed */
static enum sl_status read_file(char **ret_text, size_t *ret_size, const char *path, struct sl_error *err)
{
    SL_AUTO(close_file) FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        (void)sl_fail_errno(err, "%s: cannot be opened", path);
        return err == NULL ? SL_USAGE : (err->status = SL_USAGE);
    }
    SL_AUTO_FREE char *text = sl_alloc(SL_YAML_SIZE_MAX + 1, 1);
    if (text == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory while reading %s", path);
    size_t size = fread(text, 1, SL_YAML_SIZE_MAX + 1, file);
    if (ferror(file)) {
        (void)sl_fail_errno(err, "%s: cannot be read", path);
        return err == NULL ? SL_USAGE : (err->status = SL_USAGE);
    }
    *ret_text = SL_TAKE(text);
    *ret_size = size;
    return SL_OK;
}

/* the absolute folder of path, so that a dump means the same from any folder */
static bool folder_of(char folder[PATH_MAX], const char *path)
{
    char whole[PATH_MAX];
    if (realpath(path, whole) == NULL)
        return false;
    char *slash = strrchr(whole, '/');
    if (slash == whole)
        slash++;
    *slash = 0;
    (void)snprintf(folder, PATH_MAX, "%s", whole);
    return true;
}

enum sl_status sl_config_load(struct sl_config **ret_config, const char *path, const char *const *overrides,
        int override_count, struct sl_error *err)
{
    SL_AUTO_FREE char *text = NULL;
    size_t size = 0;
    enum sl_status s = read_file(&text, &size, path, err);
    if (s != SL_OK)
        return s;
    char folder[PATH_MAX] = "";
    if (!folder_of(folder, path))
        folder[0] =
                0; /* not a file with a place, such as a pipe: paths are relative to the current directory */
    return sl_config_parse(ret_config, text, size, path, folder, overrides, override_count, true, err);
}

void sl_config_destroy(struct sl_config *config)
{
    sl_free(config);
}

void sl_config_destroy_auto(struct sl_config **config)
{
    sl_config_destroy(*config);
}

/* One pass over the table. for_hash: only what the result depends on. */
struct writer {
    const struct sl_config *config;
    struct sl_text *out;
    bool for_hash;
};

static bool is_default(const struct sl_field *field, const void *base)
{
    SL_AUTO(sl_text_fini) struct sl_text value;
    struct sl_error ignored = {0};
    const char *text = "";
    sl_text_init(&value, DUMP_MAX);
    sl_field_write(field, base, &value);
    return sl_text_finish(&value, &text, NULL, &ignored) == SL_OK && strcmp(text, field->fallback) == 0;
}

static bool is_written(const struct writer *writer, const struct sl_field *field, const void *base)
{
    return !writer->for_hash || (field->result && !(field->later && is_default(field, base)));
}

static void write_field(
        const struct writer *writer, const struct sl_field *field, const void *base, const char *indent)
{
    sl_text_printf(writer->out, "%s%s: ", indent, field->key);
    sl_field_write(field, base, writer->out);
    sl_text_put(writer->out, "\n", 1);
}

static void write_list(const struct writer *writer, const struct sl_section *section)
{
    int count = 0;
    memcpy(&count, (const char *)writer->config + section->count_offset, sizeof(count));
    bool labels = strcmp(section->key, "labels") == 0;
    for (int item = 0; item < count; item++) {
        const char *base = (const char *)writer->config + section->offset + (size_t)item * section->stride;
        unsigned kinds = labels ? 0 : SL_KIND_BIT(writer->config->modalities[item].kind);
        const char *indent = "  - ";
        for (int i = 0; i < section->field_count; i++) {
            const struct sl_field *field = &section->fields[i];
            bool unknown = !labels && strcmp(field->key, "vocab_size") == 0 &&
                           writer->config->modalities[item].vocab_size == 0;
            if ((kinds != 0 && (field->kinds & kinds) == 0) || !is_written(writer, field, base) || unknown)
                continue;
            write_field(writer, field, base, indent);
            indent = "    ";
        }
    }
}

static void write_section(const struct writer *writer, const struct sl_section *section)
{
    bool top = section->key[0] == 0, any = section->shape != SL_SECTION_MAP || !writer->for_hash;
    for (int i = 0; i < section->field_count; i++)
        any = any ||
              (section->shape == SL_SECTION_MAP && is_written(writer, &section->fields[i], writer->config));
    if (!any)
        return;
    if (!top)
        sl_text_printf(writer->out, "%s:\n", section->key);
    if (section->shape == SL_SECTION_LIST) {
        write_list(writer, section);
        return;
    }
    for (int branch = 0; section->shape == SL_SECTION_LOSS && branch <= writer->config->modality_count;
            branch++) {
        struct sl_field field = sl_config_weight_field;
        field.key = sl_config_branch_name(writer->config, branch);
        write_field(writer, &field, &writer->config->loss.weight[branch], "  ");
    }
    for (int i = 0; i < section->field_count; i++)
        if (is_written(writer, &section->fields[i], writer->config))
            write_field(writer, &section->fields[i], writer->config, top ? "" : "  ");
}

static void write_config(const struct sl_config *config, struct sl_text *out, bool for_hash)
{
    const struct writer writer = {config, out, for_hash};
    for (int i = 0; i < sl_config_section_count; i++)
        write_section(&writer, &sl_config_sections[i]);
}

enum sl_status sl_config_dump(char **ret_text, const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO(sl_text_fini) struct sl_text out;
    sl_text_init(&out, DUMP_MAX);
    write_config(config, &out, false);
    const char *text = NULL;
    enum sl_status s = sl_text_finish(&out, &text, NULL, err);
    if (s != SL_OK)
        return s;
    *ret_text = SL_TAKE(out.bytes);
    return SL_OK;
}

enum sl_status sl_config_hash(uint64_t *ret_hash, const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO(sl_text_fini) struct sl_text out;
    sl_text_init(&out, DUMP_MAX);
    write_config(config, &out, true);
    if (config->modulation.form == SL_FORM_REPLAY) /* what stands in the file, wherever it lies */
        sl_text_printf(&out, "replay: %016llx\n", (unsigned long long)config->modulation.replay_hash);
    const char *text = NULL;
    size_t size = 0;
    enum sl_status s = sl_text_finish(&out, &text, &size, err);
    if (s != SL_OK)
        return s;
    *ret_hash = sl_hash64(text, size, 0);
    return SL_OK;
}

const char *sl_config_branch_name(const struct sl_config *config, int branch)
{
    return branch >= 0 && branch < config->modality_count ? config->modalities[branch].name : "fused";
}

int sl_config_find_label(const struct sl_config *config, const char *name)
{
    for (int i = 0; i < config->label_count; i++)
        if (strcmp(config->labels[i].name, name) == 0)
            return i;
    return -1;
}

int sl_config_find_modality(const struct sl_config *config, const char *name)
{
    for (int i = 0; i < config->modality_count; i++)
        if (strcmp(config->modalities[i].name, name) == 0)
            return i;
    return -1;
}

bool sl_config_find_metric(
        const struct sl_config *config, const char *text, int *ret_branch, enum sl_metric *ret_metric)
{
    static const char *const metrics[] = {"accuracy", "macro_f1", "loss"};
    for (int branch = 0; branch <= config->modality_count; branch++) {
        const char *name = sl_config_branch_name(config, branch);
        size_t length = strlen(name);
        if (strncmp(text, name, length) != 0 || text[length] != '.')
            continue;
        for (int i = 0; i < 3; i++) {
            if (strcmp(text + length + 1, metrics[i]) == 0) {
                *ret_branch = branch;
                *ret_metric = (enum sl_metric)i;
                return true;
            }
        }
    }
    return false;
}
