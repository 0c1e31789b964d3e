#pragma once
/* The files of page/, put into the program by the build (embed.cmake): the dashboard works from one binary. */
#include <stddef.h>

struct dp_asset {
    const char *path; /* "/style.css"; the page itself is "/" */
    const char *type; /* MIME */
    const char *etag; /* with its quotes */
    const unsigned char *bytes;
    size_t size;
};

/* dp_asset_find gives the asset of a path, NULL when there is none. */
const struct dp_asset *dp_asset_find(const char *path);
