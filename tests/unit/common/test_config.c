/* The config: good files, every kind of bad one with its place, overrides, dump, hash, and that docs/config.md tells the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/config.h"
#include "common/config_schema.h"
#include "common/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char base_text[] =
        "labels:\n"
        "  - {name: day, duration: 24h}\n"
        "  - {name: week, duration: 7d}\n"
        "  - {name: evergreen, duration: inf}\n"
        "dataset: {train: data/train, validation: data/validation}\n"
        "modalities:\n"
        "  - {name: visual, kind: vit, image: 64, patch: 8, hidden: 192, layers: 4, heads: 3}\n"
        "  - {name: text, kind: bert, vocab: vocab.txt, vocab_size: 100, max_tokens: 48, hidden: 192, "
        "layers: 4, heads: 4}\n"
        "  - {name: audio, kind: features, in: 35, hidden: 24}\n"
        "fusion: {dim: 96, heads: 4, layers: 2}\n"
        "snapshots: {dir: runs/a}\n";

static enum sl_status parse(struct sl_config **ret_config, const char *text, const char *const *overrides,
        int count, struct sl_error *err)
{
    return sl_config_parse(ret_config, text, strlen(text), "run.yaml", NULL, overrides, count, false, err);
}

/* base_text with `old` replaced by `new`; old == NULL: new is appended. Owns: free */
static char *edit(const char *old, const char *new)
{
    char *text = NULL;
    const char *at = old == NULL ? base_text + strlen(base_text) : strstr(base_text, old);
    assert_non_null(at);
    size_t skip = old == NULL ? 0 : strlen(old);
    assert_true(asprintf(&text, "%.*s%s%s", (int)(at - base_text), base_text, new, at + skip) > 0);
    return text;
}

static void expect_error(const char *old, const char *new, const char *expected)
{
    char *text = edit(old, new);
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    enum sl_status s = parse(&config, text, NULL, 0, &err);
    if (s != SL_USAGE || strcmp(err.text, expected) != 0)
        fail_msg("status %d\n  got      %s\n  expected %s", s, err.text, expected);
    assert_null(config);
    free(text);
}

static void expect_override_error(const char *override, const char *expected)
{
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    enum sl_status s = parse(&config, base_text, &override, 1, &err);
    if (s != SL_USAGE || strcmp(err.text, expected) != 0)
        fail_msg("status %d\n  got      %s\n  expected %s", s, err.text, expected);
}

static void test_values_and_defaults(void **state)
{
    (void)state;
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    assert_int_equal(parse(&config, base_text, NULL, 0, &err), SL_OK);
    assert_int_equal(config->label_count, 3);
    assert_int_equal(config->labels[0].duration_s, 86400);
    assert_int_equal(config->labels[1].duration_s, 7 * 86400);
    assert_int_equal(config->labels[2].duration_s, SL_DURATION_INFINITE);
    assert_int_equal(config->modality_count, 3);
    const struct sl_modality_config *visual = &config->modalities[0], *text = &config->modalities[1];
    assert_int_equal(visual->mlp, 768);
    assert_int_equal(visual->frames, 4);
    assert_float_equal(visual->mean[2], 0.5, 0);
    assert_int_equal(visual->jpeg_quality, 90);
    assert_int_equal(visual->storage, SL_STORAGE_RAW);
    assert_string_equal(visual->init, "");
    assert_string_equal(text->vocab, "vocab.txt");
    assert_int_equal(text->max_position, 48);
    assert_true(text->lower_case);
    assert_int_equal(config->modalities[2].input, 35);
    assert_int_equal(config->modalities[2].max_items, 16);
    assert_int_equal(config->fusion.mlp, 384);
    for (int branch = 0; branch < 4; branch++)
        assert_float_equal(config->loss.weight[branch], 1.0, 0);
    assert_int_equal(config->modulation.form, SL_FORM_EXCESS);
    assert_float_equal(config->modulation.alpha, 0.5, 0);
    assert_float_equal(config->modulation.decay, 0.9, 0);
    assert_int_equal(config->modulation.end, -1);
    assert_float_equal(config->optimiser.beta1, 0.9F, 0);
    assert_float_equal(config->optimiser.beta2, 0.999F, 0);
    assert_float_equal(config->optimiser.lr, 5e-4F, 0);
    assert_int_equal(config->batch.slots, 8);
    assert_int_equal(config->epochs, 10);
    assert_int_equal(config->seed, 1);
    assert_int_equal(config->snapshots.every_steps, 0);
    assert_int_equal(config->snapshots.keep, 3);
    assert_string_equal(config->snapshots.keep_best, "fused.accuracy");
    assert_string_equal(config->cluster.coordinator, "tcp://127.0.0.1:0");
    assert_int_equal(config->cluster.heartbeat_ms, 500);
    assert_int_equal(config->early_stopping.patience, 0);
    sl_config_destroy(config);
}

static void test_every_section_reads(void **state)
{
    (void)state;
    char *text = edit(NULL, "loss: {visual: 0.5, fused: 2, label_smoothing: 0.1, class_weights: balanced}\n"
                            "modulation: {form: ratio, alpha: 0.8, statistics: mean, decay: 0.99, dead_zone: "
                            "0.1, floor: 0.2, start: 5, end: 500}\n"
                            "optimiser: {kind: sgd, lr: 1e-2, momentum: 0.8, clip_norm: none, schedule: "
                            "linear, warmup_steps: 50, min_lr_ratio: 0.1}\n"
                            "batch: {slots: 16, slot_size: 4}\n"
                            "epochs: 3\n"
                            "max_steps: 1000\n"
                            "seed: 18446744073709551615\n"
                            "consistency: {mode: ssp, staleness: 5}\n"
                            "early_stopping: {patience: 2, min_delta: 0.001}\n"
                            "cluster: {coordinator: 'tcp://[::1]:7000', servers: 2, workers: 3, threads: 1, "
                            "keys: keys, insecure: true, heartbeat_ms: 100, timeout_ms: 1000}\n");
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    enum sl_status s = parse(&config, text, NULL, 0, &err);
    if (s != SL_OK)
        fail_msg("%s", err.text);
    assert_float_equal(config->loss.weight[0], 0.5, 0);
    assert_float_equal(config->loss.weight[1], 1.0, 0);
    assert_float_equal(config->loss.weight[3], 2.0, 0);
    assert_int_equal(config->loss.class_weights, SL_WEIGHTS_BALANCED);
    assert_int_equal(config->modulation.form, SL_FORM_RATIO);
    assert_int_equal(config->modulation.statistics, SL_STATISTICS_MEAN);
    assert_int_equal(config->modulation.end, 500);
    assert_int_equal(config->optimiser.kind, SL_OPTIMISER_SGD);
    assert_float_equal(config->optimiser.clip_norm, 0.0, 0);
    assert_int_equal(config->max_steps, 1000);
    assert_true(config->seed == UINT64_MAX);
    assert_int_equal(config->consistency.mode, SL_CONSISTENCY_SSP);
    assert_int_equal(config->early_stopping.patience, 2);
    assert_true(config->cluster.insecure);
    assert_string_equal(config->cluster.coordinator, "tcp://[::1]:7000");
    sl_config_destroy(config);
    free(text);
}

static void test_structure_errors(void **state)
{
    (void)state;
    expect_error(NULL, "momentum: 3\n",
            "run.yaml:12:1: momentum: unknown key; expected one of labels, dataset, modalities, fusion, "
            "loss, modulation, "
            "optimiser, batch, epochs, max_steps, seed, consistency, snapshots, early_stopping, cluster");
    expect_error(NULL, "optimizer: {lr: 1}\n",
            "run.yaml:12:1: optimizer: unknown key; did you mean \"optimiser\"?");
    expect_error(NULL, "optimiser: {lr: 1, beats: [0, 0]}\n",
            "run.yaml:12:20: optimiser.beats: unknown key; did you mean \"betas\"?");
    expect_error(NULL, "fusion: {dim: 4}\n",
            "run.yaml:12:1: key \"fusion\" is given twice (before on line 10); remove one");
    expect_error(NULL, "batch: 8\n",
            "run.yaml:12:8: batch: found \"8\"; expected a map with keys such as \"slots: ...\"");
    expect_error("hidden: 192, layers: 4, heads: 3", "layers: 4, heads: 3",
            "run.yaml:7:5: modalities.visual.hidden: is missing; expected an integer from 1 to 16384");
    expect_error("kind: vit, ", "",
            "run.yaml:7:5: modalities.visual.kind: is missing; expected one of vit, bert, features");
    expect_error("kind: vit", "kind: cnn",
            "run.yaml:7:26: modalities.visual.kind: found \"cnn\"; expected one of vit, bert, features");
    expect_error("in: 35", "in: 35, patch: 3",
            "run.yaml:9:43: modalities.audio.patch: modalities of kind features have no such key; remove it");
    expect_error("in: 35", "in: 35, pitch: 3",
            "run.yaml:9:43: modalities.2.pitch: unknown key; did you mean \"patch\"?");
    expect_error(NULL, "a: &x 1\n",
            "run.yaml:12:4: anchors (&name) and aliases (*name) are not supported; write the value out, or "
            "in quotes");
    expect_error(NULL, "a: *x\n",
            "run.yaml:12:4: anchors (&name) and aliases (*name) are not supported; write the value out, or "
            "in quotes");
    expect_error(NULL, "a: !!int 1\n",
            "run.yaml:12:4: tags (!name) are not supported; write the plain value, or in quotes");
    expect_error(NULL, "a: [1\n",
            "run.yaml:13:1: is not YAML: while parsing a flow sequence, did not find expected ',' or ']'");
    expect_error(NULL, "---\na: 1\n", "run.yaml:12:1: holds a second document (---); keep one");
    expect_error(NULL, "? [a]\n: 1\n", "run.yaml:12:3: a key must be a word; found a map or list");
    expect_error(NULL, "seed: \"\\x01\"\n",
            "run.yaml:12:7: a text holds a control character or line break; take it out");
}

static void test_value_errors(void **state)
{
    (void)state;
    expect_error("layers: 4, heads: 3", "layers: four, heads: 3",
            "run.yaml:7:73: modalities.visual.layers: found \"four\"; expected an integer from 1 to 128");
    expect_error("layers: 4, heads: 3", "layers: 0, heads: 3",
            "run.yaml:7:73: modalities.visual.layers: found \"0\"; expected an integer from 1 to 128");
    expect_error("layers: 4, heads: 3", "layers: 4.0, heads: 3",
            "run.yaml:7:73: modalities.visual.layers: found \"4.0\"; expected an integer from 1 to 128");
    expect_error("layers: 4, heads: 3", "layers: [4], heads: 3",
            "run.yaml:7:73: modalities.visual.layers: found a list; expected an integer from 1 to 128");
    expect_error("layers: 4, heads: 3", "layers: , heads: 3",
            "run.yaml:7:73: modalities.visual.layers: found nothing; expected an integer from 1 to 128");
    expect_error(NULL, "optimiser: {lr: nan}\n",
            "run.yaml:12:17: optimiser.lr: found \"nan\"; expected a number above 0 up to 100");
    expect_error(NULL, "optimiser: {lr: 0}\n",
            "run.yaml:12:17: optimiser.lr: found \"0\"; expected a number above 0 up to 100");
    expect_error(NULL, "optimiser: {lr: 0x1}\n",
            "run.yaml:12:17: optimiser.lr: found \"0x1\"; expected a number above 0 up to 100");
    expect_error(NULL, "optimiser: {lr: 1e-60}\n",
            "run.yaml:12:17: optimiser.lr: found \"1e-60\"; expected a number above 0 up to 100");
    expect_error(NULL, "optimiser: {betas: [0.9, 1.0]}\n",
            "run.yaml:12:20: optimiser.betas: found a list; expected a list of 2 numbers from 0 to below 1");
    expect_error(NULL, "optimiser: {betas: [0.9]}\n",
            "run.yaml:12:20: optimiser.betas: found a list; expected a list of 2 numbers from 0 to below 1");
    expect_error(NULL, "seed: -1\n",
            "run.yaml:12:7: seed: found \"-1\"; expected an integer from 0 to 18446744073709551615");
    expect_error(NULL, "seed: 18446744073709551616\n",
            "run.yaml:12:7: seed: found \"18446744073709551616\"; expected an integer from 0 to "
            "18446744073709551615");
    expect_error(NULL, "cluster: {insecure: yes}\n",
            "run.yaml:12:21: cluster.insecure: found \"yes\"; expected true or false");
    expect_error(NULL, "cluster: {coordinator: localhost}\n",
            "run.yaml:12:24: cluster.coordinator: found \"localhost\"; expected tcp://HOST:PORT");
    expect_error(NULL, "cluster: {coordinator: 'tcp://a:70000'}\n",
            "run.yaml:12:24: cluster.coordinator: found \"tcp://a:70000\"; expected tcp://HOST:PORT");
    expect_error("duration: 7d", "duration: 7",
            "run.yaml:3:28: labels.1.duration: found \"7\"; expected a duration such as 90m, 24h, 7d, 2w or "
            "inf");
    expect_error("duration: 7d", "duration: 999999999999w",
            "run.yaml:3:28: labels.1.duration: found \"999999999999w\"; expected a duration such as 90m, "
            "24h, 7d, 2w or inf");
    expect_error("name: visual", "name: Visual",
            "run.yaml:7:12: modalities.0.name: found \"Visual\"; expected a name of a-z, 0-9 and _ that "
            "begins with a letter");
}

static void test_meaning_errors(void **state)
{
    (void)state;
    expect_error("duration: 7d", "duration: 24h",
            "run.yaml:3:28: labels.1.duration: is not longer than that of the label before it, \"day\"; list "
            "labels from the "
            "shortest to the longest");
    expect_error("name: week", "name: day",
            "run.yaml:3:12: labels.1.name: \"day\" is the name of an earlier label; give each its own");
    expect_error("name: audio", "name: text",
            "run.yaml:9:12: modalities.2.name: \"text\" is the name of an earlier modality; give each its "
            "own");
    expect_error("name: audio", "name: fused",
            "run.yaml:9:12: modalities.2.name: \"fused\" is reserved; choose another name");
    expect_error("layers: 4, heads: 4", "layers: 4, heads: 5",
            "run.yaml:8:112: modalities.text.heads: 5 does not divide hidden 192; choose a divisor such as 4 "
            "or 6");
    expect_error("patch: 8", "patch: 7",
            "run.yaml:7:49: modalities.visual.patch: 7 does not divide image 64; choose a divisor such as 4 "
            "or 8");
    expect_error("dim: 96, heads: 4", "dim: 96, heads: 100",
            "run.yaml:10:26: fusion.heads: 100 does not divide dim 96; choose a divisor such as 96");
    expect_error("max_tokens: 48", "max_tokens: 48, max_position: 20",
            "run.yaml:8:95: modalities.text.max_position: 20 is less than max_tokens 48; every token needs a "
            "position");
    expect_error(NULL, "loss: {visual: 0, text: 0, audio: 0, fused: 0}\n",
            "run.yaml:12:7: loss: every weight is 0, so nothing would be learned; give one branch a weight "
            "above 0");
    expect_error(
            NULL, "loss: {vision: 1}\n", "run.yaml:12:8: loss.vision: unknown key; did you mean \"visual\"?");
    expect_error(NULL, "modulation: {form: pareto, scale: update}\n",
            "run.yaml:12:35: modulation.scale: form pareto weighs both branches itself; leave scale out");
    expect_error(NULL, "modulation: {form: constant, constant: [1, 1]}\n",
            "run.yaml:12:40: modulation.constant: form constant needs a coefficient for each of the 3 "
            "modalities, in their order");
    expect_error(NULL, "modulation: {form: constant}\n",
            "run.yaml:12:13: modulation.constant: form constant needs a coefficient for each of the 3 "
            "modalities, in their order");
    expect_error(NULL, "modulation: {constant: [1, -1]}\n",
            "run.yaml:12:24: modulation.constant: found a list; expected a list of one number per modality "
            "from 0 to 100");
    expect_error(NULL, "modulation: {form: replay}\n",
            "run.yaml:12:20: modulation.form: replay needs modulation.replay, a .npy file of coefficients by "
            "step and modality");
    expect_error(NULL, "modulation: {form: pareto, statistics: slot}\n",
            "run.yaml:12:40: modulation.statistics: slot needs a form that follows from scores: excess, "
            "ratio "
            "or mlb");
    expect_error(NULL, "modulation: {statistics: slot, start: 3}\n",
            "run.yaml:12:26: modulation.statistics: slot scales gradients where they are computed; scale "
            "update and a window are the server's: leave them out");
    expect_error(NULL, "modulation: {start: 10, end: 10}\n",
            "run.yaml:12:30: modulation.end: 10 is not after start 10; the window [start, end) would be "
            "empty");
    expect_error(NULL, "modulation: {exchange: early}\n",
            "run.yaml:12:24: modulation.exchange: early sends one gradient, already modulated, and "
            "optimiser.second_moment bound needs the unmodulated one too; set optimiser.second_moment to "
            "modulated, or keep exchange tagged");
    expect_error(NULL, "modulation: {exchange: early}\noptimiser: {kind: sgd}\n",
            "run.yaml:12:24: modulation.exchange: early sends one gradient, already modulated, so that the "
            "norm of the unmodulated one is not known; set optimiser.clip_by to modulated or "
            "optimiser.clip_norm to none, or keep exchange tagged");
    expect_error(NULL, "max_steps: 10\noptimiser: {warmup_steps: 10}\n",
            "run.yaml:13:27: optimiser.warmup_steps: 10 is not less than max_steps 10; training would end "
            "while warming up");
    expect_error("dir: runs/a", "dir: runs/a, keep_best: sound.accuracy",
            "run.yaml:11:37: snapshots.keep_best: \"sound.accuracy\" names no branch and metric; expected "
            "BRANCH.METRIC with one "
            "of fused, visual, text, audio and one of accuracy, macro_f1, loss");
    expect_error("snapshots: {dir: runs/a}",
            "snapshots: {dir: runs/a, keep_best: none}\nearly_stopping: {patience: 2}",
            "run.yaml:12:28: early_stopping.patience: needs a metric to watch; set snapshots.keep_best");
    expect_error(", validation: data/validation}", "}\nearly_stopping: {patience: 2}",
            "run.yaml:6:28: early_stopping.patience: needs validations; set dataset.validation");
    expect_error(NULL, "cluster: {timeout_ms: 900}\n",
            "run.yaml:12:23: cluster.timeout_ms: 900 is less than two heartbeats of 500 ms; one lost "
            "heartbeat would count as a "
            "death");
}

static void expect_text_error(const char *text, const char *expected)
{
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    enum sl_status s = parse(&config, text, NULL, 0, &err);
    if (s != SL_USAGE || strcmp(err.text, expected) != 0)
        fail_msg("status %d\n  got      %s\n  expected %s", s, err.text, expected);
}

static void test_lists_and_whole_files(void **state)
{
    (void)state;
    expect_text_error("", "run.yaml:1:1: is empty; expected a value");
    expect_text_error("# only a comment\n", "run.yaml:2:1: is empty; expected a value");
    expect_text_error(
            "hello\n", "run.yaml:1:1: found \"hello\"; expected a map with keys such as \"labels: ...\"");
    expect_text_error("epochs: 3\n", "run.yaml:1:1: labels: is missing; expected a list of 2 to 256");
    expect_text_error("labels: []\n", "run.yaml:1:9: labels: has 0 items; expected 2 to 256");
    expect_text_error("labels: 3\n", "run.yaml:1:9: labels: found \"3\"; expected a list of 2 to 256");
    expect_text_error("labels: [{name: a, duration: 1h}, {name: b, duration: inf}]\ndataset: {train: "
                      "x}\nmodalities: [{name: text, kind: bert}]\n",
            "run.yaml:3:13: modalities: has 1 items; expected 2 to 8");
    expect_text_error("labels: [a, b]\n",
            "run.yaml:1:10: labels.0: found \"a\"; expected a map with keys such as \"name: ...\"");
    expect_text_error("[[[[[[[[[[[[[[[[[[[[[[[[", "run.yaml:1:17: nested deeper than 16 levels");
    expect_text_error("\xff\xfe", "run.yaml:1:1: is not YAML: invalid leading UTF-8 octet");
}

static void test_overrides(void **state)
{
    (void)state;
    const char *const overrides[] = {"modulation.alpha=0.25", "modalities.text.layers=2",
            "modalities.0.heads=4", "labels.week.duration=2w", "optimiser={kind: sgd, lr: 0.5}",
            "optimiser.lr=0.125", "seed=7", "snapshots.keep_best=none",
            "modalities.visual.freeze=[\"*.layer.0.*\"]",
            "modalities.text.lr_scale={\"bert.*\": 0.5, bert.embeddings.*: 0.125}"};
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    enum sl_status s = parse(&config, base_text, overrides, sizeof(overrides) / sizeof(overrides[0]), &err);
    if (s != SL_OK)
        fail_msg("%s", err.text);
    assert_float_equal(config->modulation.alpha, 0.25, 0);
    assert_int_equal(config->modalities[1].layers, 2);
    assert_int_equal(config->modalities[0].heads, 4);
    assert_int_equal(config->labels[1].duration_s, 14 * 86400);
    assert_int_equal(config->optimiser.kind, SL_OPTIMISER_SGD);
    assert_float_equal(config->optimiser.lr, 0.125, 0);
    assert_int_equal(config->seed, 7);
    assert_string_equal(config->snapshots.keep_best, "");
    assert_int_equal(config->modalities[0].freeze_count, 1);
    assert_string_equal(config->modalities[0].freeze[0], "*.layer.0.*");
    assert_int_equal(config->modalities[0].lr_scale_count, 0);
    assert_int_equal(config->modalities[1].lr_scale_count, 2);
    assert_string_equal(config->modalities[1].lr_scale[0].pattern, "bert.*");
    assert_float_equal(config->modalities[1].lr_scale[1].scale, 0.125, 0);
    sl_config_destroy(config);
    expect_override_error("modulation.alpha=x",
            "--set modulation.alpha=x: modulation.alpha: found \"x\"; expected a number from 0 to 100");
    expect_override_error("modulation.alhpa=1",
            "--set modulation.alhpa=1: modulation.alhpa: unknown key; did you mean \"alpha\"?");
    expect_override_error("modulation", "--set modulation: expected key=value, such as modulation.alpha=0.5");
    expect_override_error("a..b=1", "--set a..b=1: expected key=value, such as modulation.alpha=0.5");
    expect_override_error("=1", "--set =1: expected key=value, such as modulation.alpha=0.5");
    expect_override_error("seed=", "--set seed=: is empty; expected a value");
    expect_override_error("modalities.text.lr_scale={a.*: 0}",
            "--set modalities.text.lr_scale={a.*: 0}: modalities.text.lr_scale: \"a.*\": found \"0\"; "
            "expected a "
            "number above 0 up to 100");
    expect_override_error("modalities.text.lr_scale=[a]",
            "--set modalities.text.lr_scale=[a]: modalities.text.lr_scale: found a list; expected a map of "
            "at "
            "most 32 name patterns to numbers above 0 up to 100");
    expect_override_error("seed=[1",
            "--set seed=[1: is not YAML: while parsing a flow sequence, did not find expected ',' or ']'");
    expect_override_error("seed.x=1",
            "--set seed.x=1: seed: found a map; expected an integer from 0 to 18446744073709551615");
    expect_override_error("modalities.speech.layers=1",
            "--set modalities.speech.layers=1: the list has no item \"speech\" (it has 3, counted from 0)");
    expect_override_error("modalities.text.heads=7",
            "--set modalities.text.heads=7: modalities.text.heads: 7 does not "
            "divide hidden 192; choose a divisor such as 6 or 8");
    expect_override_error(
            "epochs.a=1", "--set epochs.a=1: epochs: found a map; expected an integer from 1 to 1000000");
}

static void test_dump_is_stable(void **state)
{
    (void)state;
    const char *const overrides[] = {"optimiser.lr=0.1", "modalities.visual.freeze=[\"a*\", 'q\"\\x']",
            "modulation.end=12", "modulation.alpha=0.30000000000000004", "labels.day.duration=90m",
            "modulation.constant=[0.1, 1]", "modulation.scale=update", "labels.week.name='一周 \"x\"'",
            "modalities.text.lr_scale={\"a*\": 0.1, 'q\"\\x': 2}"};
    struct sl_config *config = NULL, *again = NULL;
    struct sl_error err = {0};
    enum sl_status s = sl_config_parse(&config, base_text, strlen(base_text), "run.yaml", "/base", overrides,
            sizeof(overrides) / sizeof(overrides[0]), false, &err);
    if (s != SL_OK)
        fail_msg("%s", err.text);
    assert_string_equal(config->dataset.train, "/base/data/train");
    assert_string_equal(config->modalities[1].vocab, "/base/vocab.txt");
    char *first = NULL, *second = NULL;
    assert_int_equal(sl_config_dump(&first, config, &err), SL_OK);
    s = sl_config_parse(&again, first, strlen(first), "dump.yaml", "/other", NULL, 0, false, &err);
    if (s != SL_OK)
        fail_msg("%s\n%s", err.text, first);
    assert_int_equal(sl_config_dump(&second, again, &err), SL_OK);
    assert_string_equal(first, second);
    memset(config->path, 0, sizeof(config->path));
    memset(again->path, 0, sizeof(again->path));
    assert_memory_equal(config, again, sizeof(*config));
    sl_free(first);
    sl_free(second);
    sl_config_destroy(config);
    sl_config_destroy(again);
}

/* What an early exchange can do. */
static void test_early_exchange(void **state)
{
    (void)state;
    static const char *const fine[][2] = {
            {"optimiser.clip_by=modulated", "optimiser.second_moment=modulated"},
            {"optimiser.clip_norm=none", "optimiser.second_moment=modulated"},
            {"optimiser.clip_norm=0", "optimiser.kind=sgd"},
            {"optimiser.clip_by=modulated", "optimiser.kind=sgd"}};
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        const char *const overrides[] = {fine[i][0], fine[i][1], "modulation.exchange=early"};
        struct sl_config *config = NULL;
        struct sl_error err = {0};
        if (parse(&config, base_text, overrides, 3, &err) != SL_OK)
            fail_msg("%s %s: %s", fine[i][0], fine[i][1], err.text);
        assert_int_equal(config->modulation.exchange, SL_EXCHANGE_EARLY);
        sl_config_destroy(config);
    }
}

static uint64_t hash_with(const char *override)
{
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    uint64_t hash = 0;
    enum sl_status s = parse(&config, base_text, &override, override == NULL ? 0 : 1, &err);
    if (s != SL_OK)
        fail_msg("%s", err.text);
    assert_int_equal(sl_config_hash(&hash, config, &err), SL_OK);
    sl_config_destroy(config);
    return hash;
}

static void test_hash(void **state)
{
    (void)state;
    static const char *const same[] = {"dataset.train=elsewhere", "snapshots.keep=9", "cluster.workers=4",
            "modalities.text.vocab=other.txt", "modalities.visual.init=x.safetensors",
            "modalities.visual.storage=jpeg", "early_stopping.patience=4", "optimiser.lr=0.0005",
            "cluster.wire=f32"};
    static const char *const other[] = {"labels.day.name=today", "labels.day.duration=23h",
            "modalities.text.hidden=96", "modalities.text.lower_case=false", "fusion.dropout=0.1",
            "loss.text=0.5", "loss.class_weights=balanced", "modulation.alpha=0.6", "optimiser.lr=0.0006",
            "modulation.scale=gradient", "modulation.statistics=slot", "modulation.constant=[1, 0.5]",
            "batch.slots=4", "epochs=11", "max_steps=9", "seed=2", "consistency.mode=asp",
            "modalities.visual.mean=[0.1, 0.5, 0.5]", "modalities.visual.freeze=[a]",
            "modalities.visual.lr_scale={a: 0.5}", "cluster.wire=bf16"};
    uint64_t base = hash_with(NULL);
    assert_int_equal(base, 0x3b6a8230981918ca); /* of runs begun with earlier programs, which must go on */
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        if (hash_with(same[i]) != base)
            fail_msg("%s changes the hash", same[i]);
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
        if (hash_with(other[i]) == base)
            fail_msg("%s does not change the hash", other[i]);
}

/* The same coefficients from another place are the same training; other ones are not. */
static void test_hash_of_a_replay(void **state)
{
    (void)state;
    const char *const overrides[] = {"modulation.form=replay", "modulation.replay=k.npy"};
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    uint64_t first = 0, moved = 0, other = 0;
    assert_int_equal(parse(&config, base_text, overrides, 2, &err), SL_OK);
    config->modulation.replay_hash = 7;
    assert_int_equal(sl_config_hash(&first, config, &err), SL_OK);
    (void)snprintf(config->modulation.replay, sizeof(config->modulation.replay), "/elsewhere/k.npy");
    assert_int_equal(sl_config_hash(&moved, config, &err), SL_OK);
    config->modulation.replay_hash = 8;
    assert_int_equal(sl_config_hash(&other, config, &err), SL_OK);
    assert_true(first == moved && first != other);
    sl_config_destroy(config);
}

static void test_lookups(void **state)
{
    (void)state;
    struct sl_config *config = NULL;
    assert_int_equal(parse(&config, base_text, NULL, 0, NULL), SL_OK);
    int branch = -1;
    enum sl_metric metric = SL_METRIC_ACCURACY;
    assert_int_equal(sl_config_find_label(config, "week"), 1);
    assert_int_equal(sl_config_find_label(config, "month"), -1);
    assert_int_equal(sl_config_find_modality(config, "audio"), 2);
    assert_int_equal(sl_config_find_modality(config, "fused"), -1);
    assert_string_equal(sl_config_branch_name(config, 1), "text");
    assert_string_equal(sl_config_branch_name(config, 3), "fused");
    assert_true(sl_config_find_metric(config, "audio.macro_f1", &branch, &metric));
    assert_int_equal(branch, 2);
    assert_int_equal(metric, SL_METRIC_MACRO_F1);
    assert_true(sl_config_find_metric(config, "fused.loss", &branch, &metric));
    assert_int_equal(branch, 3);
    assert_false(sl_config_find_metric(config, "fused.lossy", &branch, &metric));
    assert_false(sl_config_find_metric(config, "fused", &branch, &metric));
    sl_config_destroy(config);
}

/* a folder of our own, with a config and a vocabulary in it */
struct folder {
    char dir[64], config[96], vocab[96];
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void make_folder(struct folder *folder, const char *config, const char *vocab)
{
    (void)snprintf(folder->dir, sizeof(folder->dir), "config-test-XXXXXX");
    assert_non_null(mkdtemp(folder->dir));
    (void)snprintf(folder->config, sizeof(folder->config), "%s/run.yaml", folder->dir);
    (void)snprintf(folder->vocab, sizeof(folder->vocab), "%s/vocab.txt", folder->dir);
    if (config != NULL)
        write_file(folder->config, config);
    if (vocab != NULL)
        write_file(folder->vocab, vocab);
}

static void remove_folder(const struct folder *folder)
{
    (void)unlink(folder->config);
    (void)unlink(folder->vocab);
    assert_int_equal(rmdir(folder->dir), 0);
}

/* loads a config with this vocabulary; expected: a part of the error text, or NULL = loads */
static void check_load(const char *config_text, const char *vocab, const char *override, const char *expected)
{
    struct folder folder;
    make_folder(&folder, config_text, vocab);
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    enum sl_status s = sl_config_load(&config, folder.config, &override, override == NULL ? 0 : 1, &err);
    remove_folder(&folder);
    if (expected != NULL && (s != SL_USAGE || strstr(err.text, expected) == NULL))
        fail_msg("status %d\n  got      %s\n  expected %s", s, err.text, expected);
    if (expected == NULL && s != SL_OK)
        fail_msg("%s", err.text);
    if (expected == NULL) {
        assert_int_equal(config->modalities[1].vocab_size, 6);
        assert_true(config->modalities[1].vocab[0] == '/');
        assert_non_null(strstr(config->modalities[1].vocab, folder.vocab));
    }
    sl_config_destroy(config);
}

static void test_load_and_vocabulary(void **state)
{
    (void)state;
    static const char good[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n\xe4\xbd\xa0\nworld\n";
    char *text = edit("vocab_size: 100, ", "");
    check_load(text, good, NULL, NULL);
    check_load(text, "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n\xe4\xbd\xa0\r\nworld", NULL, NULL);
    check_load(text, good, "modalities.text.vocab_size=6", NULL);
    check_load(text, good, "modalities.text.vocab_size=7",
            "modalities.text.vocab_size: 7 does not fit the 6 lines of ");
    check_load(text, NULL, NULL, "run.yaml:8:37: modalities.text.vocab: cannot open /");
    check_load(text, "[PAD]\n[UNK]\n[CLS]\nabc\n", NULL, "has no line [SEP]");
    check_load(text, "", NULL, "has no line [PAD]");
    /* only the server of a fresh run reads it */
    check_load(text, good, "modalities.visual.init=no.safetensors", NULL);
    check_load(NULL, good, NULL, "run.yaml: cannot be opened: No such file or directory");
    free(text);
}

static void test_too_large(void **state)
{
    (void)state;
    size_t size = SL_YAML_SIZE_MAX + 1;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, '#', size);
    struct sl_config *config = NULL;
    struct sl_error err = {0};
    assert_int_equal(sl_config_parse(&config, text, size, "run.yaml", NULL, NULL, 0, false, &err), SL_USAGE);
    assert_string_equal(err.text, "run.yaml: has 262145 bytes; a config has at most 262144");
    free(text);
}

static void test_no_memory(void **state)
{
    (void)state;
    const char *override = "modulation.alpha=0.25";
    bool done = false;
    for (uint64_t n = 1; !done; n++) {
        struct sl_config *config = NULL;
        char *dump = NULL;
        struct sl_error err = {0};
        sl_memory_fail_after(n);
        enum sl_status s = parse(&config, base_text, &override, 1, &err);
        if (s == SL_OK)
            s = sl_config_dump(&dump, config, &err);
        sl_memory_fail_after(0);
        done = s == SL_OK;
        if (!done)
            assert_int_equal(s, SL_NO_MEMORY);
        sl_free(dump);
        sl_config_destroy(config);
        assert_true(n < 1000);
    }
}

/* "| `key` | type | default | meaning |" for every key of the table */
static void describe_key(
        char *row, size_t size, const struct sl_section *section, const struct sl_field *field)
{
    static const char *const kinds[] = {"vit", "bert", "features"};
    char type[256], only[64] = "";
    (void)sl_field_describe(field, type, sizeof(type));
    for (unsigned k = 0; k < 3 && field->kinds != SL_KINDS_ALL; k++)
        if ((field->kinds & SL_KIND_BIT(k)) != 0)
            (void)snprintf(only + strlen(only), sizeof(only) - strlen(only), "%s%s",
                    only[0] == 0 ? "; kind " : ", ", kinds[k]);
    const char *fallback = field->fallback != NULL  ? field->fallback
                           : field->derived != NULL ? field->derived
                                                    : "required";
    const char *list = section->shape == SL_SECTION_LIST ? "[]" : "", *dot = section->key[0] != 0 ? "." : "";
    (void)snprintf(row, size, "| `%s%s%s%s` | %s%s | %s | ", section->key, list, dot, field->key, type, only,
            fallback);
}

static char *read_docs(void)
{
    char path[4096];
    const char *slash = strstr(__FILE__, "tests/unit/common/");
    assert_non_null(slash);
    (void)snprintf(path, sizeof(path), "%.*sdocs/config.md", (int)(slash - __FILE__), __FILE__);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    (void)fclose(file);
    return text;
}

static int check_row(const char *docs, const struct sl_section *section, const struct sl_field *field)
{
    char row[512];
    describe_key(row, sizeof(row), section, field);
    const char *at = strstr(docs, row);
    if (at == NULL || strncmp(at + strlen(row), "|", 1) == 0) {
        print_message("docs/config.md lacks, or says otherwise: %s… |\n", row);
        return 1;
    }
    return 0;
}

static void test_docs_agree(void **state)
{
    (void)state;
    char *docs = read_docs();
    if (docs == NULL) {
        print_message("skipped: docs/config.md is not where the source says\n");
        skip();
    }
    int wrong = 0, keys = 0, rows = 0;
    for (int i = 0; i < sl_config_section_count; i++) {
        const struct sl_section *section = &sl_config_sections[i];
        for (int f = 0; f < section->field_count; f++, keys++)
            wrong += check_row(docs, section, &section->fields[f]);
        if (section->shape == SL_SECTION_LOSS) {
            wrong += check_row(docs, section, &sl_config_weight_field);
            keys++;
        }
    }
    for (const char *at = docs; (at = strstr(at, "\n| `")) != NULL; at++)
        rows++;
    assert_int_equal(wrong, 0);
    assert_int_equal(rows, keys); /* no row for a key that does not exist */
    free(docs);
}

static void test_nearest(void **state)
{
    (void)state;
    const char *const words[] = {"alpha", "decay", "floor", "lr"};
    assert_string_equal(sl_nearest_word("alhpa", words, 4), "alpha");
    assert_string_equal(sl_nearest_word("flor", words, 4), "floor");
    assert_null(sl_nearest_word("banana", words, 4));
    assert_null(sl_nearest_word("xy", words, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_values_and_defaults),
            cmocka_unit_test(test_every_section_reads),
            cmocka_unit_test(test_structure_errors),
            cmocka_unit_test(test_value_errors),
            cmocka_unit_test(test_meaning_errors),
            cmocka_unit_test(test_lists_and_whole_files),
            cmocka_unit_test(test_overrides),
            cmocka_unit_test(test_early_exchange),
            cmocka_unit_test(test_dump_is_stable),
            cmocka_unit_test(test_hash),
            cmocka_unit_test(test_hash_of_a_replay),
            cmocka_unit_test(test_lookups),
            cmocka_unit_test(test_load_and_vocabulary),
            cmocka_unit_test(test_too_large),
            cmocka_unit_test(test_no_memory),
            cmocka_unit_test(test_docs_agree),
            cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
