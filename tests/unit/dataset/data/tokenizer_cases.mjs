// Makes tokenizer_cases.jsonl: texts and the ids that Hugging Face's tokenizer gives them with tokenizer_vocab.txt. Run it to add cases:
//     npm install tokenizers@0.23.2 --prefix /somewhere
//     NODE_PATH=/somewhere/node_modules node tokenizer_cases.mjs            writes tokenizer_cases.jsonl
//     node tokenizer_cases.mjs --manifest > m.jsonl                         the sentences, as a manifest
//     shelflife vocab m.jsonl --out tokenizer_vocab.txt --size 900          how the vocabulary was made
import { createRequire } from "module";
import { readFileSync, writeFileSync } from "fs";
import { dirname, join } from "path";
import { fileURLToPath } from "url";
import { crc32 } from "zlib";

const here = dirname(fileURLToPath(import.meta.url));

const sentences = [
  "Breaking: fire at the harbour, live pictures", "The market closes higher after a quiet day", "How to bake bread without an oven",
  "Tomorrow's weather: rain in the north, sun in the south", "Final score 3-2 after extra time!", "Ten tips for a tidy kitchen (no. 7 will surprise you)",
  "A walk through the old town in autumn", "LIVE: press conference starts at 14:30", "Spring festival calendar 2026: all dates",
  "Why do cats purr? A short explanation", "E-mail us: news@example.org or call +44 20 7946 0000", "Price drops by 12.5% - only today",
  "The video stays fresh for 24h, then it expires", "Watch highlights: Rovers vs. United", "Learn to play the guitar in 30 days",
  "Exchange rates & interest: what changed this week?", "Flood warning issued for the lower valley", "Grandmother's recipe for apple pie",
  "Countdown to the sale: 48 hours left", "Traffic jam on the ring road, expect delays of 40 min",
  "突发：港口起火，现场画面", "明天天气：北方有雨，南方晴", "如何在家做红烧肉", "今日股市收盘小幅上涨", "比赛直播：第二节已经开始", "春节假期安排，一看就懂",
  "老城秋天的风景", "限时抢购，只剩最后两天", "三分钟学会系领带", "这个视频还新鲜吗？", "暴雨预警：请减少外出", "吉他入门教程第1课",
  "iPhone手机怎么清理缓存", "2026年世界杯赛程表", "「新闻」今天发生了什么……", "每周汇率变化与利率",
  "Le marché ferme en hausse après une journée calme", "Où trouver la météo de demain à Orléans ?", "Naïve café, crème brûlée, garçon, œuvre, Noël",
  "Wie lange bleibt das Video aktuell? Größe, Straße, Übung, Äpfel", "Das Wetter für morgen: kühl, später Regen", "¿Cuánto dura la oferta? ¡Sólo hoy!",
  "El niño comió piñón y jalapeño", "Previsão do tempo para amanhã: sol e calor, não há chuva", "İstanbul'da hava yarın güneşli, ılık",
  "Zażółć gęślą jaźń", "Příliš žluťoučký kůň úpěl ďábelské ódy", "Сколько длится распродажа? Ёлка и йогурт", "Погода на завтра: дождь, ветер",
  "Ο καιρός αύριο: ΗΛΙΟΣ και ζέστη", "מזג האוויר מחר: שֶׁמֶשׁ וגשם", "الطقس غدًا: مُشْمِس ودافئ", "कल का मौसम: बारिश और धूप", "พรุ่งนี้อากาศร้อน",
  "明日の天気は晴れ、ところによりにわか雨", "ガイドブックとパン", "내일 날씨는 맑음", "한국 뉴스 속보", "Thời tiết ngày mai: nắng ở Đà Nẵng",
  "ამინდი ხვალ", "Ամպամած եղանակ", "ዜና ዛሬ", "Fjörður og þoka á Íslandi", "Łódź, Świnoujście, Žižkov, Ångström",
];

const nasty = [
  "", " ", " \t\r\n ", "a\u0000b", "\u0000", "a\u0007b\u007fc", "a\ufffdb", "\ufeffvideo", "a\u00a0b\u2003c\u3000d", "a\u200bb\u200dc\u2060d", "a\u2028b\u2029c\u0085d", "the\u000bvideo\u000cstays",
  "so\u00adft hy\u00adphen", "e\u0301cole \u00e9cole", "İstanbul I\u0307 ı", "ß ẞ ſ ŉ ǰ", "Ǆ ǅ ǆ", "ﬁne ﬂow ﬀ", "Ａｂｃ１２３ ｶﾞ", "①②③ ㈱ Ⅷ ⅷ", "\u212b \u2126 \u212a", "ΟΔΟΣ οδος ς",
  "か\u3099 が", "한국 \u1112\u1161\u11ab", "豈更車", "㐀𠀀𪜀𫝀𫠠丽", "𫠝\u{2b91f}\u{2b920}", "😀👨‍👩‍👧 fresh 🇩🇪", "𝐀𝐛𝒄 𐐀𐐨", "\u{e0001}tag\u{e0020}", "\ue000private\u{f0000}", "\u0378unassigned\u{30000}",
  "\u061c\u061d\u166d\u{111c9}", "\u1734\u1714\u1715", "\u0898\u08d3\u1abf\u1df6", "\u{10d50}\u1c89\ua7cb\ua7dc", "\u{11938}\u{16ff0}",
  "a\u034fb\u0301\u034f\u0323c", "x\u302e\u{1d165}y", "x\u{1d165}\u302e\u0334y", "x" + "\u0301".repeat(300) + "y", "x" + "\u302e\u{1d165}".repeat(40) + " y", "x" + "\u302e\u{1d165}".repeat(200) + " y z",
  "s".repeat(99), "s".repeat(100), "s".repeat(101), "st".repeat(200) + " the", "é".repeat(100), "e\u0301".repeat(100), "é".repeat(101), "新".repeat(120),
  "[MASK]", "the [MASK] stays", "a[MASK]b", "[mask] [Mask]", "[[SEP]]", "[CLS][SEP][PAD][UNK]", "[UNK", "[ MASK ]", "[MASK][MASK", "[SEP\u0000]", "[MA\u0301SK]", "x\u0301[SEP]\u0301y",
  "##s ##ing # ## ###", "don't can't o'clock", "C++ C# F# .NET", "foo_bar a/b\\c", "1,000.50 $5 €7 £9 ¥8", "...!!!???", "“a…b” ‘c’ «d» 「e」《f》", "。，、；：？！—～·", "100%~^`|<>=+*&@", "(a)[b]{c}",
  "؟،؛ ।॥ ·", "~~strike~~", "a-b–c—d―e", "qzx qqq zzzx", "xyz\u4e00abc", "۱۲۳ ०१२", "½ ² µ ª", "\u2126\u03c9", "Ꭰᏸꭰ", "\u0345\u0301", "ǈ ǋ ǲ",
];

// A small generator of its own, so that the cases are the same everywhere.
let state = 12345;
const random = (n) => ((state = (Math.imul(state, 1103515245) + 12345) >>> 0), Math.floor((state / 4294967296) * n));
const pick = (list) => list[random(list.length)];
const point = (first, last) => () => String.fromCodePoint(first + random(last - first + 1));
const pools = [point(0x20, 0x7e), point(0xa0, 0x24f), point(0x300, 0x36f), point(0x370, 0x5ff), point(0x600, 0x11ff), point(0x1200, 0x2fff), point(0x3040, 0x30ff),
  point(0x4e00, 0x9fff), point(0xa000, 0xd7a3), point(0xf900, 0xffff), point(0x10000, 0x1ffff), point(1, 0x1f), () => pick(["[MASK]", "[SEP]", " ", "the", "##s", "\u200d", "\u302e", "\u{1d165}", "\u3099"])];
const randomText = () => {
  const some = [pick(pools), pick(pools), pick(pools), pools[0], pools[12]];
  return Array.from({ length: 1 + random(24) }, () => pick(some)()).join("");
};

if (process.argv[2] === "--manifest") {
  for (const title of sentences) console.log(JSON.stringify({ title, ocr: title.toLowerCase(), asr: title }));
  process.exit(0);
}

const T = createRequire(join(process.env.NODE_PATH ?? here, "x"))("tokenizers");
const tokens = readFileSync(join(here, "tokenizer_vocab.txt"), "utf8").split("\n").slice(0, -1);
const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const entry = (token) => ({ id: token, ids: [vocab[token]], tokens: [token] });
const piece = (id, type_id) => ({ Sequence: { id, type_id } });
const mark = (id, type_id) => ({ SpecialToken: { id, type_id } });
const tokenizer = (lowercase, max_length) => T.Tokenizer.fromString(JSON.stringify({
  version: "1.0", truncation: { direction: "Right", max_length, strategy: "LongestFirst", stride: 0 }, padding: null, decoder: null,
  added_tokens: special.map((content) => ({ id: vocab[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
  normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase },
  pre_tokenizer: { type: "BertPreTokenizer" },
  post_processor: { type: "TemplateProcessing", single: [mark("[CLS]", 0), piece("A", 0), mark("[SEP]", 0)],
    pair: [mark("[CLS]", 0), piece("A", 0), mark("[SEP]", 0), piece("B", 1), mark("[SEP]", 1)],
    special_tokens: { "[CLS]": entry("[CLS]"), "[SEP]": entry("[SEP]") } },
  model: { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", max_input_chars_per_word: 100, vocab },
}));

const lines = [];
const add = async (text, lower, max, second) => {
  const encoding = await (second === undefined ? tokenizer(lower, max).encode(text) : tokenizer(lower, max).encode(text, second));
  lines.push(JSON.stringify({ text, ...(second === undefined ? {} : { second }), lower, max, ids: encoding.getIds() }));
};
for (const text of [...sentences, ...nasty]) for (const lower of [true, false]) await add(text, lower, 256);
for (let i = 0; i < 120; i++) await add(randomText(), i % 2 === 0, 256);
for (let i = 0; i < 40; i++) await add(pick(sentences), true, 2 + random(14));
for (let i = 0; i < 30; i++) await add(pick(sentences), i % 2 === 0, 256, pick(sentences));

// Every code point, alone and among combining characters: the words of each text, each with a newline, in one checksum.
const pre = T.bertPreTokenizer();
for (const lowercase of [true, false]) {
  const normalizer = T.bertNormalizer({ cleanText: true, handleChineseChars: true, lowercase });
  let crc = 0;
  for (let c = 0; c < 0x110000; c++) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const s = String.fromCodePoint(c);
    const words = pre.preTokenizeString(normalizer.normalizeString(`a${s}b\u302e${s}\u{1d165}`));
    crc = crc32(words.map(([word]) => word + "\n").join(""), crc);
  }
  lines.push(JSON.stringify({ every_code_point: crc, lower: lowercase }));
}
writeFileSync(join(here, "tokenizer_cases.jsonl"), lines.join("\n") + "\n");
console.log(lines.length, "cases");
