/* onnx_internal.h - what onnx.c (structure) and onnx_data.c (elements) share. */
#ifndef CODEC_ONNX_INTERNAL_H
#define CODEC_ONNX_INTERNAL_H

#include "base/file.h"
#include "codec/onnx.h"

/* A file that holds external data, mapped. */
struct onnx_file {
    str location;
    struct file_map map;
    struct onnx_file *next;
};

/* Elements that had to be converted, kept for the next caller. */
struct onnx_slot {
    void *data;
    size_t size;
};

struct onnx_reader_model {
    struct onnx_model model; /* must be first: the public pointer is this one's */
    struct arena arena;
    struct file_map map; /* the model file, if we mapped it */
    int folder;          /* where external data is looked for; -1: refused */
    struct onnx_file *files;
    size_t n_files;
};

/* Bits of one element; 0: variable (STRING) or unknown. */
unsigned onnx_elem_bits(int32_t elem_type);

/* Which field of TensorProto holds elements of this type when they are not raw; 0: unknown. */
int onnx_typed_field(int32_t elem_type);

#endif
