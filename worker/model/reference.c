/* Plain twins of the model's operations: see reference.h. */
#include "worker/model/reference.h"

#include <math.h>
#include <string.h>

void wk_reference_linear(
        double *y, const double *x, const double *w, const double *b, size_t rows, size_t out, size_t in)
{
    for (size_t r = 0; r < rows; r++) {
        for (size_t o = 0; o < out; o++) {
            double sum = b[o];
            for (size_t i = 0; i < in; i++)
                sum += x[r * in + i] * w[o * in + i];
            y[r * out + o] = sum;
        }
    }
}

void wk_reference_linear_backward(double *dx, double *dw, double *db, const double *dy, const double *x,
        const double *w, size_t rows, size_t out, size_t in)
{
    memset(dx, 0, rows * in * sizeof(*dx));
    memset(dw, 0, out * in * sizeof(*dw));
    memset(db, 0, out * sizeof(*db));
    for (size_t r = 0; r < rows; r++) {
        for (size_t o = 0; o < out; o++) {
            double d = dy[r * out + o];
            db[o] += d;
            for (size_t i = 0; i < in; i++) {
                dx[r * in + i] += d * w[o * in + i];
                dw[o * in + i] += d * x[r * in + i];
            }
        }
    }
}

static double cdf(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

void wk_reference_gelu(double *y, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * cdf(x[i]);
}

void wk_reference_gelu_backward(double *dx, const double *dy, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * (cdf(x[i]) + x[i] * exp(-0.5 * x[i] * x[i]) / sqrt(2.0 * M_PI));
}

/* x̂ of one row; returns 1 / √(variance + eps). */
static double normalise(double *hat, const double *x, size_t n)
{
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean) / (double)n;
    double rstd = 1.0 / sqrt(variance + 1e-12);
    for (size_t i = 0; i < n; i++)
        hat[i] = (x[i] - mean) * rstd;
    return rstd;
}

void wk_reference_norm(
        double *y, const double *x, const double *gamma, const double *beta, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        (void)normalise(y, x, n);
        for (size_t i = 0; i < n; i++)
            y[i] = y[i] * gamma[i] + beta[i];
    }
}

void wk_reference_norm_backward(double *dx, double *dgamma, double *dbeta, const double *dy, const double *x,
        const double *gamma, size_t rows, size_t n)
{
    memset(dgamma, 0, n * sizeof(*dgamma));
    memset(dbeta, 0, n * sizeof(*dbeta));
    for (size_t r = 0; r < rows; r++, x += n, dy += n, dx += n) {
        double sum = 0.0, dot = 0.0, rstd = normalise(dx, x, n); /* dx holds x̂ for a while */
        for (size_t i = 0; i < n; i++) {
            dgamma[i] += dy[i] * dx[i];
            dbeta[i] += dy[i];
            sum += dy[i] * gamma[i] / (double)n;
            dot += dy[i] * gamma[i] * dx[i] / (double)n;
        }
        for (size_t i = 0; i < n; i++)
            dx[i] = rstd * (dy[i] * gamma[i] - sum - dx[i] * dot);
    }
}

void wk_reference_softmax(double *y, const double *x, double scale, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, x += n, y += n) {
        double peak = x[0], sum = 0.0;
        for (size_t i = 1; i < n; i++)
            peak = fmax(peak, x[i]);
        for (size_t i = 0; i < n; i++)
            sum += y[i] = exp(scale * (x[i] - peak));
        for (size_t i = 0; i < n; i++)
            y[i] /= sum;
    }
}

void wk_reference_softmax_backward(
        double *dx, const double *dy, const double *y, double scale, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++, dx += n, dy += n, y += n) {
        double dot = 0.0;
        for (size_t i = 0; i < n; i++)
            dot += dy[i] * y[i];
        for (size_t i = 0; i < n; i++)
            dx[i] = scale * y[i] * (dy[i] - dot);
    }
}

/* Probability that query i gives key j in the head whose columns begin at h: the largest score is subtracted,
 * so any size of score is fine. */
static double probability(
        const double *q, const double *k, size_t i, size_t j, size_t nk, size_t h, size_t dh, size_t d)
{
    double scores_peak = -INFINITY, own = 0.0, sum = 0.0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t l = 0; l < nk; l++) {
            double score = 0.0;
            for (size_t c = h; c < h + dh; c++)
                score += q[i * d + c] * k[l * d + c];
            score /= sqrt((double)dh);
            if (pass == 0)
                scores_peak = fmax(scores_peak, score);
            else
                sum += exp(score - scores_peak);
            own = l == j ? score : own;
        }
    }
    return exp(own - scores_peak) / sum;
}

void wk_reference_attention(double *context, const double *q, const double *k, const double *v, size_t nq,
        size_t nk, size_t heads, size_t d)
{
    size_t dh = d / heads;
    memset(context, 0, nq * d * sizeof(*context));
    for (size_t h = 0; h < d; h += dh)
        for (size_t i = 0; i < nq; i++)
            for (size_t j = 0; j < nk; j++) {
                double p = probability(q, k, i, j, nk, h, dh, d);
                for (size_t c = h; c < h + dh; c++)
                    context[i * d + c] += p * v[j * d + c];
            }
}

void wk_reference_attention_backward(double *dq, double *dk, double *dv, const double *dcontext,
        const double *q, const double *k, const double *v, size_t nq, size_t nk, size_t heads, size_t d)
{
    size_t dh = d / heads;
    memset(dq, 0, nq * d * sizeof(*dq));
    memset(dk, 0, nk * d * sizeof(*dk));
    memset(dv, 0, nk * d * sizeof(*dv));
    for (size_t h = 0; h < d; h += dh) {
        for (size_t i = 0; i < nq; i++) {
            double mean = 0.0; /* Σ over keys of p dp */
            for (int pass = 0; pass < 2; pass++) {
                for (size_t j = 0; j < nk; j++) {
                    double p = probability(q, k, i, j, nk, h, dh, d), dp = 0.0;
                    for (size_t c = h; c < h + dh; c++)
                        dp += dcontext[i * d + c] * v[j * d + c];
                    if (pass == 0) {
                        mean += p * dp;
                        continue;
                    }
                    double dscore = p * (dp - mean) / sqrt((double)dh);
                    for (size_t c = h; c < h + dh; c++) {
                        dv[j * d + c] += p * dcontext[i * d + c];
                        dq[i * d + c] += dscore * k[j * d + c];
                        dk[j * d + c] += dscore * q[i * d + c];
                    }
                }
            }
        }
    }
}

static double log_probability(const double *logits, size_t classes, size_t k)
{
    double peak = logits[0], sum = 0.0;
    for (size_t i = 1; i < classes; i++)
        peak = fmax(peak, logits[i]);
    for (size_t i = 0; i < classes; i++)
        sum += exp(logits[i] - peak);
    return logits[k] - peak - log(sum);
}

double wk_reference_loss(const double *logits, size_t classes, size_t label, double weight, double smoothing)
{
    double loss = -(1.0 - smoothing) * log_probability(logits, classes, label);
    for (size_t k = 0; k < classes; k++)
        loss -= smoothing / (double)classes * log_probability(logits, classes, k);
    return weight * loss;
}

void wk_reference_loss_backward(
        double *dlogits, const double *logits, size_t classes, size_t label, double weight, double smoothing)
{
    for (size_t k = 0; k < classes; k++) {
        double target = smoothing / (double)classes + (k == label ? 1.0 - smoothing : 0.0);
        dlogits[k] = weight * (exp(log_probability(logits, classes, k)) - target);
    }
}
