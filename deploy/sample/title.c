/* Draws titles from the grammar: see title.h. A text is expanded from left to right, so that the draws come in a fixed order. */
#include "deploy/sample/title.h"

#include "deploy/sample/dice.h"
#include "deploy/sample/grammar.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DEPTH_MAX 8 /* of rules within rules: deeper is a circle in the tables */

struct writer {
    const struct dp_plan *plan;
    const char *title; /* what {title} stands for */
    struct dp_dice dice;
    char *text; /* (DP_TITLE_MAX,) */
    size_t size;
};

static void expand(struct writer *writer, const char *text, int depth);

static void append(struct writer *writer, const char *text, size_t size)
{
    assert(writer->size + size < DP_TITLE_MAX);
    memcpy(writer->text + writer->size, text, size);
    writer->size += size;
    writer->text[writer->size] = '\0';
}

static const char *pick(struct writer *writer, const char *const *texts)
{
    int count = 0;
    while (texts[count] != NULL)
        count++;
    return texts[dp_dice_below(&writer->dice, count)];
}

static void append_number(struct writer *writer, const char *range)
{
    int low = 0, high = 0;
    int found = sscanf(range, "#%d-%d}", &low, &high);
    assert(found == 2 && low <= high);
    char digits[16];
    int size = snprintf(digits, sizeof digits, "%d", dp_dice_between(&writer->dice, low, high));
    append(writer, digits, (size_t)size);
}

static void append_date(struct writer *writer)
{
    static const char *const months[] = {"January", "February", "March", "April", "May", "June", "July",
            "August", "September", "October", "November", "December"};
    time_t local = (time_t)(writer->plan->published_s + 60 * writer->plan->published_offset_min);
    struct tm day;
    gmtime_r(&local, &day);
    char text[32];
    int size = writer->plan->chinese ? snprintf(text, sizeof text, "%d月%d日", day.tm_mon + 1, day.tm_mday)
                                     : snprintf(text, sizeof text, "%d %s", day.tm_mday, months[day.tm_mon]);
    append(writer, text, (size_t)size);
}

static void append_rule(struct writer *writer, const char *name, size_t size, int depth)
{
    for (const struct dp_rule *rule = dp_grammar_rules; rule->name != NULL; rule++) {
        if (strlen(rule->name) == size && memcmp(rule->name, name, size) == 0) {
            expand(writer, pick(writer, rule->texts), depth + 1);
            return;
        }
    }
    assert(false && "the grammar names a rule that it does not have");
}

static void expand(struct writer *writer, const char *text, int depth)
{
    assert(depth < DEPTH_MAX);
    while (*text != '\0') {
        size_t plain = strcspn(text, "{");
        append(writer, text, plain);
        text += plain;
        if (*text == '\0')
            break;
        const char *end = strchr(text, '}');
        assert(end != NULL);
        const char *name = text + 1;
        size_t size = (size_t)(end - name);
        if (*name == '#')
            append_number(writer, name);
        else if (size == 4 && memcmp(name, "date", 4) == 0)
            append_date(writer);
        else if (size == 5 && memcmp(name, "title", 5) == 0)
            append(writer, writer->title, strlen(writer->title));
        else
            append_rule(writer, name, size, depth);
        text = end + 1;
    }
}

void dp_title_make(const struct dp_plan *plan, char ret_title[DP_TITLE_MAX])
{
    char title[DP_TITLE_MAX] = "";
    struct writer inner = {.plan = plan,
            .dice = dp_dice_make(plan->seed, (uint64_t)plan->clip, DP_DICE_TITLE),
            .text = title};
    const char *const *titles = plan->text_sign == DP_SIGN_NONE
                                        ? dp_grammar_plain[plan->chinese]
                                        : dp_grammar_titles[plan->text_sign][plan->chinese];
    expand(&inner, pick(&inner, titles), 0);
    if (title[0] >= 'a' && title[0] <= 'z') /* a title may open with a lower-case noun */
        title[0] = (char)(title[0] - 'a' + 'A');
    struct writer outer = {.plan = plan, .title = title, .dice = inner.dice, .text = ret_title};
    expand(&outer, pick(&outer, dp_grammar_frames[plan->chinese]), 0);
}
