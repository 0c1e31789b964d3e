#pragma once
/* Snapshots: a folder per step that is whole or absent.
 *
 *     DIR/step-00001200/model.safetensors       every parameter, under its name
 *                       optimiser.safetensors   m.NAME, and for AdamW v.NAME
 *                       config.yaml, vocab-MODALITY.txt, …   what the caller attached
 *                       manifest.json           see manifest.h; written last
 *     DIR/latest -> step-00001200               relative links, replaced atomically
 *     DIR/best   -> step-00000900
 *
 * Writing: a folder step-….tmp-XXXXXX beside the others, every file synced, the folder synced, one rename, DIR synced. A crash at any moment
 * leaves at worst a .tmp- folder, which nobody reads and the next write removes. Reading checks sizes and checksums of every file first; a
 * damaged snapshot is refused with its name and the reason.
 *
 *     struct ps_snapshot *snapshot = NULL;
 *     s = ps_snapshot_begin(&snapshot, &source, err);
 *     s = ps_snapshot_put(snapshot, block, &params, &m, &v, err);     // every block once, from whatever server: shared, not copied
 *     … ps_snapshot_whole(snapshot), then in another thread …
 *     s = ps_snapshot_write(snapshot, dir, err);
 *     ps_snapshot_destroy(snapshot);
 *
 *     s = ps_snapshot_newest(&saved, dir, report, context, err);      // resume: the newest whole one
 *     s = ps_saved_load(saved, layout, params, m, v, err);
 *
 * The files do not tell how many servers the blocks came from. One process writes into DIR at a time. Thread: a snapshot in memory belongs
 * to one thread at a time; the functions on folders keep nothing.
 */
#include "common/error.h"
#include "common/layout.h"
#include "ps/manifest.h"
#include "ps/table.h"

#include <stdbool.h>
#include <stdint.h>

#define PS_SNAPSHOT_NAME_MAX 32 /* bytes of "step-00001200" with its 0 */

struct ps_snapshot; /* in memory, of blocks that others may hold too */
struct ps_saved;    /* on disk, verified */

/* A file that goes along. */
struct ps_attachment {
    const char *name; /* as ps_manifest_file allows, and none of the snapshot's own */
    const void *bytes;
    size_t size;
};

/* What a snapshot is of, besides its blocks. Borrowed for the call, but for layout, which must outlive the snapshot. */
struct ps_snapshot_source {
    const struct sl_layout *layout;
    const struct ps_manifest *
            manifest; /* files and file_count are not looked at; optimiser says whether there is a second moment */
    const struct ps_attachment *attachments;
    int attachment_count;
};

/* ps_snapshot_begin makes one without blocks. Owns: *ret_snapshot. Errors: NO_MEMORY, USAGE for attachments or a state that do not fit. */
SL_MUST_USE enum sl_status ps_snapshot_begin(
        struct ps_snapshot **ret_snapshot, const struct ps_snapshot_source *source, struct sl_error *err);

/* ps_snapshot_put adds one block. Shapes: each (block->count,) floats, at any address; v is ignored without a second moment. Owns: retains
 * the buffers, which nobody may write from now on; after an error the snapshot is as before. Errors: BAD_DATA for a number that is no block,
 * one that is there already, another size, or a moment that is missing. */
SL_MUST_USE enum sl_status ps_snapshot_put(struct ps_snapshot *snapshot, int block,
        const struct sl_frame *params, const struct sl_frame *m, const struct sl_frame *v,
        struct sl_error *err);
bool ps_snapshot_whole(const struct ps_snapshot *snapshot);  /* every block is there */
int ps_snapshot_missing(const struct ps_snapshot *snapshot); /* blocks that are not */
void ps_snapshot_destroy(struct ps_snapshot *snapshot);
void ps_snapshot_destroy_auto(struct ps_snapshot **snapshot);
int64_t ps_snapshot_step(const struct ps_snapshot *snapshot);
/* ps_snapshot_size gives the bytes of tensors and attachments: what it takes in memory and, nearly, on disk. */
uint64_t ps_snapshot_size(const struct ps_snapshot *snapshot);

/* ps_snapshot_write puts a whole one (asserted) into dir, made if need be, and points `latest` to it. One of the same step is replaced. Errors: DISK (full, failing, or
 * too little room by statvfs, before anything is written), FAILED; then dir is as before. */
SL_MUST_USE enum sl_status ps_snapshot_write(
        const struct ps_snapshot *snapshot, const char *dir, struct sl_error *err);

/* ps_snapshot_link points dir/name ("best") to the step's snapshot. File systems without links are fine: then nothing is done. */
SL_MUST_USE enum sl_status ps_snapshot_link(
        const char *dir, const char *name, int64_t step, struct sl_error *err);

/* ps_snapshot_name writes "step-00001200". Shapes: name has PS_SNAPSHOT_NAME_MAX bytes. */
void ps_snapshot_name(char *name, int64_t step);

/* ps_saved_open verifies the snapshot folder at path: manifest, then size and checksum of every file. Owns: *ret_saved, close it. Errors:
 * NOT_FOUND (no such folder), BAD_DATA (what is damaged and how), MISMATCH (newer format), DISK, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_saved_open(struct ps_saved **ret_saved, const char *path, struct sl_error *err);
void ps_saved_close(struct ps_saved *saved);
void ps_saved_close_auto(struct ps_saved **saved);
const char *ps_saved_path(const struct ps_saved *saved);
const struct ps_manifest *ps_saved_manifest(const struct ps_saved *saved);

/* ps_saved_load fills whole flat vectors. Shapes: (layout->count,); m and v may be NULL; v is left as it is where the snapshot has none (SGD).
 * Errors: MISMATCH (the first parameter that is missing, too many or of another shape, by name), BAD_DATA, DISK, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_saved_load(const struct ps_saved *saved, const struct sl_layout *layout,
        float *ret_params, float *ret_m, float *ret_v, struct sl_error *err);

/* ps_saved_load_blocks fills a buffer for every block instead, without a flat vector in between. Shapes: ret_blocks (layout->block_count,).
 * Owns: fini each; v NULL where the snapshot has none. Errors: as ps_saved_load; then ret_blocks is untouched. */
SL_MUST_USE enum sl_status ps_saved_load_blocks(const struct ps_saved *saved, const struct sl_layout *layout,
        struct ps_block_state *ret_blocks, struct sl_error *err);

/* ps_saved_file reads an attachment whole. Owns: *ret_bytes, sl_free it; a 0 byte follows. Errors: NOT_FOUND, as sl_file_read. */
SL_MUST_USE enum sl_status ps_saved_file(const struct ps_saved *saved, const char *name, char **ret_bytes,
        size_t *ret_size, struct sl_error *err);

/* ps_snapshot_newest opens the newest whole snapshot of dir. Each damaged one that is passed over is reported with the reason; report may be
 * NULL. Owns: *ret_saved. Errors: NOT_FOUND when there is none at all, BAD_DATA when all are damaged, MISMATCH when the newest is of a newer format. */
SL_MUST_USE enum sl_status ps_snapshot_newest(struct ps_saved **ret_saved, const char *dir,
        void (*report)(void *context, const char *text), void *context, struct sl_error *err);

/* One snapshot of a folder. */
struct ps_snapshot_entry {
    int64_t step;
    char name[PS_SNAPSHOT_NAME_MAX];
    uint64_t size; /* bytes of its files by the manifest, 0 when that is damaged */
    int64_t created_s;
    bool latest, best;              /* linked so */
    bool whole;                     /* by manifest and sizes, or with verify by checksums */
    char reason[SL_ERROR_TEXT_MAX]; /* why not */
};

/* ps_snapshot_list lists the snapshots of dir, oldest first. verify = true reads every file. Owns: *ret_entries, sl_free it. Errors: NOT_FOUND,
 * FAILED, NO_MEMORY. */
SL_MUST_USE enum sl_status ps_snapshot_list(struct ps_snapshot_entry **ret_entries, int *ret_count,
        const char *dir, bool verify, struct sl_error *err);

/* What ps_snapshot_prune leaves. */
struct ps_keep {
    int count;       /* newest whole snapshots */
    int64_t protect; /* the step of one that stays besides, -1 = none */
    int64_t newest; /* later ones are neither removed nor counted: a run that began again from an older snapshot leaves them; INT64_MAX = none */
    bool damaged; /* remove damaged ones too; else they are left for a person to look at. They never count. */
};

/* ps_snapshot_prune removes all snapshots but what `keep` says and the best, and cleans. Errors: as ps_snapshot_list, DISK. */
SL_MUST_USE enum sl_status ps_snapshot_prune(
        const char *dir, const struct ps_keep *keep, int *ret_removed, struct sl_error *err);

/* ps_snapshot_clean removes what a crash left half-written or half-removed. */
SL_MUST_USE enum sl_status ps_snapshot_clean(const char *dir, struct sl_error *err);
