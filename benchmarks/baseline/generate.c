/* Offers UDP load to a reflector and counts its replies.
 *
 *   generate ADDRESS PORT SOURCE_PORT RATE SECONDS SEQUENCE_OFFSET[l] TEMPLATE
 *
 * TEMPLATE is the payload in hexadecimal; the 32-bit packet number is written at SEQUENCE_OFFSET (-1: nowhere), in
 * network octet order unless the offset ends in "l". RATE is
 * in packets/s on an absolute schedule, one packet a slot, kept by spinning: give it a core of its own. RATE 0 saturates:
 * batches of 32 as fast as they go, replies counted in between. Prints one line of JSON. */
#include "stamps.h"

#define BATCH 32

static uint64_t replies, reply_octets;

/* An address of either family; in an IPv4 one, family and port are at the same place. */
static struct sockaddr_in6 numeric(const char *address, const char *port)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET6, address, &name.sin6_addr) != 1) {
        struct sockaddr_in plain = ipv4(address, port);
        memset(&name, 0, sizeof name);
        memcpy(&name, &plain, sizeof plain);
    }
    return name;
}

static void count_replies(int fd)
{
    static uint8_t scratch[BATCH][2048];
    static struct iovec io[BATCH];
    static struct mmsghdr messages[BATCH];
    int count;
    do {
        for (int i = 0; i < BATCH; i++) {
            io[i] = (struct iovec){scratch[i], sizeof scratch[i]};
            messages[i].msg_hdr = (struct msghdr){.msg_iov = &io[i], .msg_iovlen = 1};
        }
        count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++) {
            replies++;
            reply_octets += messages[i].msg_len;
        }
    } while (count == BATCH);
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: generate ADDRESS PORT SOURCE_PORT RATE SECONDS SEQUENCE_OFFSET TEMPLATE\n");
        return 2;
    }
    struct sockaddr_in6 peer = numeric(argv[1], argv[2]), own = {.sin6_family = peer.sin6_family, .sin6_port = htons((uint16_t)atoi(argv[3]))};
    socklen_t name_len = peer.sin6_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof peer;
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    int sequence_offset = atoi(argv[6]), little = strchr(argv[6], 'l') != NULL;
    static uint8_t packets[BATCH][2048];
    size_t length = strlen(argv[7]) / 2;
    if (length == 0 || length > 1400 || sequence_offset + 4 > (int)length) {
        fprintf(stderr, "generate: template of %zu octets\n", length);
        return 2;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned octet;
        if (sscanf(argv[7] + 2 * i, "%2x", &octet) != 1)
            return 2;
        for (int j = 0; j < BATCH; j++)
            packets[j][i] = (uint8_t)octet;
    }
    stop_on_signals();
    int fd = socket(peer.sin6_family, SOCK_DGRAM, 0), octets = 32 << 20;
    if (bind(fd, (struct sockaddr *)&own, name_len) || connect(fd, (struct sockaddr *)&peer, name_len))
        die("bind or connect");
    enlarge(fd);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof octets);
    struct iovec io[BATCH];
    struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        io[i] = (struct iovec){packets[i], length};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &io[i], .msg_iovlen = 1}};
    }
    uint64_t sent = 0, failed = 0;
    int64_t start = clock_ns(CLOCK_MONOTONIC), end = start + (int64_t)(seconds * 1e9), now = start, worst_late = 0;
    while (!stopped && (now = clock_ns(CLOCK_MONOTONIC)) < end) {
        int batch = 1;
        if (rate > 0) {
            int64_t due = start + (int64_t)((double)(sent + failed) * 1e9 / rate);
            if (now < due) {
                count_replies(fd);
                continue;
            }
            if (now - due > worst_late)
                worst_late = now - due;
        } else
            batch = BATCH;
        if (sequence_offset >= 0)
            for (int i = 0; i < batch; i++) {
                uint32_t number = (uint32_t)(sent + (uint64_t)i);
                put32(packets[i] + sequence_offset, little ? __builtin_bswap32(number) : number);
            }
        int done = sendmmsg(fd, messages, (unsigned)batch, 0);
        if (done > 0)
            sent += (uint64_t)done;
        else
            failed++;
        count_replies(fd);
    }
    /* The rate of a saturated reflector is what came back while the load was on; the tail only decides about loss. */
    uint64_t replies_in_time = replies;
    int64_t last_change = now, finish = now + 2 * NS_PER_S;
    while (!stopped && replies < sent && now < finish && now - last_change < NS_PER_S / 2) {
        uint64_t before = replies;
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        poll(&wait, 1, 20);
        count_replies(fd);
        now = clock_ns(CLOCK_MONOTONIC);
        if (replies != before)
            last_change = now;
    }
    printf("{\"sent\": %llu, \"failed\": %llu, \"replies\": %llu, \"replies_in_time\": %llu, \"reply_octets\": %llu, "
           "\"seconds\": %.6f, \"worst_late_ns\": %lld}\n",
           (unsigned long long)sent, (unsigned long long)failed, (unsigned long long)replies,
           (unsigned long long)replies_in_time, (unsigned long long)reply_octets, (double)(end - start) / 1e9,
           (long long)worst_late);
    return 0;
}
