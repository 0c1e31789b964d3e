#pragma once
/* Plain twins of the model's operations, in double and without any trick: what a reader checks against the
 * papers, and what tests hold the fast kernels against. Nothing in the program calls them. Each backward twin
 * is itself held against central differences of its forward.
 *
 * Shapes are those of the fast twins, without strides. A backward writes (does not add) all its results, and
 * takes the forward's inputs.
 */
#include <stddef.h>

/* y = x Wᵀ + b. Shapes: y (rows, out), x (rows, in), w (out, in), b (out,). */
void wk_reference_linear(
        double *y, const double *x, const double *w, const double *b, size_t rows, size_t out, size_t in);
void wk_reference_linear_backward(double *dx, double *dw, double *db, const double *dy, const double *x,
        const double *w, size_t rows, size_t out, size_t in);

/* y = x Φ(x), Φ by the C library's erfc. */
void wk_reference_gelu(double *y, const double *x, size_t n);
void wk_reference_gelu_backward(double *dx, const double *dy, const double *x, size_t n);

/* y = (x − mean) / √(variance + 1e-12) · gamma + beta, row by row. */
void wk_reference_norm(
        double *y, const double *x, const double *gamma, const double *beta, size_t rows, size_t n);
void wk_reference_norm_backward(double *dx, double *dgamma, double *dbeta, const double *dy, const double *x,
        const double *gamma, size_t rows, size_t n);

/* y = softmax(scale x), row by row; the backward takes y. */
void wk_reference_softmax(double *y, const double *x, double scale, size_t rows, size_t n);
void wk_reference_softmax_backward(
        double *dx, const double *dy, const double *y, double scale, size_t rows, size_t n);

/* One segment of attention. Shapes: context, q (nq, d), k, v (nk, d). */
void wk_reference_attention(double *context, const double *q, const double *k, const double *v, size_t nq,
        size_t nk, size_t heads, size_t d);
void wk_reference_attention_backward(double *dq, double *dk, double *dv, const double *dcontext,
        const double *q, const double *k, const double *v, size_t nq, size_t nk, size_t heads, size_t d);

/* Class-weighted, smoothed cross-entropy of one sample, as loss.h defines it. Shapes: logits, dlogits
 * (classes,). */
double wk_reference_loss(const double *logits, size_t classes, size_t label, double weight, double smoothing);
void wk_reference_loss_backward(
        double *dlogits, const double *logits, size_t classes, size_t label, double weight, double smoothing);
