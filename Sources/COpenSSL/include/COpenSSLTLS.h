// The function-like macros of libssl, and what is shorter or safer said in C, for the room TLS only.
#ifndef GATEHOUSE_COPENSSL_TLS_H
#define GATEHOUSE_COPENSSL_TLS_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

static inline void copenssl_bio_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }
static inline void copenssl_bio_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void copenssl_bio_retry_write(BIO *bio) { BIO_set_retry_write(bio); }

// What never changes of a server: options, modes, no session cache, one ticket a handshake, no early data. 1 if all was taken.
static inline int copenssl_server_defaults(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE
                                 | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 0);
    SSL_CTX_set_security_level(ctx, 2);
    return SSL_CTX_set_num_tickets(ctx, 1) && SSL_CTX_set_max_early_data(ctx, 0)
        && SSL_CTX_set_recv_max_early_data(ctx, 0);
}

// What never changes of a client: the certificate is verified, sessions are handed to a callback and kept nowhere else.
static inline int copenssl_client_defaults(SSL_CTX *ctx) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_set_read_ahead(ctx, 0);
    SSL_CTX_set_security_level(ctx, 2);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return 1;
}

static inline int copenssl_set_server_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, name);
}

static inline int copenssl_new_ssl_index(void) {
    return CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, NULL, NULL, NULL, NULL);
}

static inline int copenssl_set_min_version(SSL_CTX *ctx, int version) {
    return (int)SSL_CTX_set_min_proto_version(ctx, version);
}

static inline int copenssl_set_groups(SSL_CTX *ctx, const char *list) {
    return (int)SSL_CTX_set1_groups_list(ctx, list);
}

// Takes `certificate` over when it answers 1.
static inline int copenssl_add_chain_certificate(SSL_CTX *ctx, X509 *certificate) {
    return (int)SSL_CTX_add0_chain_cert(ctx, certificate);
}

static inline void copenssl_set_servername_callback(SSL_CTX *ctx, int (*callback)(SSL *, int *, void *)) {
    SSL_CTX_set_tlsext_servername_callback(ctx, callback);
}

static inline int copenssl_new_ctx_index(CRYPTO_EX_free *release) {
    return CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL_CTX, 0, NULL, NULL, NULL, release);
}

// A key file with a passphrase is refused: OpenSSL's own callback would ask on the terminal, and a server has none.
static inline int copenssl_no_passphrase(char *buffer, int size, int forWriting, void *wasAsked) {
    (void)buffer, (void)size, (void)forWriting;
    *(int *)wasAsked = 1;
    return -1;
}

static inline EVP_PKEY *copenssl_read_private_key(BIO *pem, int *wasAsked) {
    return PEM_read_bio_PrivateKey(pem, NULL, copenssl_no_passphrase, wasAsked);
}

static inline X509 *copenssl_read_certificate(BIO *pem, int *wasAsked) {
    return PEM_read_bio_X509(pem, NULL, copenssl_no_passphrase, wasAsked);
}

// RFC 5077 §4: AES-CBC for the ticket, HMAC-SHA-256 over it. 1 if both are ready.
static inline int copenssl_ticket_ready(EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, const EVP_CIPHER *algorithm,
                                        unsigned char *key, unsigned char *macKey, size_t macKeyBytes, unsigned char *iv,
                                        int encrypt) {
    OSSL_PARAM params[3];
    params[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, macKey, macKeyBytes);
    params[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0);
    params[2] = OSSL_PARAM_construct_end();
    return EVP_CipherInit_ex(cipher, algorithm, NULL, key, iv, encrypt) == 1 && EVP_MAC_CTX_set_params(mac, params) == 1;
}

#endif
