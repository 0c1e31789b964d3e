#pragma once
/* The run's snapshots as the loop uses them: gathered block by block on the loop's thread, written, linked and pruned by a thread of their own; read
 * at the start and after each rollback.
 *
 *     s = ps_archive_restore(archive, "auto", &training, err);     // at the start and after every rollback
 *     const struct ps_block_state *state = ps_archive_block(archive, block);
 *     ps_archive_release(archive);                                 // all servers have them
 *
 *     s = ps_archive_begin(archive, training, best, err);
 *     s = ps_archive_put(archive, block, &params, &m, &v, err);    // every block once, as servers send them: shared, not copied
 *     s = ps_archive_write(archive, err);                          // returns at once
 *     … ps_archive_fd can be read …
 *     s = ps_archive_take(archive, &written);                      // AGAIN until it stands
 *
 * Each snapshot holds config.yaml and the vocabularies too, so that `evaluate` and `predict` need nothing but its folder. At most one snapshot is
 * gathered or written at a time. Thread: all functions belong to the loop's thread.
 */
#include "common/config.h"
#include "common/layout.h"
#include "ps/coordinator.h"
#include "ps/table.h"

struct ps_archive;

/* ps_archive_open prepares DIR/snapshots of the run and reads what goes along with every snapshot. config and layout outlive it. Errors: DISK, FAILED, USAGE. */
SL_MUST_USE enum sl_status ps_archive_open(struct ps_archive **ret_archive, const struct sl_config *config,
        const struct sl_layout *layout, struct sl_error *err);
/* ps_archive_close waits for the snapshot that is being written and forgets one that is being gathered. */
void ps_archive_close(struct ps_archive *archive);

/* ps_archive_restore reads where training begins, into buffers of its own (ps_archive_block), and ret_training. Waits for a snapshot that is
 * being written, drops one that is being gathered, releases what an earlier call read.
 *
 * The first call decides by `resume`: "auto" (newest whole snapshot of the folder; a fresh start when there is none), "never" (refused where the
 * folder has snapshots), or a snapshot's folder. A fresh start: initial values, then the weights of the files that `init` names.
 * Each later call is a rollback and does not look at `resume`: the newest whole snapshot of this run, else the start of the first call. Later
 * snapshots of another run in the folder, as there are when the first call named an older one, are not looked at.
 * Damaged ones that are passed over are logged. Errors: MISMATCH (another config or model: says so), BAD_DATA, NOT_FOUND, USAGE, NO_MEMORY;
 * after one nothing is held, and when it was the first call the next one is the first. */
SL_MUST_USE enum sl_status ps_archive_restore(struct ps_archive *archive, const char *resume,
        struct ps_training *ret_training, struct sl_error *err);
/* ps_archive_block borrows what was restored of a block until release or the next restore (asserted that there is). m NULL = zero; v NULL = zero, or the
 * optimiser has none. Its version is ret_training->step. */
const struct ps_block_state *ps_archive_block(const struct ps_archive *archive, int block);
/* ps_archive_release frees what was restored, but for buffers that others hold. */
void ps_archive_release(struct ps_archive *archive);

/* ps_archive_begin begins a snapshot of `training`; none may be gathered, or written and not taken (asserted). best: link it as such. Errors:
 * NO_MEMORY, USAGE. */
SL_MUST_USE enum sl_status ps_archive_begin(
        struct ps_archive *archive, const struct ps_training *training, bool best, struct sl_error *err);
/* ps_archive_put adds a block to the snapshot that is being gathered; NULL or frames without a buffer: none. Owns, Errors: as
 * ps_snapshot_put, and BAD_DATA when none is being gathered. */
SL_MUST_USE enum sl_status ps_archive_put(struct ps_archive *archive, int block,
        const struct sl_frame *params, const struct sl_frame *m, const struct sl_frame *v,
        struct sl_error *err);
/* ps_archive_write starts writing what was gathered. Errors: BAD_DATA when blocks are missing, FAILED; then the snapshot is forgotten, and there is
 * nothing to take. */
SL_MUST_USE enum sl_status ps_archive_write(struct ps_archive *archive, struct sl_error *err);
/* ps_archive_drop forgets what is being gathered, if anything. */
void ps_archive_drop(struct ps_archive *archive);

/* How the last write ended. */
struct ps_written {
    enum sl_status status;
    int64_t step;
    uint64_t size;         /* bytes of tensors */
    double pause_seconds;  /* that the loop's thread spent on it, from begin to the start of writing */
    double gather_seconds; /* from begin to the start of writing, training going on */
    double write_seconds;  /* of the thread */
    bool best;
    struct sl_error error;
};

int ps_archive_fd(const struct ps_archive *archive);
/* ps_archive_take gives the end of a write. Errors: AGAIN. */
SL_MUST_USE enum sl_status ps_archive_take(struct ps_archive *archive, struct ps_written *ret_written);
/* ps_archive_wait returns when nothing is being written any more; how it ended is still there to be taken. */
void ps_archive_wait(struct ps_archive *archive);
