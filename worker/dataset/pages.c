/* See pages.h. */
#include "worker/dataset/pages.h"

#include "common/file.h"
#include "common/memory.h"
#include "worker/dataset/record.h"

#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LMDB_MAGIC 0xBEEFC0DEU
#define LMDB_VERSION 1U
#define PAGE_SIZE_MAX 65536U
#define DEPTH_MAX 20
#define PAGE_HEAD 16U /* bytes */
#define NODE_HEAD 8U
#define PAGE_BRANCH 1U
#define PAGE_LEAF 2U
#define PAGE_META 8U
#define NODE_BIG 1U
#define NO_PAGE UINT64_MAX

/* The 48 bytes of a tree's root inside a meta page. */
struct tree {
    uint32_t pad; /* of the first tree: the page size */
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
    uint32_t magic, version;
    uint64_t address, map_size;
    struct tree free, main;
    uint64_t last_page, transaction;
};

_Static_assert(sizeof(struct tree) == 48 && sizeof(struct meta) == 136, "LMDB's layout on a 64-bit machine");

struct walk {
    const char *path;
    int fd;
    uint32_t page_size;
    uint64_t pages; /* whole pages in the file */
    uint64_t visited, entries;
    int depth; /* of the leaves */
    uint8_t last_key[WK_KEY_SIZE];
    wk_pages_visit *visit;
    void *context;
};

void wk_key_store(uint8_t key[WK_KEY_SIZE], uint64_t ordinal, enum wk_entry_kind kind)
{
    for (int i = 0; i < 8; i++)
        key[i] = (uint8_t)(ordinal >> (56 - 8 * i));
    key[8] = (uint8_t)kind;
}

bool wk_key_load(const uint8_t *key, uint64_t size, uint64_t *ret_ordinal, enum wk_entry_kind *ret_kind)
{
    if (size != WK_KEY_SIZE || key[8] > WK_ENTRY_REJECT)
        return false;
    uint64_t ordinal = 0;
    for (int i = 0; i < 8; i++)
        ordinal = ordinal << 8 | key[i];
    *ret_ordinal = ordinal;
    *ret_kind = (enum wk_entry_kind)key[8];
    return true;
}

static uint16_t load_u16(const uint8_t *from)
{
    uint16_t value = 0;
    memcpy(&value, from, sizeof(value));
    return value;
}

static uint64_t load_u64(const uint8_t *from)
{
    uint64_t value = 0;
    memcpy(&value, from, sizeof(value));
    return value;
}

static enum sl_status damaged(const struct walk *walk, uint64_t page, const char *what, struct sl_error *err)
{
    return sl_fail(err, SL_BAD_DATA,
            "%s is damaged: page %llu %s; import the dataset again or restore the file", walk->path,
            (unsigned long long)page, what);
}

static enum sl_status read_page(const struct walk *walk, uint8_t *page, uint64_t number, struct sl_error *err)
{
    if (number >= walk->pages)
        return damaged(walk, number, "is beyond the end of the file", err);
    return sl_file_read_at(
            walk->fd, page, walk->page_size, (int64_t)(number * walk->page_size), walk->path, err);
}

static enum sl_status read_meta(struct walk *walk, struct meta *meta, uint64_t number, struct sl_error *err)
{
    uint8_t head[PAGE_HEAD + sizeof(*meta)];
    enum sl_status status = sl_file_read_at(
            walk->fd, head, sizeof(head), (int64_t)(number * walk->page_size), walk->path, err);
    if (status != SL_OK)
        return status;
    memcpy(meta, head + PAGE_HEAD, sizeof(*meta));
    if ((load_u16(head + 10) & PAGE_META) == 0 || meta->magic != LMDB_MAGIC || meta->version != LMDB_VERSION)
        return damaged(walk, number, "is not the head of an LMDB file", err);
    return SL_OK;
}

/* The newer of the two heads, as LMDB takes it. */
static enum sl_status choose_meta(
        struct walk *walk, struct meta *ret_meta, uint64_t file_size, struct sl_error *err)
{
    struct meta metas[2];
    walk->page_size = 0;
    enum sl_status status = read_meta(walk, &metas[0], 0, err);
    if (status != SL_OK)
        return status;
    walk->page_size = metas[0].free.pad;
    if (walk->page_size < 512 || walk->page_size > PAGE_SIZE_MAX ||
            (walk->page_size & (walk->page_size - 1)) != 0)
        return damaged(walk, 0, "states an impossible page size", err);
    walk->pages = file_size / walk->page_size;
    status = read_meta(walk, &metas[1], 1, err);
    if (status != SL_OK)
        return status;
    *ret_meta = metas[metas[1].transaction > metas[0].transaction];
    if (metas[1].free.pad != walk->page_size)
        return damaged(walk, 1, "states another page size than page 0", err);
    if (ret_meta->last_page >= walk->pages + 1024 || ret_meta->main.flags != 0)
        return damaged(walk, 0, "describes another file than this one; it is cut off or not a shard", err);
    return SL_OK;
}

static enum sl_status check_leaf_node(
        struct walk *walk, const uint8_t *page, uint64_t number, uint32_t at, struct sl_error *err)
{
    uint32_t flags = load_u16(page + at + 4), key_size = load_u16(page + at + 6);
    uint64_t size = load_u16(page + at) | (uint64_t)load_u16(page + at + 2) << 16;
    uint64_t inline_size = flags == NODE_BIG ? sizeof(uint64_t) : size;
    uint64_t ordinal = 0;
    enum wk_entry_kind kind = WK_ENTRY_SAMPLE;
    if ((flags & ~NODE_BIG) != 0 || at + NODE_HEAD + (uint64_t)key_size + inline_size > walk->page_size)
        return damaged(walk, number, "has an entry that leaves it", err);
    const uint8_t *key = page + at + NODE_HEAD;
    if (!wk_key_load(key, key_size, &ordinal, &kind))
        return damaged(walk, number, "has a key that is none of a shard", err);
    if (walk->entries > 0 && memcmp(key, walk->last_key, WK_KEY_SIZE) <= 0)
        return damaged(walk, number, "has its keys out of order", err);
    if (size > WK_RECORD_MAX)
        return damaged(walk, number, "has an entry that is too large", err);
    if (flags == NODE_BIG) {
        uint64_t first = load_u64(key + key_size),
                 count = (PAGE_HEAD + size + walk->page_size - 1) / walk->page_size;
        if (first < 2 || first >= walk->pages || count > walk->pages - first)
            return damaged(walk, number, "has an entry beyond the end of the file", err);
    }
    memcpy(walk->last_key, key, WK_KEY_SIZE);
    walk->entries++;
    return walk->visit != NULL ? walk->visit(walk->context, ordinal, kind, size, err) : SL_OK;
}

static enum sl_status walk_page(struct walk *walk, uint64_t number, int depth, struct sl_error *err);

static enum sl_status check_branch_node(
        struct walk *walk, const uint8_t *page, uint64_t number, uint32_t at, int depth, struct sl_error *err)
{
    uint32_t key_size = load_u16(page + at + 6);
    uint64_t child = load_u16(page + at) | (uint64_t)load_u16(page + at + 2) << 16 |
                     (uint64_t)load_u16(page + at + 4) << 32;
    if (at + NODE_HEAD + (uint64_t)key_size > walk->page_size || key_size > WK_KEY_SIZE)
        return damaged(walk, number, "has an entry that leaves it", err);
    return walk_page(walk, child, depth + 1, err);
}

/* Depth is bounded by DEPTH_MAX, the sum of visits by the pages of the file: damage cannot make this long. */
static enum sl_status walk_page(struct walk *walk, uint64_t number, int depth, struct sl_error *err)
{
    if (depth > walk->depth || ++walk->visited > walk->pages)
        return damaged(walk, number, "is part of a loop", err);
    SL_AUTO_FREE uint8_t *page = sl_alloc(walk->page_size, 1);
    if (page == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = read_page(walk, page, number, err);
    if (status != SL_OK)
        return status;
    uint32_t wanted = depth == walk->depth ? PAGE_LEAF : PAGE_BRANCH;
    uint32_t lower = load_u16(page + 12), upper = load_u16(page + 14);
    if (load_u64(page) != number || load_u16(page + 10) != wanted)
        return damaged(walk, number, "is not the page that it should be", err);
    if (lower < PAGE_HEAD || lower > upper || upper > walk->page_size || lower % 2 != 0)
        return damaged(walk, number, "has impossible bounds", err);
    uint32_t count = (lower - PAGE_HEAD) / 2;
    if (count < (wanted == PAGE_BRANCH ? 2U : 1U))
        return damaged(walk, number, "has too few entries", err);
    for (uint32_t i = 0; i < count && status == SL_OK; i++) {
        uint32_t at = load_u16(page + PAGE_HEAD + 2 * (size_t)i);
        if (at < upper || at + NODE_HEAD > walk->page_size || at % 2 != 0)
            return damaged(walk, number, "points outside itself", err);
        status = wanted == PAGE_LEAF ? check_leaf_node(walk, page, number, at, err)
                                     : check_branch_node(walk, page, number, at, depth, err);
    }
    return status;
}

enum sl_status wk_pages_check(const char *path, wk_pages_visit *visit, void *context, struct sl_error *err)
{
    SL_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sl_fail_errno(err, "cannot open %s", path);
    struct stat info;
    if (fstat(fd, &info) != 0)
        return sl_fail_errno(err, "cannot read %s", path);
    if (!S_ISREG(info.st_mode))
        return sl_fail(err, SL_BAD_DATA, "%s is not a regular file", path);
    struct walk walk = {.path = path, .fd = fd, .visit = visit, .context = context};
    struct meta meta = {0};
    enum sl_status status = choose_meta(&walk, &meta, (uint64_t)info.st_size, err);
    if (status != SL_OK || meta.main.root == NO_PAGE)
        return status;
    if (meta.main.depth < 1 || meta.main.depth > DEPTH_MAX)
        return damaged(&walk, 0, "states an impossible depth", err);
    walk.depth = meta.main.depth;
    status = walk_page(&walk, meta.main.root, 1, err);
    if (status == SL_OK && walk.entries != meta.main.entries)
        status = damaged(&walk, meta.main.root, "leads to another number of entries than stated", err);
    return status;
}
