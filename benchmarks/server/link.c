/* link.c - the socket of one connection, plain or TLS.
 * Layer: benchmark tool (libc, OpenSSL).  Owns: nothing.  Threads: the connection's own.
 * Errors: LINK_END when the peer is gone. A TLS socket is non-blocking; a plain one blocks where `may_wait` says so:
 * one system call less a wait, which a client that waits for each answer would see. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "server.h"

static ssize_t
link_result(ssize_t n)
{
    if (n > 0) {
        return n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return LINK_AGAIN;
    }
    return LINK_END;
}

static ssize_t
tls_result(conn *c, int n)
{
    if (n > 0) {
        return n;
    }
    int why = SSL_get_error(c->ssl, n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? LINK_AGAIN : LINK_END;
}

static int
tls_length(size_t n)
{
    return n > INT_MAX ? INT_MAX : (int)n;
}

ssize_t
link_read(conn *c, void *at, size_t n, bool may_wait)
{
    if (c->ssl != NULL) {
        return tls_result(c, SSL_read(c->ssl, at, tls_length(n)));
    }
    return link_result(recv(c->fd, at, n, may_wait ? 0 : MSG_DONTWAIT));
}

/* Drops up to `n` bytes; on a plain socket without copying them. */
ssize_t
link_discard(conn *c, size_t n, bool may_wait)
{
    if (c->ssl != NULL) {
        return link_read(c, c->in, n < IN_CAPACITY ? n : IN_CAPACITY, may_wait);
    }
    return link_result(recv(c->fd, NULL, n, MSG_TRUNC | (may_wait ? 0 : MSG_DONTWAIT)));
}

ssize_t
link_write(conn *c, const void *at, size_t n)
{
    if (c->ssl != NULL) {
        return tls_result(c, SSL_write(c->ssl, at, tls_length(n)));
    }
    return link_result(send(c->fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int
link_wait(conn *c, short events, int milliseconds)
{
    if ((events & POLLIN) && c->ssl != NULL && SSL_pending(c->ssl) > 0) {
        return 1;
    }
    struct pollfd p = {.fd = c->fd, .events = events};
    return poll(&p, 1, milliseconds);
}
