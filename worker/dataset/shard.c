/* Writing and reading one LMDB environment: see shard.h. */
#include "worker/dataset/shard.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include "worker/dataset/record.h"

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define MAP_START ((size_t)1 << 28) /* bytes of address space, doubled when needed; not memory */
#define MAP_SLACK ((size_t)1 << 24) /* for branch pages and the free list */
#define SPACE_SLACK (64U << 10)     /* bytes: branch pages, free list, lists */
#define FILE_MODE 0644

struct wk_shard_writer {
    char *dir;
    MDB_env *env;
    MDB_txn *txn; /* open from the first put to the commit */
    MDB_dbi dbi;
    size_t map_size;
    uint64_t pending; /* bytes put since the last commit */
    struct wk_shard_summary summary;
};

struct entry_list {
    uint64_t *ordinals;
    uint64_t count, capacity;
};

struct wk_shard {
    char *dir;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    pthread_mutex_t mutex; /* around txn: LMDB allows one thread in a transaction */
    bool has_mutex;
    struct entry_list lists[2]; /* by kind */
};

/* LMDB says EIO for a disk that fills up in the middle of a write. */
static enum sl_status lmdb_failed(int rc, const char *what, const char *dir, struct sl_error *err)
{
    if (rc == ENOSPC || rc == EIO || rc == EDQUOT || rc == EFBIG) {
        struct statvfs space;
        unsigned long long free_mib = 0;
        if (statvfs(dir, &space) == 0)
            free_mib = (unsigned long long)space.f_bavail * space.f_frsize >> 20;
        return sl_fail(err, SL_DISK,
                "%s %s: %s; the disk is full or failing (%llu MiB free): make room and run the same again",
                what, dir, mdb_strerror(rc), free_mib);
    }
    if (rc == ENOMEM)
        return sl_fail(err, SL_NO_MEMORY, "%s %s: out of memory or address space", what, dir);
    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH)
        return sl_fail(err, SL_BAD_DATA, "%s %s: %s", what, dir, mdb_strerror(rc));
    return sl_fail(err, SL_FAILED, "%s %s: %s", what, dir, mdb_strerror(rc));
}

uint64_t wk_shard_fold(uint64_t hash, uint64_t ordinal, uint64_t checksum)
{
    uint64_t pair[2] = {ordinal, checksum};
    return sl_hash64(pair, sizeof(pair), hash);
}

/* ---- writing ---- */

static void summarise(struct wk_shard_summary *summary, uint64_t ordinal, enum wk_entry_kind kind, int label,
        uint64_t checksum)
{
    summary->next = ordinal + 1;
    if (kind == WK_ENTRY_REJECT) {
        summary->rejects++;
        return;
    }
    summary->count++;
    summary->hash = wk_shard_fold(summary->hash, ordinal, checksum);
    if (label >= 0 && label < SL_LABELS_MAX)
        summary->labels[label]++;
}

/* One entry that an earlier run left. */
static enum sl_status count_entry(struct wk_shard_summary *summary, struct wk_shard *shard,
        enum wk_entry_kind kind, uint64_t position, const struct sl_config *config, struct sl_error *err)
{
    const void *bytes = NULL;
    size_t size = 0;
    uint64_t key = 0, checksum = 0;
    char name[SL_NAME_MAX] = "";
    enum sl_status status = wk_shard_peek(shard, kind, position, &bytes, &size, &key, err);
    if (status == SL_OK)
        status = wk_record_verify(&checksum, bytes, size, key, err);
    if (status == SL_OK && kind == WK_ENTRY_SAMPLE)
        status = wk_record_id(NULL, 0, name, sizeof(name), bytes, size, err);
    if (status == SL_OK) {
        uint64_t next = summary->next;
        summarise(summary, key, kind, sl_config_find_label(config, name), checksum);
        summary->next = summary->next > next ? summary->next : next;
    }
    return status;
}

static enum sl_status count_existing(struct wk_shard_summary *summary, const char *dir,
        const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO(wk_shard_close_auto) struct wk_shard *shard = NULL;
    enum sl_status status = wk_shard_open(&shard, dir, -1, err);
    for (int kind = 0; kind < 2 && status == SL_OK; kind++) {
        for (uint64_t i = 0; i < shard->lists[kind].count && status == SL_OK; i++)
            status = count_entry(summary, shard, (enum wk_entry_kind)kind, i, config, err);
    }
    return status;
}

static enum sl_status open_writer_env(struct wk_shard_writer *writer, struct sl_error *err)
{
    SL_AUTO_FREE char *file = sl_path_join(writer->dir, WK_SHARD_FILE);
    if (file == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int64_t size = sl_file_size(file);
    writer->map_size = MAP_START;
    while (size > 0 && writer->map_size < (size_t)size * 2)
        writer->map_size *= 2;
    int rc = mdb_env_create(&writer->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(writer->env, writer->map_size);
    if (rc == 0)
        rc = mdb_env_open(writer->env, writer->dir, MDB_NOLOCK | MDB_NOTLS, FILE_MODE);
    return rc == 0 ? SL_OK : lmdb_failed(rc, "cannot open shard", writer->dir, err);
}

static void writer_close_auto(struct wk_shard_writer **writer)
{
    wk_shard_writer_close(*writer);
}

enum sl_status wk_shard_writer_open(struct wk_shard_writer **ret_writer, const char *dir,
        const struct sl_config *config, struct sl_error *err)
{
    SL_AUTO(writer_close_auto) struct wk_shard_writer *writer = sl_alloc(1, sizeof(*writer));
    SL_AUTO_FREE char *file = sl_path_join(dir, WK_SHARD_FILE);
    if (writer == NULL || file == NULL || (writer->dir = sl_strdup(dir)) == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    enum sl_status status = sl_file_make_directories(dir, err);
    if (status == SL_OK && sl_file_size(file) > 0)
        status = count_existing(&writer->summary, dir, config, err);
    if (status == SL_OK)
        status = open_writer_env(writer, err);
    if (status == SL_OK)
        *ret_writer = SL_TAKE(writer);
    return status;
}

void wk_shard_writer_close(struct wk_shard_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->txn != NULL)
        mdb_txn_abort(writer->txn);
    if (writer->env != NULL)
        mdb_env_close(writer->env);
    sl_free(writer->dir);
    sl_free(writer);
}

uint64_t wk_shard_writer_pending(const struct wk_shard_writer *writer)
{
    return writer->pending;
}

const struct wk_shard_summary *wk_shard_writer_summary(const struct wk_shard_writer *writer)
{
    return &writer->summary;
}

/* The map must hold all pages before a page is written: MAP_FULL in the middle of a transaction would lose it. It can only grow between
 * transactions. */
static enum sl_status make_room(struct wk_shard_writer *writer, size_t size, struct sl_error *err)
{
    MDB_envinfo info;
    MDB_stat stat;
    int rc = mdb_env_info(writer->env, &info);
    if (rc == 0)
        rc = mdb_env_stat(writer->env, &stat);
    if (rc != 0)
        return lmdb_failed(rc, "cannot look at shard", writer->dir, err);
    size_t used = (info.me_last_pgno + 1) * (size_t)stat.ms_psize;
    size_t needed = used + MAP_SLACK + 2 * (writer->pending + size + 2 * (size_t)stat.ms_psize);
    if (needed <= writer->map_size)
        return SL_OK;
    enum sl_status status = wk_shard_writer_commit(writer, err);
    if (status != SL_OK)
        return status;
    while (writer->map_size < needed)
        writer->map_size *= 2;
    rc = mdb_env_set_mapsize(writer->env, writer->map_size);
    return rc == 0 ? SL_OK : lmdb_failed(rc, "cannot enlarge shard", writer->dir, err);
}

enum sl_status wk_shard_writer_put(struct wk_shard_writer *writer, uint64_t ordinal, enum wk_entry_kind kind,
        int label, const void *bytes, size_t size, struct sl_error *err)
{
    uint64_t checksum = 0;
    enum sl_status status = wk_record_verify(&checksum, bytes, size, ordinal, err);
    if (status == SL_OK)
        status = make_room(writer, size, err);
    if (status != SL_OK)
        return status;
    int rc = 0;
    if (writer->txn == NULL)
        rc = mdb_txn_begin(writer->env, NULL, 0, &writer->txn);
    if (rc == 0)
        rc = mdb_dbi_open(writer->txn, NULL, 0, &writer->dbi);
    uint8_t key_bytes[WK_KEY_SIZE];
    wk_key_store(key_bytes, ordinal, kind);
    MDB_val key = {WK_KEY_SIZE, key_bytes}, value = {size, (void *)(uintptr_t)bytes};
    if (rc == 0)
        rc = mdb_put(writer->txn, writer->dbi, &key, &value, MDB_APPEND);
    if (rc != 0)
        return lmdb_failed(rc, "cannot write to shard", writer->dir, err);
    writer->pending += size;
    summarise(&writer->summary, ordinal, kind, label, checksum);
    return SL_OK;
}

/* LMDB finds out in the middle of a write, and then says EIO; here there is still something clear to say. */
static enum sl_status check_space(const struct wk_shard_writer *writer, struct sl_error *err)
{
    struct statvfs space;
    if (statvfs(writer->dir, &space) != 0)
        return SL_OK;
    uint64_t available = (uint64_t)space.f_bavail * space.f_frsize;
    uint64_t needed = writer->pending + writer->pending / 8 + SPACE_SLACK;
    if (available >= needed)
        return SL_OK;
    return sl_fail(err, SL_DISK,
            "cannot write to shard %s: the disk is full (%llu KiB free, %llu KiB needed now): make room and "
            "run the same again",
            writer->dir, (unsigned long long)(available >> 10), (unsigned long long)(needed >> 10));
}

enum sl_status wk_shard_writer_commit(struct wk_shard_writer *writer, struct sl_error *err)
{
    if (writer->txn == NULL)
        return SL_OK;
    enum sl_status status = check_space(writer, err);
    if (status != SL_OK)
        return status;
    writer->pending = 0;
    int rc = mdb_txn_commit(SL_TAKE(writer->txn));
    return rc == 0 ? SL_OK : lmdb_failed(rc, "cannot write to shard", writer->dir, err);
}

/* ---- reading ---- */

static enum sl_status add_entry(
        void *context, uint64_t ordinal, enum wk_entry_kind kind, uint64_t size, struct sl_error *err)
{
    (void)size;
    struct entry_list *list = &((struct wk_shard *)context)->lists[kind];
    if (list->count == list->capacity) {
        uint64_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        uint64_t *ordinals = sl_realloc(list->ordinals, capacity, sizeof(*ordinals));
        if (ordinals == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory");
        list->ordinals = ordinals;
        list->capacity = capacity;
    }
    list->ordinals[list->count++] = ordinal;
    return SL_OK;
}

static enum sl_status check_file(
        struct wk_shard *shard, int64_t *ret_size, int64_t expected_size, struct sl_error *err)
{
    SL_AUTO_FREE char *file = sl_path_join(shard->dir, WK_SHARD_FILE);
    if (file == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    int64_t size = sl_file_size(file);
    if (size < 0)
        return sl_fail(
                err, SL_NOT_FOUND, "shard %s has no %s; import the dataset again", shard->dir, WK_SHARD_FILE);
    if (expected_size >= 0 && size != expected_size)
        return sl_fail(err, SL_BAD_DATA,
                "%s has %lld bytes, its manifest says %lld; it is cut off or from another import", file,
                (long long)size, (long long)expected_size);
    *ret_size = size;
    return wk_pages_check(file, add_entry, shard, err);
}

static enum sl_status map_file(struct wk_shard *shard, int64_t size, struct sl_error *err)
{
    int rc = mdb_env_create(&shard->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(shard->env, (size_t)size);
    if (rc == 0)
        rc = mdb_env_open(shard->env, shard->dir, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, FILE_MODE);
    if (rc == 0)
        rc = mdb_txn_begin(shard->env, NULL, MDB_RDONLY, &shard->txn);
    if (rc == 0)
        rc = mdb_dbi_open(shard->txn, NULL, 0, &shard->dbi);
    return rc == 0 ? SL_OK : lmdb_failed(rc, "cannot open shard", shard->dir, err);
}

enum sl_status wk_shard_open(
        struct wk_shard **ret_shard, const char *dir, int64_t expected_size, struct sl_error *err)
{
    SL_AUTO(wk_shard_close_auto) struct wk_shard *shard = sl_alloc(1, sizeof(*shard));
    if (shard == NULL || (shard->dir = sl_strdup(dir)) == NULL ||
            pthread_mutex_init(&shard->mutex, NULL) != 0)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    shard->has_mutex = true;
    int64_t size = 0;
    enum sl_status status = check_file(shard, &size, expected_size, err);
    if (status == SL_OK)
        status = map_file(shard, size, err);
    if (status == SL_OK)
        *ret_shard = SL_TAKE(shard);
    return status;
}

void wk_shard_close(struct wk_shard *shard)
{
    if (shard == NULL)
        return;
    if (shard->txn != NULL)
        mdb_txn_abort(shard->txn);
    if (shard->env != NULL)
        mdb_env_close(shard->env);
    if (shard->has_mutex)
        (void)pthread_mutex_destroy(&shard->mutex);
    sl_free(shard->lists[0].ordinals);
    sl_free(shard->lists[1].ordinals);
    sl_free(shard->dir);
    sl_free(shard);
}

void wk_shard_close_auto(struct wk_shard **shard)
{
    wk_shard_close(*shard);
}

uint64_t wk_shard_count(const struct wk_shard *shard)
{
    return shard->lists[WK_ENTRY_SAMPLE].count;
}

uint64_t wk_shard_reject_count(const struct wk_shard *shard)
{
    return shard->lists[WK_ENTRY_REJECT].count;
}

uint64_t wk_shard_ordinal(const struct wk_shard *shard, uint64_t position)
{
    return shard->lists[WK_ENTRY_SAMPLE].ordinals[position];
}

enum sl_status wk_shard_peek(struct wk_shard *shard, enum wk_entry_kind kind, uint64_t position,
        const void **ret_bytes, size_t *ret_size, uint64_t *ret_key, struct sl_error *err)
{
    if (position >= shard->lists[kind].count)
        return sl_fail(err, SL_USAGE, "shard %s has %llu entries of that kind, number %llu was asked for",
                shard->dir, (unsigned long long)shard->lists[kind].count, (unsigned long long)position);
    uint64_t ordinal = shard->lists[kind].ordinals[position];
    uint8_t key_bytes[WK_KEY_SIZE];
    wk_key_store(key_bytes, ordinal, kind);
    MDB_val key = {WK_KEY_SIZE, key_bytes}, value = {0, NULL};
    (void)pthread_mutex_lock(&shard->mutex);
    int rc = mdb_get(shard->txn, shard->dbi, &key, &value);
    (void)pthread_mutex_unlock(&shard->mutex);
    if (rc != 0)
        return sl_fail(err, SL_BAD_DATA, "shard %s: entry %llu cannot be read: %s", shard->dir,
                (unsigned long long)ordinal, mdb_strerror(rc));
    *ret_bytes = value.mv_data;
    *ret_size = value.mv_size;
    *ret_key = ordinal;
    return SL_OK;
}
