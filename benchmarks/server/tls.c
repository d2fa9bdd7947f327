/* tls.c - a TLS context with a certificate made on the spot, so that no key lies in the repository.
 * Layer: benchmark tool (OpenSSL).  Owns: nothing after return but the context.  Threads: called once, at the start.
 * Errors: NULL. */
#include <stdio.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "server.h"

enum { VALID_SECONDS = 86400 };

static int
add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (ext == NULL) {
        return 0;
    }
    int ok = X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    return ok;
}

/* New certificate for `key`, signed by it; NULL on failure. */
static X509 *
self_signed(EVP_PKEY *key)
{
    X509 *cert = X509_new();
    if (cert == NULL) {
        return NULL;
    }
    X509_NAME *name = X509_get_subject_name(cert);
    int ok = X509_set_version(cert, 2) && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1)
             && X509_gmtime_adj(X509_getm_notBefore(cert), -60) != NULL
             && X509_gmtime_adj(X509_getm_notAfter(cert), VALID_SECONDS) != NULL && X509_set_pubkey(cert, key)
             && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0)
             && X509_set_issuer_name(cert, name)
             && add_extension(cert, NID_basic_constraints, "critical,CA:TRUE")
             && add_extension(cert, NID_subject_key_identifier, "hash")
             && add_extension(cert, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1")
             && X509_sign(cert, key, EVP_sha256()) > 0;
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

static int
write_certificate(const char *path, X509 *cert)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        return 0;
    }
    int ok = PEM_write_X509(f, cert);
    return fclose(f) == 0 && ok;
}

SSL_CTX *
tls_context(const char *cert_path)
{
    X509 *cert = NULL;
    SSL_CTX *ctx = NULL;
    SSL_CTX *result = NULL;

    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL) {
        goto done;
    }
    cert = self_signed(key);
    ctx = SSL_CTX_new(TLS_server_method());
    if (cert == NULL || ctx == NULL || SSL_CTX_use_certificate(ctx, cert) != 1
        || SSL_CTX_use_PrivateKey(ctx, key) != 1 || !write_certificate(cert_path, cert)) {
        goto done;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    result = ctx;
    ctx = NULL;

done:
    SSL_CTX_free(ctx);
    X509_free(cert);
    EVP_PKEY_free(key);
    return result;
}
