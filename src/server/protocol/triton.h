/* triton.h - what we say we are, where clients expect Triton. */
#ifndef SERVER_PROTOCOL_TRITON_H
#define SERVER_PROTOCOL_TRITON_H

/* The release whose answers ours are held to. */
#define TRITON_VERSION "2.51.0"

#endif
