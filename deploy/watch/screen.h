#pragma once
/* What `top` shows, drawn into a canvas: the head line, curves of losses, ratios and coefficients, workers, servers, events, and a foot line. Pure. */
#include "common/status_client.h"
#include "deploy/watch/canvas.h"
#include "deploy/watch/trail.h"

struct dp_screen {
    const Shelflife__Status__Status *status; /* the last one, NULL = none yet */
    const struct dp_trail *history;
    enum sl_run_life life;
    const char *text;  /* as sl_status_client_life said */
    const char *place; /* the run's folder or endpoint */
    int scroll;        /* members that are passed over */
};

/* dp_screen_draw empties the canvas and draws for its size, from 20 x 4 up. */
void dp_screen_draw(struct dp_canvas *canvas, const struct dp_screen *screen);
