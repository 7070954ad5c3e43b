// What a certificate and an OCSP response say, for the room TLS only: the stacks of X.509 and its times are macros or want
// more calls than one.
#ifndef GATEHOUSE_COPENSSL_X509_H
#define GATEHOUSE_COPENSSL_X509_H

#include <openssl/asn1.h>
#include <openssl/ocsp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <string.h>

enum { COPENSSL_NAME_EMAIL = GEN_EMAIL, COPENSSL_NAME_DNS = GEN_DNS, COPENSSL_NAME_URI = GEN_URI, COPENSSL_NAME_IP = GEN_IPADD };

typedef void (*copenssl_name_taker)(void *owner, int kind, const unsigned char *bytes, int length);

// Hands over each subject alternative name (RFC 5280 §4.2.1.6) of the four kinds above, in their order.
static inline void copenssl_each_name(X509 *certificate, copenssl_name_taker take, void *owner) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int index = 0; index < sk_GENERAL_NAME_num(names); index++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
        const ASN1_STRING *text;
        switch (name->type) {
        case GEN_EMAIL: case GEN_DNS: case GEN_URI: text = name->d.ia5; break;
        case GEN_IPADD: text = name->d.iPAddress; break;
        default: continue;
        }
        take(owner, name->type, ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
    }
    GENERAL_NAMES_free(names);
}

// Seconds since 1970. 1 when the time could be read.
static inline int copenssl_epoch(const ASN1_TIME *time, int64_t *seconds) {
    ASN1_TIME *zero = ASN1_TIME_set(NULL, 0);
    int days = 0, rest = 0;
    int isRead = zero != NULL && time != NULL && ASN1_TIME_diff(&days, &rest, zero, time) == 1;
    ASN1_TIME_free(zero);
    *seconds = (int64_t)days * 86400 + rest;
    return isRead;
}

// The subject as RFC 4514 writes it, in printable ASCII alone. NULL when memory is out; OPENSSL_free what comes.
static inline char *copenssl_subject_text(X509 *certificate, long *length) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL, *copy = NULL;
    *length = 0;
    if (bio != NULL && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        long count = BIO_get_mem_data(bio, &text);
        if (count > 0 && (copy = OPENSSL_malloc((size_t)count)) != NULL) {
            memcpy(copy, text, (size_t)count);
            *length = count;
        }
    }
    BIO_free(bio);
    return copy;
}

enum {
    COPENSSL_OCSP_GOOD, COPENSSL_OCSP_MALFORMED, COPENSSL_OCSP_UNSUCCESSFUL, COPENSSL_OCSP_OTHER_CERTIFICATE,
    COPENSSL_OCSP_NOT_GOOD, COPENSSL_OCSP_NO_END
};

// RFC 6960 §4.1.1: whether `id` names `certificate`. Its issuer's key need not be known: names and numbers are enough to tell
// a file that was mixed up, and the client checks the rest.
static inline int copenssl_ocsp_names(const OCSP_CERTID *id, X509 *certificate) {
    ASN1_OCTET_STRING *hash = NULL;
    ASN1_OBJECT *algorithm = NULL;
    ASN1_INTEGER *serial = NULL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (OCSP_id_get0_info(&hash, &algorithm, NULL, &serial, (OCSP_CERTID *)id) != 1) return 0;
    const EVP_MD *method = EVP_get_digestbyobj(algorithm);
    if (method == NULL || ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(certificate)) != 0) return 0;
    if (X509_NAME_digest(X509_get_issuer_name(certificate), method, digest, &length) != 1) return 0;
    return (int)length == ASN1_STRING_length(hash) && memcmp(digest, ASN1_STRING_get0_data(hash), length) == 0;
}

// What a DER response says of `certificate`, and from when to when in seconds since 1970.
static inline int copenssl_read_ocsp(const unsigned char *der, long count, X509 *certificate, int64_t *begin, int64_t *end) {
    OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &der, count);
    if (response == NULL) return COPENSSL_OCSP_MALFORMED;
    int verdict = COPENSSL_OCSP_UNSUCCESSFUL;
    OCSP_BASICRESP *basic = NULL;
    if (OCSP_response_status(response) == OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        basic = OCSP_response_get1_basic(response);
        verdict = basic == NULL ? COPENSSL_OCSP_MALFORMED : COPENSSL_OCSP_OTHER_CERTIFICATE;
    }
    for (int index = 0; basic != NULL && index < OCSP_resp_count(basic); index++) {
        OCSP_SINGLERESP *single = OCSP_resp_get0(basic, index);
        if (single == NULL || !copenssl_ocsp_names(OCSP_SINGLERESP_get0_id(single), certificate)) continue;
        ASN1_GENERALIZEDTIME *from = NULL, *until = NULL;
        int status = OCSP_single_get0_status(single, NULL, NULL, &from, &until);
        if (status != V_OCSP_CERTSTATUS_GOOD) verdict = COPENSSL_OCSP_NOT_GOOD;
        else if (until == NULL) verdict = COPENSSL_OCSP_NO_END;
        else if (!copenssl_epoch(from, begin) || !copenssl_epoch(until, end)) verdict = COPENSSL_OCSP_MALFORMED;
        else verdict = COPENSSL_OCSP_GOOD;
        break;
    }
    OCSP_BASICRESP_free(basic);
    OCSP_RESPONSE_free(response);
    return verdict;
}

static inline void copenssl_set_status_callback(SSL_CTX *ctx, int (*callback)(SSL *, void *)) {
    SSL_CTX_set_tlsext_status_cb(ctx, callback);
}

// Gives the session a copy of the response, which OpenSSL frees. 1 if it was taken.
static inline int copenssl_staple(SSL *ssl, const unsigned char *bytes, size_t count) {
    unsigned char *copy = OPENSSL_memdup(bytes, count);
    if (copy == NULL) return 0;
    return (int)SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)count);
}

// Authorities stand alone: each certificate of the file is trusted, whether it signed itself or not.
static inline void copenssl_trust_partial_chains(SSL_CTX *ctx, int depth) {
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_depth(param, depth);
}

static inline int copenssl_new_owning_ssl_index(CRYPTO_EX_free *release) {
    return CRYPTO_get_ex_new_index(CRYPTO_EX_INDEX_SSL, 0, NULL, NULL, NULL, release);
}

static inline void copenssl_free(void *memory) { OPENSSL_free(memory); }

#endif
