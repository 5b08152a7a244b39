/* The bare reflector: recvmmsg and sendmmsg in batches, each datagram returned as it came.
 *
 *   echo ADDRESS PORT            no control messages
 *   echo ADDRESS PORT control    asks for (and walks) what a Session-Reflector needs to know of each packet: the kernel's
 *                                receive timestamp, TTL, TOS and the local address
 *
 * Until SIGTERM. This is the least work that any reflector in user space can do with these system calls. */
#include "stamps.h"

#define BATCH 64

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: echo ADDRESS PORT [control]\n");
        return 2;
    }
    int control_messages = argc > 3, on = 1;
    struct sockaddr_in own = ipv4(argv[1], argv[2]);
    stop_on_signals();
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(fd, (struct sockaddr *)&own, sizeof own))
        die("bind");
    enlarge(fd);
    if (control_messages) {
        int flags = SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE;
        if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags) ||
            setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof on) || setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on) ||
            setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on))
            die("setsockopt");
    }
    static uint8_t packets[BATCH][2048];
    static char control[BATCH][256];
    static struct sockaddr_in peers[BATCH];
    struct iovec io[BATCH];
    struct mmsghdr messages[BATCH];
    volatile int64_t seen = 0;
    while (!stopped) {
        for (int i = 0; i < BATCH; i++) {
            io[i] = (struct iovec){packets[i], sizeof packets[i]};
            messages[i].msg_hdr = (struct msghdr){&peers[i], sizeof peers[i], &io[i], 1, NULL, 0, 0};
            if (control_messages) {
                messages[i].msg_hdr.msg_control = control[i];
                messages[i].msg_hdr.msg_controllen = sizeof control[i];
            }
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (count <= 0)
            continue;
        for (int i = 0; i < count; i++) {
            if (control_messages) {
                seen ^= stamp_of(&messages[i].msg_hdr);
                messages[i].msg_hdr.msg_control = NULL;
                messages[i].msg_hdr.msg_controllen = 0;
            }
            io[i].iov_len = messages[i].msg_len;
        }
        for (int sent = 0; sent < count;) {
            int done = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);
            sent += done > 0 ? done : 1;
        }
    }
    return 0;
}
