#include "base/hash.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct sha256 {
    EVP_MD_CTX *context;
};

goss_status sha256_open(struct sha256 **hash, goss_error *error)
{
    struct sha256 *h = calloc(1, sizeof *h);
    *hash = NULL;
    if (h)
        h->context = EVP_MD_CTX_new();
    if (!h || !h->context || EVP_DigestInit_ex(h->context, EVP_sha256(), NULL) != 1) {
        sha256_close(h, NULL);
        return error_memory(error, sizeof *h, "a SHA-256 digest");
    }
    *hash = h;
    return GOSS_OK;
}

void sha256_add(struct sha256 *hash, const void *bytes, size_t n)
{
    EVP_DigestUpdate(hash->context, bytes, n);
}

void sha256_close(struct sha256 *hash, uint8_t digest[SHA256_BYTES])
{
    if (!hash)
        return;
    if (digest)
        EVP_DigestFinal_ex(hash->context, digest, NULL);
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

goss_status sha256_of(const void *bytes, size_t n, uint8_t digest[SHA256_BYTES], goss_error *error)
{
    if (EVP_Digest(bytes, n, digest, NULL, EVP_sha256(), NULL) != 1)
        return error_memory(error, n, "a SHA-256 digest");
    return GOSS_OK;
}

void sha256_text(const uint8_t digest[SHA256_BYTES], char text[SHA256_TEXT])
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < SHA256_BYTES; i++) {
        text[2 * i] = hex[digest[i] >> 4];
        text[2 * i + 1] = hex[digest[i] & 15];
    }
    text[2 * SHA256_BYTES] = 0;
}
