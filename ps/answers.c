/* What is sent of a block: see answers.h. */
#include "ps/answers.h"

#include "common/memory.h"
#include "common/mutant.h"

enum what { ALL, LINES, NOTHING };

struct ps_answer {
    int64_t held, version; /* for who holds that one of the block at this one */
    enum what what;
    struct sl_buffer *lines; /* of LINES */
};

enum sl_status ps_answers_init(struct ps_answers *answers, const struct ps_table *table,
        const struct sl_layout *layout, struct sl_error *err)
{
    size_t most = 0;
    for (int b = 0; b < layout->block_count; b++)
        most = layout->blocks[b].count > most ? layout->blocks[b].count : most;
    *answers = (struct ps_answers){.table = table,
            .layout = layout,
            .last = sl_alloc((size_t)layout->block_count, sizeof(*answers->last)),
            .lines = sl_alloc(sl_encoding_bitmap_size(most), 1),
            .nothing = sl_buffer_create(1)};
    if (answers->last == NULL || answers->lines == NULL || answers->nothing == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for answers to pulls");
    for (int b = 0; b < layout->block_count; b++)
        answers->last[b].version = -1;
    return SL_OK;
}

void ps_answers_fini(struct ps_answers *answers)
{
    for (int b = 0; answers->last != NULL && b < answers->layout->block_count; b++)
        sl_buffer_release(answers->last[b].lines);
    sl_free(answers->last);
    sl_free(answers->lines);
    sl_buffer_release(answers->nothing);
    *answers = (struct ps_answers){0};
}

/* What the lines in answers->lines need is more than half of the block: copying them is not worth it. */
static bool is_much(const struct ps_answers *answers, int block, size_t size)
{
    return size > answers->layout->blocks[block].count * sizeof(float) / 2;
}

static struct sl_buffer *write_lines(const struct ps_answers *answers, int block, size_t size)
{
    struct sl_buffer *lines = sl_buffer_create_unset(size), *values = ps_table_share(answers->table, block);
    if (lines != NULL)
        sl_encoding_put_changed(
                values->data, answers->lines, answers->layout->blocks[block].count, lines->data);
    sl_buffer_release(values);
    return lines;
}

/* What goes to who holds that version: found now, or for another worker before. */
static enum sl_status find(struct ps_answers *answers, int block, int64_t held, struct sl_error *err)
{
    struct ps_answer *answer = &answers->last[block],
                     new = {held, ps_table_version(answers->table, block), ALL, NULL};
    if (answer->held == held && answer->version == new.version)
        return SL_OK;
    if (ps_table_changed_since(answers->table, block, held, answers->lines)) {
        size_t size = sl_encoding_changed_size(answers->lines, answers->layout->blocks[block].count);
        new.what = size == 0 ? NOTHING : is_much(answers, block, size) ? ALL : LINES;
        new.lines = new.what == LINES ? write_lines(answers, block, size) : NULL;
        if (new.what == LINES &&new.lines == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu bytes of changed parameters", size);
    }
    sl_buffer_release(answer->lines);
    *answer = new;
    return SL_OK;
}

static void add_all(const struct ps_answers *answers, int block, struct sl_message *params)
{
    struct sl_buffer *values = ps_table_share(answers->table, block);
    sl_message_add_frame(params, values, values->data, answers->layout->blocks[block].count * sizeof(float));
    sl_buffer_release(values);
}

enum sl_status ps_answers_put(
        struct ps_answers *answers, int block, int64_t held, struct sl_message *params, struct sl_error *err)
{
    enum sl_status status = find(answers, block, held, err);
    if (status != SL_OK)
        return status;
    const struct ps_answer *answer = &answers->last[block];
    params->block = (uint32_t)block;
    params->version = answer->version;
    if (answer->what == ALL) {
        add_all(answers, block, params);
        return SL_OK;
    }
    params->encoding[0] = SL_ENCODING_CHANGED;
    params->held = held;
    if (sl_mutant("server: a pull is answered relative to a version that the worker does not hold"))
        params->held = answer->version;
    if (answer->what == NOTHING)
        sl_message_add_frame(params, answers->nothing, answers->nothing->data, 0);
    else
        sl_message_add_frame(params, answer->lines, answer->lines->data, answer->lines->size);
    return SL_OK;
}
