/* "Did you mean …?": the nearest of a few words. See config_schema.h. */
#include "common/config_schema.h"

#include <string.h>

#define WORD_MAX 48

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* optimal string alignment: insert, delete, replace, swap two neighbours; each costs 1 */
static int edit_distance(const char *a, const char *b)
{
    size_t rows = strlen(a), columns = strlen(b);
    if (rows > WORD_MAX || columns > WORD_MAX)
        return WORD_MAX;
    int table[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= rows; i++)
        table[i][0] = (int)i;
    for (size_t j = 0; j <= columns; j++)
        table[0][j] = (int)j;
    for (size_t i = 1; i <= rows; i++) {
        for (size_t j = 1; j <= columns; j++) {
            int cost = a[i - 1] == b[j - 1] ? 0 : 1;
            int best = least(least(table[i - 1][j], table[i][j - 1]) + 1, table[i - 1][j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = least(best, table[i - 2][j - 2] + 1);
            table[i][j] = best;
        }
    }
    return table[rows][columns];
}

const char *sl_nearest_word(const char *text, const char *const *candidates, int count)
{
    const char *nearest = NULL;
    size_t length = strlen(text);
    int best = (int)(length / 3) + 1 + 1; /* one slip in a short word, two or more in longer ones */
    for (int i = 0; i < count; i++) {
        int distance = edit_distance(text, candidates[i]);
        if (distance < best && (size_t)distance < strlen(candidates[i])) {
            best = distance;
            nearest = candidates[i];
        }
    }
    return nearest;
}
