/* Manifest, signs and summary of a run: see catalogue.h. */
#include "deploy/sample/catalogue.h"

#include "deploy/sample/draw.h"
#include "deploy/sample/title.h"

#include <inttypes.h>
#include <stddef.h>
#include <time.h>

static void add(struct dp_attainable *sum, struct dp_attainable more)
{
    sum->text += more.text;
    sum->picture += more.picture;
    sum->both += more.both;
}

static void divide(struct dp_attainable *sum, int count)
{
    double by = count > 0 ? count : 1;
    sum->text /= by;
    sum->picture /= by;
    sum->both /= by;
}

struct dp_catalogue dp_catalogue_count(uint64_t seed, int clips)
{
    struct dp_catalogue catalogue = {.seed = seed, .clips = clips, .attainable = dp_plan_attainable()};
    for (int clip = 0; clip < clips; clip++) {
        struct dp_plan plan = dp_plan_make(seed, clip);
        struct dp_attainable hit = dp_plan_hit(plan.label, plan.text_sign, plan.picture_sign);
        catalogue.counts[plan.split][plan.label]++;
        catalogue.split_clips[plan.split]++;
        add(&catalogue.ideal[plan.split], hit);
        add(&catalogue.ideal_all, hit);
    }
    for (int split = 0; split < DP_SPLITS; split++)
        divide(&catalogue.ideal[split], catalogue.split_clips[split]);
    divide(&catalogue.ideal_all, clips);
    return catalogue;
}

/* RFC 3339 in the clip's own time zone: readers must cope with offsets. */
static void format_published(const struct dp_plan *plan, char *text, size_t size)
{
    time_t local = (time_t)(plan->published_s + 60 * plan->published_offset_min);
    struct tm day;
    gmtime_r(&local, &day);
    size_t used = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &day);
    int offset = plan->published_offset_min;
    if (offset == 0)
        snprintf(text + used, size - used, "Z");
    else
        snprintf(text + used, size - used, "%c%02d:%02d", offset < 0 ? '-' : '+',
                (offset < 0 ? -offset : offset) / 60, (offset < 0 ? -offset : offset) % 60);
}

void dp_catalogue_manifest(struct sl_json *json, uint64_t seed, int clips)
{
    for (int clip = 0; clip < clips; clip++) {
        struct dp_plan plan = dp_plan_make(seed, clip);
        char id[DP_CLIP_ID_MAX], video[DP_CLIP_ID_MAX + 16], title[DP_TITLE_MAX], published[40];
        dp_plan_id(&plan, id);
        dp_title_make(&plan, title);
        format_published(&plan, published, sizeof published);
        snprintf(video, sizeof video, "videos/%s.mp4", id);
        sl_json_object(json, NULL);
        sl_json_string(json, "id", id);
        sl_json_string(json, "video", video);
        sl_json_string(json, "title", title);
        sl_json_string(json, "label", dp_labels[plan.label].name);
        sl_json_string(json, "published", published);
        sl_json_string(json, "split", dp_split_names[plan.split]);
        sl_json_end(json);
    }
}

static const char *sign_name(int sign)
{
    return sign == DP_SIGN_NONE ? NULL : dp_labels[sign].name;
}

void dp_catalogue_signs(struct sl_json *json, uint64_t seed, int clips)
{
    for (int clip = 0; clip < clips; clip++) {
        struct dp_plan plan = dp_plan_make(seed, clip);
        char id[DP_CLIP_ID_MAX];
        dp_plan_id(&plan, id);
        sl_json_object(json, NULL);
        sl_json_string(json, "id", id);
        sl_json_string(json, "split", dp_split_names[plan.split]);
        sl_json_string(json, "label", dp_labels[plan.label].name);
        sl_json_string(json, "text", sign_name(plan.text_sign));
        sl_json_string(json, "picture", sign_name(plan.picture_sign));
        sl_json_end(json);
    }
}

static void write_shares(struct sl_json *json, const char *key, const struct dp_shares *shares)
{
    sl_json_object(json, key);
    sl_json_double(json, "own", shares->own);
    sl_json_double(json, "neighbour", shares->neighbour);
    sl_json_double(json, "none", shares->none);
    sl_json_end(json);
}

static void write_accuracies(struct sl_json *json, const char *key, const struct dp_attainable *accuracies)
{
    sl_json_object(json, key);
    sl_json_double(json, "text", accuracies->text);
    sl_json_double(json, "picture", accuracies->picture);
    sl_json_double(json, "both", accuracies->both);
    sl_json_end(json);
}

void dp_catalogue_summary(struct sl_json *json, const struct dp_catalogue *catalogue)
{
    sl_json_object(json, NULL);
    sl_json_string(json, "format", DP_CATALOGUE_FORMAT);
    sl_json_int(json, "version", DP_VERSION);
    char seed[24]; /* as text: a JSON number cannot hold 64 bits everywhere */
    snprintf(seed, sizeof seed, "%" PRIu64, catalogue->seed);
    sl_json_string(json, "seed", seed);
    sl_json_int(json, "clips", catalogue->clips);
    sl_json_int(json, "width", DP_WIDTH);
    sl_json_int(json, "height", DP_HEIGHT);
    sl_json_int(json, "frame_rate", DP_FRAME_RATE);
    sl_json_array(json, "labels");
    for (int label = 0; label < DP_LABELS; label++) {
        sl_json_object(json, NULL);
        sl_json_string(json, "name", dp_labels[label].name);
        sl_json_string(json, "duration", dp_labels[label].duration);
        sl_json_end(json);
    }
    sl_json_end(json);
    sl_json_object(json, "shares");
    write_shares(json, "text", &dp_text_shares);
    write_shares(json, "picture", &dp_picture_shares);
    sl_json_end(json);
    write_accuracies(json, "attainable", &catalogue->attainable);
    write_accuracies(json, "ideal", &catalogue->ideal_all);
    sl_json_object(json, "splits");
    for (int split = 0; split < DP_SPLITS; split++) {
        sl_json_object(json, dp_split_names[split]);
        sl_json_int(json, "clips", catalogue->split_clips[split]);
        sl_json_object(json, "labels");
        for (int label = 0; label < DP_LABELS; label++)
            sl_json_int(json, dp_labels[label].name, catalogue->counts[split][label]);
        sl_json_end(json);
        write_accuracies(json, "ideal", &catalogue->ideal[split]);
        sl_json_end(json);
    }
    sl_json_end(json);
    sl_json_end(json);
}

static void print_row(FILE *stream, const char *name, const struct dp_attainable *accuracies)
{
    fprintf(stream, "  %-26s %8.3f %8.3f %8.3f\n", name, accuracies->text, accuracies->picture,
            accuracies->both);
}

void dp_catalogue_print(FILE *stream, const struct dp_catalogue *catalogue)
{
    fprintf(stream, "%d clips, seed %" PRIu64 ", labels:", catalogue->clips, catalogue->seed);
    for (int label = 0; label < DP_LABELS; label++)
        fprintf(stream, " %s (%s)", dp_labels[label].name, dp_labels[label].duration);
    fprintf(stream, "\nplain titles %.0f %%, plain pictures %.0f %%, misleading ones %.0f %% and %.0f %%\n",
            100 * dp_text_shares.none, 100 * dp_picture_shares.none, 100 * dp_text_shares.neighbour,
            100 * dp_picture_shares.neighbour);
    fprintf(stream, "best accuracy that can be reached by\n  %-26s %8s %8s %8s\n", "", "title", "picture",
            "both");
    print_row(stream, "the shares, on any clips", &catalogue->attainable);
    for (int split = 0; split < DP_SPLITS; split++) {
        char name[48];
        snprintf(name, sizeof name, "these %d %s", catalogue->split_clips[split], dp_split_names[split]);
        print_row(stream, name, &catalogue->ideal[split]);
    }
}
