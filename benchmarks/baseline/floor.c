/* The floor of the method: a Session-Sender and a Session-Reflector of one packet at a time that take kernel stamps at
 * all four points and do nothing else.
 *
 *   floor reflect ADDRESS PORT [TRICKS]            until SIGTERM; then one CSV line for each reply on stdout
 *   floor send ADDRESS PORT RATE COUNT [TRICKS]    then one CSV line for each packet on stdout
 *
 * T3 in the reply is the user-space clock just before the send, as it has to be; the reflector also records the kernel's
 * stamp of each departure, and an analysis joins it by sequence number. TRICKS are letters, for the experiments about
 * the gap between that clock read and the departure:
 *   w  warm the transmit path with a send to a private loopback socket just before the clock read
 *   u  the same towards a socket with a drop-all filter (its receive path ends early)
 *   p  route look-up only: an empty send with MSG_CONFIRM|MSG_PROBE
 *   m  send in two parts, the first with MSG_MORE before the clock read
 *   c  read the clock several times and touch the packet and control memory first
 *   x  connected socket (first peer only)
 *   k  control messages on the reply as a real reflector sends them (IP_PKTINFO, IP_TOS)
 *   f  SCHED_FIFO and locked memory
 *   s  timer slack of 1 ns
 *   b  spin instead of sleeping
 *   y  sender: wait for the last 200 us of each slot in a spin
 */
#include "stamps.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define MOST_PACKETS 2000000
#ifndef MSG_PROBE
#define MSG_PROBE 0x10 /* linux/socket.h; glibc has another name for the bit */
#endif

struct reply_record {
    uint32_t sequence;
    int64_t arrival;  /* kernel */
    int64_t woken;    /* user: poll returned */
    int64_t received; /* user: packet and control messages read */
    int64_t written;  /* user: T3, just before the send */
    int64_t departed; /* kernel */
    int64_t returned; /* user: send returned */
};

struct packet_record {
    int64_t due, t1_user, t1, t2, t3, t4, t4_user;
};

static int has(const char *tricks, char letter) { return strchr(tricks, letter) != NULL; }

static void apply_process_tricks(const char *tricks)
{
    if (has(tricks, 'f')) {
        struct sched_param priority = {.sched_priority = 1};
        if (sched_setscheduler(0, SCHED_FIFO, &priority))
            die("SCHED_FIFO");
        mlockall(MCL_CURRENT | MCL_FUTURE);
    }
    if (has(tricks, 's'))
        prctl(PR_SET_TIMERSLACK, 1UL);
}

/* A socket connected to a private one of ours on loopback. */
static int warm_socket(int drop_all, int *sink)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t name_len = sizeof name;
    *sink = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (bind(*sink, (struct sockaddr *)&name, sizeof name) || getsockname(*sink, (struct sockaddr *)&name, &name_len))
        die("warm bind");
    if (drop_all) {
        struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
        struct sock_fprog program = {.len = 1, .filter = &drop};
        if (setsockopt(*sink, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
            die("SO_ATTACH_FILTER");
    }
    if (connect(fd, (struct sockaddr *)&name, sizeof name))
        die("warm connect");
    return fd;
}

static void reflect(const char *address, const char *port, const char *tricks)
{
    struct sockaddr_in own = ipv4(address, port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1, sink = -1, warm = -1;
    if (bind(fd, (struct sockaddr *)&own, sizeof own))
        die("bind");
    enlarge(fd);
    ask_for_stamps(fd);
    if (has(tricks, 'k')) {
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
        setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on);
        setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    }
    if (has(tricks, 'w') || has(tricks, 'u'))
        warm = warm_socket(has(tricks, 'u'), &sink);
    struct reply_record *records = calloc(MOST_PACKETS, sizeof *records);
    uint32_t count = 0, probes = 0, connected = 0;
    apply_process_tricks(tricks);
    while (!stopped && count < MOST_PACKETS) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (!has(tricks, 'b')) {
            if (poll(&wait, 1, 1000) <= 0)
                continue;
        }
        struct reply_record *record = &records[count];
        record->woken = wall_ns();
        uint8_t packet[2048];
        char control[512];
        struct sockaddr_in peer;
        struct iovec io = {packet, sizeof packet};
        struct msghdr message = {&peer, sizeof peer, &io, 1, control, sizeof control, 0};
        ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
        if (length < PACKET_LEN) {
            uint32_t id = 0;
            int64_t late = transmit_stamp(fd, &id);
            if (late && id - probes < count)
                records[id - probes].departed = late;
            continue;
        }
        record->received = wall_ns();
        record->arrival = stamp_of(&message);
        record->sequence = get32(packet);
        memcpy(packet + OFF_SENDER_SEQUENCE, packet, 14);
        put_timestamp(packet + OFF_RECEIVE_TIMESTAMP, record->arrival);
        put_error_estimate(packet + OFF_ERROR_ESTIMATE);
        packet[OFF_SENDER_TTL] = 255;

        struct {
            struct cmsghdr header;
            struct in_pktinfo info;
            struct cmsghdr header_tos;
            int tos;
        } __attribute__((aligned(8))) reply_control = {
            {CMSG_LEN(sizeof(struct in_pktinfo)), IPPROTO_IP, IP_PKTINFO}, {0}, {CMSG_LEN(sizeof(int)), IPPROTO_IP, IP_TOS}, 0};
        struct msghdr reply = {&peer, sizeof peer, &io, 1, NULL, 0, 0};
        if (has(tricks, 'x')) {
            if (!connected && connect(fd, (struct sockaddr *)&peer, sizeof peer))
                die("connect");
            connected = 1;
            reply.msg_name = NULL;
            reply.msg_namelen = 0;
        }
        if (has(tricks, 'k')) {
            reply_control.info.ipi_spec_dst = own.sin_addr;
            reply.msg_control = &reply_control;
            reply.msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(sizeof(int));
        }
        io.iov_len = PACKET_LEN;
        if (has(tricks, 'p')) {
            struct msghdr probe = {&peer, sizeof peer, NULL, 0, NULL, 0, 0};
            sendmsg(fd, &probe, MSG_CONFIRM | MSG_PROBE | MSG_DONTWAIT);
        }
        if (warm >= 0) {
            struct msghdr same = reply;
            same.msg_name = NULL;
            same.msg_namelen = 0;
            same.msg_control = NULL;
            same.msg_controllen = 0;
            sendmsg(warm, &same, MSG_DONTWAIT);
            if (has(tricks, 'w')) {
                uint8_t scratch[64];
                recv(sink, scratch, sizeof scratch, MSG_DONTWAIT);
            }
        }
        if (has(tricks, 'm')) {
            io.iov_len = OFF_TIMESTAMP;
            sendmsg(fd, &reply, MSG_MORE | MSG_DONTWAIT);
            io.iov_base = packet + OFF_TIMESTAMP;
            io.iov_len = PACKET_LEN - OFF_TIMESTAMP;
        }
        if (has(tricks, 'c'))
            for (int i = 0; i < 8; i++)
                put_timestamp(packet + OFF_TIMESTAMP, wall_ns());
        record->written = wall_ns();
        put_timestamp(packet + OFF_TIMESTAMP, record->written);
        ssize_t sent = sendmsg(fd, &reply, MSG_DONTWAIT);
        record->returned = wall_ns();
        if (sent < 0)
            die("sendmsg");
        uint32_t id = 0;
        count++;
        int64_t stamp = transmit_stamp(fd, &id);
        if (stamp && count == 1)
            probes = id;
        if (stamp && id - probes < count)
            records[id - probes].departed = stamp;
    }
    printf("sequence,arrival,woken,received,written,departed,returned\n");
    for (uint32_t i = 0; i < count; i++)
        printf("%u,%lld,%lld,%lld,%lld,%lld,%lld\n", records[i].sequence, (long long)records[i].arrival,
               (long long)records[i].woken, (long long)records[i].received, (long long)records[i].written,
               (long long)records[i].departed, (long long)records[i].returned);
}

static void collect(int fd, struct packet_record *records, uint32_t sent)
{
    uint8_t packet[2048];
    char control[512];
    for (;;) {
        struct iovec io = {packet, sizeof packet};
        struct msghdr message = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(fd, &message, MSG_DONTWAIT) < PACKET_LEN)
            break;
        uint32_t sequence = get32(packet + OFF_SENDER_SEQUENCE);
        if (sequence >= sent)
            continue;
        struct packet_record *record = &records[sequence];
        record->t4_user = wall_ns();
        record->t4 = stamp_of(&message);
        record->t2 = get_timestamp(packet + OFF_RECEIVE_TIMESTAMP, packet + OFF_ERROR_ESTIMATE);
        record->t3 = get_timestamp(packet + OFF_TIMESTAMP, packet + OFF_ERROR_ESTIMATE);
    }
    int64_t stamp;
    uint32_t id = 0;
    while ((stamp = transmit_stamp(fd, &id)) != 0)
        if (id < sent)
            records[id].t1 = stamp;
}

static void send_packets(const char *address, const char *port, double rate, uint32_t count, const char *tricks)
{
    struct sockaddr_in peer = ipv4(address, port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer))
        die("connect");
    enlarge(fd);
    ask_for_stamps(fd);
    struct packet_record *records = calloc(count, sizeof *records);
    apply_process_tricks(tricks);
    int64_t step = (int64_t)(1e9 / rate), start = clock_ns(CLOCK_MONOTONIC) + 1000000;
    uint32_t sent = 0;
    int64_t spin = has(tricks, 'y') ? 200000 : 0, drain_until = 0;
    while (!stopped) {
        int64_t due = start + (int64_t)sent * step, now = clock_ns(CLOCK_MONOTONIC);
        if (sent < count && now >= due) {
            uint8_t packet[PACKET_LEN] = {0};
            put32(packet, sent);
            put_error_estimate(packet + OFF_ERROR_ESTIMATE);
            records[sent].due = due;
            records[sent].t1_user = wall_ns();
            put_timestamp(packet + OFF_TIMESTAMP, records[sent].t1_user);
            if (send(fd, packet, sizeof packet, MSG_DONTWAIT) < 0 && errno != ECONNREFUSED)
                die("send");
            sent++;
            drain_until = now + 300000000;
            collect(fd, records, sent);
            continue;
        }
        int64_t until = sent < count ? due - spin : drain_until;
        if (sent == count && now >= until)
            break;
        if (until > now) {
            struct timespec left = {(until - now) / NS_PER_S, (until - now) % NS_PER_S};
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            if (ppoll(&wait, 1, &left, NULL) > 0)
                collect(fd, records, sent);
        }
    }
    printf("sequence,due,t1_user,t1,t2,t3,t4,t4_user\n");
    for (uint32_t i = 0; i < sent; i++)
        printf("%u,%lld,%lld,%lld,%lld,%lld,%lld,%lld\n", i, (long long)records[i].due, (long long)records[i].t1_user,
               (long long)records[i].t1, (long long)records[i].t2, (long long)records[i].t3, (long long)records[i].t4,
               (long long)records[i].t4_user);
}

int main(int argc, char **argv)
{
    stop_on_signals();
    alarm(600);
    if (argc >= 4 && strcmp(argv[1], "reflect") == 0)
        reflect(argv[2], argv[3], argc > 4 ? argv[4] : "");
    else if (argc >= 6 && strcmp(argv[1], "send") == 0)
        send_packets(argv[2], argv[3], atof(argv[4]), (uint32_t)atol(argv[5]), argc > 6 ? argv[6] : "");
    else {
        fprintf(stderr, "usage: floor reflect ADDRESS PORT [TRICKS] | floor send ADDRESS PORT RATE COUNT [TRICKS]\n");
        return 2;
    }
    return 0;
}
