/* The page about a dataset: see report.h. One file, which a mail can carry: styles and pictures are inside, there is no script. */
#include "deploy/inspect/report.h"

#include "common/clock.h"
#include "common/utf8.h"
#include "worker/dataset/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BARS_MAX 32
#define TITLE_BYTES 300 /* of a title that are shown */

static const char style[] =
        ":root{color-scheme:light;--page:#f6f7f9;--card:#fff;--line:#dfe3e8;--ink:#1c2530;--soft:#5b6672;"
        "--bad:#b3261e;--c0:#0072b2;--c1:#d55e00;--c2:#9a5fb4;--c3:#8a7a00;--c4:#c2426a;--c5:#4f7fa8;"
        "--c6:#5d8a1f;--c7:#7662b8}"
        "@media(prefers-color-scheme:dark){:root{color-scheme:dark;--page:#101317;--card:#181c22;--line:#"
        "2a3038;"
        "--ink:#e6e9ed;--soft:#a3adb9;--bad:#f2867c;--c0:#56b4e9;--c1:#f0944d;--c2:#d08fe0;--c3:#d8c24a;"
        "--c4:#ee87a0;--c5:#9fb8d0;--c6:#b2d166;--c7:#b5a6e6}}"
        "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:14px/1.5 "
        "system-ui,"
        "\"Segoe UI\",Roboto,\"Noto Sans\",\"Noto Sans CJK SC\",sans-serif;font-variant-numeric:tabular-nums}"
        "main{max-width:1100px;margin:0 auto;padding:24px 16px 64px}h1{font-size:22px;margin:0;"
        "overflow-wrap:anywhere}h2{font-size:16px;margin:32px 0 8px}p{margin:4px 0;color:var(--soft)}"
        ".cards{display:flex;flex-wrap:wrap;gap:12px;margin:16px "
        "0}.card,section>table,.hist,.pair{background:"
        "var(--card);border:1px solid var(--line);border-radius:8px}.card{padding:10px 16px;min-width:130px}"
        ".card b{display:block;font-size:20px}.card span{color:var(--soft)}.bad{color:var(--bad)}"
        "table{border-collapse:collapse;width:100%}th,td{padding:5px 10px;text-align:left;"
        "border-top:1px solid var(--line)}tr:first-child>*{border-top:0}th{font-weight:600;color:var(--soft)}"
        ".n{text-align:right;white-space:nowrap}.bar{width:34%}.bar i{display:block;height:10px;"
        "border-radius:3px;min-width:1px}.grid{display:grid;gap:12px;"
        "grid-template-columns:repeat(auto-fill,minmax(300px,1fr))}.hist{padding:10px 12px}.hist "
        "svg{display:block;"
        "width:100%;height:70px}.pair{padding:6px 10px;margin:6px "
        "0;overflow-wrap:anywhere;display:grid;gap:4px "
        "16px;grid-template-columns:repeat(auto-fit,minmax(280px,1fr))}.pair small,"
        "figcaption small{color:var(--soft)}.thumbs{display:grid;gap:10px;"
        "grid-template-columns:repeat(auto-fill,minmax(120px,1fr));margin:6px 0 18px}figure{margin:0;"
        "background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden}figure img{"
        "width:100%;aspect-ratio:1;display:block;object-fit:cover;image-rendering:auto}figcaption{"
        "padding:5px 8px;font-size:12px;line-height:1.35;overflow-wrap:anywhere;display:-webkit-box;"
        "-webkit-line-clamp:4;-webkit-box-orient:vertical;overflow:hidden}h3{font-size:13px;margin:10px 0 "
        "4px}section{overflow-x:auto}@media(max-width:700px){.bar{display:none}}";

static void put(struct sl_text *page, const char *text)
{
    sl_text_put(page, text, strlen(text));
}

/* Any bytes as text of a page: what is no UTF-8 or a control character is left out. */
static void put_escaped(struct sl_text *page, const char *text, size_t most)
{
    size_t size = strlen(text), used = 0;
    for (size_t at = 0; at < size && used < most;) {
        uint32_t point = 0;
        size_t length = sl_utf8_next(text + at, size - at, &point);
        const char *c = text + at;
        at += length > 0 ? length : 1;
        used += length;
        if (length == 0 || (point < ' ' && point != '\t') || (point >= 0x7f && point < 0xa0) ||
                (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069))
            continue; /* nor what turns the direction of the rest of the page */
        if (*c == '<')
            put(page, "&lt;");
        else if (*c == '>')
            put(page, "&gt;");
        else if (*c == '&')
            put(page, "&amp;");
        else if (*c == '"')
            put(page, "&quot;");
        else
            sl_text_put(page, c, length);
    }
    if (used < size && used >= most)
        put(page, "…");
}

static void put_base64(struct sl_text *page, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (i + 2 < size ? bytes[i + 2] : 0);
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63],
                i + 1 < size ? digits[three >> 6 & 63] : '=', i + 2 < size ? digits[three & 63] : '='};
        sl_text_put(page, four, sizeof(four));
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

/* ---- sections ---- */

static void put_card(struct sl_text *page, uint64_t number, bool bad, const char *text)
{
    sl_text_printf(page, "<div class=card><b%s>%" PRIu64 "</b><span>%s</span></div>", bad ? " class=bad" : "",
            number, text);
}

static void put_cards(struct sl_text *page, const struct wk_survey *survey)
{
    uint64_t twice = 0, conflicts = 0;
    for (int r = 0; r < WK_ALIKES; r++)
        for (int b = 0; b < survey->split_count; b++)
            for (int a = 0; a <= b; a++) {
                twice += a == b && r == WK_ALIKE_CONTENT ? survey->alike[r][a][b].count : 0;
                conflicts += survey->alike[r][a][b].conflicts;
            }
    put(page, "<div class=cards>");
    for (int s = 0; s < survey->split_count; s++)
        put_card(page, survey->splits[s].count, false, survey->splits[s].name);
    if (survey->split_count > 1)
        put_card(page, survey->leaked, survey->leaked > 0, "held-out samples that are like one of training");
    put_card(page, twice, twice > 0, "with the content of another in their split");
    put_card(page, conflicts, conflicts > 0, "alike under different labels");
    put(page, "</div>");
}

static void put_classes(struct sl_text *page, const struct wk_survey *survey)
{
    put(page, "<section><h2>Classes</h2><table><tr><th>label");
    for (int s = 0; s < survey->split_count; s++)
        sl_text_printf(page, "<th class=n>%s<th class=n>%%<th class=bar>", survey->splits[s].name);
    put(page, "</tr>");
    double widest = 1.0;
    for (int s = 0; s < survey->split_count; s++)
        for (int k = 0; k < survey->label_count; k++) {
            double share = percent(survey->splits[s].labels[k], survey->splits[s].count);
            widest = share > widest ? share : widest;
        }
    for (int k = 0; k < survey->label_count; k++) {
        put(page, "<tr><td>");
        put_escaped(page, survey->labels[k], SL_NAME_MAX);
        for (int s = 0; s < survey->split_count; s++) {
            double share = percent(survey->splits[s].labels[k], survey->splits[s].count);
            sl_text_printf(page,
                    "<td class=n>%" PRIu64 "<td class=n>%.1f<td class=bar><i style=\"width:%.1f%%;"
                    "background:var(--c%d)\"></i>",
                    survey->splits[s].labels[k], share, 100.0 * share / widest, k % 8);
        }
        put(page, "</tr>");
    }
    put(page, "</table>");
    for (int s = 0; s < survey->split_count; s++) {
        const struct wk_survey_split *split = &survey->splits[s];
        uint64_t least = UINT64_MAX, most = 0;
        for (int k = 0; k < survey->label_count; k++) {
            least = split->labels[k] < least ? split->labels[k] : least;
            most = split->labels[k] > most ? split->labels[k] : most;
        }
        if (least == 0)
            sl_text_printf(page, "<p>%s: a label has no samples.</p>", split->name);
        else
            sl_text_printf(page, "<p>%s: the largest class is %.1f times the smallest.</p>", split->name,
                    (double)most / (double)least);
    }
    put(page, "</section>");
}

/* Bars of equal numbers of lengths; the last one holds what is at the limit. */
static void put_histogram(struct sl_text *page, const struct wk_survey_lengths *lengths, int colour)
{
    uint64_t bars[BARS_MAX] = {0}, most = 1;
    int step = (lengths->most + BARS_MAX) / BARS_MAX, count = lengths->most / step + 1;
    for (int i = 0; i <= lengths->most; i++)
        bars[i / step] += lengths->counts[i];
    for (int i = 0; i < count; i++)
        most = bars[i] > most ? bars[i] : most;
    sl_text_printf(page, "<svg viewBox=\"0 0 %d 70\" preserveAspectRatio=none role=img>", count * 10);
    for (int i = 0; i < count; i++) {
        double height = 68.0 * (double)bars[i] / (double)most;
        sl_text_printf(page, "<rect x=%d y=%.1f width=8 height=%.1f fill=\"var(--c%d)\"><title>", i * 10 + 1,
                70.0 - height, height, colour);
        if (step > 1)
            sl_text_printf(page, "%d to %d: ", i * step, i * step + step - 1);
        else
            sl_text_printf(page, "%d: ", i);
        sl_text_printf(page, "%" PRIu64 "</title></rect>", bars[i]);
    }
    put(page, "</svg>");
}

static void put_lengths(struct sl_text *page, const struct wk_survey *survey)
{
    static const char *const items[] = {
            [SL_KIND_VIT] = "frames", [SL_KIND_BERT] = "tokens", [SL_KIND_FEATURES] = "rows"};
    put(page, "<section><h2>Lengths</h2><div class=grid>");
    for (int m = 0; m < survey->modality_count; m++) {
        for (int s = 0; s < survey->split_count; s++) {
            const struct wk_survey_split *split = &survey->splits[s];
            const struct wk_survey_lengths *lengths = &split->lengths[m];
            put(page, "<div class=hist><b>");
            put_escaped(page, survey->modalities[m], SL_NAME_MAX);
            sl_text_printf(page, "</b> %s of %s", items[survey->kinds[m]], split->name);
            put_histogram(page, lengths, m % 8);
            sl_text_printf(page,
                    "<p>least %d, median %d, 95 %% up to %d, most %d; %.1f %% at the limit of %d</p></div>",
                    wk_survey_quantile(lengths, split->count, 0.0),
                    wk_survey_quantile(lengths, split->count, 0.5),
                    wk_survey_quantile(lengths, split->count, 0.95),
                    wk_survey_quantile(lengths, split->count, 1.0),
                    percent(lengths->counts[lengths->most], split->count), lengths->most);
        }
    }
    put(page, "</div></section>");
}

static void put_times(struct sl_text *page, const struct wk_survey *survey)
{
    put(page, "<section><h2>Time of publication</h2><table><tr><th>split<th>oldest<th>newest<th "
              "class=n>unknown</tr>");
    for (int s = 0; s < survey->split_count; s++) {
        const struct wk_survey_split *split = &survey->splits[s];
        char oldest[SL_TIME_TEXT_MAX] = "", newest[SL_TIME_TEXT_MAX] = "";
        if (split->undated < split->count) {
            (void)!sl_time_format(oldest, sizeof(oldest), split->oldest_s, NULL);
            (void)!sl_time_format(newest, sizeof(newest), split->newest_s, NULL);
        }
        sl_text_printf(page, "<tr><td>%s<td>%s<td>%s<td class=n>%" PRIu64 "</tr>", split->name, oldest,
                newest, split->undated);
    }
    put(page, "</table>");
    for (int s = 1; s < survey->split_count; s++) {
        const struct wk_survey_split *first = &survey->splits[0], *split = &survey->splits[s];
        if (first->undated < first->count && split->undated < split->count &&
                split->oldest_s <= first->newest_s)
            sl_text_printf(page,
                    "<p>%s begins before %s ends: accuracy there is not that of predicting the future.</p>",
                    split->name, first->name);
    }
    put(page, "</section>");
}

static void put_sample(struct sl_text *page, const struct wk_survey *survey, uint32_t number)
{
    const struct wk_survey_sample *sample = &survey->samples[number];
    sl_text_printf(page, "<div><small>%s ", survey->splits[sample->split].name);
    put_escaped(page, sample->id, WK_MANIFEST_ID_MAX);
    put(page, " · ");
    put_escaped(page, sample->label >= 0 ? survey->labels[sample->label] : "no label", SL_NAME_MAX);
    put(page, "</small><br>");
    put_escaped(page, sample->title, TITLE_BYTES);
    put(page, "</div>");
}

static void put_alike(
        struct sl_text *page, const struct wk_survey *survey, enum wk_alike reason, int a, int b)
{
    const struct wk_survey_alike *alike = &survey->alike[reason][a][b];
    if (alike->count == 0)
        return;
    sl_text_printf(
            page, "<h3>%s: %" PRIu64 " of %s ", wk_alike_name(reason), alike->count, survey->splits[b].name);
    if (a == b)
        put(page, "are there more than once");
    else
        sl_text_printf(page, "are in %s too", survey->splits[a].name);
    if (alike->conflicts > 0)
        sl_text_printf(page, ", <span class=bad>%" PRIu64 " under another label</span>", alike->conflicts);
    put(page, "</h3>");
    for (int i = 0; i < alike->pair_count; i++) {
        put(page, "<div class=pair>");
        put_sample(page, survey, alike->pairs[i][0]);
        put_sample(page, survey, alike->pairs[i][1]);
        put(page, "</div>");
    }
}

static void put_all_alike(struct sl_text *page, const struct wk_survey *survey)
{
    put(page, "<section><h2>What is alike</h2>");
    size_t before = page->size;
    for (int r = 0; r < WK_ALIKES; r++) {
        for (int b = 1; b < survey->split_count; b++)
            for (int a = 0; a < b; a++)
                put_alike(page, survey, (enum wk_alike)r, a, b);
        for (int a = 0; a < survey->split_count; a++)
            put_alike(page, survey, (enum wk_alike)r, a, a);
    }
    if (page->size == before)
        put(page, "<p>Nothing: no id, content or title comes twice.</p>");
    put(page, "</section>");
}

static void put_thumbs(struct sl_text *page, const struct wk_survey *survey, const struct dp_thumbs *thumbs)
{
    sl_text_printf(page, "<section><h2>Samples of %s</h2>", survey->splits[0].name);
    for (int k = 0; k < survey->label_count; k++) {
        if (thumbs->counts[k] == 0)
            continue;
        put(page, "<h3>");
        put_escaped(page, survey->labels[k], SL_NAME_MAX);
        put(page, "</h3><div class=thumbs>");
        for (int i = 0; i < thumbs->counts[k]; i++) {
            const struct dp_thumb *thumb = &thumbs->items[k][i];
            put(page, "<figure>");
            if (thumb->jpeg != NULL) {
                put(page, "<img alt=\"\" src=\"data:image/jpeg;base64,");
                put_base64(page, thumb->jpeg, thumb->jpeg_size);
                put(page, "\">");
            }
            put(page, "<figcaption>");
            put_escaped(page, thumb->title, TITLE_BYTES);
            put(page, " <small>");
            put_escaped(page, thumb->id, WK_MANIFEST_ID_MAX);
            put(page, "</small></figcaption></figure>");
        }
        put(page, "</div>");
    }
    put(page, "</section>");
}

void dp_report_html(struct sl_text *page, const struct wk_survey *survey, const struct dp_thumbs *thumbs,
        const char *name)
{
    put(page, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
              "content=\"width=device-width\"><title>");
    put_escaped(page, name, TITLE_BYTES);
    put(page, "</title><style>");
    put(page, style);
    put(page, "</style><main><h1>");
    put_escaped(page, name, TITLE_BYTES);
    sl_text_printf(page, "</h1><p>%u samples, %d labels, %d modalities; shelflife %s</p>",
            survey->sample_count, survey->label_count, survey->modality_count, SHELFLIFE_VERSION);
    put_cards(page, survey);
    put_classes(page, survey);
    put_lengths(page, survey);
    put_times(page, survey);
    put_thumbs(page, survey, thumbs);
    put_all_alike(page, survey);
    put(page, "</main></html>\n");
}
