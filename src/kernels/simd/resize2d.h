/* resize2d.h - nearest and linear resizing of [B, H, W, C] (template; see README). */
#ifndef KERNELS_SIMD_RESIZE2D_H
#define KERNELS_SIMD_RESIZE2D_H

#include "kernels/simd/image.h"
#include "ops/resize.h"

/* Output position o lies between input positions a and b, the part `weight` of the way to b. */
struct resize_tap {
    int64_t a, b;
    float weight;
};

struct resize_modes {
    resize_mode mode;
    resize_coordinate coordinate;
    resize_nearest nearest;
};

static bool resize_modes_of(const struct kernel_call *c, struct resize_modes *m) {
    return resize_mode_parse(&m->mode, attr_string(c->attrs, "mode", "nearest")) &&
           resize_coordinate_parse(&m->coordinate,
                                   attr_string(c->attrs, "coordinate", "half_pixel")) &&
           resize_nearest_parse(&m->nearest,
                                attr_string(c->attrs, "nearest_mode", "round_prefer_floor"));
}

static bool resize_accepts(const struct kernel_call *c) {
    struct resize_modes m;
    return image_is_float(c->in[0]) && image_is_float(c->out[0]) && c->in[0]->rank == 4 &&
           resize_modes_of(c, &m) && m.mode != RESIZE_CUBIC &&
           m.coordinate != RESIZE_TF_CROP_AND_RESIZE;
}

static struct resize_tap resize_tap_of(const struct resize_modes *m, int64_t o, double scale,
                                       int64_t in, int64_t out) {
    struct resize_tap t = {.a = o, .b = o};
    if (scale == 1 && in == out)
        return t;
    double position = resize_position(m->coordinate, o, scale, in, out, 0, 1);
    if (m->mode == RESIZE_NEAREST) {
        t.a = t.b = resize_nearest_index(m->nearest, position);
    } else {
        double whole = floor(position);
        t.a = (int64_t)whole;
        t.b = t.a + 1;
        t.weight = (float)(position - whole);
    }
    t.a = t.a < 0 ? 0 : t.a >= in ? in - 1 : t.a;
    t.b = t.b < 0 ? 0 : t.b >= in ? in - 1 : t.b;
    return t;
}

static double resize_scale(const struct kernel_call *c, int axis) {
    size_t n;
    const float *scales = attr_floats(c->attrs, "scales", &n);
    bool has_sizes = c->n_in > 1 && c->in[1];
    if (!has_sizes && scales && n == 2)
        return (double)scales[axis];
    return (double)c->out[0]->dims[axis + 1] / (double)c->in[0]->dims[axis + 1];
}

static size_t resize_scratch(const struct kernel_call *c, unsigned n_threads) {
    return (size_t)c->out[0]->dims[2] * sizeof(struct resize_tap) * n_threads;
}

/* One row [ow, c] of the output from rows `top` and `bottom` [w, c] of the image. */
static void resize_row(const struct window *g, const struct resize_tap *columns, float weight,
                       const char *top, const char *bottom, bool is_linear, bool x_is_bf16, void *y,
                       int64_t at, bool y_is_bf16) {
    for (int64_t w = 0; w < g->ow; w++, at += g->c) {
        int64_t a = columns[w].a * g->c, b = columns[w].b * g->c;
        vf down = vf_set(weight), right = vf_set(columns[w].weight);
        for (int64_t i = 0; i < g->c; i += VL) {
            int64_t n = g->c - i;
            vf v = vf_load_as(x_is_bf16, top, a + i, n);
            if (is_linear) {
                vf u = vf_load_as(x_is_bf16, bottom, a + i, n);
                v = vf_fma(vf_load_as(x_is_bf16, top, b + i, n) - v, right, v);
                u = vf_fma(vf_load_as(x_is_bf16, bottom, b + i, n) - u, right, u);
                v = vf_fma(u - v, down, v);
            }
            vf_store_as(y_is_bf16, y, at + i, v, n);
        }
    }
}

static status resize_run(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    (void)err;
    struct resize_modes m;
    struct window g = window_of(c, 1, 1);
    struct resize_tap *columns = (struct resize_tap *)c->scratch + g.ow * t->thread;
    int64_t from, to, row = g.w * g.c * g.size;
    resize_modes_of(c, &m);
    for (int64_t i = 0; i < g.ow; i++)
        columns[i] = resize_tap_of(&m, i, resize_scale(c, 1), g.w, g.ow);
    kernel_share(t, g.batch * g.oh, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        struct resize_tap r = resize_tap_of(&m, i % g.oh, resize_scale(c, 0), g.h, g.oh);
        const char *image = (const char *)c->in[0]->data + i / g.oh * g.h * row;
        resize_row(&g, columns, r.weight, image + r.a * row, image + r.b * row,
                   m.mode == RESIZE_LINEAR, g.size == 2, c->out[0]->data, i * g.ow * g.c,
                   c->out[0]->dtype == DTYPE_BF16);
    }
    return STATUS_OK;
}

const struct kernel LEVEL(resize2d) = {
    .name = LEVEL_NAME ".resize2d",
    .isa = LEVEL_ISA,
    .op = OP_Resize2d,
    .accepts = resize_accepts,
    .scratch = resize_scratch,
    .run = resize_run,
};

#endif
