#include "model/rope.h"

#include <math.h>

#include "base/fmath.h"

static const double TWO_PI = 0x1.921fb54442d18p+2;

/* The dimension whose wave fits `turns` times into the original context. */
static double yarn_dimension(const struct model_config *c, double turns)
{
    double base = log_f64(c->rope_theta);
    return c->head_dim / 2.0 * log_f64(c->yarn_context / (turns * TWO_PI)) / base;
}

void rope_init(struct rope *rope, const struct model_config *c)
{
    rope->half = c->head_dim / 2;
    rope->concentration = 1.0f;
    double low = 0.0, high = 0.0;
    if (c->yarn) {
        low = yarn_dimension(c, c->yarn_beta_fast);
        high = yarn_dimension(c, c->yarn_beta_slow);
        if (c->yarn_truncate) {
            low = floor(low);
            high = -floor(-high);
        }
        rope->concentration = (float)(0.1 * log_f64(c->yarn_factor) + 1.0);
    }
    for (int i = 0; i < rope->half; i++) {
        double plain = exp_f64(-(double)i / rope->half * log_f64(c->rope_theta));
        double ramp = c->yarn ? (i - low) / (high - low) : 0.0;
        ramp = ramp > 0.0 ? (ramp < 1.0 ? ramp : 1.0) : 0.0;
        double stretched = c->yarn ? plain / c->yarn_factor : plain;
        rope->inv[i] = (float)(plain * (1.0 - ramp) + stretched * ramp);
    }
}

void rope_table(const struct rope *rope, int position, float *cosine, float *sine)
{
    for (int i = 0; i < rope->half; i++) {
        double s, c;
        sincos_f64((double)((float)position * rope->inv[i]), &s, &c);
        cosine[i] = (float)c * rope->concentration;
        sine[i] = (float)s * rope->concentration;
    }
}
