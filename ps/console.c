/* The terminal: see console.h. */
#include "ps/console.h"

#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>

void ps_console_step(struct ps_console *console, const struct sl_config *config, int64_t total_steps,
        const struct ps_step_record *r)
{
    if (!console->begun)
        sl_progress_begin(
                &console->progress, &(struct sl_progress_options){.title = "train",
                                            .unit = "samples",
                                            .scale = (double)config->batch.slots * config->batch.slot_size,
                                            .total = total_steps,
                                            .done = r->step - 1});
    console->begun = true;
    char note[SL_PROGRESS_NOTE_MAX];
    int used = snprintf(note, sizeof(note), "epoch %" PRId64 "/%d loss", r->epoch + 1, config->epochs);
    for (int b = 0; b <= config->modality_count && used > 0 && (size_t)used < sizeof(note); b++)
        used += snprintf(note + used, sizeof(note) - (size_t)used, " %s %.3f",
                sl_config_branch_name(config, b), r->loss[b]);
    sl_progress_update(&console->progress, r->step, "%s", note);
}

void ps_console_validation(const struct sl_config *config, const struct ps_action *action, int64_t epoch)
{
    char text[1024] = "";
    int used = 0;
    for (int b = 0; b <= config->modality_count && (size_t)used < sizeof(text); b++)
        used += snprintf(text + used, sizeof(text) - (size_t)used, " %s.loss=%.4f %s.accuracy=%.4f",
                sl_config_branch_name(config, b), sl_evaluation_metric(action->evaluation, b, SL_METRIC_LOSS),
                sl_config_branch_name(config, b),
                sl_evaluation_metric(action->evaluation, b, SL_METRIC_ACCURACY));
    sl_log(SL_LOG_INFO, "train", "validation", "epoch=%" PRId64 "%s best=%s", epoch, text,
            action->best ? "yes" : "no");
}

void ps_console_end(struct ps_console *console)
{
    if (console->begun)
        sl_progress_end(&console->progress);
    console->begun = false;
}
