/* main.c - listens on loopback, a thread a connection; ends when its standard input does.
 * Usage: server [--tls CERT_PATH]     prints "ready PORT TLS_PORT" (0: no TLS) once it listens.
 * Layer: benchmark tool.  Owns: the listening sockets.  Threads: main accepts, one more a connection.
 * Errors: a message on standard error and exit status 1. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

static int
listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, SOMAXCONN) < 0
        || getsockname(fd, (struct sockaddr *)&at, &size) < 0) {
        perror("listen");
        exit(1);
    }
    *port = ntohs(at.sin_port);
    return fd;
}

static void
connection_start(int fd, SSL_CTX *tls)
{
    conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)close(fd);
        return;
    }
    c->fd = fd;
    if (tls != NULL) {
        c->ssl = SSL_new(tls);
        (void)fcntl(fd, F_SETFL, O_NONBLOCK);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
            SSL_free(c->ssl);
            (void)close(fd);
            free(c);
            return;
        }
        SSL_set_accept_state(c->ssl);
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, connection_main, c) != 0) {
        SSL_free(c->ssl);
        (void)close(fd);
        free(c);
        return;
    }
    (void)pthread_detach(thread);
}

static bool
input_ended(int fd)
{
    char dropped[64];
    return read(fd, dropped, sizeof dropped) <= 0;
}

int
main(int argc, char **argv)
{
    uint16_t port = 0;
    uint16_t tls_port = 0;
    SSL_CTX *tls = NULL;
    (void)signal(SIGPIPE, SIG_IGN);  // OpenSSL writes without MSG_NOSIGNAL
    if (argc == 3 && strcmp(argv[1], "--tls") == 0) {
        tls = tls_context(argv[2]);
        if (tls == NULL) {
            fprintf(stderr, "server: cannot make a TLS certificate at %s\n", argv[2]);
            return 1;
        }
    } else if (argc != 1) {
        fprintf(stderr, "usage: server [--tls CERT_PATH]\n");
        return 1;
    }
    struct pollfd on[3] = {
        {.fd = STDIN_FILENO, .events = POLLIN},
        {.fd = listen_on_loopback(&port), .events = POLLIN},
        {.fd = -1, .events = POLLIN},
    };
    if (tls != NULL) {
        on[2].fd = listen_on_loopback(&tls_port);
    }
    printf("ready %u %u\n", (unsigned)port, (unsigned)tls_port);
    (void)fflush(stdout);
    for (;;) {
        if (poll(on, 3, -1) < 0) {
            continue;
        }
        if (on[0].revents != 0 && input_ended(on[0].fd)) {
            SSL_CTX_free(tls);
            return 0;
        }
        for (int i = 1; i < 3; i++) {
            int fd = on[i].revents & POLLIN ? accept(on[i].fd, NULL, NULL) : -1;
            if (fd >= 0) {
                connection_start(fd, i == 2 ? tls : NULL);
            }
        }
    }
}
