/* The tables of the grammar: see grammar.h. */
#include "deploy/sample/grammar.h"

#include <stddef.h>

#define TEXTS(name, ...) static const char *const name[] = {__VA_ARGS__, NULL}

/* Words without a label */

TEXTS(city, "Lisbon", "Chengdu", "Nairobi", "Osaka", "Toronto", "Lima", "Oslo", "Mumbai", "Dublin",
        "Hangzhou", "Seoul", "Cairo", "Perth", "Austin", "Leeds", "Bogota", "Xiamen", "Turin", "Riga",
        "Da Nang");
TEXTS(person, "Anna", "Marco", "Mei", "Tom", "Priya", "Lucas", "Yuki", "Sara", "Omar", "Grace", "Ivan",
        "Chloe");
TEXTS(weekday, "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday");
TEXTS(city_zh, "成都", "杭州", "西安", "厦门", "哈尔滨", "广州", "南京", "昆明", "青岛", "武汉", "长沙",
        "兰州", "苏州", "福州", "贵阳", "沈阳", "合肥", "南宁", "大连", "济南");
TEXTS(person_zh, "小林", "老王", "阿梅", "大刘", "小陈", "李姐", "阿强", "小雨", "老周", "晓晓", "阿杰",
        "小满");
TEXTS(weekday_zh, "周一", "周二", "周三", "周四", "周五", "周六", "周日");
TEXTS(crowd, "people", "residents", "neighbours", "families", "students", "visitors", "fans", "everyone");
TEXTS(crowd_zh, "市民", "居民", "街坊", "同学们", "游客", "大家", "家长", "网友");

/* A few hours: something is happening now */

TEXTS(flash, "BREAKING", "Just in", "Alert", "Developing", "Urgent", "Live now", "Happening now");
TEXTS(incident, "warehouse fire", "gas leak", "power outage", "bridge closure", "train derailment",
        "chemical spill", "building collapse", "highway pile-up", "bomb scare", "earthquake", "prison break",
        "tunnel smoke", "ferry accident");
TEXTS(place, "the central station", "the harbour", "the old market", "the airport", "the ring road",
        "city hall", "the north bridge", "a shopping centre", "the university");
TEXTS(rescue, "crews on the scene", "evacuation under way", "police ask {crowd} to stay away",
        "rescue continues", "roads sealed off", "no word on injuries yet", "search for the missing goes on");
TEXTS(hours_en, "{flash}: {incident} in {city}", "{incident} near {place} in {city}, {rescue}",
        "{flash}: {incident} at {place}, {rescue}", "Live from {city}: {rescue} after {incident}",
        "{city} {incident}: what we know so far", "Eyewitness video shows {incident} near {place}",
        "{#2-60} hurt in {city} {incident}, {rescue}", "Firefighters battle blaze at {place} in {city}",
        "All flights at {city} grounded, terminal evacuated", "Gunshots reported near {place}, {rescue}",
        "Minister resigns minutes ago, press statement live", "Suspect on the run in {city}, {rescue}",
        "Evacuation ordered around {place} in {city}", "Sirens across {city}: {incident} reported",
        "Police cordon at {place}, officers give first statement",
        "Aftershock felt in {city}, buildings shaking");
TEXTS(flash_zh, "突发", "快讯", "最新消息", "紧急", "刚刚", "现场直播", "速报", "实时");
TEXTS(incident_zh, "火灾", "燃气泄漏", "大面积停电", "列车脱轨", "楼房坍塌", "连环追尾", "地震", "爆炸",
        "山体滑坡", "桥梁封闭", "沉船", "化工厂起火");
TEXTS(place_zh, "火车站", "老城区", "机场高速", "工业园", "商场", "大学城", "码头", "地铁站", "北大桥");
TEXTS(rescue_zh, "救援正在进行", "消防已到场", "警方紧急疏散人群", "道路全线封闭", "伤亡情况不明",
        "搜救仍在继续", "请{crowd_zh}绕行");
TEXTS(hours_zh, "{flash_zh}：{city_zh}{place_zh}发生{incident_zh}", "{city_zh}{incident_zh}现场，{rescue_zh}",
        "{flash_zh}！{incident_zh}，{rescue_zh}", "正在直播{city_zh}{incident_zh}救援",
        "目击者拍下{place_zh}{incident_zh}瞬间", "{city_zh}通报{incident_zh}，{#2-60}人受伤送医",
        "{city_zh}地铁{#1-18}号线突然停运，{rescue_zh}", "{city_zh}机场航班全部停飞，旅客撤离",
        "警方正在{city_zh}追捕嫌犯", "{place_zh}附近传出巨响，{rescue_zh}", "余震不断，{city_zh}多处房屋摇晃",
        "消防员冲进火场，{city_zh}{place_zh}浓烟滚滚", "{flash_zh}：官员几分钟前宣布辞职",
        "{city_zh}拉响警报，{rescue_zh}", "{city_zh}{place_zh}拉起警戒线，警方首次回应",
        "紧急撤离！{city_zh}{place_zh}周边封锁");

/* Half a day: a match */

TEXTS(team, "United", "Rovers", "Tigers", "Hawks", "Wolves", "Dynamo", "Rangers", "Athletic", "Sharks",
        "City FC", "Falcons");
TEXTS(contest, "the derby", "the quarter-final", "the cup tie", "game {#2-7}", "round {#3-38}",
        "the semi-final", "the opener");
TEXTS(half_day_en, "{team} vs {team}: all goals from {contest}",
        "{city} {team} beat {city} {team} {#2-5}-{#0-1}", "Last-minute winner for {city} {team} in {contest}",
        "Highlights: {city} {team} vs {team}, {contest}",
        "{team} {#80-120} {team} {#70-118}, best dunks and blocks", "Penalty shoot-out decides {contest}",
        "Straight sets: {person} into the third round at {city}",
        "Red card and a late equaliser, {team} and {team} draw {#1-3}-{#1-3}",
        "Hat-trick by {person} lifts {team} past {team}", "Kick-off tonight: line-ups for {team} vs {team}",
        "Half-time analysis, {team} lead {team}", "Buzzer beater! {city} {team} steal {contest}",
        "Overtime thriller: {team} edge {team}", "Coach of {team} after the defeat in {contest}",
        "Full-time reaction from the stadium in {city}",
        "Goalkeeper {person} saves everything as {team} hold on");
TEXTS(team_zh, "蓝鲸队", "猛虎队", "雄鹰队", "群狼队", "海牛队", "泰山队", "飞龙队", "雪豹队", "闪电队",
        "钢铁队");
TEXTS(contest_zh, "德比战", "四分之一决赛", "半决赛", "第{#3-30}轮", "揭幕战", "杯赛", "抢七大战");
TEXTS(half_day_zh, "{city_zh}{team_zh}{#2-5}比{#0-1}击败{team_zh}", "{team_zh}对{team_zh}全场集锦",
        "{contest_zh}绝杀！{team_zh}逆转{team_zh}", "点球大战，{team_zh}淘汰{team_zh}",
        "{person_zh}上演帽子戏法，{team_zh}大胜", "{contest_zh}战报：{team_zh}{#80-120}分取胜",
        "今晚开球：{team_zh}迎战{team_zh}首发名单", "中场分析，{team_zh}领先{team_zh}",
        "读秒压哨三分，{team_zh}险胜", "加时激战，{city_zh}{team_zh}晋级",
        "红牌加补时扳平，{team_zh}{#1-3}比{#1-3}战平", "{person_zh}直落两盘闯进第三轮",
        "{contest_zh}十佳进球回放", "主教练赛后谈{team_zh}失利", "门将{person_zh}神扑，{team_zh}守住胜局",
        "{city_zh}主场哨响，球迷庆祝{contest_zh}获胜");

/* A day: markets and the morning's news */

TEXTS(asset, "the index", "tech shares", "bank stocks", "crude oil", "gold", "copper futures", "the euro",
        "the yen", "bond yields", "chip makers", "small caps");
TEXTS(move, "up {#1-4} percent", "down {#1-4} percent", "flat at the close", "rally into the bell",
        "slip at the open", "rebound", "hit a {#5-52}-week high", "extend losses");
TEXTS(day_en, "Market wrap: {asset} {move}", "{weekday} close: {asset} {move}, {asset} {move}",
        "Opening bell: {asset} {move}", "{asset} {move} as traders wait for rate decision",
        "Stocks today: {asset} {move} on heavy volume", "Closing prices for {date}: {asset} {move}",
        "Daily briefing {date}: five headlines before work", "Morning paper review for {weekday}",
        "What moved shares today, {person} explains", "Fuel and vegetable prices today in {city}",
        "Exchange rates this morning: {asset} {move}", "Your {weekday} morning news in {#3-9} minutes",
        "Investors sell {asset}, {asset} {move}", "Trading floor report from {city}: {asset} {move}",
        "Daily horoscope and numbers for {date}", "Earnings beat lifts {asset}, closing report");
TEXTS(asset_zh, "沪指", "创业板", "科技股", "银行股", "原油", "黄金", "铜期货", "人民币汇率", "国债收益率",
        "芯片板块", "白酒股");
TEXTS(move_zh, "上涨{#1-4}%", "下跌{#1-4}%", "尾盘翻红", "高开低走", "创{#5-52}周新高", "缩量震荡",
        "午后跳水", "强势反弹");
TEXTS(day_zh, "收盘播报：{asset_zh}{move_zh}", "{date}股市：{asset_zh}{move_zh}，{asset_zh}{move_zh}",
        "早盘速览，{asset_zh}{move_zh}", "今日行情：{asset_zh}{move_zh}", "{asset_zh}{move_zh}，成交额放大",
        "{weekday_zh}复盘：{asset_zh}为何{move_zh}", "{date}早报：五条要闻",
        "{weekday_zh}早间新闻{#3-9}分钟听完", "{city_zh}今日菜价和油价", "每日汇率，{asset_zh}{move_zh}",
        "{person_zh}盘后点评：{asset_zh}{move_zh}", "北向资金流出，{asset_zh}{move_zh}",
        "今日金价{#480-620}元一克", "开盘竞价，{asset_zh}{move_zh}", "{date}读报：头版都写了什么",
        "财报超预期，{asset_zh}{move_zh}");

/* Three days: the weather */

TEXTS(sky, "heavy rain", "a cold front", "thunderstorms", "a heat wave", "fog", "strong wind", "snow showers",
        "hail", "a typhoon", "drizzle", "clear skies", "frost");
TEXTS(three_days_en, "Weather for {city}: {sky}, then {sky}", "Three-day forecast: {sky} in {city}",
        "{sky} moving towards {city}", "Highs of {#18-39} degrees in {city} before {sky}",
        "Umbrella needed? {city} outlook to {weekday}", "{sky} warning for {city} until {weekday}",
        "Temperatures drop {#6-15} degrees by {weekday}", "Satellite view: {sky} reaches the coast",
        "Pollen and UV forecast to {weekday}", "Low pressure brings {sky} to {city}",
        "Weekend forecast with {person}: {sky}", "Rain radar for {city}, {sky} expected",
        "Storm track: where {sky} lands on {weekday}", "Pack a coat, {city}: {sky} until {weekday}",
        "Air quality outlook, haze over {city} to {weekday}",
        "Sunny spells or {sky}? the next days in {city}");
TEXTS(sky_zh, "暴雨", "强冷空气", "雷阵雨", "高温", "大雾", "大风", "降雪", "冰雹", "台风", "小雨",
        "晴到多云", "霜冻");
TEXTS(three_days_zh, "{city_zh}天气：{sky_zh}转{sky_zh}", "未来三天{city_zh}有{sky_zh}",
        "{sky_zh}正向{city_zh}移动", "最高气温{#18-39}度，随后{sky_zh}",
        "要带伞吗？{city_zh}{weekday_zh}前的天气", "{city_zh}发布{sky_zh}预警",
        "气温骤降{#6-15}度，{weekday_zh}最冷", "卫星云图：{sky_zh}逼近沿海",
        "周末天气预报，{person_zh}为您解读{sky_zh}", "低压带来{sky_zh}，{crowd_zh}注意添衣",
        "{city_zh}雷达回波，{sky_zh}将至", "{sky_zh}路径预报，{weekday_zh}登陆",
        "紫外线和花粉指数，{city_zh}{weekday_zh}前", "{city_zh}空气质量：雾霾持续到{weekday_zh}",
        "出门加衣，{sky_zh}持续到{weekday_zh}", "雨停了吗？{city_zh}接下来{#2-3}天");

/* A week: an event, a sale, a festival */

TEXTS(event, "the lantern festival", "book fair week", "the film festival", "the spring sale",
        "the flower show", "comic con", "the food festival", "the marathon weekend", "exam week",
        "the flash sale", "the music festival", "registration week");
TEXTS(week_en, "{#2-7} days left until {event}", "What's on this week in {city}: {event}",
        "{event} opens in {city} on {weekday}", "Up to {#20-70}% off during {event}",
        "Countdown to {event} in {city}", "Tickets for {event} end this {weekday}",
        "Coupons for {event}, valid all week", "Programme guide: {event}, {city}",
        "How to get early-bird seats for {event}", "Last week to apply, {event} deadline is {weekday}",
        "New in cinemas this week", "Vote before {weekday}: {event} finalists",
        "Save the date: {event} from {date}", "Shopping list for {event}, {#20-70}% discounts",
        "This week's releases and giveaways", "Holiday travel plan for {event} in {city}");
TEXTS(event_zh, "灯会", "书展", "电影节", "春季大促", "花展", "漫展", "美食节", "马拉松", "考试周",
        "限时抢购", "音乐节", "报名周", "庙会");
TEXTS(week_zh, "距离{event_zh}还有{#2-7}天", "本周{city_zh}活动：{event_zh}",
        "{event_zh}{weekday_zh}在{city_zh}开幕", "{event_zh}低至{#2-8}折", "{city_zh}{event_zh}倒计时",
        "{event_zh}门票{weekday_zh}截止", "{event_zh}优惠券本周有效", "{city_zh}{event_zh}节目单",
        "{event_zh}早鸟票攻略", "最后一周报名，{weekday_zh}截止", "本周新片上映指南",
        "{weekday_zh}前投票：{event_zh}入围名单", "{date}起{event_zh}，先收藏日程",
        "{event_zh}满减清单，立省{#50-300}元", "本周上新和抽奖", "{city_zh}{event_zh}假期出行安排");

/* Evergreen: cooking, crafts, landscapes, explanations */

TEXTS(dish, "tomato soup", "hand-pulled noodles", "sourdough bread", "fried rice", "dumplings", "apple pie",
        "mapo tofu", "vegetable curry", "pancakes", "roast chicken", "pickled cucumbers");
TEXTS(craft, "tie a bowline knot", "sharpen a kitchen knife", "fold a paper crane", "repot an orchid",
        "draw a portrait", "fix a bicycle chain", "knit a scarf", "play chess openings",
        "learn guitar chords", "whistle with your fingers");
TEXTS(nature, "mountain lakes", "rice terraces", "a bamboo forest", "desert dunes", "a coral reef",
        "birch woods", "northern fjords", "alpine meadows");
TEXTS(question, "the sky is blue", "bread rises", "cats purr", "tides happen", "the pyramids were built",
        "a piano works", "leaves change colour", "batteries store energy");
TEXTS(evergreen_en, "How to make {dish}", "{dish} recipe with {#3-9} ingredients",
        "Grandma's {dish}, step by step", "How to {craft}", "Beginner's guide: {craft}",
        "{craft} in {#3-15} minutes, tutorial", "Relaxing view of {nature}",
        "{nature} in 4K, quiet sounds for sleep", "Why {question}", "The science behind why {question}",
        "{person} teaches you to {craft}", "Simple {dish} for two", "A walk through {nature} near {city}",
        "{#5-20} tricks to {craft}", "Crispy {dish} without an oven", "Stretching routine for a stiff back");
TEXTS(dish_zh, "番茄炒蛋", "手擀面", "红烧肉", "蛋炒饭", "水饺", "葱油饼", "麻婆豆腐", "酸菜鱼", "豆浆",
        "清蒸鲈鱼", "糖醋排骨");
TEXTS(craft_zh, "打绳结", "磨菜刀", "折纸鹤", "养兰花", "画素描", "修自行车", "织围巾", "下象棋", "弹吉他",
        "写毛笔字");
TEXTS(nature_zh, "高山湖泊", "梯田", "竹海", "沙漠", "珊瑚礁", "白桦林", "草原", "古镇小巷");
TEXTS(question_zh, "天空是蓝色的", "面团会发酵", "猫会打呼噜", "海水会涨潮", "金字塔能建成", "钢琴会发声",
        "树叶会变红", "电池能储电");
TEXTS(evergreen_zh, "{dish_zh}的家常做法", "教你做{dish_zh}，只要{#3-9}种食材", "外婆的{dish_zh}，一步一步来",
        "零基础学{craft_zh}", "{craft_zh}入门教程", "{#3-15}分钟学会{craft_zh}", "{nature_zh}风光，安静助眠",
        "治愈系{nature_zh}慢镜头", "为什么{question_zh}", "科普：{question_zh}的原理",
        "{person_zh}教你{craft_zh}", "两人份{dish_zh}", "走进{city_zh}的{nature_zh}",
        "{craft_zh}的{#5-20}个小技巧", "不用烤箱的{dish_zh}", "肩颈拉伸跟练");

/* Titles that know no label, and what stands around all titles */

TEXTS(plain_en, "Video of the day", "You have to see this", "Watch until the end",
        "{person} posted a new video", "My clip from {city}", "Wow, look at that", "Part {#1-12}",
        "Sharing this with {crowd}", "No title", "VID_{#1000-9999}", "A short one from {date}",
        "Recorded on {weekday}", "Hello from {city}", "Can you believe it", "This one is for {crowd}",
        "{person} in {city}", "Thoughts?", "Uploaded by {person}, {date}", "Something I saw",
        "Clip {#1-400}");
TEXTS(plain_zh, "看看这个", "一定要看到最后", "随手拍", "{person_zh}的新视频", "来自{city_zh}的视频",
        "太厉害了吧", "第{#1-12}集", "分享给{crowd_zh}", "无标题", "视频{#1000-9999}", "{date}的一段",
        "{weekday_zh}拍的", "{city_zh}你好", "你敢信吗", "送给{crowd_zh}", "{person_zh}在{city_zh}",
        "大家怎么看", "{person_zh}上传于{date}", "我看到的画面", "记录一下");
TEXTS(frames_en, "{title}", "{title}", "{title}", "{title}!", "{title} | {city}", "{title} (HD)",
        "[video] {title}", "{title} - {person}", "{title}, {date}", "{city}: {title}", "{title} #{#1-30}",
        "{title} (please share)");
TEXTS(frames_zh, "{title}", "{title}", "{title}", "{title}！", "{title}｜{city_zh}", "{title}（高清）",
        "【视频】{title}", "{title} @{person_zh}", "{title} {date}", "{city_zh}丨{title}", "{title} #{#1-30}",
        "{title}，转给{crowd_zh}");

#define RULE(name)                                                                                           \
    {                                                                                                        \
#name, name                                                                                          \
    }
const struct dp_rule dp_grammar_rules[] = {
        RULE(city),
        RULE(person),
        RULE(weekday),
        RULE(crowd),
        RULE(city_zh),
        RULE(person_zh),
        RULE(weekday_zh),
        RULE(crowd_zh),
        RULE(flash),
        RULE(incident),
        RULE(place),
        RULE(rescue),
        RULE(flash_zh),
        RULE(incident_zh),
        RULE(place_zh),
        RULE(rescue_zh),
        RULE(team),
        RULE(contest),
        RULE(team_zh),
        RULE(contest_zh),
        RULE(asset),
        RULE(move),
        RULE(asset_zh),
        RULE(move_zh),
        RULE(sky),
        RULE(sky_zh),
        RULE(event),
        RULE(event_zh),
        RULE(dish),
        RULE(craft),
        RULE(nature),
        RULE(question),
        RULE(dish_zh),
        RULE(craft_zh),
        RULE(nature_zh),
        RULE(question_zh),
        {NULL, NULL},
};

const char *const *const dp_grammar_titles[DP_LABELS][2] = {
        {hours_en, hours_zh},
        {half_day_en, half_day_zh},
        {day_en, day_zh},
        {three_days_en, three_days_zh},
        {week_en, week_zh},
        {evergreen_en, evergreen_zh},
};
const char *const *const dp_grammar_plain[2] = {plain_en, plain_zh};
const char *const *const dp_grammar_frames[2] = {frames_en, frames_zh};
