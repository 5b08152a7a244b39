/* What the baselines share: clocks, the STAMP layout they use, and kernel timestamps by control message.
 *
 * All times are nanoseconds of CLOCK_REALTIME. The test packets have the layout of RFC 8762 sections 4.2 and 4.3
 * (unauthenticated, 44 octets) with the PTP timestamp format, so that a baseline's packets can be matched on the wire
 * by the same rule as ours. */
#ifndef STAMPS_H
#define STAMPS_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET_LEN 44
#define NS_PER_S 1000000000LL

/* Octet offsets of RFC 8762 section 4.3. */
#define OFF_SEQUENCE 0
#define OFF_TIMESTAMP 4
#define OFF_ERROR_ESTIMATE 12
#define OFF_RECEIVE_TIMESTAMP 16
#define OFF_SENDER_SEQUENCE 24
#define OFF_SENDER_TIMESTAMP 28
#define OFF_SENDER_ERROR_ESTIMATE 36
#define OFF_SENDER_TTL 40
#define ERROR_ESTIMATE_PTP_UNKNOWN 0x7fff

static volatile sig_atomic_t stopped;

static inline void on_stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static inline void stop_on_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
}

static inline void die(const char *what)
{
    perror(what);
    exit(2);
}

static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static inline int64_t wall_ns(void) { return clock_ns(CLOCK_REALTIME); }

static inline void put32(uint8_t *at, uint32_t value)
{
    value = htonl(value);
    memcpy(at, &value, 4);
}

static inline uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

static inline void put_timestamp(uint8_t *at, int64_t ns)
{
    put32(at, (uint32_t)(ns / NS_PER_S));
    put32(at + 4, (uint32_t)(ns % NS_PER_S));
}

/* A timestamp in the format that its Error Estimate's Z bit names: PTP (RFC 8186) or NTP. */
static inline int64_t get_timestamp(const uint8_t *at, const uint8_t *error_estimate)
{
    int64_t seconds = get32(at);
    if (error_estimate[0] & 0x40)
        return seconds * NS_PER_S + get32(at + 4);
    uint32_t unix_seconds = (uint32_t)(seconds - 2208988800LL);
    return unix_seconds * NS_PER_S + (int64_t)(((uint64_t)get32(at + 4) * 1000000000ULL) >> 32);
}

static inline void put_error_estimate(uint8_t *at)
{
    at[0] = ERROR_ESTIMATE_PTP_UNKNOWN >> 8;
    at[1] = ERROR_ESTIMATE_PTP_UNKNOWN & 0xff;
}

static inline struct sockaddr_in ipv4(const char *address, const char *port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, address, &name.sin_addr) != 1) {
        fprintf(stderr, "not an IPv4 address: %s\n", address);
        exit(2);
    }
    return name;
}

static inline void enlarge(int fd)
{
    int octets = 4 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
}

static inline void ask_for_stamps(int fd)
{
    int flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE |
                SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags))
        die("SO_TIMESTAMPING");
}

/* The kernel's software stamp in a message, 0 if there is none. */
static inline int64_t stamp_of(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPING) {
            struct timespec stamp;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            return stamp.tv_sec * NS_PER_S + stamp.tv_nsec;
        }
    return 0;
}

/* The next transmit stamp of the error queue: its OPT_ID in *id, 0 if the queue is empty. */
static inline int64_t transmit_stamp(int fd, uint32_t *id)
{
    char control[512];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) {
            struct sock_extended_err error;
            memcpy(&error, CMSG_DATA(c), sizeof error);
            if (error.ee_origin == SO_EE_ORIGIN_TIMESTAMPING)
                *id = error.ee_data;
        }
    return stamp_of(&message);
}

#endif
