/* Splits by class or by time: see split.h. */
#include "worker/dataset/split.h"

#include "common/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum sl_status wk_split_parse(struct wk_split_options *options, const char *text, struct sl_error *err)
{
    static const struct {
        const char *name;
        enum wk_split_way way;
    } ways[] = {{"stratified", WK_SPLIT_STRATIFIED}, {"time", WK_SPLIT_BY_TIME}};
    double shares[WK_SPLITS] = {80.0, 10.0, 10.0}, sum = 0.0;
    size_t length = strcspn(text, ":");
    const char *at = text[length] == ':' ? text + length + 1 : NULL;
    options->way = WK_SPLIT_AS_GIVEN;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (strlen(ways[i].name) == length && strncmp(text, ways[i].name, length) == 0)
            options->way = ways[i].way;
    bool right = options->way != WK_SPLIT_AS_GIVEN;
    if (at != NULL)
        memset(shares, 0, sizeof(shares));
    int count = 0;
    for (; right && at != NULL && count < WK_SPLITS; count++) {
        char *end = NULL;
        shares[count] = strtod(at, &end);
        right = end != at && shares[count] >= 0.0 && shares[count] <= 1e9 && (*end == ',' || *end == '\0');
        at = *end == ',' ? end + 1 : NULL;
    }
    for (int s = 0; s < WK_SPLITS; s++)
        sum += shares[s];
    if (!right || at != NULL || count == 1 || !(shares[0] > 0.0))
        return sl_fail(err, SL_USAGE,
                "--split %s: expected stratified or time, and shares of train, validation and test, such as "
                "stratified:80,10,10",
                text);
    for (int s = 0; s < WK_SPLITS; s++)
        options->shares[s] = shares[s] / sum;
    return SL_OK;
}

/* Rows of one group, as places [begin, begin + size) of the order. */
struct group {
    uint32_t begin, size;
    uint64_t chance;
    int64_t newest_s;
};

struct grouped {
    uint32_t *order; /* (count,) rows, group after group */
    struct group *groups;
    uint32_t group_count;
};

struct member {
    uint32_t group, row;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static enum sl_status make_groups(struct grouped *grouped, const struct wk_split_row *rows, uint32_t count,
        uint64_t seed, struct sl_error *err)
{
    SL_AUTO_FREE struct member *members = sl_alloc(count, sizeof(*members));
    grouped->order = sl_alloc(count, sizeof(*grouped->order));
    grouped->groups = sl_alloc(count, sizeof(*grouped->groups));
    if (members == NULL || grouped->order == NULL || grouped->groups == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the splits of %u rows", count);
    for (uint32_t i = 0; i < count; i++)
        members[i] = (struct member){rows[i].group, i};
    qsort(members, count, sizeof(*members), compare_members);
    for (uint32_t i = 0; i < count; i++) {
        const struct wk_split_row *row = &rows[members[i].row];
        if (i == 0 || members[i].group != members[i - 1].group)
            grouped->groups[grouped->group_count++] = (struct group){.begin = i,
                    .chance = XXH3_64bits_withSeed(&members[i].row, sizeof(members[i].row), seed),
                    .newest_s = row->published_s};
        struct group *group = &grouped->groups[grouped->group_count - 1];
        grouped->order[i] = members[i].row;
        group->size++;
        group->newest_s = row->published_s > group->newest_s ? row->published_s : group->newest_s;
    }
    return SL_OK;
}

static int compare_chance(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    if (x->chance != y->chance)
        return x->chance < y->chance ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

static int compare_time(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->newest_s != y->newest_s)
        return x->newest_s < y->newest_s ? -1 : 1;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

/* Splits of no share are never given anything. */
static enum sl_status stratify(uint8_t *splits, struct grouped *grouped, const struct wk_split_row *rows,
        uint32_t count, int label_count, const double *shares, struct sl_error *err)
{
    size_t labels = (size_t)label_count;
    SL_AUTO_FREE double *lacking = sl_alloc(WK_SPLITS * labels, sizeof(*lacking)); /* (WK_SPLITS, labels) */
    if (lacking == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for the splits of %u rows", count);
    for (uint32_t i = 0; i < count; i++)
        for (int s = 0; s < WK_SPLITS; s++)
            lacking[(size_t)s * labels + (size_t)rows[i].label] += shares[s];
    qsort(grouped->groups, grouped->group_count, sizeof(*grouped->groups), compare_chance);
    for (uint32_t g = 0; g < grouped->group_count; g++) {
        const struct group *group = &grouped->groups[g];
        double needs[WK_SPLITS] = {0};
        int chosen = 0;
        for (uint32_t i = 0; i < group->size; i++)
            for (int s = 0; s < WK_SPLITS; s++)
                needs[s] +=
                        lacking[(size_t)s * labels + (size_t)rows[grouped->order[group->begin + i]].label];
        for (int s = 1; s < WK_SPLITS; s++)
            if (shares[s] > 0.0 && needs[s] > needs[chosen])
                chosen = s;
        for (uint32_t i = 0; i < group->size; i++) {
            uint32_t row = grouped->order[group->begin + i];
            splits[row] = (uint8_t)chosen;
            lacking[(size_t)chosen * labels + (size_t)rows[row].label] -= 1.0;
        }
    }
    return SL_OK;
}

static void cut_by_time(uint8_t *splits, struct grouped *grouped, uint32_t count, const double *shares)
{
    qsort(grouped->groups, grouped->group_count, sizeof(*grouped->groups), compare_time);
    uint64_t given = 0;
    double until = shares[0] * count;
    int split = 0;
    for (uint32_t g = 0; g < grouped->group_count; g++) {
        const struct group *group = &grouped->groups[g];
        bool at_once = g > 0 && group->newest_s == group[-1].newest_s;
        while (!at_once && split + 1 < WK_SPLITS && (double)given + 0.5 > until) {
            split++;
            until += shares[split] * count;
        }
        for (uint32_t i = 0; i < group->size; i++)
            splits[grouped->order[group->begin + i]] = (uint8_t)split;
        given += group->size;
    }
}

enum sl_status wk_split_assign(uint8_t *ret_splits, const struct wk_split_row *rows, uint32_t count,
        int label_count, const struct wk_split_options *options, struct sl_error *err)
{
    struct grouped grouped = {0};
    enum sl_status status = make_groups(&grouped, rows, count, options->seed, err);
    if (status == SL_OK && options->way == WK_SPLIT_BY_TIME)
        cut_by_time(ret_splits, &grouped, count, options->shares);
    else if (status == SL_OK)
        status = stratify(ret_splits, &grouped, rows, count, label_count, options->shares, err);
    sl_free(grouped.order);
    sl_free(grouped.groups);
    return status;
}
