/* Byte-pair encoding with counts that are kept up to date: each pair knows the words that hold it, so that a join
 * looks at these alone, and a heap knows the most frequent pair. Entries of the heap are never changed; one that is
 * outdated is put right when it comes up. */
#include "worker/dataset/vocab_join.h"
#include "common/memory.h"
#include "common/random.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

struct word {
    size_t start; /* of its pieces */
    int count;    /* pieces left; joins make it fewer */
    int64_t occurrences;
};

struct pair {
    int32_t left, right; /* pieces */
    int64_t count;       /* occurrences in all words */
    int32_t *words;      /* (word_count,) those that hold it, or held it once */
    int32_t word_count, word_room;
    int32_t touched_by; /* the last join that raised its count */
};

struct heap_entry {
    int64_t count; /* of the pair when it was put in */
    int32_t pair;
};

struct wk_join {
    struct word *words;
    int32_t word_count, word_room;
    int32_t *pieces;
    size_t piece_count, piece_room;
    struct pair *pairs;
    int32_t pair_count, pair_room;
    int32_t *slots; /* (slot_count,) pairs by hash, -1 = free */
    size_t slot_count;
    struct heap_entry *heap;
    size_t heap_count, heap_room;
    int32_t *touched; /* (touched_count,) pairs whose count the current join raised */
    int32_t touched_count, touched_room;
    int32_t joins; /* done so far, the current one included */
};

/* grow makes room for at least need items of size bytes; room is in items. */
static bool grow(void **items, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return true;
    size_t wanted = *room < 16 ? 16 : *room * 2;
    if (wanted < need)
        wanted = need;
    void *grown = sl_realloc(*items, wanted, size);
    if (grown == NULL)
        return false;
    *items = grown;
    *room = wanted;
    return true;
}

static bool grow32(void **items, int32_t *room, int32_t need, size_t size)
{
    size_t wide = (size_t)*room;
    if (need == INT32_MAX || !grow(items, &wide, (size_t)need, size) || wide > INT32_MAX)
        return false;
    *room = (int32_t)wide;
    return true;
}

struct wk_join *wk_join_create(void)
{
    return sl_alloc(1, sizeof(struct wk_join));
}

void wk_join_destroy(struct wk_join *join)
{
    if (join == NULL)
        return;
    for (int32_t i = 0; i < join->pair_count; i++)
        sl_free(join->pairs[i].words);
    sl_free(join->words);
    sl_free(join->pieces);
    sl_free(join->pairs);
    sl_free(join->slots);
    sl_free(join->heap);
    sl_free(join->touched);
    sl_free(join);
}

void wk_join_destroy_auto(struct wk_join **join)
{
    wk_join_destroy(*join);
}

enum sl_status wk_join_add_word(struct wk_join *join, const int32_t *pieces, int count, int64_t occurrences)
{
    if (!grow32((void **)&join->words, &join->word_room, join->word_count + 1, sizeof *join->words) ||
            !grow((void **)&join->pieces, &join->piece_room, join->piece_count + (size_t)count,
                    sizeof *join->pieces))
        return SL_NO_MEMORY;
    memcpy(join->pieces + join->piece_count, pieces, (size_t)count * sizeof *pieces);
    join->words[join->word_count++] = (struct word){join->piece_count, count, occurrences};
    join->piece_count += (size_t)count;
    return SL_OK;
}

static size_t find_slot(const struct wk_join *join, int32_t left, int32_t right)
{
    int32_t key[2] = {left, right};
    size_t mask = join->slot_count - 1;
    for (size_t slot = sl_hash64(key, sizeof key, 0) & mask;; slot = (slot + 1) & mask) {
        int32_t pair = join->slots[slot];
        if (pair < 0 || (join->pairs[pair].left == left && join->pairs[pair].right == right))
            return slot;
    }
}

static bool grow_slots(struct wk_join *join)
{
    size_t slot_count = join->slot_count ? join->slot_count * 2 : 1024;
    int32_t *slots = sl_alloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return false;
    memset(slots, 0xFF, slot_count * sizeof *slots);
    sl_free(join->slots);
    join->slots = slots;
    join->slot_count = slot_count;
    for (int32_t i = 0; i < join->pair_count; i++)
        join->slots[find_slot(join, join->pairs[i].left, join->pairs[i].right)] = i;
    return true;
}

/* raise_pair counts occurrences of a pair in a word; a new pair comes into being. */
static bool raise_pair(struct wk_join *join, int32_t left, int32_t right, int32_t word)
{
    if (join->slot_count < 2 * ((size_t)join->pair_count + 1) && !grow_slots(join))
        return false;
    size_t slot = find_slot(join, left, right);
    if (join->slots[slot] < 0) {
        if (!grow32((void **)&join->pairs, &join->pair_room, join->pair_count + 1, sizeof *join->pairs))
            return false;
        join->pairs[join->pair_count] = (struct pair){.left = left, .right = right, .touched_by = -1};
        join->slots[slot] = join->pair_count++;
    }
    int32_t index = join->slots[slot];
    struct pair *pair = &join->pairs[index];
    pair->count += join->words[word].occurrences;
    if (pair->word_count == 0 || pair->words[pair->word_count - 1] != word) {
        if (!grow32((void **)&pair->words, &pair->word_room, pair->word_count + 1, sizeof *pair->words))
            return false;
        pair->words[pair->word_count++] = word;
    }
    if (pair->touched_by != join->joins) {
        if (!grow32((void **)&join->touched, &join->touched_room, join->touched_count + 1,
                    sizeof *join->touched))
            return false;
        join->touched[join->touched_count++] = index;
        pair->touched_by = join->joins;
    }
    return true;
}

static void lower_pair(struct wk_join *join, int32_t left, int32_t right, int32_t word)
{
    int32_t pair = join->slots[find_slot(join, left, right)];
    assert(pair >= 0);
    join->pairs[pair].count -= join->words[word].occurrences;
}

/* goes_first: more often first, then the smaller piece numbers. */
static bool goes_first(const struct wk_join *join, struct heap_entry a, struct heap_entry b)
{
    const struct pair *x = &join->pairs[a.pair];
    const struct pair *y = &join->pairs[b.pair];
    if (a.count != b.count)
        return a.count > b.count;
    return x->left != y->left ? x->left < y->left : x->right < y->right;
}

static bool heap_push(struct wk_join *join, int32_t pair)
{
    if (!grow((void **)&join->heap, &join->heap_room, join->heap_count + 1, sizeof *join->heap))
        return false;
    struct heap_entry entry = {join->pairs[pair].count, pair};
    size_t at = join->heap_count++;
    for (; at > 0 && goes_first(join, entry, join->heap[(at - 1) / 2]); at = (at - 1) / 2)
        join->heap[at] = join->heap[(at - 1) / 2];
    join->heap[at] = entry;
    return true;
}

static struct heap_entry heap_pop(struct wk_join *join)
{
    struct heap_entry top = join->heap[0];
    struct heap_entry last = join->heap[--join->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < join->heap_count; at = child) {
        if (child + 1 < join->heap_count && goes_first(join, join->heap[child + 1], join->heap[child]))
            child++;
        if (!goes_first(join, join->heap[child], last))
            break;
        join->heap[at] = join->heap[child];
    }
    if (join->heap_count > 0)
        join->heap[at] = last;
    return top;
}

static bool push_touched(struct wk_join *join, int64_t min_count)
{
    for (int32_t i = 0; i < join->touched_count; i++)
        if (join->pairs[join->touched[i]].count >= min_count && !heap_push(join, join->touched[i]))
            return false;
    join->touched_count = 0;
    return true;
}

static bool count_pairs(struct wk_join *join)
{
    for (int32_t w = 0; w < join->word_count; w++) {
        const struct word *word = &join->words[w];
        for (int i = 0; i + 1 < word->count; i++) {
            const int32_t *piece = join->pieces + word->start + i;
            if (!raise_pair(join, piece[0], piece[1], w))
                return false;
        }
    }
    return true;
}

/* pop_best takes the most frequent pair off the heap, or -1 when none is left. */
static int32_t pop_best(struct wk_join *join, int64_t min_count, bool *ok)
{
    while (join->heap_count > 0) {
        struct heap_entry top = heap_pop(join);
        int64_t now = join->pairs[top.pair].count;
        if (now == top.count)
            return top.pair;
        /* The count has changed since. Raised pairs were put in again then, so only a lowered one must be now. */
        if (now < top.count && now >= min_count && !heap_push(join, top.pair)) {
            *ok = false;
            return -1;
        }
    }
    return -1;
}

/* join_in_word replaces each left, right of a word by joined, from the left, and keeps the counts of the pairs
 * around it right. */
static bool join_in_word(struct wk_join *join, int32_t w, int32_t left, int32_t right, int32_t joined)
{
    struct word *word = &join->words[w];
    int32_t *pieces = join->pieces + word->start;
    int kept = 0;
    for (int i = 0; i < word->count; i++) {
        if (i + 1 == word->count || pieces[i] != left || pieces[i + 1] != right) {
            pieces[kept++] = pieces[i];
            continue;
        }
        if (kept > 0) {
            lower_pair(join, pieces[kept - 1], left, w);
            if (!raise_pair(join, pieces[kept - 1], joined, w))
                return false;
        }
        if (i + 2 < word->count) {
            lower_pair(join, right, pieces[i + 2], w);
            if (!raise_pair(join, joined, pieces[i + 2], w))
                return false;
        }
        pieces[kept++] = joined;
        i++;
    }
    word->count = kept;
    return true;
}

/* add_joined gives the token "left" + "right", which may be known already through other halves; -1 when memory is out. */
static int32_t add_joined(struct wk_strings *strings, int32_t left, int32_t right)
{
    size_t left_size;
    size_t right_size;
    const char *left_text = wk_strings_get(strings, left, &left_size);
    const char *right_text = wk_strings_get(strings, right, &right_size);
    assert(right_size > 2 && memcmp(right_text, "##", 2) == 0);
    SL_AUTO_FREE char *text = sl_alloc(left_size + right_size, 1);
    if (text == NULL)
        return -1;
    memcpy(text, left_text, left_size);
    memcpy(text + left_size, right_text + 2, right_size - 2);
    return wk_strings_intern(strings, text, left_size + right_size - 2);
}

enum sl_status wk_join_run(struct wk_join *join, struct wk_strings *strings, int size, int64_t min_count)
{
    if (!count_pairs(join) || !push_touched(join, min_count))
        return SL_NO_MEMORY;
    bool ok = true;
    while (strings->count < size) {
        int32_t best = pop_best(join, min_count, &ok);
        if (best < 0)
            return ok ? SL_OK : SL_NO_MEMORY;
        int32_t left = join->pairs[best].left;
        int32_t right = join->pairs[best].right;
        int32_t joined = add_joined(strings, left, right);
        if (joined < 0)
            return SL_NO_MEMORY;
        join->joins++;
        SL_AUTO_FREE int32_t *words = SL_TAKE(join->pairs[best].words);
        int32_t word_count = join->pairs[best].word_count;
        join->pairs[best].word_count = join->pairs[best].word_room = 0;
        for (int32_t i = 0; i < word_count; i++)
            if (!join_in_word(join, words[i], left, right, joined))
                return SL_NO_MEMORY;
        /* In a run such as "a a a" the pair overlaps itself, so it was lowered more often than it stood there. */
        join->pairs[best].count = 0;
        if (!push_touched(join, min_count))
            return SL_NO_MEMORY;
    }
    return SL_OK;
}
