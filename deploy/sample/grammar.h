#pragma once
/* The grammar that titles are drawn from: tables only, title.c draws.
 *
 * A rule is a name and the texts that may stand for it. A text may hold
 *
 *     {name}      one text of the rule of that name
 *     {#3-40}     a number from 3 to 40
 *     {date}      the day of publication, as the language writes it
 *
 * Words of the rules without a label (cities, people, weekdays, decorations) stand in the titles of every label and in plain titles.
 */
#include "deploy/sample/plan.h"

struct dp_rule {
    const char *name;
    const char *const *texts; /* ended by NULL */
};

extern const struct dp_rule dp_grammar_rules[]; /* ended by a rule without a name */
extern const char *const
        *const dp_grammar_titles[DP_LABELS][2];       /* by label; [1] is Chinese; each ended by NULL */
extern const char *const *const dp_grammar_plain[2];  /* titles that know no label */
extern const char *const *const dp_grammar_frames[2]; /* what stands around any title; {title} is the title */
