#pragma once
/* One run at a time in a folder: its coordinator holds RUN/.lock while it lives. The kernel lets go of it when the process ends, however it ends; on NFS it holds between machines
 * where the server keeps locks (version 4 does).
 *
 *     s = ps_run_lock_take(&lock, config->snapshots.dir, err);      // before anything else there is read or written
 *     ps_run_lock_release(lock);
 */
#include "common/error.h"

/* ps_run_lock_take makes the folder if need be. *ret_lock is a descriptor, -1 where the file system knows no locks. Errors: FAILED when another process holds it: the text
 * says which; DISK when the file cannot be made. */
SL_MUST_USE enum sl_status ps_run_lock_take(int *ret_lock, const char *folder, struct sl_error *err);
void ps_run_lock_release(int lock); /* -1 is fine */
