/* Wire truth: when each UDP packet passed the packet tap of each named interface.
 *
 *   capture FILE POINT...          POINT is NETNS:INTERFACE, or :INTERFACE in the caller's namespace
 *
 * Prints "ready" when all taps stand, and on SIGTERM writes 64-octet little-endian records to FILE:
 *   i64 ns | u16 source port | u16 destination port | u16 payload length | u8 point (0..) | u8 outgoing | 48 octets payload
 *
 * One mapped TPACKET ring for each point, emptied on a slow timer and never waited for, so that a passing packet costs
 * the measured path one copy into the ring and wakes nobody. The stamp is the kernel's own, in nanoseconds: on the way
 * out taken just before the driver gets the packet, on the way in where the stack first sees it. */
#include "stamps.h"
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mman.h>

#define MOST_POINTS 4
#define BLOCK_LEN (1 << 20)
#define BLOCKS 16
#define FRAME_LEN 256
#define FRAMES (BLOCKS * BLOCK_LEN / FRAME_LEN)
#define MOST_RECORDS (8 << 20)
#define DRAIN_NS 50000000

struct record {
    int64_t ns;
    uint16_t source_port, destination_port, length;
    uint8_t point, outgoing;
    uint8_t payload[48];
} __attribute__((packed));

struct point {
    int fd;
    uint8_t *ring;
    unsigned next;
};

static struct record *records;
static size_t count;

static void open_point(struct point *point, char *name)
{
    char *interface = strchr(name, ':');
    if (!interface) {
        fprintf(stderr, "capture: %s is not NETNS:INTERFACE\n", name);
        exit(2);
    }
    *interface++ = 0;
    int home = open("/proc/self/ns/net", O_RDONLY);
    if (*name) {
        char path[256];
        snprintf(path, sizeof path, "/run/netns/%s", name);
        int there = open(path, O_RDONLY);
        if (there < 0 || setns(there, CLONE_NEWNET))
            die(path);
        close(there);
    }
    int version = TPACKET_V2, on = 1;
    struct tpacket_req ring = {.tp_block_size = BLOCK_LEN, .tp_block_nr = BLOCKS, .tp_frame_size = FRAME_LEN, .tp_frame_nr = FRAMES};
    point->fd = socket(AF_PACKET, SOCK_DGRAM, 0);
    if (point->fd < 0 || setsockopt(point->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
        setsockopt(point->fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring) ||
        setsockopt(point->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on))
        die("packet socket");
    point->ring = mmap(NULL, (size_t)BLOCKS * BLOCK_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_LOCKED | MAP_POPULATE, point->fd, 0);
    if (point->ring == MAP_FAILED)
        die("mmap");
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex(interface)};
    if (!here.sll_ifindex || bind(point->fd, (struct sockaddr *)&here, sizeof here))
        die(interface);
    if (setns(home, CLONE_NEWNET))
        die("setns");
    close(home);
}

static void take(const struct tpacket2_hdr *frame, uint8_t index)
{
    const uint8_t *packet = (const uint8_t *)frame + frame->tp_net;
    const struct sockaddr_ll *link = (const void *)((const uint8_t *)frame + TPACKET_ALIGN(sizeof *frame));
    size_t header, have = frame->tp_snaplen;
    if (ntohs(link->sll_protocol) == ETH_P_IP && have >= 20 && packet[9] == IPPROTO_UDP)
        header = (size_t)(packet[0] & 15) * 4;
    else if (ntohs(link->sll_protocol) == ETH_P_IPV6 && have >= 40 && packet[6] == IPPROTO_UDP)
        header = 40;
    else
        return;
    if (have < header + 8 || count == MOST_RECORDS)
        return;
    const uint8_t *udp = packet + header;
    struct record *record = &records[count++];
    record->ns = (int64_t)frame->tp_sec * NS_PER_S + frame->tp_nsec;
    record->source_port = (uint16_t)(udp[0] << 8 | udp[1]);
    record->destination_port = (uint16_t)(udp[2] << 8 | udp[3]);
    record->length = (uint16_t)((udp[4] << 8 | udp[5]) - 8);
    record->point = index;
    record->outgoing = link->sll_pkttype == PACKET_OUTGOING;
    size_t captured = have - header - 8;
    memcpy(record->payload, udp + 8, captured < sizeof record->payload ? captured : sizeof record->payload);
}

static void drain(struct point *point, uint8_t index)
{
    for (;;) {
        struct tpacket2_hdr *frame = (void *)(point->ring + (size_t)point->next * FRAME_LEN);
        if (!(__atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
            return;
        take(frame, index);
        __atomic_store_n(&frame->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
        point->next = (point->next + 1) % FRAMES;
    }
}

int main(int argc, char **argv)
{
    struct point points[MOST_POINTS] = {0};
    int number = argc - 2;
    if (number < 1 || number > MOST_POINTS) {
        fprintf(stderr, "usage: capture FILE NETNS:INTERFACE...\n");
        return 2;
    }
    stop_on_signals();
    alarm(600);
    records = calloc(MOST_RECORDS, sizeof *records);
    for (int i = 0; i < number; i++)
        open_point(&points[i], argv[2 + i]);
    printf("ready\n");
    fflush(stdout);
    int last = 0;
    while (!last) {
        struct timespec pause = {0, DRAIN_NS};
        last = stopped;
        if (!last)
            nanosleep(&pause, NULL);
        for (int i = 0; i < number; i++)
            drain(&points[i], (uint8_t)i);
    }
    uint64_t drops = 0;
    for (int i = 0; i < number; i++) {
        struct tpacket_stats statistics;
        socklen_t length = sizeof statistics;
        getsockopt(points[i].fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &length);
        drops += statistics.tp_drops;
    }
    FILE *file = fopen(argv[1], "wb");
    if (!file || fwrite(records, sizeof *records, count, file) != count || fclose(file))
        die(argv[1]);
    printf("{\"records\": %zu, \"drops\": %llu}\n", count, (unsigned long long)drops);
    return 0;
}
