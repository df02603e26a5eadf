/* match.h - small questions that patterns ask of a graph. */
#ifndef COMPILER_PASSES_MATCH_H
#define COMPILER_PASSES_MATCH_H

#include <stdbool.h>

#include "compiler/ir/graph.h"

/* The node of operator `op` that makes v, or NULL. */
struct node *made_by(const struct value *v, op_id op);

/* As made_by, and nothing else reads v. */
struct node *made_only_for(const struct value *v, op_id op);

/* The one node that reads v, if it is an `op` and nothing else reads v; or NULL. */
struct node *only_reader(const struct value *v, op_id op);

/* A constant of one F32 element (any rank): its value. */
bool scalar_f32(const struct value *v, float *out);
/* Is v such a scalar, equal to `x` within a few units in the last place? */
bool is_scalar(const struct value *v, double x);

/* Splits a commutative node into a scalar and the rest. False: neither operand is a scalar. */
bool split_scalar(const struct node *n, struct value **rest, float *scalar);

/* The other operand of a node with two; NULL when v is neither. */
struct value *other_operand(const struct node *n, const struct value *v);

bool same_dims(const struct value *a, const struct value *b); /* all known and equal */
bool same_type(const struct value *a, const struct value *b); /* and the dtype */

/* Is `axes` (attribute or operand `input`) just the last axis of v, and keepdims as wanted? */
bool reduces_last_axis(const struct node *n, bool keepdims);

/* The bounds of a Clip, from attributes or constant operands; -FLT_MAX and FLT_MAX where absent.
 * False: not known. */
bool clip_bounds(const struct node *n, float *low, float *high);

#endif
