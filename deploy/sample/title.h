#pragma once
/* Titles of clips, drawn from the grammar (grammar.h).
 *
 *     char title[DP_TITLE_MAX];
 *     dp_title_make(&plan, title);
 */
#include "deploy/sample/plan.h"

#define DP_TITLE_MAX 512 /* bytes of a title with its 0 */

/* dp_title_make writes the clip's title, UTF-8: a function of the plan alone. The grammar's tables are asserted to be sound: every rule that
 * a text names exists, and no title is longer than DP_TITLE_MAX. */
void dp_title_make(const struct dp_plan *plan, char ret_title[DP_TITLE_MAX]);
