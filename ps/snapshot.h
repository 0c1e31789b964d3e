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
 *     s = ps_snapshot_capture(&snapshot, &source, err);       // the pause: a copy in memory
 *     … in another thread …
 *     s = ps_snapshot_write(snapshot, dir, err);
 *     ps_snapshot_destroy(snapshot);
 *
 *     s = ps_snapshot_newest(&saved, dir, report, context, err);      // resume: the newest whole one
 *     s = ps_saved_load(saved, layout, params, m, v, err);
 *
 * One process writes into DIR at a time. Thread: a captured snapshot belongs to one thread at a time; the functions on folders keep nothing.
 */
#include "common/error.h"
#include "common/layout.h"
#include "ps/manifest.h"
#include "ps/table.h"

#include <stdbool.h>
#include <stdint.h>

#define PS_SNAPSHOT_NAME_MAX 32 /* bytes of "step-00001200" with its 0 */

struct ps_snapshot; /* captured, in memory */
struct ps_saved;    /* on disk, verified */

/* A file that goes along. */
struct ps_attachment {
    const char *name; /* as ps_manifest_file allows, and none of the snapshot's own */
    const void *bytes;
    size_t size;
};

/* What is captured. Borrowed for the call, but for layout, which must outlive the snapshot. */
struct ps_snapshot_source {
    const struct sl_layout *layout;
    const struct ps_table *table;       /* all blocks, all at version manifest->training.step */
    const struct ps_manifest *manifest; /* files and file_count are not looked at */
    const struct ps_attachment *attachments;
    int attachment_count;
};

/* ps_snapshot_capture copies everything. Owns: *ret_snapshot. Errors: NO_MEMORY with the bytes that were wanted, USAGE for attachments or a
 * state that do not fit. */
SL_MUST_USE enum sl_status ps_snapshot_capture(
        struct ps_snapshot **ret_snapshot, const struct ps_snapshot_source *source, struct sl_error *err);
void ps_snapshot_destroy(struct ps_snapshot *snapshot);
void ps_snapshot_destroy_auto(struct ps_snapshot **snapshot);
int64_t ps_snapshot_step(const struct ps_snapshot *snapshot);
uint64_t ps_snapshot_size(const struct ps_snapshot
                *snapshot); /* bytes of tensors: what it takes in memory and, nearly, on disk */

/* ps_snapshot_write puts it into dir, made if need be, and points `latest` to it. One of the same step is replaced. Errors: DISK (full, failing, or
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

/* ps_snapshot_prune removes all but the newest `keep` whole snapshots, the best, and that of step `protect` (-1 = none), and cleans. Damaged
 * ones are left for a person to look at unless damaged = true, and do not count as kept. Errors: as ps_snapshot_list, DISK. */
SL_MUST_USE enum sl_status ps_snapshot_prune(
        const char *dir, int keep, int64_t protect, bool damaged, int *ret_removed, struct sl_error *err);

/* ps_snapshot_clean removes what a crash left half-written or half-removed. */
SL_MUST_USE enum sl_status ps_snapshot_clean(const char *dir, struct sl_error *err);
