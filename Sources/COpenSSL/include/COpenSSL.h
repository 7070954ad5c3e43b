// OpenSSL 3, for the rooms Cryptography and TLS only. What OpenSSL has as function-like macros is a static inline function
// here, because Swift does not see such macros; everything else is called by its own name.
#ifndef GATEHOUSE_COPENSSL_H
#define GATEHOUSE_COPENSSL_H

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "COpenSSLMemory.h"
#include "COpenSSLTLS.h"
#include "COpenSSLX509.h"

// A builder keeps the pointer to a parameter's name, so the names are literals of C, not strings of Swift.
static inline int copenssl_push_rsa_n(OSSL_PARAM_BLD *builder, const BIGNUM *value) {
    return OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, value);
}

static inline int copenssl_push_rsa_e(OSSL_PARAM_BLD *builder, const BIGNUM *value) {
    return OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, value);
}

// A key on P-256: the name of its group, and its point.
static inline int copenssl_push_p256(OSSL_PARAM_BLD *builder, const void *point, size_t count) {
    return builder != NULL &&
           OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, SN_X9_62_prime256v1, 0) == 1 &&
           OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, count) == 1;
}

// Whether an EC key names P-256 as its group; one with explicit parameters names none (RFC 5480 section 2.1.1).
static inline int copenssl_is_p256(const EVP_PKEY *key) {
    char name[32];
    size_t count = 0;
    return EVP_PKEY_get_group_name(key, name, sizeof name, &count) == 1 && OBJ_sn2nid(name) == NID_X9_62_prime256v1;
}

// EVP_PKEY_PUBLIC_KEY: what EVP_PKEY_fromdata is to make.
static inline int copenssl_public_key_selection(void) { return EVP_PKEY_PUBLIC_KEY; }

#endif
