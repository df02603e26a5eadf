/* tile_asm.h - the tiles in assembler: 6 x 64 sums in zmm8-zmm31.
 *
 * A step along K takes 4 bytes of each row of x (one f32, two bf16) and, of the panel, as many for
 * each column. gcc 12 spills 24 sums held in intrinsics for some products; here nothing can be
 * spilled, and all element types share the loop: only the product's instruction differs. */
#ifndef KERNELS_X86_AVX512_TILE_ASM_H
#define KERNELS_X86_AVX512_TILE_ASM_H

#include "kernels/simd/gemm.h"

/* One row: its element to all lanes of zmm`t`, then the products with the panel's vectors. */
#define ROW_1(op, row, t, a, b, c, d)                                                              \
    "vbroadcastss (%%" row ",%%rcx),%%zmm" t "\n" op " %%zmm0,%%zmm" t ",%%zmm" a "\n"
#define ROW_2(op, row, t, a, b, c, d)                                                              \
    ROW_1(op, row, t, a, b, c, d) op " %%zmm1,%%zmm" t ",%%zmm" b "\n"
#define ROW_3(op, row, t, a, b, c, d)                                                              \
    ROW_2(op, row, t, a, b, c, d) op " %%zmm2,%%zmm" t ",%%zmm" c "\n"
#define ROW_4(op, row, t, a, b, c, d)                                                              \
    ROW_3(op, row, t, a, b, c, d) op " %%zmm3,%%zmm" t ",%%zmm" d "\n"

#define ROWS_1(f, op) f(op, "r8", "4", "8", "9", "10", "11")
#define ROWS_2(f, op) ROWS_1(f, op) f(op, "r9", "5", "12", "13", "14", "15")
#define ROWS_3(f, op) ROWS_2(f, op) f(op, "r10", "6", "16", "17", "18", "19")
#define ROWS_4(f, op) ROWS_3(f, op) f(op, "r11", "7", "20", "21", "22", "23")
#define ROWS_5(f, op) ROWS_4(f, op) f(op, "r12", "4", "24", "25", "26", "27")
#define ROWS_6(f, op) ROWS_5(f, op) f(op, "r13", "5", "28", "29", "30", "31")

/* The panel's vectors of this step. */
#define PANEL_1 "vmovups (%%rsi),%%zmm0\n"
#define PANEL_2 PANEL_1 "vmovups 64(%%rsi),%%zmm1\n"
#define PANEL_3 PANEL_2 "vmovups 128(%%rsi),%%zmm2\n"
#define PANEL_4 PANEL_3 "vmovups 192(%%rsi),%%zmm3\n"

/* In the shape of ROW_x: the sums start at zero; the panel's vectors, by then the bias, are
 * added. */
#define ZERO(a)                        "vpxord %%zmm" a ",%%zmm" a ",%%zmm" a "\n"
#define ZERO_1(op, row, t, a, b, c, d) ZERO(a)
#define ZERO_2(op, row, t, a, b, c, d) ZERO(a) ZERO(b)
#define ZERO_3(op, row, t, a, b, c, d) ZERO(a) ZERO(b) ZERO(c)
#define ZERO_4(op, row, t, a, b, c, d) ZERO(a) ZERO(b) ZERO(c) ZERO(d)
/* To and from the total at rdx + 256 * row. */
#define KEEP(a, at)                    "vmovaps %%zmm" a "," at "(%%rdx)\n" ZERO(a)
#define KEEP_1(op, row, t, a, b, c, d) KEEP(a, "0") "add $256,%%rdx\n"
#define KEEP_2(op, row, t, a, b, c, d) KEEP(a, "0") KEEP(b, "64") "add $256,%%rdx\n"
#define KEEP_3(op, row, t, a, b, c, d) KEEP(a, "0") KEEP(b, "64") KEEP(c, "128") "add $256,%%rdx\n"
#define KEEP_4(op, row, t, a, b, c, d)                                                             \
    KEEP(a, "0") KEEP(b, "64") KEEP(c, "128") KEEP(d, "192") "add $256,%%rdx\n"
#define TOTAL(a, at)                    "vaddps " at "(%%rdx),%%zmm" a ",%%zmm" a "\n"
#define TOTAL_1(op, row, t, a, b, c, d) TOTAL(a, "0") "add $256,%%rdx\n"
#define TOTAL_2(op, row, t, a, b, c, d) TOTAL(a, "0") TOTAL(b, "64") "add $256,%%rdx\n"
#define TOTAL_3(op, row, t, a, b, c, d)                                                            \
    TOTAL(a, "0") TOTAL(b, "64") TOTAL(c, "128") "add $256,%%rdx\n"
#define TOTAL_4(op, row, t, a, b, c, d)                                                            \
    TOTAL(a, "0") TOTAL(b, "64") TOTAL(c, "128") TOTAL(d, "192") "add $256,%%rdx\n"
#define ADD(v, a)                      "vaddps %%zmm" v ",%%zmm" a ",%%zmm" a "\n"
#define BIAS_1(op, row, t, a, b, c, d) ADD("0", a)
#define BIAS_2(op, row, t, a, b, c, d) ADD("0", a) ADD("1", b)
#define BIAS_3(op, row, t, a, b, c, d) ADD("0", a) ADD("1", b) ADD("2", c)
#define BIAS_4(op, row, t, a, b, c, d) ADD("0", a) ADD("1", b) ADD("2", c) ADD("3", d)

/* Results are clipped to zmm0 .. zmm1 (second operands that are NaN win, so NaN stays) and stored
 * from rax on; the last vector of a row under the mask k1. */
#define CLIP(a)                                                                                    \
    "vmaxps %%zmm" a ",%%zmm0,%%zmm" a "\n"                                                        \
    "vminps %%zmm" a ",%%zmm1,%%zmm" a "\n"
#define PUT(a, at)                      CLIP(a) "vmovups %%zmm" a "," at "(%%rax)\n"
#define LAST(a, at)                     CLIP(a) "vmovups %%zmm" a "," at "(%%rax)%{%%k1%}\n"
#define STORE_1(op, row, t, a, b, c, d) LAST(a, "0")
#define STORE_2(op, row, t, a, b, c, d) PUT(a, "0") LAST(b, "64")
#define STORE_3(op, row, t, a, b, c, d) PUT(a, "0") PUT(b, "64") LAST(c, "128")
#define STORE_4(op, row, t, a, b, c, d) PUT(a, "0") PUT(b, "64") PUT(c, "128") LAST(d, "192")

/* The same, narrowed to bf16. */
#define NARROW(a)                        CLIP(a) "vcvtneps2bf16 %%zmm" a ",%%ymm" a "\n"
#define NARROW_PUT(a, at)                NARROW(a) "vmovdqu16 %%ymm" a "," at "(%%rax)\n"
#define NARROW_LAST(a, at)               NARROW(a) "vmovdqu16 %%ymm" a "," at "(%%rax)%{%%k1%}\n"
#define NARROW_1(op, row, t, a, b, c, d) NARROW_LAST(a, "0")
#define NARROW_2(op, row, t, a, b, c, d) NARROW_PUT(a, "0") NARROW_LAST(b, "32")
#define NARROW_3(op, row, t, a, b, c, d) NARROW_PUT(a, "0") NARROW_PUT(b, "32") NARROW_LAST(c, "64")
#define NARROW_4(op, row, t, a, b, c, d)                                                           \
    NARROW_PUT(a, "0") NARROW_PUT(b, "32") NARROW_PUT(c, "64") NARROW_LAST(d, "96")
#define NARROW_1_NEXT(...) NARROW_1(__VA_ARGS__) "add %%rdx,%%rax\n"
#define NARROW_2_NEXT(...) NARROW_2(__VA_ARGS__) "add %%rdx,%%rax\n"
#define NARROW_3_NEXT(...) NARROW_3(__VA_ARGS__) "add %%rdx,%%rax\n"
#define NARROW_4_NEXT(...) NARROW_4(__VA_ARGS__) "add %%rdx,%%rax\n"
#define STORE_1_NEXT(...)  STORE_1(__VA_ARGS__) "add %%rdx,%%rax\n"
#define STORE_2_NEXT(...)  STORE_2(__VA_ARGS__) "add %%rdx,%%rax\n"
#define STORE_3_NEXT(...)  STORE_3(__VA_ARGS__) "add %%rdx,%%rax\n"
#define STORE_4_NEXT(...)  STORE_4(__VA_ARGS__) "add %%rdx,%%rax\n"

/* A residual is added to the sums, from rax on, rows rdx bytes apart; the last vector under k1. */
#define SUM_PUT(a, at) "vaddps " at "(%%rax),%%zmm" a ",%%zmm" a "\n"
#define SUM_LAST(a, at)                                                                            \
    "vmovups " at "(%%rax),%%zmm4%{%%k1%}%{z%}\nvaddps %%zmm4,%%zmm" a ",%%zmm" a "\n"
#define SUM_1(op, row, t, a, b, c, d) SUM_LAST(a, "0")
#define SUM_2(op, row, t, a, b, c, d) SUM_PUT(a, "0") SUM_LAST(b, "64")
#define SUM_3(op, row, t, a, b, c, d) SUM_PUT(a, "0") SUM_PUT(b, "64") SUM_LAST(c, "128")
#define SUM_4(op, row, t, a, b, c, d)                                                              \
    SUM_PUT(a, "0") SUM_PUT(b, "64") SUM_PUT(c, "128") SUM_LAST(d, "192")
#define WIDE_SUM(a)                    "vpslld $16,%%zmm4,%%zmm4\nvaddps %%zmm4,%%zmm" a ",%%zmm" a "\n"
#define WIDE_PUT(a, at)                "vpmovzxwd " at "(%%rax),%%zmm4\n" WIDE_SUM(a)
#define WIDE_LAST(a, at)               "vpmovzxwd " at "(%%rax),%%zmm4%{%%k1%}%{z%}\n" WIDE_SUM(a)
#define WIDE_1(op, row, t, a, b, c, d) WIDE_LAST(a, "0")
#define WIDE_2(op, row, t, a, b, c, d) WIDE_PUT(a, "0") WIDE_LAST(b, "32")
#define WIDE_3(op, row, t, a, b, c, d) WIDE_PUT(a, "0") WIDE_PUT(b, "32") WIDE_LAST(c, "64")
#define WIDE_4(op, row, t, a, b, c, d)                                                             \
    WIDE_PUT(a, "0") WIDE_PUT(b, "32") WIDE_PUT(c, "64") WIDE_LAST(d, "96")
#define SUM_1_NEXT(...)  SUM_1(__VA_ARGS__) "add %%rdx,%%rax\n"
#define SUM_2_NEXT(...)  SUM_2(__VA_ARGS__) "add %%rdx,%%rax\n"
#define SUM_3_NEXT(...)  SUM_3(__VA_ARGS__) "add %%rdx,%%rax\n"
#define SUM_4_NEXT(...)  SUM_4(__VA_ARGS__) "add %%rdx,%%rax\n"
#define WIDE_1_NEXT(...) WIDE_1(__VA_ARGS__) "add %%rdx,%%rax\n"
#define WIDE_2_NEXT(...) WIDE_2(__VA_ARGS__) "add %%rdx,%%rax\n"
#define WIDE_3_NEXT(...) WIDE_3(__VA_ARGS__) "add %%rdx,%%rax\n"
#define WIDE_4_NEXT(...) WIDE_4(__VA_ARGS__) "add %%rdx,%%rax\n"

/* Before the stores: a jump round them when results are bf16. Nothing without the instruction. */
#ifdef __AVX512BF16__
#define TILE_NARROWING(r, v, op)                                                                   \
    "cmpq $0,128(%%rdi)\n"                                                                         \
    "je 3f\n" ROWS_##r(NARROW_##v##_NEXT, op) "jmp 4f\n"                                           \
                                              "3:\n"
#else
#define TILE_NARROWING(r, v, op)
#endif

/* rdi the struct tile, r8-r13 rows, rcx offset into them, rdx its end, rsi panel, rax what to
 * prefetch, r14 its step, rbx the taps. */
// clang-format off
#define TILE_ASM(type, op, r, v)                                                                   \
    static void tile_##type##_##r##_##v(const struct tile *t) {                                    \
        __asm__ volatile(                                                                          \
            ROWS_##r(ZERO_##v, op)                                                                 \
            "mov (%%rdi),%%r8\n"                                                                   \
            "mov 8(%%rdi),%%r9\n"                                                                  \
            "mov 16(%%rdi),%%r10\n"                                                                \
            "mov 24(%%rdi),%%r11\n"                                                                \
            "mov 32(%%rdi),%%r12\n"                                                                \
            "mov 40(%%rdi),%%r13\n"                                                                \
            "mov 48(%%rdi),%%rbx\n"                                                                \
            "mov 72(%%rdi),%%rsi\n"                                                                \
            "mov 80(%%rdi),%%rax\n"                                                                \
            "mov 88(%%rdi),%%r14\n"                                                                \
            "2:\n"                                                                                 \
            "mov (%%rbx),%%rcx\n"                                                                  \
            "mov 64(%%rdi),%%rdx\n"                                                                \
            "add $8,%%rbx\n"                                                                       \
            "add %%rcx,%%rdx\n"                                                                    \
            ".p2align 5\n"                                                                         \
            "1:\n"                                                                                 \
            PANEL_##v ROWS_##r(ROW_##v, op)                                                        \
            "prefetcht1 (%%rax)\n"                                                                 \
            "add %%r14,%%rax\n"                                                                    \
            "add $(64*" #v "),%%rsi\n"                                                             \
            "add $4,%%rcx\n"                                                                       \
            "cmp %%rcx,%%rdx\n"                                                                    \
            "jne 1b\n"                                                                             \
            /* The first tap of several with a total keeps its sums, the next ones add to them. */      \
            "mov 168(%%rdi),%%rdx\n"                                                                    \
            "test %%rdx,%%rdx\n"                                                                        \
            "jne 7f\n"                                                                                  \
            "cmp %%rbx,56(%%rdi)\n"                                                                     \
            "jne 2b\n"                                                                                  \
            "jmp 9f\n"                                                                                  \
            "7:\n"                                                                                      \
            "mov 48(%%rdi),%%rcx\n"                                                                     \
            "add $8,%%rcx\n"                                                                            \
            "cmp %%rbx,%%rcx\n"                                                                         \
            "je 8f\n"                                                                                   \
            ROWS_##r(TOTAL_##v, op)                                                                     \
            "mov 168(%%rdi),%%rdx\n"                                                                    \
            "cmp %%rbx,56(%%rdi)\n"                                                                     \
            "je 9f\n"                                                                                   \
            "8:\n"                                                                                      \
            ROWS_##r(KEEP_##v, op)                                                                      \
            "jmp 2b\n"                                                                                  \
            "9:\n"                                                                                      \
            "mov 96(%%rdi),%%rsi\n"                                                                \
            PANEL_##v                                                                              \
            ROWS_##r(BIAS_##v, op)                                                                 \
            "kmovw 136(%%rdi),%%k1\n"                                                              \
            "mov 144(%%rdi),%%rax\n"                                                               \
            "mov 152(%%rdi),%%rdx\n"                                                               \
            "test %%rax,%%rax\n"                                                                   \
            "je 6f\n"                                                                              \
            "cmpq $0,160(%%rdi)\n"                                                                 \
            "je 5f\n"                                                                              \
            ROWS_##r(WIDE_##v##_NEXT, op)                                                          \
            "jmp 6f\n"                                                                             \
            "5:\n"                                                                                 \
            ROWS_##r(SUM_##v##_NEXT, op)                                                           \
            "6:\n"                                                                                 \
            "mov 104(%%rdi),%%rax\n"                                                               \
            "mov 112(%%rdi),%%rdx\n"                                                               \
            "vbroadcastss 120(%%rdi),%%zmm0\n"                                                     \
            "vbroadcastss 124(%%rdi),%%zmm1\n"                                                     \
            TILE_NARROWING(r, v, op)                                                               \
            ROWS_##r(STORE_##v##_NEXT, op)                                                         \
            "4:\n"                                                                                 \
            :                                                                                      \
            : "D"(t)                                                                               \
            : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",    \
              "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",      \
              "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18",     \
              "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27",     \
              "zmm28", "zmm29", "zmm30", "zmm31", "k1", "memory", "cc");                           \
    }
// clang-format on

#define TILES_ASM_ROW(type, op, r)                                                                 \
    TILE_ASM(type, op, r, 1)                                                                       \
    TILE_ASM(type, op, r, 2)                                                                       \
    TILE_ASM(type, op, r, 3)                                                                       \
    TILE_ASM(type, op, r, 4)
#define TILES_ASM(type, op)                                                                        \
    TILES_ASM_ROW(type, op, 1)                                                                     \
    TILES_ASM_ROW(type, op, 2)                                                                     \
    TILES_ASM_ROW(type, op, 3)                                                                     \
    TILES_ASM_ROW(type, op, 4)                                                                     \
    TILES_ASM_ROW(type, op, 5)                                                                     \
    TILES_ASM_ROW(type, op, 6)

#endif
