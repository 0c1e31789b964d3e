/* The table of all keys: see config_schema.h. docs/config.md says what they mean; a test compares both. */
#include "common/config_schema.h"

static const char *const kind_words[] = {"vit", "bert", "features", NULL};
static const char *const form_words[] = {"excess", "ratio", "none", NULL};
static const char *const statistics_words[] = {"step", "mean", NULL};
static const char *const optimiser_words[] = {"adamw", "sgd", NULL};
static const char *const moment_words[] = {"bound", "modulated", NULL};
static const char *const schedule_words[] = {"constant", "cosine", "linear", NULL};
static const char *const weights_words[] = {"none", "balanced", NULL};
static const char *const consistency_words[] = {"bsp", "ssp", "asp", NULL};
static const char *const storage_words[] = {"raw", "jpeg", NULL};

#define MILLION 1e6
#define STEPS_MAX 1e12
#define VIT SL_KIND_BIT(SL_KIND_VIT)
#define BERT SL_KIND_BIT(SL_KIND_BERT)
#define FEATURES SL_KIND_BIT(SL_KIND_FEATURES)

#define AT(member) .offset = offsetof(struct sl_config, member)
#define IN_LABEL(member) .offset = offsetof(struct sl_label_config, member)
#define IN_MODALITY(member) .offset = offsetof(struct sl_modality_config, member)
#define RANGE(least, most) .min = (least), .max = (most)
#define RESULT .result = true

static const struct sl_field label_fields[] = {
        {.key = "name", .type = SL_FIELD_LABEL, IN_LABEL(name), RESULT},
        {.key = "duration", .type = SL_FIELD_DURATION, IN_LABEL(duration_s), RESULT},
};

static const struct sl_field dataset_fields[] = {
        {.key = "train", .type = SL_FIELD_PATH, AT(dataset.train)},
        {.key = "validation", .type = SL_FIELD_PATH, AT(dataset.validation), .fallback = "none", .none = true},
};

static const struct sl_field modality_fields[] = {
        {.key = "name", .type = SL_FIELD_NAME, IN_MODALITY(name), .kinds = SL_KINDS_ALL, RESULT},
        {.key = "kind", .type = SL_FIELD_WORD, IN_MODALITY(kind), .words = kind_words, .kinds = SL_KINDS_ALL, RESULT},
        {.key = "hidden", .type = SL_FIELD_INT, IN_MODALITY(hidden), RANGE(1, 16384), .kinds = SL_KINDS_ALL, RESULT},
        {.key = "layers", .type = SL_FIELD_INT, IN_MODALITY(layers), RANGE(1, 128), .kinds = VIT | BERT, RESULT},
        {.key = "heads", .type = SL_FIELD_INT, IN_MODALITY(heads), RANGE(1, 256), .kinds = VIT | BERT, RESULT},
        {.key = "mlp", .type = SL_FIELD_INT, IN_MODALITY(mlp), RANGE(1, 65536), .derived = "4 * hidden",
                .kinds = VIT | BERT, RESULT},
        {.key = "dropout", .type = SL_FIELD_FLOAT, IN_MODALITY(dropout), RANGE(0, 1), .below = true, .fallback = "0",
                .kinds = SL_KINDS_ALL, RESULT},
        {.key = "init", .type = SL_FIELD_PATH, IN_MODALITY(init), .fallback = "none", .none = true, .kinds = SL_KINDS_ALL},
        {.key = "freeze", .type = SL_FIELD_PATTERNS, IN_MODALITY(freeze), .fallback = "[]", .kinds = SL_KINDS_ALL, RESULT},
        {.key = "image", .type = SL_FIELD_INT, IN_MODALITY(image), RANGE(1, 2048), .kinds = VIT, RESULT},
        {.key = "patch", .type = SL_FIELD_INT, IN_MODALITY(patch), RANGE(1, 2048), .kinds = VIT, RESULT},
        {.key = "frames", .type = SL_FIELD_INT, IN_MODALITY(frames), RANGE(1, 1024), .fallback = "4", .kinds = VIT, RESULT},
        {.key = "mean", .type = SL_FIELD_FLOATS, IN_MODALITY(mean), RANGE(0, 1), .count = 3, .fallback = "[0.5, 0.5, 0.5]",
                .kinds = VIT, RESULT},
        {.key = "std", .type = SL_FIELD_FLOATS, IN_MODALITY(std), RANGE(0, 1), .above = true, .count = 3,
                .fallback = "[0.5, 0.5, 0.5]", .kinds = VIT, RESULT},
        {.key = "storage", .type = SL_FIELD_WORD, IN_MODALITY(storage), .words = storage_words, .fallback = "raw",
                .kinds = VIT},
        {.key = "jpeg_quality", .type = SL_FIELD_INT, IN_MODALITY(jpeg_quality), RANGE(1, 100), .fallback = "90",
                .kinds = VIT},
        {.key = "vocab", .type = SL_FIELD_PATH, IN_MODALITY(vocab), .kinds = BERT},
        {.key = "vocab_size", .type = SL_FIELD_INT, IN_MODALITY(vocab_size), RANGE(5, 1 << 20),
                .derived = "lines of vocab", .kinds = BERT, RESULT},
        {.key = "max_tokens", .type = SL_FIELD_INT, IN_MODALITY(max_tokens), RANGE(3, 8192), .kinds = BERT, RESULT},
        {.key = "max_position", .type = SL_FIELD_INT, IN_MODALITY(max_position), RANGE(3, 65536), .derived = "max_tokens",
                .kinds = BERT, RESULT},
        {.key = "lower_case", .type = SL_FIELD_BOOL, IN_MODALITY(lower_case), .fallback = "true", .kinds = BERT, RESULT},
        {.key = "in", .type = SL_FIELD_INT, IN_MODALITY(input), RANGE(1, MILLION), .kinds = FEATURES, RESULT},
        {.key = "max_items", .type = SL_FIELD_INT, IN_MODALITY(max_items), RANGE(1, 65536), .fallback = "16",
                .kinds = FEATURES, RESULT},
};

static const struct sl_field fusion_fields[] = {
        {.key = "dim", .type = SL_FIELD_INT, AT(fusion.dim), RANGE(1, 16384), RESULT},
        {.key = "heads", .type = SL_FIELD_INT, AT(fusion.heads), RANGE(1, 256), RESULT},
        {.key = "layers", .type = SL_FIELD_INT, AT(fusion.layers), RANGE(1, 128), RESULT},
        {.key = "mlp", .type = SL_FIELD_INT, AT(fusion.mlp), RANGE(1, 65536), .derived = "4 * dim", RESULT},
        {.key = "dropout", .type = SL_FIELD_FLOAT, AT(fusion.dropout), RANGE(0, 1), .below = true, .fallback = "0", RESULT},
};

const struct sl_field sl_config_weight_field = {.key = "BRANCH", .type = SL_FIELD_FLOAT, RANGE(0, 1000), .fallback = "1",
        RESULT};

static const struct sl_field loss_fields[] = {
        {.key = "label_smoothing", .type = SL_FIELD_FLOAT, AT(loss.label_smoothing), RANGE(0, 1), .below = true,
                .fallback = "0", RESULT},
        {.key = "class_weights", .type = SL_FIELD_WORD, AT(loss.class_weights), .words = weights_words, .fallback = "none",
                RESULT},
};

static const struct sl_field modulation_fields[] = {
        {.key = "form", .type = SL_FIELD_WORD, AT(modulation.form), .words = form_words, .fallback = "excess", RESULT},
        {.key = "alpha", .type = SL_FIELD_DOUBLE, AT(modulation.alpha), RANGE(0, 100), .fallback = "0.5", RESULT},
        {.key = "statistics", .type = SL_FIELD_WORD, AT(modulation.statistics), .words = statistics_words,
                .fallback = "step", RESULT},
        {.key = "decay", .type = SL_FIELD_DOUBLE, AT(modulation.decay), RANGE(0, 1), .below = true, .fallback = "0.9",
                RESULT},
        {.key = "dead_zone", .type = SL_FIELD_DOUBLE, AT(modulation.dead_zone), RANGE(0, 100), .fallback = "0", RESULT},
        {.key = "floor", .type = SL_FIELD_DOUBLE, AT(modulation.floor), RANGE(0, 1), .fallback = "0", RESULT},
        {.key = "start", .type = SL_FIELD_INT64, AT(modulation.start), RANGE(0, STEPS_MAX), .fallback = "0", RESULT},
        {.key = "end", .type = SL_FIELD_INT64, AT(modulation.end), RANGE(1, STEPS_MAX), .fallback = "none", .none = true,
                .none_value = -1, RESULT},
};

static const struct sl_field optimiser_fields[] = {
        {.key = "kind", .type = SL_FIELD_WORD, AT(optimiser.kind), .words = optimiser_words, .fallback = "adamw", RESULT},
        {.key = "lr", .type = SL_FIELD_FLOAT, AT(optimiser.lr), RANGE(0, 100), .above = true, .fallback = "5e-4", RESULT},
        {.key = "betas", .type = SL_FIELD_FLOATS, AT(optimiser.beta1), RANGE(0, 1), .below = true, .count = 2,
                .fallback = "[0.9, 0.999]", RESULT},
        {.key = "eps", .type = SL_FIELD_FLOAT, AT(optimiser.eps), RANGE(0, 1), .above = true, .fallback = "1e-8", RESULT},
        {.key = "weight_decay", .type = SL_FIELD_FLOAT, AT(optimiser.weight_decay), RANGE(0, 100), .fallback = "0.05",
                RESULT},
        {.key = "momentum", .type = SL_FIELD_FLOAT, AT(optimiser.momentum), RANGE(0, 1), .below = true, .fallback = "0.9",
                RESULT},
        {.key = "clip_norm", .type = SL_FIELD_FLOAT, AT(optimiser.clip_norm), RANGE(0, MILLION), .fallback = "1",
                .none = true, RESULT},
        {.key = "second_moment", .type = SL_FIELD_WORD, AT(optimiser.second_moment), .words = moment_words,
                .fallback = "bound", RESULT},
        {.key = "schedule", .type = SL_FIELD_WORD, AT(optimiser.schedule), .words = schedule_words, .fallback = "cosine",
                RESULT},
        {.key = "warmup_steps", .type = SL_FIELD_INT64, AT(optimiser.warmup_steps), RANGE(0, STEPS_MAX), .fallback = "0",
                RESULT},
        {.key = "min_lr_ratio", .type = SL_FIELD_FLOAT, AT(optimiser.min_lr_ratio), RANGE(0, 1), .fallback = "0", RESULT},
};
_Static_assert(offsetof(struct sl_config, optimiser.beta2) == offsetof(struct sl_config, optimiser.beta1) + sizeof(float),
        "betas are read as one list");

static const struct sl_field batch_fields[] = {
        {.key = "slots", .type = SL_FIELD_INT, AT(batch.slots), RANGE(1, SL_SLOTS_MAX), .fallback = "8", RESULT},
        {.key = "slot_size", .type = SL_FIELD_INT, AT(batch.slot_size), RANGE(1, 4096), .fallback = "8", RESULT},
};

static const struct sl_field top_fields[] = {
        {.key = "epochs", .type = SL_FIELD_INT, AT(epochs), RANGE(1, MILLION), .fallback = "10", RESULT},
        {.key = "max_steps", .type = SL_FIELD_INT64, AT(max_steps), RANGE(0, STEPS_MAX), .fallback = "none", .none = true,
                RESULT},
        {.key = "seed", .type = SL_FIELD_UINT64, AT(seed), .fallback = "1", RESULT},
};

static const struct sl_field consistency_fields[] = {
        {.key = "mode", .type = SL_FIELD_WORD, AT(consistency.mode), .words = consistency_words, .fallback = "bsp", RESULT},
        {.key = "staleness", .type = SL_FIELD_INT, AT(consistency.staleness), RANGE(0, MILLION), .fallback = "3", RESULT},
};

static const struct sl_field snapshots_fields[] = {
        {.key = "dir", .type = SL_FIELD_PATH, AT(snapshots.dir)},
        {.key = "every_steps", .type = SL_FIELD_INT64, AT(snapshots.every_steps), RANGE(0, STEPS_MAX), .fallback = "none",
                .none = true},
        {.key = "keep", .type = SL_FIELD_INT, AT(snapshots.keep), RANGE(1, 1000), .fallback = "3"},
        {.key = "keep_best", .type = SL_FIELD_METRIC, AT(snapshots.keep_best), .fallback = "fused.accuracy", .none = true},
};

static const struct sl_field early_stopping_fields[] = {
        {.key = "patience", .type = SL_FIELD_INT, AT(early_stopping.patience), RANGE(0, 10000), .fallback = "none",
                .none = true},
        {.key = "min_delta", .type = SL_FIELD_DOUBLE, AT(early_stopping.min_delta), RANGE(0, 1000), .fallback = "0"},
};

static const struct sl_field cluster_fields[] = {
        {.key = "coordinator", .type = SL_FIELD_ENDPOINT, AT(cluster.coordinator), .fallback = "tcp://127.0.0.1:0"},
        {.key = "servers", .type = SL_FIELD_INT, AT(cluster.servers), RANGE(1, 1024), .fallback = "1"},
        {.key = "workers", .type = SL_FIELD_INT, AT(cluster.workers), RANGE(1, 4096), .fallback = "1"},
        {.key = "threads", .type = SL_FIELD_INT, AT(cluster.threads), RANGE(0, 1024), .fallback = "0"},
        {.key = "keys", .type = SL_FIELD_PATH, AT(cluster.keys), .fallback = "none", .none = true},
        {.key = "insecure", .type = SL_FIELD_BOOL, AT(cluster.insecure), .fallback = "false"},
        {.key = "heartbeat_ms", .type = SL_FIELD_INT64, AT(cluster.heartbeat_ms), RANGE(10, 3.6 * MILLION),
                .fallback = "2000"},
        {.key = "timeout_ms", .type = SL_FIELD_INT64, AT(cluster.timeout_ms), RANGE(20, 86.4 * MILLION),
                .fallback = "10000"},
};

#define FIELDS(array) .fields = (array), .field_count = (int)(sizeof(array) / sizeof((array)[0]))

/* Modalities come before what names them (loss, snapshots.keep_best). */
const struct sl_section sl_config_sections[] = {
        {.key = "labels", .shape = SL_SECTION_LIST, .offset = offsetof(struct sl_config, labels),
                .stride = sizeof(struct sl_label_config), .count_offset = offsetof(struct sl_config, label_count),
                .items_max = SL_LABELS_MAX, FIELDS(label_fields)},
        {.key = "dataset", FIELDS(dataset_fields)},
        {.key = "modalities", .shape = SL_SECTION_LIST, .offset = offsetof(struct sl_config, modalities),
                .stride = sizeof(struct sl_modality_config), .count_offset = offsetof(struct sl_config, modality_count),
                .items_max = SL_MODALITIES_MAX, FIELDS(modality_fields)},
        {.key = "fusion", FIELDS(fusion_fields)},
        {.key = "loss", .shape = SL_SECTION_LOSS, FIELDS(loss_fields)},
        {.key = "modulation", FIELDS(modulation_fields)},
        {.key = "optimiser", FIELDS(optimiser_fields)},
        {.key = "batch", FIELDS(batch_fields)},
        {.key = "", FIELDS(top_fields)},
        {.key = "consistency", FIELDS(consistency_fields)},
        {.key = "snapshots", FIELDS(snapshots_fields)},
        {.key = "early_stopping", FIELDS(early_stopping_fields)},
        {.key = "cluster", FIELDS(cluster_fields)},
};
const int sl_config_section_count = (int)(sizeof(sl_config_sections) / sizeof(sl_config_sections[0]));
