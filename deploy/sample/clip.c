/* Draws, encodes and writes one clip: see clip.h. */
#include "deploy/sample/clip.h"

#include "common/file.h"
#include "common/memory.h"
#include "deploy/sample/draw.h"
#include "deploy/sample/encode.h"
#include "deploy/sample/film.h"
#include "deploy/sample/scene.h"

#include <inttypes.h>
#include <stdio.h>

#define MARK_MAX 96

/* The mark is stored in the video: whoever carries it has all that the pictures depend on, so it tells a right file from another. */
static void write_mark(const struct dp_plan *plan, char ret_mark[MARK_MAX])
{
    snprintf(ret_mark, MARK_MAX, "shelflife-sample %d seed %" PRIu64 " clip %d", DP_VERSION, plan->seed,
            plan->clip);
}

static enum sl_status shoot(struct dp_encoder *encoder, const struct dp_plan *plan, struct sl_error *err)
{
    SL_AUTO(dp_scene_destroy_auto) struct dp_scene *scene = NULL;
    enum sl_status s = dp_scene_create(&scene, plan, err);
    struct dp_film film; /* 70 KB */
    dp_film_init(&film, plan);
    for (int frame = 0; frame < plan->frames && s == SL_OK; frame++) {
        uint8_t *planes[3];
        int strides[3];
        s = dp_encoder_planes(encoder, planes, strides, err);
        if (s != SL_OK)
            return s;
        const uint32_t *pixels = dp_scene_draw(scene, frame);
        if (pixels == NULL)
            return sl_fail(err, SL_NO_MEMORY, "out of memory for a picture");
        dp_film_expose(&film, frame, pixels, planes, strides);
        s = dp_encoder_push(encoder, err);
    }
    return s;
}

enum sl_status dp_clip_make(
        const struct dp_plan *plan, const char *path, bool *ret_drawn, struct sl_error *err)
{
    char mark[MARK_MAX];
    write_mark(plan, mark);
    if (dp_encoder_made(path, mark, plan->frames)) {
        *ret_drawn = false;
        return SL_OK;
    }
    SL_AUTO(dp_encoder_close_auto) struct dp_encoder *encoder = NULL;
    const uint8_t *bytes = NULL;
    size_t size = 0;
    enum sl_status s = dp_encoder_open(&encoder, DP_WIDTH, DP_HEIGHT, DP_FRAME_RATE, mark, err);
    if (s == SL_OK)
        s = shoot(encoder, plan, err);
    if (s == SL_OK)
        s = dp_encoder_finish(encoder, &bytes, &size, err);
    if (s != SL_OK)
        return sl_error_context(err, "%s", path);
    s = sl_file_write_atomic(path, bytes, size, err);
    if (s == SL_OK)
        *ret_drawn = true;
    return s;
}
