#pragma once
/* The coordinator's disk: snapshots that are whole, being written, failed or torn. It outlives every process. What the archive does with real files is tested with real files. */
#include "ps/coordinator.h"
#include "ps/table.h"
#include "tests/simulation/model.h"

struct sim_snapshot {
    struct ps_training training;
    struct ps_block_state *blocks; /* (block_count,), params NULL = not in */
};

struct sim_disk {
    const struct sim_model *model;
    struct sim_snapshot *gathering; /* begun, its blocks are coming */
    struct sim_snapshot *writing;
    bool write_fails;
    int64_t done_us;             /* when the writing ends */
    struct sim_snapshot *newest; /* whole */
    uint64_t written, failed, torn;
};

void sim_disk_init(struct sim_disk *disk, const struct sim_model *model);
void sim_disk_fini(struct sim_disk *disk);

void sim_disk_begin(struct sim_disk *disk, const struct ps_training *training);
/* sim_disk_put retains the frames of a SAVED. False: no such block, in twice, or nothing was begun. */
bool sim_disk_put(struct sim_disk *disk, const struct sl_message *message);
int sim_disk_missing(const struct sim_disk *disk); /* blocks of what is gathered */
void sim_disk_write(struct sim_disk *disk, int64_t done_us, bool fails);
void sim_disk_drop(struct sim_disk *disk);  /* what is gathered */
bool sim_disk_end(struct sim_disk *disk);   /* the writing has ended: whether it went well */
void sim_disk_crash(struct sim_disk *disk); /* the process died: what is not whole will never be */

/* sim_disk_training is where a process that starts now begins; sim_disk_load makes a LOAD of a block of it. */
struct ps_training sim_disk_training(const struct sim_disk *disk);
struct sl_message *sim_disk_load(const struct sim_disk *disk, int block);
