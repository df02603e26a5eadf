/* image.h - what kernels over images [B, H, W, C] share (template; see README). */
#ifndef KERNELS_SIMD_IMAGE_H
#define KERNELS_SIMD_IMAGE_H

#include "kernels/kernel.h"
#include "kernels/simd/math.h"

#include <string.h>

/* The geometry of a window that slides over an image. */
struct window {
    int64_t batch, h, w, c; /* input */
    int64_t oh, ow, oc;     /* output */
    int64_t kh, kw;         /* window */
    int64_t sh, sw, dh, dw; /* strides, dilations */
    int64_t top, left;      /* padding */
    int64_t bottom, right;
    int64_t size; /* bytes an element of the input */
};

/* A pair of ints that an attribute gives; `fallback` twice when it is not there. */
static inline void image_pair(const struct attr_list *attrs, const char *name, int64_t fallback,
                              int64_t *a, int64_t *b) {
    size_t n;
    const int64_t *v = attr_ints(attrs, name, &n);
    *a = v && n >= 1 ? v[0] : fallback;
    *b = v && n >= 2 ? v[1] : *a;
}

static inline struct window window_of(const struct kernel_call *c, int64_t kh, int64_t kw) {
    const struct tensor *x = c->in[0], *y = c->out[0];
    struct window g = {
        .batch = x->dims[0],
        .h = x->dims[1],
        .w = x->dims[2],
        .c = x->dims[3],
        .oh = y->dims[1],
        .ow = y->dims[2],
        .oc = y->dims[3],
        .kh = kh,
        .kw = kw,
        .size = x->dtype == DTYPE_BF16 ? 2 : 4,
    };
    size_t n;
    const int64_t *pads = attr_ints(c->attrs, "pads", &n);
    image_pair(c->attrs, "strides", 1, &g.sh, &g.sw);
    image_pair(c->attrs, "dilations", 1, &g.dh, &g.dw);
    if (pads && n == 4) {
        g.top = pads[0];
        g.left = pads[1];
        g.bottom = pads[2];
        g.right = pads[3];
    }
    return g;
}

static inline bool image_is_float(const struct tensor *t) {
    return t->dtype == DTYPE_F32 || t->dtype == DTYPE_BF16;
}

/* Past it a window leaves more gaps and border than any image has cells: such models are run by
 * the reference kernels, and sizes of scratch cannot overflow here. */
enum { IMAGE_STEP_MAX = 1 << 15 };

/* No "auto_pad", no negative padding, nothing beyond IMAGE_STEP_MAX. */
static inline bool image_window_is_plain(const struct attr_list *attrs) {
    const char *const lists[] = {"pads", "strides", "dilations", "output_padding", "kernel_shape"};
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        size_t n;
        const int64_t *list = attr_ints(attrs, lists[k], &n);
        for (size_t i = 0; list && i < n; i++)
            if (list[i] < 0 || list[i] > IMAGE_STEP_MAX)
                return false;
    }
    str automatic = attr_string(attrs, "auto_pad", "NOTSET");
    return automatic.n == 0 || str_eq_c(automatic, "NOTSET");
}

enum { IMAGE_SLACK = 64 }; /* zero bytes after a padded image: a run rounded up ends there */

/* Copies rows [from, to) of the padded image: row r of `out` [ph, pw, c] is row r - top of the
 * image x [h, w, c], shifted by `left` pixels; what lies outside is zero. The copy that ends with
 * the last row adds the slack. */
static inline void image_pad(const struct window *g, const char *x, char *out, int64_t pw,
                             int64_t ph, int64_t from, int64_t to) {
    int64_t pixel = g->c * g->size, row = pw * pixel, left = g->left < pw ? g->left : pw;
    int64_t n = g->w < pw - left ? g->w : pw - left;
    if (from < to && to == ph)
        memset(out + ph * row, 0, IMAGE_SLACK);
    for (int64_t r = from; r < to; r++) {
        int64_t h = r - g->top;
        char *p = out + r * row;
        if (h < 0 || h >= g->h) {
            memset(p, 0, (size_t)row);
            continue;
        }
        memset(p, 0, (size_t)(left * pixel));
        memcpy(p + left * pixel, x + h * g->w * pixel, (size_t)(n * pixel));
        memset(p + (left + n) * pixel, 0, (size_t)((pw - left - n) * pixel));
    }
}

#endif
