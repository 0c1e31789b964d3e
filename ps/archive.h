#pragma once
/* The run's snapshots as the loop uses them: captured in memory on the loop's thread, written, linked and pruned by a thread of their own, read at the start.
 *
 *     ps_archive_save(archive, table, training, best, err);        // the pause: a copy in memory
 *     … ps_archive_fd can be read …
 *     s = ps_archive_take(archive, &written, err);                 // AGAIN until it stands
 *
 * Each snapshot holds config.yaml and the vocabularies too, so that `evaluate` and `predict` need nothing but its folder.
 * Thread: all functions belong to the loop's thread; one snapshot is written at a time.
 */
#include "common/config.h"
#include "common/layout.h"
#include "ps/coordinator.h"
#include "ps/table.h"

struct ps_archive;

/* ps_archive_open prepares DIR/snapshots of the run and reads what goes along with every snapshot. config and layout outlive it. Errors: DISK, FAILED, USAGE. */
SL_MUST_USE enum sl_status ps_archive_open(struct ps_archive **ret_archive, const struct sl_config *config,
        const struct sl_layout *layout, struct sl_error *err);
/* ps_archive_close waits for the snapshot that is being written. */
void ps_archive_close(struct ps_archive *archive);

/* ps_archive_resume fills the table and ret_training from where `resume` says: "auto" (newest whole snapshot; a fresh start when there is none), "never", or a
 * snapshot's folder. Fresh: initial values, then the weights of the files that `init` names. Damaged ones that are passed over are logged.
 * Errors: MISMATCH (another config or model: says so), BAD_DATA, NOT_FOUND. */
SL_MUST_USE enum sl_status ps_archive_resume(struct ps_archive *archive, const char *resume,
        struct ps_table *table, struct ps_training *ret_training, struct sl_error *err);

/* ps_archive_save copies and starts writing; none may be on its way (asserted). best: link it as such. Errors: NO_MEMORY, USAGE. */
SL_MUST_USE enum sl_status ps_archive_save(struct ps_archive *archive, const struct ps_table *table,
        const struct ps_training *training, bool best, struct sl_error *err);

/* How the last save ended. */
struct ps_written {
    enum sl_status status;
    int64_t step;
    uint64_t size;                       /* bytes of tensors */
    double pause_seconds, write_seconds; /* of the loop; of the thread */
    bool best;
    struct sl_error error;
};

int ps_archive_fd(const struct ps_archive *archive);
/* ps_archive_take gives the end of a save. Errors: AGAIN. */
SL_MUST_USE enum sl_status ps_archive_take(struct ps_archive *archive, struct ps_written *ret_written);
