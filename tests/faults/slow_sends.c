/* slow_sends.c - for LD_PRELOAD: a send by a thread that does not hold the interpreter's lock takes 2 ms.
 *
 * What a thread does between taking a connection's lock and giving it back is short, so threads seldom meet
 * there.  With this they do.  Threads that hold the interpreter's lock are not slowed: they would hold up all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define DELAY_US 2000

typedef int (*check_fn)(void);
typedef ssize_t (*send_fn)(int, const void *, size_t, int);
typedef ssize_t (*sendmsg_fn)(int, const struct msghdr *, int);

static void
delay_without_lock(void)
{
    check_fn check = (check_fn)dlsym(RTLD_DEFAULT, "PyGILState_Check");
    if (check != NULL && !check()) {
        usleep(DELAY_US);
    }
}

ssize_t
send(int fd, const void *bytes, size_t n, int flags)
{
    delay_without_lock();
    send_fn next = (send_fn)dlsym(RTLD_NEXT, "send");
    return next(fd, bytes, n, flags);
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
    delay_without_lock();
    sendmsg_fn next = (sendmsg_fn)dlsym(RTLD_NEXT, "sendmsg");
    return next(fd, message, flags);
}
