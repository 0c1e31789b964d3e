/* Does a vocabulary fit the config? Counts its lines and looks for the special tokens, in constant memory; the tokenizer reads it in full later.
 * See config_schema.h. */
#include "common/config_schema.h"

#include "common/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIZE_MAX_BYTES ((int64_t)256 << 20)
#define LINES_MAX (1 << 20)
#define HEAD_MAX 16 /* bytes of a line that are kept: more than the longest special token */

static const char *const specials[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
#define SPECIALS (int)(sizeof(specials) / sizeof(specials[0]))

struct scan {
    int lines;
    bool found[SPECIALS];
    char head[HEAD_MAX];
    size_t length; /* of the current line so far; may exceed HEAD_MAX */
};

static void end_line(struct scan *scan)
{
    while (scan->length > 0 && scan->length <= HEAD_MAX && scan->head[scan->length - 1] == '\r')
        scan->length--;
    for (int i = 0; i < SPECIALS; i++)
        if (scan->length == strlen(specials[i]) && memcmp(scan->head, specials[i], scan->length) == 0)
            scan->found[i] = true;
    scan->lines++;
    scan->length = 0;
}

static void scan_bytes(struct scan *scan, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\n') {
            end_line(scan);
            continue;
        }
        if (scan->length < HEAD_MAX)
            scan->head[scan->length] = bytes[i];
        scan->length++;
    }
}

static void close_file(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

static enum sl_status scan_file(
        struct scan *scan, const char *vocab, const char *path, const struct sl_config_reader *reader)
{
    SL_AUTO(close_file) FILE *file = fopen(vocab, "rbe");
    if (file == NULL)
        return sl_config_fail(reader, path,
                "cannot open %.600s: %s; `shelflife vocab` makes a vocabulary from a manifest", vocab,
                strerror(errno));
    char bytes[16384];
    int64_t total = 0;
    size_t size = 0;
    while ((size = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        total += (int64_t)size;
        if (total > SIZE_MAX_BYTES || scan->lines > LINES_MAX)
            return sl_config_fail(reader, path,
                    "%.600s has more than %d lines or %lld bytes and is no vocabulary", vocab, LINES_MAX,
                    (long long)SIZE_MAX_BYTES);
        scan_bytes(scan, bytes, size);
    }
    if (ferror(file))
        return sl_config_fail(reader, path, "cannot read %.600s: %s", vocab, strerror(errno));
    if (scan->length > 0)
        end_line(scan);
    return SL_OK;
}

enum sl_status sl_config_check_vocabulary(
        struct sl_modality_config *modality, const struct sl_config_reader *reader)
{
    char path[SL_NAME_MAX + 32];
    (void)snprintf(path, sizeof(path), "modalities.%s.vocab", modality->name);
    struct scan scan = {.lines = 0};
    enum sl_status s = scan_file(&scan, modality->vocab, path, reader);
    if (s != SL_OK)
        return s;
    for (int i = 0; i < SPECIALS; i++)
        if (!scan.found[i])
            return sl_config_fail(reader, path,
                    "%.600s has no line %s; a BERT vocabulary has [PAD], [UNK], [CLS] and [SEP]",
                    modality->vocab, specials[i]);
    if (modality->vocab_size == 0)
        modality->vocab_size = scan.lines;
    (void)snprintf(path, sizeof(path), "modalities.%s.vocab_size", modality->name);
    if (modality->vocab_size != scan.lines)
        return sl_config_fail(reader, path,
                "%d does not fit the %d lines of %.600s; leave vocab_size out or choose the other vocabulary",
                modality->vocab_size, scan.lines, modality->vocab);
    return SL_OK;
}
