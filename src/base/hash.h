/* SHA-256 by libcrypto. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { SHA256_BYTES = 32, SHA256_TEXT = 65 /* 64 lower-case hex digits and a NUL */ };

struct sha256; /* a digest under way */

goss_status sha256_open(struct sha256 **hash, goss_error *error);
void sha256_add(struct sha256 *hash, const void *bytes, size_t n);
void sha256_close(struct sha256 *hash, uint8_t digest[SHA256_BYTES]); /* digest may be NULL; frees hash */

goss_status sha256_of(const void *bytes, size_t n, uint8_t digest[SHA256_BYTES], goss_error *error);
void sha256_text(const uint8_t digest[SHA256_BYTES], char text[SHA256_TEXT]);

#endif
