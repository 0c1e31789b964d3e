/* Checks that need more than one value of the config, and values that follow from others. See config_schema.h. */
#include "common/config_schema.h"

#include "common/file.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 192 /* of a key path: names have at most SL_NAME_MAX */
#define PARENT_BYTES (SL_NAME_MAX + 16)

/* "choose 4 or 6": the divisors of n next to wanted, below and above */
static const char *divisor_hint(char *text, size_t size, int n, int wanted)
{
    int below = wanted < n ? wanted : n, above = wanted;
    while (below > 1 && n % below != 0)
        below--;
    while (above < n && n % above != 0)
        above++;
    if (above <= n && above != below)
        (void)snprintf(text, size, "choose a divisor such as %d or %d", below, above);
    else
        (void)snprintf(text, size, "choose a divisor such as %d", below);
    return text;
}

static enum sl_status check_divides(const struct sl_config_reader *reader, const char *parent,
        const char *key, int value, const char *other_key, int other)
{
    if (other % value == 0)
        return SL_OK;
    char path[PATH_BYTES], hint[80];
    (void)snprintf(path, sizeof(path), "%.*s.%s", PARENT_BYTES, parent, key);
    return sl_config_fail(reader, path, "%d does not divide %s %d; %s", value, other_key, other,
            divisor_hint(hint, sizeof(hint), other, value));
}

static enum sl_status check_labels(const struct sl_config *config, const struct sl_config_reader *reader)
{
    for (int i = 1; i < config->label_count; i++) {
        int64_t before = config->labels[i - 1].duration_s, now = config->labels[i].duration_s;
        bool longer = before != SL_DURATION_INFINITE && (now == SL_DURATION_INFINITE || now > before);
        if (longer)
            continue;
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "labels.%d.duration", i);
        return sl_config_fail(reader, path,
                "is not longer than that of the label before it, \"%s\"; list labels from the shortest to "
                "the longest",
                config->labels[i - 1].name);
    }
    return SL_OK;
}

static enum sl_status check_vit(
        struct sl_modality_config *modality, const char *path, const struct sl_config_reader *reader)
{
    enum sl_status s = check_divides(reader, path, "patch", modality->patch, "image", modality->image);
    if (s == SL_OK)
        s = check_divides(reader, path, "heads", modality->heads, "hidden", modality->hidden);
    return s;
}

static enum sl_status check_bert(struct sl_modality_config *modality, const char *path,
        const struct sl_config_reader *reader, bool resolve)
{
    enum sl_status s = check_divides(reader, path, "heads", modality->heads, "hidden", modality->hidden);
    if (s != SL_OK)
        return s;
    if (modality->max_position == 0)
        modality->max_position = modality->max_tokens;
    if (modality->max_position < modality->max_tokens) {
        char whole[PATH_BYTES];
        (void)snprintf(whole, sizeof(whole), "%.*s.max_position", PARENT_BYTES, path);
        return sl_config_fail(reader, whole, "%d is less than max_tokens %d; every token needs a position",
                modality->max_position, modality->max_tokens);
    }
    return resolve ? sl_config_check_vocabulary(modality, reader) : SL_OK;
}

static enum sl_status check_modalities(
        struct sl_config *config, const struct sl_config_reader *reader, bool resolve)
{
    for (int m = 0; m < config->modality_count; m++) {
        struct sl_modality_config *modality = &config->modalities[m];
        char path[PATH_BYTES];
        (void)snprintf(path, sizeof(path), "modalities.%s", modality->name);
        if (modality->kind != SL_KIND_FEATURES && modality->mlp == 0)
            modality->mlp = 4 * modality->hidden;
        enum sl_status s = SL_OK;
        if (modality->kind == SL_KIND_VIT)
            s = check_vit(modality, path, reader);
        else if (modality->kind == SL_KIND_BERT)
            s = check_bert(modality, path, reader, resolve);
        if (s != SL_OK)
            return s;
    }
    return SL_OK;
}

static enum sl_status check_fusion(struct sl_config *config, const struct sl_config_reader *reader)
{
    if (config->fusion.mlp == 0)
        config->fusion.mlp = 4 * config->fusion.dim;
    return check_divides(reader, "fusion", "heads", config->fusion.heads, "dim", config->fusion.dim);
}

static enum sl_status check_loss(const struct sl_config *config, const struct sl_config_reader *reader)
{
    for (int branch = 0; branch <= config->modality_count; branch++)
        if (config->loss.weight[branch] > 0.0F)
            return SL_OK;
    return sl_config_fail(reader, "loss",
            "every weight is 0, so nothing would be learned; give one branch a weight above 0");
}

/* Slots are modulated where they are computed, from their own scores: nothing else is known there. */
static enum sl_status check_slot_statistics(
        const struct sl_modulation_config *modulation, const struct sl_config_reader *reader)
{
    bool from_ratios = modulation->form == SL_FORM_EXCESS || modulation->form == SL_FORM_RATIO ||
                       modulation->form == SL_FORM_MLB;
    if (modulation->statistics != SL_STATISTICS_SLOT || modulation->form == SL_FORM_NONE)
        return SL_OK;
    if (!from_ratios)
        return sl_config_fail(reader, "modulation.statistics",
                "slot needs a form that follows from scores: excess, ratio or mlb");
    if (modulation->scale == SL_SCALE_UPDATE || modulation->start > 0 || modulation->end >= 0)
        return sl_config_fail(reader, "modulation.statistics",
                "slot scales gradients where they are computed; scale update and a window are the "
                "server's: leave them out");
    return SL_OK;
}

static enum sl_status check_modulation(
        struct sl_config *config, const struct sl_config_reader *reader, bool resolve)
{
    struct sl_modulation_config *modulation = &config->modulation;
    struct sl_error unknown = {0};
    for (int m = 0; m < config->modality_count; m++)
        modulation->unscored[m] = !(config->loss.weight[m] > 0.0F);
    if (modulation->form == SL_FORM_PARETO && modulation->scale != SL_SCALE_UNIMODAL)
        return sl_config_fail(
                reader, "modulation.scale", "form pareto weighs both branches itself; leave scale out");
    if (modulation->form == SL_FORM_CONSTANT && modulation->constant.count != config->modality_count)
        return sl_config_fail(reader, "modulation.constant",
                "form constant needs a coefficient for each of the %d modalities, in their order",
                config->modality_count);
    if (modulation->form == SL_FORM_REPLAY && modulation->replay[0] == 0)
        return sl_config_fail(reader, "modulation.form",
                "replay needs modulation.replay, a .npy file of coefficients by step and modality");
    /* not there: only who trains needs it, and says so */
    if (modulation->form == SL_FORM_REPLAY && resolve &&
            sl_file_hash(&modulation->replay_hash, modulation->replay, &unknown) != SL_OK)
        modulation->replay_hash = 0;
    return check_slot_statistics(modulation, reader);
}

/* What only gradients that arrive by branch can give: a server that gets their modulated sum has no unmodulated one. */
static enum sl_status check_exchange(const struct sl_config *config, const struct sl_config_reader *reader)
{
    if (config->modulation.exchange == SL_EXCHANGE_TAGGED)
        return SL_OK;
    const struct sl_modulation_config *modulation = &config->modulation;
    if (modulation->form == SL_FORM_PARETO || modulation->scale != SL_SCALE_UNIMODAL ||
            modulation->statistics == SL_STATISTICS_SLOT)
        return sl_config_fail(reader, "modulation.exchange",
                "early seeds one backward pass with the coefficients of the step's scores, on the unimodal "
                "branches; form pareto, scale gradient or update and statistics slot need exchange tagged");
    if (config->optimiser.kind == SL_OPTIMISER_ADAMW && config->optimiser.second_moment == SL_SECOND_BOUND)
        return sl_config_fail(reader, "modulation.exchange",
                "early sends one gradient, already modulated, and optimiser.second_moment bound needs the "
                "unmodulated one too; set optimiser.second_moment to modulated, or keep exchange tagged");
    if (config->optimiser.clip_norm > 0.0F && config->optimiser.clip_by == SL_CLIP_BY_UNMODULATED)
        return sl_config_fail(reader, "modulation.exchange",
                "early sends one gradient, already modulated, so that the norm of the unmodulated one is not "
                "known; set optimiser.clip_by to modulated or optimiser.clip_norm to none, or keep exchange "
                "tagged");
    return SL_OK;
}

static enum sl_status check_steps(const struct sl_config *config, const struct sl_config_reader *reader)
{
    if (config->modulation.end >= 0 && config->modulation.end <= config->modulation.start)
        return sl_config_fail(reader, "modulation.end",
                "%lld is not after start %lld; the window [start, end) would be empty",
                (long long)config->modulation.end, (long long)config->modulation.start);
    if (config->max_steps > 0 && config->optimiser.warmup_steps >= config->max_steps)
        return sl_config_fail(reader, "optimiser.warmup_steps",
                "%lld is not less than max_steps %lld; training would end while warming up",
                (long long)config->optimiser.warmup_steps, (long long)config->max_steps);
    return SL_OK;
}

static enum sl_status check_metric(const struct sl_config *config, const struct sl_config_reader *reader)
{
    int branch = 0;
    enum sl_metric metric = SL_METRIC_ACCURACY;
    const char *text = config->snapshots.keep_best;
    if (text[0] != 0 && !sl_config_find_metric(config, text, &branch, &metric)) {
        char branches[400] = "fused";
        for (int m = 0; m < config->modality_count; m++) {
            size_t used = strlen(branches);
            (void)snprintf(branches + used, sizeof(branches) - used, ", %s", config->modalities[m].name);
        }
        return sl_config_fail(reader, "snapshots.keep_best",
                "\"%s\" names no branch and metric; expected BRANCH.METRIC with one of %s and one of "
                "accuracy, macro_f1, loss",
                text, branches);
    }
    if (config->early_stopping.patience == 0)
        return SL_OK;
    if (text[0] == 0)
        return sl_config_fail(
                reader, "early_stopping.patience", "needs a metric to watch; set snapshots.keep_best");
    if (config->dataset.validation[0] == 0)
        return sl_config_fail(reader, "early_stopping.patience", "needs validations; set dataset.validation");
    return SL_OK;
}

static enum sl_status check_cluster(const struct sl_config *config, const struct sl_config_reader *reader)
{
    if (config->cluster.timeout_ms < 2 * config->cluster.heartbeat_ms)
        return sl_config_fail(reader, "cluster.timeout_ms",
                "%lld is less than two heartbeats of %lld ms; one lost heartbeat would count as a death",
                (long long)config->cluster.timeout_ms, (long long)config->cluster.heartbeat_ms);
    return SL_OK;
}

enum sl_status sl_config_check(struct sl_config *config, const struct sl_config_reader *reader, bool resolve)
{
    enum sl_status s = check_labels(config, reader);
    if (s == SL_OK)
        s = check_fusion(config, reader);
    if (s == SL_OK)
        s = check_loss(config, reader);
    if (s == SL_OK)
        s = check_modulation(config, reader, resolve);
    if (s == SL_OK)
        s = check_exchange(config, reader);
    if (s == SL_OK)
        s = check_steps(config, reader);
    if (s == SL_OK)
        s = check_metric(config, reader);
    if (s == SL_OK)
        s = check_cluster(config, reader);
    if (s == SL_OK)
        s = check_modalities(config, reader, resolve); /* last: it may read files */
    return s;
}
