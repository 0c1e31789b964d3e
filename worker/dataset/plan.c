/* See plan.h. */
#include "worker/dataset/plan.h"

#include "common/file.h"
#include "common/memory.h"
#include "worker/dataset/sample.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define CHUNK (1 << 20) /* bytes per read */

/* Ids that have been seen, by 128-bit hash: no text is kept. Open addressing, a power of two of places. */
struct seen {
    XXH128_hash_t *hashes;
    uint32_t *lines; /* 0 = free */
    size_t room, count;
};

struct scan {
    struct wk_plan *plan;
    const struct sl_config *config;
    struct seen seen;
    struct wk_allot *allot;  /* NULL = lines say their split */
    struct wk_plan_row *all; /* with allot: (all_count,) until their splits are known */
    uint32_t all_count, all_room;
    size_t room[WK_SPLITS];
    size_t reject_room;
    uint32_t line;
};

/* ---- ids ---- */

static size_t find_place(const struct seen *seen, XXH128_hash_t hash)
{
    size_t place = (size_t)hash.low64 & (seen->room - 1);
    while (seen->lines[place] != 0 && !XXH128_isEqual(seen->hashes[place], hash))
        place = (place + 1) & (seen->room - 1);
    return place;
}

static enum sl_status grow_seen(struct seen *seen, struct sl_error *err)
{
    struct seen larger = {.room = seen->room == 0 ? 1024 : seen->room * 2, .count = seen->count};
    larger.hashes = sl_alloc(larger.room, sizeof(*larger.hashes));
    larger.lines = sl_alloc(larger.room, sizeof(*larger.lines));
    if (larger.hashes == NULL || larger.lines == NULL) {
        sl_free(larger.hashes);
        sl_free(larger.lines);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the ids of the manifest");
    }
    for (size_t i = 0; i < seen->room; i++) {
        if (seen->lines[i] == 0)
            continue;
        size_t place = find_place(&larger, seen->hashes[i]);
        larger.hashes[place] = seen->hashes[i];
        larger.lines[place] = seen->lines[i];
    }
    sl_free(seen->hashes);
    sl_free(seen->lines);
    *seen = larger;
    return SL_OK;
}

/* Gives the line where the id was seen first, 0 when this is the first. */
static enum sl_status note_id(
        struct seen *seen, const char *id, uint32_t line, uint32_t *ret_first, struct sl_error *err)
{
    if (seen->count * 2 >= seen->room) {
        enum sl_status status = grow_seen(seen, err);
        if (status != SL_OK)
            return status;
    }
    XXH128_hash_t hash = XXH3_128bits(id, strlen(id));
    size_t place = find_place(seen, hash);
    *ret_first = seen->lines[place];
    if (seen->lines[place] != 0)
        return SL_OK;
    seen->hashes[place] = hash;
    seen->lines[place] = line;
    seen->count++;
    return SL_OK;
}

/* ---- rows and rejects ---- */

static enum sl_status add_row(
        struct scan *scan, enum wk_split split, uint64_t offset, size_t size, struct sl_error *err)
{
    struct wk_plan *plan = scan->plan;
    if (plan->counts[split] == scan->room[split]) {
        size_t room = scan->room[split] == 0 ? 256 : scan->room[split] * 2;
        struct wk_plan_row *rows = sl_realloc(plan->rows[split], room, sizeof(*rows));
        if (rows == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the lines of the manifest");
        plan->rows[split] = rows;
        scan->room[split] = room;
    }
    plan->rows[split][plan->counts[split]++] =
            (struct wk_plan_row){.offset = offset, .size = (uint32_t)size, .line = scan->line};
    return SL_OK;
}

/* A row whose split is not known yet. */
static enum sl_status keep_row(struct scan *scan, const struct wk_manifest_row *row, const char *line,
        uint64_t offset, size_t size, struct sl_error *err)
{
    if (scan->all_count == scan->all_room) {
        uint32_t room = scan->all_room == 0 ? 1024 : scan->all_room * 2;
        struct wk_plan_row *all = sl_realloc(scan->all, room, sizeof(*all));
        if (all == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the lines of the manifest");
        scan->all = all;
        scan->all_room = room;
    }
    scan->all[scan->all_count++] =
            (struct wk_plan_row){.offset = offset, .size = (uint32_t)size, .line = scan->line};
    return wk_allot_add(scan->allot, row, line, size, scan->line, err);
}

static enum sl_status allot_rows(struct scan *scan, struct sl_error *err)
{
    if (scan->allot == NULL)
        return SL_OK;
    SL_AUTO_FREE uint8_t *splits = sl_alloc(scan->all_count, 1);
    if (splits == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the splits of %u lines", scan->all_count);
    enum sl_status status = wk_allot_finish(scan->allot, scan->config->label_count, splits, err);
    for (uint32_t i = 0; i < scan->all_count && status == SL_OK; i++) {
        const struct wk_plan_row *row = &scan->all[i];
        scan->line = row->line;
        status = add_row(scan, (enum wk_split)splits[i], row->offset, row->size, err);
    }
    scan->plan->splits_hash = XXH3_64bits(splits, scan->all_count);
    return status;
}

static enum sl_status add_reject(struct scan *scan, const char *id, const char *reason, struct sl_error *err)
{
    struct wk_plan *plan = scan->plan;
    if (plan->reject_count == scan->reject_room) {
        size_t room = scan->reject_room == 0 ? 64 : scan->reject_room * 2;
        struct wk_reject *rejects = sl_realloc(plan->rejects, room, sizeof(*rejects));
        if (rejects == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the rejected lines");
        plan->rejects = rejects;
        scan->reject_room = room;
    }
    struct wk_reject reject = {.line = scan->line, .id = sl_strdup(id), .reason = sl_strdup(reason)};
    if (reject.id == NULL || reject.reason == NULL) {
        wk_reject_fini(&reject);
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the rejected lines");
    }
    plan->rejects[plan->reject_count++] = reject;
    return SL_OK;
}

/* What is wrong with a line goes to reason; the status is BAD_DATA then. */
static enum sl_status check_line(struct scan *scan, struct wk_manifest_row *row, char *id, const char *line,
        size_t size, struct sl_error *reason)
{
    uint32_t first = 0;
    enum sl_status status = wk_manifest_parse(row, id, line, size, scan->config, reason);
    if (status == SL_OK && row->label == WK_LABEL_NONE)
        status = sl_fail(
                reason, SL_BAD_DATA, "\"label\" is missing; a dataset is for training and evaluation");
    if (status == SL_OK)
        status = wk_manifest_check_inputs(row, scan->config, reason);
    if (status == SL_OK)
        status = note_id(&scan->seen, row->id, scan->line, &first, reason);
    if (status == SL_OK && first != 0)
        status = sl_fail(reason, SL_BAD_DATA,
                "\"id\" was used before, in line %u; every line needs one of its own", first);
    return status;
}

static enum sl_status scan_line(
        struct scan *scan, const char *line, size_t size, uint64_t offset, struct sl_error *err)
{
    scan->line++;
    if (scan->line > WK_PLAN_LINES_MAX)
        return sl_fail(err, SL_BAD_DATA, "the manifest has more than %d lines", WK_PLAN_LINES_MAX);
    if (scan->line == 1 && size >= 3 &&
            memcmp(line, "\xef\xbb\xbf", 3) == 0) { /* some editors begin a file so */
        line += 3;
        offset += 3;
        size -= 3;
    }
    while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == ' ' || line[size - 1] == '\t'))
        size--;
    if (size == 0)
        return SL_OK;
    scan->plan->lines++;
    SL_AUTO(wk_manifest_row_fini) struct wk_manifest_row row = {0};
    char id[WK_MANIFEST_ID_MAX + 1];
    struct sl_error reason = {0};
    enum sl_status status = check_line(scan, &row, id, line, size, &reason);
    if (status == SL_BAD_DATA)
        return add_reject(scan, id, reason.text, err);
    if (status != SL_OK)
        return sl_fail(err, status, "%s", reason.text);
    if (scan->allot != NULL)
        return keep_row(scan, &row, line, offset, size, err);
    return add_row(scan, row.split, offset, size, err);
}

/* ---- the file ---- */

/* Lines longer than the buffer are passed over; the part that is kept is too long for wk_manifest_parse, which says so. */
struct lines {
    char *buffer; /* (WK_MANIFEST_LINE_MAX + 1 + CHUNK,) */
    size_t used;
    uint64_t offset; /* of buffer[0] in the file */
    bool skipping;   /* inside a line that was too long */
    XXH3_state_t *hash;
};

static enum sl_status split_lines(struct scan *scan, struct lines *lines, bool last, struct sl_error *err)
{
    size_t begin = 0;
    enum sl_status status = SL_OK;
    while (begin < lines->used && status == SL_OK) {
        const char *newline = memchr(lines->buffer + begin, '\n', lines->used - begin);
        size_t end = newline != NULL ? (size_t)(newline - lines->buffer) : lines->used;
        bool whole = newline != NULL || last;
        if (!whole && end - begin <= WK_MANIFEST_LINE_MAX)
            break;
        if (!lines->skipping)
            status = scan_line(scan, lines->buffer + begin, end - begin, lines->offset + begin, err);
        lines->skipping = !whole;
        begin = newline != NULL ? end + 1 : end;
    }
    memmove(lines->buffer, lines->buffer + begin, lines->used - begin);
    lines->used -= begin;
    lines->offset += begin;
    return status;
}

static enum sl_status read_lines(struct scan *scan, struct lines *lines, struct sl_error *err)
{
    for (;;) {
        ssize_t got = read(scan->plan->fd, lines->buffer + lines->used, CHUNK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sl_fail_errno(err, "cannot read manifest %s", scan->plan->path);
        (void)XXH3_64bits_update(lines->hash, lines->buffer + lines->used, (size_t)got);
        lines->used += (size_t)got;
        enum sl_status status = split_lines(scan, lines, got == 0, err);
        if (status != SL_OK || got == 0)
            return status;
    }
}

static enum sl_status scan_file(struct scan *scan, struct sl_error *err)
{
    struct lines lines = {
            .buffer = sl_alloc(WK_MANIFEST_LINE_MAX + 1 + CHUNK, 1), .hash = XXH3_createState()};
    enum sl_status status = SL_OK;
    if (lines.buffer == NULL || lines.hash == NULL)
        status = sl_fail(err, SL_NO_MEMORY, "out of memory");
    if (status == SL_OK) {
        (void)XXH3_64bits_reset(lines.hash);
        status = read_lines(scan, &lines, err);
        scan->plan->hash = XXH3_64bits_digest(lines.hash);
    }
    sl_free(lines.buffer);
    (void)XXH3_freeState(lines.hash);
    return status;
}

static enum sl_status open_manifest(struct wk_plan *plan, const char *path, struct sl_error *err)
{
    plan->fd = -1;
    if ((plan->path = sl_strdup(path)) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    plan->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (plan->fd < 0 || fstat(plan->fd, &info) != 0)
        return sl_fail_errno(err, "cannot open manifest %s", path);
    if (!S_ISREG(info.st_mode))
        return sl_fail(err, SL_BAD_DATA, "manifest %s is not a regular file", path);
    return SL_OK;
}

/* Videos start from the manifest's folder. */
static enum sl_status begin_allotting(
        struct scan *scan, const char *path, const struct wk_allot_options *options, struct sl_error *err)
{
    if (options == NULL)
        return SL_OK;
    const char *slash = strrchr(path, '/');
    SL_AUTO_FREE char *base_dir =
            slash == NULL ? sl_strdup("") : sl_strdup_printf("%.*s", (int)(slash - path) + 1, path);
    if (base_dir == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    return wk_allot_create(&scan->allot, options, base_dir, err);
}

enum sl_status wk_plan_create(struct wk_plan **ret_plan, const char *path, const struct sl_config *config,
        const struct wk_allot_options *allot, struct sl_error *err)
{
    SL_AUTO(wk_plan_destroy_auto) struct wk_plan *plan = sl_alloc(1, sizeof(*plan));
    if (plan == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = open_manifest(plan, path, err);
    if (status != SL_OK)
        return status;
    struct scan scan = {.plan = plan, .config = config};
    status = begin_allotting(&scan, path, allot, err);
    if (status == SL_OK)
        status = scan_file(&scan, err);
    if (status == SL_OK)
        status = allot_rows(&scan, err);
    sl_free(scan.seen.hashes);
    sl_free(scan.seen.lines);
    sl_free(scan.all);
    wk_allot_destroy(scan.allot);
    if (status == SL_OK && plan->lines == 0)
        status = sl_fail(
                err, SL_BAD_DATA, "manifest %s has no lines; it holds one JSON object per video", path);
    if (status == SL_OK)
        *ret_plan = SL_TAKE(plan);
    return status;
}

void wk_plan_destroy(struct wk_plan *plan)
{
    if (plan == NULL)
        return;
    if (plan->fd >= 0)
        (void)close(plan->fd);
    for (int i = 0; i < WK_SPLITS; i++)
        sl_free(plan->rows[i]);
    for (uint64_t i = 0; i < plan->reject_count; i++)
        wk_reject_fini(&plan->rejects[i]);
    sl_free(plan->rejects);
    sl_free(plan->path);
    sl_free(plan);
}

void wk_plan_destroy_auto(struct wk_plan **plan)
{
    wk_plan_destroy(*plan);
}

enum sl_status wk_plan_read(const struct wk_plan *plan, const struct wk_plan_row *place,
        const struct sl_config *config, struct wk_manifest_row *ret_row, struct sl_error *err)
{
    SL_AUTO_FREE char *line = sl_alloc((size_t)place->size + 1, 1);
    if (line == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status =
            sl_file_read_at(plan->fd, line, place->size, (int64_t)place->offset, plan->path, err);
    if (status == SL_OK)
        status = wk_manifest_parse(ret_row, NULL, line, place->size, config, err);
    if (status == SL_BAD_DATA)
        return sl_fail(err, SL_FAILED,
                "manifest %s has changed since it was read, at line %u; run the import again with a new "
                "--out",
                plan->path, place->line);
    return status;
}
