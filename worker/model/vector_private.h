#pragma once
/* The tables that vector_*.c define, for vector.c alone. */
#include "worker/model/vector.h"

extern const struct wk_vector wk_vector_plain;
#if defined(__x86_64__)
extern const struct wk_vector wk_vector_avx2;
extern const struct wk_vector wk_vector_avx512;
#endif
