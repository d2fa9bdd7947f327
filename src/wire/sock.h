/* sock.h - the only place with socket system calls, and with what differs between Linux and macOS in them.
 * Layer: wire (libc only).
 * Owns: nothing; descriptors belong to the caller.
 * Threads: any.  Nothing here waits but cpika_sock_poll and cpika_sock_recv_waiting; EINTR is retried everywhere else.
 * Errors: CPIKA_E_SYS with errno, CPIKA_E_EOF. */
#ifndef CPIKA_WIRE_SOCK_H
#define CPIKA_WIRE_SOCK_H

#include "posix.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "status.h"

/* Non-blocking, closed by exec, and without SIGPIPE where that is a property of the socket. */
int cpika_sock_prepare(int fd);

/* >0: so many bytes have left; 0: the socket is full; CPIKA_E_SYS.  `n` is not 0. */
long cpika_sock_send(int fd, const uint8_t *bytes, size_t n);

/* The same from several places (count > 0, together not 0 bytes); may shorten `iov` to what one call takes. */
long cpika_sock_sendv(int fd, struct iovec *iov, int count);

/* >0: bytes received; 0: nothing there now; CPIKA_E_EOF; CPIKA_E_SYS.  Room for at least one byte. */
long cpika_sock_recv(int fd, const struct iovec *iov, int count);

/* Lets cpika_sock_recv_waiting wait, `most_ms` at a time; the other calls never do, as before.  False: not on this system. */
bool cpika_sock_let_wait(int fd, int most_ms);

/* Takes that back. */
void cpika_sock_never_wait(int fd);

/* As cpika_sock_recv with one place, but waits for the first byte.  0: in vain, or a signal came. */
long cpika_sock_recv_waiting(int fd, uint8_t *bytes, size_t n);

/* Ends both directions, so that whoever polls the descriptor wakes up. */
void cpika_sock_shutdown(int fd);
void cpika_sock_close(int fd);

/* Puts a stream that has ended in the place of a descriptor, whose number stays taken; what it was is closed.
 * CPIKA_E_SYS. */
int cpika_sock_replace_by_end(int fd);

/* A pipe, both ends non-blocking and closed by exec, that takes writes of any size.  CPIKA_E_SYS. */
int cpika_sock_pipe_new(int *rd, int *wr);

/* The same, known by more than the numbers of its ends: a program may close them and get them again for files of its own, as
 * those do that become daemons. */
typedef struct {
    int rd, wr;  // -1: none
    uint64_t device, file;
} cpika_pipe;
int cpika_pipe_new(cpika_pipe *p);
bool cpika_pipe_is_there(const cpika_pipe *p);
void cpika_pipe_close(cpika_pipe *p);  // what is still its own

/* A pair to wake a poll with; `*rd` and `*wr` may be one descriptor.  CPIKA_E_SYS. */
int cpika_sock_wake_new(int *rd, int *wr);
void cpika_sock_wake_close(int rd, int wr);

/* Makes `rd` readable.  In signal handlers too: leaves errno alone. */
void cpika_sock_wake(int wr);
void cpika_sock_wake_drain(int rd);

/* poll(); how many are ready, 0 after a signal.  CPIKA_E_SYS. */
int cpika_sock_poll(struct pollfd *fds, int count, int timeout_ms);

#endif
