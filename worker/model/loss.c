/* Cross-entropy: see loss.h. */
#include "worker/model/loss.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* log Σ exp(x), and the index of the first largest. */
static double log_sum(const float *x, int n, int *ret_largest)
{
    int largest = 0;
    for (int k = 1; k < n; k++)
        if (x[k] > x[largest])
            largest = k;
    double sum = 0.0;
    for (int k = 0; k < n; k++)
        sum += exp((double)x[k] - (double)x[largest]);
    *ret_largest = largest;
    return (double)x[largest] + log(sum);
}

void wk_loss_forward(struct wk_loss *ret_loss, float *dlogits, const float *logits, const int *labels,
        const float *class_weights, int batch, int classes, float smoothing, float scale)
{
    struct wk_loss sum = {0};
    double eps = (double)smoothing, share = eps / classes;
    if (dlogits != NULL)
        memset(dlogits, 0, (size_t)batch * (size_t)classes * sizeof(*dlogits));
    for (int b = 0; b < batch; b++, logits += classes) {
        int y = labels[b], largest = 0;
        if (y < 0)
            continue;
        double weight = class_weights == NULL ? 1.0 : (double)class_weights[y],
               norm = log_sum(logits, classes, &largest), all = 0.0;
        for (int k = 0; k < classes; k++) {
            double log_p = (double)logits[k] - norm;
            all -= log_p;
            if (dlogits != NULL)
                dlogits[(ptrdiff_t)b * classes + k] =
                        (float)((double)scale * weight * (exp(log_p) - (k == y ? 1.0 - eps : 0.0) - share));
        }
        sum.loss += weight * ((1.0 - eps) * (norm - (double)logits[y]) + share * all);
        sum.score += exp((double)logits[y] - norm);
        sum.weight_sum += weight;
        sum.correct += largest == y;
        sum.count++;
    }
    *ret_loss = sum;
}
