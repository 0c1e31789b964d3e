/* The coordinator's disk: see disk.h. */
#include "tests/simulation/disk.h"

#include "common/memory.h"

#include <assert.h>
#include <string.h>

static void snapshot_free(const struct sim_disk *disk, struct sim_snapshot **snapshot)
{
    if (*snapshot == NULL)
        return;
    for (int b = 0; b < disk->model->layout->block_count; b++)
        ps_block_state_fini(&(*snapshot)->blocks[b]);
    sl_free((*snapshot)->blocks);
    sl_free(*snapshot);
    *snapshot = NULL;
}

void sim_disk_init(struct sim_disk *disk, const struct sim_model *model)
{
    *disk = (struct sim_disk){.model = model};
}

void sim_disk_fini(struct sim_disk *disk)
{
    snapshot_free(disk, &disk->gathering);
    snapshot_free(disk, &disk->writing);
    snapshot_free(disk, &disk->newest);
}

void sim_disk_begin(struct sim_disk *disk, const struct ps_training *training)
{
    snapshot_free(disk, &disk->gathering);
    disk->gathering = sl_alloc(1, sizeof(*disk->gathering));
    assert(disk->gathering != NULL);
    disk->gathering->training = *training;
    disk->gathering->blocks =
            sl_alloc((size_t)disk->model->layout->block_count, sizeof(struct ps_block_state));
    assert(disk->gathering->blocks != NULL);
}

static struct sl_buffer *copy_frame(const struct sl_message *m, int frame)
{
    if (frame >= m->frame_count)
        return NULL;
    struct sl_buffer *buffer = sl_buffer_create(m->frames[frame].size);
    assert(buffer != NULL);
    memcpy(buffer->data, m->frames[frame].data, m->frames[frame].size);
    return buffer;
}

bool sim_disk_put(struct sim_disk *disk, const struct sl_message *m)
{
    if (disk->gathering == NULL || m->block >= (uint32_t)disk->model->layout->block_count ||
            disk->gathering->blocks[m->block].params != NULL)
        return false;
    struct ps_block_state *block = &disk->gathering->blocks[m->block];
    block->params = copy_frame(m, 0);
    block->m = copy_frame(m, 1);
    block->v = copy_frame(m, 2);
    return block->params != NULL;
}

int sim_disk_missing(const struct sim_disk *disk)
{
    int missing = 0;
    for (int b = 0; b < disk->model->layout->block_count; b++)
        missing += disk->gathering == NULL || disk->gathering->blocks[b].params == NULL;
    return missing;
}

void sim_disk_write(struct sim_disk *disk, int64_t done_us, bool fails)
{
    assert(disk->writing == NULL);
    disk->writing = SL_TAKE(disk->gathering);
    disk->write_fails = fails;
    disk->done_us = done_us;
}

void sim_disk_drop(struct sim_disk *disk)
{
    snapshot_free(disk, &disk->gathering);
}

bool sim_disk_end(struct sim_disk *disk)
{
    assert(disk->writing != NULL);
    if (disk->write_fails) {
        disk->failed++;
        snapshot_free(disk, &disk->writing);
        return false;
    }
    disk->written++;
    snapshot_free(disk, &disk->newest);
    disk->newest = SL_TAKE(disk->writing);
    return true;
}

void sim_disk_crash(struct sim_disk *disk)
{
    disk->torn += disk->writing != NULL;
    snapshot_free(disk, &disk->gathering);
    snapshot_free(disk, &disk->writing);
}

struct ps_training sim_disk_training(const struct sim_disk *disk)
{
    return disk->newest != NULL ? disk->newest->training : ps_training_begin();
}

struct sl_message *sim_disk_load(const struct sim_disk *disk, int block)
{
    const struct sl_layout *layout = disk->model->layout;
    size_t size = layout->blocks[block].count * sizeof(float);
    struct sl_message *m = sl_message_create(SL_MESSAGE_LOAD);
    assert(m != NULL);
    m->block = (uint32_t)block;
    m->count = sl_plan_epoch_slots(disk->model->plan);
    m->version = sim_disk_training(disk).step;
    if (disk->newest == NULL) {
        struct sl_buffer *initial = sl_buffer_create(size);
        assert(initial != NULL);
        memcpy(initial->data, disk->model->initial + layout->blocks[block].offset, size);
        sl_message_add_frame(m, initial, initial->data, size);
        sl_buffer_release(initial);
        return m;
    }
    const struct ps_block_state *state = &disk->newest->blocks[block];
    sl_message_add_frame(m, state->params, state->params->data, size);
    if (state->m != NULL)
        sl_message_add_frame(m, state->m, state->m->data, size);
    if (state->v != NULL)
        sl_message_add_frame(m, state->v, state->v->data, size);
    return m;
}
