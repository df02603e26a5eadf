/* resize.h - how Resize and Resize2d map output positions to input positions. */
#ifndef OPS_RESIZE_H
#define OPS_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "ops/dim.h"

typedef enum resize_coordinate {
    RESIZE_HALF_PIXEL,
    RESIZE_HALF_PIXEL_SYMMETRIC,
    RESIZE_PYTORCH_HALF_PIXEL,
    RESIZE_ALIGN_CORNERS,
    RESIZE_ASYMMETRIC,
    RESIZE_TF_HALF_PIXEL_FOR_NN,
    RESIZE_TF_CROP_AND_RESIZE,
} resize_coordinate;

typedef enum resize_nearest {
    RESIZE_ROUND_PREFER_FLOOR,
    RESIZE_ROUND_PREFER_CEIL,
    RESIZE_FLOOR,
    RESIZE_CEIL,
} resize_nearest;

typedef enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC } resize_mode;

/* By ONNX's names ("half_pixel", "round_prefer_floor", "linear"). False: unknown. */
bool resize_coordinate_parse(resize_coordinate *out, str name);
bool resize_nearest_parse(resize_nearest *out, str name);
bool resize_mode_parse(resize_mode *out, str name);

/* Where output position i of `out` lies on an axis of size `in`. `scale` is out / in as given or
 * as it follows from the sizes; roi: the part of the axis that TF_CROP_AND_RESIZE looks at. */
double resize_position(resize_coordinate c, int64_t i, double scale, int64_t in, int64_t out,
                       double roi_start, double roi_end);

/* The input position, not clipped, that nearest takes for `position`. */
int64_t resize_nearest_index(resize_nearest n, double position);

/* floor(in * scale) as a dim; DIM_UNKNOWN when in is an expression and scale no plain fraction. */
dim resize_scaled(struct dim_pool *pool, dim in, double scale);

#endif
