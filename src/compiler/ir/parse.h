/* parse.h - the text form of a graph (print.h) back into a graph.
 *
 * Also takes what is handier to write by hand: a result without a type, and # comments that
 * fill a line. */
#ifndef COMPILER_IR_PARSE_H
#define COMPILER_IR_PARSE_H

#include "compiler/ir/graph.h"

/* Reads `text` into a new graph that lives in `a`. INVALID_ARGUMENT: the text has line, column,
 * wanted and found. RESOURCE_EXHAUSTED: a constant does not fit in memory. */
NODISCARD status graph_parse(struct graph **out, struct arena *a, str text, struct error *err);

#endif
