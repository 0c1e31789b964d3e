#pragma once
/* A shard: one LMDB environment of records, written once in order and then only read.
 *
 *     DIR/data.mdb      key: 8-byte big-endian ordinal of the row in its split, 1 byte kind (sample, reject); value: record.h
 *
 * Writing: one thread, sorted keys appended; each commit is synced to disk, so after a crash the shard holds
 * whole records up to some commit. Reading: the file's size and structure are checked before LMDB maps it (pages.h); each record's
 * checksum is checked when it is read. No lock file: who writes holds the dataset's lock (import.h), and finished shards never change,
 * so they can lie on read-only media and be opened twice.
 */
#include "common/config.h"
#include "common/error.h"
#include "worker/dataset/pages.h"

#include <stdint.h>

#define WK_SHARD_FILE "data.mdb"

/* What is known about a shard's content; the same numbers whoever wrote it, in however many runs. */
struct wk_shard_summary {
    uint64_t count, rejects;        /* samples, lines that gave none */
    uint64_t next;                  /* ordinal after the last entry; 0 when there is none */
    uint64_t hash;                  /* of keys and record checksums of the samples, in order */
    uint64_t labels[SL_LABELS_MAX]; /* samples by label, in the order of the config */
};

struct wk_shard_writer;

/* wk_shard_writer_open goes on with the shard in dir, or begins it. What is there is verified record by record; a damaged shard is an error BAD_DATA: remove
 * it and begin again. Owns: *ret_writer. Errors: BAD_DATA, DISK, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_shard_writer_open(struct wk_shard_writer **ret_writer, const char *dir,
        const struct sl_config *config, struct sl_error *err);
/* wk_shard_writer_close drops what was not committed. */
void wk_shard_writer_close(struct wk_shard_writer *writer);

/* wk_shard_writer_put appends an entry; ordinals must grow. label counts only for samples. Errors: DISK (full or failing), FAILED. */
SL_MUST_USE enum sl_status wk_shard_writer_put(struct wk_shard_writer *writer, uint64_t ordinal,
        enum wk_entry_kind kind, int label, const void *bytes, size_t size, struct sl_error *err);
/* wk_shard_writer_commit makes all entries so far durable. After an error the writer can only be closed. */
SL_MUST_USE enum sl_status wk_shard_writer_commit(struct wk_shard_writer *writer, struct sl_error *err);
uint64_t wk_shard_writer_pending(const struct wk_shard_writer *writer); /* bytes that are not committed */
const struct wk_shard_summary *wk_shard_writer_summary(const struct wk_shard_writer *writer);

struct wk_shard;

/* wk_shard_open checks and maps a shard for reading. expected_size: bytes that data.mdb must have, or -1. Owns: *ret_shard. Errors:
 * NOT_FOUND, BAD_DATA, FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status wk_shard_open(
        struct wk_shard **ret_shard, const char *dir, int64_t expected_size, struct sl_error *err);
void wk_shard_close(struct wk_shard *shard);
void wk_shard_close_auto(struct wk_shard **shard);

uint64_t wk_shard_count(const struct wk_shard *shard); /* samples */
uint64_t wk_shard_reject_count(const struct wk_shard *shard);
uint64_t wk_shard_ordinal(const struct wk_shard *shard, uint64_t position); /* of the position-th sample */

/* wk_shard_peek borrows the stored bytes of the position-th sample (or reject) and its key for record.h, until close; nothing is verified. Thread: any. Errors: BAD_DATA. */
SL_MUST_USE enum sl_status wk_shard_peek(struct wk_shard *shard, enum wk_entry_kind kind, uint64_t position,
        const void **ret_bytes, size_t *ret_size, uint64_t *ret_key, struct sl_error *err);

/* wk_shard_fold is the one step of a shard's hash. */
uint64_t wk_shard_fold(uint64_t hash, uint64_t ordinal, uint64_t checksum);
