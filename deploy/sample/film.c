/* Light, grain and colour space of a clip: see film.h. */
#include "deploy/sample/film.h"

#include "deploy/sample/dice.h"
#include "deploy/sample/draw.h"

#include <stddef.h>

#define GRAIN_LEVELS 10
#define NOISE_STRIDE                                                                                         \
    509 /* from row to row: no multiple of the picture's width, so that the grain shows no columns */

void dp_film_init(struct dp_film *film, const struct dp_plan *plan)
{
    struct dp_dice dice = dp_dice_make(plan->seed, (uint64_t)plan->clip, DP_DICE_FILM);
    film->seed = plan->seed;
    film->clip = plan->clip;
    int gain = dp_dice_between(&dice, 190, 285);
    film->saturation = dp_dice_between(&dice, 150, 290);
    int offset = dp_dice_between(&dice, -12, 14), grain = dp_dice_below(&dice, GRAIN_LEVELS);
    for (int i = 0; i < 256; i++) {
        film->red[i] = 66 * i * gain / 256 + 256 * (16 + offset) + 128;
        film->green[i] = 129 * i * gain / 256;
        film->blue[i] = 25 * i * gain / 256;
        film->speck[i] = 2 * grain * (i - 128);
    }
    struct sl_random stream =
            sl_random_make(plan->seed, SL_RANDOM_SAMPLE, (uint64_t)plan->clip, DP_DICE_GRAIN);
    for (size_t i = 0; i < DP_NOISE_SIZE / 16; i++) {
        uint32_t words[4];
        sl_random_u32x4(&stream, i, words);
        for (size_t b = 0; b < 16; b++) /* the same order of bytes on every machine */
            film->noise[16 * i + b] = (uint8_t)(words[b / 4] >> (8 * (b % 4)));
    }
}

static uint8_t clamp(int value)
{
    return (uint8_t)(value < 16 ? 16 : value > 235 ? 235 : value);
}

/* place: of the row's first byte of noise */
static void expose_luma(const struct dp_film *film, const uint32_t *pixels, size_t place, uint8_t *luma)
{
    for (size_t x = 0; x < DP_WIDTH; x++) {
        uint32_t pixel = pixels[x];
        int sum = film->red[pixel >> 16 & 255] + film->green[pixel >> 8 & 255] + film->blue[pixel & 255] +
                  film->speck[film->noise[(place + x) % DP_NOISE_SIZE]];
        luma[x] = clamp(sum >> 8); /* shifts of negative numbers round down, as gcc and clang define them */
    }
}

/* Two rows of pixels make one row of each colour plane. */
static void expose_chroma(
        const struct dp_film *film, const uint32_t *above, const uint32_t *below, uint8_t *u, uint8_t *v)
{
    int saturation = film->saturation;
    for (int x = 0; x < DP_WIDTH / 2; x++) {
        uint32_t a = above[2 * x], b = above[2 * x + 1], c = below[2 * x], d = below[2 * x + 1];
        /* red and blue of all four pixels are added in one word, 16 bits apart */
        uint32_t outer = (a & 0xFF00FF) + (b & 0xFF00FF) + (c & 0xFF00FF) + (d & 0xFF00FF);
        int red = (int)(outer >> 16), blue = (int)(outer & 0xFFFF);
        int green = (int)((a >> 8 & 255) + (b >> 8 & 255) + (c >> 8 & 255) + (d >> 8 & 255));
        int cu = (-38 * red - 74 * green + 112 * blue) >> 10, cv = (112 * red - 94 * green - 18 * blue) >> 10;
        u[x] = clamp(128 + ((cu * saturation) >> 8));
        v[x] = clamp(128 + ((cv * saturation) >> 8));
    }
}

void dp_film_expose(const struct dp_film *film, int frame, const uint32_t *pixels, uint8_t *const planes[3],
        const int strides[3])
{
    struct dp_dice dice = dp_dice_make(film->seed, (uint64_t)film->clip, DP_DICE_GRAIN);
    dice.index = DP_NOISE_SIZE / 16 + (uint64_t)frame;
    size_t place = (size_t)dp_dice_below(&dice, DP_NOISE_SIZE);
    for (size_t row = 0; row < DP_HEIGHT; row++) {
        const uint32_t *line = pixels + row * DP_WIDTH;
        expose_luma(film, line, place + row * NOISE_STRIDE, planes[0] + row * (size_t)strides[0]);
        if (row % 2 == 1)
            expose_chroma(film, line - DP_WIDTH, line, planes[1] + row / 2 * (size_t)strides[1],
                    planes[2] + row / 2 * (size_t)strides[2]);
    }
}
