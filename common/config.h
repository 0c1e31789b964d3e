#pragma once
/* The config: one YAML file for every role, checked whole before anything starts.
 *
 *     SL_AUTO(sl_config_destroy_auto) struct sl_config *config = NULL;
 *     enum sl_status s = sl_config_load(&config, "run.yaml", overrides, override_count, err);
 *
 * Loading reads the file, applies `--set key=value` overrides in order, checks every value and resolves what can be derived (the
 * vocabulary's size). An error names file, line, key, what was found and what is expected. No other module parses YAML.
 * Invariants after a successful load: modality_count >= 2, label_count >= 2, labels in order of duration, every heads divides its
 * hidden, patch divides image, all paths absolute or relative to the current directory (those of the file are made relative to it).
 */
#include "common/error.h"

#include <stdbool.h>
#include <stdint.h>

#define SL_NAME_MAX 64      /* bytes of a name with its 0: modality, label */
#define SL_PATH_MAX 1024    /* bytes of a path with its 0 */
#define SL_MODALITIES_MAX 8 /* modalities of a model */
#define SL_BRANCHES_MAX (SL_MODALITIES_MAX + 1)
#define SL_LABELS_MAX 256  /* classes */
#define SL_PATTERNS_MAX 16 /* freeze patterns of a modality */
#define SL_SCALES_MAX 32   /* learning-rate patterns of a modality */
#define SL_SLOTS_MAX 4096
#define SL_DURATION_INFINITE (-1)

enum sl_kind { SL_KIND_VIT, SL_KIND_BERT, SL_KIND_FEATURES };
enum sl_modulation_form {
    SL_FORM_EXCESS,
    SL_FORM_RATIO,
    SL_FORM_MLB,
    SL_FORM_PARETO,
    SL_FORM_CONSTANT,
    SL_FORM_REPLAY,
    SL_FORM_NONE
};
enum sl_modulation_scale { SL_SCALE_UNIMODAL, SL_SCALE_GRADIENT, SL_SCALE_UPDATE };
enum sl_statistics { SL_STATISTICS_STEP, SL_STATISTICS_MEAN, SL_STATISTICS_SLOT };
enum sl_exchange {
    SL_EXCHANGE_TAGGED,
    SL_EXCHANGE_EARLY
}; /* what workers push: a gradient per branch, or one */
enum sl_optimiser_kind { SL_OPTIMISER_ADAMW, SL_OPTIMISER_SGD };
enum sl_second_moment { SL_SECOND_BOUND, SL_SECOND_MODULATED };
enum sl_clip_by {
    SL_CLIP_BY_UNMODULATED,
    SL_CLIP_BY_MODULATED
}; /* whose global norm clip_norm is compared with */
enum sl_schedule { SL_SCHEDULE_CONSTANT, SL_SCHEDULE_COSINE, SL_SCHEDULE_LINEAR };
enum sl_class_weights { SL_WEIGHTS_NONE, SL_WEIGHTS_BALANCED };
enum sl_locality { SL_LOCALITY_SAMPLES, SL_LOCALITY_SHARDS };
enum sl_missing { SL_MISSING_WAIT, SL_MISSING_SKIP };
enum sl_consistency { SL_CONSISTENCY_BSP, SL_CONSISTENCY_SSP, SL_CONSISTENCY_ASP };
enum sl_shared_memory { SL_SHARED_MEMORY_AUTO, SL_SHARED_MEMORY_OFF };
enum sl_wire_numbers { SL_WIRE_F32, SL_WIRE_BF16 }; /* what pushed gradients are sent as */
enum sl_storage { SL_STORAGE_RAW, SL_STORAGE_JPEG };
enum sl_metric { SL_METRIC_ACCURACY, SL_METRIC_MACRO_F1, SL_METRIC_LOSS }; /* the loss is better when less */

struct sl_label_config {
    char name[SL_NAME_MAX];
    int64_t duration_s; /* seconds after publication that the video stays worth recommending; SL_DURATION_INFINITE = evergreen */
};

/* The learning rate of the parameters that match, as a share of the schedule's. */
struct sl_lr_scale {
    char pattern[SL_NAME_MAX * 2]; /* fnmatch */
    float scale;
};

struct sl_modality_config {
    char name[SL_NAME_MAX];
    enum sl_kind kind;
    int hidden;             /* features per token */
    int layers, heads, mlp; /* vit, bert */
    float dropout;          /* of the outputs of embeddings, attention and feed-forward; 0 = none */
    char init[SL_PATH_MAX]; /* safetensors with pretrained weights; "" = random */
    char freeze[SL_PATTERNS_MAX][SL_NAME_MAX * 2]; /* fnmatch patterns of parameter names that do not train */
    int freeze_count;
    struct sl_lr_scale lr_scale[SL_SCALES_MAX]; /* the last that matches a parameter counts; no match = 1 */
    int lr_scale_count;
    /* vit */
    int image, patch;        /* pixels, square */
    int frames;              /* most frames of a sample */
    float mean[3], std[3];   /* of pixel values in 0..1, R G B; x = (u8 / 255 - mean) / std */
    enum sl_storage storage; /* of frames in the dataset */
    int jpeg_quality;        /* 1..100, for SL_STORAGE_JPEG */
    /* bert */
    char vocab[SL_PATH_MAX]; /* vocab.txt as Hugging Face has it */
    int vocab_size;          /* lines of vocab; filled in at load when not given */
    int max_tokens;          /* most tokens of a sample, with [CLS] and [SEP] */
    int max_position;        /* rows of the position table, >= max_tokens */
    bool lower_case;
    /* features */
    int input;     /* numbers per token of the stored array (`in` in the file) */
    int max_items; /* most tokens of a sample (`max_items`) */
};

/* Numbers by modality, in config order. */
struct sl_numbers {
    double values[SL_MODALITIES_MAX];
    int count;
};

struct sl_modulation_config {
    enum sl_modulation_form form;
    enum sl_modulation_scale scale; /* what k scales */
    double alpha;
    double beta_max; /* most k of SL_FORM_MLB: >= 1 */
    double gamma;    /* of SL_FORM_PARETO: scales the combined gradient */
    enum sl_statistics statistics;
    double decay;               /* of the exponential mean of scores, for SL_STATISTICS_MEAN: in [0, 1) */
    double dead_zone;           /* k = 1 where |ln rho| < dead_zone */
    double floor;               /* least k */
    int64_t start, end;         /* steps [start, end) in which k applies; end -1 = none */
    struct sl_numbers constant; /* k of SL_FORM_CONSTANT */
    enum sl_exchange exchange;
    char replay[SL_PATH_MAX];         /* .npy of SL_FORM_REPLAY; "" = none */
    uint64_t replay_hash;             /* of that file; filled in at load, 0 = it is not there */
    bool unscored[SL_MODALITIES_MAX]; /* loss weight 0: its head learns nothing; filled in at load */
};

struct sl_config {
    char path[SL_PATH_MAX]; /* the file it came from */
    struct sl_label_config labels[SL_LABELS_MAX];
    int label_count;
    struct {
        char train[SL_PATH_MAX], validation[SL_PATH_MAX];
        enum sl_locality locality; /* whether a slot's samples may lie in any shard or in one */
        enum sl_missing missing;   /* what becomes of slots whose shard no living worker can read */
    } dataset;
    struct sl_modality_config modalities[SL_MODALITIES_MAX];
    int modality_count;
    struct {
        int dim, heads, layers, mlp;
        float dropout;
    } fusion;
    struct {
        float weight[SL_BRANCHES_MAX]; /* by modality, the fused branch last (index modality_count) */
        float label_smoothing;
        enum sl_class_weights class_weights;
    } loss;
    struct sl_modulation_config modulation;
    struct {
        enum sl_optimiser_kind kind;
        float lr, beta1, beta2, eps, weight_decay, momentum;
        float clip_norm; /* 0 = no clipping */
        enum sl_clip_by clip_by;
        enum sl_second_moment second_moment;
        enum sl_schedule schedule;
        int64_t warmup_steps;
        float min_lr_ratio; /* the schedule ends at lr * min_lr_ratio */
    } optimiser;
    struct {
        int slots, slot_size;
    } batch;
    int epochs;
    int64_t max_steps; /* 0 = epochs decide */
    uint64_t seed;
    struct {
        enum sl_consistency mode;
        int staleness;
    } consistency;
    struct {
        char dir[SL_PATH_MAX]; /* the run's directory: snapshots, metrics.jsonl, config.resolved.yaml, logs */
        int64_t every_steps;   /* 0 = at the end of each epoch only */
        int keep;              /* newest snapshots kept; the best is kept besides */
        char keep_best
                [SL_NAME_MAX]; /* BRANCH.accuracy | BRANCH.macro_f1 | BRANCH.loss, such as fused.accuracy */
        bool tensorboard;      /* event files in dir/tensorboard besides metrics.jsonl */
        bool profile;          /* where the time of steps goes, in metrics.jsonl and as a table at the end */
    } snapshots;
    struct {
        int patience; /* validations without a better keep_best metric before training stops; 0 = off */
        double min_delta;
    } early_stopping;
    struct {
        char coordinator[SL_PATH_MAX]; /* endpoint, tcp://HOST:PORT, port 0 = any */
        int servers, workers, threads; /* threads per worker; 0 = all cores shared out */
        int threads_per_slot;          /* that compute a slot together; 0 = by the size of the model */
        int server_threads;            /* threads per server; 0 = all cores, as many as pay at most */
        int activations_mb; /* MiB of activations that a worker keeps between forward and backward, exchange early */
        char status[SL_PATH_MAX]; /* endpoint of what is published for whoever watches; "" = nothing */
        char keys[SL_PATH_MAX];
        bool insecure;
        int64_t heartbeat_ms, timeout_ms, resend_ms;
        int64_t join_ms; /* how long a worker or server looks for the coordinator, at its start and after losing it */
        double straggler; /* a run that takes so many times what was expected is given to an idle worker too */
        double audit;     /* share of steps in which a node is computed twice and compared */
        char bind[SL_PATH_MAX]; /* where servers other than the first listen */
        enum sl_wire_numbers wire;
        enum sl_shared_memory shared_memory; /* between processes of one machine */
        int64_t shared_memory_mib;           /* of each process at most; 0 = half of the machine's */
    } cluster;
};

/* sl_config_load reads and checks the file. overrides are "section.key=value" texts with YAML values, list items by index
 * ("modalities.0.layers=2") or by name ("modalities.text.layers=2"). Owns: *ret_config, destroy it. Errors: USAGE, NOT_FOUND as USAGE. */
SL_MUST_USE enum sl_status sl_config_load(struct sl_config **ret_config, const char *path,
        const char *const *overrides, int override_count, struct sl_error *err);

/* sl_config_parse is sl_config_load on text in memory; name stands for the file in errors, base_dir makes relative paths absolute. Any
 * bytes are an error at worst, never a crash (fuzzed). resolve = false skips what needs other files (the vocabulary). */
SL_MUST_USE enum sl_status sl_config_parse(struct sl_config **ret_config, const char *text, size_t size,
        const char *name, const char *base_dir, const char *const *overrides, int override_count,
        bool resolve, struct sl_error *err);

void sl_config_destroy(struct sl_config *config);
void sl_config_destroy_auto(struct sl_config **config);

/* sl_config_dump writes the whole resolved config as YAML that loads to the same config again. Owns: *ret_text, sl_free it. */
SL_MUST_USE enum sl_status sl_config_dump(
        char **ret_text, const struct sl_config *config, struct sl_error *err);

/* sl_config_hash covers all that changes the training's result (labels, model, loss, modulation, optimiser, batch, epochs, seed,
 * consistency, cluster.wire) and nothing that does not (paths, the rest of cluster, snapshots): peers and snapshots with another hash do not fit. */
SL_MUST_USE enum sl_status sl_config_hash(
        uint64_t *ret_hash, const struct sl_config *config, struct sl_error *err);

/* sl_config_branch_name gives "visual", "text", … or "fused" for branch modality_count. Never NULL. */
const char *sl_config_branch_name(const struct sl_config *config, int branch);
/* sl_config_find_label and _modality give the index or -1. */
int sl_config_find_label(const struct sl_config *config, const char *name);
int sl_config_find_modality(const struct sl_config *config, const char *name);

/* sl_config_find_metric splits "BRANCH.METRIC", such as snapshots.keep_best; false when there is no such branch or metric. */
bool sl_config_find_metric(
        const struct sl_config *config, const char *text, int *ret_branch, enum sl_metric *ret_metric);
