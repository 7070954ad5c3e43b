/* The door to the kernel: calls that answer -errno instead of setting errno, and constants that are macros. */
#ifndef CLINUX_H
#define CLINUX_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLINUX_RESULT(call)            \
    do {                               \
        __typeof__(call) r_ = (call);  \
        return r_ < 0 ? -errno : r_;   \
    } while (0)

/* The three calls that each request makes. libc's own are points where a thread can be cancelled, which ours never are: saying so
 * before and after takes 45 instructions a call. The sanitizers know the calls by libc's names. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CLINUX_BY_NAME 1
#endif
#endif
#ifdef CLINUX_BY_NAME
#define CLINUX_EPOLL_WAIT(poller, events, count, milliseconds) epoll_wait(poller, events, count, milliseconds)
#define CLINUX_RECV(descriptor, bytes, count) recv(descriptor, bytes, count, 0)
#define CLINUX_SEND(descriptor, bytes, count) send(descriptor, bytes, count, MSG_NOSIGNAL)
#else
/* arm64 has no epoll_wait; without a signal mask epoll_pwait is the same. */
#define CLINUX_EPOLL_WAIT(poller, events, count, milliseconds) \
    (int)syscall(SYS_epoll_pwait, poller, events, count, milliseconds, NULL, (size_t)8)
#define CLINUX_RECV(descriptor, bytes, count) (ssize_t)syscall(SYS_recvfrom, descriptor, bytes, count, 0, NULL, NULL)
#define CLINUX_SEND(descriptor, bytes, count) (ssize_t)syscall(SYS_sendto, descriptor, bytes, count, MSG_NOSIGNAL, NULL, (size_t)0)
#endif

/* What strerror says in English, or NULL; unlike it, safe on any thread. */
const char *cl_error_text(int code);

static inline int cl_epoll_create(void) { CLINUX_RESULT(epoll_create1(EPOLL_CLOEXEC)); }
static inline int cl_epoll_ctl(int poller, int operation, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = events;
    event.data.u64 = token;
    CLINUX_RESULT(epoll_ctl(poller, operation, descriptor, &event));
}
static inline int cl_epoll_wait(int poller, struct epoll_event *events, int count, int milliseconds) {
    CLINUX_RESULT(CLINUX_EPOLL_WAIT(poller, events, count, milliseconds));
}
static inline uint64_t cl_epoll_token(const struct epoll_event *event) { return event->data.u64; }

static const uint32_t CL_EPOLLIN = EPOLLIN;
static const uint32_t CL_EPOLLOUT = EPOLLOUT;
static const uint32_t CL_EPOLLRDHUP = EPOLLRDHUP;
static const uint32_t CL_EPOLLHUP = EPOLLHUP;
static const uint32_t CL_EPOLLERR = EPOLLERR;
static const uint32_t CL_EPOLLET = EPOLLET;
static const uint32_t CL_EPOLLEXCLUSIVE = EPOLLEXCLUSIVE;

static inline ssize_t cl_recv(int descriptor, void *bytes, size_t count) {
    CLINUX_RESULT(CLINUX_RECV(descriptor, bytes, count));
}
static inline ssize_t cl_send(int descriptor, const void *bytes, size_t count) {
    CLINUX_RESULT(CLINUX_SEND(descriptor, bytes, count));
}
static inline ssize_t cl_readv(int descriptor, const struct iovec *parts, int count) {
    CLINUX_RESULT(readv(descriptor, parts, count));
}
static inline ssize_t cl_sendv(int descriptor, struct iovec *parts, int count) {
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = parts;
    message.msg_iovlen = (size_t)count;
    CLINUX_RESULT(sendmsg(descriptor, &message, MSG_NOSIGNAL));
}
static inline ssize_t cl_read(int descriptor, void *bytes, size_t count) { CLINUX_RESULT(read(descriptor, bytes, count)); }
static inline ssize_t cl_write(int descriptor, const void *bytes, size_t count) { CLINUX_RESULT(write(descriptor, bytes, count)); }
static inline int cl_close(int descriptor) { CLINUX_RESULT(close(descriptor)); }
static inline int cl_shutdown_write(int descriptor) { CLINUX_RESULT(shutdown(descriptor, SHUT_WR)); }

static inline int cl_open(const char *path, int flags, unsigned mode) { CLINUX_RESULT(open(path, flags | O_CLOEXEC, mode)); }
static const int CL_O_RDONLY = O_RDONLY;
static const int CL_O_APPEND_CREATE = O_WRONLY | O_APPEND | O_CREAT;
static const int CL_O_WRITE_FRESH = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
static inline int cl_sync(int descriptor) { CLINUX_RESULT(fsync(descriptor)); }
static inline int cl_rename(const char *from, const char *to) { CLINUX_RESULT(rename(from, to)); }
static inline int cl_unlink(const char *path) { CLINUX_RESULT(unlink(path)); }
/* What tells one state of a file from another: device, inode, size, and the times of its content and of its inode (ns). */
static inline int cl_file_state(const char *path, uint64_t out[5]) {
    struct stat facts;
    if (stat(path, &facts) < 0) return -errno;
    out[0] = (uint64_t)facts.st_dev;
    out[1] = (uint64_t)facts.st_ino;
    out[2] = (uint64_t)facts.st_size;
    out[3] = (uint64_t)facts.st_mtim.tv_sec * 1000000000u + (uint64_t)facts.st_mtim.tv_nsec;
    out[4] = (uint64_t)facts.st_ctim.tv_sec * 1000000000u + (uint64_t)facts.st_ctim.tv_nsec;
    return 0;
}
static inline int64_t cl_file_size(int descriptor) {
    struct stat facts;
    if (fstat(descriptor, &facts) < 0) return -errno;
    return S_ISREG(facts.st_mode) ? (int64_t)facts.st_size : -1;
}

/* Sockets. `family` is AF_INET or AF_INET6; the address is given as 16 bytes, an IPv4 one in the last four. */
static inline socklen_t cl_address(struct sockaddr_storage *out, int is_v6, const uint8_t bytes[16], uint16_t port, uint32_t scope) {
    memset(out, 0, sizeof *out);
    if (is_v6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        v6->sin6_scope_id = scope;
        memcpy(&v6->sin6_addr, bytes, 16);
        return sizeof *v6;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    memcpy(&v4->sin_addr, bytes + 12, 4);
    return sizeof *v4;
}
static inline void cl_read_address(const struct sockaddr_storage *from, int *is_v6, uint8_t bytes[16], uint16_t *port) {
    memset(bytes, 0, 16);
    *port = 0;
    *is_v6 = 0;
    if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        memcpy(bytes, &v6->sin6_addr, 16);
        *port = ntohs(v6->sin6_port);
        *is_v6 = 1;
        /* ::ffff:a.b.c.d is the IPv4 client a.b.c.d on a dual-stack socket. */
        static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
        if (memcmp(bytes, mapped, 12) == 0) *is_v6 = 0;
    } else if (from->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        bytes[10] = bytes[11] = 0xff;
        memcpy(bytes + 12, &v4->sin_addr, 4);
        *port = ntohs(v4->sin_port);
    } else if (from->ss_family == AF_UNIX) {
        /* No IPv4 address, and marked as none of IPv6: the peer has no address. */
        memset(bytes, 0xff, 16);
    }
}
static inline int cl_listen(int is_v6, const uint8_t bytes[16], uint16_t port, int shares_port, int backlog) {
    struct sockaddr_storage address;
    socklen_t length = cl_address(&address, is_v6, bytes, port, 0);
    int one = 1;
    int descriptor = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    if (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) goto failed;
    if (shares_port && setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) goto failed;
    if (is_v6 && setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) goto failed;
    if (bind(descriptor, (struct sockaddr *)&address, length) < 0) goto failed;
    if (backlog > 0 && listen(descriptor, backlog) < 0) goto failed;
    return descriptor;
failed: {
    int code = errno;
    close(descriptor);
    return -code;
}
}
static inline int cl_local_port(int descriptor) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    uint8_t bytes[16];
    uint16_t port;
    int is_v6;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) < 0) return -errno;
    cl_read_address(&address, &is_v6, bytes, &port);
    return port;
}
/* Listens on a path. A socket that nobody listens on any more is replaced; anything else there is EADDRINUSE or EEXIST.
 * `identity` becomes the device and number of the file. */
int cl_listen_unix(const char *path, unsigned mode, int backlog, uint64_t identity[2]);
/* Removes the file, if it is still that one. */
int cl_remove_socket(const char *path, const uint64_t identity[2]);
/* Begins to connect to a path of `length` bytes; answers the descriptor, or -errno. */
int cl_connect_unix(const void *path, size_t length);
/* A second descriptor, non-blocking, of a stream socket that listens already; -EINVAL when it is none. */
int cl_adopt_listener(int descriptor);
int cl_accept(int listener, int *is_v6, uint8_t bytes[16], uint16_t *port);
static inline int cl_no_delay(int descriptor) {
    int one = 1;
    CLINUX_RESULT(setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
}
/* Begins to connect; answers the descriptor, or -errno. EINPROGRESS is success. */
static inline int cl_connect(int is_v6, const uint8_t bytes[16], uint16_t port) {
    struct sockaddr_storage address;
    socklen_t length = cl_address(&address, is_v6, bytes, port, 0);
    int descriptor = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    (void)cl_no_delay(descriptor);
    if (connect(descriptor, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS) {
        int code = errno;
        close(descriptor);
        return -code;
    }
    return descriptor;
}
static inline int cl_socket_error(int descriptor) {
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) < 0) return errno;
    return code;
}
/* Bytes that were written to a socket and that the peer has not acknowledged. */
static inline int cl_unacknowledged(int descriptor) {
    int count = 0;
    if (ioctl(descriptor, SIOCOUTQ, &count) < 0) return -errno;
    return count;
}
/* The next close sends a reset: how a broken message is told from a complete one. */
static inline int cl_reset_on_close(int descriptor) {
    struct linger value = {1, 0};
    CLINUX_RESULT(setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &value, sizeof value));
}
/* Blocking. Fills up to `count` addresses; answers how many, or the negated EAI code minus 1000. */
static inline int cl_resolve(const char *host, uint8_t bytes[][16], int is_v6[], int count) {
    struct addrinfo hints, *first = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    int code = getaddrinfo(host, NULL, &hints, &first);
    if (code != 0) return -1000 - (code < 0 ? -code : code);
    int found = 0;
    for (struct addrinfo *each = first; each != NULL && found < count; each = each->ai_next) {
        struct sockaddr_storage address;
        uint16_t port;
        memset(&address, 0, sizeof address);
        memcpy(&address, each->ai_addr, each->ai_addrlen < sizeof address ? each->ai_addrlen : sizeof address);
        cl_read_address(&address, &is_v6[found], bytes[found], &port);
        found++;
    }
    freeaddrinfo(first);
    return found;
}

static inline int cl_eventfd(void) { CLINUX_RESULT(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }
static inline int cl_eventfd_add(int descriptor) {
    uint64_t one = 1;
    CLINUX_RESULT((int)write(descriptor, &one, sizeof one));
}
static inline int cl_eventfd_take(int descriptor) {
    uint64_t value;
    CLINUX_RESULT((int)read(descriptor, &value, sizeof value));
}

/* Blocks the signals in the calling thread (and those it starts) and gives a descriptor that reads them. */
static inline int cl_signalfd(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    int code = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (code != 0) return -code;
    CLINUX_RESULT(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}
static inline int cl_signalfd_take(int descriptor) {
    struct signalfd_siginfo info;
    ssize_t got = read(descriptor, &info, sizeof info);
    if (got < 0) return -errno;
    return got == (ssize_t)sizeof info ? (int)info.ssi_signo : -EAGAIN;
}
/* Whether one of the signals waits to be taken; it goes on waiting. */
static inline int cl_signal_pending(int first, int second) {
    sigset_t set;
    if (sigpending(&set) < 0) return -errno;
    return sigismember(&set, first) == 1 || sigismember(&set, second) == 1;
}
static inline int cl_ignore_sigpipe(void) { return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : 0; }
static inline int cl_send_signal(int process, int number) { CLINUX_RESULT(kill(process, number)); }

static inline uint64_t cl_clock(int clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}
static const int CL_CLOCK_MONOTONIC = CLOCK_MONOTONIC;
static const int CL_CLOCK_REALTIME = CLOCK_REALTIME;

int cl_usable_cores(void);
static inline int64_t cl_memory_bytes(void) { return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE); }
/* Raises the soft limit of descriptors to the hard one; answers the limit now in force. */
static inline int64_t cl_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    return (int64_t)limit.rlim_cur;
}
int cl_thread_start(pthread_t *thread, const char *name, void *(*entry)(void *), void *argument);
static inline int cl_thread_join(pthread_t thread) { return -pthread_join(thread, NULL); }
static inline int cl_thread_detach(pthread_t thread) { return -pthread_detach(thread); }
/* Gives the program's own read-only pages back to the page cache; those in use come back by minor faults. Answers how many
 * bytes were given back at most. */
int64_t cl_drop_program_pages(void);
/* Address space of so many bytes, resident only where it is written; NULL when there is none. */
void *cl_reserve_pages(size_t bytes);
/* Gives memory back to the kernel; what is read there from now on is zero. */
void cl_drop_pages(void *start, size_t bytes);
void cl_release_pages(void *start, size_t bytes);
/* sd_notify(3) without libsystemd: one datagram to the socket that systemd named. */
static inline int cl_notify(const char *path, const char *message) {
    struct sockaddr_un address;
    size_t length = strlen(path);
    if (length < 2 || length >= sizeof address.sun_path) return -EINVAL;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') address.sun_path[0] = 0;
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -errno;
    ssize_t sent = sendto(descriptor, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
    int code = sent < 0 ? -errno : 0;
    close(descriptor);
    return code;
}

#endif
