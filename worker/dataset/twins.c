/* Near-identical texts: see twins.h. */
#include "worker/dataset/twins.h"

#include "common/memory.h"
#include "common/utf8.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <xxhash.h>

/* A text as the set of its shingles: numbers (begin, begin + count) of wk_twins.shingles. Equal texts are found by hash, the first stands for all. */
struct text {
    uint64_t hash;
    size_t begin;
    uint32_t count, parent; /* parent: of the group's tree, whose root is its smallest number */
    uint32_t equal;         /* the first text that is the same */
};

struct wk_twins {
    double similarity;
    struct text *texts; /* (count,) */
    uint32_t count, room;
    uint64_t *shingles; /* (used,): code points side by side; after wk_twins_find ranks by rarity */
    size_t used, capacity;
    uint64_t cut;
};

enum sl_status wk_twins_create(struct wk_twins **ret_twins, double similarity, struct sl_error *err)
{
    *ret_twins = sl_alloc(1, sizeof(**ret_twins));
    if (*ret_twins == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory");
    (*ret_twins)->similarity = similarity;
    return SL_OK;
}

void wk_twins_destroy(struct wk_twins *twins)
{
    if (twins == NULL)
        return;
    sl_free(twins->texts);
    sl_free(twins->shingles);
    sl_free(twins);
}

void wk_twins_destroy_auto(struct wk_twins **twins)
{
    wk_twins_destroy(*twins);
}

uint32_t wk_twins_count(const struct wk_twins *twins)
{
    return twins->count;
}

uint64_t wk_twins_cut(const struct wk_twins *twins)
{
    return twins->cut;
}

/* ---- groups ---- */

uint32_t wk_twins_group(const struct wk_twins *twins, uint32_t index)
{
    while (twins->texts[index].parent != index) {
        uint32_t parent = twins->texts[index].parent;
        twins->texts[index].parent = twins->texts[parent].parent; /* halves the way for the next one */
        index = parent;
    }
    return index;
}

void wk_twins_join(struct wk_twins *twins, uint32_t a, uint32_t b)
{
    a = wk_twins_group(twins, a);
    b = wk_twins_group(twins, b);
    if (a < b)
        twins->texts[b].parent = a;
    else
        twins->texts[a].parent = b;
}

/* ---- a text into shingles ---- */

static bool counts(utf8proc_int32_t point)
{
    utf8proc_category_t category = utf8proc_category(point);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

/* Han, kana, hangul: scripts in which a character says as much as a syllable or a word. */
static bool is_dense(utf8proc_int32_t point)
{
    return (point >= 0x3040 && point <= 0x30ff) || (point >= 0x3400 && point <= 0x9fff) ||
           (point >= 0xac00 && point <= 0xd7a3) || (point >= 0xf900 && point <= 0xfaff) ||
           (point >= 0x20000 && point <= 0x3ffff);
}

/* The characters that count, folded. Shapes: points (WK_TWINS_BYTES * 4,). Returns how many. */
static size_t fold(utf8proc_int32_t *points, const char *text, size_t size)
{
    const utf8proc_option_t options =
            UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    size_t count = 0;
    size = size < WK_TWINS_BYTES ? size : WK_TWINS_BYTES;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t parts[32];
        uint32_t point = 0;
        size_t length = sl_utf8_next(text + at, size - at, &point);
        at += length > 0 ? length : 1;
        int boundary = UTF8PROC_BOUNDCLASS_START;
        utf8proc_ssize_t made =
                length == 0 ? 0
                            : utf8proc_decompose_char((utf8proc_int32_t)point, parts, 32, options, &boundary);
        for (utf8proc_ssize_t i = 0; i < made && i < 32 && count < WK_TWINS_BYTES * 4; i++)
            if (counts(parts[i]))
                points[count++] = parts[i];
    }
    return count;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static size_t sort_unique(uint64_t *values, size_t count)
{
    qsort(values, count, sizeof(*values), compare_u64);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || values[kept - 1] != values[i])
            values[kept++] = values[i];
    return kept;
}

/* A shingle is up to three code points of 21 bits. A text that is shorter than one is its only shingle. Shapes: shingles (count + 1,). Returns how many. */
static size_t cut_shingles(uint64_t *shingles, const utf8proc_int32_t *points, size_t count)
{
    size_t made = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        bool dense = is_dense(points[i]) || is_dense(points[i + 1]);
        if (!dense && i + 2 >= count)
            break;
        uint64_t pair = ((uint64_t)points[i] << 21) | (uint64_t)points[i + 1];
        shingles[made++] = dense ? pair : (pair << 21) | (uint64_t)points[i + 2];
    }
    if (made == 0 && count > 0)
        shingles[made++] = ((uint64_t)points[0] << 21) | (uint64_t)(count > 1 ? points[1] : 0);
    return sort_unique(shingles, made);
}

static enum sl_status reserve(struct wk_twins *twins, size_t shingles, struct sl_error *err)
{
    if (twins->count == twins->room) {
        uint32_t room = twins->room == 0 ? 1024 : twins->room * 2;
        struct text *texts = sl_realloc(twins->texts, room, sizeof(*texts));
        if (texts == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for %u texts", room);
        twins->texts = texts;
        twins->room = room;
    }
    if (twins->capacity - twins->used < shingles) {
        size_t capacity = 2 * twins->capacity + shingles + 4096;
        uint64_t *larger = sl_realloc(twins->shingles, capacity, sizeof(*larger));
        if (larger == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for the shingles of texts");
        twins->shingles = larger;
        twins->capacity = capacity;
    }
    return SL_OK;
}

enum sl_status wk_twins_add(struct wk_twins *twins, const char *text, size_t size, struct sl_error *err)
{
    utf8proc_int32_t points[WK_TWINS_BYTES * 4];
    if (twins->count > INT32_MAX)
        return sl_fail(err, SL_BAD_DATA, "more than %d texts cannot be compared", INT32_MAX);
    size_t count = fold(points, text, size);
    enum sl_status status = reserve(twins, count + 1, err);
    if (status != SL_OK)
        return status;
    uint32_t index = twins->count++;
    twins->texts[index] = (struct text){.hash = XXH3_64bits(points, count * sizeof(*points)),
            .begin = twins->used,
            .count = (uint32_t)cut_shingles(twins->shingles + twins->used, points, count),
            .parent = index,
            .equal = index};
    twins->used += twins->texts[index].count;
    return SL_OK;
}

/* ---- the join ---- */

/* How often each shingle occurs, then its rank: 0 = the rarest. Open addressing, a power of two of places. */
struct counted {
    uint64_t shingle;
    uint32_t count, rank; /* count 0 = a free place */
};

struct join {
    struct wk_twins *twins;
    struct counted *table; /* (places,) */
    size_t places, distinct;
    uint32_t *order; /* (chosen,) texts of which no equal one came before, by number of shingles */
    uint32_t chosen;
    uint32_t *heads; /* (distinct,) the latest posting of a rank + 1, 0 = none */
    struct posting {
        uint32_t text, next;
    } * postings; /* next: + 1 */
    size_t posting_count;
    uint32_t *tried; /* (count,) by whom last, + 1 */
};

static struct counted *find_place(const struct join *join, uint64_t shingle)
{
    size_t place = (size_t)XXH3_64bits(&shingle, sizeof(shingle)) & (join->places - 1);
    while (join->table[place].count != 0 && join->table[place].shingle != shingle)
        place = (place + 1) & (join->places - 1);
    return &join->table[place];
}

static int compare_rarity(const void *a, const void *b)
{
    const struct counted *x = *(struct counted *const *)a, *y = *(struct counted *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return x->shingle < y->shingle ? -1 : x->shingle > y->shingle;
}

static enum sl_status rank_shingles(struct join *join, struct sl_error *err)
{
    struct wk_twins *twins = join->twins;
    for (join->places = 1024; join->places < 2 * twins->used; join->places *= 2)
        continue;
    join->table = sl_alloc(join->places, sizeof(*join->table));
    if (join->table == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu shingles", twins->used);
    for (uint32_t i = 0; i < join->chosen; i++) {
        const struct text *text = &twins->texts[join->order[i]];
        for (uint32_t k = 0; k < text->count; k++) {
            struct counted *place = find_place(join, twins->shingles[text->begin + k]);
            join->distinct += place->count == 0;
            place->shingle = twins->shingles[text->begin + k];
            place->count++;
        }
    }
    SL_AUTO_FREE struct counted **sorted = sl_alloc(join->distinct, sizeof(struct counted *));
    if (sorted == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu shingles", join->distinct);
    size_t at = 0;
    for (size_t i = 0; i < join->places; i++)
        if (join->table[i].count > 0)
            sorted[at++] = &join->table[i];
    qsort((void *)sorted, at, sizeof(struct counted *), compare_rarity);
    for (size_t i = 0; i < at; i++)
        sorted[i]->rank = (uint32_t)i;
    for (uint32_t i = 0; i < join->chosen; i++) {
        const struct text *text = &twins->texts[join->order[i]];
        for (uint32_t k = 0; k < text->count; k++)
            twins->shingles[text->begin + k] = find_place(join, twins->shingles[text->begin + k])->rank;
        qsort(twins->shingles + text->begin, text->count, sizeof(*twins->shingles), compare_u64);
    }
    return SL_OK;
}

struct equal {
    uint64_t hash;
    uint32_t count, text;
};

static int compare_equal(const void *a, const void *b)
{
    const struct equal *x = a, *y = b;
    if (x->count != y->count) /* by the number of shingles: what the join wants */
        return x->count < y->count ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->text < y->text ? -1 : x->text > y->text;
}

/* Texts that are equal are joined at once, and only the first of them is compared further. */
static enum sl_status choose(struct join *join, struct sl_error *err)
{
    struct wk_twins *twins = join->twins;
    SL_AUTO_FREE struct equal *all = sl_alloc(twins->count, sizeof(*all));
    join->order = sl_alloc(twins->count, sizeof(*join->order));
    if (all == NULL || join->order == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %u texts", twins->count);
    uint32_t count = 0;
    for (uint32_t i = 0; i < twins->count; i++)
        if (twins->texts[i].count > 0)
            all[count++] = (struct equal){twins->texts[i].hash, twins->texts[i].count, i};
    qsort(all, count, sizeof(*all), compare_equal);
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && all[i].hash == all[i - 1].hash && all[i].count == all[i - 1].count) {
            twins->texts[all[i].text].equal = twins->texts[all[i - 1].text].equal;
            wk_twins_join(twins, all[i - 1].text, all[i].text);
        } else {
            join->order[join->chosen++] = all[i].text;
        }
    }
    return SL_OK;
}

/* The least overlap of two sets of these sizes with the similarity. */
static uint32_t least_overlap(double similarity, uint32_t a, uint32_t b)
{
    double least = ceil(similarity / (1.0 + similarity) * ((double)a + (double)b) - 1e-9);
    return (uint32_t)least;
}

/* How many two sorted sets share; less than `least` when it cannot be as many. */
static uint32_t count_shared(
        const uint64_t *a, uint32_t a_count, const uint64_t *b, uint32_t b_count, uint32_t least)
{
    uint32_t i = 0, j = 0, both = 0;
    while (i < a_count && j < b_count) {
        uint32_t left = a_count - i < b_count - j ? a_count - i : b_count - j;
        if (both + left < least)
            return both;
        both += a[i] == b[j];
        bool next_a = a[i] <= b[j], next_b = b[j] <= a[i];
        i += next_a;
        j += next_b;
    }
    return both;
}

double wk_twins_similarity(const struct wk_twins *twins, uint32_t a, uint32_t b)
{
    const struct text *x = &twins->texts[twins->texts[a].equal], *y = &twins->texts[twins->texts[b].equal];
    if (x->count == 0 || y->count == 0)
        return 0.0;
    if (x == y)
        return 1.0;
    uint32_t both =
            count_shared(twins->shingles + x->begin, x->count, twins->shingles + y->begin, y->count, 0);
    return (double)both / (double)(x->count + y->count - both);
}

/* All that came before are at most as long. Postings of a rank come latest first, so the longest first: the first that is too short ends the list. */
static void probe(struct join *join, uint32_t x, uint32_t rank)
{
    struct wk_twins *twins = join->twins;
    const struct text *text = &twins->texts[x];
    double shortest = twins->similarity * text->count - 1e-9;
    int tried = 0;
    for (uint32_t at = join->heads[rank]; at != 0; at = join->postings[at - 1].next) {
        uint32_t y = join->postings[at - 1].text;
        const struct text *other = &twins->texts[y];
        if (other->count < shortest)
            return;
        if (tried++ == WK_TWINS_POSTINGS) {
            twins->cut++;
            return;
        }
        if (join->tried[y] == x + 1)
            continue;
        join->tried[y] = x + 1;
        uint32_t least = least_overlap(twins->similarity, text->count, other->count);
        if (wk_twins_group(twins, x) != wk_twins_group(twins, y) &&
                count_shared(twins->shingles + text->begin, text->count, twins->shingles + other->begin,
                        other->count, least) >= least)
            wk_twins_join(twins, x, y);
    }
}

/* Two sets that are similar enough share one of their rarest shingles: of x the first |x| − ⌈t|x|⌉ + 1 are asked for, of those before it, which are not longer, the
 * first |y| − ⌈2t/(1+t)|y|⌉ + 1 were noted. */
static enum sl_status compare_all(struct join *join, struct sl_error *err)
{
    struct wk_twins *twins = join->twins;
    join->heads = sl_alloc(join->distinct, sizeof(*join->heads));
    join->postings = sl_alloc(twins->used, sizeof(*join->postings));
    join->tried = sl_alloc(twins->count, sizeof(*join->tried));
    if (join->heads == NULL || join->postings == NULL || join->tried == NULL)
        return sl_fail(err, SL_NO_MEMORY, "out of memory for %zu shingles", twins->used);
    for (uint32_t i = 0; i < join->chosen; i++) {
        uint32_t x = join->order[i];
        const struct text *text = &twins->texts[x];
        uint32_t asked = text->count - (uint32_t)ceil(twins->similarity * text->count - 1e-9) + 1;
        uint32_t noted = text->count - least_overlap(twins->similarity, text->count, text->count) + 1;
        for (uint32_t k = 0; k < asked && k < text->count; k++)
            probe(join, x, (uint32_t)twins->shingles[text->begin + k]);
        for (uint32_t k = 0; k < noted && k < text->count; k++) {
            uint32_t rank = (uint32_t)twins->shingles[text->begin + k];
            join->postings[join->posting_count] = (struct posting){x, join->heads[rank]};
            join->heads[rank] = (uint32_t)++join->posting_count;
        }
    }
    return SL_OK;
}

enum sl_status wk_twins_find(struct wk_twins *twins, struct sl_error *err)
{
    struct join join = {.twins = twins};
    if (twins->used > UINT32_MAX - 1)
        return sl_fail(err, SL_BAD_DATA, "the texts are too many to be compared");
    enum sl_status status = choose(&join, err);
    if (status == SL_OK)
        status = rank_shingles(&join, err);
    if (status == SL_OK)
        status = compare_all(&join, err);
    sl_free(join.table);
    sl_free(join.order);
    sl_free(join.heads);
    sl_free(join.postings);
    sl_free(join.tried);
    return status;
}
